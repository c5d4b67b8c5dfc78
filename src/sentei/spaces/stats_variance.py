"""How much of the drops is explained by the ratio, by stages, and by the whole recipe.

Shapes: N = recipes, B = bootstrap draws.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sentei.seeding import derive_seed
from sentei.spaces.measured import Measured
from sentei.spaces.stats_base import (
    DEFAULTS,
    FloatArray,
    Interval,
    Resampling,
    generator,
    percentile_interval,
    resampling_counts,
)

_PENALTIES = np.logspace(-3, 3, 13)
_DEPTHS = (1, 2, 3)


@dataclass(frozen=True, kw_only=True, eq=False)
class Explained:
    r"""Share of the variance of the drops that models explain on recipes they have not seen.

    :math:`R^2 = 1 - \sum (e - \hat e)^2 / \sum (e - \bar e)^2`, at most 1, negative where a model
    is worse than the mean.

    Attributes:
        ratio: R^2 of log m and its square.
        stages: R^2 with the mean pruning ratios of the stages and their squares.
        recipe: R^2 of boosted trees on these and the kept share of every group.
        ratio_interval: Bootstrap interval of ``ratio``.
        ratio_error: Its standard error.
        gain_interval: Interval of ``stages - gain * ratio``, see :func:`explained_variance`.
    """

    ratio: float
    stages: float
    recipe: float
    ratio_interval: Interval
    ratio_error: float
    gain_interval: Interval


def explained_variance(
    measured: Measured,
    *,
    gain: float = 2.0,
    folds: int = 5,
    trees: int = 100,
    resampling: Resampling = DEFAULTS,
) -> Explained:
    """Return what log m, stages and the whole recipe explain, by nested cross-validation.

    Penalties of the linear models and depths of the trees are chosen inside each training part.
    The bootstrap resamples the recipes with their predictions; models are not fitted again.

    Source: Friedman, Annals of Statistics 2001 (boosted trees, as scikit-learn fits them).

    Args:
        measured: The population; replicates are averaged, so that no recipe is in two folds.
        gain: Factor by which the stages' R^2 is compared with the ratio's.
        folds: Number of outer folds, in [2, N / 5]; the inner ones are 3.
        trees: Number of boosted trees, >= 1.
        resampling: How the bootstrap draws; its seed also shuffles the folds.

    Raises:
        ValueError: there are too few recipes for the folds, or all drops are the same.
    """
    recipes = measured.averaged()
    if not 2 <= folds <= len(recipes) / 5:
        raise ValueError(
            f"{len(recipes)} recipes in {folds} folds were given; at least 2 folds of 5 recipes are "
            f"needed"
        )
    if np.ptp(recipes.drop) == 0:
        raise ValueError("all drops are the same, so there is no variance to explain")
    log_N = np.log(recipes.ratio)
    ratio = np.column_stack([log_N, log_N**2])
    stages = np.column_stack([ratio, recipes.stage_means, recipes.stage_means**2])
    recipe = np.column_stack([stages, recipes.keep])
    seed = derive_seed(resampling.seed, "spaces", "folds") % 2**32
    parts = KFold(folds, shuffle=True, random_state=seed)
    # The trees break ties between equal splits at random.
    trees_of = GridSearchCV(
        GradientBoostingRegressor(n_estimators=trees, random_state=seed),
        {"max_depth": _DEPTHS},
        cv=KFold(3, shuffle=True, random_state=seed),
    )
    line = make_pipeline(StandardScaler(), RidgeCV(_PENALTIES))
    models = ((line, ratio), (line, stages), (trees_of, recipe))
    missed = [
        np.square(recipes.drop - cross_val_predict(model, columns, recipes.drop, cv=parts))
        for model, columns in models
    ]
    whole = np.ones((1, len(recipes)))
    counts_BN = resampling_counts(
        len(recipes), resampling.draws, rng=generator(resampling.seed, "variance")
    )
    ratio_B, stages_B = (_r2(recipes.drop, one, counts_BN) for one in missed[:2])
    values = [float(_r2(recipes.drop, one, whole)[0]) for one in missed]
    method = "pairs bootstrap of held-out predictions"
    return Explained(
        ratio=values[0],
        stages=values[1],
        recipe=values[2],
        ratio_interval=percentile_interval(ratio_B, level=resampling.level, method=method),
        ratio_error=float(ratio_B.std()),
        gain_interval=percentile_interval(
            stages_B - gain * ratio_B, level=resampling.level, method=method
        ),
    )


def _r2(drop_N: FloatArray, missed_N: FloatArray, counts_BN: FloatArray) -> FloatArray:
    """Return R^2 of held-out squared errors in every resample, shape [B]."""
    mean_B = counts_BN @ drop_N / counts_BN.sum(1)
    total_B = counts_BN @ drop_N**2 - counts_BN.sum(1) * mean_B**2
    # A resample of one recipe alone has no variance, and nothing is explained.
    return np.where(total_B > 1e-12, 1 - counts_BN @ missed_N / np.maximum(total_B, 1e-12), 0.0)
