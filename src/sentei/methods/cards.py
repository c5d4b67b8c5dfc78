"""Cards made from what plug-ins say of themselves, so that a paper is cited in one place."""

from typing import Any

from sentei.criteria import Criterion
from sentei.criteria.base import Needs as Inputs
from sentei.criteria.base import Source
from sentei.methods.base import Card

_PASSES = {Inputs.CURVATURE: "twice backward", Inputs.FISHER: "backward, image by image,"}


def card_of(plug_in: object, source: Source, **fields: Any) -> Card:  # noqa: ANN401 - of Card
    """Return the card of a method that stands on one plug-in.

    Args:
        plug_in: The plug-in; the first line of its docstring is the summary.
        source: Where it comes from; the paper's last word is its venue.
        fields: Fields of the card that the plug-in does not tell.
    """
    paper, _, venue = source.paper.rpartition(", ")
    told = {
        "summary": (type(plug_in).__doc__ or "").strip().split("\n")[0].rstrip(".:"),
        "section": source.section,
        "paper": paper,
        "venue": venue,
        "year": source.year,
        "arxiv": source.arxiv,
    }
    return Card(**{**told, **fields})


def inputs_of(criterion: Criterion) -> dict[str, Any]:
    """Return what a criterion needs and costs, as fields of a card."""
    if Inputs.GRADIENTS in criterion.needs:
        passes = next(
            (cost for flag, cost in _PASSES.items() if flag in criterion.needs), "backward"
        )
        return {"needs": "labels", "cost": f"forward and {passes} over the calibration images"}
    if (Inputs.IMAGES | Inputs.ACTIVATIONS) & criterion.needs:
        return {"needs": "images", "cost": "forward over the calibration images"}
    return {"needs": "nothing", "cost": "one pass over the weights"}
