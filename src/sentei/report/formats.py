"""Numbers as people read them: units, three significant digits, true minus signs.

Everything here returns text; the exact number stays in the page's embedded JSON.
"""

import math
from collections.abc import Callable

MISSING = "\u2013"
_SPACE = "\u00a0"
_RAISED = str.maketrans(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)
_PREFIXES = ("", "k", "M", "G", "T", "P")
_MINUS = "\u2212"


def significant(value: float, digits: int = 3) -> str:
    """Return ``value`` with ``digits`` significant digits, an exponent only where it is shorter.

    Example:
        >>> [significant(v) for v in (0.012345, 1.5, 99.96, 12345.6)]
        ['0.0123', '1.50', '100', '12346']
    """
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    if not -5 < exponent < 6:
        mantissa = f"{value:.{digits - 1}e}".partition("e")[0]
        return signed(f"{mantissa}\u00d7{power_of_ten(exponent)}")
    return signed(f"{value:.{max(digits - 1 - exponent, 0)}f}")


def power_of_ten(exponent: int) -> str:
    """Return 10 with its exponent raised."""
    return "10" + str(exponent).translate(_RAISED)


def signed(text: str) -> str:
    """Return ``text`` with the hyphen of a negative number turned into a minus sign."""
    return _MINUS + text[1:] if text.startswith("-") else text


def count(value: float) -> str:
    """Return a count with an SI prefix: 1.82 G, 25.6 M, 640."""
    return _scaled(value, _PREFIXES, significant)


def num_bytes(value: float) -> str:
    """Return a number of bytes in decimal units: 97.8 MB."""
    return _scaled(value, tuple(f"{prefix}B" for prefix in _PREFIXES), significant)


def _scaled(value: float, units: tuple[str, ...], show: Callable[[float], str]) -> str:
    rank = 0
    # 999.5 would round to 1000 with three digits, so it already takes the next unit.
    while abs(value) >= 999.5 and rank < len(units) - 1:
        value /= 1000
        rank += 1
    number = f"{value:.0f}" if rank == 0 and float(value).is_integer() else show(value)
    return signed(f"{number}{_SPACE}{units[rank]}".rstrip(_SPACE))


def fixed(value: float, decimals: int = 2) -> str:
    """Return a number with a fixed number of decimals: -0.5 gives -0.50."""
    return signed(f"{value:.{decimals}f}")


def probability(value: float) -> str:
    """Return a p-value: 0.04 gives 0.040, anything below 0.001 reads < 0.001."""
    return f"<{_SPACE}0.001" if value < 0.001 else f"{value:.3f}"


def span(ends: tuple[float, float]) -> str:
    """Return a range: 0.625 to 1.00."""
    return f"{significant(ends[0])} to {significant(ends[1])}"


def integer(value: float) -> str:
    """Return an integer with thousands apart: 1,820,000."""
    return signed(f"{value:,.0f}")


def percent(fraction: float, decimals: int = 2) -> str:
    """Return a fraction as a percentage: 0.761 gives 76.10 %."""
    return signed(f"{100 * fraction:.{decimals}f}{_SPACE}%")


def tick(value: float) -> str:
    """Return a round value as short as it goes: 0.5, 1, 1.25."""
    return signed(f"{value:g}")


def tick_log(value: float) -> str:
    """Return a power of ten as such, any other value as `tick` does."""
    exponent = round(math.log10(value), 9)
    return power_of_ten(int(exponent)) if exponent.is_integer() else tick(value)


def tick_count(value: float) -> str:
    """Return a round count as short as it goes: 2 G, 500 M."""
    return _scaled(value, _PREFIXES, tick)


def tick_percent(fraction: float) -> str:
    """Return a round fraction as a percentage, as short as it goes: 75 %, 75.5 %."""
    return f"{tick(100 * fraction)}{_SPACE}%"


def change(fraction: float) -> str:
    """Return a relative change with its sign: -0.51 gives -51.0 %."""
    return signed(f"{100 * fraction:+.1f}{_SPACE}%") if fraction else f"0{_SPACE}%"


def points(fraction: float) -> str:
    """Return a difference of two fractions in percentage points, with its sign."""
    return signed(f"{100 * fraction:+.2f}{_SPACE}points") if fraction else f"0{_SPACE}points"


def times(ratio: float) -> str:
    """Return a ratio: 2.04 and a multiplication sign."""
    return f"{significant(ratio)}\u00d7"


def milliseconds(value: float) -> str:
    """Return a time in milliseconds: 12.3 ms."""
    return f"{significant(value)}{_SPACE}ms"


def duration(seconds: float) -> str:
    """Return a wall time: 1 h 12 min, 3 min 20 s, 1.52 s."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}{_SPACE}h {whole % 3600 // 60}{_SPACE}min"
    if whole >= 60:
        return f"{whole // 60}{_SPACE}min {whole % 60}{_SPACE}s"
    return f"{significant(seconds)}{_SPACE}s"


def plural(number: int, noun: str) -> str:
    """Return a count with its noun: 1 group, 3 groups."""
    return f"{number:,}{_SPACE}{noun}" + ("" if number == 1 else "s")
