"""The page of docs/results/ of a finished study of pruning spaces.

    python benchmarks/space_page.py DIRECTORY NAME --commit HASH [--note FILE]

DIRECTORY is that of `sentei space run`. Writes docs/results/NAME.md (tables, verdicts, what the
numbers rest on) and NAME.json (every row, without curves and seconds). --note is a file of Markdown
that goes below the title: what a person concludes.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, this folder's parent is not on the path

from benchmarks.zoolib.table import table  # noqa: E402
from sentei.records import atomic_write_text  # noqa: E402
from sentei.report.space_page import JSON_NAME, read_analysis  # noqa: E402
from sentei.report.space_schema import Analysis, Population, Regime  # noqa: E402
from sentei.report.space_tables import DISCLAIMER  # noqa: E402

RESULTS = ROOT / "docs" / "results"
_LEFT_OUT = ("curve", "seconds", "network", "supernet", "slabs")


def page(found: Analysis, *, note: str, commit: str) -> str:
    """Return the page in Markdown."""
    parts = [
        f"# {found.title}",
        note.strip(),
        f"{found.about} Commit `{commit}`. {DISCLAIMER}",
        "## Conjectures",
        _verdicts(found),
        *(f"- {name}: no verdict. {why}." for name, why in found.missing.items()),
        "## Populations",
        *(text for regime in found.regimes for text in _regime(regime)),
        "## One shot beside trained",
        _proxies(found),
    ]
    if found.contenders:
        parts += ["## At equal MACs", _contenders(found), *_architectures(found)]
    parts += ["## Choices", _choices(found), "## What the numbers rest on", _provenance(found)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _verdicts(found: Analysis) -> str:
    head = ["", "where", "verdict", "estimate", "interval", "p", "power", "conditions"]
    rows = [
        [
            v.conjecture,
            v.scope,
            f"**{v.verdict}**" if v.verdict == "supported" else v.verdict,
            _number(v.estimate),
            "" if v.interval is None else f"{v.interval[0]:.3g} to {v.interval[1]:.3g}",
            _number(v.p),
            _number(v.power),
            "; ".join([f"{'yes' if c.holds else 'no'}: {c.text}" for c in v.checks] + [*v.notes]),
        ]
        for v in found.verdicts
    ]
    return table(head, rows)


def _regime(regime: Regime) -> Iterator[str]:
    yield f"### {regime.name}"
    population, noise = regime.population, regime.noise
    if population is not None and population.optimum is not None:
        best, winners = population.optimum, population.winners
        band = ""
        if winners is not None:
            band = (
                f" The winners' band ({winners.rule}) is {winners.band[0]:.2f} to "
                f"{winners.band[1]:.2f}; that of permuted populations {winners.null[0]:.2f} to "
                f"{winners.null[1]:.2f} (p = {winners.p:.3f})."
            )
        yield (
            f"Attainable m: {population.attainable[0]:.2f} to {population.attainable[1]:.2f}. "
            f"m* = {best.ratio:.2f} ({best.interval[0]:.2f} to {best.interval[1]:.2f}; "
            f"{100 * best.at_bound:.0f} % of the resamples on a bound), drop there "
            f"{best.drop:.2f}.{_spline(population)}{band}"
        )
    if noise is not None:
        least = "none" if noise.least_effect is None else f"{noise.least_effect:.2f}"
        yield (
            f"Noise: reliability {noise.reliability:.2f} ({noise.interval[0]:.2f} to "
            f"{noise.interval[1]:.2f}), {noise.seed_sd:.2f} points between trainings of one "
            f"recipe, {noise.structure_sd:.2f} between recipes ({noise.num_replicated} repeated). "
            f"Least loss at 1.5 m* found with power 0.8: {least} points."
        )
    head = ["family", "space", "constraints", "n", "least", "mean", "5 %", "KS p (Holm)"]
    head += ["Mann-Whitney p (Holm)", "Cliff's delta"]
    yield table(
        head,
        [
            [
                s.family,
                s.name,
                s.constraints,
                str(len(s.drops)),
                f"{s.minimum:.2f}",
                f"{s.mean:.2f}",
                f"{s.low_quantile:.2f}",
                *(_number(value) for value in (s.ks_p, s.mann_whitney_p, s.cliffs_delta)),
            ]
            for s in regime.spaces
        ],
    )


def _spline(population: Population) -> str:
    found = population.spline
    if found is None:
        return ""
    low, high = found.interval
    return f" A spline puts m* at {found.ratio:.2f} ({low:.2f} to {high:.2f})."


def _proxies(found: Analysis) -> str:
    head = ["proxy", "regime", "tau", "interval", "given log m and STD", "best tenth found", "gate"]
    return table(
        head,
        [
            [
                p.name,
                p.regime,
                f"{p.tau:.2f}",
                f"{p.interval[0]:.2f} to {p.interval[1]:.2f}",
                _number(p.partial_tau),
                _number(p.recall),
                p.gate,
            ]
            for p in found.proxies
        ],
    )


def _contenders(found: Analysis) -> str:
    head = ["method", "test accuracy", "± sd", "drop", "MACs left", "parameters", "m", "epochs"]
    return table(
        head,
        [
            [
                c.method,
                "" if c.accuracy is None else f"{100 * c.accuracy:.2f}",
                "" if c.deviation is None else f"{100 * c.deviation:.2f}",
                f"{c.drop:.2f}",
                "" if c.macs_removed is None else f"{1 - c.macs_removed:.3f}",
                "" if c.params is None else f"{c.params:,.0f}",
                _number(c.ratio),
                _number(c.epochs),
            ]
            for c in found.contenders
        ],
    )


def _architectures(found: Analysis) -> Iterator[str]:
    for one in found.found:
        widths = ", ".join(
            f"{name} {width} of {before}"
            for name, width, before in zip(one.groups, one.widths, one.widths_before, strict=True)
        )
        yield f"{one.name}, {one.regime}: {widths}."


def _choices(found: Analysis) -> str:
    rows = [[c.name, c.value, c.alternatives, c.paper] for c in found.choices]
    return table(["choice", "here", "alternatives", "the paper's"], rows)


def _provenance(found: Analysis) -> str:
    hidden = {"study"}  # it holds paths; the choices are above
    return "\n".join(f"- {k}: {v}" for k, v in found.provenance.items() if k not in hidden)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page and the rows of a study."""
    parser = argparse.ArgumentParser(description="Write the page of a study of pruning spaces.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("name", help="of the files in docs/results/")
    parser.add_argument("--commit", required=True, help="that the study ran at")
    parser.add_argument("--note", type=Path, help="Markdown below the title")
    options = parser.parse_args(arguments)
    found = read_analysis(options.directory / JSON_NAME)
    note = "" if options.note is None else options.note.read_text(encoding="utf-8")
    atomic_write_text(RESULTS / f"{options.name}.md", page(found, note=note, commit=options.commit))
    rows = json.loads((options.directory / "rows.json").read_text(encoding="utf-8"))
    kept = [{k: v for k, v in row.items() if k not in _LEFT_OUT} for row in rows]
    text = "[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in kept) + "\n]\n"
    atomic_write_text(RESULTS / f"{options.name}.json", text)


if __name__ == "__main__":
    main()
