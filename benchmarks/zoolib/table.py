"""The table of results: every failure with its reason first, then one line a network."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
TIMM_BAR = 0.98
REMOVED_BAR = 0.4


def missed_bars(records: Sequence[Record], sources: Mapping[str, str]) -> list[str]:
    """Return which promises the results break; empty if none.

    Args:
        records: One a network.
        sources: Name of a network -> its source.
    """
    missed = [f"silent error: {r['name']}" for r in records if r["silent"]]
    torchvision = [r for r in records if sources[r["name"]].startswith("torchvision")]
    failed = [r["name"] for r in torchvision if not r["ok"]]
    if failed:
        missed.append(
            f"torchvision: {len(failed)} of {len(torchvision)} failed: {', '.join(failed)}"
        )
    timm = [r for r in records if sources[r["name"]] == "timm"]
    passed = sum(r["ok"] for r in timm)
    if timm and passed < TIMM_BAR * len(timm):
        missed.append(
            f"timm: {passed} of {len(timm)} families passed; at least {TIMM_BAR:.0%} must"
        )
    return missed


def summary(records: Sequence[Record], sources: Mapping[str, str]) -> list[list[str]]:
    """Return rows: source, passed of all, silent errors, share that lost 40 % of parameters."""
    rows = []
    for source in dict.fromkeys(sorted(sources[r["name"]] for r in records)):
        own = [r for r in records if sources[r["name"]] == source]
        removed = [r["removed"] for r in own if "removed" in r]
        enough = sum(x >= REMOVED_BAR for x in removed)
        rows.append(
            [
                source,
                f"{sum(r['ok'] for r in own)} of {len(own)}",
                str(sum(r["silent"] for r in own)),
                f"{enough} of {len(own)}",
                f"{statistics.median(removed):.0%}" if removed else "",
            ]
        )
    return rows


def markdown(records: Sequence[Record], sources: Mapping[str, str], *, facts: Sequence[str]) -> str:
    """Return the whole page.

    Args:
        records: One a network, in the order of the table.
        sources: Name of a network -> its source.
        facts: Lines on command, hardware and versions.
    """
    failed = [r for r in records if not r["ok"]]
    parts = [
        "# Model zoo",
        "Every network is pruned to half of the channels of every group, chosen at random. The "
        "result must compute what the masked original computes: outputs and input gradients, in "
        "float64. It must then export, copy, pickle and take a training step wherever the "
        "original does. A *silent error* is a pruned network that runs and computes something "
        "else.",
        "\n".join(f"- {fact}" for fact in facts),
        "## Summary",
        table(
            ["source", "passed", "silent errors", "lost >= 40 % of parameters", "median lost"],
            summary(records, sources),
        ),
        _bars(missed_bars(records, sources)),
        "## Failures",
        table(
            ["network", "stage", "reason"],
            [[r["name"], r["stage"], f"`{r['reason'][:300]}`"] for r in failed],
        )
        if failed
        else "None.",
        "## Every network",
        "Seconds are CPU seconds of trace, plan and apply together on one core. Memory is the "
        "peak beyond the model while they ran. Frozen: the share of parameters that no group "
        "owns a part of, and the main reason.",
        table(_HEADER, [_row(r) for r in records]),
    ]
    return "\n\n".join(parts) + "\n"


_HEADER = [
    "network",
    "passed",
    "groups",
    "parameters",
    "removed",
    "output error",
    "gradient error",
    "seconds",
    "memory (MB)",
    "frozen",
    "notes",
]


def _bars(missed: Sequence[str]) -> str:
    if not missed:
        return "All bars are met: no silent error, all of torchvision, 98 % of timm's families."
    return "Bars missed:\n\n" + "\n".join(f"- {text}" for text in missed)


def _row(record: Record) -> list[str]:
    spent = record.get("seconds", {})
    needed = [spent[k] for k in ("trace", "plan", "apply") if k in spent]
    peak = record.get("peak_bytes")
    frozen = record.get("frozen", 0.0)
    reasons = record.get("reasons", [])
    main = f"{frozen:.0%}" + (f": {reasons[0][0]}" if reasons and frozen >= 0.01 else "")
    return [
        record["name"],
        "yes" if record["ok"] else ("WRONG" if record["silent"] else "no"),
        str(record.get("groups", "")),
        f"{record['parameters'] / 1e6:.1f} M" if "parameters" in record else "",
        f"{record['removed']:.0%}" if "removed" in record else "",
        _error(record.get("output_error")),
        _error(record.get("gradient_error")),
        f"{sum(needed):.2f}" if needed else "",
        f"{peak / 1e6:.0f}" if peak is not None else "",
        main if "groups" in record else "",
        "; ".join(_notes(record)),
    ]


def _notes(record: Record) -> Iterable[str]:
    if record.get("note"):
        yield record["note"]
    if record.get("precision"):
        yield f"compared in {record['precision']}: the original does not run in float64"
    for use, why in record.get("impossible", {}).items():
        yield f"{use}: the original cannot either ({why[:80]})"


def _error(value: float | None) -> str:
    return "" if value is None else f"{value:.0e}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in lines)
