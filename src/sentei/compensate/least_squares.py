"""New weights for the layers that read removed channels, by least squares.

Shapes: N = samples; J = positions of an output that are looked at; P = positions of the channels
in what a layer reads; K = elements of a kernel; V = groups of the convolution; I = P / V; O = all
outputs of a group of the convolution; D = I K, and 1 more where there is a constant.
"""

import math
from dataclasses import dataclass
from functools import cache, partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from sentei.compensate.base import COMPENSATIONS, Compensation, Removal
from sentei.compensate.readers import (
    Reader,
    evaluating,
    plan_of,
    read_once,
    readers,
    require_images,
    tensor_of,
)
from sentei.criteria.base import Needs, Source
from sentei.criteria.contributions import (
    check_positions,
    draw_positions,
    patches,
    products,
)
from sentei.errors import PruningError
from sentei.graph import Graph
from sentei.seeding import make_generator


@COMPENSATIONS.register("least-squares")
@dataclass(frozen=True, kw_only=True)
class LeastSquares(Compensation):
    r"""Least squares: layers that read what went are refitted to the outputs they had.

    Front to back, every convolution and linear layer that reads removed channels gets the weights
    W and the constant b with which its outputs are nearest to those Y of the dense network, given
    what X it reads in the pruned network, whose layers before are refitted already:

    .. math:: \min_{W, b} \lVert Y - X W - b \rVert_F^2
        + \rho \, \bigl\lVert (W, b) - (W_0, 0) \bigr\rVert_F^2

    with the weights :math:`W_0` that were left and :math:`\rho` the ``ridge`` times the mean square
    of the columns of X: the squared error on what was looked at never rises. The constant goes
    into the bias, or into the running mean of a batch norm that follows directly; without either
    there is none. Fitted outputs vary less than those of the dense network, so such a norm gets
    their mean and variance, and the scale and shift with which it computes the same: measuring it
    anew, or training on, does not undo the fit. The normal equations are added up over batches,
    :math:`D^2` numbers whatever the number of images; each layer takes one run of both networks up
    to it.

    Scales are fitted to the removal of what their own layer reads alone: X is what stays of what
    the dense network reads. One number an input cannot mend what layers before have lost; asked
    to, it damps every layer a little more than the last and inflates the classifier, and training
    on starts from there (a ResNet-20 at a quarter of its MACs: 55% after two epochs, 64% so).

    Source: He et al., Channel Pruning for Accelerating Very Deep Neural Networks, ICCV 2017,
    arXiv:1707.06168 (weights); Luo et al., ThiNet, ICCV 2017, arXiv:1707.06342 (scales).
    Difference: all channels were removed before the first fit; a layer at the end of a residual
    branch is fitted to its own outputs, not to those of the sum; the ridge; the constant; the norm.

    A layer is left as it is whose weight is computed or used by several calls, and so are
    transposed and depthwise convolutions, products with bare matrices, recurrent layers and attention.

    Args:
        fit: ``weights`` fits every weight; ``scales`` one factor for every input of a layer.
        positions: Positions of every layer's output that are drawn an image, >= 1.
        ridge: :math:`\rho`, relative, > 0; more stays nearer to the weights there were.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="He et al., Channel Pruning for Accelerating Very Deep Neural Networks, ICCV",
        year=2017,
        arxiv="1707.06168",
        section="2.2.1",
    )
    needs: ClassVar[Needs] = Needs.IMAGES
    fit: Literal["weights", "scales"] = "weights"
    positions: int = 10
    ridge: float = 1e-6

    def __post_init__(self) -> None:
        check_positions(self.positions)
        if self.fit not in ("weights", "scales"):
            raise ValueError(f"fit={self.fit!r}; expected 'weights' or 'scales'")
        if not 0 < self.ridge < math.inf:
            raise ValueError(f"ridge={self.ridge}; expected a finite number > 0")

    def compensate(self, small: nn.Module, removal: Removal) -> None:
        """Refit the layers of ``small`` in place.

        Raises:
            PruningError: There are no images, or no layer can be refitted.
        """
        require_images("least-squares", removal)
        plan = plan_of(removal)
        layers = readers(plan)
        if plan.removed and not layers:
            raise PruningError(
                "compensation 'least-squares': none of the layers that read what is removed can be "
                "refitted (their weights are computed, shared, or of a transposed convolution, "
                "attention or recurrent layer); prune without compensation"
            )
        with evaluating(removal.model, small):
            for reader in layers:
                equations = self._gather(reader, plan.graph, small, removal)
                self._refit_(reader, small, equations)

    def _gather(
        self, reader: Reader, graph: Graph, small: nn.Module, removal: Removal
    ) -> "_Equations":
        """Return the normal equations of what is missing in the outputs of a layer."""
        generator = make_generator(removal.seed, "least-squares", reader.weight)
        draw = partial(draw_positions, positions=self.positions, generator=generator)
        stay = torch.from_numpy(reader.outputs)
        equations = _Equations(has_constant=reader.can_shift)
        for images, *_ in removal.batches:
            dense = read_once(graph, removal.model, reader.point, images)
            same = cache(draw)  # both networks are looked at in the same places
            patches_NPJK, weight_OIK = patches(dense, same)
            whole_NOJ = products(patches_NPJK, weight_OIK)[:, stay]
            if self.fit == "scales":
                given_NPJK = patches_NPJK[:, torch.from_numpy(reader.inputs)]
                weight = tensor_of(small, reader.weight)
                own_OIK = weight.reshape(*weight.shape[:2], -1)
            else:
                pruned = read_once(graph, small, reader.point, images)
                given_NPJK, own_OIK = patches(pruned, same)
            equations.add(given_NPJK, own_OIK, whole_NOJ - products(given_NPJK, own_OIK))
        return equations

    def _refit_(self, reader: Reader, small: nn.Module, equations: "_Equations") -> None:
        weight = tensor_of(small, reader.weight)
        if self.fit == "scales":
            change_OD = equations.change_of_scales(weight, self.ridge)
        else:
            change_OD = equations.change(self.ridge)
        weight += change_OD[:, : weight[0].numel()].reshape(weight.shape).to(weight)
        if equations.has_constant:
            reader.shift_(small, change_OD[:, -1])
        if reader.norm:
            mean_O, variance_O = equations.moments(weight)
            if reader.bias:
                mean_O = mean_O + tensor_of(small, reader.bias)
            reader.norm.restate_(small, mean_O, variance_O)


class _Equations:
    """Normal equations of a layer, added up over batches in float64.

    Args:
        has_constant: A constant is added to the outputs; it is the last column.
    """

    def __init__(self, *, has_constant: bool) -> None:
        self.has_constant = has_constant
        self.gram_VDD = torch.zeros((), dtype=torch.float64)
        self.cross_VDO = torch.zeros((), dtype=torch.float64)

    def add(self, patches_NPJK: Tensor, weight_OIK: Tensor, missing_NOJ: Tensor) -> None:
        """Add what outputs at some positions are made from, and what they lack."""
        conv_groups = patches_NPJK.shape[1] // weight_OIK.shape[1]
        columns_NVIJK = patches_NPJK.double().unflatten(1, (conv_groups, -1))
        rows_VRD = columns_NVIJK.permute(1, 0, 3, 2, 4).flatten(3).flatten(1, 2)
        if self.has_constant:
            rows_VRD = torch.cat([rows_VRD, torch.ones_like(rows_VRD[..., :1])], dim=2)
        missing_NVOJ = missing_NOJ.double().unflatten(1, (conv_groups, -1))
        missing_VRO = missing_NVOJ.permute(1, 0, 3, 2).flatten(1, 2)
        self.gram_VDD = self.gram_VDD + rows_VRD.mT @ rows_VRD
        self.cross_VDO = self.cross_VDO + rows_VRD.mT @ missing_VRO

    def change(self, ridge: float) -> Tensor:
        """Return what is added to every weight, shape [all outputs, D]."""
        return _solve(self.gram_VDD, self.cross_VDO, ridge).mT.flatten(0, 1)

    def change_of_scales(self, weight: Tensor, ridge: float) -> Tensor:
        """Return what is added to every weight, each input times a number, [all outputs, D]."""
        weight_VOD = self._by_group(weight)
        inner = weight_VOD.shape[2]  # without the constant
        size = (weight.shape[1], -1)  # I, K
        centred = self._centred()
        gram_VDD = centred.gram_VDD * (weight_VOD.mT @ weight_VOD)
        gram_VII = gram_VDD.unflatten(2, size).sum(3).unflatten(1, size).sum(2)
        products_VDO = centred.cross_VDO * weight_VOD.mT
        cross_VI = products_VDO.sum(2).unflatten(1, size).sum(2)
        factors_VI = _solve(gram_VII, cross_VI[..., None], ridge)[..., 0]
        change_VOIK = weight_VOD.unflatten(2, size) * factors_VI[:, None, :, None]
        change_VOD = change_VOIK.flatten(2)
        if self.has_constant:
            total_VO = (change_VOD @ self.gram_VDD[:, :inner, inner:])[..., 0]
            constant_VO = (self.cross_VDO[:, inner] - total_VO) / self.gram_VDD[0, -1, -1]
            change_VOD = torch.cat([change_VOD, constant_VO[..., None]], dim=2)
        return change_VOD.flatten(0, 1)

    def _centred(self) -> "_Equations":
        """Return the equations for what the best constants leave, without their column."""
        if not self.has_constant:
            return self
        found = _Equations(has_constant=False)
        total_VD1, count = self.gram_VDD[:, :-1, -1:], self.gram_VDD[0, -1, -1]
        found.gram_VDD = self.gram_VDD[:, :-1, :-1] - total_VD1 @ total_VD1.mT / count
        found.cross_VDO = self.cross_VDO[:, :-1] - total_VD1 @ self.cross_VDO[:, -1:] / count
        return found

    def moments(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and unbiased variance of X W where it was looked at; needs the constant."""
        weight_VOD = self._by_group(weight)
        count = self.gram_VDD[0, -1, -1]
        mean_VO = (weight_VOD @ self.gram_VDD[:, :-1, -1:])[..., 0] / count
        squares_VO = ((weight_VOD @ self.gram_VDD[:, :-1, :-1]) * weight_VOD).sum(2)
        variance_VO = (squares_VO - count * mean_VO**2).clamp(min=0) / (count - 1).clamp(min=1)
        return mean_VO.flatten(), variance_VO.flatten()

    def _by_group(self, weight: Tensor) -> Tensor:
        """Return a weight as [V, O, I K]."""
        return weight.double().flatten(1).unflatten(0, (len(self.gram_VDD), -1))


def _solve(gram_VDD: Tensor, cross_VDO: Tensor, ridge: float) -> Tensor:
    """Return the solution of the normal equations, shape [V, D, O]; 0 where nothing was read."""
    squares_VD = gram_VDD.diagonal(dim1=1, dim2=2)
    ridge_V11 = ridge * squares_VD.mean(1)[:, None, None]
    ridge_V11 = torch.where(ridge_V11 > 0, ridge_V11, 1.0)
    identity = torch.eye(gram_VDD.shape[1], dtype=gram_VDD.dtype, device=gram_VDD.device)
    return torch.cholesky_solve(cross_VDO, torch.linalg.cholesky(gram_VDD + ridge_V11 * identity))
