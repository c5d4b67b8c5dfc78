"""One-shot evaluations of subnetworks: sentei's worker against the literal way, in one process.

    python benchmarks/space_evaluations.py [--data cifar10:DIR --weights FILE] [--subnets N]

The literal way copies the network, builds Torch-Pruning's dependency graph, prunes, measures batch
norms anew and validates, every time. Both get the same widths, the same channels and the same
images, and take turns. CPU seconds on one thread. Without ``--data`` images and weights are random:
times mean the same, ranks nothing. Variants of sentei that compute something else (fewer images,
bfloat16) are rows of their own, with the agreement of their ranks with the literal ones. Exit code
1 when the bar is missed by the row that computes the same.
"""

import argparse
import copy
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, this folder's parent is not on the path

from benchmarks.zoolib.table import table  # noqa: E402
from sentei.allocate import plan_widths  # noqa: E402
from sentei.criteria import score  # noqa: E402
from sentei.data import DataSplits  # noqa: E402
from sentei.data.base import Batches  # noqa: E402
from sentei.data.tensor_images import TensorImages  # noqa: E402
from sentei.graph import Graph  # noqa: E402
from sentei.models import load_model  # noqa: E402
from sentei.pipeline.network import load_network  # noqa: E402
from sentei.pipeline.splits import load_splits  # noqa: E402
from sentei.records import hardware  # noqa: E402
from sentei.seeding import derive_seed, make_generator  # noqa: E402
from sentei.spaces.evaluate import Evaluator  # noqa: E402
from sentei.spaces.protocol import Protocol  # noqa: E402

BAR = 3.0  # times faster than the literal way
FORWARD_BAR = 0.9  # share of a worker's time inside forward passes
TOLERANCE = 1e-4  # relative difference of losses that counts as the same computation
BATCH = 128


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one way spent on one subnetwork, and what it found.

    Attributes:
        seconds: CPU seconds, end to end.
        forward_s: Those inside forward passes of the network.
        loss: Of validation, in nats.
    """

    seconds: float
    forward_s: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to evaluate a subnetwork.

    Attributes:
        name: For the table.
        run: Widths by group -> validation loss.
        is_same: It computes what the literal way computes.
    """

    name: str
    run: Callable[[Mapping[str, int]], float] = field(repr=False)
    is_same: bool = False


# The literal way -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Literal:
    """Copies, builds a dependency graph, prunes, measures batch norms and validates, every time."""

    graph: Graph
    model: nn.Module
    data: DataSplits
    protocol: Protocol

    def run(self, widths: Mapping[str, int]) -> float:
        """Return the validation loss of a subnetwork."""
        widths_G = np.array([widths.get(g.name, g.width) for g in self.graph.groups])
        plan = plan_widths(self.graph, score(self.graph, self.protocol.criterion), widths_G)
        model = copy.deepcopy(self.model)
        prune_literally(model, plan.removed, torch.zeros(1, *self.data.input_shape))
        recalibrate_literally(model, self._recalibration())
        return validate_literally(model, self.data.loader("val", batch_size=BATCH))

    def _recalibration(self) -> Iterator[Tensor]:
        """Yield the training images that sentei takes too, fetched anew."""
        root = derive_seed(self.protocol.seed, "replicate", "0")
        count = len(self.data.train)  # type: ignore[arg-type]  # all our data sets have a length
        generator = torch.Generator().manual_seed(derive_seed(root, "recalibration"))
        order = torch.randperm(count, generator=generator)[: self.protocol.recalibration_images]
        assert isinstance(self.data.train, TensorImages)
        for chunk in order.split(self.protocol.recalibration_batch):
            yield self.data.train.batch(chunk.tolist())[0]


def prune_literally(model: nn.Module, removed: Mapping[str, Sequence[int]], inputs: Tensor) -> None:
    """Remove channels of convolutions, by their names, with Torch-Pruning; changes the model."""
    rival = importlib.import_module("torch_pruning")
    graph = rival.DependencyGraph().build_dependency(model, example_inputs=inputs)
    for name, channels in removed.items():
        prune = rival.prune_conv_out_channels
        graph.get_pruning_group(model.get_submodule(name), prune, idxs=list(channels)).prune()


@torch.no_grad()
def recalibrate_literally(model: nn.Module, batches: Iterator[Tensor]) -> None:
    """Measure batch norms anew as means over batches; changes the model."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
            module.train()
    for images in batches:
        model(images)
    model.eval()


@torch.no_grad()
def validate_literally(model: nn.Module, batches: Batches) -> float:
    """Return the mean cross entropy."""
    total, count = 0.0, 0
    for images, labels in batches:
        total += nn.functional.cross_entropy(model(images), labels, reduction="sum").item()
        count += len(labels)
    return total / count


# The race --------------------------------------------------------------------------------------


def ways(model: nn.Module, data: DataSplits, protocol: Protocol, few: int) -> list[Way]:
    """Return the literal way, sentei on the same images, and its options."""
    full = Evaluator(protocol=protocol, model=model, data=data)
    literal = Literal(graph=full.graph, model=model, data=data, protocol=protocol)

    def sentei(name: str, *, is_same: bool = False, **changes: Any) -> Way:  # noqa: ANN401
        evaluator = replace(full, protocol=replace(protocol, **changes))
        return Way(name=name, run=lambda w: one_shot(evaluator, w), is_same=is_same)

    return [
        Way(name="literal", run=literal.run, is_same=True),
        sentei("sentei", is_same=True),
        sentei("bfloat16", one_shot_dtype="bfloat16"),
        sentei(f"{few} images for batch norms", recalibration_images=few),
        sentei(f"{few}, bfloat16", recalibration_images=few, one_shot_dtype="bfloat16"),
    ]


def one_shot(evaluator: Evaluator, widths: Mapping[str, int]) -> float:
    """Return the validation loss as a worker finds it."""
    return float(evaluator.run({"widths": widths}, lambda _: None)["val_loss"])


def draw_widths(graph: Graph, count: int, *, low: float = 0.2) -> list[dict[str, int]]:
    """Return random widths, ``low`` to all of each group that one convolution alone produces.

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
    return [
        {g.name: max(1, round(g.width * float(rng.uniform(low, 1.0)))) for g in single}
        for _ in range(count)
    ]


def race(contenders: Sequence[Way], recipes: Sequence[Mapping[str, int]]) -> list[list[Measured]]:
    """Return for every way what it did on every recipe; they take turns.

    The first recipe is run once unmeasured: a worker loads images and scores once in its life.
    """
    for way in contenders:
        way.run(recipes[0])
    found: list[list[Measured]] = [[] for _ in contenders]
    for recipe in recipes:
        for way, own in zip(contenders, found, strict=True):
            own.append(measure_one(way, recipe))
    return found


def measure_one(way: Way, recipe: Mapping[str, int]) -> Measured:
    """Return what a way spends on one recipe."""
    with timed_forwards() as forwards:
        begin = time.process_time()
        loss = way.run(recipe)
        seconds = time.process_time() - begin
    return Measured(seconds=seconds, forward_s=sum(forwards), loss=loss)


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


def rows(contenders: Sequence[Way], found: Sequence[Sequence[Measured]]) -> list[dict[str, Any]]:
    """Return seconds, ratio, share of forwards and agreement of every way with the first."""
    base = found[0]
    return [
        {
            "way": way.name,
            "is_same": way.is_same,
            "seconds": statistics.median(m.seconds for m in own),
            "times_faster": sum(m.seconds for m in base) / sum(m.seconds for m in own),
            "forward_share": sum(m.forward_s for m in own) / sum(m.seconds for m in own),
            "largest_difference": max(
                abs(m.loss - b.loss) / abs(b.loss) for m, b in zip(own, base, strict=True)
            ),
            "tau": float(kendalltau([m.loss for m in base], [m.loss for m in own]).statistic),
        }
        for way, own in zip(contenders, found, strict=True)
    ]


def misses(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the row that computes the same as the literal way misses, in words."""
    said = []
    for row in found[1:]:
        if not row["is_same"]:
            continue
        if row["largest_difference"] > TOLERANCE:
            said.append(f"{row['way']} differs by {row['largest_difference']:.1e} from the literal")
        if row["times_faster"] < BAR:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the race; return 0 if the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", default="resnet20", help="built-in name (resnet20)")
    parser.add_argument("--data", help="such as cifar10:DIR; random images without")
    parser.add_argument("--weights", help="file of weights; random ones without")
    parser.add_argument("--subnets", type=int, default=5, help="how many (5)")
    parser.add_argument("--val", type=int, default=5000, help="validation images (5000)")
    parser.add_argument(
        "--recalibration", type=int, default=12800, help="images for batch norms (12800)"
    )
    parser.add_argument(
        "--few", type=int, default=1280, help="images for batch norms of the faster rows (1280)"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.data:
        model = load_network(options.network, num_classes=10, weights=options.weights).model
        data = load_splits(options.data, model=model, counts={"val": options.val})
    else:
        model = load_model(options.network, num_classes=10).model
        shape = (3, 32, 32) if "digits" not in options.network else (1, 8, 8)
        data = random_images(shape, train=options.recalibration, val=options.val)
    protocol = Protocol(recalibration_images=options.recalibration, recalibration_batch=BATCH)
    contenders = ways(model.eval(), data, protocol, options.few)
    recipes = draw_widths(
        Evaluator(protocol=protocol, model=model, data=data).graph, options.subnets
    )
    found = rows(contenders, race(contenders, recipes))
    machine = hardware()
    print(
        f"{options.network}, {data.name}, {options.val} validation images, "
        f"{options.recalibration} for batch norms, {options.subnets} subnetworks, "
        f"{machine.cpu}, torch {torch.__version__}, one thread\n"
    )
    print(
        table(
            ("way", "CPU s", "times faster", "in forwards", "largest difference", "Kendall tau"),
            [
                (
                    row["way"],
                    f"{row['seconds']:.2f}",
                    f"{row['times_faster']:.2f}",
                    f"{row['forward_share']:.1%}",
                    f"{row['largest_difference']:.1e}",
                    f"{row['tau']:.3f}",
                )
                for row in found
            ],
        )
    )
    said = misses(found)
    for line in said:
        print(f"missed: {line}")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
