"""What a run has done: one file, replaced whole after each stage, from which it goes on."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentei.errors import CheckpointError
from sentei.pipeline.config import RunConfig
from sentei.pipeline.events import Event, Listener, StageEvent
from sentei.pipeline.network import MODEL_FOLDER, STATE_NAME
from sentei.records import atomic_write_text, differences, utc_now

VERSION = 1
CONFIG_NAME = "config.json"
LOG_NAME = "log.txt"
PLAN_NAME = "plan.json"
RECORD_NAME = "record.json"
REPORT_NAME = "report.html"
ONNX_NAME = "model.onnx"
DENSE_FOLDER = "dense"
CHECKPOINTS_FOLDER = "checkpoints"
# Everything a run writes, the journal last: without it the rest is not taken for a run.
_OWN = (
    *(DENSE_FOLDER, MODEL_FOLDER, CHECKPOINTS_FOLDER),
    *(CONFIG_NAME, LOG_NAME, PLAN_NAME, RECORD_NAME, REPORT_NAME, ONNX_NAME, STATE_NAME),
)
# Where a run lies is no part of what it computes.
_NOT_COMPARED = frozenset({"output"})


@dataclass(frozen=True, kw_only=True)
class Journal:
    """The finished stages of a run, in memory and on disk.

    Attributes:
        directory: Of the run.
        config: What is run.
        results: Stage -> what it found, JSON values; grows.
        listener: Told of stages and steps.
    """

    directory: Path
    config: RunConfig
    results: dict[str, dict[str, Any]]
    listener: Listener

    def stage(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what stage ``name`` found, running it only if no earlier process finished it."""
        if name in self.results:
            seconds = self.results[name]["seconds"]
            self.listener(StageEvent(stage=name, state="kept", seconds=seconds))
            return self.results[name]
        self.listener(StageEvent(stage=name, state="begin"))
        self.log(f"{name}: begins")
        begin = time.perf_counter()
        found = work()
        trained = sum(float(epoch["seconds"]) for epoch in found.get("curve", ()))
        # A stage that was interrupted has trained longer than this process has lived.
        seconds = max(time.perf_counter() - begin, trained)
        self.results[name] = {**found, "seconds": seconds}
        self._write()
        self.log(f"{name}: ends after {seconds:.1f} s")
        self.listener(StageEvent(stage=name, state="end", seconds=seconds))
        return self.results[name]

    def watch(self, event: Event) -> None:
        """Pass an event on; the end of each epoch goes to the log too."""
        self.listener(event)
        if isinstance(event, StageEvent) or event.phase == "evaluate":
            return
        if event.step == event.num_steps:
            self.log(
                f"{event.phase}: epoch {event.epoch} of {event.num_epochs}, loss {event.loss:.4f}, "
                f"{event.seconds:.1f} s"
            )

    def log(self, text: str) -> None:
        """Append a line to the log."""
        with (self.directory / LOG_NAME).open("a", encoding="utf-8") as file:
            file.write(f"{utc_now()} {text}\n")

    def _write(self) -> None:
        document = {"version": VERSION, "config": self.config.as_json(), "done": self.results}
        atomic_write_text(self.directory / STATE_NAME, json.dumps(document, allow_nan=False))


def open_journal(
    directory: Path, config: RunConfig, *, listener: Listener, fresh: bool = False
) -> Journal:
    """Return the journal of the run in ``directory``: a new one, or that of an earlier process.

    Args:
        directory: Made if missing.
        config: What is to be run.
        listener: Told of stages and steps.
        fresh: Delete what an earlier run left there; other files stay.

    Raises:
        CheckpointError: the directory holds another run, a damaged one, or something else.
    """
    if fresh and (directory / STATE_NAME).exists():
        _clear(directory)
    found = _read(directory)
    if found is None or not _has_results(directory, found):
        if found is None:
            _refuse_other_files(directory)
        journal = Journal(directory=directory, config=config, results={}, listener=listener)
        directory.mkdir(parents=True, exist_ok=True)
        journal._write()
        text = json.dumps(config.as_json(), indent=1)
        atomic_write_text(directory / CONFIG_NAME, text + "\n")
        return journal
    _refuse_other_config(directory, found["config"], config.as_json())
    return Journal(directory=directory, config=config, results=found["done"], listener=listener)


def _read(directory: Path) -> dict[str, Any] | None:
    path = directory / STATE_NAME
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document["version"]
        complete = isinstance(document["config"], dict) and isinstance(document["done"], dict)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read as the state of a run ({error}); restore it, or start over "
            "with --fresh"
        ) from error
    if version != VERSION or not complete:
        raise CheckpointError(
            f"{path} has version {version}, this sentei reads {VERSION}; use the sentei that wrote "
            "it, or start over with --fresh"
        )
    return document


def _has_results(directory: Path, state: Mapping[str, Any]) -> bool:
    """Return whether something would be lost: a first stage that failed binds nobody."""
    return bool(state["done"]) or (directory / CHECKPOINTS_FOLDER).exists()


def _refuse_other_files(directory: Path) -> None:
    # A killed process may have left a temporary file, whose name begins with a dot.
    others = [p.name for p in directory.glob("*") if not p.name.startswith(".")]
    if others:
        raise CheckpointError(
            f"{directory} holds {', '.join(sorted(others)[:3])} and no run; give a new directory"
        )


def _refuse_other_config(
    directory: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    stored, wanted = (
        {key: value for key, value in config.items() if key not in _NOT_COMPARED}
        for config in (stored, wanted)
    )
    found = differences(stored, wanted)
    if found:
        raise CheckpointError(
            f"{directory} holds another run: {'; '.join(found)}. Give another directory, "
            "the same settings to go on with it, or --fresh to delete it and start over"
        )


def _clear(directory: Path) -> None:
    for name in _OWN:
        path = directory / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
