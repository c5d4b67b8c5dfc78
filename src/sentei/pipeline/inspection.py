"""Looking without touching: the groups of a network, what is frozen and why, and scores."""

from dataclasses import dataclass
from functools import partial

from sentei.criteria import CRITERIA, Needs, score
from sentei.data import calibration_batches, load_data
from sentei.errors import PruningError, UnknownNameError
from sentei.graph import Graph, trace
from sentei.pipeline.network import Network
from sentei.pipeline.splits import with_channels
from sentei.registry import did_you_mean


@dataclass(frozen=True, kw_only=True)
class GroupsReport:
    """The groups of a network.

    Attributes:
        widths: Group -> number of its channels.
        members: Group -> the parameters and buffers it owns positions of.
        frozen: Parameter -> why (some of) its positions must stay.
        num_rows: Group -> rows that must keep equally many channels; 1 if there is no such rule.
    """

    widths: dict[str, int]
    members: dict[str, list[str]]
    frozen: dict[str, list[str]]
    num_rows: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class ScoreReport:
    """Scores of all channels.

    Attributes:
        criterion: Name of the criterion.
        scores: Group -> score of each channel; low is removed first.
    """

    criterion: str
    scores: dict[str, list[float]]


def inspect_groups(
    network: Network, *, image_size: int | None = None, why: str | None = None
) -> GroupsReport:
    """Return what can be removed of a network, and what cannot and why.

    Args:
        network: The network.
        image_size: Height and width in pixels; None is the network's own.
        why: Name of a module, parameter or group that the answer is confined to.

    Raises:
        UnknownNameError: ``why`` names nothing of the network.
        PruningError: the network cannot be traced.
    """
    graph = trace(network.model, network.example(image_size=image_size))
    return _report(graph, why)


def _report(graph: Graph, why: str | None) -> GroupsReport:
    model = graph.model
    names = {*graph.by_name, *dict(model.named_modules()), *dict(model.named_parameters())}
    if why is not None and why not in names:
        raise UnknownNameError(
            f"the network has no group, module or parameter {why!r}.{did_you_mean(why, names)}"
        )

    def concerns(tensor: str) -> bool:
        return why is None or tensor == why or tensor.startswith(f"{why}.")

    groups = [
        group
        for group in graph.groups
        if why == group.name or any(concerns(member.tensor) for member in group.members)
    ]
    return GroupsReport(
        widths={group.name: group.width for group in groups},
        members={g.name: list(dict.fromkeys(m.tensor for m in g.members)) for g in groups},
        frozen={name: list(reasons) for name, reasons in graph.frozen.items() if concerns(name)},
        num_rows={group.name: group.num_rows for group in groups},
    )


def inspect_scores(
    network: Network,
    criterion: str,
    *,
    data: str | None = None,
    image_size: int | None = None,
    num_images: int = 256,
    seed: int = 0,
) -> ScoreReport:
    """Return how important every channel of a network is.

    Args:
        network: The network.
        criterion: Name of the criterion.
        data: Specification of a data set, for a criterion that looks at images.
        image_size: Height and width in pixels; None is that of the data, or the network's own.
        num_images: Training images the criterion looks at, >= 1.
        seed: Of the choice of images.

    Raises:
        UnknownNameError: there is no such criterion or data set.
        PruningError: the criterion needs data and there are none, or cannot score the network.
    """
    batches = None
    if data is None and CRITERIA[criterion]().needs is not Needs.NOTHING:
        raise PruningError(
            f"criterion {criterion!r} looks at images; name a data set (--data), or use 'l1'"
        )
    if data is not None:
        channels = None if network.input_shape is None else network.input_shape[0]
        load = partial(load_data, data, image_size=image_size)
        splits = with_channels(load(), channels, lambda n: load(in_channels=n))
        batches = calibration_batches(splits, num_images=num_images, batch_size=32, seed=seed)
    inputs = network.example(image_size=image_size) if batches is None else batches[0][0][:1]
    scores = score(trace(network.model, inputs), criterion, batches=batches)
    return ScoreReport(
        criterion=scores.criterion,
        scores={name: values.tolist() for name, values in scores.by_group.items()},
    )
