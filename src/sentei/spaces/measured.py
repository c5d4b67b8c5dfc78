"""The evaluated subnetworks of one network in one regime, as columns.

Shapes: N = evaluations (or recipes, once averaged), S = stages, G = groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from sentei.spaces.stats_base import (
    BoolArray,
    FloatArray,
    IntArray,
    Observations,
    checked,
    same_length,
)

_CONDITIONS = ("network", "regime", "epochs", "weights", "ranking")
_NUMBERS = ("drop", "test_drop", "ratio", "std", "mean", "macs_left", "params_left")


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """Evaluations of the recipes of one population under one protocol.

    Attributes:
        network: Name of the network.
        regime: Share of the MACs that is left, the target of all recipes.
        subnets: Name of every recipe.
        recipe: Index in ``subnets`` of every evaluation, shape [N]; replicates share it.
        replicates: Evaluations averaged into each entry, >= 1, shape [N].
        drop: Percentage points of validation accuracy lost, shape [N]; large is bad.
        test_drop: The same on test images, shape [N].
        one_shot_drop: The same on validation images before any training, shape [N].
        ratio: MACs per parameter relative to the dense network, shape [N].
        std: Standard deviation of the pruning ratios, shape [N].
        mean: Their mean, shape [N].
        macs_left: Share of the MACs left, shape [N].
        params_left: Share of the parameters left, shape [N].
        weight: Sampling weight, shape [N].
        stratum: Stratum, or -1, shape [N].
        stage_means: Mean pruning ratio of every stage, shape [N, S].
        stages: Names of the stages.
        keep: Share of the channels kept of every group, shape [N, G].
        groups: Names of the groups.
    """

    network: str
    regime: float
    subnets: tuple[str, ...]
    recipe: IntArray
    replicates: IntArray
    drop: FloatArray
    test_drop: FloatArray
    one_shot_drop: FloatArray
    ratio: FloatArray
    std: FloatArray
    mean: FloatArray
    macs_left: FloatArray
    params_left: FloatArray
    weight: FloatArray
    stratum: IntArray
    stage_means: FloatArray
    stages: tuple[str, ...]
    keep: FloatArray
    groups: tuple[str, ...]

    @staticmethod
    def from_rows(rows: Sequence[Mapping[str, Any]], *, dense: Mapping[str, int]) -> "Measured":
        """Return the columns of evaluated rows.

        Args:
            rows: One mapping an evaluation, all of one network, regime, number of epochs, kind of
                weights and ranking. Accuracies are in [0, 1], drops in percentage points.
            dense: Group name -> width of the dense network.

        Raises:
            ValueError: there are no rows, conditions are mixed, an evaluation is there twice, the
                groups are not those of ``dense``, or a number is not finite.
        """
        _check_rows(rows, dense)
        first = rows[0]
        stages = tuple(first["stage_means"])
        # Numbered in order of first appearance.
        names = {str(row["subnet"]): 0 for row in rows}
        names = {name: number for number, name in enumerate(names)}
        columns = {name: _column(name, [row[name] for row in rows]) for name in _NUMBERS}
        # The dense accuracy cancels: both drops are taken from it.
        trained = _column("val_accuracy", [row["val_accuracy"] for row in rows])
        one_shot = _column("one_shot", [row["one_shot"]["val_accuracy"] for row in rows])
        return Measured(
            network=str(first["network"]),
            regime=float(first["regime"]),
            subnets=tuple(names),
            recipe=np.array([names[str(row["subnet"])] for row in rows], np.int64),
            replicates=np.ones(len(rows), np.int64),
            one_shot_drop=columns["drop"] + 100 * (trained - one_shot),
            weight=_column("weight", [row["weight"] for row in rows]),
            stratum=np.array([row["stratum"] for row in rows], np.int64),
            stage_means=_table("stage_means", [row["stage_means"] for row in rows], stages),
            stages=stages,
            keep=_table("widths", [row["widths"] for row in rows], tuple(dense))
            / np.array(list(dense.values()), np.float64),
            groups=tuple(dense),
            **columns,
        )

    def __len__(self) -> int:
        return self.drop.size

    def where(self, chosen: BoolArray | IntArray) -> "Measured":
        """Return the chosen entries (a mask, or indices), in the order of ``chosen``."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in _arrays()})

    def averaged(self) -> "Measured":
        """Return one entry a recipe: the mean of its replicates, and how many there were."""
        _, first, inverse = np.unique(self.recipe, return_index=True, return_inverse=True)
        replicates = np.bincount(inverse, weights=self.replicates)
        means: dict[str, Any] = {
            name: np.bincount(inverse, weights=self.replicates * getattr(self, name)) / replicates
            for name in ("drop", "test_drop", "one_shot_drop")
        }
        return replace(self.where(first), replicates=replicates.astype(np.int64), **means)

    def paired(self, other: "Measured") -> tuple["Measured", "Measured"]:
        """Return the recipes that both hold, averaged, in the same order.

        Raises:
            ValueError: no recipe is in both.
        """
        mine, others = self.averaged(), other.averaged()
        places = {other.subnets[recipe]: place for place, recipe in enumerate(others.recipe)}
        names = [self.subnets[recipe] for recipe in mine.recipe]
        shared = [place for place, name in enumerate(names) if name in places]
        if not shared:
            raise ValueError(
                f"the {len(mine)} and {len(others)} recipes have none in common; "
                f"evaluate the same recipes under both conditions"
            )
        matching = [places[names[place]] for place in shared]
        return mine.where(np.array(shared)), others.where(np.array(matching))

    def observations(
        self, outcome: str = "drop", *, covariates: Sequence[str] = (), noise_share: float = 0.0
    ) -> Observations:
        """Return what regressions of an outcome on the ratio need.

        An entry of r replicates has variance ``1 - noise_share + noise_share / r`` up to a factor,
        and its weight is the inverse.

        Args:
            outcome: ``drop``, ``test_drop`` or ``one_shot_drop``.
            covariates: Names of columns that shift the drop: ``std``, ``mean``, ``macs_left``.
            noise_share: Share of the variance of a single evaluation, about the fitted curve, that
                repeats of a recipe would average out, in [0, 1]; 0 weighs all entries equally.

        Raises:
            ValueError: a name is not that of a column, or the share is out of range.
        """
        if not 0 <= noise_share <= 1:
            raise ValueError(f"noise_share is {noise_share}; a share in [0, 1] was expected")
        for name in (outcome, *covariates):
            if name not in (*_NUMBERS, "one_shot_drop"):
                raise ValueError(
                    f"{name!r} is no column of numbers; choose from "
                    f"{', '.join((*_NUMBERS, 'one_shot_drop'))}"
                )
        return Observations(
            drop=getattr(self, outcome),
            ratio=self.ratio,
            covariates={name: getattr(self, name) for name in covariates},
            weights=1 / (1 - noise_share + noise_share / self.replicates),
        )


def _arrays() -> tuple[str, ...]:
    plain = ("network", "regime", "subnets", "stages", "groups")
    return tuple(one.name for one in fields(Measured) if one.name not in plain)


def _check_rows(rows: Sequence[Mapping[str, Any]], dense: Mapping[str, int]) -> None:
    if not rows:
        raise ValueError("there are no evaluated rows; run the study or choose another condition")
    for name in _CONDITIONS:
        found = sorted({str(row[name]) for row in rows})
        if len(found) > 1:
            raise ValueError(
                f"the rows mix {name} {', '.join(found)}; choose the rows of one value"
            )
    seen: set[tuple[str, int]] = set()
    for row in rows:
        key = (str(row["subnet"]), int(row["replicate"]))
        if key in seen:
            raise ValueError(
                f"replicate {key[1]} of subnetwork {key[0]} is there twice; pass each row once"
            )
        seen.add(key)
        if set(row["widths"]) != set(dense):
            differing = sorted(set(row["widths"]) ^ set(dense))
            raise ValueError(
                f"subnetwork {key[0]} and the dense network differ in the groups "
                f"{', '.join(differing)}; pass the widths of the network that was pruned"
            )


def _column(name: str, values: Sequence[float]) -> FloatArray:
    return checked(name, values)


def _table(
    name: str, entries: Sequence[Mapping[str, float]], columns: tuple[str, ...]
) -> FloatArray:
    table = {column: _column(name, [entry[column] for entry in entries]) for column in columns}
    same_length(**table)
    return np.column_stack(list(table.values())) if table else np.empty((len(entries), 0))
