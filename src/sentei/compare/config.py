"""Everything that decides a comparison, as one frozen value."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sentei.allocate import Budget
from sentei.compare.recipes import RECIPES
from sentei.errors import ConfigError
from sentei.methods import METHODS, SECTIONS
from sentei.methods.base_network import BaseConfig, check_counts
from sentei.train import TrainConfig

BASELINES = (
    *("random", "uniform", "default"),
    *("smaller-dense", "scratch-e", "scratch-b", "weight-magnitude"),
)
"""Rows that every comparison has."""


@dataclass(frozen=True, kw_only=True)
class CompareConfig(BaseConfig):
    """One network, data, methods, targets, seeds and recipes.

    Args:
        output: Directory of the study; no part of what it computes.
        methods: Names of methods.
        targets: Budgets, such as ``"macs=0.5"``.
        seeds: Number of seeds, >= 1: 0, 1, ...
        recipes: Names of recipes of the recovery; every method runs with each.
        train: Fields of the recipes that are set otherwise, such as ``{"epochs": 3}``.
        calibration_images: Training images that criteria look at, >= 1.
        floor: Least share of a group that stays, in (0, 1].
        tolerance: How far below its limit the binding cost may end, relative, in [0, 1).
        round_to: Widths become multiples of it, >= 1.
        protect: Names of modules or parameters that stay whole.

    Raises:
        UnknownNameError: There is no such method or recipe.
        ConfigError: Nothing to compare, or a number is out of range.
        BudgetError: A target is no budget.
    """

    output: str
    methods: tuple[str, ...]
    targets: tuple[str, ...]
    seeds: int = 3
    recipes: tuple[str, ...] = ("closed",)
    train: Mapping[str, Any] = field(default_factory=dict)
    calibration_images: int = 512
    floor: float = 0.1
    tolerance: float = 0.005
    round_to: int = 1
    protect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, ("seeds", "calibration_images", "round_to"))
        for name in ("methods", "targets", "recipes"):
            if not getattr(self, name):
                raise ConfigError(f"{name} is empty; give at least one")
        for method in self.methods:
            _ = METHODS[method]
        for target in self.targets:
            Budget.parse(target)
        for recipe in self.recipes:
            self.recipe(recipe)
        if not 0 < self.floor <= 1:
            raise ConfigError(f"floor is {self.floor}; give a share of each group in (0, 1]")
        if not jobs_of(self):
            raise ConfigError(
                f"nothing to compare: {'; '.join(left_out(self))}; give other targets"
            )

    def recipe(self, name: str) -> TrainConfig:
        """Return a recipe with what this comparison sets otherwise.

        Raises:
            UnknownNameError: There is no such recipe.
            ConfigError: A field does not exist or is out of range.
        """
        recipe = RECIPES[name]
        try:
            return dataclasses.replace(recipe, **self.train)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"recipe {name!r}: {error}; correct the field") from error

    def as_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        lists = {k: list(getattr(self, k)) for k in ("methods", "targets", "recipes", "protect")}
        return {**dataclasses.asdict(self), **lists, "train": dict(self.train)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "CompareConfig":
        """Return what :meth:`as_json` returned.

        Raises:
            ConfigError: A field is missing, unknown, or of another kind.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        odd = sorted(values.keys() - known)
        if odd:
            raise ConfigError(f"unknown field {odd[0]} of a comparison; expected {sorted(known)}")
        tuples = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        try:
            return cls(**{**values, **tuples})
        except TypeError as error:
            raise ConfigError(f"this is no comparison ({error}); start it again") from error


def parse_targets(text: str) -> tuple[str, ...]:
    """Return the budgets of ``macs=0.5,0.25``: a number alone belongs to the cost before it.

    Raises:
        ConfigError: The first item names no cost.

    Example:
        >>> parse_targets("macs=0.5,0.25,params=0.3")
        ('macs=0.5', 'macs=0.25', 'params=0.3')
    """
    found: list[str] = []
    cost = ""
    for item in (part.strip() for part in text.split(",")):
        name, equals, _ = item.partition("=")
        if equals:
            cost = name
        elif not cost:
            raise ConfigError(f"targets {text!r}: {item!r} names no cost; write macs=0.5,0.25")
        found.append(item if equals else f"{cost}={item}")
    return tuple(found)


def select_methods(text: str) -> tuple[str, ...]:
    """Return the methods that ``text`` names, baselines first.

    Args:
        text: Names joined by commas; ``all``, or the number of a section of the survey, stands
            for the methods in it.

    Raises:
        UnknownNameError: There is no such method.
    """
    found: list[str] = list(BASELINES)
    for item in (part.strip() for part in text.split(",")):
        if item == "all" or item in SECTIONS:
            inside = [n for n in METHODS if item == "all" or _is_in(n, item)]
            found += inside
        else:
            _ = METHODS[item]
            found.append(item)
    return tuple(dict.fromkeys(found))


def _is_in(method: str, section: str) -> bool:
    own = METHODS[method].card.section
    return own == section or own.startswith(f"{section}.")


def left_out(config: CompareConfig) -> list[str]:
    """Return a line for each method and target that have no job: the method cannot count the target."""
    return [
        f"{method} is left out at {target}: it can meet a limit of "
        f"{', '.join(METHODS[method].limits_only)} alone"
        for target in config.targets
        for method in config.methods
        if not _can_meet(method, target)
    ]


def _can_meet(method: str, target: str) -> bool:
    able = METHODS[method].limits_only
    return not able or set(Budget.parse(target).limits) <= set(able)


def jobs_of(config: CompareConfig) -> Sequence[dict[str, Any]]:
    """Return the specification of every job, seed by seed, so that a part of a study is fair."""
    return [
        {"method": method, "target": target, "recipe": recipe, "seed": seed}
        for seed in range(config.seeds)
        for recipe in config.recipes
        for target in config.targets
        for method in config.methods
        if _can_meet(method, target)
    ]
