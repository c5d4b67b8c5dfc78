"""The loop against a loop written out, and every way a run can go wrong."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sentei.errors import DataError, DeviceError, TrainingError
from sentei.train import (
    EpochRecord,
    Hook,
    Progress,
    RunOptions,
    TrainConfig,
    evaluate,
    fit,
    loop,
)

Pairs = list[tuple[Tensor, Tensor]]
PLAIN = TrainConfig(epochs=2, learning_rate=0.05, schedule="constant")


def _net(*, dropout: float = 0.0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(dropout), nn.ReLU(),
            nn.Linear(8, 10),
        )  # fmt: skip


def _assert_close(first: nn.Module, second: nn.Module) -> None:
    for name, tensor in first.state_dict().items():
        torch.testing.assert_close(tensor, second.state_dict()[name], rtol=1e-5, atol=1e-7)


def _loop_by_hand(
    model: nn.Module, batches: Pairs, loss_of: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> list[float]:
    """Nesterov SGD as its update rule, decay on matrices only; returns the losses."""
    velocity = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    losses = []
    for images, labels in batches * PLAIN.epochs:
        model.zero_grad()
        loss = loss_of(images, model(images), labels)
        loss.backward()
        losses.append(loss.item())
        for name, p in model.named_parameters():
            assert p.grad is not None
            gradient = p.grad + (5e-4 * p.detach() if p.dim() > 1 else 0.0)
            velocity[name] = 0.9 * velocity[name] + gradient
            p.data -= 0.05 * (gradient + 0.9 * velocity[name])
    return losses


def _cross_entropy(_: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits, labels)


def test_fit_equals_the_loop_written_out(digits: Pairs) -> None:
    model, expected = _net(), _net()
    result = fit(model, digits, config=PLAIN)
    losses = _loop_by_hand(expected, digits, _cross_entropy)
    _assert_close(model, expected)
    assert [r.train_loss for r in result.curve] == pytest.approx(
        [sum(losses[:6]) / 6, sum(losses[6:]) / 6], rel=1e-5
    )


def test_distillation_equals_the_loop_written_out_and_leaves_the_teacher(digits: Pairs) -> None:
    teacher = _net(dropout=0.5)
    before = copy.deepcopy(teacher.state_dict())
    teacher_in_evaluation = copy.deepcopy(teacher).eval()

    def loss_of(images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            target = (teacher_in_evaluation(images) / 2).softmax(1)
        divergence = (target * (target.log() - (logits / 2).log_softmax(1))).sum(1).mean()
        cross_entropy = nn.functional.cross_entropy(logits, labels)
        return 0.25 * cross_entropy + 0.75 * 4 * divergence

    model, expected = _net(), _net()
    config = replace(PLAIN, distill_weight=0.75, distill_temperature=2.0)
    fit(model, digits, config=config, options=RunOptions(teacher=teacher))
    _loop_by_hand(expected, digits, loss_of)
    _assert_close(model, expected)
    assert teacher.training
    assert all(torch.equal(t, before[name]) for name, t in teacher.state_dict().items())


def test_the_mean_loss_weighs_batches_by_their_images(digits: Pairs) -> None:
    images, labels = digits[0]
    batches = [(images[:24], labels[:24]), (images[24:], labels[24:])]
    frozen = replace(PLAIN, epochs=1, learning_rate=1e-30)
    model = _net()
    model[2] = nn.Identity()
    expected = nn.functional.cross_entropy(model(images), labels).item()
    result = fit(model, batches, config=frozen)
    assert result.curve[0].train_loss == pytest.approx(expected, rel=1e-5)


def test_records_hold_the_evaluation_of_each_epoch(digits: Pairs) -> None:
    model = _net()
    options = RunOptions(val_batches=digits[:2], phase="base")
    result = fit(model, digits, config=PLAIN, options=options)
    last = evaluate(model, digits[:2])
    assert [type(r) for r in result.curve] == [EpochRecord, EpochRecord]
    assert [(r.phase, r.epoch) for r in result.curve] == [("base", 1), ("base", 2)]
    assert (result.curve[-1].val_loss, result.curve[-1].val_accuracy) == (last.loss, last.accuracy)
    assert result.seconds == sum(r.seconds for r in result.curve) > 0


def test_a_network_learns_digits(digits: Pairs) -> None:
    model = _net()
    fit(model, digits, config=TrainConfig(epochs=20, learning_rate=0.1, warmup_epochs=1.5))
    assert evaluate(model, digits).accuracy > 0.95


class _Watch(Hook):
    """Notes the calls and the weights after every step."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.weights: list[Tensor] = []

    def on_start(self, _model: nn.Module) -> None:
        self.calls.append("start")

    def penalty(self, _model: nn.Module) -> Tensor | None:
        self.calls.append("penalty")
        return None

    def after_backward(self, _model: nn.Module) -> None:
        self.calls.append("backward")

    def after_step(self, model: nn.Module) -> None:
        self.calls.append("step")
        self.weights.append(model.get_parameter("1.weight").detach().clone())

    def after_epoch(self, _model: nn.Module, epoch: int) -> None:
        self.calls.append(f"epoch {epoch}")


def test_hooks_are_called_in_order(digits: Pairs) -> None:
    watch = _Watch()
    fit(_net(), digits[:1], config=PLAIN, options=RunOptions(hooks=(watch,)))
    step = ["penalty", "backward", "step"]
    assert watch.calls == ["start", *step, "epoch 0", *step, "epoch 1"]


def test_a_hook_that_does_nothing_changes_nothing(digits: Pairs) -> None:
    plain, hooked = _net(), _net()
    fit(plain, digits, config=PLAIN)
    fit(hooked, digits, config=PLAIN, options=RunOptions(hooks=(Hook(),)))
    assert all(torch.equal(t, hooked.state_dict()[k]) for k, t in plain.state_dict().items())


def test_a_penalty_is_added_to_the_loss(digits: Pairs) -> None:
    class L1(Hook):
        def penalty(self, model: nn.Module) -> Tensor:
            return 0.01 * model.get_parameter("1.weight").abs().sum()

    model, expected = _net(), _net()
    fit(model, digits, config=PLAIN, options=RunOptions(hooks=(L1(),)))

    def loss_of(_: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        l1 = 0.01 * expected.get_parameter("1.weight").abs().sum()
        return nn.functional.cross_entropy(logits, labels) + l1

    _loop_by_hand(expected, digits, loss_of)
    _assert_close(model, expected)


def test_the_model_ends_with_the_average_of_its_weights(digits: Pairs) -> None:
    watch, model = _Watch(), _net()
    average = model.get_parameter("1.weight").detach().clone()
    options = RunOptions(hooks=(watch,), val_batches=digits)
    result = fit(model, digits, config=replace(PLAIN, ema_decay=0.7), options=options)
    for step, weight in enumerate(watch.weights):
        decay = min(0.7, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(model.get_parameter("1.weight").detach(), average)
    assert result.curve[-1].val_loss == evaluate(model, digits).loss


def test_gradients_are_clipped_to_the_norm(digits: Pairs) -> None:
    plain = TrainConfig(
        epochs=1, learning_rate=1.0, momentum=0.0, nesterov=False, weight_decay=0.0,
        schedule="constant", clip_norm=0.01,
    )  # fmt: skip
    model = _net()
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    fit(model, digits[:1], config=plain)
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_bfloat16_reaches_the_layers_on_any_device_and_weights_stay_float32(digits: Pairs) -> None:
    seen: set[torch.dtype] = set()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    model[1].register_forward_hook(lambda *args: seen.add(args[2].dtype))

    fit(model, digits, config=TrainConfig(epochs=1, amp="bfloat16"))

    assert seen == {torch.bfloat16}
    assert model[1].weight.dtype == torch.float32


def test_augmentation_changes_the_images_and_is_repeatable(digits: Pairs) -> None:
    def noisy(images: Tensor) -> Tensor:
        return images + torch.randn(images.shape)

    models = [_net() for _ in range(3)]
    for model, augment in zip(models, (noisy, noisy, None), strict=True):
        fit(model, digits, config=PLAIN, options=RunOptions(augment=augment))
    weights = [model.get_parameter("1.weight") for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_seed_decides_the_dropout_and_the_callers_random_state_stays(digits: Pairs) -> None:
    state = torch.get_rng_state()
    models = [_net(dropout=0.5) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        fit(model, digits, config=replace(PLAIN, seed=seed))
    weights = [model.get_parameter("1.weight") for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_restored(digits: Pairs, training: bool) -> None:
    model = _net().train(training)
    model[2].eval()
    fit(model, digits, config=PLAIN, options=RunOptions(val_batches=digits[:1]))
    assert [m.training for m in model] == [training, training, False, training, training, training]


def test_progress_counts_epochs_and_steps_from_one(digits: Pairs) -> None:
    seen: list[Progress] = []
    fit(_net(), digits[:3], config=PLAIN, options=RunOptions(on_progress=seen.append))
    assert [(p.epoch, p.step) for p in seen] == [(e, s) for e in (1, 2) for s in (1, 2, 3)]
    assert {(p.phase, p.num_epochs, p.num_steps) for p in seen} == {("recover", 2, 3)}


class _Loader:
    """Batches that note the epochs and may give another number than announced."""

    def __init__(self, batches: Pairs, announced: int) -> None:
        self.batches, self.announced = batches, announced
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def __len__(self) -> int:
        return self.announced

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.batches)


def test_the_loader_hears_of_each_epoch(digits: Pairs) -> None:
    loader = _Loader(digits[:2], announced=2)
    fit(_net(), loader, config=PLAIN)
    assert loader.epochs == [0, 1]


@pytest.mark.parametrize(("given", "found"), [(2, "2"), (4, "more"), (0, "0")])
def test_another_number_of_batches_than_announced_is_refused(
    digits: Pairs, given: int, found: str
) -> None:
    loader = _Loader(digits[:given], announced=3)
    with pytest.raises(DataError, match=rf"gave {found} batches and its len\(\) is 3; make both"):
        fit(_net(), loader, config=PLAIN)


def test_no_batches_are_refused() -> None:
    with pytest.raises(DataError, match=r"train_batches is empty; give at least one batch"):
        fit(_net(), [], config=PLAIN)


def test_a_missing_teacher_is_named(digits: Pairs) -> None:
    with pytest.raises(ValueError, match=r"distill_weight=0.5 needs a teacher; give RunOptions"):
        fit(_net(), digits, config=replace(PLAIN, distill_weight=0.5))


def test_a_teacher_of_other_classes_is_refused(digits: Pairs) -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(
        TrainingError, match=r"teacher returned a tensor of shape \[32, 3\]; expected"
    ):
        fit(
            _net(), digits, config=replace(PLAIN, distill_weight=0.5),
            options=RunOptions(teacher=teacher),
        )  # fmt: skip


def test_a_loss_that_is_not_finite_names_epoch_step_and_rate(digits: Pairs) -> None:
    images, labels = digits[1]
    batches = [digits[0], (images * math.nan, labels)]
    with pytest.raises(
        TrainingError, match=r"the loss is nan in epoch 1, step 2 \(learning rate 0.05\); lower"
    ):
        fit(_net(), batches, config=PLAIN)


def test_losses_read_once_an_epoch_give_the_same_curve_and_the_same_error(
    digits: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fit(_net(), digits, config=PLAIN).curve
    monkeypatch.setattr(
        loop._Run, "_must_read", lambda run, _unread, step: step + 1 == run.num_steps
    )
    found = fit(_net(), digits, config=PLAIN).curve
    assert [r.train_loss for r in found] == [r.train_loss for r in expected]
    batches = [*digits[:3], (digits[3][0] * math.nan, digits[3][1]), *digits[4:]]
    with pytest.raises(TrainingError, match=r"the loss is nan in epoch 1, step 4 \(learning rate"):
        fit(_net(), batches, config=PLAIN)


def test_weights_that_are_not_finite_are_refused_before_the_checkpoint(digits: Pairs) -> None:
    class Break(Hook):
        def after_step(self, model: nn.Module) -> None:
            model.get_parameter("5.bias").data.fill_(math.inf)

    with pytest.raises(TrainingError, match=r"5.bias is not finite after epoch 1; lower learning"):
        fit(_net(), digits[:1], config=PLAIN, options=RunOptions(hooks=(Break(),)))


def test_one_image_in_a_batch_norm_names_the_layer(digits: Pairs) -> None:
    images, labels = digits[0]
    with pytest.raises(
        TrainingError, match=r"batch norm 2 \(BatchNorm1d\) got a single value .* at least 2 images"
    ):
        fit(_net(), [(images[:1], labels[:1])], config=PLAIN)


def test_a_label_without_class_is_named(digits: Pairs) -> None:
    images, labels = digits[0]
    with pytest.raises(DataError, match=r"label 12 is out of range: the model has 10 classes"):
        fit(_net(), [(images, labels.clone().fill_(12))], config=PLAIN)


def test_maps_instead_of_logits_are_refused(digits: Pairs) -> None:
    with pytest.raises(
        TrainingError, match=r"returned a tensor of shape \[32, 2, 6, 6\]; expected"
    ):
        fit(nn.Conv2d(1, 2, 3), digits, config=PLAIN)


def test_an_unknown_device_is_named(digits: Pairs) -> None:
    with pytest.raises(DeviceError, match=r"unknown device 'gpu'; use 'cpu', 'cuda'"):
        fit(_net(), digits, config=PLAIN, options=RunOptions(device="gpu"))


def test_a_device_that_is_not_there_is_named(digits: Pairs) -> None:
    with pytest.raises(DeviceError, match=r"device 'cuda:99' is not there \(\d+ CUDA devices"):
        fit(_net(), digits, config=PLAIN, options=RunOptions(device="cuda:99"))


def test_other_errors_of_the_model_pass_unchanged(digits: Pairs) -> None:
    class Refuses(nn.Linear):
        def forward(self, _: Tensor) -> Tensor:
            raise ValueError("my own reason")

    with pytest.raises(ValueError, match=r"^my own reason$"):
        fit(Refuses(64, 10), digits, config=PLAIN)
