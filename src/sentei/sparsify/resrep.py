"""Compactors behind norms: what they learn to forget is folded away exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sentei.allocate import plan_widths
from sentei.allocate.grid import make_grid
from sentei.allocate.path import Path, ascending_scores
from sentei.criteria.base import Evidence, FloatArray, Source, broadcast_index, produced_dims
from sentei.criteria.score import Scores, split_by_group
from sentei.errors import PruningError
from sentei.graph import Slice
from sentei.index.atoms import BoolArray
from sentei.sparsify.base import (
    SPARSIFIERS,
    Setting,
    SparseHook,
    Sparsifier,
    check_at_least,
    chosen_lowest,
)
from sentei.sparsify.channels import Selection, as_scores, evidence_of, expand
from sentei.sparsify.wiring import NormSite, Producer, batch_norms, producers, unnormed_slices

# Shapes: C = channels of all groups, D = outputs of one norm.

_MODULE = "sentei_compactor"  # the name of a compactor in the norm that it follows


@SPARSIFIERS.register("resrep")
@dataclass(frozen=True, kw_only=True)
class ResRep(Sparsifier):
    r"""Remembering and forgetting, apart: compactors with resetting gradients.

    A compactor, a matrix :math:`Q \in R^{D \times D}` that is the identity at first, multiplies
    the D outputs of every batch norm behind a convolution. Row c of all compactors that make
    channel c has the norm :math:`t_c`. The gradient of its entries becomes

    .. math:: m_c \frac{\partial L}{\partial Q} + \lambda \frac{Q}{t_c}

    with a mask m, 1 at first. Every few steps the channels with the lowest t get m = 0, until the
    costs of what remains meet the budget: these channels only forget, the others only learn. In
    the end compactor, norm and convolution become one convolution and one norm, exactly (with
    the norm's running statistics replaced by those seen behind the compactor):

    .. math:: K' = Q \operatorname{diag}(\gamma / \sqrt{v + \varepsilon}) K

    Scores are :math:`t`, with the masked channels below all others.

    Source: Ding et al., ResRep: Lossless CNN Pruning via Decoupling Remembering and Forgetting,
    ICCV 2021, arXiv:2007.03260.
    Difference: all compactors of a coupled group share one mask and one norm of rows (there a
    layer's followers take the mask of their pacesetter); rows become removable, they are not
    dropped before the plan; the number of masked channels grows evenly with time (there by 4
    every 200 iterations); compactors have the momentum of the run (there 0.99), and no weight
    decay. Only dense convolutions and linear layers can take a compactor in, so every norm of a
    group must follow one directly.

    Args:
        strength: :math:`\lambda`, >= 0.
        warmup: Share of the training before the first mask, in [0, 1).
        growth: Share of the training, after the warm-up, in which masks are set, > 0; with
            ``warmup`` at most 1.
        every: Optimizer steps between two masks, >= 1.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Ding et al., ResRep, ICCV", year=2021, arxiv="2007.03260", section="2.3.2"
    )
    comparable: ClassVar[bool] = True
    needs_norms: ClassVar[bool] = True
    strength: float = 1e-4
    warmup: float = 0.05
    growth: float = 0.5
    every: int = 10

    def __post_init__(self) -> None:
        check_at_least(self, "strength", 0)
        check_at_least(self, "warmup", 0)
        check_at_least(self, "growth", 0, strict=True)
        check_at_least(self, "every", 1)
        if self.warmup + self.growth > 1:
            raise ValueError(
                f"ResRep: masks grow until {self.warmup + self.growth:g} of the training; "
                "expected at most 1: lower warmup or growth"
            )

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook; every group must have batch norms behind dense convolutions."""
        return _ResRepHook(self, setting)


class Compactor(nn.Module):
    """A matrix on the channels of a tensor [N, D, ...]; watches mean and variance behind it.

    Args:
        norm: The norm that it follows.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        size = len(norm.weight)
        # Flat, so that the loop decays it no more than it decays a bias.
        self.flat = nn.Parameter(torch.eye(size).to(norm.weight).flatten())
        self.register_buffer("mean", norm.bias.detach().clone())
        self.register_buffer("variance", norm.weight.detach().square())
        self.momentum = 0.1 if norm.momentum is None else norm.momentum

    @property
    def matrix(self) -> Tensor:
        """Q, shape [D, D]."""
        return self.flat.reshape(len(self.mean), -1)

    def forward(self, x: Tensor) -> Tensor:
        """Return Q x."""
        out = torch.einsum("ij,nj...->ni...", self.matrix, x)
        if self.training:
            dims = [d for d in range(out.dim()) if d != 1]
            variance, mean = torch.var_mean(out.detach().to(self.mean.dtype), dims)
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance, self.momentum)
        return out


@dataclass(frozen=True, kw_only=True, eq=False)
class _Site:
    """A norm with its compactor and the layer before."""

    norm: nn.BatchNorm2d
    compactor: Compactor
    weight: Tensor
    bias: Tensor | None
    hook: torch.utils.hooks.RemovableHandle

    @torch.no_grad()
    def fold(self) -> None:
        """Put compactor and norm into the layer, and what is left into the norm."""
        norm, matrix = self.norm, self.compactor.matrix
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factors = norm.weight / (norm.running_var + norm.eps).sqrt()
        constant = matrix @ (norm.bias - factors * norm.running_mean)
        folded = matrix * factors
        self.weight.copy_((folded @ self.weight.flatten(1)).reshape(self.weight.shape))
        if self.bias is not None:
            self.bias.copy_(folded @ self.bias)
        # The norm has but to add the constant. It keeps the statistics of its input, so that it
        # goes on in training mode as it is in evaluation mode.
        norm.running_mean.copy_(self.compactor.mean - constant)
        norm.running_var.copy_(self.compactor.variance)
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(self.compactor.mean)
        self.hook.remove()
        delattr(self.norm, _MODULE)


class _ResRepHook(SparseHook):
    def __init__(self, method: ResRep, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        norms = batch_norms(evidence, model, needed_by="resrep")
        _check_normed(evidence)
        _check_plain(norms)
        layers = [_layer_before(evidence, norm) for norm in norms]
        self.sites = [_attach(evidence, *pair) for pair in zip(norms, layers, strict=True)]
        self.rows = _rows(evidence, norms, self.sites)
        self.kept |= {"masked": torch.zeros_like(self.rows.counts, dtype=torch.bool)}

    @torch.no_grad()
    def after_backward(self, _model: nn.Module) -> None:
        norms = self.rows.norms()
        pulls = torch.where(norms > 0, self.method.strength / norms, 0.0)
        learns = (~self.kept["masked"]).to(norms.dtype)
        for part in self.rows.slices:
            matrix = self.rows.parameters[part.tensor]
            assert matrix.grad is not None
            index = broadcast_index(part, 1).to(matrix.device)
            reset = expand(learns, index) * matrix.grad + expand(pulls, index) * matrix
            matrix.grad.copy_(torch.where(index >= 0, reset, matrix.grad))

    def after_step(self, _model: nn.Module) -> None:
        self.count_step()
        done = self.step / self.setting.num_steps - self.method.warmup
        if done > 0 and self.step % self.method.every == 0:
            masked = self._lowest(min(1.0, done / self.method.growth))
            self.kept["masked"].copy_(torch.from_numpy(masked))

    def _lowest(self, share: float) -> BoolArray:
        """Return the lowest channels, at most a share of all and as many as the budget asks for."""
        graph, setting = self.setting.graph, self.setting
        by_group = split_by_group(graph, "resrep", as_scores(self.rows.norms()))
        scores = Scores(criterion="resrep", by_group=by_group, comparable=True)
        keys = [ascending_scores(g, by_group[g.name]) for g in graph.groups]
        path = Path(grid=make_grid(graph, round_to=1, floor=setting.floor), keys=keys)
        widths_NG = path.widths(np.arange(ceil(share * path.length) + 1))
        costs = setting.costs.costs(widths_NG, names=tuple(setting.targets))
        fits = np.all([costs[n] <= limit for n, limit in setting.targets.items()], axis=0)
        last = int(np.argmax(fits)) if fits.any() else -1
        return ~plan_widths(graph, scores, widths_NG[last]).keep

    def scores(self, _model: nn.Module) -> FloatArray:
        return chosen_lowest(as_scores(self.rows.norms()), self.kept["masked"].cpu().numpy())

    def finish(self, _model: nn.Module) -> None:
        for site in self.sites:
            site.fold()


def _check_normed(evidence: Evidence) -> None:
    bare = unnormed_slices(evidence)
    if bare:
        raise PruningError(
            f"{bare[0].tensor} makes channels that no norm follows directly, so 'resrep' has no "
            "place for a compactor; sparsify with 'oto' or 'ssl', or protect its group"
        )


def _check_plain(norms: Sequence[NormSite]) -> None:
    for norm in norms:
        # What a subclass does beside, such as an activation, would come before the compactor.
        if type(norm.module).forward is not _BatchNorm.forward:
            raise PruningError(
                f"{norm.part.tensor} belongs to a {type(norm.module).__name__}, which may compute more "
                "than a batch norm, so 'resrep' cannot put a compactor right behind the norm; "
                "sparsify with 'oto' or 'ssl', or protect its group"
            )


def _layer_before(evidence: Evidence, norm: NormSite) -> Producer:
    """Return the dense layer that a norm follows directly.

    Raises:
        PruningError: There is none that could take the compactor in.
    """
    found = producers(evidence.graph.recording)
    scale = norm.part.tensor
    candidates = [p for p in found if scale in p.norm_scales]
    if len(candidates) == 1:
        layer = candidates[0]
        is_used_once = sum(p.weight == layer.weight for p in found) == 1
        dims = produced_dims(evidence)
        if (
            layer.is_dense
            and is_used_once
            and layer.norm_scales == (scale,)
            and not dims[layer.weight]
        ):
            return layer
    raise PruningError(
        f"{scale}: 'resrep' folds compactors into the dense convolution or linear layer right "
        "before a norm, and this norm has none of its own; sparsify with 'oto' or 'ssl', "
        "or protect its group"
    )


def _attach(evidence: Evidence, norm: NormSite, layer: Producer) -> _Site:
    compactor = Compactor(norm.module)
    norm.module.add_module(_MODULE, compactor)
    return _Site(
        norm=norm.module,
        compactor=compactor,
        weight=evidence.parameters[layer.weight],
        bias=evidence.parameters.get(layer.bias),
        hook=norm.module.register_forward_hook(lambda _module, _args, out: compactor(out)),
    )


def _rows(evidence: Evidence, norms: Sequence[NormSite], sites: Sequence[_Site]) -> Selection:
    """Return the rows of all compactors, channel by channel."""
    matrices: dict[str, Tensor] = {
        norm.part.tensor: site.compactor.flat for norm, site in zip(norms, sites, strict=True)
    }
    slices = [
        Slice(
            tensor=norm.part.tensor,
            dims=(0,),
            channels=np.repeat(norm.part.channels, len(norm.part.channels)),
        )
        for norm in norms
    ]
    return Selection(Evidence(graph=evidence.graph, parameters=matrices), slices)
