"""Zero-cost proxies: what a network without training may be worth, from one batch at most.

Aids of a search, never evidence about pruning spaces: in a regime of equal multiply-adds the number
of parameters alone is a monotone function of the computation a parameter gets, and a proxy that
follows it assumes the answer to the question whether an optimal ratio exists. Report their
correlation with the truth given that ratio, or do not report it.

All work on a copy: the network is not changed. Norms run on the statistics of the batch, as in a
network that has not been trained since it was cut.
"""

# Shapes: N = images, K = classes, D = elements of an image, U = units of a rectifier.

import copy
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from sentei.errors import PruningError

Proxy: TypeAlias = Callable[[nn.Module, Tensor, Tensor], float]
"""A network, images [N, ...] and labels [N] -> a number; larger promises a better network."""

_RECTIFIERS = frozenset({"relu", "relu_", "relu6", "hardtanh", "hardtanh_"})
_SMALL = 1e-5


def num_parameters(model: nn.Module, images: Tensor, labels: Tensor) -> float:  # noqa: ARG001
    """Return the number of elements of all parameters: what every proxy has to beat."""
    return float(sum(p.numel() for p in model.parameters()))


def synflow(model: nn.Module, images: Tensor, labels: Tensor) -> float:  # noqa: ARG001
    r"""Return how much flows through all paths of absolute weights, from an input of ones.

    .. math:: \sum_\theta \left| \theta \frac{\partial R}{\partial \theta} \right|,
              \quad R = \mathbf{1}^\top f_{|\theta|}(\mathbf{1})

    In float64, over weights of two or more dimensions. Batch norms are left out, as they would
    rescale what flows.

    Source: Tanaka et al., NeurIPS 2020, arXiv:2006.05467; as a proxy Abdelfattah et al., ICLR 2021,
    arXiv:2101.08134.
    """
    copied = _without_batch_norms(copy.deepcopy(model)).double().eval()
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.abs_()
    weights = _weights(copied)
    flow = copied(torch.ones_like(images[:1], dtype=torch.float64)).sum()
    gradients = torch.autograd.grad(flow, weights, allow_unused=True)
    return _added(weights, gradients, lambda w, g: (w * g).abs().sum())


def snip(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    r"""Return what the loss is sensitive to, added up: :math:`\sum_\theta |\theta\,\partial L|`.

    Source: Lee et al., ICLR 2019, arXiv:1810.02340; added up over weights as a proxy by Abdelfattah
    et al., ICLR 2021, arXiv:2101.08134.
    """
    return _of_gradients(model, images, labels, lambda w, g: (w * g).abs().sum())


def grad_norm(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the Euclidean norms of the gradients of all weights, added up.

    Source: Abdelfattah et al., ICLR 2021, arXiv:2101.08134.
    """
    return _of_gradients(model, images, labels, lambda _, g: g.norm())


def jacob_cov(model: nn.Module, images: Tensor, labels: Tensor) -> float:  # noqa: ARG001
    r"""Return how differently the network answers to changes of different images.

    .. math:: -\sum_i \left( \log(\lambda_i + \epsilon) + \frac{1}{\lambda_i + \epsilon} \right)

    with the eigenvalues of the correlations of the rows :math:`\partial \sum_k f_k(x_n) / \partial
    x_n`; :math:`\epsilon = 10^{-5}`. It is at most -N, reached where all rows are uncorrelated.

    Source: Mellor et al., arXiv:2006.04647, first version.

    Raises:
        PruningError: The output does not depend on an image.
    """
    copied = _ready(model)
    inputs = images.detach().clone().requires_grad_()
    (jacobian,) = torch.autograd.grad(copied(inputs).sum(), inputs)
    rows_ND = jacobian.flatten(1).double()
    if bool((rows_ND.std(dim=1) == 0).any()):
        raise PruningError(
            "jacob_cov: the output does not change with the pixels of an image, or with all alike; "
            "choose another proxy"
        )
    values_N = torch.linalg.eigvalsh(torch.corrcoef(rows_ND)) + _SMALL
    return -float((values_N.log() + 1 / values_N).sum())


def naswot(model: nn.Module, images: Tensor, labels: Tensor) -> float:  # noqa: ARG001
    r"""Return how well the rectifiers tell images apart: :math:`\log |\det K|`.

    :math:`K_{nm}` counts the units that are on in both images or off in both. It is minus infinity
    where two images light the same units.

    Source: Mellor et al., ICML 2021, arXiv:2006.04647.

    Raises:
        PruningError: The network has no rectifier.
    """
    codes: list[Tensor] = []
    with torch.no_grad(), _Watch(codes):
        _ready(model)(images)
    if not codes:
        raise PruningError(
            "naswot: no rectifier (relu, relu6) ran in this network; choose another proxy"
        )
    code_NU = torch.cat(codes, dim=1).double()
    same_NN = code_NU @ code_NU.T + (1 - code_NU) @ (1 - code_NU).T
    return float(torch.linalg.slogdet(same_NN).logabsdet)


PROXIES: Mapping[str, Proxy] = {
    "num_parameters": num_parameters,
    "synflow": synflow,
    "snip": snip,
    "grad_norm": grad_norm,
    "jacob_cov": jacob_cov,
    "naswot": naswot,
}
"""All proxies by name."""


class _Watch(TorchFunctionMode):
    """Collects which units of every rectifier are on."""

    def __init__(self, codes: list[Tensor]) -> None:
        super().__init__()
        self.codes = codes

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 - any function of torch
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        result = func(*args, **(kwargs or {}))
        if func.__name__ in _RECTIFIERS:
            self.codes.append((result > 0).flatten(1))
        return result


def _ready(model: nn.Module) -> nn.Module:
    """Return a copy in which batch norms alone are in training mode."""
    copied = copy.deepcopy(model).eval()
    for module in copied.modules():
        if isinstance(module, _BatchNorm):
            module.train()
    return copied


def _without_batch_norms(model: nn.Module) -> nn.Module:
    if isinstance(model, _BatchNorm):
        return nn.Identity()
    for name, child in model.named_children():
        setattr(model, name, _without_batch_norms(child))
    return model


def _weights(model: nn.Module) -> list[Tensor]:
    return [p.requires_grad_() for p in model.parameters() if p.dim() > 1]


def _of_gradients(
    model: nn.Module, images: Tensor, labels: Tensor, measure: Callable[[Tensor, Tensor], Tensor]
) -> float:
    """Return what ``measure`` gives for weights and their gradients of the loss, added up."""
    copied = _ready(model)
    weights = _weights(copied)
    loss = nn.functional.cross_entropy(copied(images), labels)
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    return _added(weights, gradients, measure)


def _added(
    weights: list[Tensor],
    gradients: tuple[Tensor | None, ...],
    measure: Callable[[Tensor, Tensor], Tensor],
) -> float:
    pairs = zip(weights, gradients, strict=True)
    return sum(float(measure(w.detach(), g)) for w, g in pairs if g is not None)
