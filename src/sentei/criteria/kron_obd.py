"""Optimal brain damage of channels, by the Fisher information in Kronecker factors."""

# Shapes: C = channels at one point; R = positions of outputs that are looked at; K = numbers that
# one position reads of a channel; O = outputs of a layer; G = channels of all groups.

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Needs, Source
from sentei.criteria.contributions import (
    Share,
    check_positions,
    draw_positions,
    flat,
    readers,
    require_readers,
    shares,
)
from sentei.criteria.watch import Reading, watch
from sentei.graph import Graph
from sentei.graph.points import Point
from sentei.seeding import make_generator


@CRITERIA.register("kron-obd")
@dataclass(frozen=True, kw_only=True)
class KronObd(Criterion):
    r"""Second-order change of the loss when the weights that read a channel go.

    The Fisher information of the weights of a layer is taken for a Kronecker product
    :math:`S \otimes A`: of what the layer reads, added over the positions of its output,
    :math:`A = \frac1N \sum_{nt} a_{nt} a_{nt}^T`, and of the gradients of each image's loss with
    respect to what it makes, averaged over them, :math:`S = \frac1{NT} \sum_{nt} g_{nt} g_{nt}^T`.
    With :math:`W_c` the weights that read channel c, and :math:`A_c` the block of A for it,

    .. math:: s_c = \tfrac12 \sum_{layers} \operatorname{vec}(W_c)^T (S \otimes A)
        \operatorname{vec}(W_c) = \tfrac12 \sum_{layers} \operatorname{tr}(S W_c A_c W_c^T)

    over the layers that read c. Unlike the diagonal of ``obd-c`` it sees how the weights of a
    channel work together. Of A only the blocks are made, :math:`C K^2 + O^2` numbers a layer.

    Source: Wang et al., EigenDamage: Structured Pruning in the Kronecker-Factored Eigenbasis,
    ICML 2019, arXiv:1905.05934 (Kron-OBD, to which it is compared).
    Difference: the weights that read a channel, in all layers, not the filter that makes it: to
    take them away is what removing the channel does, norms and shifts in between or not. Labels
    are those of the images, not drawn from what the network answers. Each group of a grouped
    convolution is a layer of its own. EigenDamage itself prunes in the eigenbasis, which leaves
    bottlenecks of three layers and no smaller layer; it is not done here.

    Args:
        positions: Positions of every layer's output that are drawn an image for A, >= 1; S is
            made of all.
        seed: Of the draws.

    Raises:
        ValueError: ``positions`` is below 1.
    """

    source: ClassVar[Source] = Source(
        paper="Wang et al., EigenDamage, ICML",
        year=2019,
        arxiv="1905.05934",
        section="2.4.1",
    )
    needs: ClassVar[Needs] = Needs.ACTIVATIONS | Needs.GRADIENTS
    comparable: ClassVar[bool] = True
    positions: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        check_positions(self.positions)

    @contextmanager
    def observe(self, graph: Graph, model: nn.Module) -> Iterator[Mapping[str, Tensor]]:
        """Add up the factors of every reader; "total" is there at the end, shape [G]."""
        found = readers(graph)
        factors = {point: _Factors(point) for point in found.values()}
        generators = {p: make_generator(self.seed, "kron-obd", str(k)) for k, p in found.items()}

        def read(reading: Reading) -> None:
            draw = partial(
                draw_positions,
                positions=self.positions,
                generator=generators[reading.point],
            )
            length = flat(reading.point, reading.output).shape[2]
            weight = max(1.0, length / self.positions)
            factors[reading.point].add_inputs(list(shares(reading, draw)), weight)

        def read_error(reading: Reading, gradient: Tensor) -> None:
            factors[reading.point].add_errors(reading, gradient)

        sums: dict[str, Tensor] = {}
        with watch(graph, model, factors, read=read, read_error=read_error):
            yield sums
        total = torch.zeros(graph.num_channels, dtype=torch.float64)
        for point, own in factors.items():
            total.index_add_(0, torch.from_numpy(point.owned), own.damages())
        sums["total"] = total

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the damages, shape [G], in the unit of the loss squared, >= 0.

        Raises:
            PruningError: No convolution or linear layer reads a group.
        """
        require_readers(evidence.graph)
        # Both factors are sums over images here.
        damages: FloatArray = evidence.sums["total"].numpy() / evidence.num_images**2
        return damages


class _Factors:
    """Sums of the two factors of one reader over images, in float64.

    Args:
        point: What it reads.
    """

    def __init__(self, point: Point) -> None:
        self.num_channels = len(point.owned)
        self.shares: list[Share] = []
        self.inputs_CKK: list[Tensor] = []
        self.errors_OO = torch.zeros((), dtype=torch.float64)

    def add_inputs(self, found: list[Share], weight: float) -> None:
        """Add what is read at some positions, each standing for ``weight`` of them."""
        patches = [share.patches.double() for share in found]
        squares_CKK = [weight * (rows_CRK.mT @ rows_CRK).cpu() for rows_CRK in patches]
        before = self.inputs_CKK or [torch.zeros(())] * len(found)
        self.inputs_CKK = [a + b for a, b in zip(before, squares_CKK, strict=True)]
        self.shares = [replace(share, patches=torch.empty(0)) for share in found]

    def add_errors(self, reading: Reading, gradient: Tensor) -> None:
        """Add the gradients at all positions, averaged over those of an image."""
        flat_NOL = flat(reading.point, gradient).double()
        rows_OR = flat_NOL.movedim(1, 0).flatten(1)
        num_positions = rows_OR.shape[1] / reading.num_images
        self.errors_OO = self.errors_OO + (rows_OR @ rows_OR.T).cpu() / num_positions

    def damages(self) -> Tensor:
        """Return half of the trace of S W A W^T for every channel at the point."""
        found_C = torch.zeros(self.num_channels, dtype=torch.float64)
        for share, inputs_CKK in zip(self.shares, self.inputs_CKK, strict=True):
            kernels_COK = share.kernels.double().cpu()
            errors_OO = self.errors_OO[share.outputs, share.outputs]
            damages_C = (errors_OO @ kernels_COK @ inputs_CKK * kernels_COK).sum((1, 2)) / 2
            found_C.index_add_(0, torch.from_numpy(share.numbers), damages_C)
        return found_C
