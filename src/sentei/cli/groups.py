"""``sentei groups``: which channels go together."""

from typing import Annotated

from cyclopts import Parameter
from rich.console import Group, RenderableType
from rich.text import Text

from sentei import pipeline
from sentei.cli.answer import Answer
from sentei.cli.tables import table


def groups(
    model: str,
    /,
    *,
    why: str | None = None,
    image_size: int | None = None,
    trust_code: Annotated[bool, Parameter(negative="")] = False,
) -> Answer:
    """Show which channels of a network go together, and what must stay and why.

    ```console
    sentei groups resnet20
    sentei groups timm:resnet50 --why layer2.0.conv1
    ```

    Args:
        model: A network, as for sentei prune.
        why: Name of a group, module or parameter to confine the answer to.
        image_size: Height and width of the images, in pixels.
        trust_code: Run code outside sentei that a saved network names as its source.
    """
    network = pipeline.load_network(model, trust_code=trust_code)
    found = pipeline.inspect_groups(network, image_size=image_size, why=why)
    rows = [
        (name, str(width), str(found.num_rows[name]), str(len(found.members[name])))
        for name, width in found.widths.items()
    ]
    frozen = [(name, "; ".join(reasons)) for name, reasons in found.frozen.items()]
    document = {
        "model": model,
        "groups": [
            {
                "name": name,
                "width": width,
                "rows": found.num_rows[name],
                "members": found.members[name],
            }
            for name, width in found.widths.items()
        ],
        "frozen": found.frozen,
    }
    shown: list[RenderableType] = [
        table(("group", "channels", "rows", "tensors"), rows),
        *(Text(f"{name}\n    {', '.join(found.members[name])}") for name in found.widths if why),
        Text("Frozen, wholly or in part:" if frozen else "Nothing is frozen."),
        *(Text(f"  {name}: {reasons}") for name, reasons in frozen),
    ]
    return Answer(document=document, shown=Group(*shown))
