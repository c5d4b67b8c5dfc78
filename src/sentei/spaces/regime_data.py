"""The rows of one regime of a study, and what all its statistics share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sentei.spaces import stats_noise
from sentei.spaces.config import StudyConfig
from sentei.spaces.conjectures import Setting
from sentei.spaces.measured import Measured
from sentei.spaces.space import Slab, regime
from sentei.spaces.stats_base import FloatArray
from sentei.spaces.stats_optimum import Optimum, optimal_ratio
from sentei.spaces.subnets import Row, choose
from sentei.spaces.terrain import shown

STRATIFIED = "stratified"
CELLS = "cells"
NATURAL = "natural"
UNIFORM = "uniform"
FRESH_BASE = "fresh base"
"""Names of the spaces of a study; the last is drawn after the refinement, beside refined ones."""


def fresh_names(number: int) -> tuple[str, str]:
    """Return the names of the refined space and the placebo of a round, from 1."""
    suffix = "" if number == 1 else f" {number}"
    return f"refined{suffix}", f"placebo{suffix}"


CONTROLS: Mapping[str, tuple[str, str]] = {
    "channels at random": ("random", "kept"),
    "new weights": ("criterion", "new"),
}
"""What C7 changes -> ranking and weights of the jobs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RegimeData:
    """One regime of a study.

    Attributes:
        config: Of the study.
        network: Its name.
        level: Share of the cost.
        bounds: Attainable bounds of m.
        dense: Group name -> width.
        stages: Group name -> name of its stage.
        rows: Of this regime.
    """

    config: StudyConfig
    network: str
    level: float
    bounds: tuple[float, float]
    dense: Mapping[str, int] = field(repr=False)
    stages: Mapping[str, str] = field(repr=False)
    rows: Sequence[Row] = field(repr=False)

    @property
    def name(self) -> str:
        """As shown."""
        return f"{self.network} at {100 * self.level:g} % of the {shown(self.config.regime_by)}"

    @property
    def slabs(self) -> tuple[Slab, ...]:
        """What all its recipes keep to: its cost, then the slabs of the space."""
        own = regime(self.level, delta=self.config.window, by=self.config.regime_by)
        return (own, *self.config.space.slabs)

    def slabs_of(self, space: str) -> tuple[Slab, ...]:
        """Return what the recipes of a space keep to beside those, as it was when they were drawn."""
        first = choose(self.rows, space=space)[0]
        slabs = (Slab(**slab) for slab in first.get("slabs", ()))
        return tuple(slab for slab in slabs if slab not in self.slabs)

    def drops(self, space: str) -> FloatArray:
        """Return the drop of every trained recipe of a space that has some, replicates averaged."""
        found = self.measured(space=space)
        assert found is not None
        return found.averaged().drop

    @property
    def fresh(self) -> list[str]:
        """Names of the spaces that recipes were drawn from afresh, and trained, in order."""
        rounds = range(1, self.config.search.rounds + 1)
        names = [FRESH_BASE, *(name for number in rounds for name in fresh_names(number))]
        return [name for name in names if self._trained(space=name)]

    def measured(self, **wanted: Any) -> Measured | None:  # noqa: ANN401 - JSON values
        """Return the trained rows with these values, or None where there are none."""
        rows = self._trained(**wanted)
        return Measured.from_rows(rows, dense=self.dense) if rows else None

    def _trained(self, **wanted: Any) -> list[Row]:  # noqa: ANN401 - JSON values
        protocol = self.config.protocol
        usual = {n: getattr(protocol, n) for n in ("epochs", "weights", "ranking")}
        return choose(self.rows, **{**usual, **wanted})

    @cached_property
    def stratified(self) -> Measured:
        """The trained population, replicates apart.

        Raises:
            ValueError: Nothing of it is trained yet.
        """
        found = self.measured(space=STRATIFIED)
        if found is None:
            raise ValueError(f"{self.name}: nothing is trained yet; run the study first")
        return found

    @cached_property
    def recipes(self) -> Measured:
        """The trained population, replicates averaged."""
        return self.stratified.averaged()

    @cached_property
    def optimum(self) -> Optimum:
        """m* of the trained population, with STD held; recipes of more replicates weigh more."""
        return optimal_ratio(
            self.setting.observations(self.recipes),
            bounds=self.bounds,
            resampling=self.config.resampling,
        )

    @property
    def std_spaces(self) -> list[str]:
        """Names of the spaces of STD that recipes were drawn from, and trained."""
        return [name for name in self.config.population.std_bins if self._trained(space=name)]

    @cached_property
    def cells(self) -> Measured | None:
        """The recipes of the cells of STD by m, replicates averaged; None where nothing is trained.

        The stratum of a recipe is the number of its cell, that of its bin of STD counting first.
        """
        found = self.measured(space=CELLS)
        return None if found is None else found.averaged()

    @property
    def of_all_spreads(self) -> Measured:
        """The trained population, the spaces of STD and the uniform recipe.

        Raises:
            ValueError: Nothing is trained yet.
        """
        rows = {
            (row["subnet"], row["replicate"]): row
            for space in (UNIFORM, *self.std_spaces, STRATIFIED)
            for row in self._trained(space=space)
        }
        return Measured.from_rows(list(rows.values()), dense=self.dense)

    @cached_property
    def noise(self) -> stats_noise.Noise | None:
        """The variance components, or None where nothing was repeated."""
        if len(self.stratified) == len(self.recipes):
            return None
        return stats_noise.noise(self.stratified.drop, self.stratified.recipe)

    @cached_property
    def setting(self) -> Setting:
        """What the conjectures about this regime share."""
        return Setting(
            bounds=self.bounds,
            noise=self.noise,
            thresholds=self.config.thresholds,
            resampling=self.config.resampling,
        )
