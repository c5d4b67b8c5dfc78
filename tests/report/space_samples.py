"""A space study to report, with numbers that are easy to follow."""

from dataclasses import replace

from sentei.report.space_schema import (
    Analysis,
    Choice,
    Fit,
    Optimum,
    Point,
    Population,
    Regime,
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


def regime(name: str = "resnet20 at 50 %", **changes: object) -> Regime:
    made = Regime(
        name=name,
        network="resnet20",
        level=0.5,
        spaces=(
            space("low", 1.0, 2.0, 3.0, 4.0),
            space("high", 2.0, 4.0, ks_p=0.04, reference="low", log_volume=-2.5),
            space("narrow", 1.5, 2.5, family="STD bins", epsilon=None, weights=(1.0, 3.0)),
        ),
        population=population(),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def verdict(**changes: object) -> Verdict:
    made = Verdict(
        conjecture="C1",
        scope="resnet20 at 50 %",
        claim="in a regime there is an optimal ratio",
        estimate=0.8,
        unit="m*",
        interval=(0.625, 1.0),
        test="Lind-Mehlum",
        p=0.0125,
        verdict="supported",
        power=0.75,
        notes="size 0.05",
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
        provenance={"command": "sentei space report"},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def bare() -> Analysis:
    """Nothing but its choices, and a regime without results."""
    empty = Regime(name="vgg16 at 30 %", network="vgg16", level=0.3)
    return analysis(regimes=(empty,), verdicts=(), provenance={})
