"""Numbers the report derives from records: ratios, speed-ups, quantiles, the Pareto front.

They are computed once, shown by the sections, and embedded in the page as JSON, so that a number
on the page can always be found in its data.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentei.records import GroupRecord, LatencyRecord, RunRecord


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One quantity before and after pruning.

    Args:
        quantity: Field of :class:`~sentei.records.Measurement`.
        before: Value of the dense network, ``None`` when not measured.
        after: Value of the pruned network, ``None`` when not measured.
        difference: ``after - before``.
        relative: ``after / before - 1``; ``None`` when ``before`` is 0.
        reduction: ``before / after``, larger is smaller; ``None`` when ``after`` is 0.
    """

    quantity: str
    before: float | None
    after: float | None
    difference: float | None = None
    relative: float | None = None
    reduction: float | None = None


@dataclass(frozen=True, kw_only=True)
class SpeedUp:
    """Latency of the dense and of the pruned network in the same setting.

    Args:
        before: Measurement of the dense network, if any.
        after: Measurement of the pruned network, if any.
        ratio: Dense median over pruned median, > 1 is faster; ``None`` when one is missing or 0.
        spread_overlaps: The p10 to p90 ranges overlap; ``None`` when one is missing.
    """

    before: LatencyRecord | None
    after: LatencyRecord | None
    ratio: float | None = None
    spread_overlaps: bool | None = None

    @property
    def setting(self) -> LatencyRecord:
        """The measurement that names the runtime, device, threads and batch size."""
        setting = self.before or self.after
        assert setting is not None
        return setting


@dataclass(frozen=True, kw_only=True)
class ScoreSummary:
    """Quantiles of the scores of one group.

    Args:
        group: Name of the group.
        num_scores: Number of recorded scores; a wide group records evenly spaced ones.
        num_not_positive: Scores <= 0, which a log scale cannot place.
        num_lowest: As many of the lowest scores as channels were removed, scaled to the recorded
            ones: ``round(num_scores * removed / width_before)``.
        quantiles: Values at probability 0, 0.1, 0.25, 0.5, 0.75, 0.9 and 1 (linear interpolation).
    """

    group: str
    num_scores: int
    num_not_positive: int
    num_lowest: int
    quantiles: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything derived from one record.

    Args:
        comparisons: Quantity name to its comparison, in the order shown.
        speedups: One for each runtime and version, device, threads and batch size.
        scores: One for each group that has scores.
        kept: Kept share of each group's channels, ``None`` for a group without channels.
        num_channels_before: Channels of all groups.
        num_channels_after: Channels kept.
        num_frozen: Groups that were frozen.
        total_seconds: Wall time of all phases.
    """

    comparisons: Mapping[str, Comparison]
    speedups: tuple[SpeedUp, ...]
    scores: tuple[ScoreSummary, ...]
    kept: tuple[float | None, ...]
    num_channels_before: int
    num_channels_after: int
    num_frozen: int
    total_seconds: float


PROBABILITIES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
QUANTITIES = (
    "accuracy",
    "loss",
    "macs",
    "num_parameters",
    "weight_bytes",
    "activation_bytes",
    "peak_activation_bytes",
    "size_on_disk_bytes",
)


def derive(record: RunRecord) -> Facts:
    """Return the numbers derived from one record."""
    return Facts(
        comparisons={
            name: _compare(name, getattr(record.before, name), getattr(record.after, name))
            for name in QUANTITIES
        },
        speedups=_speedups(record),
        scores=tuple(_summarize(group) for group in record.groups if group.scores),
        kept=tuple(
            g.width_after / g.width_before if g.width_before else None for g in record.groups
        ),
        num_channels_before=sum(group.width_before for group in record.groups),
        num_channels_after=sum(group.width_after for group in record.groups),
        num_frozen=sum(group.frozen is not None for group in record.groups),
        total_seconds=math.fsum(record.seconds.values()),
    )


def _compare(quantity: str, before: float | None, after: float | None) -> Comparison:
    if before is None or after is None:
        return Comparison(quantity=quantity, before=before, after=after)
    return Comparison(
        quantity=quantity,
        before=before,
        after=after,
        difference=after - before,
        relative=after / before - 1 if before else None,
        reduction=before / after if after else None,
    )


def _speedups(record: RunRecord) -> tuple[SpeedUp, ...]:
    before = {_setting(latency): latency for latency in record.before.latencies}
    after = {_setting(latency): latency for latency in record.after.latencies}
    return tuple(_speedup(before.get(key), after.get(key)) for key in {**before, **after})


def _setting(latency: LatencyRecord) -> tuple[str, str, str, int, int]:
    runtime = (latency.runtime, latency.library_version)
    return (*runtime, latency.device, latency.threads, latency.batch_size)


def _speedup(before: LatencyRecord | None, after: LatencyRecord | None) -> SpeedUp:
    if before is None or after is None:
        return SpeedUp(before=before, after=after)
    return SpeedUp(
        before=before,
        after=after,
        # A median of 0 is below the clock's resolution: no ratio can be told.
        ratio=before.median_ms / after.median_ms if before.median_ms and after.median_ms else None,
        spread_overlaps=before.p10_ms <= after.p90_ms and after.p10_ms <= before.p90_ms,
    )


def _summarize(group: GroupRecord) -> ScoreSummary:
    ordered = sorted(group.scores)
    removed = (group.width_before - group.width_after) / max(group.width_before, 1)
    return ScoreSummary(
        group=group.name,
        num_scores=len(ordered),
        num_not_positive=sum(score <= 0 for score in ordered),
        num_lowest=round(len(ordered) * removed),
        quantiles=tuple(_quantile(ordered, p) for p in PROBABILITIES),
    )


def _quantile(ordered: Sequence[float], probability: float) -> float:
    position = probability * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    fraction = position - low
    return (1 - fraction) * ordered[low] + fraction * ordered[high]


def pareto_front(costs: Sequence[float], accuracies: Sequence[float]) -> tuple[int, ...]:
    """Return the indices no other point beats in both cost (lower) and accuracy (higher).

    Of equal points, all stay. Indices come in order of cost.

    Example:
        >>> pareto_front([3, 1, 2, 2], [0.9, 0.5, 0.8, 0.7])
        (1, 2, 0)
    """
    order = sorted(range(len(costs)), key=lambda i: (costs[i], -accuracies[i]))
    front: list[int] = []
    for index in order:
        best = front[-1] if front else index
        equal = (costs[index], accuracies[index]) == (costs[best], accuracies[best])
        if equal or accuracies[index] > accuracies[best]:
            front.append(index)
    return tuple(front)
