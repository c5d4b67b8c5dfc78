"""What a sampler is: from a terrain and slabs to recipes, each from its own random stream."""

# Shapes: N = recipes, G = groups, U = units.

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sentei.errors import ConfigError, SpaceError, UnknownNameError
from sentei.registry import Registry, did_you_mean
from sentei.seeding import derive_seed
from sentei.spaces.space import COSTS, Slab
from sentei.spaces.stats_base import FloatArray, IntArray
from sentei.spaces.terrain import Terrain
from sentei.spaces.vacancy import explain

Streams = Sequence[np.random.Generator]

Draw = Callable[[Streams], IntArray]
"""One attempt for each stream -> choices of all units, [U, N]; a column depends on its stream only."""

_CHUNK = 256  # recipes at a time: their arrays stay small


@dataclass(frozen=True, kw_only=True)
class Sampler(ABC):
    """Draws recipes whose widths every slab holds; its fields are its configuration.

    Recipe number i of a space comes from a stream of its own, so that it does not depend on how
    many are drawn, nor on who draws the others.

    Args:
        attempts: How often a recipe that ends outside is drawn anew, >= 1.

    Attributes:
        measure: The distribution it draws from, in words.

    Raises:
        ValueError: A number of something is below 1.
    """

    measure: ClassVar[str]
    attempts: int = 100

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int) and value < 1:
                raise ValueError(f"{name}={value}; expected at least 1")

    @abstractmethod
    def prepare(self, terrain: Terrain, slabs: Sequence[Slab]) -> Draw:
        """Return what draws recipes; they need not be inside yet.

        Raises:
            SpaceError: This sampler cannot draw from such a space, or the space is empty.
        """

    def sample(
        self, terrain: Terrain, slabs: Sequence[Slab], *, num: int, seed: int, first: int = 0
    ) -> IntArray:
        """Return the widths of recipes inside all slabs, int64 [num, G].

        Args:
            terrain: Where they are.
            slabs: What they must meet.
            num: How many, >= 0.
            seed: Root of the random streams.
            first: Number of the first recipe; 10 recipes from 0 are 4 from 0 and 6 from 4.

        Raises:
            SpaceError: The space is empty, or a recipe was not found within the attempts.
        """
        draw = self.prepare(terrain, slabs)
        names = [str(index) for index in range(first, first + num)]
        streams = [
            np.random.default_rng(derive_seed(seed, terrain.config.name, name)) for name in names
        ]
        widths_NG = np.zeros((num, len(terrain.graph.groups)), dtype=np.int64)
        pending = np.arange(num)
        for _ in range(self.attempts):
            for start in range(0, len(pending), _CHUNK):
                part = pending[start : start + _CHUNK]
                choices_UN = draw([streams[index] for index in part])
                widths_NG[part] = terrain.lattice.widths(choices_UN)
            pending = pending[~terrain.inside(widths_NG[pending], slabs)]
            if not pending.size:
                return widths_NG
        raise SpaceError(
            f"space {terrain.config.name!r}: {len(pending)} of {num} recipes were not found in "
            f"{self.attempts} attempts; {explain(terrain, slabs)}"
        )


SAMPLERS: Registry[Callable[..., Sampler]] = Registry("sampler")
"""Name -> what builds the sampler; all its fields have defaults."""


def make_sampler(name: str, options: Mapping[str, Any]) -> Sampler:
    """Return the sampler of a name with some of its fields set.

    Raises:
        UnknownNameError: There is none, or it has no such field.
        ConfigError: A value has a wrong type, or is out of range.
    """
    kind = SAMPLERS[name]
    known = inspect.signature(kind).parameters
    for key, value in options.items():
        if key not in known:
            raise UnknownNameError(
                f"sampler {name!r} has no option {key!r}.{did_you_mean(key, known)}"
            )
        usual = known[key].default
        kinds = type(usual) if isinstance(usual, int | str) else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise ConfigError(
                f"option {key} of sampler {name!r} is {value!r}; give a value like "
                f"{2.0 if usual is None else usual!r}"
            )
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"options {dict(options)} of sampler {name!r}: {error}") from error


def random_points(terrain: Terrain, streams: Streams) -> FloatArray:
    """Return uniform coordinates of the padded box, [U, N]; all widths are equally likely."""
    low_U, high_U = terrain.lattice.padded
    shares_UN = np.stack([stream.random(low_U.size) for stream in streams], axis=1)
    return np.asarray(low_U[:, None] + shares_UN * (high_U - low_U)[:, None])


def target(
    terrain: Terrain, slabs: Sequence[Slab], sampler: str, *, costs: Sequence[str] = COSTS
) -> tuple[str, float]:
    """Return the first of some costs that slabs hold, and the middle of what they leave of it.

    Raises:
        SpaceError: There is no such slab; or they leave nothing.
    """
    named = [cost for cost in costs if any(slab.quantity == cost for slab in slabs)]
    if not named:
        raise SpaceError(
            f"space {terrain.config.name!r} has no slab of {' or '.join(costs)}, which sampler "
            f"{sampler!r} needs; add one, or use 'hit-and-run'"
        )
    found = [slab for slab in slabs if slab.quantity == named[0]]
    low, high = max(slab.low for slab in found), min(slab.high for slab in found)
    if low > high:
        raise SpaceError(f"space {terrain.config.name!r} is empty: {explain(terrain, slabs)}")
    return named[0], (low + high) / 2
