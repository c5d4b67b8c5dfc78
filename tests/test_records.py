"""A record survives the disk unchanged, or is refused with the name of what is wrong."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentei.errors import CheckpointError
from sentei.records import (
    DataRecord,
    EpochRecord,
    GroupRecord,
    Hardware,
    LatencyRecord,
    Measurement,
    RunRecord,
    atomic_write_bytes,
    atomic_write_text,
    code_commit,
    hardware,
    read_record,
    summarise_scores,
    utc_now,
    write_record,
)

LATENCY = LatencyRecord(
    runtime="onnxruntime",
    device="cpu",
    threads=1,
    batch_size=8,
    median_ms=3.5,
    p10_ms=3.0,
    p90_ms=4.25,
    num_runs=30,
    library_version="1.2",
)
GROUP = GroupRecord(name="stem", width_before=4, width_after=2, scores=(0.5, 1.0, 2.0, 3.0))
EPOCH = EpochRecord(
    phase="finetune",
    epoch=0,
    train_loss=0.7,
    val_loss=None,
    val_accuracy=None,
    learning_rate=0.1,
    seconds=2.0,
)
RECORD = RunRecord(
    kind="prune",
    name="tiny \u526a",
    created="2030-01-31T12:00:00+00:00",
    code_version="0.1.0",
    config={"criterion": {"name": "l1", "p": 1.5}, "layers": ["a", None, True]},
    seeds={"root": 3},
    data=DataRecord(name="shapes", digest="ab12", num_train=9, num_val=0, num_test=4),
    checkpoint_digest="cd34",
    hardware=Hardware(
        cpu="abacus",
        num_cores=2,
        memory_bytes=None,
        gpu=None,
        platform="desk",
        python="3.11",
        libraries={"numpy": "2"},
    ),
    before=Measurement(macs=100, num_parameters=10, weight_bytes=40, accuracy=0.75),
    after=Measurement(macs=50, num_parameters=5, weight_bytes=20, latencies=(LATENCY,)),
    groups=(GROUP, GroupRecord(name="fc", width_before=2, width_after=2, frozen="the output")),
    curve=(EPOCH,),
    seconds={"finetune": 2.0},
    notes=("one", "two"),
)


def altered(change: Callable[[dict[str, Any]], object]) -> str:
    """Return the JSON of a record after ``change`` to its values."""
    values = json.loads(RECORD.to_json())
    change(values)
    return json.dumps(values)


def test_record_survives_json() -> None:
    assert RunRecord.from_json(RECORD.to_json()) == RECORD


def test_record_survives_the_disk(tmp_path: Path) -> None:
    write_record(tmp_path / "runs" / "record.json", RECORD)

    assert read_record(tmp_path / "runs" / "record.json") == RECORD


def test_json_holds_the_numbers_under_their_names() -> None:
    values = json.loads(RECORD.to_json())

    assert (
        values["schema_version"],
        values["after"]["latencies"][0]["median_ms"],
        values["groups"][0]["scores"],
        values["hardware"]["gpu"],
    ) == (1, 3.5, [0.5, 1.0, 2.0, 3.0], None)


def test_json_is_one_line() -> None:
    record = dataclasses.replace(RECORD, notes=("two\nlines",))

    assert "\n" not in record.to_json()


def test_equal_records_give_equal_bytes_whatever_the_order_of_keys() -> None:
    one = dataclasses.replace(RECORD, config={"a": 1, "b": 2})
    other = dataclasses.replace(RECORD, config={"b": 2, "a": 1})

    assert one.to_json() == other.to_json()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)  # fmt: skip
def test_any_json_configuration_survives(value: object) -> None:
    record = dataclasses.replace(RECORD, config={"value": value})

    assert RunRecord.from_json(record.to_json()).config == {"value": value}


def test_integer_read_where_a_float_is_meant_becomes_one() -> None:
    record = RunRecord.from_json(altered(lambda v: v["curve"][0].update(train_loss=2)))

    assert type(record.curve[0].train_loss) is float


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, r"record\.config\.x is nan \(float\), expected .*finite"),
        (-math.inf, r"record\.config\.x is -inf"),
        (Path("a"), r"record\.config\.x is .*Path.*convert it"),
        ({1: "a"}, r"record\.config\.x is \{1: 'a'\} \(dict\), expected .*string keys"),
        ([0.0, {2.0}], r"record\.config\.x\[1\] is \{2\.0\} \(set\)"),
    ],
)
def test_value_that_is_not_json_is_refused(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECORD, config={"x": value}).to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(schema_version=2), r"record\.schema_version is 2, this sentei reads 1"),
        (lambda v: v.update(schema_version=True), r"record\.schema_version is True, expected int"),
        (lambda v: v.pop("schema_version"), "record: missing field schema_version"),
        (lambda v: v.pop("seeds"), "record: missing field seeds; expected kind, name"),
        (lambda v: v.update(extra=1), "record: unknown field extra"),
        (lambda v: v["data"].pop("digest"), r"record\.data: missing field digest"),
        (lambda v: v["groups"][1].update(x=1), r"record\.groups\[1\]: unknown field x"),
        (lambda v: v.update(name=3), r"record\.name is 3, expected str; the file was altered"),
        (lambda v: v.update(notes="one"), r"record\.notes is 'one', expected list"),
        (lambda v: v.update(notes=[1]), r"record\.notes\[0\] is 1, expected str"),
        (lambda v: v.update(seeds={"root": 1.5}), r"record\.seeds\.root is 1\.5, expected int"),
        (lambda v: v.update(config=[]), r"record\.config is \[\], expected dict"),
        (lambda v: v["after"].update(macs=True), r"record\.after\.macs is True, expected int"),
        (lambda v: v["after"].update(accuracy="1"), r"record\.after\.accuracy is '1', expected f"),
        (lambda v: v["after"].update(accuracy=71), r"record\.after: accuracy is 71\.0, expected a"),
        (lambda v: v.update(created="noon"), "record: created is 'noon', expected a time in UTC"),
    ],
)
def test_altered_record_is_refused_by_the_name_of_the_field(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        RunRecord.from_json(altered(change))


@pytest.mark.parametrize("text", ["", "null", "[]", "1", '"record"'])
def test_text_that_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError, match=r"torn or no JSON|expected dict"):
        RunRecord.from_json(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_number_that_is_not_finite_is_refused(number: str) -> None:
    text = RECORD.to_json().replace('"median_ms": 3.5', f'"median_ms": {number}')

    with pytest.raises(CheckpointError, match=f"{number} is no finite number"):
        RunRecord.from_json(text)


def test_deeply_nested_text_is_refused() -> None:
    with pytest.raises(CheckpointError, match="torn or no JSON"):
        RunRecord.from_json("[" * 100_000)


def test_record_torn_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    whole = RECORD.to_json().encode()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"record\.json: the record is torn"):
            read_record(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_bytes(b"\xff\xfe")

    with pytest.raises(CheckpointError, match=r"record\.json: cannot be read as a record"):
        read_record(tmp_path / "record.json")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.json: cannot be read .*check the path"):
        read_record(tmp_path / "nothing.json")


def test_record_that_is_not_json_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, RECORD)

    with pytest.raises(ValueError, match=r"record\.config\.x"):
        write_record(path, dataclasses.replace(RECORD, config={"x": math.nan}))

    assert read_record(path) == RECORD


@pytest.mark.parametrize("accuracy", [-0.01, 1.01, 76.1])
def test_accuracy_outside_0_to_1_is_refused(accuracy: float) -> None:
    with pytest.raises(ValueError, match=r"accuracy is .* fraction in \[0, 1\]; divide"):
        Measurement(macs=1, num_parameters=1, weight_bytes=4, accuracy=accuracy)


@pytest.mark.parametrize("change", [{"p10_ms": 3.6}, {"p90_ms": 3.4}, {"p10_ms": -1.0}])
def test_percentiles_out_of_order_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"latency of onnxruntime: .* ms are not in order"):
        dataclasses.replace(LATENCY, **change)


@pytest.mark.parametrize("name", ["threads", "batch_size", "num_runs"])
def test_latency_of_nothing_is_refused(name: str) -> None:
    changes: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"onnxruntime: {name} is 0, expected >= 1"):
        dataclasses.replace(LATENCY, **changes)


@pytest.mark.parametrize("width_after", [-1, 5])
def test_width_that_is_not_a_part_of_the_group_is_refused(width_after: int) -> None:
    with pytest.raises(ValueError, match=r"stem: width_after is .*, expected 0 to .* = 4"):
        dataclasses.replace(GROUP, width_after=width_after)


def test_more_than_512_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="stem: 513 scores, expected at most 512; pass summarise"):
        dataclasses.replace(GROUP, scores=(0.0,) * 513)


@pytest.mark.parametrize("created", ["noon", "2030-01-31T12:00:00", "2030-01-31T12:00:00+02:00"])
def test_time_that_is_not_utc_is_refused(created: str) -> None:
    with pytest.raises(ValueError, match=r"created is .*, expected a time in UTC .*use utc_now"):
        dataclasses.replace(RECORD, created=created)


def test_other_schema_version_is_not_written() -> None:
    with pytest.raises(ValueError, match="schema_version is 7, this sentei knows 1; leave it out"):
        dataclasses.replace(RECORD, schema_version=7)


def test_utc_now_is_the_time() -> None:
    assert abs((datetime.now(UTC) - datetime.fromisoformat(utc_now())).total_seconds()) < 5


def test_utc_now_is_a_time_records_accept() -> None:
    now = utc_now()

    assert dataclasses.replace(RECORD, created=now).created == now


def test_512_scores_are_kept_whole() -> None:
    assert summarise_scores([float(i) for i in reversed(range(512))]) == tuple(
        map(float, range(512))
    )


def test_more_scores_are_thinned_evenly_from_end_to_end() -> None:
    # 1023 = 2 * 511 + 1 values: every second one, both ends among them.
    expected = tuple(float(i) for i in range(0, 1023, 2))

    assert summarise_scores([float(i) for i in range(1023)]) == expected


def test_hardware_tells_the_versions_of_installed_libraries_only() -> None:
    libraries = hardware().libraries

    assert libraries["torch"] == metadata.version("torch")
    assert libraries.keys() <= {d.metadata["Name"].lower() for d in metadata.distributions()}


def test_hardware_counts_the_cores_this_process_may_use() -> None:
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from sentei.records import hardware; print(hardware().num_cores)"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout

    assert output.strip() == b"1"


def test_hardware_tells_the_memory_the_kernel_tells() -> None:
    kilobytes = int(Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0])

    assert hardware().memory_bytes == pytest.approx(kilobytes * 1024, rel=0.01)


def test_hardware_has_the_gpu_it_was_told() -> None:
    assert (hardware().gpu, hardware(gpu="X1").gpu) == (None, "X1")


def test_hardware_of_this_machine_survives_json() -> None:
    record = dataclasses.replace(RECORD, hardware=hardware())

    assert RunRecord.from_json(record.to_json()) == record


def test_text_is_written_as_it_is(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "a", "one\r\ntwo\n\u526a")

    assert (tmp_path / "a").read_bytes() == b"one\r\ntwo\n\xe5\x89\xaa"


def test_folders_are_made(tmp_path: Path) -> None:
    atomic_write_bytes(tmp_path / "a" / "b" / "c", b"1")

    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"1"


def test_new_file_has_the_rights_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    atomic_write_bytes(tmp_path / "a", b"")

    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError("disk full")

    atomic_write_bytes(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(OSError, match="disk full"):
        atomic_write_bytes(tmp_path / "a", b"new")

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    # Each version is a megabyte of one letter: a mixture or a shorter file would be torn.
    script = (
        "import itertools, sys; from sentei.records import atomic_write_text\n"
        "for letter in itertools.cycle('ab'):\n"
        "    atomic_write_text(sys.argv[1], letter * 1_000_000); print(flush=True)"
    )
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            for _ in range(3):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)

        assert path.read_text() in {"a" * 1_000_000, "b" * 1_000_000}


def git(folder: Path, *arguments: str) -> str:
    """Run git as someone, whatever this machine is configured to."""
    who = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_that_of_the_checkout_and_says_what_was_changed_since(tmp_path: Path) -> None:
    code = tmp_path / "package" / "code.py"
    code.parent.mkdir()
    code.write_text("1")
    assert code_commit(code) is None

    git(tmp_path, "init", "-q")
    assert code_commit(code) is None  # as in an environment within a checkout
    git(tmp_path, "add", "package")
    git(tmp_path, "commit", "-q", "-m", "one")
    assert code_commit(code) == git(tmp_path, "rev-parse", "--short", "HEAD")

    code.write_text("2")
    assert code_commit(code) == git(tmp_path, "rev-parse", "--short", "HEAD") + "-dirty"


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert code_commit() is None
