"""The runtimes a model can be timed in; each file registers one."""

from sentei.deploy.runtimes import compile, eager, onnxruntime, openvino  # noqa: F401
from sentei.deploy.runtimes.base import RUNTIMES, Runtime, Session

__all__ = ["RUNTIMES", "Runtime", "Session"]
