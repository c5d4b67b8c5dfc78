"""Three studies of ResNet-50 on ImageNet: seconds of every job, from named inputs."""

from dataclasses import dataclass

import numpy as np

TRAIN_IMAGES = 1_281_167
TEST_IMAGES = 50_000
IMAGE_BYTES = 3 * 224 * 224


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a job's time follows from.

    Args:
        train_images_per_s: Of the dense network on one A100, mixed precision: 2470, NVIDIA
            DeepLearningExamples, ResNet-50 v1.5 for PyTorch, DGX A100, container 21.03.
        forward_images_per_s: The same times 3382 / 1200, what a V100 does forward and in training
            in the same document; there is no forward figure of an A100 in it.
        share_with_macs: Share of a GPU's time that shrinks with the MACs, in [0, 1]; the rest
            stays. Not known for a GPU.
        read_images_per_s: What one worker can read and prepare; None is more than the GPU takes.
        prune_s: Seconds in which a worker cuts a subnetwork, the GPU waiting.
        recalibration_images: Of every evaluation, in memory.
        val_images: Of every evaluation; taken from the training images.
        batch_size: Of training.
        regimes: Shares of MACs left; the population is divided among them equally.
        spread: Standard deviation of the logarithm of a job's time inside a regime.
    """

    train_images_per_s: float = 2470.0
    forward_images_per_s: float = 2470.0 * 3382 / 1200
    share_with_macs: float = 0.5
    read_images_per_s: float | None = None
    prune_s: float = 0.05
    recalibration_images: int = 12_800
    val_images: int = 10_000
    batch_size: int = 256
    regimes: tuple[float, ...] = (0.75, 0.5, 0.25)
    spread: float = 0.1

    def job_s(self, *, epochs: int, macs_left: float) -> float:
        """Return the seconds of a job: prune, measure norms, validate, perhaps train and test."""
        forward_s = self._image_s(self.forward_images_per_s, macs_left)
        kept_s = self._gpu_s(self.forward_images_per_s, macs_left)
        seconds = self.prune_s + self.recalibration_images * kept_s + self.val_images * forward_s
        if epochs:
            train_s = self._image_s(self.train_images_per_s, macs_left)
            each = (TRAIN_IMAGES - self.val_images) * train_s + self.val_images * forward_s
            seconds += epochs * each + TEST_IMAGES * forward_s
        return seconds

    def images_read(self, *, epochs: int) -> int:
        """Return how many images a job reads anew; those for norms are kept."""
        extra = epochs * TRAIN_IMAGES + TEST_IMAGES if epochs else 0
        return self.val_images + extra

    def reports(self, *, epochs: int) -> int:
        """Return how many messages a job sends before its end: one every 20 steps."""
        return epochs * -(-((TRAIN_IMAGES - self.val_images) // self.batch_size) // 20)

    def population(self, num: int, *, epochs: int, seed: int) -> list[float]:
        """Return the seconds of so many jobs, regimes in turn."""
        usual = [self.job_s(epochs=epochs, macs_left=left) for left in self.regimes]
        noise = np.random.default_rng(seed).normal(0, self.spread, num)
        return list(np.resize(usual, num) * np.exp(noise))

    def _gpu_s(self, images_per_s: float, macs_left: float) -> float:
        return (1 - self.share_with_macs + self.share_with_macs * macs_left) / images_per_s

    def _image_s(self, images_per_s: float, macs_left: float) -> float:
        return max(self._gpu_s(images_per_s, macs_left), 1 / (self.read_images_per_s or np.inf))


@dataclass(frozen=True, kw_only=True)
class Design:
    """A study: stages, one after another, each so many jobs of so many epochs."""

    name: str
    stages: tuple[tuple[int, int], ...]


DESIGNS = (
    Design(name="100,000 one shot", stages=((100_000, 0),)),
    Design(name="100,000 one shot, then 10,000 x 1 epoch", stages=((100_000, 0), (10_000, 1))),
    Design(name="1,000 x 5 epochs", stages=((1_000, 5),)),
)
