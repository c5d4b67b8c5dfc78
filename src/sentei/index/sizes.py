"""Integers that remember where they came from.

While a model is captured, tensor sizes and integer attributes of modules are :class:`Size`
objects. ``x.view(b, self.num_heads, c // self.num_heads)`` then tells the tracer which numbers
follow the tensors by themselves, which one is an attribute that can be set, and which was
written into the code and forbids any change.
"""

# An operand of arithmetic may be anything.
# ruff: noqa: ANN401

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Expr: TypeAlias = int | tuple[Any, ...]

_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
}


@dataclass
class SizeLog:
    """What happened to sizes outside of integer arithmetic.

    Attributes:
        escapes: Expressions used as a number (a square root, a division) and where.
        guards: Comparisons ``(operation, left, right, outcome, where)`` the code branched on.
        where: Returns the user's current line, ``file:line``.
    """

    where: Callable[[], str]
    escapes: list[tuple[Expr, str]] = field(default_factory=list)
    guards: list[tuple[str, Expr, Expr, bool, str]] = field(default_factory=list)


class Size(int):
    """An ``int`` with an expression: ``("dim", value, dim)``, ``("attr", path, key)``, or both."""

    expr: Expr
    log: SizeLog

    def __new__(cls, value: int, expr: Expr, log: SizeLog) -> "Size":
        """Return ``value`` with its expression; what happens to it is noted in ``log``."""
        self = super().__new__(cls, value)
        self.expr = expr
        self.log = log
        return self

    def __copy__(self) -> "Size":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Size":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (int, (int(int.__int__(self)),))

    def _escape(self) -> int:
        self.log.escapes.append((self.expr, self.log.where()))
        return int.__int__(self)

    def __float__(self) -> float:
        return float(self._escape())

    def __int__(self) -> int:
        return self._escape()

    def __truediv__(self, other: Any) -> Any:
        return self._escape() / other

    def __rtruediv__(self, other: Any) -> Any:
        return other / self._escape()

    def __pow__(self, other: Any, mod: Any = None) -> Any:
        return pow(self._escape(), other, mod)

    def __rpow__(self, other: Any, mod: Any = None) -> Any:
        return pow(other, self._escape(), mod)

    def __neg__(self) -> "Size":
        return Size(-int.__int__(self), ("-", 0, self.expr), self.log)

    def __hash__(self) -> int:
        return int.__hash__(self)


def plain(value: int) -> int:
    """Return the bare integer of a size, without marking it as used."""
    return int.__int__(value)


def expr_of(value: int) -> Expr:
    """Return the expression of a size; a bare integer is its own expression."""
    return value.expr if isinstance(value, Size) else value


def _arithmetic(symbol: str, *, reflected: bool) -> Callable[[Size, Any], Any]:
    operation = _OPERATIONS[symbol]

    def method(self: Size, other: Any) -> Any:
        if not isinstance(other, int):
            if isinstance(other, float):
                own = self._escape()
                return operation(other, own) if reflected else operation(own, other)  # type: ignore[arg-type]
            return NotImplemented
        pair = (plain(other), plain(self)) if reflected else (plain(self), plain(other))
        left, right = (expr_of(other), self.expr) if reflected else (self.expr, expr_of(other))
        return Size(operation(*pair), (symbol, left, right), self.log)

    return method


def _comparison(name: str) -> Callable[[Size, Any], Any]:
    operation = getattr(operator, name)

    def method(self: Size, other: Any) -> Any:
        if not isinstance(other, int):
            return operation(plain(self), other)
        outcome = operation(plain(self), plain(other))
        self.log.guards.append((name, self.expr, expr_of(other), outcome, self.log.where()))
        return outcome

    return method


for _symbol, _name in (("+", "add"), ("-", "sub"), ("*", "mul"), ("//", "floordiv"), ("%", "mod")):
    setattr(Size, f"__{_name}__", _arithmetic(_symbol, reflected=False))
    setattr(Size, f"__r{_name}__", _arithmetic(_symbol, reflected=True))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Size, f"__{_name}__", _comparison(_name))


def evaluate(expr: Expr, lookup: Callable[[tuple[Any, ...]], int]) -> int:
    """Return the value of an expression; ``lookup`` gives the leaves ("dim", ...), ("attr", ...).

    Example:
        >>> evaluate(("//", ("attr", "block", "dim"), 4), lambda leaf: 64)
        16
    """
    if isinstance(expr, int):
        return plain(expr)
    if expr[0] in _OPERATIONS:
        right = evaluate(expr[2], lookup)
        if right == 0 and expr[0] in ("//", "%"):
            return -1
        return _OPERATIONS[expr[0]](evaluate(expr[1], lookup), right)
    return lookup(expr)


def leaves(expr: Expr) -> list[tuple[Any, ...]]:
    """Return the leaves of an expression, left to right.

    Example:
        >>> leaves(("*", 3, ("dim", 7, 1)))
        [('dim', 7, 1)]
    """
    if isinstance(expr, int):
        return []
    if expr[0] in _OPERATIONS:
        return leaves(expr[1]) + leaves(expr[2])
    return [expr]


def compare(name: str, left: int, right: int) -> bool:
    """Return the outcome of the comparison called ``name`` (``"eq"``, ``"lt"``, ...)."""
    return bool(getattr(operator, name)(left, right))
