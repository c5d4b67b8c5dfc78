"""Registries: a name chooses a plug-in; a taken name is refused, a typo is answered."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from sentei.errors import UnknownNameError

T = TypeVar("T")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``' Did you mean ...?'`` for the nearest known names, or the list of a short registry.

    Example:
        >>> did_you_mean("talyor", ["taylor", "l1"])
        " Did you mean 'taylor'?"
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return f" Did you mean {' or '.join(repr(n) for n in near)}?"
    if len(known) <= 20:
        return f" Known: {', '.join(sorted(known))}."
    return ""


class Registry(Generic[T]):
    """Name -> plug-in.

    Args:
        kind: What the registry holds, in the singular, for messages ("criterion").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers a plug-in under ``name``.

        Raises:
            ValueError: ``name`` is taken.
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice; choose another name")
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        """Return the plug-in called ``name``.

        Raises:
            UnknownNameError: no plug-in has that name.
        """
        if name not in self._entries:
            hint = did_you_mean(name, self._entries) or f" Known: {', '.join(self)}."
            raise UnknownNameError(f"unknown {self.kind} {name!r}.{hint}")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


def load_plugins(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, and every entry point of the group of its name.

    Args:
        package: Name of the package, ``__name__`` in its ``__init__``.
        path: Where its modules lie, ``__path__`` there.
    """
    for module in pkgutil.iter_modules(path, f"{package}."):
        importlib.import_module(module.name)
    for entry in entry_points(group=package):
        entry.load()
