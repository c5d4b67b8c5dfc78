"""Four criteria against the algorithms of their papers, done literally: time and agreement.

Run ``python benchmarks/criteria.py``; ``--save`` writes docs/results/criteria-speed.md. Both
sides get the same tensors and take turns in one process; only the scoring is timed, not the
forward pass that both need. One thread.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, this folder's parent is not on the path

from benchmarks.zoolib.runner import revision  # noqa: E402
from sentei.criteria import score  # noqa: E402
from sentei.criteria.base import Evidence, FloatArray, weights_CF  # noqa: E402
from sentei.criteria.chip import nuclear_norm_losses  # noqa: E402
from sentei.criteria.contributions import contributions, draw_positions, readers  # noqa: E402
from sentei.criteria.hrank import matrix_ranks  # noqa: E402
from sentei.criteria.thinet import removal_places  # noqa: E402
from sentei.criteria.vectors import weight_members  # noqa: E402
from sentei.criteria.watch import Reading, watch  # noqa: E402
from sentei.graph import Graph, trace  # noqa: E402
from sentei.graph.points import activations  # noqa: E402
from sentei.models import load_model  # noqa: E402
from sentei.records import atomic_write_text, hardware  # noqa: E402
from sentei.seeding import make_generator  # noqa: E402

BAR = 20.0  # times faster, each
PAGE = ROOT / "docs" / "results" / "criteria-speed.md"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One criterion on one set of tensors.

    Attributes:
        name: Of the criterion.
        what: It was given.
        literal: Scores as the paper computes them.
        ours: The same as sentei computes them.
        tolerance: Largest difference, relative to the largest score, that counts as equal.
        in_bar: The bar is asked of it; other cases show how the ratio depends on sizes.
    """

    name: str
    what: str
    literal: Callable[[], FloatArray]
    ours: Callable[[], FloatArray]
    tolerance: float
    in_bar: bool = True


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the runs of a case gave: seconds of each, and the difference of the scores."""

    case: Case
    literal_s: tuple[float, ...]
    ours_s: tuple[float, ...]
    difference: float

    @property
    def times_faster(self) -> float:
        """Median of the literal over the median of ours."""
        return statistics.median(self.literal_s) / statistics.median(self.ours_s)

    @property
    def is_equal(self) -> bool:
        """Whether the scores agree."""
        return self.difference <= self.case.tolerance


# The papers' algorithms ------------------------------------------------------------------------


def literal_chip(rows: Sequence[Tensor]) -> FloatArray:
    """A nuclear norm for every channel of every image."""
    found = []
    for matrix in (m for rows_NCF in rows for m in rows_NCF):
        whole = torch.linalg.matrix_norm(matrix, "nuc")
        for row in range(len(matrix)):
            masked = matrix.clone()
            masked[row] = 0
            found.append(float(whole - torch.linalg.matrix_norm(masked, "nuc")))
    return np.array(found)


def literal_hrank(maps: Sequence[Tensor]) -> FloatArray:
    """A rank for every map, one after the other."""
    return np.array([float(torch.linalg.matrix_rank(m)) for maps_BHW in maps for m in maps_BHW])


def literal_fpgm(vectors: Sequence[Tensor]) -> FloatArray:
    """A distance for every pair, one after the other."""
    found = []
    for vectors_CF in vectors:
        found += [sum(float(torch.dist(one, other)) for other in vectors_CF) for one in vectors_CF]
    return np.array(found)


def literal_thinet(rows: Sequence[FloatArray]) -> FloatArray:
    """At each step the sums of every candidate set, computed anew."""
    places = []
    for rows_RC in rows:
        gone: list[int] = []
        while len(gone) < rows_RC.shape[1]:
            left = [c for c in range(rows_RC.shape[1]) if c not in gone]
            errors = [float(np.square(rows_RC[:, [*gone, c]].sum(axis=1)).sum()) for c in left]
            gone.append(left[int(np.argmin(errors))])
        places.append(np.argsort(gone))
    return np.concatenate(places).astype(np.float64)


# What both get ---------------------------------------------------------------------------------


def cases(spec: str, *, num_images: int, widest_greedy: int, seed: int) -> list[Case]:
    """Return the cases of one network with random weights on random images.

    Args:
        spec: A network, as ``load_model`` takes it.
        num_images: Images that activations are taken from, >= 1.
        widest_greedy: ThiNet is compared on layers that read no more channels than this.
        seed: Of weights and images.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        loaded = load_model(spec)
    shape = (num_images, *(loaded.input_shape or (3, 32, 32)))
    images = torch.randn(shape, generator=make_generator(seed, "images"))
    graph = trace(loaded.model.eval(), images[:1])
    seen = [r for r in read_all(graph, images) if r.point.has_pixels]
    rows = [r.rows for r in seen]
    maps = [r.input.flatten(0, 1) for r in seen]
    vectors = vectors_of(graph)
    sums = [x for x in contributed(graph, images, seed) if x.shape[1] <= widest_greedy]
    large = torch.randn((128, 58, 58), generator=make_generator(seed, "maps"))
    large = torch.nn.functional.avg_pool2d(large, 3, 1).relu()
    network = f"{spec}, {num_images} images"
    return [
        Case(
            name="chip",
            what=f"{network}: {len(rows)} layers",
            literal=partial(literal_chip, rows),
            ours=lambda: np.concatenate([nuclear_norm_losses(r).flatten().numpy() for r in rows]),
            tolerance=1e-4,  # the literal subtracts sums of float32 singular values
        ),
        Case(
            name="hrank",
            what=f"{network}: {sum(map(len, maps))} maps",
            literal=partial(literal_hrank, maps),
            ours=lambda: np.concatenate([matrix_ranks(m).double().numpy() for m in maps]),
            tolerance=0,
        ),
        Case(
            name="hrank",
            what=f"{len(large)} maps of 56 x 56",
            literal=partial(literal_hrank, [large]),
            ours=lambda: matrix_ranks(large).double().numpy(),
            tolerance=0,
            in_bar=False,
        ),
        Case(
            name="fpgm",
            what=f"{spec}: {sum(len(v) ** 2 for v in vectors):,} pairs",
            literal=partial(literal_fpgm, vectors),
            ours=lambda: np.concatenate(list(score(graph, "fpgm").by_group.values())),
            tolerance=1e-5,
        ),
        Case(
            name="thinet",
            what=f"{network}: {len(sums)} layers of up to {widest_greedy} channels",
            literal=partial(literal_thinet, sums),
            ours=lambda: np.concatenate([removal_places(x.T @ x) for x in sums]),
            tolerance=0,
        ),
    ]


def read_all(graph: Graph, images: Tensor) -> list[Reading]:
    """Return what all readers of a graph see of the images."""
    found: list[Reading] = []
    with torch.no_grad(), watch(graph, graph.model, activations(graph), read=found.append):
        graph.model(images)
    return found


def vectors_of(graph: Graph) -> list[Tensor]:
    """Return the weights of the channels of every group, joined, [C, F]."""
    parameters = {name: p.detach() for name, p in graph.model.named_parameters()}
    evidence = Evidence(
        graph=graph, parameters={n: parameters[n] for n in graph.layouts if n in parameters}
    )
    return [
        torch.cat(
            [weights_CF(g, m, parameters[m.tensor]) for m in weight_members(evidence, g)], dim=1
        )
        for g in graph.groups
    ]


def contributed(graph: Graph, images: Tensor, seed: int) -> Iterator[FloatArray]:
    """Yield contributions to 2 positions an image of every layer, [outputs, C], float64."""
    found: list[FloatArray] = []

    def read(reading: Reading) -> None:
        draw = partial(draw_positions, positions=2, generator=make_generator(seed, "positions"))
        blocks = [rows.T.double().numpy() for _, rows in contributions(reading, draw)]
        found.append(np.concatenate(blocks))

    with torch.no_grad(), watch(graph, graph.model, readers(graph).values(), read=read):
        graph.model(images)
    return iter(found)


# Running and reporting -------------------------------------------------------------------------


def run(compared: Sequence[Case], *, num_runs: int) -> list[Result]:
    """Return the results of all cases; the two sides take turns, ours first warmed up."""
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in compared]
    differences = [0.0] * len(compared)
    for case in compared:
        case.ours()
    for _ in range(num_runs):
        for number, case in enumerate(compared):
            scores = []
            for side, compute in zip(times[number], (case.literal, case.ours), strict=True):
                start = time.perf_counter()
                scores.append(compute())
                side.append(time.perf_counter() - start)
            largest = float(np.abs(scores[0]).max())
            difference = float(np.abs(scores[0] - scores[1]).max()) / largest
            differences[number] = max(differences[number], difference)
    return [
        Result(case=c, literal_s=tuple(a), ours_s=tuple(b), difference=d)
        for c, (a, b), d in zip(compared, times, differences, strict=True)
    ]


def table(results: Sequence[Result]) -> str:
    """Return the results as a table in Markdown."""
    lines = [
        "| criterion | given | literal (s) | sentei (s) | times faster | least to most | largest "
        "difference | allowed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        ratios = sorted(a / b for a, b in zip(r.literal_s, r.ours_s, strict=True))
        medians = (statistics.median(side) for side in (r.literal_s, r.ours_s))
        cells = [f"`{r.case.name}`", r.case.what, *(f"{m:.4f}" for m in medians)]
        cells += [f"{r.times_faster:.0f}", f"{ratios[0]:.0f} to {ratios[-1]:.0f}"]
        cells += [f"{r.difference:.1e}", f"{r.case.tolerance:.0e}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(results: Sequence[Result]) -> list[str]:
    """Return what misses the bar or differs, in words; empty if nothing does."""
    slow = [r for r in results if r.case.in_bar and r.times_faster < BAR]
    unequal = [r for r in results if not r.is_equal]
    return [
        *(f"{r.case.name} is {r.times_faster:.0f} times faster, not {BAR:.0f}" for r in slow),
        *(f"{r.case.name} differs by {r.difference:.1e}" for r in unequal),
    ]


def page(results: Sequence[Result], *, num_runs: int) -> str:
    """Return the page of results."""
    missed = verdict(results)
    return f"""# Criteria against the literal algorithms of their papers

Both sides score the same tensors (a network with random weights, random images) and take turns in
one process on one thread; the forward pass that both need is not timed. Seconds are medians of
{num_runs} runs. *Literal*: CHIP takes a nuclear norm for every channel of every image; HRank calls
`torch.linalg.matrix_rank` map by map; FPGM measures one pair after the other; ThiNet recomputes the
sums of every candidate at every step. Differences are relative to the largest score; ranks and
orders must be the same. The bar is judged on the network. HRank meets it there because most maps of
such a network are small; on maps of 56 x 56, as ImageNet networks have in their first stages, it
is far below the bar (its second row). ThiNet runs on narrow layers only: the literal takes too
long on others.

- command: `python benchmarks/criteria.py --runs {num_runs} --save`
- machine: {hardware().cpu}, one thread, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}
- commit: {revision(ROOT)}

Bar: {BAR:.0f} times faster, each, judged on the network rows. {"Missed: " + "; ".join(missed) + "." if missed else "Met there."}

{table(results)}
"""


def main() -> int:
    """Time, print, and return 1 if the bar was missed or scores differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vgg16_bn")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", action="store_true", help="write docs/results/criteria-speed.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    compared = cases(options.model, num_images=options.images, widest_greedy=128, seed=options.seed)
    results = run(compared, num_runs=options.runs)
    print(table(results))
    if options.save:
        atomic_write_text(PAGE, page(results, num_runs=options.runs))
    missed = verdict(results)
    print("\n".join(missed) or "bar met")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
