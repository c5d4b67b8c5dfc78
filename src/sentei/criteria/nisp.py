"""Importance of the last features, handed back through the network.

Shapes: N = images; D = channels of the final response layer; G = channels of all groups.
"""

# Arguments and results of torch's calls may be anything.
# ruff: noqa: ANN401

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Needs, Source, require
from sentei.criteria.watch import Reading, add_channels, watch
from sentei.errors import PruningError
from sentei.graph import Graph
from sentei.graph.capture import OPAQUE, as_inputs, map_tensors, no_fast_path, tensors_in
from sentei.graph.follow import Follow
from sentei.graph.points import Point, computed_values, points

_ACTIVATIONS = frozenset(
    {
        "relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "silu", "gelu", "mish",
        "hardtanh", "hardswish", "hardsigmoid", "sigmoid", "logsigmoid", "tanh", "softplus",
        "softsign", "rrelu", "threshold", "clamp",
    }
)  # fmt: skip
_NORMS = frozenset({"group_norm", "instance_norm", "layer_norm", "rms_norm"})
_ATTENTION = frozenset({"softmax", "scaled_dot_product_attention", "bmm", "baddbmm"}) | OPAQUE


@CRITERIA.register("nisp")
@dataclass(frozen=True, kw_only=True)
class Nisp(Criterion):
    r"""Importance of the last features, handed back by absolute weights.

    What the last layer reads is ranked by infinite feature selection: with the standard
    deviations :math:`\sigma` (the largest is 1) and rank correlations :math:`\rho` of the
    features over images,

    .. math:: A_{ij} = \alpha \max(\sigma_i, \sigma_j) + (1 - \alpha)(1 - |\rho_{ij}|), \qquad
        s = \bigl( (I - r A)^{-1} - I \bigr) 1, \quad r = 0.9 / \lambda_{max}(A)

    From there every pixel of every map hands its score back to those it is computed from: by
    |W| in convolutions and linear layers, by :math:`|\gamma / \sigma|` in batch norms, unchanged
    through activations, pooling, sums and gates. That is one backward pass through the network
    with absolute weights and without nonlinearities. The score of a channel is the sum over its
    pixels at all its readers.

    Source: Yu et al., NISP: Pruning Networks using Neuron Importance Score Propagation, CVPR
    2018, arXiv:1711.05908; the ranking: Roffo et al., Infinite Feature Selection, ICCV 2015.
    Difference: features are averaged over pixels before they are ranked; other norms than batch
    norms, whose :math:`\sigma` depends on the image, hand back by :math:`|\gamma|`.

    Args:
        alpha: Weight of the spread of a feature against its being like no other, in [0, 1].

    Raises:
        ValueError: ``alpha`` is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Yu et al., NISP: Pruning Networks using Neuron Importance Score Propagation, CVPR",
        year=2018,
        arxiv="1711.05908",
        section="2.2.3",
    )
    needs: ClassVar[Needs] = Needs.ACTIVATIONS
    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha={self.alpha}; expected a weight in [0, 1]")

    @contextmanager
    def observe(self, graph: Graph, model: nn.Module) -> Iterator[Mapping[str, Tensor]]:
        """Keep the last features of every image, [N, D]; at the end rank and hand back."""
        _check(graph)
        last = [p for p in points(graph) if p.weight_argument >= 0][-1:]
        features: list[Tensor] = []

        def read(reading: Reading) -> None:
            means = reading.rows.sum(2).double() / reading.num_elements
            features.append(means.cpu())

        sums: dict[str, Tensor] = {}
        with watch(graph, model, last, read=read):
            yield sums
        if last and features:
            ranks = infinite_feature_selection(torch.cat(features).numpy(), alpha=self.alpha)
            sums |= _handed_back(graph, model, last[0], torch.from_numpy(ranks))

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the scores, shape [C], >= 0, without a unit.

        Raises:
            PruningError: A group does not lead to the last layer.
        """
        sums, empty = evidence.sums, torch.zeros(evidence.graph.num_channels)
        missing = "it does not lead to the last layer; score with 'l1', or protect it"
        require(evidence.graph, sums.get("num_readers", empty).numpy() > 0, missing)
        scores: FloatArray = sums["total"].numpy()
        return scores


def infinite_feature_selection(features_ND: FloatArray, *, alpha: float) -> FloatArray:
    """Return how important each feature is, shape [D], > 0.

    Args:
        features_ND: Features of at least two images.
        alpha: Weight of the spread against being like no other, in [0, 1].

    Raises:
        PruningError: There is one image only.
    """
    if len(features_ND) < 2:
        raise PruningError(
            "one image does not tell which features vary together; score with two or more, or with "
            "'hrank', which works on one"
        )
    spread_D = features_ND.std(axis=0)
    spread_D = spread_D / (spread_D.max() or 1.0)
    ranks_ND = rankdata(features_ND, axis=0)
    ranks_ND -= ranks_ND.mean(axis=0)
    lengths_D = np.linalg.norm(ranks_ND, axis=0)
    # A feature that never varies is like no other.
    ranks_ND /= np.where(lengths_D > 0, lengths_D, 1)
    alike_DD = np.abs(ranks_ND.T @ ranks_ND)
    cost_DD = alpha * np.maximum.outer(spread_D, spread_D) + (1 - alpha) * (1 - alike_DD)
    identity_DD = np.eye(len(cost_DD))
    largest = np.abs(np.linalg.eigvalsh(cost_DD)).max()
    scaled_DD = cost_DD * (0.9 / largest if largest > 0 else 0)
    summed: FloatArray = np.linalg.solve(identity_DD - scaled_DD, np.ones(len(cost_DD))) - 1
    return summed


def _check(graph: Graph) -> None:
    calls = graph.recording.calls
    attention = next((call for call in calls if call.function in _ATTENTION), None)
    if attention is not None:
        raise PruningError(
            f"{attention.module or 'the model'} ({attention.where}): {attention.function} mixes by what "
            "it is given, not by weights, so that scores cannot be handed back through it; score "
            "with 'taylor' or 'l1'"
        )


@torch.enable_grad()
def _handed_back(
    graph: Graph, model: nn.Module, last: Point, scores_D: Tensor
) -> dict[str, Tensor]:
    """Return the sums over pixels and readers of the scores handed back, and how many readers, [G].

    In float64: without norms that follow the data, scores grow from layer to layer.
    """
    linear = _Linear(graph)
    inputs = map_tensors(as_inputs(graph.inputs), lambda t: _ones_like(t, model))
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
    with no_fast_path(), Follow(graph.recording, linear.run):
        model(*args, **kwargs)
    final = linear.seen.pop(last.call)
    each = torch.zeros(len(last.channels), dtype=final.dtype)
    for column in torch.from_numpy(last.places.T):
        each[column[column >= 0]] = scores_D[column >= 0]
    ahead = each.to(final.device).reshape(-1, *[1] * (-last.dim - 1)).expand_as(final)
    seen = {call: tensor for call, tensor in linear.seen.items() if tensor.requires_grad}
    gradients = torch.autograd.grad(final, list(seen.values()), ahead, allow_unused=True)
    found = {last.call: ahead, **dict(zip(seen, gradients, strict=True))}
    total, num_readers = torch.zeros(2, graph.num_channels, dtype=torch.float64)
    num_images = graph.recording.batch_size
    for call, gradient in found.items():
        if gradient is not None:
            point = linear.by_call[call]
            reading = Reading(
                point=point, input=gradient, num_images=num_images, num_traced=num_images
            )
            add_channels(total, point, reading.rows.sum(2).mean(0))
            add_channels(num_readers, point, torch.ones(len(point.owned)))
    return {"total": total, "num_readers": num_readers}


def _ones_like(tensor: Tensor, model: nn.Module) -> Tensor:
    device = next(model.parameters()).device
    if not tensor.is_floating_point():
        return tensor.to(device)
    return torch.ones(tensor.shape, dtype=torch.float64, device=device, requires_grad=True)


class _Linear:
    """Runs calls with absolute weights and without nonlinearities; keeps what readers are given."""

    def __init__(self, graph: Graph) -> None:
        self.calls = graph.recording.calls
        self.is_computed = computed_values(graph.recording)
        self.by_call = {p.call: p for p in points(graph)}
        self.seen: dict[int, Tensor] = {}

    def run(self, index: int, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self.calls[index]
        numbers = iter(range(len(call.tensors)))
        args, kwargs = map_tensors(
            (args, kwargs), lambda t: self._argument(index, next(numbers), t)
        )
        tensors = list(tensors_in((args, kwargs)))
        given = [t for t, v in zip(tensors, call.tensors, strict=True) if self.is_computed[v]]
        name = call.function.strip("_")
        if name in _ACTIVATIONS and given:
            return given[0]
        if name in ("mul", "imul", "rmul") and len(given) > 1:
            return given[0] + given[1]  # a gate: both hand back what the product gets
        if name in _NORMS and given:
            return _scaled(name, given[0], args, kwargs)
        return func(*args, **kwargs)

    def _argument(self, index: int, number: int, tensor: Tensor) -> Tensor:
        if not self.is_computed[self.calls[index].tensors[number]]:
            return tensor.detach().abs().double() if tensor.is_floating_point() else tensor
        point = self.by_call.get(index)
        if point is None or number not in point.arguments:
            return tensor
        return self.seen.setdefault(index, tensor.view_as(tensor))


def _scaled(name: str, tensor: Tensor, args: Any, kwargs: dict[str, Any]) -> Tensor:
    """Return a tensor times the scale that a norm was given, if any."""
    place = 3 if name == "instance_norm" else 2
    weight = kwargs.get("weight", args[place] if len(args) > place else None)
    if weight is None:
        return tensor
    is_along_first = name in ("group_norm", "instance_norm")
    return tensor * (weight.reshape(-1, *[1] * (tensor.dim() - 2)) if is_along_first else weight)
