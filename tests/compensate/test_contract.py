"""What every compensation of the registry promises."""

import pytest
import torch
from torch import Tensor, nn

from sentei.compensate import COMPENSATIONS, Removal
from sentei.criteria.base import Needs
from sentei.errors import PruningError
from sentei.graph import trace
from sentei.graph.capture import tensors_in
from sentei.methods import SECTIONS
from sentei.surgery import Plan, apply, plan_removal
from tests.support import nets

every_compensation = pytest.mark.parametrize("name", list(COMPENSATIONS))

WITH_IMAGES = [name for name in COMPENSATIONS if Needs.IMAGES in COMPENSATIONS[name]().needs]
ONE_TENSOR = [name for name in nets.NAMES if isinstance(nets.case(name).inputs, Tensor)]


def planned(net: nets.Case) -> Plan:
    """Return a plan that removes the second channel of every row, or of every group."""
    graph = trace(net.model, net.inputs)
    rows = {g.name: range(g.width) if g.rows is None else g.rows.tolist() for g in graph.groups}
    removed = {}
    for name, row in rows.items():
        size = graph[name].width // graph[name].num_rows
        own = [[i for i, r in enumerate(row) if r == k] for k in range(graph[name].num_rows)]
        chosen = [1] if graph[name].rows is None else [r[1] for r in own if size > 1]
        if size > 1:
            removed[name] = chosen
    return plan_removal(graph, removed)


def removal(net: nets.Case) -> Removal:
    batches = [(net.inputs[:1], torch.zeros(1)), (net.inputs[1:], torch.zeros(1))]
    return Removal(model=net.model, plan=planned(net), batches=batches)


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: t.shape for name, t in model.state_dict().items()}


@every_compensation
@pytest.mark.parametrize("case", ONE_TENSOR)
def test_widths_stay_and_numbers_are_finite_in_every_structure(name: str, case: str) -> None:
    net = nets.case(case)
    given = removal(net)
    small = apply(given.plan, net.model)
    dense = {k: v.clone() for k, v in net.model.state_dict().items()}
    modes = [m.training for m in small.modules()]
    before = shapes(small)
    refusals = []

    try:
        COMPENSATIONS[name]().compensate(small, given)
    except PruningError as error:
        refusals.append(str(error))

    assert all(f"compensation '{name}'" in refusal for refusal in refusals)
    assert shapes(small) == before
    assert [m.training for m in small.modules()] == modes
    with torch.no_grad():
        assert all(bool(t.isfinite().all()) for t in tensors_in(small(net.inputs)))
    assert all(torch.equal(v, dense[k]) for k, v in net.model.state_dict().items())


@every_compensation
def test_the_same_removal_gives_the_same_bits(name: str) -> None:
    net = nets.case("residual")
    given = removal(net)
    first, second = (apply(given.plan, net.model) for _ in range(2))
    random_state = torch.get_rng_state()

    for small in (first, second):
        COMPENSATIONS[name]().compensate(small, given)

    assert torch.equal(torch.get_rng_state(), random_state)
    expected = first.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in second.state_dict().items())


@every_compensation
def test_a_plan_that_removes_nothing_changes_nothing(name: str) -> None:
    net = nets.case("plain")
    plan = plan_removal(trace(net.model, net.inputs), {})
    small = apply(plan, net.model)

    batches = [(net.inputs, torch.zeros(2))]
    COMPENSATIONS[name]().compensate(small, Removal(model=net.model, plan=plan, batches=batches))

    expected = net.model.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in small.state_dict().items())


@every_compensation
def test_a_network_traced_in_train_mode_is_compensated_as_in_evaluation_mode(name: str) -> None:
    net = nets.case("residual")
    expected = apply(removal(net).plan, net.model)
    COMPENSATIONS[name]().compensate(expected, removal(net))
    net.model.train()
    given = removal(net)
    small = apply(given.plan, net.model)

    COMPENSATIONS[name]().compensate(small, given)

    assert net.model.training
    assert small.training
    found = small.state_dict()
    assert all(torch.equal(v, found[k]) for k, v in expected.state_dict().items())


@pytest.mark.parametrize("name", WITH_IMAGES)
def test_no_images_are_refused_by_name(name: str) -> None:
    net = nets.case("plain")
    plan = planned(net)

    with pytest.raises(PruningError, match=rf"compensation '{name}' needs images; .*'merge'"):
        COMPENSATIONS[name]().compensate(
            apply(plan, net.model), Removal(model=net.model, plan=plan)
        )


@every_compensation
def test_source_names_a_paper_and_its_section(name: str) -> None:
    source = COMPENSATIONS[name]().source

    assert source.year
    assert source.arxiv
    assert source.section in SECTIONS
