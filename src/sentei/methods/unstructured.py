"""Single weights instead of channels: the contrast that shows what structure is for."""

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sentei.cost import measure
from sentei.cost.uses import weight_uses
from sentei.errors import BudgetError, UnknownNameError
from sentei.methods.base import BASELINE, METHODS, Card, Method, Outcome
from sentei.methods.task import Phase, Stopwatch, Task
from sentei.registry import did_you_mean
from sentei.train import Hook

Masks = Mapping[str, Tensor]
"""Name of a weight -> which of its elements stay, bool tensors of its shape."""


class KeepZero(Hook):
    """Sets removed weights to zero after every step.

    Args:
        masks: Which elements of each weight stay.
    """

    def __init__(self, masks: Masks) -> None:
        self.masks = masks

    @torch.no_grad()
    def after_step(self, model: nn.Module, /) -> None:
        """Set what was removed to zero again."""
        for name, mask in self.masks.items():
            weight = model.get_parameter(name)
            weight.mul_(mask.to(weight.device))


@dataclass(frozen=True, kw_only=True)
class WeightMagnitude(Method):
    """Sets the smallest weights of the whole network to zero, until sparse multiply-adds fit.

    The network keeps its shapes: dense hardware gains nothing. Its cost is counted as if zero
    weights cost nothing, which is what such methods report.

    Source: Han et al., NeurIPS 2015, arXiv:1506.02626; as global magnitude in Blalock et al.,
    ShrinkBench, MLSys 2020, arXiv:2003.03033.
    Difference: one threshold for all weights of convolutions and linear layers, one shot.
    """

    limits_only: ClassVar[tuple[str, ...]] = ("macs",)

    def run(self, task: Task) -> Outcome:
        """Return the network with zeros; see :meth:`Method.run`."""
        watch = Stopwatch()
        model = copy.deepcopy(task.model).eval()
        with watch("score"):
            uses = weight_uses(model, task.inputs[:1])
            if tuple(task.budget.limits) != self.limits_only:
                raise BudgetError(
                    "single weights are removed for a limit of macs alone, found one of "
                    f"{' and '.join(task.budget.limits)}; give macs=0.5, or choose a method that "
                    "removes channels"
                )
            target = task.budget.limits["macs"]
            dense = measure(model, task.inputs[:1]).macs
            limit = target * dense if target <= 1 else target
            whole = protected(model, task.protect)
            masks, left = smallest_weights(model, uses, limit=limit, whole=whole)
            hook = KeepZero(masks)
            hook.after_step(model)
            task.recalibrate(model)
            judged = task.validate(model)
        with watch("recover"):
            phase = Phase(name="recover", epochs=task.recipe.epochs, hooks=[hook])
            curve = task.train(model, phase)
            task.recalibrate(model)
        kept = sum(int(m.sum()) for m in masks.values())
        return Outcome(
            model=model,
            widths={},
            verification=None,
            curve=curve,
            seconds=watch.seconds,
            before_recovery=judged,
            density=kept / sum(m.numel() for m in masks.values()),
            sparse_macs=left,
            notes=("single weights are zero; a dense runtime gains nothing",),
        )


def protected(model: nn.Module, names: Sequence[str]) -> set[str]:
    """Return the parameters that are named, or are inside of modules that are.

    Raises:
        UnknownNameError: A name is neither a module nor a parameter.
    """
    parameters = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    known = [*parameters, *(name for name, _ in model.named_modules())]
    for name in names:
        if name not in known:
            raise UnknownNameError(
                f"cannot protect {name!r}: the model has no such module or parameter."
                f"{did_you_mean(name, known)}"
            )
    return {p for p in parameters for n in names if not n or p == n or p.startswith(f"{n}.")}


def smallest_weights(
    model: nn.Module, uses: Mapping[str, int], *, limit: float, whole: Collection[str] = ()
) -> tuple[dict[str, Tensor], int]:
    """Return which elements stay when the smallest go until multiply-adds are at most ``limit``.

    Args:
        model: The network.
        uses: Multiply-adds of one element of each weight, by name.
        limit: Multiply-adds that may be left.
        whole: Names of weights that keep all their elements.

    Returns:
        The masks, and the multiply-adds left.

    Raises:
        BudgetError: The weights that stay whole cost more than the limit.
    """
    names = list(uses)
    sizes = np.concatenate(
        [model.get_parameter(n).detach().abs().double().flatten().cpu().numpy() for n in names]
    )
    counts = [model.get_parameter(n).numel() for n in names]
    costs = np.repeat([uses[n] for n in names], counts)
    may_go = np.repeat([n not in whole for n in names], counts)
    order = np.argsort(sizes, kind="stable")
    order = order[may_go[order]]
    left = int(costs.sum()) - np.cumsum(costs[order])
    fits = left <= limit
    if not fits.any():
        raise BudgetError(
            f"macs: a limit of {limit:.0f} cannot be met: {costs[~may_go].sum()} are those of the "
            "protected weights; raise the limit, or protect less"
        )
    num_gone = int(np.argmax(fits)) + 1
    keep = np.ones(len(sizes), dtype=np.bool_)
    keep[order[:num_gone]] = False
    parts = np.split(keep, np.cumsum(counts)[:-1])
    shapes = [model.get_parameter(n).shape for n in names]
    masks = {n: torch.from_numpy(p).view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
    return masks, int(costs[keep].sum())


METHODS.register("weight-magnitude")(
    WeightMagnitude(
        card=Card(
            summary="Smallest single weights of the whole network set to zero",
            section=BASELINE,
            paper="Blalock et al., What is the State of Neural Network Pruning?",
            year=2020,
            venue="MLSys",
            arxiv="2003.03033",
            granularity="weight",
        )
    )
)
