"""TOML in, a frozen configuration out; what is not known is refused."""

import dataclasses
import itertools
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from sentei.allocate import Budget
from sentei.errors import CheckpointError, ConfigError, UnknownNameError
from sentei.pipeline.config import RunConfig
from sentei.registry import did_you_mean

T = TypeVar("T")


def read_toml(path: Path | str) -> dict[str, Any]:
    """Return the tables of a TOML file; :func:`config_from_mapping` checks them.

    Raises:
        CheckpointError: the file cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); check the path"
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CheckpointError(f"{path}: is no TOML ({error}); correct it there") from error


def config_from_mapping(values: Mapping[str, Any], *, origin: str) -> RunConfig:
    """Return the configuration that nested mappings describe.

    Args:
        values: Fields of :class:`RunConfig`; a nested one is a mapping, and ``budget`` may be a
            text such as ``"macs=0.5"``. Fields of a recipe that are not given keep its defaults.
        origin: Where they come from, for messages.

    Raises:
        UnknownNameError: a key does not exist.
        ConfigError: a field is missing, has a wrong type, or is out of range.
        BudgetError: the budget is none.
    """
    return decode(RunConfig, values, origin=origin)


def decode(kind: type[T], values: Any, *, origin: str, where: str = "") -> T:  # noqa: ANN401
    """Return a frozen dataclass from nested mappings, lists and plain values.

    Args:
        kind: The dataclass. Its fields are plain values, literals, dataclasses, mappings, and
            tuples of any of these.
        values: Its fields by name; those that are not given keep their defaults.
        origin: Where the values come from, for messages.
        where: Name of the table they stand in, likewise.

    Raises:
        UnknownNameError: A key does not exist.
        ConfigError: A field is missing, has a wrong type, or is out of range.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{origin}: {where} is {values!r}, expected a table of its fields")
    hints = typing.get_type_hints(kind)
    prefix = f"{where}." if where else ""
    for key in values:
        if key not in hints:
            raise UnknownNameError(
                f"{origin}: unknown key {prefix}{key}.{did_you_mean(key, hints)}"
            )
    defaults = _defaults(kind)
    missing = [f"{prefix}{name}" for name in hints if name not in values and name not in defaults]
    if missing:
        raise ConfigError(f"{origin}: {', '.join(missing)} is missing; give a value")
    given = {
        key: _decode(hints[key], value, origin, f"{prefix}{key}", default=defaults.get(key))
        for key, value in values.items()
    }
    try:
        return kind(**{**defaults, **given})
    except ValueError as error:
        raise ConfigError(f"{origin}: {where or 'configuration'}: {error}") from error


def _defaults(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    found = {}
    for item in dataclasses.fields(kind):
        if item.default is not dataclasses.MISSING:
            found[item.name] = item.default
        elif item.default_factory is not dataclasses.MISSING:
            found[item.name] = item.default_factory()
    return found


def _decode(hint: Any, value: Any, origin: str, where: str, *, default: Any) -> Any:  # noqa: ANN401
    if typing.get_origin(hint) is types.UnionType:
        inner = typing.get_args(hint)[0]
        return None if value is None else _decode(inner, value, origin, where, default=None)
    if hint is Budget and isinstance(value, str):
        return Budget.parse(value)
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        if dataclasses.is_dataclass(default) and isinstance(value, Mapping):
            fields = {f.name: getattr(default, f.name) for f in dataclasses.fields(default)}
            value = {**fields, **value}
        return decode(hint, value, origin=origin, where=where)
    if typing.get_origin(hint) is tuple:
        return _decode_items(hint, value, origin, where)
    return _decode_leaf(hint, value, f"{origin}: {where} is {value!r}")


def _decode_items(hint: Any, values: Any, origin: str, where: str) -> Any:  # noqa: ANN401
    """Return a tuple of a list: every item of one type, or one type an item."""
    kinds = typing.get_args(hint)
    is_open = kinds[-1] is Ellipsis
    if not isinstance(values, list | tuple) or not (is_open or len(values) == len(kinds)):
        length = "" if is_open else f" of {len(kinds)} values"
        raise ConfigError(f"{origin}: {where} is {values!r}, expected a list{length}")
    each = itertools.repeat(kinds[0]) if is_open else kinds
    return tuple(
        _decode(kind, item, origin, f"{where}[{i}]", default=None)
        for i, (kind, item) in enumerate(zip(each, values, strict=False))
    )


def _decode_leaf(hint: Any, value: Any, found: str) -> Any:  # noqa: ANN401
    """Return a value of a type without fields; ``found`` begins the message where it is none."""
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        if value in choices:
            return value
        raise ConfigError(f"{found}, no choice.{did_you_mean(str(value), choices)}")
    if typing.get_origin(hint) is Mapping:
        if isinstance(value, Mapping):
            return dict(value)
        raise ConfigError(f"{found}, expected a table")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{found}, expected {hint.__name__}")
    return value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the values of ``over`` put in, table by table.

    Example:
        >>> merge({"seed": 1, "recover": {"epochs": 3}}, {"recover": {"seed": 2}})
        {'seed': 1, 'recover': {'epochs': 3, 'seed': 2}}
    """
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return result
