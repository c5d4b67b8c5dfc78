"""A run directory has one process at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from sentei import RunConfig, pipeline
from sentei.engine import lock
from sentei.engine.lock import locked
from sentei.errors import CheckpointError

HOLD = """
import sys
from pathlib import Path
from sentei.engine.lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def holder(directory: Path) -> subprocess.Popen[str]:
    """Return a process that holds the lock of a directory until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_run_is_refused_while_another_process_is_at_work_there(quick: RunConfig) -> None:
    directory = Path(quick.output)
    with holder(directory) as process:
        message = f"{directory} is in use by process {process.pid}; wait until it ends, or give"
        with pytest.raises(CheckpointError, match=message):
            pipeline.run(quick)
        process.kill()

    assert [path.name for path in directory.iterdir()] == [lock.LOCK_NAME]


def test_fresh_does_not_delete_the_run_of_another_process(quick: RunConfig) -> None:
    directory = Path(quick.output)
    with holder(directory) as process:
        (directory / "state.json").write_text("of the other")
        with pytest.raises(CheckpointError, match="is in use by process"):
            pipeline.run(quick, fresh=True)
        process.kill()

    assert (directory / "state.json").read_text() == "of the other"


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_lock_ends_with_its_process(tmp_path: Path, end: str) -> None:
    with holder(tmp_path) as process:
        getattr(process, end)()

    with locked(tmp_path) as is_locked:
        assert is_locked


def test_directories_do_not_lock_each_other(tmp_path: Path) -> None:
    with locked(tmp_path / "a") as first, locked(tmp_path / "b") as second:
        assert first
        assert second


def test_system_without_locks_is_said_in_the_log(
    quick: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "fcntl", None)

    pipeline.run(quick)

    assert "this file system has no locks" in (Path(quick.output) / "log.txt").read_text()


def test_file_in_place_of_a_directory_is_refused(quick: RunConfig) -> None:
    Path(quick.output).write_text("mine")

    with pytest.raises(CheckpointError, match="is a file; give a directory"):
        pipeline.run(quick)

    assert Path(quick.output).read_text() == "mine"
