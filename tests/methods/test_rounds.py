"""Rounds of removal and recovery: the floor is a share of the dense widths."""

from dataclasses import replace

import pytest

from sentei import Budget
from sentei.criteria.magnitude import Magnitude
from sentei.methods import METHODS, Card, Composition, Method, Task
from sentei.search import SEARCHERS
from sentei.sparsify.bn_l1 import BnL1

CARD = Card(summary="A composition of these tests", section="baseline")
SPARSE_IN_ROUNDS = Composition(card=CARD, criterion=Magnitude(), sparsifier=BnL1(), rounds=2)


@pytest.mark.parametrize(
    "method", [METHODS["apoz"], METHODS["pfp"], SPARSE_IN_ROUNDS], ids=["apoz", "pfp", "sparse"]
)
def test_rounds_end_where_one_shot_with_the_floor_would(method: Method, task: Task) -> None:
    # 3 of 10 channels are at least 5 of 16 and 10 of 32. Multiply-adds of such a network:
    # 64 * 9 * 5 + 16 * 9 * (5 * 10 + 10 * 10 + 10 * 10) + 10 * 10 = 38980, of 378176: 0.1031.
    # A channel more anywhere costs 864 at least, so these widths alone meet a budget of 0.1035.
    tight = replace(
        task, budget=Budget(macs=0.1035), floor=0.3, recipe=replace(task.recipe, epochs=4)
    )

    outcome = method.run(tight)

    assert dict(outcome.widths) == {"conv1": 5, "conv2": 10, "conv3": 10}
    assert "recover 2" in {record.phase for record in outcome.curve}
    assert "as narrow as floor=0.3 lets them be" in outcome.notes[0]


def test_a_searcher_in_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rounds=2 with a searcher.*give rounds=1"):
        Composition(card=CARD, criterion=Magnitude(), searcher=SEARCHERS["eagleeye"](), rounds=2)
