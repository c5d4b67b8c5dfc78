"""Prune: all stages in one call, for a model in memory."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from torch import Tensor, nn

from sentei.allocate import Budget
from sentei.cost import Counts, measure
from sentei.criteria import Criterion
from sentei.pipeline.config import (
    DEFAULT_CRITERION,
    DEFAULT_FLOOR,
    DEFAULT_SCOPE,
    DEFAULT_TOLERANCE,
)
from sentei.pipeline.rounds import Selection, prune_round
from sentei.surgery import Plan, Verification
from sentei.train import EpochRecord, RunOptions, TrainConfig, fit, recalibrate_batch_norm
from sentei.train.checks import Batches

CALIBRATION_IMAGES = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Pruned:
    """A smaller network, and how it came about.

    Attributes:
        model: The network; an ordinary module of the class it had.
        plan: What went.
        verification: How near it was to the masked original, before any training.
        before: Costs of the original for one sample.
        after: Costs of the smaller one.
        curve: One record for each epoch of recovery.
        notes: What a reader should know of the allocation.
    """

    model: nn.Module = field(repr=False)
    plan: Plan
    verification: Verification
    before: Counts
    after: Counts
    curve: tuple[EpochRecord, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        def change(name: str) -> str:
            old, new = getattr(self.before, name), getattr(self.after, name)
            return f"{name}: {old:,} -> {new:,} ({new / old:.1%})"

        return "\n".join(
            [
                str(self.plan).splitlines()[0],
                change("macs"),
                change("num_parameters"),
                f"equal to the masked original within {self.verification.output_error:.1e}",
                *self.notes,
            ]
        )


def prune(  # noqa: PLR0913  (one verb of the public interface; everything after inputs is named)
    model: nn.Module,
    inputs: Any,  # noqa: ANN401 - whatever the model takes
    *,
    budget: Budget | str,
    criterion: str | Criterion = DEFAULT_CRITERION,
    scope: str = DEFAULT_SCOPE,
    round_to: int | None = None,
    floor: float = DEFAULT_FLOOR,
    tolerance: float = DEFAULT_TOLERANCE,
    protect: Iterable[str] = (),
    data: Batches | None = None,
    recover: TrainConfig | None = None,
) -> Pruned:
    """Return a smaller network that meets a budget: trace, score, plan, apply, verify, recover.

    The model itself is not changed.

    Args:
        model: Any module.
        inputs: Example inputs: a tensor, a tuple (positional) or a dict (keyword arguments).
        budget: What the result may cost, such as ``"macs=0.5"``.
        criterion: How important a channel is; ``auto`` is ``fisher`` where images have classes, else
            ``l1``.
        scope: How channels of different groups are compared.
        round_to: Widths become multiples of it, >= 1; None takes the largest of 16, 8 and 4 with
            which the budget can be met.
        floor: Share of each group that always stays, in (0, 1].
        tolerance: How far below its limit the budgeted cost may end, relative, in [0, 1).
        protect: Names of modules or parameters that stay whole, what they read included; name a
            bias or a norm to keep only what a convolution produces.
        data: Training batches (images, labels). The criterion looks at the first 256 images, and
            the batch norms of the result are measured on them anew.
        recover: How to train the result on the data; None does not.

    Raises:
        PruningError: the model cannot be traced, the budget not met, or the result is not what
            the masked original computes; the message says why.
        TypeError: the model or the budget is something else.
        ValueError: a number is out of its range, or ``recover`` is given without ``data``.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 8, 3))
        >>> pruned = prune(model, torch.randn(1, 3, 8, 8), budget="macs=0.5")
        >>> pruned.after.macs / pruned.before.macs
        0.5
    """
    if recover is not None and data is None:
        raise ValueError(
            "recover needs data to train on; pass data=..., batches of (images, labels)"
        )
    done = prune_round(
        model,
        inputs,
        budget=Budget.of(budget),
        selection=Selection(
            criterion=criterion,
            scope=scope,
            round_to=round_to,
            floor=floor,
            tolerance=tolerance,
            protect=tuple(protect),
        ),
        batches=None if data is None else _first(data),
    )
    curve: tuple[EpochRecord, ...] = ()
    if data is not None:
        curve = _restore(done.model, data, recover)
    return Pruned(
        model=done.model,
        plan=done.plan,
        verification=done.verification,
        before=measure(model, inputs),
        after=measure(done.model, inputs),
        curve=curve,
        notes=done.allocation.notes,
    )


def _first(data: Batches) -> list[tuple[Tensor, Tensor]]:
    """Return as many first batches as make up 256 images."""
    size = max(1, len(next(iter(data), ((),))[0]))
    return list(islice(data, -(-CALIBRATION_IMAGES // size)))


def _restore(
    model: nn.Module, data: Batches, recover: TrainConfig | None
) -> tuple[EpochRecord, ...]:
    """Measure batch norms anew, train if that is wanted; change the model in place."""
    device = next(model.parameters()).device
    curve: tuple[EpochRecord, ...] = ()
    recalibrate_batch_norm(model, data, device=device)
    if recover is not None:
        options = RunOptions(device=device)
        curve = fit(model, data, config=recover, options=options).curve
        recalibrate_batch_norm(model, data, device=device)
    return curve
