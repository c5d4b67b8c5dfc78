"""Gates: one multiplier a channel, trained with the network and folded into its weights.

A gate sits where its channel is made: on the scale and shift of every norm that acts on it, and on
the weight and bias of every convolution or matrix product whose output does not go straight into
such a norm (a norm would undo it). A channel with several such points has the same gate at each.
With its gate at 0 a channel is 0 at every one of these points, so that removing it changes
nothing, as long as the activations behind map 0 to 0; what no such point makes (an embedding
added to a stream) is not gated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sentei.criteria.base import Evidence, broadcast_index
from sentei.errors import PruningError
from sentei.graph import Slice
from sentei.sparsify.channels import expand
from sentei.sparsify.wiring import gate_slices

# Shapes: C = channels of all groups.


class _Gated(nn.Module):
    """Multiplies a parameter by the gates of its channels."""

    index: Tensor

    def __init__(self, gates: nn.Module, part: Slice, parameter: Tensor) -> None:
        super().__init__()
        self.gates = gates
        index = broadcast_index(part, parameter.dim()).to(parameter.device)
        self.register_buffer("index", index, persistent=False)

    def forward(self, parameter: Tensor) -> Tensor:
        return parameter * expand(self.gates().to(parameter.dtype), self.index)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Site:
    """A parameter under a gate: its module, its name there, and the order of all names there."""

    module: nn.Module
    name: str
    order: tuple[str, ...]


class AttachedGates:
    """Gates on a model, until they are folded or taken away.

    Args:
        sites: Where they are; several of one parameter if it is shared.
        gates: Returns one multiplier a channel, shape [C].
    """

    def __init__(self, sites: Sequence[_Site], gates: nn.Module) -> None:
        self._sites = sites
        self._gates = gates

    def fold(self) -> None:
        """Multiply the gates, in evaluation mode, into the parameters and take them away."""
        self._gates.eval()
        self._take_away(fold=True)

    def remove(self) -> None:
        """Take the gates away and leave the parameters as they are beneath."""
        self._take_away(fold=False)

    def _take_away(self, *, fold: bool) -> None:
        done: set[int] = set()
        for site in self._sites:
            original = getattr(site.module.parametrizations, site.name).original
            # A shared parameter is one tensor beneath all its names: it is multiplied once.
            is_first = id(original) not in done
            done.add(id(original))
            if fold and is_first:
                with torch.no_grad():
                    original.copy_(getattr(site.module, site.name))
            parametrize.remove_parametrizations(site.module, site.name, leave_parametrized=False)
        for site in self._sites:
            own = site.module._parameters
            for name in site.order:
                own[name] = own.pop(name)


def attach_gates(model: nn.Module, evidence: Evidence, gates: nn.Module) -> AttachedGates:
    """Put gates on the channels of a model; changes ``model`` in place.

    The parameters of ``gates`` become parameters of the model, and the parameters it multiplies
    keep their identity under the name ``parametrizations.<name>.original``.

    Args:
        model: The network.
        evidence: Of ``model``, with its own parameters.
        gates: Called without arguments, returns one multiplier a channel, shape [C]; must be on
            the model's device, and deterministic in evaluation mode.

    Raises:
        PruningError: A group has no gate point, or a parameter is parametrized already.
    """
    sites = {}
    for part in gate_slices(evidence):
        for name in evidence.graph.layouts[part.tensor].names:
            path, _, own = name.rpartition(".")
            module = model.get_submodule(path)
            _check_gateable(name, module)
            sites[id(module), own] = (
                _Site(module=module, name=own, order=tuple(module._parameters)),
                part,
            )
    for site, part in sites.values():
        parametrize.register_parametrization(
            site.module, site.name, _Gated(gates, part, evidence.parameters[part.tensor])
        )
    return AttachedGates([site for site, _ in sites.values()], gates)


def _check_gateable(name: str, module: nn.Module) -> None:
    if isinstance(module, parametrize.ParametrizationList):
        raise PruningError(
            f"{name} cannot be gated: it is parametrized already, as by weight norm; remove that "
            "first, sparsify with 'ssl', or protect its group"
        )


class PlainGates(nn.Module):
    """Gates that are their own parameter, 1 at first.

    Args:
        num_channels: C.
        like: Tensor of the dtype and on the device of the model.
    """

    def __init__(self, num_channels: int, like: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(like.detach().new_ones(num_channels))

    def forward(self) -> Tensor:
        """Return the gates, shape [C]."""
        return self.values
