"""One-shot evaluations of subnetworks: sentei's worker against the literal way.

The literal way copies the network, builds Torch-Pruning's dependency graph, prunes, measures batch
norms anew and validates, every time: once with images sliced in batches from memory, once through a
``DataLoader`` that fetches and normalises image by image, as most code does. All ways get the same
widths, the same channels and the same images, and take turns; the literal ones in a process as
Python starts it, sentei's in one prepared as its workers are. CPU seconds on one thread. Without
``--data`` images and weights are random: times mean the same, ranks nothing.

Two questions are asked. Batch norms may be measured on training images: two sets of images, as many
forward passes for every way. Or each validation batch is judged by its own statistics: the literal way
measures on it, then judges it; sentei does both in one pass (``one_shot_norms = "val"``). Every way
of sentei must find what the literal one that computes the same finds.

A study evaluates hundreds of subnetworks, and what those with the same first widths have in common
sentei computes once. So it evaluates a whole population, in the order of a study, and the other ways a
few recipes spread over it; ratios are of seconds a MAC, because recipes differ in them. The bar is for
the faster question, a population against the literal way that computes the same; ``norms`` compares the
ranks of the two questions.
"""

import argparse
import copy
import importlib
import math
import statistics
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain, product
from multiprocessing import get_context
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from benchmarks.zoolib.table import table
from sentei.allocate import plan_widths
from sentei.cost import CostModel
from sentei.criteria import score
from sentei.data import DataSplits
from sentei.data.tensor_images import TensorImages
from sentei.engine.worker import keep_freed_memory
from sentei.graph import Graph
from sentei.pipeline.network import load_network
from sentei.pipeline.splits import load_splits
from sentei.records import hardware
from sentei.seeding import derive_seed, make_generator
from sentei.spaces.evaluate import Evaluator
from sentei.spaces.protocol import Norms, Protocol

# Shapes: G = groups, N = images.

BAR = 3.0  # times faster than the literal way that computes the same
FORWARD_BAR = 0.9  # share of a worker's time inside forward passes
BATCH = 128

Images: TypeAlias = Iterable[Sequence[Tensor]]
Ways: TypeAlias = Mapping[str, Callable[[Mapping[str, int]], float]]
"""Name -> a function of the widths by group that returns the validation loss."""

LITERAL = "literal"
LITERAL_LOADER = "literal, DataLoader"
LITERAL_VAL = "literal, norms of val"
SENTEI = "sentei, each by itself"
SENTEI_VAL = "sentei, norms of val, each by itself"
POPULATION = "sentei, a population"
POPULATION_VAL = "sentei, norms of val, a population"
POPULATIONS = (POPULATION, POPULATION_VAL)
SAME = {
    LITERAL: LITERAL,
    LITERAL_LOADER: LITERAL,
    SENTEI: LITERAL,
    POPULATION: LITERAL,
    LITERAL_VAL: LITERAL_VAL,
    SENTEI_VAL: LITERAL_VAL,
    POPULATION_VAL: LITERAL_VAL,
}
"""Way -> the literal way that computes the same."""
TOLERANCE = {SENTEI: 1e-4, POPULATION: 1e-4, SENTEI_VAL: 1e-3, POPULATION_VAL: 1e-3}
"""Way of sentei -> relative difference of losses that counts as the same computation: the variance of a
batch is biased where it normalises that batch, and unbiased where it is measured for another."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one way spent on one subnetwork, and what it found.

    Attributes:
        recipe: Number of the recipe in the population.
        macs: Multiply-accumulates of the subnetwork for one image.
        seconds: CPU seconds, end to end.
        forward_s: Those inside forward passes of the network.
        loss: Of validation, in nats.
    """

    recipe: int
    macs: float
    seconds: float
    forward_s: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is raced on, as the command line says it.

    Attributes:
        network: Name of a built-in network.
        data: As :func:`sentei.data.load_data` takes it; None is random images.
        weights: File of weights; None is random ones.
        val: Validation images.
        recalibration: Images for batch norms.
    """

    network: str
    data: str | None = None
    weights: str | None = None
    val: int
    recalibration: int

    @property
    def protocol(self) -> Protocol:
        """The protocol of the rows that compute the same."""
        return Protocol(recalibration_images=self.recalibration, recalibration_batch=BATCH)

    def evaluator(self) -> Evaluator:
        """Return sentei's evaluator; equal in every process."""
        model = load_network(self.network, num_classes=10, weights=self.weights).model.eval()
        if self.data:
            data = load_splits(self.data, model=model, counts={"val": self.val})
        else:
            shape = (3, 32, 32) if "digits" not in self.network else (1, 8, 8)
            data = random_images(shape, train=self.recalibration, val=self.val)
        return Evaluator(protocol=self.protocol, model=model, data=data)


# The literal way -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Literal:
    """Copies, builds a dependency graph, prunes, measures batch norms and validates, every time."""

    graph: Graph
    model: nn.Module
    data: DataSplits
    protocol: Protocol

    def from_memory(self, widths: Mapping[str, int]) -> float:
        """Return the validation loss of a subnetwork; images come from memory, batch by batch."""
        train = self.data.train
        assert isinstance(train, TensorImages)
        chunks = self._recalibration_N().split(BATCH)
        model = self._pruned(widths)
        recalibrate_literally(model, (train.batch(chunk.tolist()) for chunk in chunks))
        return validate_literally(model, self.data.loader("val", batch_size=BATCH))

    def from_loader(self, widths: Mapping[str, int]) -> float:
        """Return the validation loss of a subnetwork; images come one by one."""
        train = Subset(self.data.train, self._recalibration_N().tolist())
        model = self._pruned(widths)
        recalibrate_literally(model, DataLoader(train, batch_size=BATCH))
        return validate_literally(model, DataLoader(self.data.val, batch_size=BATCH))

    def by_val(self, widths: Mapping[str, int]) -> float:
        """Return the validation loss, each batch with norms measured on it; images from memory."""
        model, losses, counts = self._pruned(widths), [], []
        val = self.data.val
        assert isinstance(val, TensorImages)
        for chunk in self._val_batches():
            batch = val.batch(chunk.tolist())
            recalibrate_literally(model, [batch])
            losses.append(validate_literally(model, [batch]))
            counts.append(len(chunk))
        return float(np.average(losses, weights=counts))

    def _pruned(self, widths: Mapping[str, int]) -> nn.Module:
        widths_G = np.array([widths.get(g.name, g.width) for g in self.graph.groups])
        plan = plan_widths(self.graph, score(self.graph, self.protocol.criterion), widths_G)
        model = copy.deepcopy(self.model)
        prune_literally(model, plan.removed, torch.zeros(1, *self.data.input_shape))
        return model

    def _val_batches(self) -> Sequence[Tensor]:
        """Return the indices of validation images, batch by batch, that sentei takes too."""
        count = len(self.data.val)  # type: ignore[arg-type]  # all our data sets have a length
        generator = torch.Generator().manual_seed(derive_seed(self.protocol.seed, "validation"))
        size = math.ceil(count / math.ceil(count / BATCH))
        return torch.randperm(count, generator=generator).split(size)

    def _recalibration_N(self) -> Tensor:
        """Return the indices of the training images that sentei takes too."""
        root = derive_seed(self.protocol.seed, "replicate", "0")
        count = len(self.data.train)  # type: ignore[arg-type]  # all our data sets have a length
        generator = torch.Generator().manual_seed(derive_seed(root, "recalibration"))
        order = torch.randperm(count, generator=generator)
        return order[: self.protocol.recalibration_images]


def prune_literally(model: nn.Module, removed: Mapping[str, Sequence[int]], inputs: Tensor) -> None:
    """Remove channels of convolutions, by their names, with Torch-Pruning; changes the model."""
    rival = importlib.import_module("torch_pruning")
    graph = rival.DependencyGraph().build_dependency(model, example_inputs=inputs)
    for name, channels in removed.items():
        prune = rival.prune_conv_out_channels
        graph.get_pruning_group(model.get_submodule(name), prune, idxs=list(channels)).prune()


@torch.no_grad()
def recalibrate_literally(model: nn.Module, batches: Images) -> None:
    """Measure batch norms anew as means over batches; changes the model."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
            module.train()
    for images, _ in batches:
        model(images)
    model.eval()


@torch.no_grad()
def validate_literally(model: nn.Module, batches: Images) -> float:
    """Return the mean cross entropy."""
    total, count = 0.0, 0
    for images, labels in batches:
        total += nn.functional.cross_entropy(model(images), labels, reduction="sum").item()
        count += len(labels)
    return total / count


# The race --------------------------------------------------------------------------------------


def literal_ways(setting: Setting) -> Ways:
    """Return the literal ways."""
    full = setting.evaluator()
    literal = Literal(graph=full.graph, model=full.model, data=full.data, protocol=setting.protocol)
    return {
        LITERAL: literal.from_memory,
        LITERAL_LOADER: literal.from_loader,
        LITERAL_VAL: literal.by_val,
    }


def sentei_ways(setting: Setting) -> Ways:
    """Return sentei, with norms of training images and of the images it judges."""
    full = setting.evaluator()

    def way(norms: Norms, *, shares: bool = False) -> Callable[[Mapping[str, int]], float]:
        protocol = replace(setting.protocol, one_shot_norms=norms)
        evaluator = replace(full, protocol=protocol, shares=shares)
        return lambda widths: float(evaluator.run({"widths": widths}, lambda _: None)["val_loss"])

    return {
        SENTEI: way("train"),
        POPULATION: way("train", shares=True),
        SENTEI_VAL: way("val"),
        POPULATION_VAL: way("val", shares=True),
    }


def draw_widths(graph: Graph, count: int, *, low: float = 0.2) -> list[dict[str, int]]:
    """Return random widths, ``low`` to all of each group that one convolution alone produces.

    In the order in which a study evaluates them: by the width of the first group, then the second.

    Torch-Pruning does not follow the padded shortcuts of all networks; groups of one producer are
    removed alike by both.
    """
    weights = {f"{name}.weight" for name, m in graph.model.named_modules() if type(m) is nn.Conv2d}
    single = [
        group
        for group in graph.groups
        if [m.tensor for m in group.members if m.dim == 0 and m.tensor in weights]
        == [f"{group.name}.weight"]
    ]
    rng = np.random.default_rng(0)
    drawn = [
        {g.name: max(1, round(g.width * float(rng.uniform(low, 1.0)))) for g in single}
        for _ in range(count)
    ]
    return sorted(drawn, key=lambda widths: tuple(widths.values()))


def race(
    setting: Setting,
    graph: Graph,
    recipes: Sequence[Mapping[str, int]],
    *,
    subnets: int,
    whole: Collection[str] = (POPULATION_VAL,),
) -> dict[str, list[Measured]]:
    """Return for every way what it did; they take turns in two processes.

    The last recipe is run once unmeasured: a worker loads images and scores once in its life.

    Args:
        setting: What is raced on.
        graph: Of its network.
        recipes: The population, in the order of a study.
        subnets: How many of them, spread evenly, all ways evaluate but those for populations.
        whole: Ways that evaluate the whole population; others for populations are left out.
    """
    costs = CostModel.of(graph)
    chosen = set(np.linspace(0, len(recipes) - 1, subnets).round().astype(int).tolist())
    spawn = get_context("spawn")
    with ExitStack() as stack:
        pools = {
            kind: stack.enter_context(
                ProcessPoolExecutor(1, spawn, initializer=_begin, initargs=(kind, setting))
            )
            for kind in _KINDS
        }
        hosts = {name: pool for pool in pools.values() for name in pool.submit(_names).result()}
        hosts = {name: hosts[name] for name in hosts if name not in POPULATIONS or name in whole}
        for name, host in hosts.items():
            host.submit(_measure, name, recipes[-1]).result()
        found: dict[str, list[Measured]] = {name: [] for name in hosts}
        for number, name in product(range(len(recipes)), hosts):
            if name in whole or number in chosen:
                spent = hosts[name].submit(_measure, name, recipes[number]).result()
                macs = _macs(costs, graph, recipes[number])
                found[name].append(Measured(recipe=number, macs=macs, **spent))
    return found


def _macs(costs: CostModel, graph: Graph, recipe: Mapping[str, int]) -> float:
    widths_G = np.array([recipe.get(g.name, g.width) for g in graph.groups])
    return float(costs.costs(widths_G, names=("macs",))["macs"])


_KINDS = {"literal": literal_ways, "sentei": sentei_ways}
_ways: dict[str, Callable[[Mapping[str, int]], float]] = {}  # of this process of the race


def _begin(kind: str, setting: Setting) -> None:
    """Prepare a process of the race."""
    if kind == "sentei":
        keep_freed_memory()
    torch.set_num_threads(1)
    _ways.update(_KINDS[kind](setting))


def _names() -> list[str]:
    return list(_ways)


def _measure(name: str, recipe: Mapping[str, int]) -> dict[str, float]:
    """Return what a way spends on one recipe: ``seconds``, ``forward_s`` and ``loss``."""
    with timed_forwards() as forwards:
        begin = time.process_time()
        loss = _ways[name](recipe)
        seconds = time.process_time() - begin
    return {"seconds": seconds, "forward_s": sum(forwards), "loss": loss}


@contextmanager
def timed_forwards() -> Iterator[list[float]]:
    """Collect the CPU seconds of every outermost call of a module in a ``with`` block."""
    seconds: list[float] = []
    call = nn.Module.__call__
    depth = 0

    def timed(self: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the module
        nonlocal depth
        begin = time.process_time()
        depth += 1
        try:
            return call(self, *args, **kwargs)
        finally:
            depth -= 1
            if depth == 0:
                seconds.append(time.process_time() - begin)

    nn.Module.__call__ = timed  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        nn.Module.__call__ = call  # type: ignore[method-assign]


def rows(found: Mapping[str, Sequence[Measured]]) -> list[dict[str, Any]]:
    """Return seconds, ratios of seconds a MAC, share of forwards, and agreement with literal ways.

    ``times_faster`` and ``largest_difference`` are against the literal way that computes the same,
    ``times_faster_than_literal`` and ``tau`` against that with norms of training images.
    """
    base = found[LITERAL]
    losses = {name: {m.recipe: m.loss for m in own} for name, own in found.items()}
    return [
        {
            "way": name,
            "subnets": len(own),
            "seconds": statistics.fmean(m.seconds for m in own),
            "times_faster": _seconds_a_mac(found[SAME[name]]) / _seconds_a_mac(own),
            "largest_difference": max(
                abs(losses[name][m.recipe] - m.loss) / abs(m.loss) for m in found[SAME[name]]
            ),
            "forward_share": sum(m.forward_s for m in own) / sum(m.seconds for m in own),
            "times_faster_than_literal": _seconds_a_mac(base) / _seconds_a_mac(own),
            "tau": float(
                kendalltau([m.loss for m in base], [losses[name][m.recipe] for m in base]).statistic
            ),
        }
        for name, own in found.items()
    ]


def _seconds_a_mac(own: Sequence[Measured]) -> float:
    return sum(m.seconds for m in own) / sum(m.macs for m in own)


def misses(row: Mapping[str, Any]) -> list[str]:
    """Return what a row of sentei misses, in words; the bar is for a population with norms of val."""
    said = []
    if row["largest_difference"] > TOLERANCE[row["way"]]:
        said.append(f"{row['way']} differs by {row['largest_difference']:.1e} from the literal")
    if row["way"] == POPULATION_VAL and row["times_faster"] < BAR:
        said.append(f"{row['way']} is {row['times_faster']:.2f} times faster, not {BAR:g}")
    if row["forward_share"] < FORWARD_BAR:
        said.append(f"{row['way']} spends {row['forward_share']:.0%} of its time in forwards")
    return said


def random_images(shape: tuple[int, int, int], *, train: int, val: int) -> DataSplits:
    """Return random bytes with random labels of ten classes."""
    generator = make_generator(0, "random images")

    def draw(count: int) -> TensorImages:
        images = torch.randint(256, (count, *shape), generator=generator, dtype=torch.uint8)
        labels = torch.randint(10, (count,), generator=generator)
        return TensorImages(images, labels, mean=[0.5] * shape[0], std=[0.25] * shape[0])

    return DataSplits(
        name="random",
        train=draw(train),
        val=draw(val),
        test=draw(BATCH),
        num_classes=10,
        class_names=tuple(map(str, range(10))),
        input_shape=shape,
        digest="",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command line."""
    parser.add_argument("--network", default="resnet20", help="built-in name (resnet20)")
    parser.add_argument("--data", help="such as cifar10:DIR; random images without")
    parser.add_argument("--weights", help="file of weights; random ones without")
    parser.add_argument(
        "--population", type=int, default=500, help="subnetworks of the study (500)"
    )
    parser.add_argument(
        "--subnets", type=int, default=5, help="how many of them all ways evaluate (5)"
    )
    parser.add_argument(
        "--whole",
        nargs="+",
        choices=("train", "val"),
        default=["val"],
        help="norms with which sentei evaluates all of the population (val)",
    )
    parser.add_argument("--val", type=int, default=5000, help="validation images (5000)")
    parser.add_argument(
        "--recalibration", type=int, default=12800, help="images for batch norms (12800)"
    )


def run(options: argparse.Namespace) -> int:
    """Run the race; return 0 if the bar is met."""
    names = ("network", "data", "weights", "val", "recalibration")
    setting = Setting(**{name: getattr(options, name) for name in names})
    graph = setting.evaluator().graph
    recipes = draw_widths(graph, options.population)
    whole = [{"train": POPULATION, "val": POPULATION_VAL}[norms] for norms in options.whole]
    found = rows(race(setting, graph, recipes, subnets=options.subnets, whole=whole))
    machine = hardware()
    print(
        f"{options.network}, {options.data or 'random images'}, {options.val} validation images, "
        f"{options.recalibration} for batch norms, "
        f"{machine.cpu}, torch {torch.__version__}, one thread\n"
    )
    print(
        table(
            (
                "way",
                "subnetworks",
                "CPU s",
                "times the same",
                "largest difference",
                "in forwards",
                "times the literal",
                "Kendall tau",
            ),
            [
                (
                    row["way"],
                    str(row["subnets"]),
                    f"{row['seconds']:.2f}",
                    f"{row['times_faster']:.2f}",
                    f"{row['largest_difference']:.1e}",
                    f"{row['forward_share']:.1%}",
                    f"{row['times_faster_than_literal']:.2f}",
                    f"{row['tau']:.3f}",
                )
                for row in found
            ],
        )
    )
    said = list(chain(*(misses(row) for row in found if row["way"] in TOLERANCE)))
    for line in said:
        print(f"missed: {line}")
    return 1 if said else 0
