"""Plans as values: what they hold, how they are written, what they refuse."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from sentei.errors import PlanError, UnknownNameError
from sentei.graph import Graph, trace
from sentei.surgery import Plan, plan_keep, plan_removal
from tests.support import nets
from tests.support.compare import some_removal


def graph_of(name: str) -> Graph:
    case = nets.case(name)
    return trace(case.model, case.inputs)


@pytest.fixture
def graph() -> Graph:
    return graph_of("plain")


def test_widths_are_what_is_left(graph: Graph) -> None:
    plan = plan_removal(graph, {"conv1": [1, 4], "conv2": [0, 3, 7]})

    assert plan.widths.tolist() == [4, 5]


def test_keep_marks_the_channels_of_all_groups(graph: Graph) -> None:
    plan = plan_removal(graph, {"conv2": [7], "conv1": [4, 1]})

    assert np.flatnonzero(~plan.keep).tolist() == [1, 4, 6 + 7]


def test_indices_are_sorted_and_empty_removals_left_out(graph: Graph) -> None:
    plan = plan_removal(graph, {"conv2": [], "conv1": [4, 1]})

    assert plan.removed == {"conv1": (1, 4)}


def test_plan_of_a_mask_removes_what_the_mask_leaves_out(graph: Graph) -> None:
    keep = np.ones(14, dtype=np.bool_)
    keep[[0, 5, 6]] = False

    assert plan_keep(graph, keep).removed == {"conv1": (0, 5), "conv2": (0,)}


@pytest.mark.parametrize("name", nets.NAMES)
def test_json_round_trip(name: str) -> None:
    graph = graph_of(name)
    plan = plan_removal(graph, some_removal(graph))

    again = Plan.from_json(plan.to_json(), graph_of(name))

    assert again.removed == plan.removed
    assert (again.keep == plan.keep).all()


def test_text_shows_the_groups_that_shrink(graph: Graph) -> None:
    text = str(plan_removal(graph, {"conv2": [0, 3, 7]}))

    assert [line.split() for line in text.splitlines()] == [
        ["14", "->", "11", "channels", "in", "2", "groups"],
        ["conv2", "8", "->", "5"],
    ]


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ({"conv1": [6]}, "conv1: channel 6 does not exist; the group has channels 0 to 5"),
        ({"conv1": [-1]}, "conv1: channel -1 does not exist; the group has channels 0 to 5"),
        ({"conv1": [2, 2]}, r"conv1: a channel is named twice in \[2, 2\]; name it once"),
        ({"conv1": range(6)}, "conv1: the plan removes all 6 channels; keep at least 1"),
    ],
)
def test_impossible_removals_are_refused(
    graph: Graph, removed: Mapping[str, Sequence[int]], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        plan_removal(graph, removed)


@pytest.mark.parametrize("removed", [[0], [0, 1, 4], [0, 1, 2, 3]])
def test_unequal_rows_are_refused(removed: list[int]) -> None:
    with pytest.raises(PlanError, match="enter: 2 rows of channels must keep equally many"):
        plan_removal(graph_of("grouped"), {"enter": removed})


@pytest.mark.parametrize("removed", [[], [0, 4], [1, 2, 4, 7]])
def test_a_mask_gives_the_plan_of_its_removal(removed: list[int]) -> None:
    graph = graph_of("grouped")
    keep = graph.keep({"enter": removed})

    plan = plan_keep(graph, keep)

    assert plan.removed == plan_removal(graph, {"enter": removed}).removed
    assert plan.keep.tolist() == keep.tolist()


@pytest.mark.parametrize("removed", [[0], [0, 1, 4], [0, 1, 2, 3]])
def test_a_mask_that_leaves_unequal_rows_is_refused(removed: list[int]) -> None:
    graph = graph_of("grouped")
    keep = np.ones(graph.num_channels, dtype=np.bool_)
    keep[graph["enter"].first + np.array(removed)] = False

    with pytest.raises(PlanError, match="enter: 2 rows of channels must keep equally many"):
        plan_keep(graph, keep)


def test_a_mask_that_leaves_nothing_of_a_group_is_refused(graph: Graph) -> None:
    keep = np.arange(14) < 6

    with pytest.raises(PlanError, match="conv2: the plan removes all 8 channels"):
        plan_keep(graph, keep)


def test_a_mask_of_another_graph_is_refused(graph: Graph) -> None:
    with pytest.raises(PlanError, match=r"the mask has shape \[13\]; expected one .* 14 channels"):
        plan_keep(graph, np.ones(13, dtype=np.bool_))


def test_a_plan_does_not_follow_the_mask_it_was_made_of(graph: Graph) -> None:
    keep = np.ones(14, dtype=np.bool_)
    plan = plan_keep(graph, keep)
    keep[0] = False

    assert plan.keep.all()


def test_misspelt_group_is_answered_with_the_right_one(graph: Graph) -> None:
    with pytest.raises(UnknownNameError, match=r"no group 'conv3'\..*conv"):
        plan_removal(graph, {"conv3": [0]})


def test_frozen_group_says_why(graph: Graph) -> None:
    with pytest.raises(
        UnknownNameError, match=r"'linear'. It is frozen: its outputs: outputs of the model keep"
    ):
        plan_removal(graph, {"linear": [0]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        '{"version": 1}',
        '{"version": 1, "widths": {}, "removed": {"a": 3}}',
    ],
)
def test_other_text_is_no_plan(graph: Graph, text: str) -> None:
    with pytest.raises(PlanError, match="this is not a plan"):
        Plan.from_json(text, graph)


def test_other_version_is_refused(graph: Graph) -> None:
    document = json.loads(plan_removal(graph, {}).to_json()) | {"version": 99}

    with pytest.raises(PlanError, match="the plan has version 99; this sentei reads 1"):
        Plan.from_json(json.dumps(document), graph)


def test_plan_of_another_graph_is_refused(graph: Graph) -> None:
    text = plan_removal(graph_of("residual"), {"stem": [0]}).to_json()

    with pytest.raises(PlanError, match="made for another graph: groups conv1, conv2, stem differ"):
        Plan.from_json(text, graph)


def test_plan_read_from_json_is_checked(graph: Graph) -> None:
    text = plan_removal(graph, {"conv1": [5]}).to_json().replace("[5]", "[6]")

    with pytest.raises(PlanError, match="conv1: channel 6 does not exist"):
        Plan.from_json(text, graph)
