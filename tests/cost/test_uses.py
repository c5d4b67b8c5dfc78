"""How often the elements of weights are multiplied."""

import torch
from torch import nn

from sentei import measure
from sentei.cost.uses import weight_uses
from sentei.models import load_model


def test_a_weight_counts_once_for_every_place_it_visits() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 3))

    # 8 x 8 pixels leave 6 x 6 places for a kernel of 3; a linear layer meets each weight once.
    assert weight_uses(model, torch.zeros(4, 1, 8, 8)) == {"0.weight": 36, "2.weight": 1}


def test_uses_times_elements_add_up_to_the_multiply_adds() -> None:
    model, x = load_model("resnet20", num_classes=10).model.eval(), torch.zeros(2, 3, 32, 32)

    uses = weight_uses(model, x)

    assert (
        sum(n * model.get_parameter(k).numel() for k, n in uses.items()) == measure(model, x).macs
    )


def test_a_shared_weight_counts_all_its_uses() -> None:
    layer = nn.Linear(4, 4, bias=False)

    assert weight_uses(nn.Sequential(layer, layer), torch.zeros(2, 4)) == {"0.weight": 2}
