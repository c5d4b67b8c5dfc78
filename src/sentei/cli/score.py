"""``sentei score``: how important every channel is."""

from statistics import median
from typing import Annotated

from cyclopts import Parameter

from sentei import pipeline
from sentei.cli.answer import Answer
from sentei.cli.tables import table


def score(
    model: str,
    /,
    *,
    criterion: str = "l1",
    data: str | None = None,
    image_size: int | None = None,
    seed: int = 0,
    trust_code: Annotated[bool, Parameter(negative="")] = False,
) -> Answer:
    """Show how important the channels of a network are; low is removed first.

    ```console
    sentei score resnet20 --criterion l2
    sentei score runs/first --criterion taylor --data digits --json
    ```

    Args:
        model: A network, as for sentei prune.
        criterion: How to judge (see: sentei list criteria).
        data: Images, for a criterion that looks at them.
        image_size: Height and width of the images, in pixels.
        seed: Of the choice of images.
        trust_code: Run code outside sentei that a saved network names as its source.
    """
    found = pipeline.inspect_scores(
        pipeline.load_network(model, trust_code=trust_code),
        criterion,
        data=data,
        image_size=image_size,
        seed=seed,
    )
    rows = [
        (name, str(len(scores)), *(f"{f(scores):.4g}" for f in (min, median, max)))
        for name, scores in found.scores.items()
    ]
    return Answer(
        document={"model": model, "criterion": found.criterion, "scores": found.scores},
        shown=table(
            ("group", "channels", "lowest", "median", "highest"), rows, title=found.criterion
        ),
    )
