"""Everything that decides a study of pruning spaces, as one frozen value read from one TOML file."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sentei.errors import ConfigError
from sentei.methods.base_network import BaseConfig, check_counts
from sentei.pipeline.config_file import decode, read_toml
from sentei.spaces.conjectures import Thresholds
from sentei.spaces.latency import LatencyConfig
from sentei.spaces.protocol import Protocol
from sentei.spaces.sampling import make_sampler
from sentei.spaces.space import SpaceConfig
from sentei.spaces.stats_base import Resampling

SHARED = (
    *("train_images", "val_images", "test_images", "image_size", "split_seed"),
    *("batch_size", "augment", "device"),
)
"""Fields that the base network and the protocol have in common: they are given with the base."""

Statistic = Literal["ratio", "std", "mean", "stages"]

Screen = Literal[
    "val_loss", "num_parameters", "synflow", "snip", "grad_norm", "jacob_cov", "naswot"
]

MIN_FULL = 10
"""Least trainings of full length that a cheap score is compared with."""


@dataclass(frozen=True, kw_only=True)
class PopulationConfig:
    """Which subnetworks of every regime are evaluated.

    Args:
        strata: Bins of equal width in log m over its attainable range, >= 1.
        per_stratum: Subnetworks of each, trained, >= 1.
        natural: Subnetworks that the sampler draws from the regime alone, evaluated without
            training, >= 0.
        natural_sampler: Name of their sampler.
        natural_options: Fields of that sampler that are set otherwise, such as ``{"alpha": 5.0}``.
        stratified_sampler: Name of the sampler of the strata, and of fresh draws.
        stratified_options: Fields of that one.
        replicates: Trainings of each subnetwork that is repeated, >= 1.
        replicated: Share of the trained subnetworks that is repeated, in [0, 1].
        std_edges: Edges of the bins of STD, ascending; the last bin has no upper one.
        per_std_bin: Subnetworks drawn from each of these bins and trained, >= 0: without them, the
            bins show what the strata happen to hold.
        cell_regimes: Regimes that have cells, too: every bin of STD crossed with every bin of m. They
            are among the study's; one is enough.
        cell_bins: Bins of equal width in log m that those of STD are crossed with, >= 1.
        per_cell: Subnetworks drawn from each cell that has some, and trained, >= 1.
        controls: Trained subnetworks that are trained again with random channels, and again from
            new weights, >= 0 (conjecture C7).

    Raises:
        ConfigError: A number is out of range, or a sampler has no such option.
        UnknownNameError: There is no such sampler.
    """

    strata: int = 8
    per_stratum: int = 12
    natural: int = 500
    natural_sampler: str = "bisection"
    natural_options: Mapping[str, Any] = field(default_factory=dict)
    stratified_sampler: str = "hit-and-run"
    stratified_options: Mapping[str, Any] = field(default_factory=dict)
    replicates: int = 3
    replicated: float = 0.15
    std_edges: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3)
    per_std_bin: int = 0
    cell_regimes: tuple[float, ...] = ()
    cell_bins: int = 3
    per_cell: int = 6
    controls: int = 0

    @property
    def std_bins(self) -> dict[str, tuple[float, float]]:
        """Bins of STD by the name of their space; 1 is above any STD."""
        ends = [*self.std_edges[1:], 1.0]
        return {
            f"STD {low:g} to {high:g}" if high < 1 else f"STD from {low:g}": (low, high)
            for low, high in zip(self.std_edges, ends, strict=True)
        }

    def __post_init__(self) -> None:
        check_counts(self, ("strata", "per_stratum", "replicates", "cell_bins", "per_cell"))
        for name in ("natural", "controls", "per_std_bin"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give at least 0")
        if not 0 <= self.replicated <= 1:
            raise ConfigError(f"replicated is {self.replicated}; give a share in [0, 1]")
        ascend = list(self.std_edges) == sorted(set(self.std_edges))
        if not self.std_edges or not ascend or not 0 <= self.std_edges[0] <= self.std_edges[-1] < 1:
            raise ConfigError(
                f"std_edges is {self.std_edges}; give at least one in [0, 1), ascending"
            )
        make_sampler(self.natural_sampler, self.natural_options)
        make_sampler(self.stratified_sampler, self.stratified_options)


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Fresh draws that test a refined space, and the search in it.

    Args:
        regimes: Regimes that are refined and searched; they are among the study's.
        rounds: How often a space is refined at most, 1 to 3: each time what was drawn afresh sets
            the next one, until that is no smaller or no better.
        statistics: What a space is refined by: the ``ratio`` around m*; ``std``, ``mean`` and
            ``stages`` where their winners lie closer together than chance has it.
        fresh: Subnetworks drawn afresh from base, refined and placebo space each and trained, >= 0.
        candidates: Subnetworks of each space that a search evaluates without training, >= 1.
        screen: What it evaluates: the loss on validation images, or a score of
            `sentei.spaces.zero_cost`, which no conjecture rests on. Where the trained population
            shows that it ranks too badly, the first drawn are trained.
        trained: How many of them, the best by that, are trained, >= 1.
        finalists: How many of those, the best, are trained in full, >= 1.
        epochs: Epochs of the full training, >= 1.
        seeds: Trainings of each finalist and of its rivals, >= 1.

    Raises:
        ConfigError: A number is out of range.
    """

    regimes: tuple[float, ...] = ()
    rounds: int = 1
    statistics: tuple[Statistic, ...] = ("ratio",)
    fresh: int = 100
    candidates: int = 64
    screen: Screen = "val_loss"
    trained: int = 8
    finalists: int = 1
    epochs: int = 3
    seeds: int = 3

    @property
    def zero_cost(self) -> str | None:
        """Name of the zero-cost score that screens; None where the loss does."""
        return None if self.screen == "val_loss" else self.screen

    def __post_init__(self) -> None:
        check_counts(self, ("candidates", "trained", "finalists", "epochs", "seeds"))
        if self.fresh < 0:
            raise ConfigError(f"fresh is {self.fresh}; give at least 0")
        if not 1 <= self.rounds <= 3:
            raise ConfigError(f"rounds is {self.rounds}; give 1 to 3")
        if not self.statistics:
            raise ConfigError('statistics is empty; give at least one, such as "ratio"')
        if not self.finalists <= self.trained <= self.candidates:
            raise ConfigError(
                f"finalists={self.finalists}, trained={self.trained}, candidates="
                f"{self.candidates}; each must be at most the next"
            )


@dataclass(frozen=True, kw_only=True)
class SupernetConfig:
    """One set of weights that all subnetworks share, as a cheap score of the trained ones.

    Args:
        epochs: Epochs of its training, >= 0; 0 has none.
        learning_rate: Of that training, > 0.
        num_random: Random subnetworks taught in every step, beside the smallest, >= 0.

    Raises:
        ConfigError: A number is out of range.
    """

    epochs: int = 0
    learning_rate: float = 0.02
    num_random: int = 2

    def __post_init__(self) -> None:
        for name in ("epochs", "num_random"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give at least 0")
        if self.learning_rate <= 0:
            raise ConfigError(f"learning_rate is {self.learning_rate}; give a number > 0")


@dataclass(frozen=True, kw_only=True)
class FidelityConfig:
    """Trainings of full length that tell whether a short one ranks subnetworks alike.

    Args:
        recipes: Subnetworks of every regime, spread over its strata, that are trained so, 0 or at
            least 10; 30 say something.
        epochs: Of these trainings; from 6 on their first 5 are extrapolated to the last, too.

    Raises:
        ConfigError: A number is out of range.
    """

    recipes: int = 0
    epochs: int = 10

    def __post_init__(self) -> None:
        if self.recipes and self.recipes < MIN_FULL:
            raise ConfigError(f"recipes is {self.recipes}; give 0, or at least {MIN_FULL}")
        check_counts(self, ("epochs",))


def _base_space() -> SpaceConfig:
    return SpaceConfig(name="base", slabs=())


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """A study: base network, regimes, space, protocol, populations, what counts, and the search.

    Args:
        base: The network and its images.
        regimes: Shares of a cost that are left, each in (0, 1).
        regime_by: The cost: ``macs`` or ``params``.
        window: How far the share of a subnetwork may be from that of its regime, in (0, 0.1].
        space: The space all populations lie in, and every choice its definition leaves open.
        protocol: How a subnetwork is made and judged.
        population: Which are evaluated.
        thresholds: What counts, set before the study is evaluated.
        resampling: How bootstraps and permutations draw.
        search: Fresh draws and the search.
        supernet: Shared weights, as another cheap score.
        fidelity: Trainings of full length that short ones are compared with.
        latency: How latency is measured, for slabs of it.
        seed: Of the populations, >= 0.

    Raises:
        ConfigError: A number is out of range.
    """

    base: BaseConfig
    regimes: tuple[float, ...] = (0.7, 0.5, 0.3)
    regime_by: Literal["macs", "params"] = "macs"
    window: float = 0.005
    space: SpaceConfig = field(default_factory=_base_space)
    protocol: Protocol = field(default_factory=lambda: Protocol(epochs=1))
    population: PopulationConfig = field(default_factory=PopulationConfig)
    thresholds: Thresholds = field(default_factory=Thresholds)
    resampling: Resampling = field(default_factory=Resampling)
    search: SearchConfig = field(default_factory=SearchConfig)
    supernet: SupernetConfig = field(default_factory=SupernetConfig)
    fidelity: FidelityConfig = field(default_factory=FidelityConfig)
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_regimes()
        self._check_protocol()
        if any(s.quantity == "latency" for s in self.space.slabs) and not self.latency.recipes:
            raise ConfigError(
                "a slab of latency needs latency.recipes, such as 30: how many are timed"
            )

    def _check_regimes(self) -> None:
        if not self.regimes or len(set(self.regimes)) < len(self.regimes):
            raise ConfigError(f"regimes is {self.regimes}; give at least one, each once")
        if not 0 < self.window <= 0.1:
            raise ConfigError(f"window is {self.window}; give a share of the cost in (0, 0.1]")
        for level in self.regimes:
            if not 0 < level < 1:
                raise ConfigError(f"regime {level} is no share of a cost in (0, 1)")
            if self.window >= level:
                raise ConfigError(
                    f"window is {self.window}, too wide around regime {level}; give less than {level}"
                )
        named = {
            "search.regimes": self.search.regimes,
            "population.cell_regimes": self.population.cell_regimes,
        }
        for key, levels in named.items():
            odd = set(levels) - set(self.regimes)
            if odd:
                raise ConfigError(f"{key} names {min(odd)}, which is not among {self.regimes}")

    def _check_protocol(self) -> None:
        protocol = self.protocol
        if protocol.epochs < 1:
            raise ConfigError("protocol.epochs is 0; the study trains: give at least 1")
        if self.fidelity.recipes and self.fidelity.epochs <= protocol.epochs:
            raise ConfigError(
                f"fidelity.epochs is {self.fidelity.epochs}; give more than protocol.epochs, "
                f"{protocol.epochs}"
            )
        is_usual = (protocol.weights, protocol.ranking) == ("kept", "criterion")
        if self.population.controls and not is_usual:
            raise ConfigError(
                f"population.controls is {self.population.controls}, but the protocol itself has "
                f"weights={protocol.weights!r} and ranking={protocol.ranking!r}; C7 needs 'kept' and "
                "'criterion' there, or give 0 controls"
            )

    def as_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return {
            **dataclasses.asdict(self),
            "space": self.space.as_json(),
            "protocol": self.protocol.as_json(),
        }


def read_study(path: Path | str) -> StudyConfig:
    """Return the study that a TOML file describes.

    Raises:
        CheckpointError: The file cannot be read, or is no TOML.
        UnknownNameError: A key does not exist.
        ConfigError: A field is missing, has a wrong type, or is out of range.
    """
    return study_from_mapping(read_toml(path), origin=str(path))


def study_from_mapping(values: Mapping[str, Any], *, origin: str) -> StudyConfig:
    """Return the study that nested mappings describe; see :func:`read_study`."""
    protocol = values.get("protocol", {})
    double = [name for name in SHARED if name in protocol and name not in _as_shared(values)]
    if double:
        raise ConfigError(f"{origin}: protocol.{double[0]} belongs into the table base; move it")
    study = decode(StudyConfig, values, origin=origin)
    shared = {name: getattr(study.base, name) for name in SHARED}
    return dataclasses.replace(study, protocol=dataclasses.replace(study.protocol, **shared))


def _as_shared(values: Mapping[str, Any]) -> set[str]:
    """Return the shared fields whose value is the same in both tables, as in what a study wrote."""
    base, protocol = values.get("base", {}), values.get("protocol", {})
    return {name for name in SHARED if base.get(name, object()) == protocol.get(name)}
