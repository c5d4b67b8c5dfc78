"""Prefix: a subnetwork that starts where the last one differed computes what it computes alone."""

from collections.abc import Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sentei.graph import Graph, trace
from sentei.graph.capture import as_inputs, no_fast_path, tensors_in
from sentei.models.resnet_cifar import resnet20
from sentei.spaces.prefix import Prefix, cuts, first_calls, room
from sentei.surgery import apply, plan_removal
from tests.graph.strategies import RandomNet, networks
from tests.support.compare import some_removal
from tests.support.nets import NAMES, case, example, fill

Removal = Mapping[str, Sequence[int]]


@torch.no_grad()
def outputs(model: nn.Module, inputs: Any) -> list[Tensor]:  # noqa: ANN401 - as models take them
    given = as_inputs(inputs)
    args, kwargs = ((), given) if isinstance(given, dict) else (given, {})
    return list(tensors_in(model(*args, **kwargs)))


def removals(graph: Graph) -> list[Removal]:
    """Return removals in which ever more of the first groups are as they were before."""
    own = [some_removal(graph, ratio=ratio, seed=seed) for seed, ratio in enumerate((0.3, 0.6))]
    names = [g.name for g in graph.groups if g.width > 1]
    mixed = [
        {name: own[int(name in names[count:])][name] for name in names}
        for count in range(len(names) + 1)
    ]
    return [own[0], {}, *mixed, *reversed(mixed)]


def check(model: nn.Module, inputs: Any) -> Prefix:  # noqa: ANN401 - as models take them
    """Compare what subnetworks compute, one after another, with what each does alone."""
    graph = trace(model, inputs)
    prefix = Prefix(graph=graph, num_images=2)
    for removed in removals(graph):
        plan = plan_removal(graph, removed)
        alone, small = apply(plan, model), apply(plan, model)
        with no_fast_path():
            expected = outputs(alone, inputs)
            once = partial(outputs, small, inputs)
            found = prefix.run(small, once, removed=plan.removed, source="test")
        for one, other in zip(
            [*found, *small.buffers()], [*expected, *alone.buffers()], strict=True
        ):
            assert torch.equal(one, other)
        assert not small._forward_hooks
        assert not small._forward_pre_hooks
    return prefix


@pytest.mark.parametrize("name", NAMES)
def test_it_computes_what_every_subnetwork_computes_alone(name: str) -> None:
    here = case(name)
    check(here.model, here.inputs)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(networks())
def test_it_does_so_in_random_networks(net: RandomNet) -> None:
    check(net.model, net.inputs)


class InPlaceNet(nn.Module):
    """A residual network that adds and cuts off in place, as most do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1) for _ in range(4))
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, 3, H, W] to [N, 2]."""
        x = torch.relu_(self.stem(x))
        for first, second in zip(self.convs[::2], self.convs[1::2], strict=True):
            out = second(torch.relu_(first(x)))
            out += x
            x = nn.functional.relu(out, inplace=True)
        return self.head(x.mean((2, 3)))


class LateNet(nn.Module):
    """Doubles, late and through a view of it, a channel of what was computed early."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)
        self.third = nn.Conv2d(5, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, 3, H, W] to [N, 4, H, W]."""
        early = self.first(x)
        late = self.third(self.second(early))
        early[..., :1].mul_(2)
        return torch.cat([early, late], dim=1)


class RewrittenNet(nn.Module):
    """Doubles what was computed early, between two groups, and reads it again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)
        self.third, self.last = nn.Conv2d(5, 4, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, 3, H, W] to [N, 2, H, W]."""
        early = self.first(x)
        late = self.second(early)
        early.mul_(2)
        return self.last(torch.cat([early, self.third(late)], dim=1))


@pytest.mark.parametrize(
    ("make", "keeps"), [(InPlaceNet, True), (LateNet, False), (RewrittenNet, True)]
)
def test_calls_in_place_are_seen(make: type[nn.Module], keeps: bool) -> None:
    prefix = check(fill(make()), example(2, 3, 5, 5))

    assert bool(prefix._kept) == keeps


def flops(model: nn.Module, images: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        outputs(model, images)
    return int(counter.get_total_flops())


def test_what_comes_before_the_first_group_that_differs_is_not_computed_again() -> None:
    model = resnet20().eval()
    images = example(2, 3, 16, 16).float()
    graph = trace(model, images)
    prefix = Prefix(graph=graph, num_images=2)
    recipes: list[Removal] = [{"layer3.2.conv1": (1,)}, {"layer3.2.conv1": (1, 2, 3, 4)}, {}]

    spent = []
    for removed in recipes:
        plan = plan_removal(graph, removed)
        small = apply(plan, model)
        once = partial(flops, small, images)
        spent.append(prefix.run(small, once, removed=plan.removed, source=""))

    # Of the last block, 4 x 4 pixels, both convolutions remain, and the classifier.
    conv = 2 * 2 * 16 * 9 * 64  # flops of one channel of two images
    head = 2 * 2 * 64 * 10
    assert spent[1:] == [2 * width * conv + head for width in (60, 64)]
    assert spent[0] > 9 * spent[1]


def test_another_source_shares_nothing() -> None:
    model = resnet20().eval()
    images = example(2, 3, 8, 8).float()
    graph = trace(model, images)
    prefix = Prefix(graph=graph, num_images=2)
    whole = flops(model, images)

    for source, share in (("base", 1), ("base", 0), ("supernet", 1), ("base", 1)):
        found = prefix.run(model, partial(flops, model, images), removed={}, source=source)
        assert found == whole if share else found < whole / 8


def test_a_pass_that_ended_early_leaves_nothing_to_share() -> None:
    model = resnet20().eval()
    batches = [example(2, 3, 8, 8, seed=seed).float() for seed in (1, 2)]
    graph = trace(model, batches[0])
    prefix = Prefix(graph=graph, num_images=4)

    def judge(removed: Removal, *, ends: int = 2) -> list[Tensor]:
        plan = plan_removal(graph, removed)
        small = apply(plan, model)

        def once() -> list[Tensor]:
            found = [outputs(small, batch)[0] for batch in batches[:ends]]
            if ends < 2:
                raise KeyboardInterrupt
            return found

        try:
            return prefix.run(small, once, removed=plan.removed, source="")
        finally:
            assert not small._forward_hooks

    expected = judge({})
    with pytest.raises(KeyboardInterrupt):
        judge({"conv1": (0, 1, 2)}, ends=1)
    found = judge({})

    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_a_network_that_runs_differently_is_run_whole_and_nothing_kept() -> None:
    model = fill(InPlaceNet())
    images = example(2, 3, 5, 5)
    prefix = Prefix(graph=trace(model, images), num_images=2)
    other = nn.Sequential(nn.Flatten(), nn.Linear(75, 2)).double()

    for network in (model, other, model):
        found = prefix.run(network, partial(outputs, network, images), removed={}, source="")
        assert torch.equal(found[0], outputs(network, images)[0])
        assert not network._forward_hooks
        assert bool(prefix._kept) == (network is model and prefix._cuts != ())
    assert not prefix._kept


def test_no_more_is_kept_than_allowed() -> None:
    model = resnet20().eval()
    batches = [example(2, 3, 16, 16, seed=seed).float() for seed in range(3)]
    graph = trace(model, batches[0])

    sizes = []
    for allowed in (0, 6 * 16 * 16 * 16 * 4, 1 << 30):  # nothing, one map of stage 1, all
        prefix = Prefix(graph=graph, num_images=6, num_bytes=allowed)
        prefix.run(
            model, lambda: [outputs(model, batch) for batch in batches], removed={}, source=""
        )
        kept = {id(t): t for o in prefix._kept.values() for t in tensors_in(o) if not t.is_meta}
        sizes.append(sum(t.numel() * t.element_size() for t in kept.values()))
        assert sizes[-1] <= allowed
    assert sizes[0] == 0
    assert sizes[1] == 6 * 16 * 16 * 16 * 4
    assert sizes[2] > 3 * sizes[1]


@pytest.mark.parametrize(
    ("memory", "cores", "expected"),
    [(8 << 30, 2, 512 << 20), (256 << 30, 2, 1 << 30), (None, 4, 256 << 20)],
)
def test_a_worker_keeps_its_share_of_the_memory(
    monkeypatch: pytest.MonkeyPatch, memory: int | None, cores: int, expected: int
) -> None:
    machine = SimpleNamespace(memory_bytes=memory, num_cores=cores)
    monkeypatch.setattr("sentei.spaces.prefix.hardware", lambda: machine)

    assert room() == expected
    assert (
        Prefix(graph=trace(fill(InPlaceNet()), example(2, 3, 5, 5)), num_images=1).num_bytes
        == expected
    )


def test_first_calls_and_cuts_by_hand() -> None:
    """Calls: 0 stem, 1 relu, 2 first, 3 relu, 4 second, 5 add, 6 relu, 7 first, ..."""
    graph = trace(fill(InPlaceNet()), example(2, 3, 5, 5))

    assert [g.name for g in graph.groups] == ["stem", "convs.0", "convs.2"]
    np.testing.assert_array_equal(first_calls(graph), [0, 2, 7])
    found = cuts(graph, num_bytes=1e9)
    # Before the first block the rest reads what calls 0 and 1 returned, one tensor.
    assert [(cut.call, sorted(cut.live)) for cut in found] == [(2, [0, 1]), (7, [4, 5, 6])]
