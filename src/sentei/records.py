"""What a run was and what it measured: frozen values, one line of JSON each, no torch.

A number without its provenance is not a result. A record therefore holds the version of the code,
the digests of data and checkpoint, the seeds, the configuration, the hardware and the wall time
beside what was measured. Reading a record executes nothing.
"""

import dataclasses
import json
import math
import os
import platform as host
import secrets
import subprocess
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from sentei.errors import CheckpointError

SCHEMA_VERSION = 1
MAX_SCORES = 512

# Distributions whose versions can move a number that we report.
_LIBRARIES = (
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "scikit-learn",
    "scipy",
    "sentei",
    "timm",
    "torch",
    "torchvision",
)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The machine a run was measured on.

    Args:
        cpu: Model of the processor, as the system names it.
        num_cores: Logical cores that this process may use, >= 1.
        memory_bytes: Physical memory, or None where the system does not tell.
        gpu: Name of the GPU that was used, or None.
        platform: Operating system and its version.
        python: Version of Python.
        libraries: Distribution name -> version, of the installed libraries that can move a number.
    """

    cpu: str
    num_cores: int
    memory_bytes: int | None
    gpu: str | None
    platform: str
    python: str
    libraries: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """The data of a run.

    Args:
        name: Name of the data set.
        digest: Digest of its content; equal digests mean equal images, labels and splits.
        num_train: Training samples, >= 0.
        num_val: Validation samples (choices are made on them), >= 0.
        num_test: Test samples (reported, never chosen on), >= 0.
    """

    name: str
    digest: str
    num_train: int
    num_val: int
    num_test: int


@dataclass(frozen=True, kw_only=True)
class LatencyRecord:
    """Time of one forward pass of one batch, after warm-up, with the device synchronized.

    Args:
        runtime: What executed the network ("torch", "onnxruntime", "openvino", ...).
        device: Where ("cpu", "cuda:0", ...).
        threads: Threads of the runtime, >= 1.
        batch_size: Samples in a batch, >= 1.
        median_ms: Median over the runs, milliseconds; smaller is faster.
        p10_ms: 10th percentile, at most the median.
        p90_ms: 90th percentile, at least the median.
        num_runs: Timed runs, >= 1.
        library_version: Version of the runtime.

    Raises:
        ValueError: the percentiles are not in order, or a count is below 1.
    """

    runtime: str
    device: str
    threads: int
    batch_size: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    num_runs: int
    library_version: str

    def __post_init__(self) -> None:
        if not 0 <= self.p10_ms <= self.median_ms <= self.p90_ms:
            raise ValueError(
                f"latency of {self.runtime}: p10 {self.p10_ms}, median {self.median_ms} and p90 "
                f"{self.p90_ms} ms are not in order; pass them as 0 <= p10 <= median <= p90"
            )
        for name in ("threads", "batch_size", "num_runs"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"latency of {self.runtime}: {name} is {getattr(self, name)}, expected >= 1; "
                    f"record only what was run"
                )


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a network costs and how well it does; None is "not measured".

    Args:
        accuracy: Top-1 on the test samples, a fraction in [0, 1].
        loss: Mean loss on the test samples.
        macs: Multiply-adds of conv, linear and matmul in one forward pass of one sample.
        num_parameters: Number of parameters.
        weight_bytes: Memory of parameters and buffers.
        activation_bytes: Sum over all activations of one sample.
        peak_activation_bytes: Largest sum of activations alive together, of one sample.
        size_on_disk_bytes: Size of the saved network.
        latencies: One entry for each runtime and setting that was timed.

    Raises:
        ValueError: ``accuracy`` is outside [0, 1] (a percentage, most likely).
    """

    macs: int
    num_parameters: int
    weight_bytes: int
    accuracy: float | None = None
    loss: float | None = None
    activation_bytes: int | None = None
    peak_activation_bytes: int | None = None
    size_on_disk_bytes: int | None = None
    latencies: tuple[LatencyRecord, ...] = ()

    def __post_init__(self) -> None:
        if self.accuracy is not None and not 0 <= self.accuracy <= 1:
            raise ValueError(
                f"accuracy is {self.accuracy}, expected a fraction in [0, 1]; divide percentages "
                f"by 100"
            )


@dataclass(frozen=True, kw_only=True)
class GroupRecord:
    """What happened to one group.

    Args:
        name: Name of the group.
        width_before: Its channels in the original network.
        width_after: Its channels in the pruned network, in [0, ``width_before``].
        scores: The scores its channels had, at most 512 values (see `summarise_scores`).
        frozen: Why the group could not be pruned, or None.

    Raises:
        ValueError: the widths are not in order, or there are too many scores.
    """

    name: str
    width_before: int
    width_after: int
    scores: tuple[float, ...] = ()
    frozen: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.width_after <= self.width_before:
            raise ValueError(
                f"{self.name}: width_after is {self.width_after}, expected 0 to width_before = "
                f"{self.width_before}; pass the widths of the same group"
            )
        if len(self.scores) > MAX_SCORES:
            raise ValueError(
                f"{self.name}: {len(self.scores)} scores, expected at most {MAX_SCORES}; pass "
                f"summarise_scores(scores)"
            )


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch of training.

    Args:
        phase: What the training was for ("train", "finetune", ...).
        epoch: Counted from 0 in each phase.
        train_loss: Mean loss over the epoch's samples.
        val_loss: Mean loss on the validation samples, or None.
        val_accuracy: Top-1 on the validation samples, a fraction in [0, 1], or None.
        learning_rate: Of the last step.
        seconds: Wall time of the epoch.
    """

    phase: str
    epoch: int
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One finished run, with all that is needed to judge and to repeat it.

    Args:
        kind: What was run ("prune", "bench", ...).
        name: Name of the run.
        created: When it ended, ISO 8601 in UTC (see `utc_now`).
        code_version: Version of the code.
        config: Configuration of the run, JSON values only.
        seeds: Name -> root seed.
        data: The data.
        checkpoint_digest: Digest of the weights the run started from.
        hardware: The machine.
        before: The network before pruning.
        after: The network after the last phase.
        groups: One entry for each group, frozen ones included.
        curve: One entry for each epoch, in order.
        seconds: Phase -> wall time in seconds.
        notes: What a reader must know besides.
        schema_version: Version of this format; written, never chosen.

    Raises:
        ValueError: ``created`` is not a time in UTC, or the schema version is not ours.
    """

    kind: str
    name: str
    created: str
    code_version: str
    config: Mapping[str, Any]
    seeds: Mapping[str, int]
    data: DataRecord
    checkpoint_digest: str
    hardware: Hardware
    before: Measurement
    after: Measurement
    groups: tuple[GroupRecord, ...] = ()
    curve: tuple[EpochRecord, ...] = ()
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version is {self.schema_version!r}, this sentei knows {SCHEMA_VERSION}; "
                f"leave it out to write a record, use a newer sentei to read this one"
            )
        if not _is_utc(self.created):
            raise ValueError(
                f"created is {self.created!r}, expected a time in UTC such as "
                f"2030-01-31T12:00:00+00:00; use utc_now()"
            )

    def to_json(self) -> str:
        """Return the record as one line of JSON, keys sorted.

        Raises:
            ValueError: a value is not JSON: not a string, bool, finite number, None, sequence or
                mapping of these; the message names its place.
        """
        return json.dumps(_plain(self, "record"), sort_keys=True, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> "RunRecord":
        """Return the record that ``text`` holds; executes nothing.

        Raises:
            CheckpointError: ``text`` is torn, of another schema version, or a field is missing,
                unknown, of another type or out of range; the message names it.
        """
        try:
            values = json.loads(text, parse_float=_finite, parse_constant=_finite)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(
                f"the record is torn or no JSON ({error}); restore the file or repeat the run"
            ) from error
        version = values.get("schema_version") if isinstance(values, dict) else None
        if version is not None and version != SCHEMA_VERSION:
            raise CheckpointError(
                f"record.schema_version is {version!r}, this sentei reads {SCHEMA_VERSION}; "
                f"read it with the sentei that wrote it"
            )
        return decode_fields(RunRecord, values, "record")


def utc_now() -> str:
    """Return the time as a record wants it: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def summarise_scores(scores: Sequence[float]) -> tuple[float, ...]:
    """Return the scores in ascending order; of more than 512, evenly spaced ones from end to end.

    Example:
        >>> summarise_scores([3.0, 1.0, 2.0])
        (1.0, 2.0, 3.0)
    """
    ordered = sorted(float(score) for score in scores)
    if len(ordered) <= MAX_SCORES:
        return tuple(ordered)
    step = (len(ordered) - 1) / (MAX_SCORES - 1)
    return tuple(ordered[round(i * step)] for i in range(MAX_SCORES))


def num_cores() -> int:
    """Return the logical cores that this process may use, >= 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def hardware(*, gpu: str | None = None) -> Hardware:
    """Describe this machine.

    Args:
        gpu: Name of the GPU that the run uses; the caller knows it, this module loads no torch.
    """
    return Hardware(
        cpu=_cpu_model(),
        num_cores=num_cores(),
        memory_bytes=_memory_bytes(),
        gpu=gpu,
        platform=host.platform(),
        python=host.python_version(),
        libraries=_library_versions(),
    )


def write_record(path: Path | str, record: RunRecord) -> None:
    """Write ``record`` as one line; a reader sees the old file or the whole new one.

    Raises:
        ValueError: a value of the record is not JSON; nothing is written then.
    """
    atomic_write_text(path, record.to_json() + "\n")


def read_record(path: Path | str) -> RunRecord:
    """Read what `write_record` wrote.

    Raises:
        CheckpointError: the file is not there, unreadable, torn, or of another version.
    """
    try:
        return RunRecord.from_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as a record ({error}); check the path"
        ) from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def machine_facts() -> dict[str, str]:
    """Return this machine and its libraries in words, for what numbers rest on."""
    machine = hardware()
    return {
        "machine": f"{machine.cpu}, {machine.num_cores} cores",
        "libraries": ", ".join(f"{k} {v}" for k, v in machine.libraries.items()),
    }


def commit_of(folder: Path, *, dirty: bool = True) -> str | None:
    """Return the commit of the git checkout that holds a folder, short; None if there is none.

    Args:
        folder: Where to look.
        dirty: End in ``-dirty`` where tracked files have been changed since.
    """
    command = ["git", "-C", str(folder), "describe", "--always", "--exclude=*"]
    command += ["--dirty"] if dirty else []
    return _output_of(command)


def code_commit(file: Path = Path(__file__)) -> str | None:
    """Return the commit that this code is of, short; None if it is installed, not checked out.

    Ends in ``-dirty`` where tracked files have been changed since.

    Args:
        file: A file of the code. A checkout of something else may hold it, as one that has the
            environment inside does; only one that tracks it counts.
    """
    tracked = ["git", "-C", str(file.parent), "ls-files", "--error-unmatch", file.name]
    return None if _output_of(tracked) is None else commit_of(file.parent)


def _output_of(command: Sequence[str]) -> str | None:
    """Return what a command prints; None if it fails or is not there."""
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def read_settings(path: Path, *, what: str) -> dict[str, Any]:
    """Return what a study wrote of itself, JSON values.

    Args:
        path: The file, in the directory of the study.
        what: Kind of study, for the message.

    Raises:
        CheckpointError: There is none, or it cannot be read.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path.parent} holds no {what} ({error}); name the directory of one (-o)"
        ) from error
    return found


def atomic_write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8, its line ends as they are; see `atomic_write_bytes`."""
    atomic_write_bytes(path, text.encode())


def atomic_write_bytes(path: Path | str, content: bytes) -> None:
    """Write a file whole or not at all, whatever stops the process; makes its folder if needed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because only a rename within one file system is atomic.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_utc(text: str) -> bool:
    """Tell whether ``text`` is an ISO 8601 time in UTC."""
    try:
        return datetime.fromisoformat(text).utcoffset() == timedelta(0)
    except ValueError:
        return False


def differences(there: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return what differs between two documents, nested ones too: a phrase for each place.

    Example:
        >>> differences({"seed": 0, "data": {"name": "a"}}, {"seed": 0, "data": {"name": "b"}})
        ["data.name is 'a' there and 'b' now"]
    """
    found = []
    for key in sorted({*there, *now}):
        old, new = there.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} is {old!r} there and {new!r} now")
    return found


def in_terms_of(
    now: Mapping[str, Any], there: Mapping[str, Any], filled: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a document without the keys that an older one lacks and would read the same.

    What came to a format after a file was written then does not make the file another one.

    Args:
        now: The document.
        there: The older one.
        filled: The older one with the defaults of what it lacks.

    Example:
        >>> in_terms_of({"seed": 0, "unit": "group"}, {"seed": 1}, {"seed": 1, "unit": "group"})
        {'seed': 0}
    """
    found = {}
    for key, value in now.items():
        old, full = there.get(key), filled.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and isinstance(full, Mapping):
            found[key] = in_terms_of(value, old, full)
        elif key in there or value != full:
            found[key] = value
    return found


def plain_mapping(value: object, where: str) -> dict[str, Any]:
    """Return a mapping, or a dataclass, as JSON knows it: dicts, lists and scalars.

    Args:
        value: Holds strings, bools, finite numbers, None, and sequences and mappings of them.
        where: What it is, for messages.

    Raises:
        ValueError: there is something else in it, or it is no mapping; the message names the place.
    """
    plain = _plain(value, where)
    if not isinstance(plain, dict):
        raise ValueError(  # noqa: TRY004 - as for all that JSON does not know
            f"{where} is {value!r} ({type(value).__name__}), expected a mapping with string keys"
        )
    return plain


def _plain(value: object, where: str) -> object:
    """Return ``value`` as dicts, lists and scalars; ``where`` names it in messages."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {f.name: _plain(getattr(value, f.name), f"{where}.{f.name}") for f in fields}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError(
        f"{where} is {value!r} ({type(value).__name__}), expected strings, finite numbers, "
        f"sequences and mappings with string keys; convert it before recording it"
    )


def _finite(text: str) -> float:
    """Return a number of the file, unless it is NaN, Infinity or 1e999, which no record holds."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number


def decode_fields(kind: type[T], values: object, where: str) -> T:
    """Return the dataclass ``kind`` made of ``values``, every field given, none besides.

    Args:
        kind: Its fields are scalars, tuples of one type, mappings, or dataclasses of these, each
            possibly ``| None``.
        values: What `plain_mapping` made of one.
        where: What it is, for messages.

    Raises:
        CheckpointError: a field is missing, unknown, of another type, or refused by ``kind``.
    """
    given = _expect(dict, values, where)
    hints = typing.get_type_hints(kind)
    for problem, names in (("missing", hints.keys() - given), ("unknown", given.keys() - hints)):
        if names:
            raise CheckpointError(
                f"{where}: {problem} field {', '.join(sorted(names))}; expected "
                f"{', '.join(hints)}; read it with the sentei that wrote it"
            )
    decoded = {name: _decode(hints[name], given[name], f"{where}.{name}") for name in hints}
    try:
        return kind(**decoded)
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from error


def _decode(hint: object, value: object, where: str) -> object:
    """Return ``value`` as the type ``hint``, one of those that records use."""
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return decode_fields(hint, value, where)
    if origin is types.UnionType:
        return None if value is None else _decode(arguments[0], value, where)
    if origin is tuple:
        items = enumerate(_expect(list, value, where))
        return tuple(_decode(arguments[0], item, f"{where}[{i}]") for i, item in items)
    if origin is Mapping:
        pairs = _expect(dict, value, where).items()
        return {key: _decode(arguments[1], item, f"{where}.{key}") for key, item in pairs}
    if hint is Any:
        return value
    if hint is float and type(value) is int:  # 1 and 1.0 are the same number of JSON
        return float(value)
    return _expect(typing.cast("type[object]", hint), value, where)


def _expect(kind: type[T], value: object, where: str) -> T:
    """Return ``value``, whose type is exactly ``kind`` (a bool is no int)."""
    if type(value) is not kind:
        raise CheckpointError(
            f"{where} is {value!r}, expected {kind.__name__}; the file was altered, restore it"
        )
    return value


def _cpu_model() -> str:
    """Return the name of the processor, which only Linux hides in a file."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else host.processor() or host.machine()


def _memory_bytes() -> int | None:
    """Return the physical memory, where the system tells it."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _library_versions() -> dict[str, str]:
    """Return the versions of the libraries that are installed."""
    versions: dict[str, str] = {}
    for library in _LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return versions
