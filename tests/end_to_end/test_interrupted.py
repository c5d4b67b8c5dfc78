"""A run that is stopped anywhere goes on and ends with the same numbers."""

import dataclasses
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sentei import RunConfig, pipeline
from sentei.cli import main
from sentei.errors import CheckpointError
from sentei.pipeline import Event, StageEvent
from sentei.records import RunRecord
from tests.end_to_end.conftest import numbers

KILLED = """
import json, os, signal, sys
from sentei import pipeline
config = pipeline.config_from_mapping(json.loads(sys.argv[1]), origin="test")
left = int(sys.argv[2])
def count(event):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
pipeline.run(config, on_progress=count)
"""


def stopped_after(config: RunConfig, count: int) -> RunRecord | None:
    """Run until ``count`` events have come, those of finished stages aside."""
    left = count

    def listen(event: Event) -> None:
        nonlocal left
        left -= not (isinstance(event, StageEvent) and event.state == "kept")
        if left == 0:
            raise KeyboardInterrupt

    try:
        return pipeline.run(config, on_progress=listen)
    except KeyboardInterrupt:
        return None


def test_run_that_is_stopped_again_and_again_ends_as_if_it_had_not_been(
    config: RunConfig, expected: dict[str, Any]
) -> None:
    # Seven events are more than the longest way from one checkpoint to the next.
    records = (stopped_after(config, 8) for _ in range(40))

    record = next(record for record in records if record is not None)

    assert numbers(record) == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_run_ends_as_if_it_had_not_been(
    config: RunConfig, expected: dict[str, Any], seed: int
) -> None:
    count = random.Random(seed).randint(1, 40)
    command = [sys.executable, "-c", KILLED, json.dumps(config.as_json()), str(count)]

    killed = subprocess.run(command, check=False)

    assert killed.returncode == -signal.SIGKILL
    assert numbers(pipeline.run(config)) == expected


@pytest.mark.slow
def test_interrupt_stops_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["prune", "digits_cnn", "--data", "digits", "-t", "macs=0.5", "-o", str(run)]
    arguments += ["--fine-tune-epochs", "100", "--batch-size", "512"]
    script = f"import sys; from sentei.cli import main; sys.exit(main({arguments!r}))"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(run / "log.txt", "epoch 2 of 100")
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "run the same command again to go on" in complaint
    assert "Traceback" not in complaint
    assert not (run / "dense").exists()


def wait_for(path: Path, words: str) -> None:
    for _ in range(600):
        if path.exists() and words in path.read_text():
            return
        time.sleep(0.1)
    raise TimeoutError(f"{path} never said {words!r}")


def test_interrupt_has_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_kind: str | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sentei.pipeline.listing.catalog", interrupted)

    assert main(["list", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "KeyboardInterrupt"


def test_full_disk_is_named_and_nothing_is_lost(
    config: RunConfig, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr("sentei.train.loop.write_state", refuse)
        with pytest.raises(CheckpointError, match=r"No space left on device.*make room"):
            pipeline.run(config)
    with monkeypatch.context() as full:
        full.setattr("sentei.pipeline.stages.write_record", refuse)
        with pytest.raises(CheckpointError, match=r"No space left on device.*make room"):
            pipeline.run(config)

    assert not (Path(config.output) / "record.json").exists()
    assert numbers(pipeline.run(config)) == expected


def test_run_goes_on_when_a_disk_that_was_full_has_room(
    config: RunConfig, expected: dict[str, Any], small_disk: Path
) -> None:
    on_disk = dataclasses.replace(config, output=str(small_disk / "run"))

    with pytest.raises(CheckpointError, match="No space left on device"):
        pipeline.run(on_disk)

    assert not (small_disk / "run" / "record.json").exists()
    larger = ["mount", "-o", "remount,size=20m", str(small_disk)]
    subprocess.run(larger, check=True)
    assert numbers(pipeline.run(on_disk)) == expected
