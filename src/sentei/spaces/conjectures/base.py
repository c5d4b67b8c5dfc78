"""What a conjecture is judged by, and how a judgement is put.

A verdict is *supported*, *not supported* or *inconclusive*; a study that could not have seen the
effect does not speak against it, so every verdict carries the power of its test.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sentei.spaces.measured import Measured
from sentei.spaces.stats_base import (
    DEFAULTS,
    Interval,
    Observations,
    Resampling,
    check_bounds,
    check_fraction,
)
from sentei.spaces.stats_noise import Noise
from sentei.spaces.stats_winners import WINNERS, WinnerRule, WinnersBand

Rule = Literal["best1", "top_q", "within_eps", "bootstrap_best"]

SUPPORTED = "supported"
NOT_SUPPORTED = "not supported"
INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What counts, set before the study is evaluated.

    Args:
        alpha: Level of every test, in (0, 1).
        power: From here on a test that finds nothing speaks against the effect, in (0, 1).
        smallest_drop: Smallest difference of drops that matters, > 0 percentage points; the noise
            of one training replaces it where that is larger.
        factor: Distance from m* at which that difference must be lost, > 1; also the largest shift
            of m* that does not matter.
        winners: Share of a population that wins, in (0, 1).
        winner_rule: Whose ratios are the winners' band: of the best one (``best1``), of that share
            (``top_q``), of those within the noise of one training of the best (``within_eps``), or
            of the best of a resample (``bootstrap_best``).
        auc: Concentration of the winners around m* that is worth finding, in (.5, 1).
        networks: Networks that a law across networks needs, >= 3.
        regimes: Regimes that it needs of each of them, >= 1.
        best_of: Size of the search for which refined and base space are compared, >= 1.
        diversity: Share of the base space's mean distance of recipes to be kept, in (0, 1).
        explained: Share of the explainable variance that log m must explain, in (0, 1).
        gain: Largest factor by which stage means may raise that share, > 1.
        reliability: Share of the variance that must not be noise, in (0, 1).
        seeds: Paired trainings that a comparison of methods needs, >= 2.

    Raises:
        ValueError: a value is out of range.
    """

    alpha: float = 0.05
    power: float = 0.8
    smallest_drop: float = 0.1
    factor: float = 1.25
    winners: float = 0.05
    winner_rule: Rule = "top_q"
    auc: float = 0.7
    networks: int = 4
    regimes: int = 3
    best_of: int = 20
    diversity: float = 0.5
    explained: float = 0.2
    gain: float = 2.0
    reliability: float = 0.5
    seeds: int = 3

    def __post_init__(self) -> None:
        for name in ("alpha", "power", "winners", "auc", "diversity", "explained", "reliability"):
            check_fraction(name, getattr(self, name))
        above = {"smallest_drop": 0, "factor": 1, "auc": 0.5, "gain": 1}
        for name, bound in above.items():
            if getattr(self, name) <= bound:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; a number above {bound} was expected"
                )
        least = {"networks": 3, "regimes": 1, "best_of": 1, "seeds": 2}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} is {getattr(self, name)}; at least {bound} is needed")

    def rule(self, noise: Noise | None) -> WinnerRule:
        """Return who wins, given the noise of one training."""
        settings = {
            "top_q": {"q": self.winners},
            "within_eps": {"eps": self.smallest_effect(noise)},
        }
        return WINNERS[self.winner_rule](**settings.get(self.winner_rule, {}))

    def smallest_effect(self, noise: Noise | None) -> float:
        """Return the smallest drop that matters given the noise of one training."""
        return self.smallest_drop if noise is None else max(self.smallest_drop, noise.seed_sd)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all conjectures about one regime share.

    Args:
        bounds: Attainable bounds of m, 0 < low < high.
        noise: Variance components of the population; None where nothing was repeated.
        covariates: Columns that shift the drop in every regression.
        thresholds: What counts.
        resampling: How bootstraps and permutations draw.
        rounds: Simulated populations of a power, >= 1; 400 leave an error of at most .025.

    Raises:
        ValueError: the bounds do not increase, or ``rounds`` is not positive.
    """

    bounds: tuple[float, float]
    noise: Noise | None = None
    covariates: tuple[str, ...] = ("std",)
    thresholds: Thresholds = field(default_factory=Thresholds)
    resampling: Resampling = DEFAULTS
    rounds: int = 400

    def __post_init__(self) -> None:
        check_bounds(self.bounds)
        if self.rounds < 1:
            raise ValueError(f"rounds is {self.rounds}; at least 1 is needed")

    @property
    def smallest_effect(self) -> float:
        """Smallest drop that matters, in percentage points."""
        return self.thresholds.smallest_effect(self.noise)

    def observations(
        self, recipes: Measured, outcome: str = "drop", *, covariates: Sequence[str] | None = None
    ) -> Observations:
        """Return a regression's input, recipes of more replicates weighing more by the noise.

        Args:
            recipes: Averaged recipes.
            outcome: ``drop`` or ``test_drop``.
            covariates: Instead of those of the setting.
        """
        return recipes.observations(
            outcome,
            covariates=self.covariates if covariates is None else covariates,
            noise_share=0.0 if self.noise is None else 1 - self.noise.reliability,
        )


@dataclass(frozen=True, kw_only=True)
class Check:
    """One condition of a conjecture.

    Attributes:
        text: The condition with the number found.
        holds: Whether it holds.
    """

    text: str
    holds: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a study says about a conjecture.

    Attributes:
        conjecture: ``C0`` to ``C7``.
        claim: The conjecture in a sentence.
        estimate: The number it is about, or None if the study does not give it.
        interval: Its interval.
        test: Name of the test, with what ``estimate`` is.
        p: Its p-value.
        verdict: ``supported``, ``not supported`` or ``inconclusive``.
        power: Chance of the study to find the smallest effect that matters, in [0, 1].
        checks: The conditions, all of which a supported conjecture meets.
        notes: What else the reader must know.
        numbers: Further numbers by name.
    """

    conjecture: str
    claim: str
    estimate: float | None
    interval: Interval | None
    test: str
    p: float | None
    verdict: str
    power: float
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The verdict as printed; an inconclusive one names its power."""
        if self.verdict == INCONCLUSIVE:
            return f"{self.verdict} (power {self.power:.2f})"
        return self.verdict

    def as_json(self) -> dict[str, Any]:
        """Return plain values for a report; a number that is not finite becomes None."""
        numbers = {name: one if math.isfinite(one) else None for name, one in self.numbers.items()}
        return {**asdict(self), "numbers": numbers, "text": self.text}


def judged(
    checks: Sequence[Check], *, contradicted: bool, power: float, thresholds: Thresholds
) -> str:
    """Return the verdict of conditions.

    Args:
        checks: The conditions.
        contradicted: Whether the study shows the opposite, whatever its power.
        power: Chance of the study to find the effect, in [0, 1].
        thresholds: What power suffices to conclude from finding nothing.
    """
    if contradicted:
        return NOT_SUPPORTED
    if all(check.holds for check in checks):
        return SUPPORTED
    return NOT_SUPPORTED if power >= thresholds.power else INCONCLUSIVE


def band_note(band: WinnersBand) -> str:
    """Return a winners' band as a sentence, beside the band of permuted populations."""
    return (
        f"the winners' band is {band.low:.2f} to {band.high:.2f}, that of permuted populations "
        f"{band.null_low:.2f} to {band.null_high:.2f} (p = {band.p_value.value:.3f}, "
        f"Monte-Carlo error {band.p_value.mc_error:.3f})"
    )


def band_numbers(band: WinnersBand) -> dict[str, float]:
    """Return the numbers of a winners' band and of its null."""
    return {
        "band_low": band.low,
        "band_median": band.median,
        "band_high": band.high,
        "band_null_low": band.null_low,
        "band_null_high": band.null_high,
        "band_p": band.p_value.value,
        "band_p_error": band.p_value.mc_error,
    }
