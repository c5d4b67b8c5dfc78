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
from sentei.spaces.prefix import Prefix, room
from sentei.spaces.prefix_cuts import cuts, first_calls
from sentei.surgery import apply, plan_removal
from sentei.train.recalibrate import start_measuring
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
    """Compare what subnetworks compute, one after another, with what each does alone.

    Attention makes its calls one by one where calls are followed, which rounds otherwise.
    """
    graph = trace(model, inputs)
    prefix = Prefix(graph=graph, num_images=2, measures=any(m.training for m in model.modules()))
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
        assert "forward" not in vars(small)
    return prefix


@pytest.mark.parametrize("name", NAMES)
def test_it_computes_what_every_subnetwork_computes_alone(name: str) -> None:
    here = case(name)
    check(here.model, here.inputs)


@pytest.mark.parametrize("name", ["plain", "residual", "dense"])
def test_it_measures_the_statistics_that_every_subnetwork_measures_alone(name: str) -> None:
    here = case(name)
    start_measuring(here.model)

    assert check(here.model, here.inputs)._kept


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(networks())
def test_it_does_so_in_random_networks(net: RandomNet) -> None:
    check(net.model, net.inputs)


class Small(nn.Module):
    """A stem of 4 channels, a convolution to 5, one back to 4 and one to 2."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)
        self.second, self.last = nn.Conv2d(5, 4, 1), nn.Conv2d(4, 2, 1)
        self.register_buffer("seen", torch.zeros(()))
        self.seen: Tensor
        self.memory = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, 3, H, W] to [N, 2, H, W]."""
        return self.last(self.second(self.first(self.early(x))))

    def early(self, x: Tensor) -> Tensor:
        """Map [N, 3, H, W] to [N, 4, H, W]."""
        return self.stem(x)


class AddsInPlace(Small):
    def forward(self, x: Tensor) -> Tensor:
        early = torch.relu_(self.early(x))
        out = self.second(torch.relu_(self.first(early)))
        out += early
        return self.last(nn.functional.relu(out, inplace=True))


class ChangesAView(Small):
    def forward(self, x: Tensor) -> Tensor:
        early = self.early(x)
        late = self.second(self.first(early))
        early[..., :1].mul_(2)
        return self.last(early + late)


class ChangesLate(Small):
    def forward(self, x: Tensor) -> Tensor:
        early = self.early(x)
        middle = self.first(early)
        early.mul_(2)
        return self.last(self.second(middle)) + early.mean()


class ReadsAPart(Small):
    def forward(self, x: Tensor) -> Tensor:
        early = self.early(x)
        part = early[:, :, :1, :1]
        return self.last(self.second(self.first(early)) + part)


class TakesTheLargest(Small):
    def early(self, x: Tensor) -> Tensor:
        return self.stem(x) * self.stem(x).max(dim=3, keepdim=True).values


class Counts(Small):
    def early(self, x: Tensor) -> Tensor:
        self.seen += 1
        return self.stem(x)


class Remembers(Small):
    def forward(self, x: Tensor) -> Tensor:
        early = self.early(x)
        self.memory.copy_(early.mean())
        return self.last(self.second(self.first(early))) + self.memory


class KnowsALaterWidth(Small):
    def early(self, x: Tensor) -> Tensor:
        return self.stem(x) * self.first.out_channels


class AsksForTheDevice(Small):
    def forward(self, x: Tensor) -> Tensor:
        before = self.stem(x)
        early = before.relu()
        late = self.second(self.first(early))
        return self.last(late + torch.ones((), dtype=before.dtype, device=before.device))


class WritesWithNumpy(Small):
    def forward(self, x: Tensor) -> Tensor:
        early = self.early(x)
        late = self.second(self.first(early))
        early.detach().numpy()[...] *= 2
        return self.last(early + late)


class SharesANorm(Small):
    """Normalises twice with the same statistics, which every use changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("var", torch.ones(4))
        self.mean: Tensor
        self.var: Tensor

    def norm(self, x: Tensor) -> Tensor:
        """Normalise [N, 4, H, W] by the batch."""
        return nn.functional.batch_norm(x, self.mean, self.var, training=True)

    def forward(self, x: Tensor) -> Tensor:
        late = self.second(self.first(self.norm(self.early(x))))
        return self.last(self.norm(late))


def test_statistics_with_uses_on_both_sides_are_measured_by_both() -> None:
    model = fill(SharesANorm())
    model.last.train()  # this network measures in any mode

    assert not check(model, example(2, 3, 5, 5))._kept


@pytest.mark.parametrize(
    ("make", "keeps"),
    [
        (Small, True),
        (AddsInPlace, True),
        (ChangesAView, False),
        (ChangesLate, True),
        (ReadsAPart, False),
        (TakesTheLargest, False),
        (Counts, False),
        (Remembers, False),
        (KnowsALaterWidth, False),
        (AsksForTheDevice, True),
        (WritesWithNumpy, False),
    ],
)
def test_what_networks_do_beside_computing_is_seen(make: type[Small], keeps: bool) -> None:
    prefix = check(fill(make()), example(2, 3, 5, 5))

    assert bool(prefix._kept) == keeps
    assert held(prefix) <= prefix.num_bytes


def held(prefix: Prefix) -> int:
    """Return the bytes of memory that hold what a prefix keeps, each once."""
    tensors = [t for _, output in prefix._kept.values() for t in tensors_in(output)]
    storages = {t.data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


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


class Interrupted(nn.Identity):
    """Raises what it is told to, in the second run."""

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self.runs = 0

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``."""
        self.runs += 1
        if self.error is not None and self.runs == 2:
            raise self.error
        return x


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("of its own")])
@pytest.mark.parametrize("goes_on", [False, True])
def test_a_pass_that_ended_early_leaves_nothing_to_share(
    error: BaseException, goes_on: bool
) -> None:
    model = nn.Sequential(fill(Small()), Interrupted())
    batches = [example(2, 3, 5, 5, seed=seed) for seed in (1, 2)]
    graph = trace(model, batches[0])
    prefix = Prefix(graph=graph, num_images=4)

    def judge(removed: Removal, error: BaseException | None = None) -> list[Tensor]:
        plan = plan_removal(graph, removed)
        small = apply(plan, model)
        assert isinstance(small, nn.Sequential)
        assert isinstance(small[1], Interrupted)
        small[1].error = error
        try:
            return prefix.run(
                small,
                lambda: [outputs(small, batch)[0] for batch in batches],
                removed=plan.removed,
                source="",
            )
        finally:
            assert "forward" not in vars(small)
            assert torch._C._len_torch_function_stack() == 0

    expected = judge({})
    # From the start of the network, or from its second convolution.
    other: Removal = {"0.first": (0, 1)} if goes_on else {"0.stem": (0, 1)}
    if goes_on and isinstance(error, RuntimeError):
        judge(other, error)  # run whole, because the cause may have been what was skipped
    else:
        with pytest.raises(type(error)):
            judge(other, error)

    for one, batch in zip(judge({}), expected, strict=True):
        assert torch.equal(one, batch)


def test_groups_that_are_not_in_the_graph_share_nothing() -> None:
    model, images = resnet20().eval(), example(2, 3, 8, 8).float()
    prefix = Prefix(graph=trace(model, images), num_images=2)
    whole = flops(model, images)

    spent = [
        prefix.run(model, partial(flops, model, images), removed=removed, source="")
        for removed in ({"other": (0,)}, {"other": (1,)}, {"other": (1,)})
    ]

    assert spent[:2] == [whole, whole]
    assert spent[2] < whole / 8


def test_a_network_that_runs_differently_is_run_whole_and_nothing_kept() -> None:
    model = fill(Small())
    images = example(2, 3, 5, 5)
    prefix = Prefix(graph=trace(model, images), num_images=2)
    other = nn.Sequential(nn.Flatten(), nn.Linear(75, 2)).double()

    for network in (model, other, model):
        found = prefix.run(network, partial(outputs, network, images), removed={}, source="")
        assert torch.equal(found[0], outputs(network, images)[0])
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
        sizes.append(held(prefix) // 1000 * 1000)
        assert sizes[-1] <= allowed
    assert sizes[0] == 0
    assert sizes[1] == 6 * 16 * 16 * 16 * 4 // 1000 * 1000
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
        Prefix(graph=trace(fill(AddsInPlace()), example(2, 3, 5, 5)), num_images=1).num_bytes
        == expected
    )


def test_first_calls_and_cuts_by_hand() -> None:
    """Calls: 0 stem, 1 relu, 2 first, 3 relu, 4 second, 5 add, 6 relu, 7 last."""
    graph = trace(fill(AddsInPlace()), example(2, 3, 5, 5))

    assert [g.name for g in graph.groups] == ["stem", "first"]
    np.testing.assert_array_equal(first_calls(graph), [0, 2])
    # The rest reads what calls 0 and 1 returned, one tensor.
    found = [(cut.call, sorted(cut.live)) for cut in cuts(graph, num_bytes=1e9)]
    assert found == [(2, [0, 1])]
