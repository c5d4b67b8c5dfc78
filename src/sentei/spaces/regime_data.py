"""The rows of one regime of a study, and what all its statistics share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sentei.spaces import stats_noise
from sentei.spaces.config import StudyConfig
from sentei.spaces.conjectures import Setting
from sentei.spaces.measured import Measured
from sentei.spaces.stats_optimum import Optimum, optimal_ratio
from sentei.spaces.subnets import Row, choose

STRATIFIED = "stratified"
NATURAL = "natural"
UNIFORM = "uniform"
FRESH = ("fresh base", "refined", "placebo")
"""Names of the spaces of a study; the last three are drawn after the refinement."""

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
        level: Share of the MACs.
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
        return f"{self.network} at {100 * self.level:g} % of the MACs"

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
        """m* of the trained population, with STD held."""
        return optimal_ratio(
            self.recipes.observations(covariates=("std",)),
            bounds=self.bounds,
            resampling=self.config.resampling,
        )

    @property
    def with_uniform(self) -> Measured:
        """The trained population and the uniform recipe.

        Raises:
            ValueError: Nothing is trained yet.
        """
        rows = {
            (row["subnet"], row["replicate"]): row
            for space in (UNIFORM, STRATIFIED)
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
