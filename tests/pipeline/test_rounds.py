"""Several rounds as one removal, and what stands in a record."""

import pytest
import torch
from torch import nn

from sentei import PruningError, apply, plan_removal, score, trace
from sentei.pipeline.rounds import all_channels, compose, group_records, plan_of


def chain(width: int = 8) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 1)
    )


IMAGES = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_two_rounds_remove_what_one_plan_removes_from_the_dense_network() -> None:
    dense = chain()
    graph = trace(dense, IMAGES)
    first = plan_removal(graph, {"0": [1, 4], "2": [0]})
    once = apply(first, dense)
    second = plan_removal(trace(once, IMAGES), {"0": [0, 5]})
    twice = apply(second, once)

    kept = compose(compose(all_channels(graph), first), second)

    # 0..7 without 1 and 4 is 0 2 3 5 6 7; of these, positions 0 and 5 go.
    assert kept == {"0": [2, 3, 5, 6], "2": [1, 2, 3, 4, 5]}
    torch.testing.assert_close(apply(plan_of(graph, kept), dense)(IMAGES), twice(IMAGES))


def test_round_that_knows_other_groups_is_refused() -> None:
    graph = trace(chain(), IMAGES)
    other = plan_removal(trace(chain(width=10), IMAGES), {"0": [1]})

    with pytest.raises(PruningError, match="0 has 10 channels after earlier rounds"):
        compose(all_channels(graph), other)


def test_record_has_groups_with_scores_and_frozen_layers_with_reasons() -> None:
    graph = trace(chain(), IMAGES)

    records = {r["name"]: r for r in group_records(graph, score(graph, "l1"))}

    assert list(records) == ["0", "2", "4"]
    assert (records["0"]["width_before"], len(records["0"]["scores"])) == (8, 8)
    assert records["4"]["width_before"] == 2
    assert "outputs of the model" in records["4"]["frozen"]
