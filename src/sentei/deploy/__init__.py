"""Timing and export of any module: what runs, how fast, and in which file."""

from sentei.deploy.export import Exported, export_onnx, export_openvino, export_torch
from sentei.deploy.latency import (
    Comparison,
    Latency,
    Speedup,
    TimerOptions,
    compare_latency,
    measure_latency,
)
from sentei.deploy.runtimes import RUNTIMES, Runtime, Session

__all__ = [
    "RUNTIMES",
    "Comparison",
    "Exported",
    "Latency",
    "Runtime",
    "Session",
    "Speedup",
    "TimerOptions",
    "compare_latency",
    "export_onnx",
    "export_openvino",
    "export_torch",
    "measure_latency",
]
