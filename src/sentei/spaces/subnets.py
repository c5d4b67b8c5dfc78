"""Subnetworks on their way through a study: members of populations, jobs, rows of results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sentei.engine import Job, Store

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One recipe of a population.

    Attributes:
        facts: What is known of it before any evaluation, JSON values: ``subnet``, ``network``,
            ``regime``, ``space``, ``sampler``, ``stratum``, ``weight``, ``widths`` by group name,
            ``macs_left``, ``params_left``, ``ratio``, ``std``, ``mean``, ``stage_means``; of a
            population ``log_share``, that of its space in the regime, and ``slabs``, what it keeps to.
    """

    facts: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One evaluation of a member that a study wants.

    Attributes:
        member: The recipe.
        epochs: Epochs of training after pruning, >= 0.
        replicate: Number of the repetition, >= 0.
        weights: ``"kept"`` or ``"new"``; None is as the protocol of the study has it.
        ranking: ``"criterion"`` or ``"random"``; None likewise.
        supernet: Start from the shared weights of the study.
        zero_cost: Name of the score that is computed instead of a validation, or None.
    """

    member: Member
    epochs: int = 0
    replicate: int = 0
    weights: str | None = None
    ranking: str | None = None
    supernet: bool = False
    zero_cost: str | None = None

    @property
    def spec(self) -> dict[str, Any]:
        """Fields of the evaluator's job; recipes of equal widths share it."""
        return {
            "widths": dict(self.member.facts["widths"]),
            "epochs": self.epochs,
            "replicate": self.replicate,
            "weights": self.weights or "kept",
            "ranking": self.ranking or "criterion",
            **({"supernet": True} if self.supernet else {}),
            **({"zero_cost": self.zero_cost} if self.zero_cost else {}),
        }

    @property
    def job(self) -> Job:
        """The job of this evaluation."""
        facts = self.member.facts
        return Job(self.spec, label=f"{facts['regime']:g} {facts['space']}")


def in_order_of_widths(wishes: Iterable[Wish]) -> list[Wish]:
    """Return wishes, those that neither train nor score last and by their widths, the first group's first.

    One after another, they have as many first activations in common as they can.
    """

    def place(wish: Wish) -> tuple[Any, ...]:
        if wish.epochs or wish.zero_cost:
            return ()
        spec = wish.spec
        how = (wish.supernet, spec["weights"], spec["ranking"], wish.replicate)
        return (*how, *spec["widths"].values())

    return sorted(wishes, key=place)


def rows_of(wishes: Iterable[Wish], store: Store, dense: Mapping[str, float]) -> list[Row]:
    """Return one row for each wish that has a result, in their order.

    Args:
        wishes: What the study wants.
        store: Holds the results.
        dense: ``val_accuracy`` and ``accuracy`` (on test) of the dense network, in [0, 1].

    Returns:
        Rows: the facts, the specification, the result of the job, and ``drop`` and ``test_drop``
        in percentage points (None where val or test was not read).
    """
    results = store.results()
    # A population may hold a recipe twice: it then counts once.
    unique = {(wish.member.facts["space"], wish.job.key): wish for wish in wishes}
    return [
        _row(wish, results[key].value, dense) for (_, key), wish in unique.items() if key in results
    ]


def _row(wish: Wish, result: Row, dense: Mapping[str, float]) -> Row:
    val, test = result["val_accuracy"], result["test_accuracy"]
    return {
        **wish.member.facts,
        **wish.spec,
        "supernet": wish.supernet,
        "zero_cost": wish.zero_cost,
        **result,
        "drop": None if val is None else 100 * (dense["val_accuracy"] - val),
        "test_drop": None if test is None else 100 * (dense["accuracy"] - test),
    }


def choose(rows: Sequence[Row], **wanted: Any) -> list[Row]:  # noqa: ANN401 - JSON values
    """Return the rows whose fields have the wanted values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]
