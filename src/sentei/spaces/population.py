"""A population: the recipes drawn from a space, frozen in a file before any is evaluated."""

# Shapes: N = recipes, G = groups.

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from sentei.engine.job import canonical_json
from sentei.errors import CheckpointError
from sentei.records import atomic_write_text, differences, in_terms_of, plain_mapping
from sentei.spaces.space import Slab, SpaceConfig
from sentei.spaces.stats_base import FloatArray, IntArray

VERSION = 1


def subnet_id(widths_G: IntArray) -> str:
    """Return the identity of a recipe: SHA-256 of its integer widths, 16 hexadecimal digits."""
    return hashlib.sha256(canonical_json(widths_G.tolist()).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a population comes from: all that decides it.

    Attributes:
        name: Of the space.
        network: Name of the network.
        regime: Share of the MACs that is left.
        config: The space.
        slabs: What all recipes keep to.
        sampler: Name of the sampler, which is the measure they are drawn from.
        seed: Root of the random numbers.
        num: Number of recipes.
        strata: Strata of m, or 0.
        options: Fields of the sampler that are set otherwise.
    """

    name: str
    network: str
    regime: float
    config: SpaceConfig
    slabs: tuple[Slab, ...]
    sampler: str
    seed: int
    num: int
    strata: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        slabs = [asdict(slab) for slab in self.slabs]
        return {**own, "config": self.config.as_json(), "slabs": slabs}


@dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """Recipes of one space.

    Attributes:
        origin: Where they come from.
        widths: Integers, shape [N, G].
        weights: Sampling weights, shape [N].
        strata: Stratum of every recipe, -1 for none, shape [N].
        log_share: Natural logarithm of the share of the regime that the space is; None: not known.
    """

    origin: Origin
    widths: IntArray
    weights: FloatArray
    strata: IntArray
    log_share: float | None = None

    def __len__(self) -> int:
        return len(self.widths)


def frozen(
    path: Path,
    origin: Origin,
    draw: Callable[[], Population],
    *,
    more: Callable[[int], IntArray] | None = None,
) -> Population:
    """Return the population of a file; draw and write it where there is none yet.

    What a file holds is never drawn again, so that what a study evaluates stays what it was,
    whatever becomes of the code that drew it.

    Args:
        path: The file.
        origin: Where the population comes from.
        draw: Draws it.
        more: Draws the widths of the recipes from a number on, which are added where the file holds
            fewer than are asked for; None adds none.

    Raises:
        CheckpointError: The file is damaged, was altered, or holds a population of another origin.
    """
    if not path.exists():
        return _write(path, draw())
    found = _read(path)
    there = found["origin"]
    grows = more is not None and there["num"] < origin.num
    other = _differences({**there, "num": origin.num} if grows else there, origin)
    if other:
        raise CheckpointError(
            f"{path} holds another population: {'; '.join(other)}. Give another directory (-o), or "
            "the settings it was drawn with"
        )
    population = Population(
        origin=origin,
        widths=np.array(found["widths"], np.int64),
        weights=np.array(found["weights"], np.float64),
        strata=np.array(found["strata"], np.int64),
        log_share=found.get("log_share"),
    )
    return _write(path, _grown(population, more)) if more is not None and grows else population


def frozen_origin(path: Path) -> tuple[tuple[Slab, ...], int] | None:
    """Return the slabs and the number of recipes of the population of a file; None if there is none.

    Raises:
        CheckpointError: The file is damaged, or was altered.
    """
    if not path.exists():
        return None
    origin = _read(path)["origin"]
    return tuple(Slab(**slab) for slab in origin["slabs"]), int(origin["num"])


def _write(path: Path, population: Population) -> Population:
    atomic_write_text(path, json.dumps(_document(population)) + "\n")
    return population


def _grown(population: Population, more: Callable[[int], IntArray]) -> Population:
    added = more(len(population))
    return replace(
        population,
        widths=np.concatenate([population.widths, added]),
        weights=np.append(population.weights, np.ones(len(added))),
        strata=np.append(population.strata, np.full(len(added), -1, np.int64)),
    )


def _differences(there: Mapping[str, Any], origin: Origin) -> list[str]:
    """Return what differs between origins; what came later had its default in an older file."""
    now = plain_mapping(origin.as_json(), "origin")
    config = plain_mapping(SpaceConfig.from_json(there["config"]).as_json(), "config")
    filled = {"options": {}, **there, "config": config}
    return differences(there, in_terms_of(now, there, filled))


def _document(population: Population) -> dict[str, Any]:
    content = {
        "version": VERSION,
        "origin": plain_mapping(population.origin.as_json(), "origin"),
        "widths": population.widths.tolist(),
        "weights": population.weights.tolist(),
        "strata": population.strata.tolist(),
        "log_share": population.log_share,
    }
    return {**content, "digest": _digest(content)}


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content = {name: value for name, value in found.items() if name != "digest"}
        is_whole = found["digest"] == _digest(content)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} is no population ({error}); restore it") from error
    if not is_whole:
        raise CheckpointError(f"{path} was altered after it was written; restore it")
    return found


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()
