"""The user's own code, named ``path/to/file.py:factory`` or ``package.module:factory``."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from sentei.errors import PruningError, UnknownNameError
from sentei.registry import did_you_mean


def find_factory(
    spec: str, *, known: Iterable[str], error: type[PruningError]
) -> Callable[..., Any]:
    """Import the file or module that ``spec`` names and return its factory; runs the user's code.

    Args:
        spec: What the user wrote.
        known: Names the user may have meant when there is no such module.
        error: Raised when the code cannot be imported.

    Raises:
        UnknownNameError: the file, module or factory does not exist.
        PruningError: the code fails when imported; of the class ``error``.
    """
    location, _, name = spec.rpartition(":")
    with import_path(spec):
        try:
            module = _import_file(spec) if location.endswith(".py") else _import_module(spec, known)
        except UnknownNameError:
            raise
        except Exception as cause:
            raise error(
                f"{spec}: {location} cannot be imported: {type(cause).__name__}: {cause}"
            ) from cause
    factory = getattr(module, name, None)
    if not callable(factory):
        names = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        raise UnknownNameError(
            f"{spec}: {location} has no function {name!r}.{did_you_mean(name, names)}"
        )
    return factory


@contextmanager
def import_path(spec: str) -> Iterator[None]:
    """Let imports find the neighbours of the user's file, or modules of the current folder."""
    location = spec.rpartition(":")[0]
    folder = Path(location).resolve().parent if location.endswith(".py") else Path.cwd()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _import_file(spec: str) -> ModuleType:
    path = Path(spec.rpartition(":")[0]).resolve()
    if not path.is_file():
        raise UnknownNameError(f"{spec}: there is no file {path}")
    # A name of its own, so that two files called model.py do not replace one another; known to
    # sys.modules, so that dataclasses work and worker processes can unpickle its classes.
    name = f"sentei_user_{path.stem}_{hashlib.sha256(bytes(path)).hexdigest()[:12]}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import_module(spec: str, known: Iterable[str]) -> ModuleType:
    location = spec.rpartition(":")[0]
    try:
        return importlib.import_module(location)
    except ModuleNotFoundError as cause:
        # Only the module itself, or a package above it, is unknown; what it imports is an error.
        if cause.name is None or not f"{location}.".startswith(f"{cause.name}."):
            raise
        known = list(known)
        others = f", and it is none of {', '.join(sorted(known))}" if known else ""
        raise UnknownNameError(
            f"{spec!r}: there is no module {location!r}{others}.{did_you_mean(location, known)}"
        ) from cause
