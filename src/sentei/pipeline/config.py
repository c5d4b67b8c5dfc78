"""Everything that decides a run, as one frozen value."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sentei.allocate import Budget
from sentei.train import TrainConfig

DEFAULT_CRITERION = "auto"
DEFAULT_SCOPE = "cost-aware"
DEFAULT_FLOOR = 0.1
DEFAULT_TOLERANCE = 0.005


@dataclass(frozen=True, kw_only=True)
class LatencyConfig:
    """How the networks are timed, in turns, before and after.

    Args:
        runtimes: Names of runtimes; () times nothing.
        batch_size: Images of a batch, >= 1.
        threads: Processor threads of one run, >= 1.
        min_runs: Timed runs of each network, >= 10.
        max_seconds: Seconds each network has in each runtime, > 0.
        device: Where to time.
    """

    runtimes: tuple[str, ...] = ("eager", "onnxruntime")
    batch_size: int = 1
    threads: int = 1
    min_runs: int = 100
    max_seconds: float = 10.0
    device: str = "cpu"


def fine_tune_recipe() -> TrainConfig:
    """Return how a dense network with a new classifier learns the data, unless told otherwise."""
    return TrainConfig(epochs=5, learning_rate=0.02, weight_decay=1e-4, warmup_epochs=0.5)


def recover_recipe() -> TrainConfig:
    """Return how a pruned network is trained again, unless told otherwise."""
    return TrainConfig(
        epochs=10,
        learning_rate=0.02,
        weight_decay=1e-4,
        warmup_epochs=0.5,
        distill_weight=0.5,
    )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run, from a network and a data set to a smaller network and its record.

    Args:
        model: ``timm:NAME``, ``torchvision:NAME``, a built-in name, ``file.py:factory``, or a
            directory written by ``save_pretrained`` or by a run.
        data: ``digits``, ``elpv``, ``cifar10:DIR``, ``folder:DIR``, or ``file.py:factory``.
        budget: What the pruned network may cost, relative to the network that is loaded.
        output: Directory of the run; it is no part of what the run computes.
        weights: File of weights to start from, or None.
        pretrained: Start from published weights.
        trust_code: Run code outside sentei that a saved network names as its source.
        image_size: Height and width in pixels, >= 1; None is the data set's own.
        batch_size: Images of a batch in training, >= 1.
        augment: Crop and mirror the training images at random.
        fine_tune_when: Train the dense network on the data first: when its classifier is new
            (``"new-classifier"``), ``"always"`` or ``"never"``.
        fine_tune: Recipe of that training.
        criterion: How important a channel is; ``auto`` is ``fisher`` where images have classes, else
            ``l1``.
        calibration_images: Training images that the criterion looks at, >= 1.
        scope: How channels of different groups are compared.
        round_to: Widths become multiples of it, >= 1; None takes the largest of 16, 8 and 4 with
            which the budget can be met.
        floor: Share of each group that always stays, in (0, 1].
        tolerance: How far below its limit the budgeted cost may end, relative, in [0, 1).
        protect: Names of modules or parameters that stay whole, what they read included.
        steps: Rounds of pruning, >= 1; 1 prunes in one shot.
        step_epochs: Epochs of training after each round but the last, >= 0.
        recover_when: ``"always"`` trains the pruned network, ``"never"`` only measures the
            statistics of its batch norms anew.
        recover: Recipe of that training.
        latency: How the networks are timed.
        onnx: Write ``model.onnx`` too.
        split_seed: Of the split into train, val and test, >= 0; apart from ``seed``, so that runs of
            several seeds are judged on the same images.
        seed: Root of all random numbers of the run, >= 0; the seeds of the two recipes are
            mixed with it.
        device: Where to train: ``"cpu"``, ``"cuda"``, ``"cuda:1"``.

    Raises:
        ValueError: a number is out of its range; the message names it.
    """

    model: str
    data: str
    budget: Budget
    output: str
    weights: str | None = None
    pretrained: bool = False
    trust_code: bool = False
    image_size: int | None = None
    batch_size: int = 32
    augment: bool = True
    fine_tune_when: Literal["new-classifier", "always", "never"] = "new-classifier"
    fine_tune: TrainConfig = field(default_factory=fine_tune_recipe)
    criterion: str = DEFAULT_CRITERION
    calibration_images: int = 256
    scope: str = DEFAULT_SCOPE
    round_to: int | None = None
    floor: float = DEFAULT_FLOOR
    tolerance: float = DEFAULT_TOLERANCE
    protect: tuple[str, ...] = ()
    steps: int = 1
    step_epochs: int = 1
    recover_when: Literal["always", "never"] = "always"
    recover: TrainConfig = field(default_factory=recover_recipe)
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    onnx: bool = True
    split_seed: int = 0
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        least = {
            "image_size": 1,
            "batch_size": 1,
            "calibration_images": 1,
            "round_to": 1,
            "steps": 1,
            "step_epochs": 0,
            "split_seed": 0,
            "seed": 0,
        }
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise ValueError(f"{name} is {value}; give at least {bound}")
        if not 0 < self.floor <= 1:
            raise ValueError(f"floor is {self.floor}; give a share of each group in (0, 1]")

    @property
    def name(self) -> str:
        """Name of the run: model and data."""
        return f"{Path(self.model).name if '/' in self.model else self.model} on {self.data}"

    def as_json(self) -> dict[str, Any]:
        """Return all fields as JSON values; limits that the budget leaves open are left out."""
        values = dataclasses.asdict(self)
        return {
            **values,
            "budget": dict(self.budget.limits),
            "protect": list(self.protect),
            "fine_tune": self.fine_tune.as_json(),
            "recover": self.recover.as_json(),
            "latency": {**values["latency"], "runtimes": list(self.latency.runtimes)},
        }

    def budget_of_step(self, step: int, dense: dict[str, float]) -> Budget:
        """Return the budget of one round: costs fall by the same factor in each.

        Args:
            step: Counts the rounds from 1; the last one has the budget itself.
            dense: What the dense network costs, by cost.
        """
        if self.steps == 1:
            return self.budget
        return self.budget.between(dense, step=step, steps=self.steps)
