"""Weights and statistics that stay as they are while something else is learned."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn


class Frozen:
    """Keeps a model from changing, but for some parameters, until it is thawed.

    All other parameters ask for no gradient, and all modules but the model itself run in
    evaluation mode, so that norms use and keep their running statistics.

    Args:
        model: The network; changed in place.
        trained: The parameters that go on being trained.
    """

    def __init__(self, model: nn.Module, trained: Iterable[Tensor]) -> None:
        self._parts = [m for m in model.modules() if m is not model]
        own = {id(t) for t in trained}
        self._asleep = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
        for parameter in self._asleep:
            parameter.requires_grad_(False)
        self._handle = model.register_forward_pre_hook(self._hold)

    def _hold(self, _model: nn.Module, _args: Any) -> None:  # noqa: ANN401 - as torch calls it
        # Before every call: the loop puts the whole model in training mode each epoch.
        for part in self._parts:
            part.training = False

    def thaw(self) -> None:
        """Let the parameters be trained again."""
        self._handle.remove()
        for parameter in self._asleep:
            parameter.requires_grad_(True)
