"""A space study to report, with numbers that are easy to follow."""

from dataclasses import replace

from sentei.report.space_schema import (
    Analysis,
    BestOf,
    Cells,
    Choice,
    Condition,
    Contender,
    Fit,
    Found,
    Noise,
    Optimum,
    Payoff,
    Point,
    Population,
    Profile,
    Proxy,
    Regime,
    Search,
    SpaceResult,
    Verdict,
    Winners,
)


def space(name: str, *drops: float, family: str = "ratio strata", **changes: object) -> SpaceResult:
    made = SpaceResult(
        name=name,
        family=family,
        constraints="0.495 <= macs <= 0.505",
        sampler="hit-and-run",
        drops=drops,
        weights=(1.0,) * len(drops),
        minimum=min(drops),
        mean=sum(drops) / len(drops),
        low_quantile=min(drops),
        epsilon=0.25,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def point(ratio: float, drop: float, *, std: float = 0.1, params_left: float = 0.5) -> Point:
    name = f"subnet-{ratio:g}"
    return Point(
        subnet=name, space="base", ratio=ratio, drop=drop, std=std, params_left=params_left
    )


def population() -> Population:
    """Drops 1 to 4 at ratios from 1/2 to 2; a fit with its bottom at 0.8."""
    return Population(
        attainable=(0.5, 2.0),
        points=(
            point(0.5, 2.0, std=0.05, params_left=0.9),
            point(0.8, 1.0, std=0.1, params_left=0.6),
            point(1.0, 1.5, std=0.2, params_left=0.5),
            point(1.25, 2.5, std=0.15, params_left=0.4),
            point(2.0, 4.0, std=0.25, params_left=0.25),
        ),
        uniform=point(0.96, 1.25, std=0.0, params_left=0.52),
        fit=Fit(
            method="quadratic in log m, 95 % band",
            ratios=(0.5, 0.8, 2.0),
            drops=(1.9, 1.1, 3.9),
            low=(1.7, 1.0, 3.5),
            high=(2.1, 1.2, 4.3),
        ),
        optimum=Optimum(
            ratio=0.8,
            interval=(0.625, 1.0),
            level=0.95,
            drop=1.1,
            at_bound=0.02,
            method="pairs bootstrap",
        ),
        winners=Winners(
            rule="best 5 %", level=0.9, median=0.85, band=(0.64, 1.0), null=(0.55, 1.8), p=0.03
        ),
    )


def profile() -> Profile:
    """Winners keep 40 and 60 %, losers all but nothing late, over three groups of two stages."""
    return Profile(
        rule="Winners: best 5 %; losers: worst 5 %",
        groups=("stem", "body", "head"),
        stages=("early", "early", "late"),
        winners=((0.4, 0.5, 0.75), (0.6, 0.5, 0.5)),
        losers=((0.9, 0.7, 0.1),),
        uniform=(0.7, 0.7, 0.7),
    )


def search() -> Search:
    """A refined space in which five subnetworks do what twenty of the base space do."""
    counts = (1, 10, 100)
    return Search(
        level=0.9,
        seconds_each=30.0,
        curves=(
            curve("base", counts, (4.0, 2.0, 1.0)),
            curve("refined", counts, (2.0, 1.5, 1.0)),
            curve("placebo", counts, (4.25, 2.25, 1.25)),
        ),
        payoff=Payoff(
            drop=1.75,
            base_count=20.0,
            refined_count=5.0,
            study_seconds=3000.0,
            search_seconds=120.0,
            saved_seconds=1800.0,
        ),
    )


def curve(kind: str, counts: tuple[int, ...], best: tuple[float, ...]) -> BestOf:
    return BestOf(
        name=f"{kind} space",
        kind=kind,
        counts=counts,
        best=best,
        low=tuple(value - 0.25 for value in best),
        high=tuple(value + 0.25 for value in best),
    )


def noise(**changes: object) -> Noise:
    made = Noise(
        reliability=0.8,
        interval=(0.6, 0.9),
        structure_sd=0.3,
        seed_sd=0.15,
        num_replicated=12,
        delta_min=0.17,
        effects=(0.0, 0.5, 1.0),
        powers=(0.05, 0.6, 0.95),
        test="Lind-Mehlum",
        least_effect=0.7,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def proxy(**changes: object) -> Proxy:
    made = Proxy(
        name="one shot",
        regime="resnet20 at 50 %",
        unit="Validation loss after recalibration",
        values=(1.0, 2.0, 3.0),
        drops=(1.5, 1.25, 2.75),
        tau=0.33,
        interval=(-0.1, 0.65),
        level=0.95,
        partial_tau=-0.2,
        within_tau=0.15,
        recall=0.5,
        shift=0.875,
        shift_interval=(0.75, 1.1),
        gate="Below 0.5: no screening by it.",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


CONTENDERS = (
    Contender(
        method="uniform l1",
        source="own run",
        citation="3 seeds, 20 epochs",
        network="resnet20, CIFAR-10",
        base_accuracy=0.92,
        accuracy=0.905,
        deviation=0.002,
        drop=1.5,
        macs=20_300_000,
        macs_removed=0.5,
        params=140_000,
        ratio=0.965,
        epochs=20,
    ),
    Contender(
        method="EagleEye",
        source="quoted",
        citation="arXiv:2007.02491",
        network="resnet50, ImageNet",
        accuracy=0.764,
        drop=0.25,
        macs=2_056_500_000,
    ),
)


def found() -> Found:
    return Found(
        name="best of 100",
        regime="resnet20 at 50 %",
        groups=("stem", "body"),
        widths_before=(16, 32),
        widths=(4, 24),
        macs=20_250_000,
        params=150_000,
        ratio=0.9,
        accuracy=0.91,
        latency_ms=1.25,
        speedup=1.6,
        speedup_interval=(1.5, 1.75),
        device="cpu, 1 thread",
    )


def regime(name: str = "resnet20 at 50 %", **changes: object) -> Regime:
    made = Regime(
        name=name,
        network="resnet20",
        level=0.5,
        spaces=(
            space("low", 1.0, 2.0, 3.0, 4.0),
            space(
                "high",
                2.0,
                4.0,
                ks_p=0.04,
                reference="low",
                log_volume=-2.5,
                mann_whitney_p=0.12,
                cliffs_delta=-0.25,
                mean_difference=0.5,
                mean_interval=(-1.5, 2.5),
                quantile_difference=1.0,
            ),
            space("narrow", 1.5, 2.5, family="STD bins", epsilon=None, weights=(1.0, 3.0)),
        ),
        cells=Cells(
            spreads=("STD 0 to 0.1", "STD from 0.1"),
            ratios=("m 0.5 to 1", "m 1 to 2"),
            counts=((0, 3), (2, 4)),
            means=((None, 1.25), (2.5, 3.75)),
        ),
        population=population(),
        profile=profile(),
        search=search(),
        noise=noise(),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def verdict(**changes: object) -> Verdict:
    made = Verdict(
        conjecture="C1",
        scope="resnet20 at 50 %",
        claim="in a regime there is an optimal ratio",
        estimate=0.8,
        interval=(0.625, 1.0),
        level=0.95,
        test="Lind-Mehlum; m*",
        p=0.0125,
        verdict="supported",
        power=0.75,
        checks=(
            Condition(text="m* 0.8 lies inside 0.5 to 2", holds=True),
            Condition(text="extra drop 0.17 is lost", holds=False),
        ),
        notes=("the size is 0.05",),
        numbers={"curvature": 3.125, "p two lines": None},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def analysis(**changes: object) -> Analysis:
    made = Analysis(
        title="Spaces of resnet20",
        about="resnet20 on CIFAR-10, 5 subnetworks a regime.",
        created="2026-02-03T10:20:30+00:00",
        choices=(
            Choice(
                name="ratio",
                value="(F/F0)/(P/P0)",
                alternatives="F/P, removed F per removed P",
                paper="unknown",
            ),
            Choice(name="winner", value="best 5 %", alternatives="best 1", paper="unknown"),
        ),
        regimes=(regime(),),
        verdicts=(
            verdict(),
            verdict(conjecture="C3", verdict="inconclusive", power=0.25, estimate=None),
        ),
        proxies=(proxy(),),
        contenders=CONTENDERS,
        found=(found(),),
        provenance={"command": "sentei space report"},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def bare() -> Analysis:
    """Nothing but its choices, and a regime without results."""
    empty = Regime(name="vgg16 at 30 %", network="vgg16", level=0.3)
    return analysis(
        regimes=(empty,), verdicts=(), proxies=(), contenders=(), found=(), provenance={}
    )
