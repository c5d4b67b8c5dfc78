"""The training loop: one for base training, recovery after pruning, and sparse training."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sentei.errors import DataError, TrainingError
from sentei.train.checkpoint import check_same_run, check_same_tensors, read_state, write_state
from sentei.train.checks import (
    Batches,
    check_batch,
    check_outputs,
    check_same_outputs,
    explain_batch_norm,
    preserve_modes,
    resolve_device,
)
from sentei.train.config import TrainConfig
from sentei.train.distill import classification_loss
from sentei.train.ema import Ema, model_tensors
from sentei.train.evaluate import evaluate
from sentei.train.hooks import Hook
from sentei.train.optimizer import load_optimizer_tensors, make_optimizer, optimizer_tensors
from sentei.train.progress import EpochRecord, OnProgress, Progress
from sentei.train.schedule import learning_rate_at

# Reading a loss waits for the device: on the CPU it costs nothing, elsewhere it empties the queue.
STEPS_BETWEEN_READS = 16


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a run may have beside its recipe.

    Args:
        val_batches: Evaluated after every epoch; they never choose which epoch is kept.
        teacher: Network whose logits are distilled where ``config.distill_weight`` > 0; it is
            moved to the device and run in evaluation mode without gradients.
        hooks: Called in this order.
        checkpoint_dir: Where the state of the last finished epoch lies; a run that finds its own
            state there goes on after that epoch. None keeps nothing.
        on_progress: Called after every step on the CPU, and every 16 steps elsewhere.
        device: Where to train.
        phase: Name of the run in progress, records and checkpoint.
        augment: Changes the training images [N, ...] on the device; its random numbers must come
            from torch's default generators, which the run seeds, keeps and gives back.
    """

    val_batches: Batches | None = None
    teacher: nn.Module | None = None
    hooks: Sequence[Hook] = ()
    checkpoint_dir: Path | None = None
    on_progress: OnProgress | None = None
    device: str | torch.device = "cpu"
    phase: str = "recover"
    augment: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a run leaves beside the trained model.

    Args:
        curve: One record an epoch, those before a restart included.
    """

    curve: tuple[EpochRecord, ...]

    @property
    def seconds(self) -> float:
        """Wall time of all epochs, in seconds."""
        return sum(record.seconds for record in self.curve)


def fit(
    model: nn.Module,
    train_batches: Batches,
    *,
    config: TrainConfig,
    options: RunOptions | None = None,
) -> FitResult:
    """Train a classifier in place.

    The weights of the last epoch are kept (with ``config.ema_decay``, their moving average). The
    model ends on the device of the options, in the mode it came in. Global random state is the
    caller's again afterwards. On the CPU a run that was killed and started again ends with the
    same bits as one that was not, if the batches are a function of the epoch and of torch's
    default generator: where ``train_batches`` has a method ``set_epoch``, it is called with the
    epoch's index, from 0, before each epoch.

    Args:
        model: Returns logits [N, K].
        train_batches: (images [N, ...], labels [N]) pairs; the same number of them every epoch.
        config: The recipe.
        options: Everything else; None is ``RunOptions()``.

    Returns:
        The curve of the run.

    Raises:
        ValueError: distillation is wanted and no teacher given.
        DataError: no batches, another number of batches than announced, or a label without class.
        TrainingError: a loss or weight that is not finite, an output that is not [N, K], one value
            a channel in a batch norm, or no trainable parameter.
        CheckpointError: the checkpoint is damaged, or belongs to another run or model.
        DeviceError: the device is not there.
    """
    options = options or RunOptions()
    device = resolve_device(options.device)
    _check_request(train_batches, config, options)
    teacher = nn.Identity() if options.teacher is None else options.teacher
    with preserve_modes(model), preserve_modes(teacher), _own_random_state(config.seed, device):
        model.to(device)
        teacher.to(device).eval()
        for hook in options.hooks:
            hook.on_start(model)
        run = _Run(model, train_batches, config=config, options=options, device=device)
        curve = run.resume()
        for epoch in range(len(curve), config.epochs):
            curve.append(run.train_epoch(epoch))
            run.save(curve)
        if run.ema is not None:
            run.ema.exchange(model)
    return FitResult(curve=tuple(curve))


def _check_request(batches: Batches, config: TrainConfig, options: RunOptions) -> None:
    if len(batches) == 0:
        raise DataError("train_batches is empty; give at least one batch of images and labels")
    if config.distill_weight > 0 and options.teacher is None:
        raise ValueError(
            f"distill_weight={config.distill_weight} needs a teacher; "
            "give RunOptions(teacher=...) or set distill_weight=0"
        )


@contextmanager
def _own_random_state(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators for a ``with`` block and give the caller's state back after it."""
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _amp_dtype(config: TrainConfig, device: torch.device) -> torch.dtype | None:
    if config.amp == "bfloat16":
        return torch.bfloat16
    if config.amp == "off" or device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


class _Run:
    """The moving parts of one call of `fit`."""

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        *,
        config: TrainConfig,
        options: RunOptions,
        device: torch.device,
    ) -> None:
        self.model = model
        self.batches = batches
        self.config = config
        self.options = options
        self.device = device
        self.num_steps = len(batches)
        self.optimizer = make_optimizer(model, config)
        self.ema = Ema(model, config.ema_decay) if config.ema_decay else None
        self.amp_dtype = _amp_dtype(config, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.amp_dtype is torch.float16)

    def resume(self) -> list[EpochRecord]:
        """Take over the state in the checkpoint directory, if any, and return its curve."""
        directory = self.options.checkpoint_dir
        found = None if directory is None else read_state(directory)
        if directory is None or found is None:
            return []
        tensors, document = found
        stored = _under("model", tensors)
        check_same_run(directory, document["run"], self._settings())
        check_same_tensors(directory, stored, model_tensors(self.model))
        _copy_into(model_tensors(self.model), stored)
        if self.ema is not None:
            _copy_into(self.ema.average, _under("ema", tensors))
        load_optimizer_tensors(self.model, self.optimizer, _under("optimizer", tensors))
        if document["scaler"]:
            self.scaler.load_state_dict(document["scaler"])
        for i, hook in enumerate(self.options.hooks):
            hook.load_state(_under(f"hook{i}", tensors))
        torch.set_rng_state(tensors["random:cpu"])
        if self.device.type == "cuda" and "random:cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random:cuda"], self.device)
        return [EpochRecord(**record) for record in document["curve"]]

    def save(self, curve: Sequence[EpochRecord]) -> None:
        """Write the state after the last finished epoch, if there is a checkpoint directory."""
        if self.options.checkpoint_dir is None:
            return
        parts: dict[str, Mapping[str, Tensor]] = {
            "model": model_tensors(self.model),
            "ema": {} if self.ema is None else self.ema.average,
            "optimizer": optimizer_tensors(self.model, self.optimizer),
            "random": {"cpu": torch.get_rng_state()},
            **{f"hook{i}": hook.state() for i, hook in enumerate(self.options.hooks)},
        }
        if self.device.type == "cuda":
            parts["random"] = {
                "cpu": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state(self.device),
            }
        write_state(
            self.options.checkpoint_dir,
            {f"{part}:{name}": t for part, tensors in parts.items() for name, t in tensors.items()},
            {
                "run": self._settings(),
                "curve": [asdict(record) for record in curve],
                "scaler": self.scaler.state_dict(),
            },
        )

    def train_epoch(self, epoch: int) -> EpochRecord:
        """Train one epoch, then validate."""
        begin = time.perf_counter()
        if hasattr(self.batches, "set_epoch"):
            self.batches.set_epoch(epoch)
        self.model.train()
        losses: list[float] = []
        sizes: list[int] = []
        unread: list[Tensor] = []
        for step, (images, labels) in enumerate(_counted(self.batches)):
            unread.append(self._step(images, labels, step=epoch * self.num_steps + step))
            sizes.append(len(labels))
            if self._must_read(unread, step):
                losses += self._read(unread, epoch=epoch, first_step=len(losses))
                unread.clear()
                self._tell(epoch, step, loss=losses[-1], begin=begin)
        for hook in self.options.hooks:
            hook.after_epoch(self.model, epoch)
        self._check_weights(epoch)
        mean_loss = sum(map(math.prod, zip(losses, sizes, strict=True))) / sum(sizes)
        return self._record(epoch, mean_loss, begin)

    def _step(self, images: Tensor, labels: Tensor, *, step: int) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.config, step=step, num_steps=self.num_steps)
        loss = self._loss(images, labels)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        for hook in self.options.hooks:
            hook.after_backward(self.model)
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        for hook in self.options.hooks:
            hook.after_step(self.model)
        if self.ema is not None:
            self.ema.update(self.model, step=step)
        return loss.detach()

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        check_batch(images, labels)
        images = images.to(self.device, non_blocking=True)
        if self.options.augment is not None:
            images = self.options.augment(images)
        teacher_logits = None
        half = torch.autocast(
            self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None
        )
        with half, explain_batch_norm(self.model):
            logits = check_outputs(self.model(images), labels)
        if self.options.teacher is not None and self.config.distill_weight > 0:
            with half, torch.no_grad():
                teacher_logits = self.options.teacher(images)
            check_same_outputs(logits, teacher_logits)
        targets = labels.to(self.device, torch.int64, non_blocking=True)
        loss = classification_loss(self.config, logits, targets, teacher_logits)
        for hook in self.options.hooks:
            penalty = hook.penalty(self.model)
            if penalty is not None:
                loss = loss + penalty
        return loss

    def _must_read(self, unread: Sequence[Tensor], step: int) -> bool:
        return (
            self.device.type == "cpu"
            or len(unread) == STEPS_BETWEEN_READS
            or step + 1 == self.num_steps
        )

    def _read(self, unread: Sequence[Tensor], *, epoch: int, first_step: int) -> list[float]:
        losses: list[float] = torch.stack(list(unread)).tolist()
        for step, loss in enumerate(losses, start=first_step):
            if not math.isfinite(loss):
                rate = learning_rate_at(
                    self.config, step=epoch * self.num_steps + step, num_steps=self.num_steps
                )
                raise TrainingError(
                    f"the loss is {loss} in epoch {epoch + 1}, step {step + 1} (learning rate "
                    f"{rate:.3g}); lower learning_rate, lengthen warmup_epochs, or set clip_norm"
                )
        return losses

    def _check_weights(self, epoch: int) -> None:
        """Refuse weights that a last step made infinite, before they reach a checkpoint."""
        for name, parameter in self.model.named_parameters():
            if not bool(parameter.isfinite().all()):
                raise TrainingError(
                    f"{name} is not finite after epoch {epoch + 1}; "
                    "lower learning_rate, lengthen warmup_epochs, or set clip_norm"
                )

    def _tell(self, epoch: int, step: int, *, loss: float, begin: float) -> None:
        if self.options.on_progress is not None:
            self.options.on_progress(
                Progress(
                    phase=self.options.phase,
                    epoch=epoch + 1,
                    num_epochs=self.config.epochs,
                    step=step + 1,
                    num_steps=self.num_steps,
                    loss=loss,
                    seconds=time.perf_counter() - begin,
                )
            )

    def _record(self, epoch: int, train_loss: float, begin: float) -> EpochRecord:
        evaluation = None
        if self.options.val_batches is not None:
            with nullcontext() if self.ema is None else self.ema.applied(self.model):
                evaluation = evaluate(self.model, self.options.val_batches, device=self.device)
        return EpochRecord(
            phase=self.options.phase,
            epoch=epoch + 1,
            train_loss=train_loss,
            val_loss=None if evaluation is None else evaluation.loss,
            val_accuracy=None if evaluation is None else evaluation.accuracy,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            seconds=time.perf_counter() - begin,
        )

    def _settings(self) -> dict[str, Any]:
        """Return what must be the same when a run goes on, as JSON values."""
        hooks = [type(hook).__qualname__ for hook in self.options.hooks]
        return {
            **self.config.as_json(),
            "phase": self.options.phase,
            "num_steps": self.num_steps,
            "hooks": hooks,
        }


def _counted(batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches, checked to be as many as announced: the schedule relies on it."""
    count = 0
    for count, batch in enumerate(batches, start=1):
        if count > len(batches):
            break
        yield batch
    if count != len(batches):
        raise DataError(
            f"train_batches gave {'more' if count > len(batches) else count} batches and its "
            f"len() is {len(batches)}; make both agree, in every epoch"
        )


def _under(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{part}:"
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


@torch.no_grad()
def _copy_into(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, target in targets.items():
        target.copy_(values[name])
