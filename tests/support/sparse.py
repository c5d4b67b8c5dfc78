"""Short sparse training runs on digits, in float64."""

from dataclasses import dataclass
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from sentei.allocate import Budget
from sentei.cost import CostModel
from sentei.graph import Graph, trace
from sentei.index.atoms import BoolArray
from sentei.models.digits_cnn import DigitsCNN
from sentei.sparsify import Setting, SparseHook, Sparsifier, learned_scores
from sentei.sparsify.base import chosen_by
from sentei.train import Hook, RunOptions, TrainConfig, fit

CONFIG = TrainConfig(epochs=3, learning_rate=0.05, nesterov=False, seed=3)


def digit_batches(count: int = 5) -> list[tuple[Tensor, Tensor]]:
    """Return batches of 32 digits: images [32, 1, 8, 8] in [0, 1], float64, and labels [32]."""
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images[: 32 * count] / 16).view(count, 32, 1, 8, 8)
    return list(zip(images, torch.tensor(labels[: 32 * count]).view(count, 32), strict=True))


def digits_net(seed: int = 0) -> DigitsCNN:
    """Return the small residual network, float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DigitsCNN(num_classes=10, in_channels=1).double()


class BareNet(nn.Module):
    """No norm at all: two convolutions and two linear layers; [N, 1, 8, 8] -> [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv1 = nn.Conv2d(1, 6, 3, padding=1)
            self.conv2 = nn.Conv2d(6, 8, 3, stride=2)
            self.linear1 = nn.Linear(8, 12)
            self.linear2 = nn.Linear(12, 10)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.conv2(nn.functional.relu(self.conv1(x))))
        return self.linear2(nn.functional.relu(self.linear1(x.mean((2, 3)))))


def setting_for(
    graph: Graph, *, config: TrainConfig = CONFIG, steps_per_epoch: int = 5, macs: float = 0.5
) -> Setting:
    """Return a setting for a graph."""
    return Setting(
        graph=graph,
        costs=CostModel.of(graph),
        budget=Budget(macs=macs),
        config=config,
        steps_per_epoch=steps_per_epoch,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A network after sparse training, before ``finish``."""

    model: nn.Module
    graph: Graph
    hook: SparseHook


class Stop(Hook):
    """Stops the run by an exception after a number of steps; 0 never does."""

    def __init__(self, after: int) -> None:
        self.left = after

    def after_step(self, _model: nn.Module) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def train_sparse(
    sparsifier: Sparsifier,
    model: nn.Module,
    *,
    config: TrainConfig = CONFIG,
    checkpoint_dir: Path | None = None,
    stop_after: int = 0,
) -> Trained:
    """Train ``model`` in place on digits and return it with its hook."""
    graph = trace(model.eval(), torch.zeros(2, 1, 8, 8, dtype=torch.float64))
    hook = sparsifier.start(setting_for(graph, config=config))
    options = RunOptions(hooks=(hook, Stop(stop_after)), checkpoint_dir=checkpoint_dir)
    fit(model, digit_batches(), config=config, options=options)
    return Trained(model=model, graph=graph, hook=hook)


def penalty_of(hook: SparseHook, model: nn.Module) -> Tensor:
    """Return the penalty of a hook that has one."""
    penalty = hook.penalty(model)
    assert penalty is not None
    return penalty


def planned_removal(name: str, sparsifier: Sparsifier, trained: Trained) -> BoolArray:
    """Return the channels that a plan over all groups removes by what training has learned."""
    scores = learned_scores(name, sparsifier, trained.hook, trained.model)
    assert scores is not None
    return chosen_by(trained.hook.setting, scores, scope="global")
