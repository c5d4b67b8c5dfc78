"""Derivatives of the loss by the weights, added up over images: what criteria may ask for."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sentei.criteria.base import Evidence, Needs
from sentei.errors import PruningError

SummedLoss = Callable[[Sequence[Tensor]], Tensor]
"""A batch -> the loss added over its images, a scalar."""


@contextmanager
def _explain_missing_derivative() -> Iterator[None]:
    """Turn torch's refusal to differentiate an operator twice into a `PruningError`."""
    try:
        yield
    except RuntimeError as error:
        missing = re.fullmatch(
            r"derivative for aten::(\w+?)(_backward)? is not implemented", str(error)
        )
        if missing is None:
            raise
        raise PruningError(
            f"the criterion needs second derivatives and torch has none of {missing[1]!r}; score "
            "with one of first derivatives ('fisher', 'taylor', 'group-fisher'), or replace it in the "
            "network"
        ) from error


class Derivatives:
    """Sums over images of what a criterion needs; memory does not grow with their number.

    A Hessian-vector product takes a second backward pass through the first, kept for it; the
    squares of the gradients of single images take a pass of its own for each.

    Args:
        needs: What is needed.
        evidence: Holds the parameters of the model that runs.

    Attributes:
        parameters: What the loss is differentiated by; empty if nothing is needed.
    """

    def __init__(self, needs: Needs, evidence: Evidence) -> None:
        self.parameters: Mapping[str, Tensor] = {}
        if Needs.GRADIENTS in needs:
            self.parameters = evidence.parameters
        self._sums = {"gradients": self._zeros()}
        self._direction: Mapping[str, Tensor] = {}
        if Needs.CURVATURE in needs:
            self._sums["curvature"] = self._zeros()
            self._direction = evidence.owned
        if Needs.FISHER in needs:
            self._sums["fisher"] = self._zeros()

    def add(self, batch: Sequence[Tensor], summed_loss: SummedLoss) -> None:
        """Run forward and backward, and add what comes out; ``.grad`` is untouched.

        Raises:
            PruningError: Torch cannot differentiate an operator of the network twice.
        """
        # A part of a batch is a batch: the loss is a sum, and in evaluation mode images do not mix.
        sizes = 1 if "fisher" in self._sums else len(batch[0])
        for part in zip(*(t.split(max(sizes, 1)) for t in batch), strict=True):
            if self._direction:
                self._add_product(part, summed_loss)
            else:
                self._add_gradients(summed_loss(part))

    def means(self, num_images: int) -> dict[str, dict[str, Tensor]]:
        """Return the sums over the number of images, as fields of the evidence."""
        return {
            kind: {name: total / num_images for name, total in sums.items()}
            for kind, sums in self._sums.items()
        }

    def _zeros(self) -> dict[str, Tensor]:
        return {
            name: torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32)).detach()
            for name, p in self.parameters.items()
        }

    def _add_gradients(self, value: Tensor) -> None:
        gradients = self._differentiate(value)
        self._add("gradients", gradients)
        if "fisher" in self._sums:
            self._add("fisher", {name: g.square() for name, g in gradients.items()})

    def _add_product(self, batch: Sequence[Tensor], summed_loss: SummedLoss) -> None:
        # Fused attention has no second derivative.
        with sdpa_kernel(SDPBackend.MATH):
            gradients = self._differentiate(summed_loss(batch), create_graph=True)
            along = [(g * self._direction[name]).sum() for name, g in gradients.items()]
            self._add("gradients", {name: g.detach() for name, g in gradients.items()})
            product = torch.stack(along).sum()
            if product.requires_grad:  # it does not where the loss is linear in all parameters
                with _explain_missing_derivative():
                    product_gradients = self._differentiate(product)
                self._add("curvature", product_gradients)

    def _differentiate(self, value: Tensor, *, create_graph: bool = False) -> dict[str, Tensor]:
        """Return the gradients by the parameters that the value depends on."""
        gradients: Sequence[Tensor | None] = torch.autograd.grad(
            value, list(self.parameters.values()), allow_unused=True, create_graph=create_graph
        )
        found = zip(self.parameters, gradients, strict=True)
        return {name: g for name, g in found if g is not None}

    def _add(self, kind: str, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._sums[kind][name].add_(value)
