"""The populations of a study, drawn once and frozen before anything is evaluated."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from sentei.errors import CheckpointError, SpaceError
from sentei.seeding import derive_seed
from sentei.spaces.population import Origin, Population, frozen, frozen_origin
from sentei.spaces.regime_data import CELLS, CONTROLS, NATURAL, STRATIFIED, UNIFORM
from sentei.spaces.sampling import make_sampler
from sentei.spaces.scene import Scene
from sentei.spaces.space import Slab
from sentei.spaces.stats_base import IntArray, generator
from sentei.spaces.strata import sample_strata, stratify
from sentei.spaces.subnets import Member, Wish
from sentei.spaces.vacancy import is_empty
from sentei.spaces.volume import log_share

FOLDER = "populations"

_ATTEMPTS = 10  # for a cell, which may be too small to hold a recipe


def plain(scene: Scene, directory: Path, origin: Origin, *, measures: bool = True) -> list[Member]:
    """Return the recipes of a population without strata, frozen in the directory of a study.

    Args:
        scene: The network.
        directory: Of the study.
        origin: Where the population comes from.
        measures: Measure which share of the regime its space is, too.

    Raises:
        SpaceError: The space is empty; the message says which constraints conflict.
        CheckpointError: There is another population under its name, or a damaged file.
    """
    own = [slab for slab in origin.slabs if slab not in scene.slabs(origin.regime)]

    def more(first: int) -> IntArray:
        return make_sampler(origin.sampler, origin.options).sample(
            scene.terrain, origin.slabs, num=origin.num - first, seed=origin.seed, first=first
        )

    def draw() -> Population:
        return Population(
            origin=origin,
            widths=more(0),
            weights=np.ones(origin.num),
            strata=np.full(origin.num, -1, np.int64),
            log_share=_volume(scene, origin, own) if measures else None,
        )

    return scene.members(frozen(_path(directory, origin), origin, draw, more=more))


def derived(
    scene: Scene, directory: Path, origin: Origin, *, draws: bool, measures: bool = True
) -> list[Member]:
    """Return the recipes of a population whose slabs were chosen by results, frozen likewise.

    Once it is frozen its file says what the slabs are: results and thresholds that came later do
    not move them.

    Args:
        scene: The network.
        directory: Of the study.
        origin: Where the population comes from.
        draws: Draw what is not there; if not, there are no recipes then.
        measures: As of :func:`plain`.

    Raises:
        SpaceError: The space is empty; the message says which constraints conflict.
        CheckpointError: There is another population under its name, or a damaged file.
    """
    there = frozen_origin(_path(directory, origin))
    if there is None:
        return plain(scene, directory, origin, measures=measures) if draws else []
    slabs, num = there
    if not draws:
        origin = replace(origin, num=num)
    return plain(scene, directory, replace(origin, slabs=slabs), measures=measures)


def frozen_slabs(scene: Scene, directory: Path, level: float, name: str) -> tuple[Slab, ...] | None:
    """Return the slabs of a frozen population beside those of its regime; None if there is none."""
    there = frozen_origin(_path(directory, origin_of(scene, level, name, num=1)))
    if there is None:
        return None
    return tuple(slab for slab in there[0] if slab not in scene.slabs(level))


def check_sizes(scene: Scene, directory: Path, sizes: Mapping[str, int]) -> None:
    """Refuse fewer recipes than are frozen: what was drawn stays part of a study.

    Args:
        scene: The network.
        directory: Of the study.
        sizes: Name of a population that results decide -> number of its recipes.

    Raises:
        CheckpointError: A population holds more; or its file is damaged.
    """
    for level, (name, num) in product(scene.config.regimes, sizes.items()):
        path = _path(directory, origin_of(scene, level, name, num=1))
        there = frozen_origin(path)
        if there is not None and there[1] > num > 0:
            raise CheckpointError(
                f"{path} holds {there[1]} recipes, and {num} were asked for; ask for at least as "
                "many, or give another directory (-o)"
            )


def _volume(scene: Scene, origin: Origin, own: Sequence[Slab]) -> float | None:
    usual, seed = scene.slabs(origin.regime), derive_seed(origin.seed, "volume")
    try:
        return log_share(scene.terrain, usual, own, seed=seed)
    except SpaceError:
        return None  # too small to measure, or with too few widths: that ends no study


def strata(scene: Scene, directory: Path, level: float) -> list[Member]:
    """Return the recipes that cover the attainable range of m evenly, frozen likewise.

    Raises:
        SpaceError: A stratum is empty.
        CheckpointError: There is another population under its name, or a damaged file.
    """
    config = scene.config.population
    origin = replace(
        origin_of(
            scene,
            level,
            STRATIFIED,
            num=config.strata * config.per_stratum,
        ),
        strata=config.strata,
    )

    def draw() -> Population:
        found = sample_strata(
            make_sampler(origin.sampler, origin.options),
            scene.terrain,
            origin.slabs,
            stratification=stratify(scene.terrain, origin.slabs, num=config.strata),
            num_each=config.per_stratum,
            seed=origin.seed,
        )
        return Population(
            origin=origin, widths=found.widths, weights=found.weights, strata=found.strata
        )

    return scene.members(frozen(_path(directory, origin), origin, draw))


def cells(scene: Scene, directory: Path, level: float) -> list[Member]:
    """Return the recipes of every cell of STD by m that has some, frozen likewise.

    The stratum of a recipe is the number of its cell, that of its bin of STD counting first; in
    proportion to its weight a recipe stands for the share of the regime that its cell is.

    Raises:
        SpaceError: No cell has a recipe.
        CheckpointError: There is another population under its name, or a damaged file.
    """
    config = scene.config.population
    num = len(config.std_bins) * config.cell_bins
    origin = origin_of(scene, level, CELLS, num=num * config.per_cell)
    origin = replace(origin, strata=num)
    return scene.members(frozen(_path(directory, origin), origin, lambda: _crossed(scene, origin)))


def _crossed(scene: Scene, origin: Origin) -> Population:
    config, options = scene.config.population, {"attempts": _ATTEMPTS, **origin.options}
    sampler = make_sampler(origin.sampler, options)
    ratios = stratify(scene.terrain, origin.slabs, num=config.cell_bins).slabs()
    spreads = [Slab(quantity="std", low=a, high=b) for a, b in config.std_bins.values()]
    widths: list[IntArray] = []
    numbers, shares = [], []
    for number, own in enumerate(product(spreads, ratios)):
        slabs, seed = [*origin.slabs, *own], derive_seed(origin.seed, "cell", str(number))
        if is_empty(scene.terrain, slabs):
            continue  # at an end of the range of m, no recipe spreads little
        try:
            drawn_NG = sampler.sample(scene.terrain, slabs, num=config.per_cell, seed=seed)
        except SpaceError:
            continue  # too small a corner to find whole widths in
        volume = _volume(scene, replace(origin, seed=seed), own)
        widths.append(drawn_NG)
        numbers.append(number)
        shares.append(0.0 if volume is None else math.exp(volume))
    if not widths:
        raise SpaceError(
            f"none of {origin.strata} cells of STD by m has a recipe in regime {origin.regime:g}; "
            "give other population.std_edges, or fewer population.cell_bins"
        )
    return Population(
        origin=origin,
        widths=np.concatenate(widths),
        weights=np.repeat(np.array(shares) * origin.strata, config.per_cell),
        strata=np.repeat(numbers, config.per_cell),
    )


def origin_of(
    scene: Scene, level: float, name: str, *, num: int, slabs: tuple[Slab, ...] = ()
) -> Origin:
    """Return where a population of a regime comes from.

    Args:
        scene: The network.
        level: Regime.
        name: Of the space; its stream of random numbers is found by it, and its sampler.
        num: Number of recipes, >= 1.
        slabs: Constraints beside those of the regime.
    """
    config = scene.config.population
    sampler, options = (
        (config.natural_sampler, config.natural_options)
        if name == NATURAL
        else (config.stratified_sampler, config.stratified_options)
    )
    return Origin(
        name=name,
        network=scene.network,
        regime=level,
        config=scene.config.space,
        slabs=(*scene.slabs(level), *slabs),
        sampler=sampler,
        seed=derive_seed(scene.config.seed, "population", f"{level:g}", name),
        num=num,
        options=options,
    )


def _path(directory: Path, origin: Origin) -> Path:
    return directory / FOLDER / f"{origin.regime:g}-{origin.name.replace(' ', '-')}.json"


def first_wishes(scene: Scene, directory: Path, level: float) -> list[Wish]:
    """Return all evaluations of a regime that do not depend on results.

    Its strata, trained, some of them several times, for longer, and under the controls of C7; the
    spaces of STD, and their cells with m; the uniform recipe; and the natural population without
    training.
    """
    config, epochs = scene.config.population, scene.config.protocol.epochs
    trained = strata(scene, directory, level)
    rng = generator(scene.config.seed, "replicated", f"{level:g}")
    order = rng.permutation(len(trained))
    repeated = order[: round(config.replicated * len(trained))]
    wishes = [Wish(member=m, epochs=epochs) for m in trained]
    wishes += [
        Wish(member=trained[i], epochs=epochs, replicate=r)
        for r in range(1, config.replicates)
        for i in repeated
    ]
    full = scene.config.fidelity
    wishes += [
        Wish(member=m, epochs=full.epochs) for m in over_strata(trained, order, full.recipes)
    ]
    wishes += _controls(trained, order[: config.controls].tolist(), epochs)
    if scene.config.supernet.epochs:
        wishes += [Wish(member=m, supernet=True) for m in trained]
    search = scene.config.search
    if search.zero_cost is not None and level in search.regimes:
        wishes += [Wish(member=m, zero_cost=search.zero_cost) for m in trained]
    wishes += [Wish(member=m, epochs=epochs) for m in _std_spaces(scene, directory, level)]
    if level in config.cell_regimes:
        wishes += [Wish(member=m, epochs=epochs) for m in cells(scene, directory, level)]
    wishes += [
        Wish(member=uniform(scene, level), epochs=epochs, replicate=r)
        for r in range(config.replicates)
    ]
    if config.natural:
        origin = origin_of(scene, level, NATURAL, num=config.natural)
        wishes += [Wish(member=m) for m in plain(scene, directory, origin)]
    return wishes


def _std_spaces(scene: Scene, directory: Path, level: float) -> Iterator[Member]:
    """Yield recipes drawn from every bin of STD."""
    config = scene.config.population
    if not config.per_std_bin:
        return
    for name, (low, high) in config.std_bins.items():
        own = (Slab(quantity="std", low=low, high=high),)
        origin = origin_of(scene, level, name, num=config.per_std_bin, slabs=own)
        yield from plain(scene, directory, origin)


def over_strata(trained: Sequence[Member], order: IntArray, num: int) -> list[Member]:
    """Return so many members, as many of each stratum as of the others.

    Args:
        trained: The members of a stratified population.
        order: Their places, in the order in which those of a stratum are taken.
        num: How many, >= 0.
    """
    taken: Counter[int] = Counter()
    turns = []
    for place in order.tolist():
        stratum = trained[place].facts["stratum"]
        turns.append((taken[stratum], place))
        taken[stratum] += 1
    return [trained[place] for _, place in sorted(turns, key=lambda turn: turn[0])[:num]]


def _controls(trained: list[Member], chosen: list[int], epochs: int) -> list[Wish]:
    usual = [Wish(member=trained[i], epochs=epochs) for i in chosen]
    return [
        replace(wish, ranking=ranking, weights=weights)
        for ranking, weights in CONTROLS.values()
        for wish in usual
    ]


def uniform(scene: Scene, level: float) -> Member:
    """Return the recipe of one pruning ratio for all units."""
    widths_G = scene.terrain.uniform(level, by=scene.config.regime_by)
    common = {"regime": level, "space": UNIFORM, "sampler": "one ratio for all"}
    return scene.describe(np.asarray(widths_G)[None], common)[0]
