"""Numbers the report of a space study derives; they are in its JSON beside what they come from."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentei.report.space_population import Profile
from sentei.report.space_schema import Analysis, Found, Regime


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and standard deviation; of one value the deviation is 0."""

    mean: float
    deviation: float


@dataclass(frozen=True, kw_only=True)
class StageFacts:
    """Mean keep ratio of the groups of one stage, over subnetworks.

    Args:
        name: Of the stage.
        winners: Spread over winners.
        losers: Spread over losers.
        uniform: Of the uniform recipe.
    """

    name: str
    winners: Spread
    losers: Spread
    uniform: float


@dataclass(frozen=True, kw_only=True)
class ProfileFacts:
    """Keep ratios by depth.

    Args:
        winners: Spread over winners, a group each.
        losers: Spread over losers, a group each.
        stages: In network order.
        num_winners: How many there are.
        num_losers: How many there are.
    """

    winners: tuple[Spread, ...]
    losers: tuple[Spread, ...]
    stages: tuple[StageFacts, ...]
    num_winners: int
    num_losers: int


@dataclass(frozen=True, kw_only=True)
class RegimeFacts:
    """What is derived from one regime.

    Args:
        name: Of the regime.
        sizes: Number of subnetworks of every space.
        num_points: Number of subnetworks of the population, the uniform recipe not counted.
        profile: Keep ratios by depth.
    """

    name: str
    sizes: Mapping[str, int]
    num_points: int
    profile: ProfileFacts | None


@dataclass(frozen=True, kw_only=True)
class FoundFacts:
    """What is derived from a found architecture.

    Args:
        kept: Share of every group's channels that it keeps.
        num_channels_before: Channels of all groups of the dense network.
        num_channels_after: Channels of all groups that it keeps.
    """

    kept: tuple[float, ...]
    num_channels_before: int
    num_channels_after: int


@dataclass(frozen=True, kw_only=True)
class SpaceFacts:
    """What is derived from an analysis.

    Args:
        regimes: In the order of the analysis.
        found: In the order of the analysis.
        proxy_sizes: Number of subnetworks of every proxy.
    """

    regimes: tuple[RegimeFacts, ...]
    found: tuple[FoundFacts, ...]
    proxy_sizes: tuple[int, ...]


def derive(analysis: Analysis) -> SpaceFacts:
    """Return all numbers that the report derives from ``analysis``."""
    return SpaceFacts(
        regimes=tuple(_regime(regime) for regime in analysis.regimes),
        found=tuple(_found(found) for found in analysis.found),
        proxy_sizes=tuple(len(proxy.values) for proxy in analysis.proxies),
    )


def _found(found: Found) -> FoundFacts:
    return FoundFacts(
        kept=tuple(w / all_ for w, all_ in zip(found.widths, found.widths_before, strict=True)),
        num_channels_before=sum(found.widths_before),
        num_channels_after=sum(found.widths),
    )


def _regime(regime: Regime) -> RegimeFacts:
    population = regime.population
    return RegimeFacts(
        name=regime.name,
        sizes={space.name: len(space.drops) for space in regime.spaces},
        num_points=len(population.points) if population else 0,
        profile=_profile(regime.profile) if regime.profile else None,
    )


def _spread(values: Sequence[float]) -> Spread:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(mean=statistics.fmean(values), deviation=deviation)


def _profile(profile: Profile) -> ProfileFacts:
    return ProfileFacts(
        winners=tuple(_spread(column) for column in zip(*profile.winners, strict=True)),
        losers=tuple(_spread(column) for column in zip(*profile.losers, strict=True)),
        stages=tuple(_stage(profile, name) for name in dict.fromkeys(profile.stages)),
        num_winners=len(profile.winners),
        num_losers=len(profile.losers),
    )


def _stage(profile: Profile, name: str) -> StageFacts:
    places = [i for i, stage in enumerate(profile.stages) if stage == name]

    def mean(row: Sequence[float]) -> float:
        return statistics.fmean(row[i] for i in places)

    return StageFacts(
        name=name,
        winners=_spread([mean(row) for row in profile.winners]),
        losers=_spread([mean(row) for row in profile.losers]),
        uniform=mean(profile.uniform),
    )
