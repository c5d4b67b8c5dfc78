"""Channels in competition with knockoffs: features of other images."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sentei.criteria.base import FloatArray, Source, broadcast_index
from sentei.seeding import make_generator
from sentei.sparsify.base import SPARSIFIERS, Setting, SparseHook, Sparsifier
from sentei.sparsify.channels import as_scores, evidence_of, expand, norm_scales
from sentei.sparsify.frozen import Frozen
from sentei.sparsify.gates import PlainGates
from sentei.sparsify.wiring import batch_norms

_MODULE = "sentei_knockoff"  # holds the shares while they are learned


@SPARSIFIERS.register("scop")
@dataclass(frozen=True, kw_only=True)
class SCOP(Sparsifier):
    r"""Scientific control: how far the network prefers a channel to its knockoff.

    Every image of a batch is paired with another one, its knockoff. Both run through the frozen
    network, and behind each batch norm the channels of the image are mixed with those of the
    knockoff,

    .. math:: A \leftarrow \kappa_c A + (1 - \kappa_c) \tilde A, \qquad \kappa_c \in [0, 1],

    where :math:`\tilde A` comes from the knockoff alone. Only the shares :math:`\kappa`, 1/2 at
    first, are trained: a channel that matters is drawn to the image's own. Scores are

    .. math:: \frac{1}{M_c} \sum_m |\gamma_{mc}| \, (\kappa_c - (1 - \kappa_c))

    over the norms m of a channel, compared over all groups. In evaluation mode nothing is mixed.

    Source: Tang et al., SCOP: Scientific Control for Reliable Neural Network Pruning, NeurIPS
    2020, arXiv:2010.10732.
    Difference: the paper draws knockoff images from a trained generator; here they are the same
    batch in another order, which has the right distribution and tells nothing about the label,
    but is no exchangeable copy of the very image. A coupled group has one share a channel. The
    shares are trained by the run's optimizer (the paper uses Adam, learning rate 4e-3).
    """

    source: ClassVar[Source] = Source(
        paper="Tang et al., SCOP, NeurIPS", year=2020, arxiv="2010.10732", section="2.3.2"
    )
    comparable: ClassVar[bool] = True
    needs_norms: ClassVar[bool] = True
    freezes: ClassVar[bool] = True

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook; every group must have a batch norm."""
        return _SCOPHook(setting)


class _SCOPHook(SparseHook):
    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        sites = batch_norms(evidence, model, needed_by="scop")
        self.scales = norm_scales(evidence)
        self.shares = PlainGates(evidence.graph.num_channels, next(model.parameters()))
        with torch.no_grad():
            self.shares.values.fill_(0.5)
        model.add_module(_MODULE, self.shares)
        self.frozen = Frozen(model, self.shares.parameters())
        self.handles = [
            model.register_forward_pre_hook(self._add_knockoffs),
            model.register_forward_hook(self._drop_knockoffs),
        ]
        for site in sites:
            index = broadcast_index(site.part, 1).to(self.shares.values.device)
            mix = partial(self._mix, model, index)
            self.handles.append(site.module.register_forward_hook(mix))

    def _add_knockoffs(self, model: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not model.training:
            return None
        images, *rest = args
        generator = make_generator(self.setting.seed, "scop", str(self.step))
        order = torch.randperm(len(images), generator=generator).to(images.device)
        return (torch.cat([images, images[order]]), *rest)

    def _mix(
        self, model: nn.Module, index: Tensor, _norm: nn.Module, _args: object, out: Tensor
    ) -> Tensor:
        if not model.training:
            return out
        own, knockoff = out.chunk(2)
        shares = expand(self.shares(), index).reshape(-1, *[1] * (out.dim() - 2))
        return torch.cat([shares * own + (1 - shares) * knockoff, knockoff])

    def _drop_knockoffs(self, model: nn.Module, _args: object, logits: Tensor) -> Tensor:
        return logits.chunk(2)[0] if model.training else logits

    def after_step(self, _model: nn.Module) -> None:
        with torch.no_grad():
            self.shares.values.clamp_(0, 1)
        self.count_step()

    def scores(self, _model: nn.Module) -> FloatArray:
        sizes = self.scales.sums(Tensor.abs) / self.scales.counts
        return as_scores(sizes * (2 * self.shares.values - 1))

    def finish(self, model: nn.Module) -> None:
        for handle in self.handles:
            handle.remove()
        self.frozen.thaw()
        delattr(model, _MODULE)
