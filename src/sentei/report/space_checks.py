"""Checks of what a report is given."""

from collections.abc import Sequence

Span = tuple[float, float]


def check_lengths(owner: str, **parts: Sequence[object]) -> None:
    """Refuse parts of different lengths."""
    if len({len(part) for part in parts.values()}) > 1:
        found = ", ".join(f"{name} {len(part)}" for name, part in parts.items())
        raise ValueError(f"{owner}: lengths differ ({found}); give one value for each place")


def check_span(owner: str, span: Sequence[float]) -> None:
    """Refuse what is no (low, high)."""
    if len(span) != 2 or not span[0] <= span[1]:
        raise ValueError(f"{owner} is {tuple(span)}; expected (low, high) with low <= high")


def check_word(owner: str, word: str, allowed: Sequence[str]) -> None:
    """Refuse a word that is none of ``allowed``."""
    if word not in allowed:
        raise ValueError(f"{owner} is {word!r}; expected one of: {', '.join(allowed)}")
