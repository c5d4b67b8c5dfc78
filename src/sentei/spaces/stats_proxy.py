"""Is a cheap score a stand-in for the full evaluation: rank agreement, recall, bias of m*.

Scores are drops, so small is good in both. Shapes: N = recipes, V = variables, B = draws.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from sentei.spaces.stats_base import (
    DEFAULTS,
    FloatArray,
    Interval,
    Observations,
    Resampling,
    check_fraction,
    checked,
    generator,
    percentile_interval,
    resampling_counts,
    same_length,
)
from sentei.spaces.stats_optimum import Shift, optimum_shift
from sentei.spaces.stats_screening import top_recall


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A rank correlation.

    Attributes:
        tau: Kendall's tau_b, or a partial one, in [-1, 1].
        interval: Its bootstrap interval.
        num: Number of recipes.
    """

    tau: float
    interval: Interval
    num: int


def rank_agreement(
    first: ArrayLike,
    second: ArrayLike,
    *,
    given: Mapping[str, ArrayLike] | None = None,
    strata: ArrayLike | None = None,
    resampling: Resampling = DEFAULTS,
) -> Agreement:
    r"""Return Kendall's tau_b of two scores, or the partial one given other variables.

    With s the signs of the differences of all pairs of recipes,
    :math:`\tau_b = \sum s_x s_y / \sqrt{\sum s_x^2 \sum s_y^2}`. The partial tau is the partial
    correlation of the matrix of all tau_b. It takes out what rises or falls with a given variable,
    not what has a valley in it, and is 0 where a score follows the given variables exactly.

    Source: Kendall, Biometrika 1942 (partial tau of three variables).

    Args:
        first: Shape [N], N >= 5.
        second: Shape [N].
        given: Name -> variable to take out, shape [N] each, such as log m and STD.
        strata: Only pairs within one stratum are compared, shape [N]; None compares all.
        resampling: How the pairs bootstrap draws.

    Raises:
        ValueError: lengths differ, there are too few recipes, or a variable is constant.
    """
    named = {"first": first, "second": second, **(given or {})}
    columns = {name: checked(name, values, least=5) for name, values in named.items()}
    num = same_length(**columns)
    pairs_NN = np.ones((num, num))
    if strata is not None:
        labels_N = checked("strata", strata)
        same_length(first=columns["first"], strata=labels_N)
        pairs_NN = (labels_N[:, None] == labels_N).astype(np.float64)
    signs_VNN = np.stack([np.sign(x[:, None] - x) * pairs_NN for x in columns.values()])
    for name, signs_NN in zip(columns, signs_VNN, strict=True):
        if not signs_NN.any():
            raise ValueError(
                f"{name} is the same for all recipes that are compared, so it ranks nothing; "
                f"leave it out"
            )
    counts_BN = resampling_counts(
        num, resampling.draws, rng=generator(resampling.seed, "agreement")
    )
    return Agreement(
        tau=float(_partial(_tau_matrix(signs_VNN, np.ones((1, num))))[0]),
        interval=percentile_interval(
            _partial(_tau_matrix(signs_VNN, counts_BN)),
            level=resampling.level,
            method="pairs bootstrap",
        ),
        num=num,
    )


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a proxy may be used for, by the lower end of the interval of tau.

    Args:
        screen: From here on it may choose what to evaluate in full, in (0, 1).
        substitute: From here on it may stand in for training, in (screen, 1).

    Raises:
        ValueError: a threshold is out of range.
    """

    screen: float = 0.5
    substitute: float = 0.7

    def __post_init__(self) -> None:
        check_fraction("screen", self.screen)
        check_fraction("substitute", self.substitute)
        if self.substitute <= self.screen:
            raise ValueError(
                f"substitute is {self.substitute}; more than screen = {self.screen} was expected"
            )

    def use(self, agreement: Agreement) -> str:
        """Return ``substitute``, ``screen`` or ``train``: the proxy is not to be used."""
        if agreement.interval.low >= self.substitute:
            return "substitute"
        return "screen" if agreement.interval.low >= self.screen else "train"


@dataclass(frozen=True, kw_only=True)
class ProxyCheck:
    """How well a proxy ranks the recipes of one regime.

    Attributes:
        agreement: tau_b of proxy and full score.
        partial: The same given log m and the covariates.
        within: The same over pairs of one stratum; None without strata.
        recall: Share of the best tenth that is in the best tenth by proxy.
        shift: m* by proxy over m* by full score.
        use: What the proxy may be used for, a verdict of :class:`Gate`.
    """

    agreement: Agreement
    partial: Agreement
    within: Agreement | None
    recall: float
    shift: Shift
    use: str


@dataclass(frozen=True, kw_only=True)
class ProxySettings:
    """Settings of :func:`proxy_check`.

    Args:
        gate: Thresholds of tau.
        share: Share of the recipes that counts as best, in (0, 1).
        resampling: How the bootstraps draw.
    """

    gate: Gate = field(default_factory=Gate)
    share: float = 0.1
    resampling: Resampling = DEFAULTS


def proxy_check(
    proxy: ArrayLike,
    full: Observations,
    *,
    bounds: tuple[float, float],
    strata: ArrayLike | None = None,
    settings: ProxySettings | None = None,
) -> ProxyCheck:
    """Compare a cheap score of the recipes of one regime with the full one.

    The proxy may be a drop before training, or after a shorter training.

    Args:
        proxy: Cheap score of every recipe, shape [N]; small is good.
        full: Full drops, ratios, and covariates such as STD.
        bounds: Attainable bounds of m.
        strata: Stratum of every recipe, shape [N].
        settings: Gate, share, resampling; None for the defaults.

    Raises:
        ValueError: lengths differ, or there are too few recipes.
    """
    settings = settings or ProxySettings()
    cheap = Observations(
        drop=checked("proxy", proxy),
        ratio=full.ratio,
        covariates=full.covariates,
        weights=full.weights,
    )
    draws = settings.resampling
    given = {"log m": full.log_ratio, **full.covariates}
    agreement = rank_agreement(cheap.drop, full.drop, resampling=draws)
    return ProxyCheck(
        agreement=agreement,
        partial=rank_agreement(cheap.drop, full.drop, given=given, resampling=draws),
        within=None
        if strata is None
        else rank_agreement(cheap.drop, full.drop, strata=strata, resampling=draws),
        recall=top_recall(cheap.drop, full.drop, share=settings.share),
        shift=optimum_shift(cheap, full, bounds=bounds, paired=True, resampling=draws),
        use=settings.gate.use(agreement),
    )


def _tau_matrix(signs_VNN: FloatArray, counts_BN: FloatArray) -> FloatArray:
    """Return tau_b of all pairs of variables in every resample, shape [B, V, V]."""
    size = signs_VNN.shape[0]
    sums = np.empty((counts_BN.shape[0], size, size))
    for i in range(size):
        for j in range(i + 1):
            weighted_BN = counts_BN @ (signs_VNN[i] * signs_VNN[j])
            sums[:, i, j] = sums[:, j, i] = np.einsum("bn,bn->b", weighted_BN, counts_BN)
    # A variable that is constant in a resample ranks nothing there: its tau is 0.
    scale_BV = np.sqrt(np.maximum(np.einsum("bvv->bv", sums), 1e-300))
    return sums / scale_BV[:, :, None] / scale_BV[:, None, :]


def _partial(tau_BVV: FloatArray) -> FloatArray:
    """Return the partial correlation of the first two variables given the others, shape [B]."""
    across = tau_BVV[:, :2, 2:]
    rest = tau_BVV[:, :2, :2] - across @ np.linalg.pinv(tau_BVV[:, 2:, 2:]) @ across.swapaxes(1, 2)
    variance = rest[:, 0, 0] * rest[:, 1, 1]
    known = (rest[:, 0, 0] < 1e-9) | (rest[:, 1, 1] < 1e-9)
    return np.where(known, 0.0, rest[:, 0, 1] / np.sqrt(np.where(known, 1.0, variance)))
