"""C-OBD: by hand, and against the dense Fisher information."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

from sentei.criteria import score
from sentei.criteria.obd_c import ObdC
from sentei.criteria.reduce import Reduction
from sentei.graph import trace
from tests.support import curved
from tests.support.curved import IMAGES, LABELS


@pytest.mark.parametrize("size", [1, 2, 3])
def test_score_is_that_of_the_dense_fisher_information_whatever_the_batches(size: int) -> None:
    net = curved.curved_net()
    batches = list(zip(IMAGES.split(size), LABELS.split(size), strict=True))

    found = score(trace(net, IMAGES), "obd-c", batches=batches).by_group["0"]

    flat = curved.flat(net)
    losses = [partial(curved.flat_loss, net, IMAGES[[n]], LABELS[[n]]) for n in range(3)]
    gradients = torch.stack([jacobian(loss, flat) for loss in losses])
    fisher = (gradients.T @ gradients / 3).diagonal()
    expected = [float(flat[own].square() @ fisher[own]) / 2 for own in curved.OWNED]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize(("reduction", "factor"), [("sum", 1.0), ("mean", 0.5), ("first", 0.5)])
def test_squares_are_of_images_not_of_their_mean(reduction: Reduction, factor: float) -> None:
    # The mean of x^2 is 5 (the square of the mean would be 4): a^2 (5 b^2) / 2 on either side.
    graph = trace(curved.product_net(), curved.NUMBERS)

    found = score(
        graph,
        ObdC(reduction=reduction),
        batches=[(curved.NUMBERS, torch.zeros(2))],
        loss=lambda outputs, _: outputs.mean(),
    ).by_group["0"]

    np.testing.assert_allclose(found, factor * np.array([45.0, 20.0, 0.0]), rtol=1e-12)


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match="reduction='median'; expected one of mean, sum"):
        ObdC(reduction="median")  # type: ignore[arg-type]
