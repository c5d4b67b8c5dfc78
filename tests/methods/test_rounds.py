"""Rounds of sparse training, removal and recovery."""

from dataclasses import replace

import pytest

from sentei import measure
from sentei.methods import METHODS, Task


@pytest.mark.parametrize(
    ("epochs", "phases"),
    [
        (2, ["sparse", "recover"]),
        (8, ["sparse 1", *["recover 1"] * 3, "sparse 2", *["recover 2"] * 3]),
    ],
)
def test_tick_and_tock_take_turns_where_there_are_epochs_for_both(
    task: Task, epochs: int, phases: list[str]
) -> None:
    longer = replace(task, recipe=replace(task.recipe, epochs=epochs))

    outcome = METHODS["gate-decorator"].run(longer)

    assert [record.phase for record in outcome.curve] == phases
    share = measure(outcome.model, task.inputs).macs / measure(task.model, task.inputs).macs
    assert 0.5 * (1 - task.tolerance) <= share <= 0.5


def test_gates_of_every_round_are_folded(task: Task) -> None:
    longer = replace(task, recipe=replace(task.recipe, epochs=8))

    outcome = METHODS["gate-decorator"].run(longer)

    assert [type(m) for m in outcome.model.modules()] == [type(m) for m in task.model.modules()]
    assert all(p.requires_grad for p in outcome.model.parameters())
