"""Hooks: how other parts of sentei take part in training without editing the loop."""

from collections.abc import Mapping

from torch import Tensor, nn


class Hook:
    """What may happen around each step; every method does nothing unless overridden.

    In each step the loop calls ``penalty``, then ``after_backward``, then ``after_step``. Arguments
    are passed by position, so an unused one may be called ``_model``.
    """

    def on_start(self, model: nn.Module, /) -> None:
        """Prepare, once, before the optimizer is built and before a checkpoint is read.

        Args:
            model: The network, on its device; parameters added here are trained.
        """

    def penalty(self, model: nn.Module, /) -> Tensor | None:
        """Return a scalar to add to the loss (shape [], on the model's device), or None.

        Args:
            model: The network, in training mode.
        """

    def after_backward(self, model: nn.Module, /) -> None:
        """Read or change the (unscaled) gradients, before they are clipped.

        Args:
            model: The network; its gradients may be changed.
        """

    def after_step(self, model: nn.Module, /) -> None:
        """Act after the optimizer's step and before the moving average sees the weights.

        Args:
            model: The network; its weights may be changed.
        """

    def after_epoch(self, model: nn.Module, epoch: int, /) -> None:
        """Act after the last step of an epoch, before validation and before the checkpoint.

        Args:
            model: The network; its weights may be changed.
            epoch: Index of the finished epoch, from 0.
        """

    def state(self) -> Mapping[str, Tensor]:
        """Return what must survive a restart; it is kept in every checkpoint."""
        return {}

    def load_state(self, state: Mapping[str, Tensor], /) -> None:
        """Take back, on a restart and after ``on_start``, what ``state`` returned.

        Args:
            state: The tensors of the last finished epoch, on the CPU.
        """
