"""What the registry holds, as rows for lists and documents."""

from dataclasses import dataclass, fields

from sentei.criteria.base import CRITERIA, Criterion, Needs

_NEEDS = (
    (Needs.GRADIENTS, "images, labels, gradients"),
    (Needs.IMAGES | Needs.ACTIVATIONS, "images"),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One criterion, in words.

    Attributes:
        name: In the registry.
        summary: What it computes, in one line.
        needs: What it must be given besides the weights.
        comparable: Whether scores of different groups can be compared as they are.
        options: Its fields with their values.
        source: The paper.
        arxiv: Its number there, or "".
        section: Of the survey, or "".
    """

    name: str
    summary: str
    needs: str
    comparable: bool
    options: str
    source: str
    arxiv: str
    section: str


def rows() -> list[Row]:
    """Return all criteria of the registry, by name."""
    return [_row(name, CRITERIA[name]()) for name in CRITERIA]


def markdown_table() -> str:
    """Return the table of docs/criteria.md; its last column is the section of the survey."""
    lines = [
        "| name | what | needs | comparable | options | source | survey |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows():
        arxiv = f", [{row.arxiv}](https://arxiv.org/abs/{row.arxiv})" if row.arxiv else ""
        options = f"`{row.options}`" if row.options else ""
        cells = (f"`{row.name}`", row.summary, row.needs, "yes" if row.comparable else "no")
        lines.append(f"| {' | '.join(cells)} | {options} | {row.source}{arxiv} | {row.section} |")
    return "\n".join(lines)


def _row(name: str, criterion: Criterion) -> Row:
    source = criterion.source
    return Row(
        name=name,
        summary=(type(criterion).__doc__ or "").strip().split("\n")[0],
        needs=next((text for flag, text in _NEEDS if flag & criterion.needs), "weights"),
        comparable=criterion.comparable,
        options=", ".join(f"{f.name}={getattr(criterion, f.name)!r}" for f in fields(criterion)),
        source=f"{source.paper} {source.year}" if source.year else source.paper,
        arxiv=source.arxiv or "",
        section=source.section or "",
    )
