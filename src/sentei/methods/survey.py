"""What there is to choose from, as the survey orders it."""

from dataclasses import asdict
from typing import Any

from sentei.methods.base import METHODS, SECTIONS


def catalogue() -> list[dict[str, Any]]:
    """Return every method with the fields of its card, by section and name, as JSON values."""
    order = {section: i for i, section in enumerate(SECTIONS)}
    rows = [{"name": name, **asdict(METHODS[name].card)} for name in METHODS]
    return sorted(rows, key=lambda row: (order[row["section"]], row["name"]))
