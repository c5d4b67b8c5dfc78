"""The populations of a study, drawn once and frozen before anything is evaluated."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from sentei.seeding import derive_seed
from sentei.spaces.population import Origin, Population, frozen
from sentei.spaces.regime_data import CONTROLS, NATURAL, STRATIFIED, UNIFORM
from sentei.spaces.sampling import SAMPLERS
from sentei.spaces.scene import Scene
from sentei.spaces.space import Slab
from sentei.spaces.stats_base import generator
from sentei.spaces.strata import sample_strata, stratify
from sentei.spaces.subnets import Member, Wish

FOLDER = "populations"


def plain(
    scene: Scene,
    directory: Path,
    origin: Origin,
) -> list[Member]:
    """Return the recipes of a population without strata, frozen in the directory of a study.

    Raises:
        SpaceError: The space is empty; the message says which constraints conflict.
        CheckpointError: There is another population under its name, or a damaged file.
    """

    def draw() -> Population:
        widths = SAMPLERS[origin.sampler]().sample(
            scene.terrain, origin.slabs, num=origin.num, seed=origin.seed
        )
        return Population(
            origin=origin,
            widths=widths,
            weights=np.ones(origin.num),
            strata=np.full(origin.num, -1, np.int64),
        )

    return scene.members(frozen(_path(directory, origin), origin, draw))


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
            sampler=config.stratified_sampler,
            num=config.strata * config.per_stratum,
        ),
        strata=config.strata,
    )

    def draw() -> Population:
        found = sample_strata(
            SAMPLERS[origin.sampler](),
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


def origin_of(
    scene: Scene, level: float, name: str, *, sampler: str, num: int, slabs: tuple[Slab, ...] = ()
) -> Origin:
    """Return where a population of a regime comes from.

    Args:
        scene: The network.
        level: Regime.
        name: Of the space; its stream of random numbers is found by it.
        sampler: Name of the sampler.
        num: Number of recipes, >= 1.
        slabs: Constraints beside those of the regime.
    """
    return Origin(
        name=name,
        network=scene.network,
        regime=level,
        config=scene.config.space,
        slabs=(*scene.slabs(level), *slabs),
        sampler=sampler,
        seed=derive_seed(scene.config.seed, "population", f"{level:g}", name),
        num=num,
    )


def _path(directory: Path, origin: Origin) -> Path:
    return directory / FOLDER / f"{origin.regime:g}-{origin.name.replace(' ', '-')}.json"


def first_wishes(scene: Scene, directory: Path, level: float) -> list[Wish]:
    """Return all evaluations of a regime that do not depend on results.

    Its strata, trained, some of them several times and under the controls of C7; the uniform
    recipe; and the natural population without training.
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
    wishes += _controls(trained, order[: config.controls].tolist(), epochs)
    if scene.config.supernet.epochs:
        wishes += [Wish(member=m, supernet=True) for m in trained]
    wishes += [
        Wish(member=uniform(scene, level), epochs=epochs, replicate=r)
        for r in range(config.replicates)
    ]
    if config.natural:
        origin = origin_of(
            scene, level, NATURAL, sampler=config.natural_sampler, num=config.natural
        )
        wishes += [Wish(member=m) for m in plain(scene, directory, origin)]
    return wishes


def _controls(trained: list[Member], chosen: list[int], epochs: int) -> list[Wish]:
    usual = [Wish(member=trained[i], epochs=epochs) for i in chosen]
    return [
        replace(wish, ranking=ranking, weights=weights)
        for ranking, weights in CONTROLS.values()
        for wish in usual
    ]


def uniform(scene: Scene, level: float) -> Member:
    """Return the recipe of one pruning ratio for all units."""
    widths_G = scene.terrain.uniform(macs=level)
    common = {"regime": level, "space": UNIFORM, "sampler": "one ratio for all"}
    return scene.describe(np.asarray(widths_G)[None], common)[0]
