"""A method as a composition: train sparse, rank, choose widths, cut, compensate, recover."""

# Shapes: G = groups.

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from torch import nn

from sentei.allocate import allocate, plan_widths
from sentei.allocate.base import Scope
from sentei.allocate.global_ import Global
from sentei.compensate import Compensation, Removal
from sentei.cost import CostModel, measure
from sentei.criteria import Criterion, Scores, score
from sentei.graph import Graph, trace
from sentei.index.atoms import IntArray
from sentei.methods.base import Method, Outcome
from sentei.methods.scratch import reset_parameters
from sentei.methods.task import Phase, Stopwatch, Task
from sentei.search import Problem, Searcher
from sentei.seeding import derive_seed
from sentei.sparsify import Setting, Sparsifier, learned_scores
from sentei.surgery import Verification, apply, verify
from sentei.train import EpochRecord, Evaluation

SCRATCH_LIMIT = 2.0  # training from scratch gets at most this many times the epochs


@dataclass(frozen=True, kw_only=True)
class Composition(Method):
    """Removes whole channels.

    The epochs of the recipe are all it may spend: a share on sparse training, the rest on the
    recovery, in equal parts where there are several rounds.

    Attributes:
        criterion: Ranks channels; not asked where sparse training has ranked them.
        scope: Orders channels of different groups.
        searcher: Chooses widths by trying, instead of the scope; None does not.
        sparsifier: What happens while training before the removal; None trains not.
        sparse_share: Share of the epochs that sparse training gets, in (0, 1].
        compensation: What makes up for removed channels in the weights that stay.
        rounds: Rounds of removal and recovery, >= 1, budgets between falling by equal factors; no
            more than the recovery has epochs; 1 with a searcher. The floor of a task is a share
            of the widths before the first round.
        weights: Weights the recovery starts from: those that stay, or new ones, trained for as
            many epochs (``"new"``) or for as many multiply-adds (``"new-same-compute"``, at most
            twice the epochs).

    Raises:
        ValueError: ``rounds`` or ``sparse_share`` is out of range, or a searcher has several
            rounds.
    """

    criterion: Criterion
    scope: Scope = field(default_factory=Global)
    searcher: Searcher | None = None
    sparsifier: Sparsifier | None = None
    sparse_share: float = 0.5
    compensation: Compensation | None = None
    rounds: int = 1
    weights: Literal["kept", "new", "new-same-compute"] = "kept"

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"rounds={self.rounds}; give at least 1")
        if self.rounds > 1 and self.searcher is not None:
            raise ValueError(
                f"rounds={self.rounds} with a searcher, which takes the floor for a share of the "
                "widths it is given; give rounds=1, or a scope instead of the searcher"
            )
        if not 0 < self.sparse_share <= 1:
            raise ValueError(f"sparse_share={self.sparse_share}; give a share in (0, 1]")

    def run(self, task: Task) -> Outcome:
        """Return the smaller network; see :meth:`Method.run`."""
        watch = Stopwatch()
        model = copy.deepcopy(task.model).eval()
        before, after = task.split_epochs(self.sparse_share if self.sparsifier else 0.0)
        parts = self._parts(after)
        curve: list[EpochRecord] = []
        learned = None
        if self.sparsifier is not None:
            with watch("sparse"):
                learned = self._train_sparse(model, task, before, curve)
        dense = asdict(measure(task.model, task.inputs[:1]))
        dense_widths = _widths(model, task)
        done: list[_Cut] = []
        for number, epochs in enumerate(parts, start=1):
            with watch("score"):
                budget = task.budget.between(dense, step=number, steps=len(parts))
                done.append(
                    self._cut(
                        model,
                        replace(task, budget=budget),
                        learned=learned,
                        dense_widths=dense_widths,
                    )
                )
                model = done[-1].model
            with watch("recover"):
                phase = Phase(
                    name=f"recover {number}" if len(parts) > 1 else "recover",
                    epochs=self._recovery_epochs(model, task, epochs, dense["macs"]),
                    first_epoch=len(curve),
                )
                curve += task.train(model, phase)
                task.recalibrate(model)
            learned = None
        return Outcome(
            model=model,
            widths=done[-1].widths,
            verification=done[-1].verification,
            curve=tuple(curve),
            seconds=watch.seconds,
            before_recovery=done[-1].judged,
            notes=done[-1].notes,
        )

    def _parts(self, epochs: int) -> list[int]:
        """Return the epochs of the recovery after each round, the odd ones last."""
        rounds = max(1, min(self.rounds, epochs))
        each = epochs // rounds
        return [*[each] * (rounds - 1), epochs - each * (rounds - 1)]

    def _train_sparse(
        self, model: nn.Module, task: Task, epochs: int, curve: list[EpochRecord]
    ) -> Scores | None:
        """Train ``model`` in place with the sparsifier; return what it learned about channels."""
        assert self.sparsifier is not None
        graph = trace(model, task.inputs, protect=task.protect)
        phase = Phase(name="sparse", epochs=epochs)
        hook = self.sparsifier.start(
            Setting(
                graph=graph,
                costs=CostModel.of(graph),
                budget=task.budget,
                config=task.config(phase),
                steps_per_epoch=task.steps_per_epoch,
                floor=task.floor,
            )
        )
        curve += task.train(model, replace(phase, hooks=[hook]))
        model.eval()
        scores = learned_scores("sparse training", self.sparsifier, hook, model)
        hook.finish(model)
        return scores

    def _cut(
        self,
        model: nn.Module,
        task: Task,
        *,
        learned: Scores | None,
        dense_widths: Mapping[str, int],
    ) -> "_Cut":
        """Rank, choose widths, remove, verify, compensate and judge; ``model`` stays."""
        graph = trace(model, task.inputs, protect=task.protect)
        criterion = self.criterion.seeded(derive_seed(task.seed, "criterion"))
        scores = learned or score(graph, criterion, batches=task.calibration)
        widths, notes = self._choose_widths(graph, scores, task, dense_widths=dense_widths)
        plan = plan_widths(graph, scores, widths)
        small = apply(plan, model)
        verification = verify(model, small, plan, task.inputs)
        if self.compensation is not None:
            removal = Removal(model=model, plan=plan, batches=task.calibration, seed=task.seed)
            self.compensation.compensate(small, removal)
        if self.weights != "kept":
            reset_parameters(small, seed=derive_seed(task.seed, "scratch"))
        task.recalibrate(small)
        names = [g.name for g in graph.groups]
        return _Cut(
            model=small,
            judged=task.validate(small),
            widths=dict(zip(names, widths.tolist(), strict=True)),
            verification=verification,
            notes=(*scores.notes, *notes),
        )

    def _choose_widths(
        self, graph: Graph, scores: Scores, task: Task, *, dense_widths: Mapping[str, int]
    ) -> tuple[IntArray, tuple[str, ...]]:
        costs = CostModel.of(graph)
        if self.searcher is not None:
            problem = Problem(
                graph=graph,
                scores=scores,
                costs=costs,
                budget=task.budget,
                floor=task.floor,
                tolerance=task.tolerance,
                round_to=task.round_to,
                evaluate=_Judge(graph, scores, task),
                seed=derive_seed(task.seed, "search"),
            )
            return self.searcher.search(problem), ()
        found = allocate(
            graph,
            scores,
            budget=task.budget,
            scope=self.scope,
            round_to=task.round_to,
            floor=task.floor,
            tolerance=task.tolerance,
            costs=costs,
            dense_widths=dense_widths,
        )
        return found.widths, found.notes

    def _recovery_epochs(self, model: nn.Module, task: Task, epochs: int, dense: int) -> int:
        if self.weights != "new-same-compute":
            return epochs
        return round(epochs * min(SCRATCH_LIMIT, dense / measure(model, task.inputs[:1]).macs))


def _widths(model: nn.Module, task: Task) -> dict[str, int]:
    """Return the number of channels of every group."""
    return {g.name: g.width for g in trace(model, task.inputs, protect=task.protect).groups}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cut:
    model: nn.Module
    widths: dict[str, int]
    verification: Verification
    judged: Evaluation
    notes: tuple[str, ...]


class _Judge:
    """Evaluates candidates of a search: cut, norms measured anew, perhaps trained, validated."""

    def __init__(self, graph: Graph, scores: Scores, task: Task) -> None:
        self.graph, self.scores, self.task = graph, scores, task

    def __call__(self, widths: IntArray, *, num_steps: int = 0) -> float:
        small = apply(plan_widths(self.graph, self.scores, widths), self.graph.model)
        self.task.recalibrate(small)
        if num_steps:
            self.task.train(small, Phase(name="candidate", epochs=1, num_steps=num_steps))
        return self.task.validate(small).accuracy
