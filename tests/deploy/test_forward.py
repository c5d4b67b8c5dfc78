"""Inputs, batches, modes and devices of a forward pass."""

import pytest
import torch
from torch import nn

from sentei.deploy.forward import as_inputs, evaluating, on_device, with_batch_size


def test_a_larger_batch_repeats_the_samples_in_turn() -> None:
    (x,) = with_batch_size((torch.tensor([[1.0], [2.0]]),), 5)

    assert x.flatten().tolist() == [1, 2, 1, 2, 1]


def test_a_smaller_batch_keeps_the_first_samples() -> None:
    (x,) = with_batch_size((torch.tensor([[1.0], [2.0], [3.0]]),), 2)

    assert x.flatten().tolist() == [1, 2]


def test_every_module_gets_its_own_mode_back() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.ReLU()))
    model[1].eval()
    before = [module.training for module in model.modules()]

    with evaluating(model):
        assert not any(module.training for module in model.modules())

    assert [module.training for module in model.modules()] == before


def test_modes_come_back_after_an_error() -> None:
    model = nn.Dropout()

    with pytest.raises(KeyError), evaluating(model):
        raise KeyError

    assert model.training


def test_no_gradients_are_recorded_while_evaluating() -> None:
    model = nn.Linear(2, 2)

    with evaluating(model):
        assert not model(torch.ones(1, 2)).requires_grad


def test_a_model_that_is_on_the_device_is_not_copied() -> None:
    model = nn.Linear(2, 2)

    assert on_device(model, torch.device("cpu")) is model


def test_a_model_on_another_device_is_copied_and_stays_there() -> None:
    model = nn.Linear(2, 2)

    assert on_device(model, torch.device("meta")).weight.device.type == "meta"
    assert model.weight.device.type == "cpu"


@pytest.mark.parametrize("example", [[torch.ones(1)], {"x": torch.ones(1)}, 3])
def test_an_example_that_is_no_tensor_is_refused(example: object) -> None:
    with pytest.raises(TypeError, match="expected a tensor, or a tuple of tensors"):
        as_inputs(example)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "example",
    [(), torch.tensor(1.0), torch.ones(0, 3), (torch.ones(2, 3), torch.ones(3, 3))],
)
def test_an_example_without_a_common_batch_is_refused(
    example: torch.Tensor | tuple[torch.Tensor, ...],
) -> None:
    with pytest.raises(ValueError, match="the same batch size >= 1 in dimension 0"):
        as_inputs(example)
