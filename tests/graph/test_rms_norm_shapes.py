"""The shape that ``rms_norm`` is given follows the width, or holds it."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentei.graph import trace
from sentei.surgery import apply, plan_removal, verify


class Scaled(nn.Module):
    """A linear layer, normalised over a shape that the code states, and another layer."""

    def __init__(self, *, as_attribute: bool) -> None:
        super().__init__()
        self.first = nn.Linear(3, 6)
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 6))
        self.last = nn.Linear(6, 2)
        self.as_attribute = as_attribute
        self.width = 6

    def forward(self, x: Tensor) -> Tensor:
        shape = (self.width,) if self.as_attribute else (6,)
        return self.last(functional.rms_norm(self.first(x), shape, self.scale))


def test_an_attribute_is_set_to_the_width_that_is_left() -> None:
    model, x = Scaled(as_attribute=True).double(), torch.randn(4, 3, dtype=torch.float64)
    plan = plan_removal(trace(model, x), {"first": [1, 4]})

    small = apply(plan, model)

    assert small.width == 4
    assert verify(model, small, plan, x).output_error < 1e-12


def test_a_shape_written_in_the_code_freezes_the_width() -> None:
    model, x = Scaled(as_attribute=False), torch.randn(4, 3)
    graph = trace(model, x)

    assert not graph.groups
    assert any("the size 6 is written in the code" in reason for reason in graph.why("first"))
