"""The journal: stages are done once, and a directory belongs to one run."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from sentei import Budget, RunConfig
from sentei.errors import CheckpointError
from sentei.pipeline.events import silence
from sentei.pipeline.journal import Journal, open_journal


def reopened(quick: RunConfig, **changes: Any) -> Journal:  # noqa: ANN401
    config = dataclasses.replace(quick, **changes)
    return open_journal(Path(config.output), config, listener=silence)


def test_finished_stage_is_not_run_again(quick: RunConfig) -> None:
    reopened(quick).stage("one", lambda: {"value": 1})

    found = reopened(quick).stage("one", lambda: {"value": 2})

    assert found["value"] == 1


def test_failed_stage_leaves_no_trace(quick: RunConfig) -> None:
    def fail() -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reopened(quick).stage("one", fail)

    assert reopened(quick).results == {}


def test_other_configuration_is_refused_with_its_differences(quick: RunConfig) -> None:
    reopened(quick).stage("one", dict)

    message = "budget.macs is 0.5 there and 0.4 now; seed is 0 there and 1 now.*--fresh"
    with pytest.raises(CheckpointError, match=message):
        reopened(quick, seed=1, budget=Budget(macs=0.4))


def test_run_may_be_moved(quick: RunConfig, tmp_path: Path) -> None:
    reopened(quick).stage("one", lambda: {"value": 1})
    Path(quick.output).rename(tmp_path / "moved")

    assert reopened(quick, output=str(tmp_path / "moved")).results["one"]["value"] == 1


def test_run_that_came_to_nothing_binds_nobody(quick: RunConfig) -> None:
    reopened(quick)

    assert reopened(quick, seed=1).config.seed == 1


def test_directory_of_other_files_is_refused(quick: RunConfig) -> None:
    Path(quick.output).mkdir()
    (Path(quick.output) / "thesis.txt").write_text("mine")

    with pytest.raises(CheckpointError, match=r"holds thesis\.txt and no run"):
        reopened(quick)


def test_fresh_deletes_the_run_and_nothing_else(quick: RunConfig) -> None:
    reopened(quick).stage("one", dict)
    (Path(quick.output) / "model").mkdir()
    (Path(quick.output) / "thesis.txt").write_text("mine")

    with pytest.raises(CheckpointError, match=r"thesis\.txt"):
        open_journal(Path(quick.output), quick, listener=silence, fresh=True)

    assert [p.name for p in Path(quick.output).iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}', '{"version": 9}'])
def test_damaged_state_is_refused(quick: RunConfig, content: str) -> None:
    reopened(quick)
    (Path(quick.output) / "state.json").write_text(content)

    with pytest.raises(CheckpointError, match=r"state\.json cannot be read as the state of a run"):
        reopened(quick)


def test_state_of_another_version_is_refused(quick: RunConfig) -> None:
    reopened(quick)
    state = {"version": 9, "config": {}, "done": {}}
    (Path(quick.output) / "state.json").write_text(json.dumps(state))

    with pytest.raises(CheckpointError, match="has version 9, this sentei reads 1"):
        reopened(quick)


def test_seconds_of_a_stage_include_training_before_an_interruption(quick: RunConfig) -> None:
    found = reopened(quick).stage("one", lambda: {"curve": [{"seconds": 40.0}, {"seconds": 50.0}]})

    assert found["seconds"] == 90.0
