"""``sentei list``: what there is to choose from."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.text import Text
from rich.tree import Tree

from sentei import methods, pipeline
from sentei.cli.answer import Answer
from sentei.errors import UnknownNameError
from sentei.registry import did_you_mean

_MORE = {
    "models": "also timm:NAME, torchvision:NAME, FILE.py:FACTORY, or a saved directory",
    "data": "also FILE.py:FACTORY; cifar10:DIR and folder:DIR take a directory",
}
_METHODS = "methods"


def list_names(kind: str | None = None, /) -> Answer:
    """List the names that other commands take.

    ```console
    sentei list criteria
    sentei list methods
    ```

    Args:
        kind: models, data, criteria, scopes, runtimes or methods; all of them if left out. Methods
            by themselves come as the tree of the survey, with paper, year and what each needs.
    """
    if kind == _METHODS:
        rows = methods.catalogue()
        return Answer(document=rows, shown=_tree(rows))
    known = [*pipeline.catalog(None), _METHODS]
    if kind is not None and kind not in known:
        raise UnknownNameError(f"there is no list of {kind!r}.{did_you_mean(kind, known)}")
    found = pipeline.catalog(kind)
    if kind is None:
        found[_METHODS] = list(methods.METHODS)
    lines = []
    for name, entries in found.items():
        lines.append(Text(f"{name}: {', '.join(entries)}"))
        if name in _MORE:
            lines.append(Text(f"    {_MORE[name]}"))
    return Answer(document=dict(found), shown=Group(*lines))


def _tree(rows: list[dict[str, Any]]) -> Tree:
    """Return the survey's taxonomy with the methods of every section."""
    root = Tree("methods, by section of the survey (arXiv:2303.00566)")
    branches: dict[str, Tree] = {}
    used = {row["section"] for row in rows}
    for section, title in methods.SECTIONS.items():
        if not any(s == section or s.startswith(f"{section}.") for s in used):
            continue
        parent = branches.get(section.rpartition(".")[0], root)
        label = title if not section[0].isdigit() else f"{section} {title}"
        branches[section] = parent.add(Text(label))
    for row in rows:
        branches[row["section"]].add(Text(_line(row)))
    return root


def _line(row: Mapping[str, Any]) -> str:
    where = ", ".join(str(v) for v in (row["paper"], row["venue"], row["year"]) if v)
    facts = (row["summary"], where, f"{row['when']}; needs {row['needs']}; {row['cost']}")
    return f"{row['name']}: " + " | ".join(filter(None, facts))
