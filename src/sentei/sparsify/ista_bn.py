"""Soft thresholds on the scales of norms, in proportion to the memory of channels."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sentei.criteria.base import Evidence, FloatArray, Source
from sentei.errors import PruningError
from sentei.graph import Graph
from sentei.graph.capture import as_inputs, map_tensors, tensors_in
from sentei.sparsify.base import SPARSIFIERS, Setting, SparseHook, Sparsifier, check_at_least
from sentei.sparsify.channels import Selection, as_scores, evidence_of, norm_scales
from sentei.sparsify.wiring import consumed_slices, gate_slices
from sentei.train.checks import preserve_modes

# Homogeneous on small inputs only, so that running the model may not show it.
_CLIPS = frozenset({"hardtanh", "clamp", "clamp_max"})


@SPARSIFIERS.register("rsnli")
@dataclass(frozen=True, kw_only=True)
class IstaBn(Sparsifier):
    r"""Iterative soft thresholding of the scales of norms.

    After each optimizer step, of learning rate :math:`\eta`, every scale of a norm that acts on
    channel c goes through the proximal map of :math:`\rho \lambda_c |\gamma|`:

    .. math:: \gamma \leftarrow \operatorname{sign}(\gamma)
        \max(0, |\gamma| - \eta \rho \lambda_c)

    :math:`\lambda_c` is what a channel of the whole network costs in memory, weights and
    activations of one sample together, divided by the mean over channels. Before training, the
    channels of all groups are made smaller by :math:`\alpha` where they arise (scales and shifts
    of norms, weights and biases that no norm follows) and the weights that read them larger by
    :math:`1 / \alpha`, which leaves the outputs and makes the scales fall sooner; afterwards this
    is undone. Scores are the mean of :math:`|\gamma|` over a channel's norms.

    Source: Ye et al., Rethinking the Smaller-Norm-Less-Informative Assumption in Channel Pruning
    of Convolution Layers, ICLR 2018, arXiv:1802.00124.
    Difference: the paper counts the weights of a channel and the pixels of its map in elements
    and divides by the pixels of the input image; here they are bytes, all maps of a coupled group
    count, and the mean is divided by, so that ``strength`` means the same in every network. What
    a removed channel leaves behind as a constant the method of this name absorbs afterwards.

    Args:
        strength: :math:`\rho`, >= 0.
        alpha: :math:`\alpha`, in (0, 1]; 1 rescales nothing. Less needs activations that are
            positively homogeneous (ReLU, not ReLU6 or SiLU) and norms right behind layers, which is
            checked. Powers of two lose no bit.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Ye et al., Rethinking the Smaller-Norm-Less-Informative Assumption, ICLR",
        year=2018,
        arxiv="1802.00124",
        section="2.3.1",
    )
    comparable: ClassVar[bool] = True
    needs_norms: ClassVar[bool] = True
    strength: float = 1e-3
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_at_least(self, "strength", 0)
        if not 0 < self.alpha <= 1:
            raise ValueError(f"IstaBn: alpha={self.alpha}; expected a number in (0, 1]")

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook; every group must have a norm."""
        return _IstaBnHook(self, setting)


class _IstaBnHook(SparseHook):
    def __init__(self, method: IstaBn, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        self.scales = norm_scales(evidence)
        costs = memory_costs(self.setting)
        self.strengths = self.method.strength * torch.from_numpy(costs).to(self.scales.counts)
        self.evidence = evidence
        if self.method.alpha < 1:
            _rescale_checked(self.setting.graph, model, evidence, self.method.alpha)

    def after_step(self, _model: nn.Module) -> None:
        self.scales.map_(_soft_threshold, self.learning_rate * self.strengths)
        self.count_step()

    def scores(self, _model: nn.Module) -> FloatArray:
        return as_scores(self.scales.sums(Tensor.abs) / self.scales.counts)

    def finish(self, _model: nn.Module) -> None:
        if self.method.alpha < 1:
            _rescale(self.evidence, 1 / self.method.alpha)


def memory_costs(setting: Setting) -> FloatArray:
    """Return the bytes of weights and activations of one channel, mean 1, shape [C]."""
    graph = setting.graph
    names = ("weight_bytes", "activation_bytes")
    bytes_G = sum(setting.costs.group_saving(name, graph.widths) for name in names)
    bytes_C = np.repeat(np.asarray(bytes_G, dtype=np.float64), graph.widths)
    costs: FloatArray = bytes_C / bytes_C.mean()
    return costs


def _soft_threshold(values: Tensor, thresholds: Tensor) -> Tensor:
    return values.sign() * (values.abs() - thresholds).clamp(min=0)


def _rescale(evidence: Evidence, factor: float) -> None:
    """Multiply channels where they arise, and divide the weights that read them."""
    first = next(iter(evidence.parameters.values()))
    factors_C = first.new_full((evidence.graph.num_channels,), factor)
    Selection(evidence, gate_slices(evidence)).scale_(factors_C)
    Selection(evidence, consumed_slices(evidence)).scale_(1 / factors_C)


def _rescale_checked(graph: Graph, model: nn.Module, evidence: Evidence, alpha: float) -> None:
    clipped = [op for op in graph.recording.ops if op.name in _CLIPS]
    if clipped:
        raise PruningError(
            f"{graph.recording.where(clipped[0])} clips its input (as ReLU6 does), so rescaling by "
            f"alpha={alpha:g} would move where it clips; set alpha=1"
        )
    before = _outputs(graph, model)
    _rescale(evidence, alpha)
    for old, new in zip(before, _outputs(graph, model), strict=True):
        allowed = math.sqrt(torch.finfo(new.dtype).eps)
        difference = float((new - old).abs().max() / old.abs().max().clamp(min=1e-30))
        # Written so that NaN fails too.
        if not difference <= allowed:
            _rescale(evidence, 1 / alpha)
            raise PruningError(
                f"rescaling by alpha={alpha:g} changes the outputs by {difference:.1e}, relative "
                f"to the largest, and at most {allowed:.0e} is rounding: some activation is not "
                "homogeneous, or a norm reads what is rescaled; set alpha=1"
            )


@torch.no_grad()
def _outputs(graph: Graph, model: nn.Module) -> list[Tensor]:
    """Return what the model gives for the inputs it was traced with, in evaluation mode."""
    like = next(model.parameters())

    def prepare(tensor: Tensor) -> Tensor:
        return tensor.to(like if tensor.is_floating_point() else like.device)

    inputs = map_tensors(as_inputs(graph.inputs), prepare)
    with preserve_modes(model):
        model.eval()
        args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
        return [t for t in tensors_in(model(*args, **kwargs)) if t.is_floating_point()]
