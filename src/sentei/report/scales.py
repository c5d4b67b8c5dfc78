"""Scales: values to fractions of a plot, and round values to mark on it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A linear or logarithmic scale.

    Args:
        low: Value at fraction 0; > 0 on a log scale.
        high: Value at fraction 1, > ``low``.
        log: Whether equal ratios take equal room.
        gutter: Fraction at the low end kept for values that a log scale cannot place, in [0, 1).
    """

    low: float
    high: float
    log: bool = False
    gutter: float = 0.0

    def __call__(self, value: float) -> float:
        """Return the fraction in [0, 1] at which ``value`` is drawn; values outside are clamped."""
        if self.log and value <= 0:
            return self.gutter / 2
        low, high, value = (
            (math.log(self.low), math.log(self.high), math.log(value))
            if self.log
            else (self.low, self.high, value)
        )
        fraction = min(max((value - low) / (high - low), 0.0), 1.0)
        return self.gutter + (1 - self.gutter) * fraction

    def ticks(self, most: int = 5) -> tuple[float, ...]:
        """Return round values inside the scale, about ``most`` at the most.

        A log scale that spans two decades or more is marked at powers of ten, any other at
        multiples of 1, 2 or 5 times a power of ten.
        """
        if self.log and self.high / self.low >= 100:
            first, last = math.ceil(_log10(self.low)), math.floor(_log10(self.high))
            stride = max(1, math.ceil((last - first + 1) / most))
            return tuple(10.0**power for power in range(first, last + 1, stride))
        step = _round_step((self.high - self.low) / most)
        first, last = self._multiples(step)
        while first > last:  # no multiple lies inside: the next smaller step
            step = _round_step(0.4 * step)
            first, last = self._multiples(step)
        # Rounding removes the tail that multiplying by 0.1 leaves: 3 * 0.1 is not 0.3.
        return tuple(round(i * step, 12 - math.floor(_log10(step))) for i in range(first, last + 1))

    def _multiples(self, step: float) -> tuple[int, int]:
        """Return the first and last multiple of ``step`` inside the scale."""
        return math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)


def linear_scale(
    values: Iterable[float], *, from_zero: bool = False, padding: float = 0.08
) -> Scale:
    """Return a linear scale around ``values``.

    Args:
        values: Finite values; at least one.
        from_zero: Whether the scale starts at 0 (bars must); values are then >= 0.
        padding: Room beyond the data at each open end, as a fraction of its range.
    """
    values = list(values)
    low, high = (0.0 if from_zero else min(values)), max(values)
    margin = padding * (high - low)
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # one value, up to rounding
        margin = abs(high) * 0.05 or 1.0
    return Scale(low=low if from_zero else low - margin, high=high + margin)


def log_scale(values: Iterable[float], *, gutter: float = 0.0) -> Scale:
    """Return a log scale around the positive ones of ``values``; at least one is positive."""
    positive = [value for value in values if value > 0]
    margin = 1.1
    # Quotient and product are kept inside the range of positive floats.
    low, high = max(min(positive) / margin, 1e-307), min(max(positive) * margin, 1e307)
    return Scale(low=low, high=high, log=True, gutter=gutter)


def _log10(value: float) -> float:
    # Nudged so that a value a rounding error below a power of ten counts as that power.
    return round(math.log10(value), 9)


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= raw * (1 - 1e-9)))
