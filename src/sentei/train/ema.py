"""Exponential moving average of a network's tensors."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return every parameter and buffer by name, shared ones once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


class Ema:
    r"""Moving average of parameters and of floating-point buffers.

    .. math:: \bar\theta_t = d_t \bar\theta_{t-1} + (1 - d_t) \theta_t, \qquad
              d_t = \min(d, (1 + t) / (10 + t))

    The average starts at the first weights; the smaller decay of the first steps lets a short run
    forget them. Floating-point buffers (running statistics of batch norms) are averaged with the
    weights they belong to; other buffers (counters) are copied.

    Args:
        model: The network; the average takes as much memory as its parameters and buffers.
        decay: d, in (0, 1); larger is smoother.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average = {name: t.detach().clone() for name, t in model_tensors(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module, *, step: int) -> None:
        """Move the average towards the model's tensors.

        Args:
            model: The network after its step.
            step: Index t of the step in the whole run, from 0.
        """
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, tensor in model_tensors(model).items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, weight)
            else:
                self.average[name].copy_(tensor)

    def exchange(self, model: nn.Module) -> None:
        """Exchange the model's values with the averaged ones, without copying; changes both."""
        for name, tensor in model_tensors(model).items():
            tensor.data, self.average[name] = self.average[name], tensor.data

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Let the model hold the averaged values inside a ``with`` block."""
        self.exchange(model)
        try:
            yield
        finally:
            self.exchange(model)
