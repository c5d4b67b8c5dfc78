"""What a learning curve may end at, from its first epochs, with an interval or not at all."""

# Shapes: E = epochs seen.

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

FloatArray: TypeAlias = npt.NDArray[np.float64]
Form: TypeAlias = Literal["power", "exponential"]

MIN_EPOCHS = 5
_NUM_PARAMETERS = 3
_RATES = np.geomspace(1e-3, 10.0, 81)
_CURVES: dict[Form, Callable[[FloatArray, float], FloatArray]] = {
    "power": lambda t, c: t**-c,
    "exponential": lambda t, c: np.exp(-c * t),
}
_SLOPES: dict[Form, Callable[[FloatArray, float], FloatArray]] = {
    "power": lambda t, c: -np.log(t) * t**-c,
    "exponential": lambda t, c: -t * np.exp(-c * t),
}


@dataclass(frozen=True, kw_only=True)
class Extrapolation:
    r"""A fitted curve and its value at a later epoch.

    .. math:: y(t) = a + b\,t^{-c} \quad\text{or}\quad y(t) = a + b\,e^{-ct}

    Attributes:
        form: Which of the two.
        asymptote: a, the value after endless training by the same recipe.
        scale: b; positive for a curve that falls.
        rate: c > 0; larger settles sooner.
        epoch: The epoch asked for.
        value: y there.
        low: Lower end of the prediction interval of one run's value.
        high: Upper end.
        residual: Standard deviation of the values about the curve.
    """

    form: Form
    asymptote: float
    scale: float
    rate: float
    epoch: int
    value: float
    low: float
    high: float
    residual: float


def extrapolate(
    values: Sequence[float],
    *,
    epoch: int,
    form: Form | Literal["best"] = "best",
    confidence: float = 0.95,
) -> Extrapolation:
    """Return what a curve will be at a later epoch, fitted to its first epochs.

    Least squares: for a rate the other two parameters are linear, so that one number is searched.
    The interval is that of a new observation, by the linearised fit and Student's t with E - 3
    degrees of freedom; it knows nothing of the choice between the forms. A schedule that ends at
    zero bends a curve in ways no law of the epoch knows: compare runs of a constant learning rate,
    or look at the interval alone.

    Source: the forms are two of those of Domhan et al., IJCAI 2015, and Viering and Loog,
    arXiv:2103.10948. *Difference*: least squares with an interval, no Bayesian mixture.

    Args:
        values: Loss (or accuracy) after epoch 1, 2, ..., one number an epoch.
        epoch: Of which the value is wanted, >= the number of values.
        form: ``"best"`` takes the one with the smaller sum of squares.
        confidence: Of the interval, in (0, 1).

    Raises:
        ValueError: There are fewer than 5 values, one is not finite, ``epoch`` is inside them, or
            they do not bend towards an asymptote, so that nothing can be said of later epochs.
    """
    seen = np.asarray(values, dtype=np.float64)
    if len(seen) < MIN_EPOCHS:
        raise ValueError(
            f"a curve of {len(seen)} epochs cannot be extrapolated; give at least {MIN_EPOCHS}, or "
            "train to the end"
        )
    if not np.isfinite(seen).all():
        raise ValueError(f"the curve holds {seen[~np.isfinite(seen)][0]}; give finite values")
    if epoch < len(seen):
        raise ValueError(
            f"epoch {epoch} is inside the {len(seen)} that were seen; give a later one"
        )
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; give a number in (0, 1)")
    forms: tuple[Form, ...] = ("power", "exponential") if form == "best" else (form,)
    fits = [_fit(seen, f) for f in forms]
    best = min(fits, key=lambda fit: fit.squares)
    if np.ptp(seen) == 0 or best.is_straight:
        raise ValueError(
            f"these {len(seen)} epochs do not bend towards an asymptote; train for more epochs"
        )
    return _predict(best, len(seen), epoch, confidence)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fit:
    form: Form
    linear: FloatArray  # a, b
    rate: float
    squares: float

    @property
    def is_straight(self) -> bool:
        """Whether the rate is the lowest or highest there is: the data want no asymptote."""
        return not _RATES[0] * 1.01 < self.rate < _RATES[-1] * 0.99


def _fit(seen_E: FloatArray, form: Form) -> _Fit:
    epochs_E = np.arange(1.0, len(seen_E) + 1)

    def solve(rate: float) -> tuple[FloatArray, float]:
        design = np.stack([np.ones_like(epochs_E), _CURVES[form](epochs_E, rate)], axis=1)
        linear = np.linalg.lstsq(design, seen_E, rcond=None)[0]
        return linear, float(((design @ linear - seen_E) ** 2).sum())

    squares = [solve(float(rate))[1] for rate in _RATES]
    place = int(np.argmin(squares))
    low, high = _RATES[max(place - 1, 0)], _RATES[min(place + 1, len(_RATES) - 1)]
    found = optimize.minimize_scalar(
        lambda log: solve(float(np.exp(log)))[1],
        bounds=(np.log(low), np.log(high)),
        method="bounded",
        options={"xatol": 1e-10},
    )
    rate = float(np.exp(found.x))
    linear, total = solve(rate)
    return _Fit(form=form, linear=linear, rate=rate, squares=total)


def _predict(fit: _Fit, num_epochs: int, epoch: int, confidence: float) -> Extrapolation:
    free = num_epochs - _NUM_PARAMETERS
    variance = fit.squares / free
    jacobian_E3 = _jacobian(fit, np.arange(1.0, num_epochs + 1))
    row_3 = _jacobian(fit, np.array([float(epoch)]))[0]
    spread = float(row_3 @ np.linalg.pinv(jacobian_E3.T @ jacobian_E3) @ row_3)
    half = float(stats.t.ppf((1 + confidence) / 2, free)) * np.sqrt(variance * (1 + spread))
    value = float(fit.linear @ row_3[:2])
    return Extrapolation(
        form=fit.form,
        asymptote=float(fit.linear[0]),
        scale=float(fit.linear[1]),
        rate=fit.rate,
        epoch=epoch,
        value=value,
        low=value - half,
        high=value + half,
        residual=float(np.sqrt(variance)),
    )


def _jacobian(fit: _Fit, epochs_E: FloatArray) -> FloatArray:
    """Return the derivatives of the curve by a, b and c, [E, 3]."""
    return np.stack(
        [
            np.ones_like(epochs_E),
            _CURVES[fit.form](epochs_E, fit.rate),
            fit.linear[1] * _SLOPES[fit.form](epochs_E, fit.rate),
        ],
        axis=1,
    )
