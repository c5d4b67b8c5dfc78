"""Numbers the report of a space study derives; they are in its JSON beside what they come from."""

from collections.abc import Mapping
from dataclasses import dataclass

from sentei.report.space_schema import Analysis, Regime


@dataclass(frozen=True, kw_only=True)
class RegimeFacts:
    """What is derived from one regime.

    Args:
        name: Of the regime.
        sizes: Number of subnetworks of every space.
        num_points: Number of subnetworks of the population, the uniform recipe not counted.
    """

    name: str
    sizes: Mapping[str, int]
    num_points: int


@dataclass(frozen=True, kw_only=True)
class SpaceFacts:
    """What is derived from an analysis.

    Args:
        regimes: In the order of the analysis.
    """

    regimes: tuple[RegimeFacts, ...]


def derive(analysis: Analysis) -> SpaceFacts:
    """Return all numbers that the report derives from ``analysis``."""
    return SpaceFacts(regimes=tuple(_regime(regime) for regime in analysis.regimes))


def _regime(regime: Regime) -> RegimeFacts:
    population = regime.population
    return RegimeFacts(
        name=regime.name,
        sizes={space.name: len(space.drops) for space in regime.spaces},
        num_points=len(population.points) if population else 0,
    )
