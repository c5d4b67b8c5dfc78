"""Dense weights behind a mask: what the mask cuts off goes on learning, and may come back."""

from functools import cached_property

import torch
from torch import Tensor

from sentei.index.atoms import BoolArray
from sentei.sparsify.channels import Selection


class DenseWeights:
    r"""Weights w of a model that runs with :math:`m \odot w`, in its place.

    In each step :meth:`restore` comes before the optimizer, so that the gradient of the masked
    weights moves the dense ones; then :meth:`remember`, and at the end :meth:`mask`.

    Args:
        weights: What is masked, channel by channel; the parameters are changed in place.

    Attributes:
        kept: Tensors that must survive a restart: ``masked`` [C], and ``dense:<name>``.
    """

    def __init__(self, weights: Selection) -> None:
        self.weights = weights
        dense = {f"dense:{n}": p.detach().clone() for n, p in weights.parameters.items()}
        self.kept = {"masked": torch.zeros_like(weights.counts, dtype=torch.bool), **dense}

    @cached_property
    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        return [(p, self.kept[f"dense:{n}"]) for n, p in self.weights.parameters.items()]

    @torch.no_grad()
    def restore(self) -> None:
        """Put the dense weights into the model."""
        for parameter, dense in self._pairs:
            parameter.copy_(dense)

    @torch.no_grad()
    def remember(self) -> None:
        """Take the weights of the model for the dense ones."""
        for parameter, dense in self._pairs:
            dense.copy_(parameter)

    def choose(self, masked_C: BoolArray) -> None:
        """Choose which channels :meth:`mask` masks from now on."""
        self.kept["masked"].copy_(torch.from_numpy(masked_C))

    def mask(self) -> None:
        """Set what masked channels own in the model to zero."""
        self.weights.scale_((~self.kept["masked"]).to(self.weights.counts.dtype))
