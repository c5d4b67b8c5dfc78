"""Budgets: limits on costs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

from sentei.errors import BudgetError
from sentei.registry import did_you_mean

_FACTORS = {"K": 10**3, "M": 10**6, "G": 10**9}
_ALIASES = {"params": "num_parameters"}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits that a pruned network must meet, all of them at once.

    A number in (0, 1] is a share of what the original costs; a number above 1 is the cost itself,
    in the unit of the field.

    Args:
        macs: Multiply-adds for one sample.
        num_parameters: Elements of all parameters.
        weight_bytes: Bytes of parameters and buffers.
        activation_bytes: Bytes that operators allocate for one sample.
        peak_activation_bytes: Bytes of activations alive at once for one sample.
        latency_ms: Not available yet.

    Raises:
        BudgetError: No limit is given, one is not above 0, or it is a latency.

    Example:
        >>> Budget(macs=0.5, num_parameters=10e6).limits
        {'macs': 0.5, 'num_parameters': 10000000.0}
    """

    macs: float | None = None
    num_parameters: float | None = None
    weight_bytes: float | None = None
    activation_bytes: float | None = None
    peak_activation_bytes: float | None = None
    latency_ms: float | None = None

    def __post_init__(self) -> None:
        if self.latency_ms is not None:
            raise BudgetError(
                f"latency_ms={self.latency_ms} needs a latency table of the device, which is not "
                "available yet; use macs, or activation_bytes where memory is what is slow"
            )
        if not self.limits:
            raise BudgetError("the budget limits nothing; give one, such as Budget(macs=0.5)")
        for name, value in self.limits.items():
            if isinstance(value, bool) or not 0 < value < math.inf:
                raise BudgetError(
                    f"{name}={value} is no limit; give a share of the original in (0, 1], or a "
                    "number above 1 in the unit of the cost"
                )

    @cached_property
    def limits(self) -> Mapping[str, float]:
        """The limits that are given, by cost."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def targets(self, dense: Mapping[str, float]) -> dict[str, float]:
        """Return the limits in the units of the costs.

        Args:
            dense: What the original costs, by cost.
        """
        return {n: v * dense[n] if v <= 1 else float(v) for n, v in self.limits.items()}

    def between(self, dense: Mapping[str, float], *, step: int, steps: int) -> "Budget":
        """Return the budget of one of several rounds: costs fall by the same factor in each.

        Limits are in the units of the costs, so that they hold for a network already pruned.

        Args:
            dense: What the original costs, by cost.
            step: Counts the rounds from 1; the last one has the limits themselves.
            steps: Number of rounds, >= 1.
        """
        share = step / steps
        targets = self.targets(dense).items()
        return Budget(**{n: dense[n] ** (1 - share) * target**share for n, target in targets})

    @classmethod
    def of(cls, given: "Budget | str") -> "Budget":
        """Return a budget as it is, and text as :meth:`parse` reads it.

        Raises:
            BudgetError: The text is no budget.
            TypeError: ``given`` is neither.
        """
        if isinstance(given, str):
            return cls.parse(given)
        if not isinstance(given, Budget):
            raise TypeError(f"budget is {given!r}; expected Budget(macs=0.5), or 'macs=0.5'")
        return given

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Return the budget written as ``cost=limit``, several joined by commas.

        A limit may end in K, M or G (thousands, millions, 10**9). ``params`` is short for
        ``num_parameters``.

        Raises:
            BudgetError: The text is no budget; the message says where.

        Example:
            >>> Budget.parse("macs=2.0G, params=0.6").limits
            {'macs': 2000000000.0, 'num_parameters': 0.6}
        """
        known = [f.name for f in fields(cls)]
        limits: dict[str, float] = {}
        for item in text.split(","):
            name, equals, value = (part.strip() for part in item.partition("="))
            name = _ALIASES.get(name, name)
            if not equals:
                raise BudgetError(f"budget {item.strip()!r} is no cost=limit, such as macs=0.5")
            if name not in known:
                hint = did_you_mean(name, [*known, *_ALIASES])
                raise BudgetError(f"budget {text!r}: unknown cost {name!r}.{hint}")
            if name in limits:
                raise BudgetError(f"budget {text!r} limits {name} twice; give one limit")
            limits[name] = _number(name, value)
        return cls(**limits)


def _number(name: str, text: str) -> float:
    factor = _FACTORS.get(text[-1:].upper(), 1)
    digits = text if factor == 1 else text[:-1]
    try:
        return float(digits) * factor
    except ValueError as error:
        raise BudgetError(
            f"{name}={text!r} is no number; write 0.5, 2000000, or 2.0G (K, M, G)"
        ) from error
