"""Which devices and packages are there, and what they are called."""

import importlib
import platform
from pathlib import Path
from types import ModuleType

import torch

from sentei.errors import DeviceError


def require(package: str, *, purpose: str) -> ModuleType:
    """Import an optional package.

    Args:
        package: Name under which it is both imported and installed.
        purpose: What needs it, for the message.

    Raises:
        DeviceError: the package is missing, or does not load.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise DeviceError(
            f"{purpose} needs the package {package!r}, which cannot be imported ({error}); "
            f"install it: pip install {package}"
        ) from error


def available_devices() -> list[str]:
    """Return the devices PyTorch can use here, ``"cpu"`` first."""
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None or not torch.accelerator.is_available():
        return ["cpu"]
    return ["cpu", *(f"{accelerator.type}:{i}" for i in range(torch.accelerator.device_count()))]


def torch_device(name: str) -> torch.device:
    """Return the PyTorch device called ``name``; ``"cuda"`` alone means the first one.

    Raises:
        DeviceError: there is no such device here.
    """
    available = available_devices()
    for candidate in (name, f"{name}:0"):
        if candidate in available:
            return torch.device(candidate)
    raise DeviceError(
        f"device {name!r} is not there; PyTorch {torch.__version__} sees: {', '.join(available)}"
    )


def device_name(device: torch.device) -> str:
    """Return what the maker calls the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor_name() if device.type == "cpu" else str(device)


def processor_name() -> str:
    """Return what the maker calls this machine's processor, or at least its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()
