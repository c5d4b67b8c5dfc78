"""Costs at real widths, as torch operations: gradients flow from a cost to what sets the widths."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sentei.cost.compile import CostModel
from sentei.cost.terms import COSTS
from sentei.errors import UnknownNameError
from sentei.registry import did_you_mean

# Shapes: G = groups, D = distinct affine lengths, M = monomials of at most K lengths, R = sums.


class SoftCosts:
    """Costs of a graph as differentiable functions of its widths.

    At widths that a group can have they are those of the cost model; between them, its polynomials
    (for a peak, the largest of them).

    Args:
        model: The compiled costs.
        names: Which, of `sentei.cost.COSTS`.
        device: Where the widths are.

    Raises:
        UnknownNameError: There is no such cost.
    """

    def __init__(
        self, model: CostModel, names: Sequence[str], *, device: str | torch.device = "cpu"
    ) -> None:
        for name in names:
            if name not in COSTS:
                raise UnknownNameError(f"unknown cost {name!r}.{did_you_mean(name, COSTS)}")
        divisors = torch.from_numpy(model._divisors).double()
        affine = torch.from_numpy(model._affine.toarray()).double()
        self._affine_DG = (affine / divisors[:, None]).to(device)
        self._constants_D = (torch.from_numpy(model._constants) / divisors).to(device)
        self._forms = {
            name: (
                torch.from_numpy(model._forms[name].monomials).to(device),
                torch.from_numpy(model._forms[name].factors.toarray()).double().to(device),
            )
            for name in names
        }

    def __call__(self, widths_G: Tensor) -> Mapping[str, Tensor]:
        """Return the costs by name, float64 scalars.

        Args:
            widths_G: Real widths, shape [G].
        """
        lengths_D = self._affine_DG @ widths_G.double() + self._constants_D
        return {
            name: (factors_RM @ lengths_D[monomials_MK].prod(dim=1)).amax()
            for name, (monomials_MK, factors_RM) in self._forms.items()
        }
