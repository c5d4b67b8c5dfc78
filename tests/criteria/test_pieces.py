"""Large parameters are added up piece by piece, with the same result to the bit."""

import numpy as np
import pytest
import torch

from sentei.criteria import reduce
from sentei.criteria.base import Evidence
from sentei.criteria.reduce import owned_sums, products
from sentei.graph import trace
from tests.support import nets


def evidence(*, gradients: bool) -> Evidence:
    """Return weights of several hundred rows and columns, with kernels and without."""
    net = nets.fill(
        torch.nn.Sequential(
            torch.nn.Conv2d(3, 200, 3),
            torch.nn.Conv2d(200, 150, 3),
            torch.nn.Conv2d(150, 300, 1),
            torch.nn.Conv2d(300, 300, 3, groups=300),
            torch.nn.Conv2d(300, 2, 1),
        )
    )
    parameters = {n: p.detach() for n, p in net.named_parameters()}
    return Evidence(
        graph=trace(net, nets.example(1, 3, 9, 9)),
        parameters=parameters,
        gradients={n: p.cos() for n, p in parameters.items()} if gradients else {},
    )


@pytest.mark.parametrize("piece", [1, 1000, 30_000])
@pytest.mark.parametrize("gradients", [False, True])
def test_sums_of_pieces_equal_sums_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, piece: int, gradients: bool
) -> None:
    found = evidence(gradients=gradients)
    elements = products if gradients else torch.abs
    owners, whole = owned_sums(found, found.slices, elements)

    monkeypatch.setattr(reduce, "_PIECE", piece)
    again, by_pieces = owned_sums(found, found.slices, elements)

    assert owners.tolist() == again.tolist()
    assert whole.tobytes() == by_pieces.tobytes()


def test_sums_are_those_of_every_channel_by_itself() -> None:
    found = evidence(gradients=False)
    part = next(s for s in found.slices if s.tensor == "1.weight" and s.dims == (1,))

    owners, sums = owned_sums(found, [part], torch.abs)

    weight = found.parameters["1.weight"].double().abs()
    for owner, total in zip(owners.tolist(), sums.tolist(), strict=True):
        positions = np.flatnonzero(part.channels == owner)
        assert total == pytest.approx(float(weight[:, positions].sum()), rel=1e-5)
