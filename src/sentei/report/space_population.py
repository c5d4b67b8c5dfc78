"""Populations as the report of a space study takes them; see :mod:`sentei.report.space_schema`."""

from dataclasses import dataclass

from sentei.report.space_checks import Span, check_lengths, check_span


@dataclass(frozen=True, kw_only=True)
class Band:
    """A bootstrap band of a distribution of drops, point by point.

    Args:
        level: Of the band, in (0, 1).
        drops: Where it is read, increasing, from the smallest drop to the largest.
        low: Lower edge of the share of the weight at or below each.
        high: Upper edge.
    """

    level: float
    drops: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        check_lengths("the bootstrap band", drops=self.drops, low=self.low, high=self.high)


@dataclass(frozen=True, kw_only=True)
class SpaceResult:
    """A space and the drops of its population.

    Args:
        name: Of the space, unique in its regime.
        family: Spaces of one family share a figure: "STD bins", "ratio strata", "refinement".
        constraints: Its slabs in words.
        sampler: The measure that its population was drawn from.
        drops: Of every subnetwork, at least one.
        weights: Of every drop, >= 0, not all 0.
        minimum: Smallest drop.
        mean: Weighted mean drop.
        low_quantile: 5 % quantile of the drops.
        epsilon: Half the height of the Dvoretzky-Kiefer-Wolfowitz band, in (0, 1]; None where the
            weights differ, for which it does not hold.
        band: Bootstrap band of the distribution; None for none.
        log_volume: Logarithm (natural) of the share of the regime's recipes, <= 0, or None.
        ks_p: p of the Kolmogorov-Smirnov test against ``reference``, after Holm's correction.
        mann_whitney_p: The same of the Mann-Whitney test.
        cliffs_delta: Chance of a smaller drop than one of ``reference`` less that of a larger one,
            in [-1, 1].
        mean_difference: Mean drop less that of ``reference``.
        mean_interval: Of that difference.
        quantile_difference: 5 % quantile less that of ``reference``.
        quantile_interval: Of that difference.
        reference: The space it is compared with; empty for none.
    """

    name: str
    family: str
    constraints: str
    sampler: str
    drops: tuple[float, ...]
    weights: tuple[float, ...]
    minimum: float
    mean: float
    low_quantile: float
    epsilon: float | None
    band: Band | None = None
    log_volume: float | None = None
    ks_p: float | None = None
    mann_whitney_p: float | None = None
    cliffs_delta: float | None = None
    mean_difference: float | None = None
    mean_interval: Span | None = None
    quantile_difference: float | None = None
    quantile_interval: Span | None = None
    reference: str = ""

    def __post_init__(self) -> None:
        check_lengths(f"space {self.name}", drops=self.drops, weights=self.weights)
        if not self.drops or min(self.weights) < 0 or sum(self.weights) <= 0:
            raise ValueError(
                f"space {self.name}: {len(self.drops)} drops with weights of sum "
                f"{sum(self.weights):g}; expected a drop, and weights >= 0 that are not all 0"
            )


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Spaces of one regime, crossed: a row for each bin of STD, a column for each bin of m.

    Args:
        spreads: Names of the bins of STD.
        ratios: Names of the bins of m.
        counts: Subnetworks of every cell; 0 where no recipe has such STD and m.
        means: Their mean drop; None there.
    """

    spreads: tuple[str, ...]
    ratios: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    means: tuple[tuple[float | None, ...], ...]

    def __post_init__(self) -> None:
        check_lengths("the cells", spreads=self.spreads, counts=self.counts, means=self.means)
        for name, counts, means in zip(self.spreads, self.counts, self.means, strict=True):
            check_lengths(f"the cells of {name}", ratios=self.ratios, counts=counts, means=means)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One subnetwork.

    Args:
        subnet: Its identity.
        space: The space it was drawn from.
        ratio: m, > 0.
        drop: In percentage points.
        std: Standard deviation of its pruning ratios, >= 0.
        params_left: Share of the parameters, in (0, 1].
    """

    subnet: str
    space: str
    ratio: float
    drop: float
    std: float
    params_left: float


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted curve of the drop over m with a pointwise band.

    Args:
        method: How it was fitted, and the level of the band.
        ratios: Where it is read, increasing.
        drops: The curve there.
        low: Lower edge of the band; empty for none.
        high: Upper edge of the band; empty for none.
    """

    method: str
    ratios: tuple[float, ...]
    drops: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        band = {"low": self.low, "high": self.high} if self.low or self.high else {}
        check_lengths("the fit", ratios=self.ratios, drops=self.drops, **band)


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The ratio of the smallest expected drop.

    Args:
        ratio: m*.
        interval: Of m*.
        level: Of the interval, in (0, 1).
        drop: Fitted drop at m*.
        at_bound: Share of the resamples whose m* lies on a bound of the attainable range.
        method: How it was found.
    """

    ratio: float
    interval: Span
    level: float
    drop: float
    at_bound: float
    method: str

    def __post_init__(self) -> None:
        check_span("the interval of m*", self.interval)


@dataclass(frozen=True, kw_only=True)
class Winners:
    """The winners' band of ratios beside its permutation null.

    Args:
        rule: Who wins.
        level: Share of the winners inside the band, in (0, 1).
        median: Of the winners' ratios.
        band: Of the winners' ratios.
        null: Median edges of the bands of populations whose drops are permuted.
        p: Share of those whose band is as narrow.
        p_error: Its Monte-Carlo standard error, or None.
    """

    rule: str
    level: float
    median: float
    band: Span
    null: Span
    p: float
    p_error: float | None = None

    def __post_init__(self) -> None:
        check_span("the winners' band", self.band)
        check_span("the null of the winners' band", self.null)


@dataclass(frozen=True, kw_only=True)
class Population:
    """The measured subnetworks of a regime.

    Args:
        attainable: Range of m in this regime.
        points: The subnetworks; at least one.
        uniform: The recipe with one pruning ratio for all groups, or None if not measured.
        fit: Curve of the drop over m.
        optimum: m*.
        winners: The winners' ratios.
        spline: m* of a curve of no given shape, which checks that of ``optimum``.
    """

    attainable: Span
    points: tuple[Point, ...]
    uniform: Point | None = None
    fit: Fit | None = None
    optimum: Optimum | None = None
    winners: Winners | None = None
    spline: Optimum | None = None

    def __post_init__(self) -> None:
        check_span("the attainable range of m", self.attainable)
        if not self.points:
            raise ValueError("a population has no points; give None where nothing was measured")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Keep ratios by depth.

    Args:
        rule: Who wins, and who loses.
        groups: Names, in network order.
        stages: Of every group.
        winners: Keep ratio of every group, a row a winner, best first; at least one row.
        losers: The same of losers; at least one row.
        uniform: Keep ratio of every group of the uniform recipe.
    """

    rule: str
    groups: tuple[str, ...]
    stages: tuple[str, ...]
    winners: tuple[tuple[float, ...], ...]
    losers: tuple[tuple[float, ...], ...]
    uniform: tuple[float, ...]

    def __post_init__(self) -> None:
        rows = {f"row {i}": row for i, row in enumerate((*self.winners, *self.losers))}
        check_lengths(
            "the profile", groups=self.groups, stages=self.stages, uniform=self.uniform, **rows
        )
        if not self.winners or not self.losers:
            raise ValueError("the profile needs at least one winner and one loser")
