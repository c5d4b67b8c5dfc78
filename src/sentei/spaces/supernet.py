"""One set of weights that all subnetworks share: trained by the sandwich rule, sliced when judged."""

# Shapes: G = groups, N = images, K = classes.

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sentei.allocate import plan_widths
from sentei.allocate.grid import make_grid
from sentei.criteria import Scores
from sentei.graph import Graph
from sentei.index.atoms import IntArray
from sentei.methods.task import Phase, Task
from sentei.surgery import apply
from sentei.surgery.slicer import Slicer
from sentei.train import EpochRecord, Hook
from sentei.train.checkpoint import check_same_tensors, read_state, write_state
from sentei.train.distill import distillation_loss, widen
from sentei.train.ema import model_tensors

FOLDER = "supernet"


class Supernet(nn.Module):
    """A network that in training mode also teaches its own subnetworks, narrow and random.

    A call in training mode returns the logits of the whole network and leaves in ``distilled`` how
    far the others are from them, added up: the smallest, and ``num_random`` whose widths are drawn
    group by group, uniformly. Their weights are slices of the whole ones, so that gradients add up
    there; their running statistics are thrown away, and must be measured for each one judged.

    Source: Yu and Huang, Universally Slimmable Networks, ICCV 2019, arXiv:1903.05134 (sandwich
    rule, distillation in place). *Difference*: groups have widths of their own, and the channels
    that stay are those of the highest scores of the trained network, not the first ones; where the
    scores are those that rank channels later, every subnetwork is one that was trained.

    Args:
        model: The network; shared, not copied.
        graph: Traced from it, or from one of the same shapes.
        scores: Which channels stay at every width.
        floor: Least share of a group that stays, in (0, 1].
        num_random: Random subnetworks a step, >= 0; their widths come from torch's default
            generator, which a training seeds and keeps with its state.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: Graph,
        *,
        scores: Scores,
        floor: float = 0.1,
        num_random: int = 2,
    ) -> None:
        super().__init__()
        if not 0 < floor <= 1 or num_random < 0:
            raise ValueError(
                f"floor={floor} and num_random={num_random}; give a floor in (0, 1] and at least 0"
            )
        self.model = model
        self.graph = graph
        self.scores = scores
        self.num_random = num_random
        self.distilled: Tensor | None = None
        self._choices = make_grid(graph, round_to=1, floor=floor).choices

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, ...] to the logits [N, K] of the whole network."""
        logits_NK: Tensor = self.model(images)
        if self.training:
            teacher_NK = widen(logits_NK.detach())
            losses = [
                distillation_loss(
                    widen(self.call_subnetwork(widths_G, images)), teacher_NK, temperature=1.0
                )
                for widths_G in self._draw()
            ]
            self.distilled = torch.stack(losses).sum()
        return logits_NK

    def call_subnetwork(self, widths_G: IntArray, images: Tensor) -> Tensor:
        """Return the logits of a subnetwork; gradients reach the shared weights.

        Raises:
            PruningError: A group cannot have its width.
        """
        plan = plan_widths(self.graph, self.scores, widths_G)
        slicer = Slicer(plan)
        shared = {
            name: _take(parameter, name, slicer) if name in self.graph.layouts else parameter
            for name, parameter in self.model.named_parameters()
        }
        small = apply(plan, self.model)
        logits_NK: Tensor = torch.func.functional_call(small, shared, (images,))
        return logits_NK

    def _draw(self) -> Iterator[IntArray]:
        """Yield the smallest widths, then random ones."""
        yield np.array([own[0] for own in self._choices])
        for _ in range(self.num_random):
            yield np.array([own[int(torch.randint(len(own), ()))] for own in self._choices])


class Sandwich(Hook):
    """Adds to the loss of a :class:`Supernet` what its subnetworks lose."""

    def penalty(self, model: nn.Module, /) -> Tensor | None:
        """Return the distillation losses of the last forward pass, added up."""
        found: Tensor | None = vars(model)["distilled"]
        return found


def train_supernet(
    task: Task, graph: Graph, *, scores: Scores, floor: float = 0.1, num_random: int = 2
) -> tuple[nn.Module, tuple[EpochRecord, ...]]:
    """Return a copy of the task's network whose slices are subnetworks that work, and the curve.

    A step costs about as much as one of the whole network, plus those of its subnetworks.

    Args:
        task: Network, images and the recipe, whose epochs are all spent on this.
        graph: Of the network.
        scores: Which channels stay at every width.
        floor: Least share of a group that stays, in (0, 1].
        num_random: Random subnetworks a step, >= 0.

    Raises:
        TrainingError: Training fails; the message says why.
        ValueError: A number is out of range.
    """
    model = copy.deepcopy(task.model)
    supernet = Supernet(model, graph, scores=scores, floor=floor, num_random=num_random)
    phase = Phase(name="supernet", epochs=task.recipe.epochs, hooks=[Sandwich()])
    curve = task.train(supernet, phase)
    return model.eval(), curve


def save_supernet(model: nn.Module, directory: Path) -> None:
    """Write shared weights into ``directory/supernet``, beside the base network."""
    write_state(directory / FOLDER, model_tensors(model), {})


@torch.no_grad()
def load_supernet(base: nn.Module, directory: Path) -> nn.Module | None:
    """Return a copy of ``base`` with the shared weights of a study; None if there are none.

    Raises:
        CheckpointError: They are torn, altered, or of another network.
    """
    found = read_state(directory / FOLDER)
    if found is None:
        return None
    model = copy.deepcopy(base)
    own = model_tensors(model)
    check_same_tensors(directory / FOLDER, found[0], own)
    for name, tensor in own.items():
        tensor.copy_(found[0][name])
    return model.eval()


def _take(parameter: Tensor, name: str, slicer: Slicer) -> Tensor:
    """Return what stays of a parameter, for gradients to flow through."""
    numbers = torch.arange(parameter.numel(), device=parameter.device).view(parameter.shape)
    kept = slicer.cut(numbers, name)
    return parameter if kept is numbers else parameter.take(kept)
