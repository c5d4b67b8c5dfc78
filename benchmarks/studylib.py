"""What a comparison of combinations needs beside the networks: jobs, their order, statistics."""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import stats

from benchmarks.zoolib.runner import append_record

Stage = Literal["recalibrate", "recover"]
Record = Mapping[str, Any]
Cell = tuple[str, float]
"""A network and its budget: what combinations are compared in."""


@dataclass(frozen=True, kw_only=True, order=True)
class Combination:
    """What decides which channels go.

    Attributes:
        criterion: Its name.
        scope: Its name.
        normalization: How scores of a group are put on the scale of the others; "" where the
            scope does not use it.
        tool: ``"sentei"`` or ``"torch-pruning"``.
        keeps_stream: The channels of the residual stream stay.
        reduction: How the slices of a channel become one number, where the criterion can choose.
        floor: Least share of a group that stays.
    """

    criterion: str
    scope: str
    normalization: str = ""
    tool: str = "sentei"
    keeps_stream: bool = False
    reduction: str = "mean"
    floor: float = 0.1

    def __str__(self) -> str:
        words = (self.criterion, self.scope, self.normalization)
        marks = (
            "keep-stream" if self.keeps_stream else "",
            "TP" if self.tool != "sentei" else "",
            self.reduction if self.reduction != "mean" else "",
            f"floor={self.floor:g}" if self.floor != 0.1 else "",
        )
        return " ".join(filter(None, (*words, *marks)))

    @property
    def is_probe(self) -> bool:
        """Whether it explains others and cannot be chosen: no default reduction or floor."""
        return self.reduction != "mean" or self.floor != 0.1


@dataclass(frozen=True, kw_only=True)
class Job:
    """One pruned network.

    Attributes:
        stage: What follows pruning: new statistics of the norms only, or training too.
        network: Name of the network.
        macs: Share of the multiply-adds that stays, in (0, 1).
        combination: What decides which channels go.
        seed: Of calibration images, data order, augmentation and random scores.
    """

    stage: Stage
    network: str
    macs: float
    combination: Combination
    seed: int

    @property
    def name(self) -> str:
        """What its record is found by."""
        return f"{self.stage} {self.network} {self.macs:g} seed{self.seed} {self.combination}"


def run_jobs(
    jobs: Sequence[Job], work: Callable[[Job], Record], *, path: Path, known: dict[str, Record]
) -> None:
    """Run what is not known yet, append its records to ``path`` and add them to ``known``."""
    todo = [job for job in jobs if job.name not in known]
    begin = time.monotonic()
    for done, job in enumerate(todo, start=1):
        record = {"name": job.name, **work(job)}
        append_record(path, record)
        known[job.name] = record
        spent = time.monotonic() - begin
        left = spent / done * (len(todo) - done) / 60
        shown = f"val {record['val_accuracy']:.3f}, {record['cpu_seconds']:.1f} CPU-s"
        print(f"[{done:3d}/{len(todo)}] {job.name}: {shown}, {left:.1f} min left", flush=True)


# What goes on to the second stage --------------------------------------------------------------


def best_of_each_criterion(found: Mapping[Combination, Mapping[Cell, float]]) -> list[Combination]:
    """Return for every criterion its combination of highest mean accuracy, the best ones first.

    Args:
        found: Accuracy by combination and cell; every combination has the same cells.
    """
    best: dict[str, Combination] = {}
    means = {c: statistics.fmean(cells.values()) for c, cells in found.items()}
    for combination in sorted(means):
        leader = best.setdefault(combination.criterion, combination)
        if means[combination] > means[leader]:
            best[combination.criterion] = combination
    return sorted(best.values(), key=lambda c: means[c], reverse=True)


# Statistics ------------------------------------------------------------------------------------


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error, NaN for a single value.

    Example:
        >>> mean_and_error([1.0, 2.0, 3.0])
        (2.0, 0.5773502691896258)
    """
    if len(values) < 2:
        return statistics.fmean(values), math.nan
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))


def mean_ranks(found: Mapping[Combination, Mapping[Cell, float]]) -> dict[Combination, float]:
    """Return the mean over the cells of the rank by accuracy, 1 = best; ties share their mean.

    Cells that a combination lacks are left out for all.
    """
    combinations = list(found)
    cells = set.intersection(*(set(c) for c in found.values()))
    ranks = [
        stats.rankdata([-found[c][cell] for c in combinations]).tolist() for cell in sorted(cells)
    ]
    return {c: statistics.fmean(r[i] for r in ranks) for i, c in enumerate(combinations)}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One combination against another over the same runs.

    Attributes:
        mean: Mean difference of accuracy, positive where the first is ahead.
        error: Standard error of it over the pairs.
        num_pairs: Number of pairs: same network, budget and seed.
        num_wins: Pairs in which the first is ahead.
        p_value: Of the two-sided sign-flip test over the pairs.
    """

    mean: float
    error: float
    num_pairs: int
    num_wins: int
    p_value: float


def compare(first: Mapping[Any, float], second: Mapping[Any, float]) -> Comparison:
    """Compare two combinations over the runs that both have.

    Args:
        first: Accuracy by run.
        second: Likewise.
    """
    runs = sorted(first.keys() & second.keys())
    differences = [first[run] - second[run] for run in runs]
    mean, error = mean_and_error(differences)
    return Comparison(
        mean=mean,
        error=error,
        num_pairs=len(runs),
        num_wins=sum(d > 0 for d in differences),
        p_value=sign_flip_p_value(differences),
    )


def sign_flip_p_value(differences: Sequence[float]) -> float:
    """Return how often random signs give a mean at least as far from 0, over all sign patterns.

    The least value possible with n differences is 2 / 2^n.

    Args:
        differences: At most 20.

    Example:
        >>> sign_flip_p_value([1.0, 2.0, 3.0])
        0.25
    """
    signs_NK = np.array(list(itertools.product((-1.0, 1.0), repeat=len(differences))))
    sums_N = np.abs(signs_NK @ np.asarray(differences))
    # Patterns equal to the observed one must not fall below it by a rounding error.
    return float((sums_N >= abs(math.fsum(differences)) - 1e-12).mean())


def by_cell(
    records: Iterable[Record], value: str
) -> dict[Combination, dict[Cell, dict[int, float]]]:
    """Return a number of every record by combination, cell and seed."""
    found: dict[Combination, dict[Cell, dict[int, float]]] = {}
    for record in records:
        cell = (record["network"], record["macs"])
        own = found.setdefault(Combination(**record["combination"]), {})
        own.setdefault(cell, {})[record["seed"]] = record[value]
    return found


def seed_means(
    found: Mapping[Combination, Mapping[Cell, Mapping[int, float]]],
) -> dict[Combination, dict[Cell, float]]:
    """Return the means over the seeds."""
    return {
        combination: {cell: statistics.fmean(seeds.values()) for cell, seeds in cells.items()}
        for combination, cells in found.items()
    }


# The page --------------------------------------------------------------------------------------

# Mean ranks of the criteria over the nine CIFAR-100 boards (three networks, three budgets) of
# PruningBench's public leaderboards (arXiv:2406.12315), 1 = best.
PRUNING_BENCH = {
    "l1": 3.9,
    "l2": 3.8,
    "bn-scale": 5.6,
    "taylor": 5.0,
    "fpgm": 5.1,
    "lamp": 7.9,
    "random": 8.7,
}
BASELINES = (
    Combination(criterion="random", scope="local"),
    Combination(criterion="l1", scope="local"),
)


def page(
    preface: str, base: Sequence[Record], first: Sequence[Record], second: Sequence[Record]
) -> str:
    """Return the page of results, in Markdown.

    Args:
        preface: Title, protocol and provenance.
        base: Records of the networks before pruning.
        first: Records of the first stage.
        second: Records of the second.
    """
    own = [r for r in second if not r["combination"]["keeps_stream"]]
    kept = [r for r in second if r["combination"]["keeps_stream"]]
    parts = [
        preface,
        _base_section(base),
        _first_section(first),
        _second_section(own),
        _baseline_section(own),
        _rival_section(kept),
        _bench_section(first),
        _width_section(base, own),
    ]
    return "\n".join(parts)


def _base_section(base: Sequence[Record]) -> str:
    rows = [
        [
            r["network"],
            f"{r['macs'] / 1e6:.1f} M",
            f"{r['num_parameters'] / 1e6:.2f} M",
            *(_percent(r[f"{part}_accuracy"]) for part in ("val", "test")),
            *("" if r[f"{p}_auc"] is None else f"{r[f'{p}_auc']:.3f}" for p in ("val", "test")),
            f"`{r['data_digest'][:12]}`",
        ]
        for r in base
    ]
    head = ["network", "MACs", "parameters", "val", "test", "val AUC", "test AUC", "data"]
    return "## Before pruning\n\n" + _table(head, rows)


def _first_section(first: Sequence[Record]) -> str:
    accuracy = seed_means(by_cell(first, "val_accuracy"))
    size = seed_means(by_cell(first, "parameters_left"))
    cells = _cells(first)
    rows = [
        [str(c), *(_first_entry(accuracy[c], size[c], cell) for cell in cells)]
        for c in sorted(accuracy)
    ]
    return (
        "## After recalibration only\n\nValidation accuracy, and the share of the parameters that "
        "is left; one seed.\n\n" + _table(["combination", *map(_cell_name, cells)], rows)
    )


def _first_entry(accuracy: Mapping[Cell, float], size: Mapping[Cell, float], cell: Cell) -> str:
    return f"{_percent(accuracy[cell])} ({size[cell]:.0%})" if cell in accuracy else ""


def _second_section(second: Sequence[Record]) -> str:
    cells = _cells(second)
    val, test = by_cell(second, "val_accuracy"), by_cell(second, "test_accuracy")
    auc = by_cell([r for r in second if r["test_auc"] is not None], "test_auc")
    ranks, test_ranks = mean_ranks(seed_means(val)), mean_ranks(seed_means(test))
    rows = [
        [
            str(c),
            f"{ranks[c]:.1f}",
            f"{test_ranks[c]:.1f}",
            *(_spread(val[c].get(cell)) for cell in cells),
            *(_spread(test[c].get(cell)) for cell in cells),
            *(_spread(own) for own in auc.get(c, {}).values()),
        ]
        for c in sorted(ranks, key=lambda c: ranks[c])
    ]
    head = [
        "combination",
        "rank val",
        "rank test",
        *(f"val {_cell_name(c)}" for c in cells),
        *(f"test {_cell_name(c)}" for c in cells),
        *(f"test AUC {_cell_name(c)}" for c in {c for own in auc.values() for c in own}),
    ]
    counts = sorted({len(seeds) for own in val.values() for seeds in own.values()})
    return (
        "## After the recovery\n\nMean and standard error over the seeds "
        f"({' or '.join(map(str, counts))} a cell); the rank is the mean over the cells.\n\n"
        + _table(head, rows)
    )


def _baseline_section(second: Sequence[Record]) -> str:
    rows = []
    found = {part: _by_run(second, f"{part}_accuracy") for part in ("val", "test")}
    for baseline in BASELINES:
        for combination in sorted(found["val"]):
            if combination != baseline and baseline in found["val"]:
                results = [compare(own[combination], own[baseline]) for own in found.values()]
                rows.append([f"{combination} - {baseline}", *map(_comparison, results)])
    return (
        "## Against the baselines\n\nDifference of accuracy in points over the runs that share "
        "network, budget and seed: mean, standard error, runs ahead, two-sided p-value of the "
        "sign-flip test. No correction for the number of rows.\n\n"
        + _table(["difference", "val", "test"], rows)
    )


def _rival_section(kept: Sequence[Record]) -> str:
    val, test = by_cell(kept, "val_accuracy"), by_cell(kept, "test_accuracy")
    macs = seed_means(by_cell(kept, "macs_left"))
    rows = [
        [
            str(c),
            _cell_name(cell),
            f"{macs[c][cell]:.2%}",
            _spread(val[c][cell]),
            _spread(test[c][cell]),
        ]
        for c in sorted(val)
        for cell in val[c]
    ]
    return (
        "## Beside Torch-Pruning\n\nThe residual stream stays whole on both sides: Torch-Pruning "
        "leaves shapes that do not fit when it cuts the stream of this network, whose shortcuts "
        "pad with zeros.\n\n" + _table(["combination", "cell", "MACs left", "val", "test"], rows)
    )


def _bench_section(first: Sequence[Record]) -> str:
    own = criterion_ranks(first)
    names = [n for n in PRUNING_BENCH if n in own]
    found = stats.spearmanr([own[n] for n in names], [PRUNING_BENCH[n] for n in names])
    rows = [[n, f"{own[n]:.1f}", f"{PRUNING_BENCH[n]:.1f}"] for n in names]
    return (
        "## Beside PruningBench\n\nMean rank of the criteria under `global` with the declared "
        "normalization after recalibration only, and in PruningBench after fine-tuning (mean over "
        f"its nine CIFAR-100 boards). Spearman correlation {found.statistic:.2f} "
        f"(p = {found.pvalue:.2f}, n = {len(names)}).\n\n"
        + _table(["criterion", "rank here", "rank there"], rows)
    )


def criterion_ranks(first: Iterable[Record]) -> dict[str, float]:
    """Return the mean rank of every criterion of PruningBench under ``global``, as declared.

    Args:
        first: Records of the first stage; on a network where several normalizations were
            tried, that of the other networks counts.
    """
    chosen = {
        name: Combination(
            criterion=name,
            scope="global",
            normalization="mean" if name in {"l1", "l2", "bn-scale", "fpgm"} else "none",
        )
        for name in PRUNING_BENCH
    }
    found = seed_means(by_cell(first, "val_accuracy"))
    ranks = mean_ranks({c: found[c] for c in chosen.values() if c in found})
    return {name: ranks[c] for name, c in chosen.items() if c in ranks}


def _width_section(base: Sequence[Record], second: Sequence[Record]) -> str:
    parts = ["## Widths\n\nChannels left at the first seed.\n"]
    for network in base:
        if len(network["widths"]) > 16:
            continue
        names = list(network["widths"])
        for macs in sorted({r["macs"] for r in second if r["network"] == network["network"]}):
            rows = [["(before)", *map(str, network["widths"].values())]]
            rows += [
                [str(Combination(**r["combination"])), *(str(r["widths"][n]) for n in names)]
                for r in second
                if (r["network"], r["macs"], r["seed"]) == (network["network"], macs, 0)
            ]
            title = _cell_name((network["network"], macs))
            parts += [f"{title}:\n", _table(["combination", *names], rows)]
    return "\n".join(parts)


def _by_run(records: Iterable[Record], value: str) -> dict[Combination, dict[Any, float]]:
    return {
        combination: {(cell, seed): v for cell, seeds in cells.items() for seed, v in seeds.items()}
        for combination, cells in by_cell(records, value).items()
    }


def _cells(records: Iterable[Record]) -> list[Cell]:
    return sorted({(r["network"], r["macs"]) for r in records}, key=lambda c: (c[0], -c[1]))


def _cell_name(cell: Cell) -> str:
    return f"{cell[0]} {cell[1]:g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _spread(seeds: Mapping[int, float] | None) -> str:
    if not seeds:
        return ""
    mean, error = mean_and_error([100 * v for v in seeds.values()])
    return f"{mean:.1f}" if math.isnan(error) else f"{mean:.1f} ± {error:.1f}"


def _comparison(found: Comparison) -> str:
    return (
        f"{100 * found.mean:+.1f} ± {100 * found.error:.1f}, {found.num_wins} of "
        f"{found.num_pairs}, p = {found.p_value:.3f}"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
