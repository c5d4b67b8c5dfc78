"""C2: the optimal ratio over networks."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sentei.spaces.conjectures import Site, optimum_follows_design
from sentei.spaces.conjectures.design import _network_means
from sentei.spaces.stats_base import Interval
from sentei.spaces.stats_optimum import Optimum

DENSE = {"a": 150.0, "b": 21.0, "c": 134.0, "d": 60.0, "e": 300.0}
REGIMES = (0.7, 0.5, 0.3)


def site(
    network: str, regime: float, log_ratio: float, *, error: float = 0.05, checkpoint: str = ""
) -> Site:
    ends = [math.exp(log_ratio + side * 1.95996 * error) for side in (-1, 1)]
    return Site(
        network=network,
        regime=regime,
        dense_mcb=DENSE[network],
        checkpoint=checkpoint,
        optimum=Optimum(
            ratio=math.exp(log_ratio),
            interval=Interval(low=ends[0], high=ends[1], level=0.95, method="test"),
            bounds=(0.1, 10),
            at_bound=0,
            curvature=3.0,
            drop=2.0,
            method="quadratic",
        ),
    )


def sites(slope: float, level: float = -0.4, *, noise: float = 0.03, seed: int = 0) -> list[Site]:
    """Return sites whose log mCB* has a slope in log mCB0 and falls with the regime."""
    rng = np.random.default_rng(seed)
    centre = float(np.mean(np.log(list(DENSE.values()))))
    return [
        site(
            network,
            regime,
            level
            + (slope - 1) * (math.log(dense) - centre)
            + 0.5 * (regime - 0.5)
            + float(rng.normal(0, noise)),
        )
        for network, dense in DENSE.items()
        for regime in REGIMES
    ]


def test_a_constant_ratio_below_one_is_supported_with_slope_one() -> None:
    found = optimum_follows_design(sites(1.0))

    assert found.verdict == "supported"
    assert found.estimate == pytest.approx(1, abs=0.05)
    assert found.numbers["regime_slope"] == pytest.approx(0.5, abs=0.2)
    assert found.numbers["slope_bootstrap_low"] > 0


def test_an_absolute_optimum_unrelated_to_the_network_is_not_supported() -> None:
    found = optimum_follows_design(sites(0.0))

    assert found.verdict == "not supported"
    assert found.estimate == pytest.approx(0, abs=0.05)
    assert found.power >= 0.8
    assert found.p is not None
    assert found.p < 0.001  # m* itself differs between networks


def test_keeping_the_original_ratio_is_not_a_law_about_design() -> None:
    places = [(network, regime) for network in DENSE for regime in REGIMES]
    near = [site(*place, 0.01 * (number % 3 - 1)) for number, place in enumerate(places)]

    found = optimum_follows_design(near)

    assert found.verdict == "not supported"
    assert "mean m* is 1.00" in found.checks[4].text


def test_too_few_networks_are_inconclusive() -> None:
    few = [one for one in sites(1.0) if one.network in "abc"]

    found = optimum_follows_design(few)

    assert found.verdict == "inconclusive"
    assert found.text == "inconclusive (power 0.00)"
    assert found.checks[0].text == "3 networks, 4 needed"
    assert found.estimate is not None


def test_too_few_regimes_are_inconclusive() -> None:
    found = optimum_follows_design([one for one in sites(1.0) if one.regime > 0.4])

    assert found.verdict == "inconclusive"
    assert "2 regimes of the network with fewest, 3 needed" in found.checks[1].text


def test_one_network_has_no_slope_but_a_q_over_regimes() -> None:
    found = optimum_follows_design([site("a", 0.7, 0.2), site("a", 0.5, 0.0), site("a", 0.3, -0.2)])

    assert (found.estimate, found.interval, found.verdict) == (None, None, "inconclusive")
    # Two of them 4 standard errors from the mean; 1.95996 in site is 1.96 to that precision.
    assert found.numbers["q"] == pytest.approx(32, rel=1e-5)


def test_checkpoints_that_disagree_are_not_supported() -> None:
    again = [site("a", 0.5, 0.6, checkpoint="second")]

    found = optimum_follows_design(sites(1.0) + again)

    assert found.verdict == "not supported"
    assert "checkpoints of one network agree (p = 0.000)" in [c.text for c in found.checks]


def test_optima_on_the_bounds_cannot_support_a_law() -> None:
    edge = [
        replace(one, optimum=replace(one.optimum, bounds=(one.optimum.interval.low, 10)))
        for one in sites(1.0)
    ]

    assert optimum_follows_design(edge).verdict == "inconclusive"


def test_networks_are_compared_at_the_mean_regime() -> None:
    # Within each network log m* rises by 1 from regime .4 to .6: slope 5.
    slope, networks = _network_means(
        [
            site("a", 0.4, 0.0),
            site("a", 0.6, 1.0),
            site("b", 0.4, 2.0),
            site("b", 0.6, 3.0),
        ]
    )

    assert slope == pytest.approx(5)
    np.testing.assert_allclose(networks.optimal - networks.dense, [0.5, 2.5])


def test_no_relation_is_seldom_called_one() -> None:
    found = [
        optimum_follows_design(sites(0.0, noise=0.3, seed=seed)).interval for seed in range(100)
    ]

    assert np.mean([one is not None and 0 in one for one in found]) >= 0.9


def test_bad_sites_are_named() -> None:
    with pytest.raises(ValueError, match="1 optima were given"):
        optimum_follows_design([site("a", 0.5, 0.0)])
    with pytest.raises(ValueError, match=r"m\* of a at 0.5 has an interval without width"):
        optimum_follows_design([site("a", 0.5, 0.0, error=0), site("b", 0.5, 0.0)])
    edge = site("a", 0.5, 0.0, error=0)
    edge = replace(edge, optimum=replace(edge.optimum, at_bound=0.98))
    with pytest.raises(ValueError, match=r"on a bound of what can be attained in 98% of the"):
        optimum_follows_design([edge, site("b", 0.5, 0.0)])
    with pytest.raises(ValueError, match="a has 0 MACs per parameter"):
        replace(site("a", 0.5, 0.0), dense_mcb=0)
