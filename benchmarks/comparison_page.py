"""The page of docs/results/ of finished comparisons of one network.

    python benchmarks/comparison_page.py NAME DIRECTORY... --note FILE

Every DIRECTORY is that of `sentei compare`, all with one base network, recipe and images; where two
hold a method, the last one counts. Writes docs/results/NAME.md, the note first, then all tables, and
NAME.json, every row without its curve. Prints which methods are not above `random`, and which are
above `l1`.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, this folder's parent is not on the path

from sentei.errors import ConfigError  # noqa: E402
from sentei.records import atomic_write_text  # noqa: E402
from sentei.report.comparison import against, markdown_comparison  # noqa: E402

RESULTS = ROOT / "docs" / "results"
Row = Mapping[str, Any]


def merged(directories: Sequence[Path]) -> list[Row]:
    """Return the rows of comparisons, methods of later ones in place of those of earlier ones.

    Raises:
        ConfigError: They did not start from one network.
    """
    by_method: dict[str, list[Row]] = {}
    bases = set()
    for directory in directories:
        found = json.loads((directory / "rows.json").read_text(encoding="utf-8"))
        bases.add(found["base"]["sha256"])
        own: dict[str, list[Row]] = {}
        for row in found["rows"]:
            own.setdefault(row["method"], []).append(
                {name: value for name, value in row.items() if name != "curve"}
            )
        by_method.update(own)
    if len(bases) > 1:
        raise ConfigError(f"these comparisons began with {len(bases)} networks; give those of one")
    return [row for rows in by_method.values() for row in rows]


def summary(rows: Sequence[Row]) -> str:
    """Return which methods do not beat chance, and which beat L1, in words."""
    chance = {d.method: d for d in against(rows, "random")}
    norm = {d.method: d for d in against(rows, "l1")}
    below = sorted((d.mean, name) for name, d in chance.items() if d.mean <= 0)[::-1]
    above = sorted((d.mean, name) for name, d in norm.items() if d.mean > 0)[::-1]
    return "\n".join(
        [
            "not above random: " + ", ".join(f"`{n}` ({100 * m:+.1f})" for m, n in below),
            "above l1: " + ", ".join(f"`{n}` ({100 * m:+.1f})" for m, n in above),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page and the rows, and print the summary."""
    parser = argparse.ArgumentParser(description="Write the page of finished comparisons.")
    parser.add_argument("name", help="of the files in docs/results/")
    parser.add_argument("directories", nargs="+", type=Path)
    parser.add_argument("--note", type=Path, required=True, help="Markdown above the tables")
    options = parser.parse_args(arguments)
    rows = merged(options.directories)
    note = options.note.read_text(encoding="utf-8").strip()
    text = f"{note}\n\n{markdown_comparison(rows).strip()}\n"
    atomic_write_text(RESULTS / f"{options.name}.md", text)
    plain = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    atomic_write_text(RESULTS / f"{options.name}.json", f"[\n{plain}\n]\n")
    print(summary(rows))


if __name__ == "__main__":
    main()
