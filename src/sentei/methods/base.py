"""What a method is: a published procedure with its place in the survey, run on a task."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from torch import nn

from sentei.methods.task import Task
from sentei.registry import Registry
from sentei.surgery import Verification
from sentei.train import EpochRecord, Evaluation

Needs = Literal["nothing", "images", "labels", "training"]
When = Literal["before training", "during training", "after training", "at run time"]

BASELINE = "baseline"
SECTIONS: Mapping[str, str] = {
    BASELINE: "Baselines",
    "2.1": "Weight-dependent",
    "2.1.1": "Filter norm",
    "2.1.2": "Filter correlation",
    "2.2": "Activation-based",
    "2.2.1": "Current layer",
    "2.2.2": "Adjacent layer",
    "2.2.3": "All layers",
    "2.3": "Regularization",
    "2.3.1": "On batch norm parameters",
    "2.3.2": "On extra parameters",
    "2.3.3": "On filters",
    "2.4": "Optimization tools",
    "2.4.1": "Taylor expansion",
    "2.4.2": "Variational Bayesian",
    "2.4.3": "Other tools",
    "2.5": "Dynamic pruning",
    "2.5.1": "During training",
    "2.7": "Extensions",
    "2.7.1": "Lottery ticket hypothesis",
    "2.7.2": "Joint compression",
}
"""Sections of the survey of He and Xiao (arXiv:2303.00566) that methods belong to, in its order."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a reader should know of a method before running it.

    Attributes:
        summary: What it does, in one line.
        section: Of the survey, a key of :data:`SECTIONS`.
        paper: Authors and short title, or "" for a baseline.
        year: Of publication, or None.
        venue: Of publication, or "".
        arxiv: Number there, or None.
        needs: The most it needs: nothing but weights, images, labels too, or training.
        when: When it acts.
        cost: What it costs beside the recovery, in words.
        granularity: What is removed.

    Raises:
        ValueError: a field is not one of its values.
    """

    summary: str
    section: str
    paper: str = ""
    year: int | None = None
    venue: str = ""
    arxiv: str | None = None
    needs: Needs = "nothing"
    when: When = "after training"
    cost: str = "one pass over the weights"
    granularity: Literal["channel", "weight"] = "channel"

    def __post_init__(self) -> None:
        allowed = (
            ("section", SECTIONS),
            ("needs", get_args(Needs)),
            ("when", get_args(When)),
        )
        for name, values in allowed:
            if getattr(self, name) not in values:
                raise ValueError(
                    f"{name}={getattr(self, name)!r}; expected one of {', '.join(values)}"
                )


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What a method leaves.

    Attributes:
        model: The network, trained; ordinary, and smaller unless single weights were removed.
        widths: Channels each group keeps, by group name; empty where no channels were removed.
        verification: How near surgery was to the masked network; None where nothing was cut.
        curve: One record for each epoch spent, in order; its phases say on what.
        seconds: Wall time by phase: ``sparse`` (training before the removal), ``score`` (ranking,
            widths, surgery, compensation) and ``recover``.
        before_recovery: On the validation images, norms measured anew, before the recovery.
        density: Share of the weights of convolutions and linear layers that are not zero, in
            (0, 1]; 1 where channels were removed.
        sparse_macs: Multiply-adds for one sample if zero weights cost nothing; None where
            channels were removed, for then the network shows them itself.
        notes: What a reader should know.
    """

    model: nn.Module = field(repr=False)
    widths: Mapping[str, int]
    verification: Verification | None
    curve: tuple[EpochRecord, ...]
    seconds: Mapping[str, float]
    before_recovery: Evaluation
    density: float = 1.0
    sparse_macs: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A procedure that takes a trained network to a smaller one.

    A method is a composition: it has no training loop, tracer or counter of its own.

    Attributes:
        card: Its place in the survey and what it asks for.
    """

    card: Card

    limits_only: ClassVar[tuple[str, ...]] = ()
    """Costs whose limits it can meet; empty is all."""

    @abstractmethod
    def run(self, task: Task) -> Outcome:
        """Return the smaller network and what it took.

        Raises:
            PruningError: The method cannot work on this network or data; the message names one
                that would.
            BudgetError: The budget cannot be met.
        """


METHODS: Registry[Method] = Registry("method")
"""Name -> method."""
