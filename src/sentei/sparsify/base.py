"""What a sparsifier is: a configuration that becomes a hook of the one training loop.

A sparsifier makes channels removable while the network trains. It brings no loop of its own:
`sentei.train.fit` calls its hook. Afterwards the hook says what it has learned about the channels
and folds what it added into ordinary weights; then comes the spine: allocate, plan, apply.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sentei.allocate import Budget, plan
from sentei.allocate.grid import make_grid
from sentei.cost import CostModel
from sentei.criteria.base import CRITERIA, FloatArray, Needs, Source
from sentei.criteria.score import Scores, score, split_by_group
from sentei.errors import PruningError
from sentei.graph import Graph
from sentei.graph.groups import lowest, lowest_first
from sentei.index.atoms import BoolArray, IntArray
from sentei.registry import Registry
from sentei.seeding import derive_seed
from sentei.train import Hook, TrainConfig
from sentei.train.schedule import learning_rate_at

# Shapes: C = channels of all groups, G = groups.


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What a sparsifier works with.

    Attributes:
        graph: Of the model that is trained.
        costs: Compiled costs of the graph.
        budget: What the pruned network may cost.
        config: The recipe of the sparse training.
        steps_per_epoch: Optimizer steps of one epoch, >= 1.
        floor: Least share of a group that stays, in [0, 1].

    Raises:
        PruningError: The graph has no group.
        ValueError: ``steps_per_epoch`` or ``floor`` is out of range.
    """

    graph: Graph = field(repr=False)
    costs: CostModel = field(repr=False)
    budget: Budget
    config: TrainConfig
    steps_per_epoch: int
    floor: float = 0.1

    def __post_init__(self) -> None:
        if not self.graph.groups:
            raise PruningError(
                "the graph has no group, so nothing can become removable; ask graph.why(module) "
                "what holds a layer"
            )
        if self.steps_per_epoch < 1:
            raise ValueError(f"steps_per_epoch={self.steps_per_epoch}; expected at least 1")
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor={self.floor}; expected a share of the width in [0, 1]")

    @property
    def num_epochs(self) -> int:
        """Epochs of the sparse training."""
        return self.config.epochs

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole sparse training."""
        return self.config.epochs * self.steps_per_epoch

    @property
    def seed(self) -> int:
        """Root seed of a sparsifier's own random streams."""
        return derive_seed(self.config.seed, "sparsify")

    @cached_property
    def dense(self) -> Mapping[str, float]:
        """What the whole network costs, by cost with a limit."""
        names = tuple(self.budget.limits)
        return {k: float(v) for k, v in self.costs.costs(self.graph.widths, names=names).items()}

    @cached_property
    def targets(self) -> Mapping[str, float]:
        """The limits of the budget, in the units of the costs."""
        return self.budget.targets(self.dense)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0 in the whole sparse training."""
        return learning_rate_at(self.config, step=step, num_steps=self.steps_per_epoch)


class SparseHook(Hook):
    """The hook of a sparsifier; what it does in each step it overrides, as in every hook.

    The caller runs `sentei.train.fit` with the hook, then asks for :meth:`scores`, then calls
    :meth:`finish`, and plans with those scores.

    Attributes:
        setting: What it works with.
        kept: Tensors that must survive a restart, by name; fixed once ``on_start`` is done. One
            is there from the start: ``step``, the number of optimizer steps done.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.kept: dict[str, Tensor] = {"step": torch.zeros((), dtype=torch.int64)}

    @property
    def step(self) -> int:
        """Number of optimizer steps that :meth:`count_step` has counted."""
        return int(self.kept["step"])

    @property
    def learning_rate(self) -> float:
        """Learning rate of the step in progress, until :meth:`count_step` ends it."""
        return self.setting.learning_rate(self.step)

    def count_step(self) -> None:
        """Count a finished step; hooks that use ``step`` call it at the end of ``after_step``."""
        self.kept["step"] += 1

    def scores(self, _model: nn.Module, /) -> FloatArray | None:
        """Return what training has learned, shape [C]; low is removed first.

        None: nothing beyond the weights; rank with :attr:`Sparsifier.criterion`.
        """
        return None

    def finish(self, model: nn.Module, /) -> None:
        """Turn ``model`` back into the ordinary module it was, in place.

        Called once, after ``fit`` and :meth:`scores`. Its outputs in evaluation mode stay, unless
        the sparsifier :attr:`~Sparsifier.freezes`. The default has nothing to do.
        """

    def state(self) -> Mapping[str, Tensor]:
        """Return what must survive a restart."""
        return self.kept

    def load_state(self, state: Mapping[str, Tensor], /) -> None:
        """Take back what :meth:`state` returned."""
        for name, tensor in self.kept.items():
            tensor.copy_(state[name])


@dataclass(frozen=True, kw_only=True)
class Sparsifier(ABC):
    """Makes channels removable while training; its fields are its configuration.

    Attributes:
        source: Where it comes from.
        criterion: Criterion that ranks channels afterwards where the hook has no scores of its own.
        comparable: Scores of different groups can be compared as they are.
        needs_norms: Every group must have a norm with a scale; if not, there is an error.
        freezes: Weights and statistics stay as they are while gates are learned, and ``finish``
            takes the gates away: the network that came in is given back, for the plan to prune.
    """

    source: ClassVar[Source]
    criterion: ClassVar[str] = "l2"
    comparable: ClassVar[bool] = False
    needs_norms: ClassVar[bool] = False
    freezes: ClassVar[bool] = False

    @abstractmethod
    def start(self, setting: Setting) -> SparseHook:
        """Return the hook of one training run."""


SPARSIFIERS: Registry[Callable[..., Sparsifier]] = Registry("sparsifier")
"""Name -> what builds the sparsifier; all its fields have defaults."""


def learned_scores(
    name: str, sparsifier: Sparsifier, hook: SparseHook, model: nn.Module
) -> Scores | None:
    """Return the scores of a hook as `sentei.allocate` takes them; None if it has none.

    Args:
        name: Of the sparsifier, for messages.
        sparsifier: What the hook was started from.
        hook: The hook after training, before ``finish``.
        model: The trained model.

    Raises:
        PruningError: A score is not finite.
    """
    with torch.no_grad():
        values = hook.scores(model)
    if values is None:
        return None
    graph = hook.setting.graph
    return Scores(
        criterion=name,
        by_group=split_by_group(graph, name, values),
        comparable=sparsifier.comparable,
    )


def must_stay(setting: Setting, scores_C: FloatArray) -> BoolArray:
    """Return the channels that the floor keeps: the highest scores of each group, shape [C].

    Where rows must stay equal, they are the highest of each row.
    """
    grid = make_grid(setting.graph, round_to=1, floor=setting.floor)
    stay = np.zeros(setting.graph.num_channels, dtype=np.bool_)
    for group, choices in zip(setting.graph.groups, grid.choices, strict=True):
        own = scores_C[group.first : group.first + group.width]
        order = lowest_first(group, own)[:, -(int(choices[0]) // group.num_rows) :]
        stay[group.first + order] = True
    return stay


def chosen_by(setting: Setting, scores: Scores, *, scope: str) -> BoolArray:
    """Return the channels that a plan for the budget would remove, shape [C].

    Args:
        setting: The budget and the floor.
        scores: Low is removed first.
        scope: Name of what orders the channels of different groups.

    Raises:
        BudgetError: The budget cannot be met.
        UnknownNameError: There is no such scope.
    """
    found = plan(
        setting.graph,
        scores,
        budget=setting.budget,
        scope=scope,
        floor=setting.floor,
        tolerance=0.1,  # what is chosen here shrinks; the plan proper follows after training
        costs=setting.costs,
    )
    return ~found.keep


def weight_scores(graph: Graph, criterion: str, model: nn.Module) -> FloatArray:
    """Return the scores of a criterion that needs weights alone, shape [C]."""
    by_group = score(graph, criterion, model=model).by_group
    return np.concatenate([by_group[g.name] for g in graph.groups])


def num_chosen(setting: Setting, criterion: str, model: nn.Module, *, scope: str) -> IntArray:
    """Return how many channels of each group a plan for the budget would remove, shape [G].

    Raises:
        BudgetError: The budget cannot be met.
        UnknownNameError: There is no such scope.
    """
    chosen = chosen_by(setting, score(setting.graph, criterion, model=model), scope=scope)
    return np.array(
        [chosen[g.first : g.first + g.width].sum() for g in setting.graph.groups], dtype=np.int64
    )


def lowest_of_each(graph: Graph, scores_C: FloatArray, counts_G: IntArray) -> BoolArray:
    """Return the channels with the lowest scores of every group, shape [C].

    Args:
        graph: The graph.
        scores_C: Low is chosen first.
        counts_G: How many of each group; where rows must stay equal, rounded down to whole ones.
    """
    chosen = np.zeros(graph.num_channels, dtype=np.bool_)
    for group, count in zip(graph.groups, counts_G, strict=True):
        own = scores_C[group.first : group.first + group.width]
        chosen[group.first + lowest(group, own, int(count) // group.num_rows)] = True
    return chosen


def chosen_lowest(sizes_C: FloatArray, chosen_C: BoolArray) -> FloatArray:
    """Return scores in the order of sizes, the chosen channels below all others, shape [C].

    Args:
        sizes_C: Numbers >= 0.
        chosen_C: True for what is to be removed first.
    """
    scores: FloatArray = np.where(chosen_C, sizes_C, sizes_C + sizes_C[chosen_C].max(initial=0.0))
    return scores


def cubic_growth(done: float) -> float:
    """Return :math:`1 - (1 - t)^3` of the share t >= 0 of a growth that is done, 1 from t = 1 on."""
    return 1 - (1 - min(1.0, done)) ** 3


def check_at_least(owner: object, name: str, lowest: float, *, strict: bool = False) -> None:
    """Refuse a field below a bound.

    Args:
        owner: The plug-in that has the field.
        name: The field.
        lowest: The bound.
        strict: The bound itself is refused too.

    Raises:
        ValueError: The field is below it, or not finite.
    """
    value = getattr(owner, name)
    if not lowest <= value < float("inf") or (strict and value == lowest):
        raise ValueError(
            f"{type(owner).__name__}: {name}={value}; expected a finite number "
            f"{'>' if strict else '>='} {lowest:g}"
        )


def check_criterion(owner: object, name: str) -> None:
    """Refuse a criterion that needs more than weights.

    Args:
        owner: The plug-in that has it as a field.
        name: Of the criterion.

    Raises:
        ValueError: It needs images.
        UnknownNameError: There is no such criterion.
    """
    if CRITERIA[name]().needs is not Needs.NOTHING:
        raise ValueError(
            f"{type(owner).__name__}: criterion {name!r} needs images; expected one that looks at "
            "weights alone, such as 'l2' or 'fpgm'"
        )
