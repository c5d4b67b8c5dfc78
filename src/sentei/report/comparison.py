"""What a comparison of methods shows: means, ranks, areas and differences, with their spread."""

# A row is one finished job: method, recipe, target, seed, accuracy, macs_left, params_left,
# base_accuracy, seconds and epochs by phase, perhaps notes.

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sentei.report.facts import pareto_front

Row = Mapping[str, Any]
RESAMPLES = 2000
_EXACT = 12  # so many pairs have all their signs flipped; of more, RESAMPLES are drawn


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One method with one recipe at one target, over seeds.

    Attributes:
        method: Its name.
        recipe: Of the recovery.
        target: The budget.
        num_seeds: How many finished.
        accuracy: Mean on the test images, in [0, 1].
        deviation: Standard deviation over seeds; None of one.
        error: Standard error of the mean; None of one seed.
        before_recovery: Mean validation accuracy after the removal, before the recovery.
        macs_left: Mean share of the multiply-adds.
        params_left: Mean share of the parameters.
        seconds: Mean wall time by phase.
        epochs: Epochs by phase.
        on_front: No other cell has fewer multiply-adds and more accuracy.
    """

    method: str
    recipe: str
    target: str
    num_seeds: int
    accuracy: float
    deviation: float | None
    error: float | None
    before_recovery: float
    macs_left: float
    params_left: float
    seconds: Mapping[str, float]
    epochs: Mapping[str, int]
    on_front: bool = False


def cells(rows: Sequence[Row]) -> list[Cell]:
    """Return one cell for each method, recipe and target, by target, then best first."""
    by_cell: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        by_cell.setdefault((row["target"], row["recipe"], row["method"]), []).append(row)
    found = [_cell(own) for own in by_cell.values()]
    front = pareto_front([c.macs_left for c in found], [c.accuracy for c in found])
    marked = [_on_front(c) if i in front else c for i, c in enumerate(found)]
    places = _places(rows)
    return sorted(marked, key=lambda c: (-places[c.target], c.target, c.recipe, -c.accuracy))


def _places(rows: Sequence[Row]) -> dict[str, float]:
    """Return the mean share of the multiply-adds that is left at each target, ascending."""
    shares: dict[str, list[float]] = {}
    for row in rows:
        shares.setdefault(row["target"], []).append(row["macs_left"])
    means = {target: float(np.mean(own)) for target, own in shares.items()}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def _on_front(cell: Cell) -> Cell:
    return Cell(**{**vars(cell), "on_front": True})


def _cell(rows: Sequence[Row]) -> Cell:
    values = np.array([row["accuracy"] for row in rows])
    spread = float(values.std(ddof=1)) if len(values) > 1 else None

    def mean(name: str) -> float:
        return float(np.mean([row[name] for row in rows]))

    phases = {phase for row in rows for phase in row["seconds"]}
    return Cell(
        method=rows[0]["method"],
        recipe=rows[0]["recipe"],
        target=rows[0]["target"],
        num_seeds=len(rows),
        accuracy=float(values.mean()),
        deviation=spread,
        error=None if spread is None else spread / math.sqrt(len(values)),
        before_recovery=mean("before_recovery"),
        macs_left=mean("macs_left"),
        params_left=mean("params_left"),
        seconds={
            p: float(np.mean([r["seconds"].get(p, 0.0) for r in rows])) for p in sorted(phases)
        },
        epochs=dict(rows[0]["epochs"]),
    )


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number of a method with a 95 % bootstrap interval over seeds.

    Attributes:
        method: Its name.
        recipe: Of the recovery.
        value: The number.
        low: Lower end.
        high: Upper end; both are the value where there is one seed.
    """

    method: str
    recipe: str
    value: float
    low: float
    high: float


def ranks(rows: Sequence[Row]) -> list[Estimate]:
    """Return the mean rank of each method with each recipe, 1 is best, best first.

    Ranked within each target and seed; only what has every target and seed is ranked.
    """
    table = _table(rows)
    if not table:
        return []
    names, values = list(table), np.array(list(table.values()))  # [methods, targets, seeds]
    # Equal accuracies share the mean of their ranks.
    above = (values[None] > values[:, None]).sum(axis=1)
    equal = (values[None] == values[:, None]).sum(axis=1)
    found = 1 + above + (equal - 1) / 2
    return sorted(_estimates(names, found), key=lambda e: e.value)


def area(rows: Sequence[Row]) -> list[Estimate]:
    """Return the area under the accuracy-MACs curve, best first.

    Trapezoids over the targets that all have, each at the mean share of the multiply-adds that it
    leaves, from the smallest to the base network at 1, divided by the width: a mean accuracy, in
    [0, 1].
    """
    table, places = _table(rows), np.array([*_places(rows).values(), 1.0])
    if not table or places[0] == 1:
        return []
    values = np.array(list(table.values()))
    base = np.full((len(values), 1, values.shape[2]), rows[0]["base_accuracy"])
    curve = np.concatenate([values, base], axis=1)
    areas = np.trapezoid(curve, places, axis=1) / (places[-1] - places[0])
    return sorted(_estimates(list(table), areas[:, None]), key=lambda e: -e.value)


def _table(rows: Sequence[Row]) -> dict[tuple[str, str], list[list[float]]]:
    """Return accuracies [targets, seeds] of every method and recipe that has all of them."""
    targets = list(_places(rows))
    seeds = sorted({row["seed"] for row in rows})
    known = {(r["method"], r["recipe"], r["target"], r["seed"]): r["accuracy"] for r in rows}
    names = dict.fromkeys((r["method"], r["recipe"]) for r in rows)
    wanted = {n: [[(*n, t, s) for s in seeds] for t in targets] for n in names}
    return {
        name: [[known[key] for key in line] for line in keys]
        for name, keys in wanted.items()
        if all(key in known for line in keys for key in line)
    }


def _estimates(names: Sequence[tuple[str, str]], values: Any) -> list[Estimate]:  # noqa: ANN401
    """Return means of values [methods, targets, seeds] with intervals over resampled seeds."""
    num_seeds = values.shape[2]
    picks = np.random.default_rng(0).integers(num_seeds, size=(RESAMPLES, num_seeds))
    by_seed = values.mean(axis=1)
    drawn = by_seed[:, picks].mean(axis=2)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=1)
    return [
        Estimate(method=m, recipe=r, value=float(v), low=float(a), high=float(b))
        for (m, r), v, a, b in zip(names, by_seed.mean(axis=1), low, high, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A method less a baseline, over the runs that share target, recipe and seed.

    Attributes:
        method: Its name.
        recipe: Of the recovery.
        mean: Of the differences of accuracy.
        error: Standard error; None of one pair.
        ahead: In how many pairs the method is better.
        num_pairs: How many pairs there are.
        p_value: Two-sided, of the sign-flip test; not corrected for the number of methods.
    """

    method: str
    recipe: str
    mean: float
    error: float | None
    ahead: int
    num_pairs: int
    p_value: float


def against(rows: Sequence[Row], baseline: str) -> list[Difference]:
    """Return every method less ``baseline``, best first; empty where the baseline is missing."""
    keys = ("recipe", "target", "seed")
    known = {tuple(r[k] for k in keys): r["accuracy"] for r in rows if r["method"] == baseline}
    pairs: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        place = tuple(row[k] for k in keys)
        if row["method"] != baseline and place in known:
            differences = pairs.setdefault((row["method"], row["recipe"]), [])
            differences.append(row["accuracy"] - known[place])
    return sorted((_difference(n, d) for n, d in pairs.items()), key=lambda d: -d.mean)


def _difference(name: tuple[str, str], values: Sequence[float]) -> Difference:
    own = np.array(values)
    spread = None if len(own) < 2 else float(own.std(ddof=1) / math.sqrt(len(own)))
    return Difference(
        method=name[0],
        recipe=name[1],
        mean=float(own.mean()),
        error=spread,
        ahead=int((own > 0).sum()),
        num_pairs=len(own),
        p_value=sign_flip(values),
    )


def sign_flip(values: Sequence[float]) -> float:
    """Return the two-sided p-value of a mean under random signs: all of them, or some drawn.

    Example:
        >>> sign_flip([1.0, 1.0, 1.0])
        0.25
    """
    own = np.array(values)
    if len(own) <= _EXACT:
        signs = np.array(list(itertools.product((-1, 1), repeat=len(own))))
        extra = 0
    else:
        signs = np.random.default_rng(0).choice((-1, 1), size=(RESAMPLES, len(own)))
        extra = 1  # the observed signs are one of the possible
    means = np.abs((signs * own).mean(axis=1))
    hits = int((means >= abs(own.mean()) * (1 - 1e-12)).sum())
    return (hits + extra) / (len(signs) + extra)


# Tables -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table of texts and of numbers that keep their exact value.

    Attributes:
        caption: What it holds.
        headers: One a column.
        rows: Texts, or (value, how it is shown) pairs.
    """

    caption: str
    headers: tuple[str, ...]
    rows: list[list[str | tuple[float, str]]]


def sheets(rows: Sequence[Row]) -> list[Sheet]:
    """Return all tables of a comparison."""
    found = [_results(rows), _estimate_sheet("Mean rank (1 is best)", ranks(rows), "{:.1f}".format)]
    found.append(_estimate_sheet("Area under accuracy and MACs", area(rows), _percent))
    found += [_differences(b, against(rows, b)) for b in ("random", "uniform")]
    if len({row["recipe"] for row in rows}) > 1:
        found.append(_cross(rows))
    found.append(_notes(rows))
    return [sheet for sheet in found if sheet.rows]


def markdown_comparison(rows: Sequence[Row]) -> str:
    """Return all tables of a comparison in Markdown."""
    return "\n\n".join(f"## {sheet.caption}\n\n{_markdown(sheet)}" for sheet in sheets(rows)) + "\n"


def _markdown(sheet: Sheet) -> str:
    lines = [list(sheet.headers), ["---"] * len(sheet.headers)]
    lines += [[c if isinstance(c, str) else c[1] for c in row] for row in sheet.rows]
    return "\n".join(f"| {' | '.join(t.replace('|', '/') for t in line)} |" for line in lines)


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _results(rows: Sequence[Row]) -> Sheet:
    headers = (
        *("target", "method", "recipe", "accuracy", "± sd", "seeds", "before recovery"),
        *("MACs left", "parameters left", "seconds", "epochs", "Pareto"),
    )
    lines: list[list[str | tuple[float, str]]] = []
    for c in cells(rows):
        spread = "" if c.deviation is None else f"{100 * c.deviation:.1f}"
        total = sum(c.seconds.values())
        phases = ", ".join(f"{p} {s:.0f}" for p, s in c.seconds.items() if s >= 0.5)
        epochs = ", ".join(f"{p} {n}" for p, n in c.epochs.items())
        lines.append(
            [
                *(c.target, c.method, c.recipe, (c.accuracy, _percent(c.accuracy)), spread),
                (float(c.num_seeds), str(c.num_seeds)),
                (c.before_recovery, _percent(c.before_recovery)),
                (c.macs_left, f"{c.macs_left:.3f}"),
                (c.params_left, f"{c.params_left:.3f}"),
                (total, phases or f"{total:.1f}"),
                epochs,
                "yes" if c.on_front else "",
            ]
        )
    return Sheet(caption="Results", headers=headers, rows=lines)


def _estimate_sheet(
    caption: str, estimates: Sequence[Estimate], show: Callable[[float], str]
) -> Sheet:
    lines: list[list[str | tuple[float, str]]] = [
        [e.method, e.recipe, (e.value, show(e.value)), f"{show(e.low)} to {show(e.high)}"]
        for e in estimates
    ]
    return Sheet(caption=caption, headers=("method", "recipe", "value", "95 %"), rows=lines)


def _differences(baseline: str, found: Sequence[Difference]) -> Sheet:
    lines: list[list[str | tuple[float, str]]] = [
        [
            *(d.method, d.recipe, (d.mean, _points(d.mean))),
            "" if d.error is None else f"{100 * d.error:.1f}",
            f"{d.ahead} of {d.num_pairs}",
            (d.p_value, f"{d.p_value:.3f}"),
        ]
        for d in found
    ]
    headers = ("method", "recipe", "points", "± se", "ahead", "p (not corrected)")
    return Sheet(caption=f"Less {baseline}", headers=headers, rows=lines)


def _cross(rows: Sequence[Row]) -> Sheet:
    """Return the mean accuracy of every method with every recipe, over all targets."""
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    lines: list[list[str | tuple[float, str]]] = []
    for method in dict.fromkeys(row["method"] for row in rows):
        line: list[str | tuple[float, str]] = [method]
        for recipe in recipes:
            own = [r["accuracy"] for r in rows if (r["method"], r["recipe"]) == (method, recipe)]
            line.append((float(np.mean(own)), _percent(float(np.mean(own)))) if own else "")
        lines.append(line)
    return Sheet(caption="Methods by recipes", headers=("method", *recipes), rows=lines)


def _notes(rows: Sequence[Row]) -> Sheet:
    """Return what the methods said about their runs, and in how many."""
    said = Counter((row["method"], note) for row in rows for note in row.get("notes", ()))
    lines: list[list[str | tuple[float, str]]] = [
        [method, note, (float(count), str(count))] for (method, note), count in said.items()
    ]
    return Sheet(caption="Notes", headers=("method", "note", "jobs"), rows=lines)
