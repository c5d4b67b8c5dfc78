"""Searches, noise, proxies and verdicts as the report takes them; see :mod:`sentei.report.space_schema`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sentei.report.space_checks import Span, check_lengths, check_span, check_word

VERDICT_WORDS = ("supported", "not supported", "inconclusive")
KINDS = ("base", "refined", "placebo")


@dataclass(frozen=True, kw_only=True)
class BestOf:
    """Expected smallest drop of k random subnetworks of a space.

    Args:
        name: Of the space.
        kind: One of ``base``, ``refined``, ``placebo``.
        counts: Values of k, >= 1, increasing.
        best: Expected smallest drop of each k.
        low: Lower edge of its band.
        high: Upper edge of its band.
    """

    name: str
    kind: str
    counts: tuple[int, ...]
    best: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        check_word(f"the kind of {self.name}", self.kind, KINDS)
        check_lengths(self.name, counts=self.counts, best=self.best, low=self.low, high=self.high)


@dataclass(frozen=True, kw_only=True)
class Payoff:
    """Whether a refinement repays the study that found it.

    Args:
        drop: The drop that is wanted.
        base_count: Subnetworks of the base space to reach it, or None if it was not reached.
        refined_count: The same in the refined space.
        study_seconds: What the study cost.
        search_seconds: What one subnetwork of a search costs.
        saved_seconds: What a search saves: (base_count - refined_count) * search_seconds; None
            where one of the spaces did not reach the drop.
    """

    drop: float
    base_count: float | None
    refined_count: float | None
    study_seconds: float
    search_seconds: float
    saved_seconds: float | None

    def __post_init__(self) -> None:
        if (self.saved_seconds is None) != (None in (self.base_count, self.refined_count)):
            raise ValueError(
                f"saved_seconds is {self.saved_seconds} with counts {self.base_count} and "
                f"{self.refined_count}; give it exactly where both spaces reached the drop"
            )


@dataclass(frozen=True, kw_only=True)
class Search:
    """Searching at random in the spaces of a regime.

    Args:
        level: Of the bands, in (0, 1).
        seconds_each: Wall time of one subnetwork.
        curves: One a space; at least one.
        payoff: Whether refining pays, if it was asked.
    """

    level: float
    seconds_each: float
    curves: tuple[BestOf, ...]
    payoff: Payoff | None = None

    def __post_init__(self) -> None:
        if not self.curves:
            raise ValueError("a search has no curves; give None where nothing was searched")


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How much of what a regime shows is structure, and what it could see.

    Args:
        reliability: Variance of structure over that of structure and seeds, in [0, 1].
        interval: Of the reliability.
        structure_sd: Standard deviation between subnetworks, in points.
        seed_sd: Standard deviation between replicates of one subnetwork, in points.
        num_replicated: Subnetworks that were replicated.
        delta_min: Smallest drop that matters, in points.
        effects: Extra drop at a stated distance of m*, in points, increasing.
        powers: Chance of each effect to be found by this design, in [0, 1].
        test: The test whose power it is, and its size.
        least_effect: Smallest effect found with power 0.8, or None if none is.
        power_errors: Monte-Carlo standard error of each power; empty if not known.
    """

    reliability: float
    interval: Span
    structure_sd: float
    seed_sd: float
    num_replicated: int
    delta_min: float
    effects: tuple[float, ...] = ()
    powers: tuple[float, ...] = ()
    test: str = ""
    least_effect: float | None = None
    power_errors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_span("the interval of the reliability", self.interval)
        errors = {"power_errors": self.power_errors} if self.power_errors else {}
        check_lengths("the noise", effects=self.effects, powers=self.powers, **errors)


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A cheap measure of subnetworks beside the full one.

    Args:
        name: Of the proxy.
        regime: Name of the regime.
        unit: What the proxy measures, with its unit.
        values: Of every subnetwork.
        drops: Full drop of every subnetwork, in points.
        tau: Kendall's tau-b of the two.
        interval: Of tau.
        level: Of the interval, in (0, 1).
        partial_tau: Tau given log m and STD, or None.
        within_tau: Tau over pairs of one stratum, or None.
        recall: Share of the best tenth that the proxy's best tenth holds, or None.
        shift: m* by the proxy over m* by the full measure, or None.
        shift_interval: Of the shift, or None.
        gate: What follows, in words.
    """

    name: str
    regime: str
    unit: str
    values: tuple[float, ...]
    drops: tuple[float, ...]
    tau: float
    interval: Span
    level: float
    partial_tau: float | None = None
    within_tau: float | None = None
    recall: float | None = None
    shift: float | None = None
    shift_interval: Span | None = None
    gate: str = ""

    def __post_init__(self) -> None:
        check_lengths(f"proxy {self.name}", values=self.values, drops=self.drops)
        check_span("the interval of tau", self.interval)
        if not self.values:
            raise ValueError(f"proxy {self.name} has no values; leave it out")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition of a conjecture, with the number found, and whether it holds."""

    text: str
    holds: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a study says about a conjecture.

    Args:
        conjecture: "C1".
        scope: The regime, or what else it was tested on.
        claim: What is conjectured.
        estimate: The number it turns on, or None.
        interval: Of the estimate, or None.
        level: Of the interval, in (0, 1), or None.
        test: Which test, and what the estimate is.
        p: Its p-value, or None.
        verdict: One of ``supported``, ``not supported``, ``inconclusive``.
        power: Of the test at the smallest effect that matters, in [0, 1], or None.
        checks: The conditions, all of which a supported conjecture meets.
        notes: What else must be known.
        numbers: Further numbers by name; None for one that is not finite.
    """

    conjecture: str
    scope: str
    claim: str
    estimate: float | None
    interval: Span | None
    level: float | None
    test: str
    p: float | None
    verdict: str
    power: float | None
    checks: tuple[Condition, ...] = ()
    notes: tuple[str, ...] = ()
    numbers: Mapping[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_word(f"the verdict on {self.conjecture}", self.verdict, VERDICT_WORDS)
        if self.interval is not None:
            check_span(f"the interval of {self.conjecture}", self.interval)
