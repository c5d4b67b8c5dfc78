"""A run: from a network and data to a smaller network, its files and its record; it resumes."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sentei.allocate import SCOPES
from sentei.criteria import CRITERIA
from sentei.deploy import RUNTIMES
from sentei.engine.lock import locked
from sentei.errors import CheckpointError, DeviceError
from sentei.pipeline.config import RunConfig
from sentei.pipeline.events import Listener, silence
from sentei.pipeline.journal import RECORD_NAME, open_journal
from sentei.pipeline.stages import all_stages
from sentei.pipeline.workshop import Workshop
from sentei.records import RunRecord, read_record
from sentei.train.checks import resolve_device

_ONNX = ("onnx", "onnxscript", "onnxruntime")
_NEEDED = {"onnxruntime": _ONNX, "openvino": (*_ONNX, "openvino")}


def run(config: RunConfig, *, on_progress: Listener = silence, fresh: bool = False) -> RunRecord:
    """Carry a run out, or go on with one that was interrupted, and return its record.

    ``config.output`` then holds ``config.json``, ``log.txt``, ``plan.json`` (in coordinates of
    the dense network), ``record.json``, ``report.html``, ``dense/`` and ``model/`` (as
    ``save_pretrained`` writes them), ``model.onnx``, ``checkpoints/`` and ``state.json``, which
    says what is done. A finished run is not computed again. Training is watched on the validation
    images and nothing is chosen on them; the test images are read for the final numbers alone.

    Args:
        config: What to do.
        on_progress: Told of every stage and step.
        fresh: Delete what an earlier run left in the directory.

    Raises:
        PruningError: a name, a file, the data, the budget, the device or the training is wrong,
            or another process is at work in the directory; the message says what to do. What was
            finished stays finished.
        ValueError: a number is out of its range.
    """
    check_names(config)
    directory = Path(config.output)
    with _explain_disk(directory), locked(directory) as is_locked:
        journal = open_journal(directory, config, listener=on_progress, fresh=fresh)
        if not is_locked:
            journal.log("this file system has no locks: let one process at a time run here")
        for name, work in all_stages(Workshop(config, journal)).items():
            journal.stage(name, work)
        return read_record(directory / RECORD_NAME)


def check_names(config: RunConfig) -> None:
    """Refuse names, devices and packages that are not there, before any work is done.

    Raises:
        UnknownNameError: there is no such criterion, scope or runtime.
        DeviceError: the device, or a package of a runtime, is not there.
    """
    _ = CRITERIA[config.criterion], SCOPES[config.scope]
    resolve_device(config.device)
    packages = list(_ONNX if config.onnx else ())
    for runtime in config.latency.runtimes:
        _ = RUNTIMES[runtime]
        packages += _NEEDED.get(runtime, ())
    missing = sorted({p for p in packages if importlib.util.find_spec(p) is None})
    if missing:
        raise DeviceError(
            f"export and timing need {', '.join(missing)}; install them: pip install "
            f"{' '.join(missing)}, or leave them out: --no-onnx --runtime eager"
        )


@contextmanager
def _explain_disk(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{directory}: a file cannot be written or read ({error}); finished stages are kept: "
            "make room or correct the permissions, and run the same command again"
        ) from error
