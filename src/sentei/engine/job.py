"""What is run: jobs, known by their content, and the task that knows how to run them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from sentei.errors import EngineError
from sentei.records import plain_mapping
from sentei.user_code import find_factory

Report: TypeAlias = Callable[[Mapping[str, Any]], None]
"""Takes what a job has to say while it runs, JSON values."""

Run: TypeAlias = Callable[[dict[str, Any], Report], Mapping[str, Any]]
"""Takes the specification of a job, and returns its result."""


def canonical_json(value: object) -> str:
    """Return plain JSON values as one line of ASCII, the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Job:
    """One piece of work; two jobs of equal specification are the same job.

    Args:
        spec: All that decides the result beside the task's context, JSON values.
        label: What it belongs to, for display alone; no part of its identity.

    Raises:
        ValueError: ``spec`` holds what is no JSON value; the message names its place.
    """

    spec: Mapping[str, Any]
    label: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spec", plain_mapping(self.spec, "spec"))

    def __hash__(self) -> int:
        return hash(self.key)

    @cached_property
    def key(self) -> str:
        """SHA-256 of the specification's canonical JSON, 64 hexadecimal digits."""
        return hashlib.sha256(canonical_json(self.spec).encode()).hexdigest()


@dataclass(frozen=True)
class Task:
    """How jobs are run: a factory, called once in each worker, which loads what all jobs share.

    Args:
        factory: ``package.module:function`` or ``path/to/file.py:function``. It is called with
            ``context`` and returns a function ``run(spec, report)``, whose result, a mapping of
            JSON values, is decided by ``context`` and ``spec`` alone. ``report`` takes a mapping
            of JSON values and passes it to the driver's listener; nothing of it is stored.
        context: JSON values. What of it decides results belongs into the meta data of the store.

    Raises:
        ValueError: ``factory`` is no such name, or ``context`` no JSON.
    """

    factory: str
    context: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        location, _, name = self.factory.rpartition(":")
        if not location or not name:
            raise ValueError(
                f"task {self.factory!r} names no factory; write package.module:function or "
                "path/to/file.py:function"
            )
        object.__setattr__(self, "context", plain_mapping(self.context, "context"))

    def build(self) -> Run:
        """Call the factory: runs the user's code.

        Raises:
            PruningError: The factory does not exist, cannot be imported, or returns no function.
        """
        factory = find_factory(self.factory, known=(), error=EngineError)
        run = factory(self.context)
        if not callable(run):
            raise EngineError(
                f"task {self.factory} returns {type(run).__name__}; it must return a function "
                "run(spec, report)"
            )
        return run
