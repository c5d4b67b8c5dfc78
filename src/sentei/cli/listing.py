"""``sentei list``: what there is to choose from."""

from rich.console import Group
from rich.text import Text

from sentei import pipeline
from sentei.cli.answer import Answer

_MORE = {
    "models": "also timm:NAME, torchvision:NAME, FILE.py:FACTORY, or a saved directory",
    "data": "also FILE.py:FACTORY; cifar10:DIR and folder:DIR take a directory",
}


def list_names(kind: str | None = None, /) -> Answer:
    """List the names that other commands take.

    ```console
    sentei list criteria
    ```

    Args:
        kind: models, data, criteria, scopes or runtimes; all of them if left out.
    """
    found = pipeline.catalog(kind)
    lines = []
    for name, entries in found.items():
        lines.append(Text(f"{name}: {', '.join(entries)}"))
        if name in _MORE:
            lines.append(Text(f"    {_MORE[name]}"))
    return Answer(document=dict(found), shown=Group(*lines))
