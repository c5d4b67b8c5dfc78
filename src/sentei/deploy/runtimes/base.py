"""What a runtime is: it opens a model for timing on one device."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from sentei.deploy.forward import Inputs
from sentei.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Session:
    """A model made ready to run on fixed inputs.

    Args:
        run: Run the model once; returns when its outputs are computed.
        device_name: What the maker calls the device.
        library_version: Library that runs the model, with its version.
    """

    run: Callable[[], object]
    device_name: str
    library_version: str


class Runtime(Protocol):
    """Open a session; leaving the context closes it.

    The caller holds the model in evaluation mode without gradients, and PyTorch at ``threads``
    threads, as long as the session is open.
    """

    def __call__(
        self, model: nn.Module, inputs: Inputs, *, device: str, threads: int
    ) -> AbstractContextManager[Session]:
        """Open the model on the inputs.

        Raises:
            DeviceError: the device, the library, or a tool it needs is not there.
            ExportError: the model cannot be brought into the runtime.
        """


RUNTIMES: Registry[Runtime] = Registry("runtime")
"""Name -> runtime."""
