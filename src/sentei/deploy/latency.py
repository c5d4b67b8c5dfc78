"""Latency, measured: median and spread, with the device and the library that gave them."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sentei.deploy.forward import (
    Inputs,
    as_inputs,
    batch_size_of,
    evaluating,
    with_batch_size,
)
from sentei.deploy.runtimes import RUNTIMES, Session

# Shapes: M = models, R = rounds, B = runs in a block.
BLOCK = 5
"""Runs of one model before the next has its turn."""
LEAST_RUNS = 10
"""Timed runs of a model, however little time there is."""
NUM_RESAMPLES = 1000
"""Bootstrap resamples of a speed-up."""


@dataclass(frozen=True, kw_only=True)
class TimerOptions:
    """How to time.

    Args:
        batch_size: Samples in a run, >= 1; the samples of the example are repeated or cut. None
            keeps the batch of the example.
        threads: Processor threads of one run, >= 1.
        warmup: Untimed runs of each model before the timed ones, >= 1.
        min_runs: Timed runs of each model, >= 10 (30 or more for a number to report), rounded up
            to blocks of 5.
        max_seconds: Seconds a model has, > 0: for its warm-up, and again for its timed runs. When
            they are over, timing ends after the round under way, with at least 10 timed runs.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...; OpenVINO has names of its own.

    Raises:
        ValueError: a number is out of its range.
    """

    batch_size: int | None = None
    threads: int = 1
    warmup: int = 20
    min_runs: int = 100
    max_seconds: float = 20.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        least: dict[str, tuple[int | None, int]] = {
            "batch_size": (self.batch_size, 1),
            "threads": (self.threads, 1),
            "warmup": (self.warmup, 1),
            "min_runs": (self.min_runs, LEAST_RUNS),
        }
        for name, (value, bound) in least.items():
            if value is not None and value < bound:
                raise ValueError(f"TimerOptions: {name} is {value}; expected at least {bound}")
        if not self.max_seconds > 0:
            raise ValueError(
                f"TimerOptions: max_seconds is {self.max_seconds}; expected more than 0"
            )


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How long one forward pass takes.

    Args:
        runtime: Name of the runtime in ``RUNTIMES``.
        device: Device asked for.
        device_name: What the maker calls it.
        threads: Processor threads of a run.
        batch_size: Samples in a run; the times below are for all of them.
        median_ms: Median over the runs, in milliseconds.
        p10_ms: 10th percentile, in milliseconds.
        p90_ms: 90th percentile, in milliseconds.
        num_runs: Timed runs.
        library_version: Library that ran the model, with its version.
    """

    runtime: str
    device: str
    device_name: str
    threads: int
    batch_size: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    num_runs: int
    library_version: str


@dataclass(frozen=True, kw_only=True)
class Speedup:
    """How many times faster a model is than the baseline.

    Args:
        ratio: Median of the baseline / median of the model; above 1 is faster.
        low: Lower end of the interval.
        high: Upper end of the interval.
        confidence: Probability with which the interval covers the ratio, in (0, 1).
    """

    ratio: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Latencies measured side by side.

    Args:
        baseline: Name of the model the others are compared with.
        latencies: Name -> latency, the baseline included.
        speedups: Name -> speed-up over the baseline, for the others.
    """

    baseline: str
    latencies: dict[str, Latency]
    speedups: dict[str, Speedup]


DEFAULTS = TimerOptions()


def measure_latency(
    model: nn.Module,
    example: Tensor | Inputs,
    *,
    runtime: str = "eager",
    options: TimerOptions = DEFAULTS,
) -> Latency:
    """Time forward passes of a model in evaluation mode, without gradients.

    The model keeps its mode, its device and its weights; PyTorch keeps its number of threads.

    Args:
        model: Any module; it is copied where ``options.device`` is not where it lives.
        example: Positional arguments of ``forward``: a tensor or a tuple of tensors, dimension 0
            of each the batch.
        runtime: Name in ``RUNTIMES``.
        options: How to time.

    Raises:
        UnknownNameError: there is no such runtime.
        DeviceError: the device, the library, or a tool it needs is not there.
        ExportError: the model cannot be brought into the runtime.
        ValueError: the tensors of the example have no common batch.
    """
    latencies, _ = _measure([model], example, runtime=runtime, options=options)
    return latencies[0]


def compare_latency(
    models: Mapping[str, nn.Module],
    example: Tensor | Inputs,
    *,
    runtime: str = "eager",
    options: TimerOptions = DEFAULTS,
    seed: int = 0,
) -> Comparison:
    """Time several models in turns, so that a busy machine hurts them alike.

    The models take turns of 5 runs. The interval of a speed-up is the 95 % percentile bootstrap
    over whole rounds, which keeps runs of the same moment together.

    Args:
        models: Name -> model, two or more; the first is the baseline.
        example: As in ``measure_latency``; the same for all models.
        runtime: Name in ``RUNTIMES``.
        options: How to time.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: there are fewer than two models, or the example has no common batch.
        UnknownNameError: there is no such runtime.
        DeviceError: the device, the library, or a tool it needs is not there.
        ExportError: a model cannot be brought into the runtime.
    """
    if len(models) < 2:
        raise ValueError(
            f"compare_latency needs at least two models and got {len(models)}; "
            f"use measure_latency for one"
        )
    latencies, times_MRB = _measure(
        list(models.values()), example, runtime=runtime, options=options
    )
    baseline, *others = models
    speedups = (
        _speedup(times_MRB[0], other_RB, np.random.default_rng(seed)) for other_RB in times_MRB[1:]
    )
    return Comparison(
        baseline=baseline,
        latencies=dict(zip(models, latencies, strict=True)),
        speedups=dict(zip(others, speedups, strict=True)),
    )


def _measure(
    models: Sequence[nn.Module],
    example: Tensor | Inputs,
    *,
    runtime: str,
    options: TimerOptions,
) -> tuple[list[Latency], NDArray[np.float64]]:
    open_session = RUNTIMES[runtime]
    inputs = as_inputs(example)
    if options.batch_size is not None:
        inputs = with_batch_size(inputs, options.batch_size)
    with contextlib.ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(options.threads)
        sessions = []
        for model in models:
            stack.enter_context(evaluating(model))
            opened = open_session(model, inputs, device=options.device, threads=options.threads)
            sessions.append(stack.enter_context(opened))
        times_MRB = _time_in_turns([session.run for session in sessions], options)

    def summarise(session: Session, times_RB: NDArray[np.float64]) -> Latency:
        p10_ms, median_ms, p90_ms = np.percentile(times_RB, [10, 50, 90]).tolist()
        return Latency(
            runtime=runtime,
            device=options.device,
            device_name=session.device_name,
            threads=options.threads,
            batch_size=batch_size_of(inputs),
            median_ms=median_ms,
            p10_ms=p10_ms,
            p90_ms=p90_ms,
            num_runs=times_RB.size,
            library_version=session.library_version,
        )

    return [summarise(*pair) for pair in zip(sessions, times_MRB, strict=True)], times_MRB


def _time_in_turns(
    runs: Sequence[Callable[[], object]], options: TimerOptions
) -> NDArray[np.float64]:
    """Return the times in milliseconds, shape (M, R, B)."""
    for run in runs:
        _warm_up(run, options)
    deadline = time.perf_counter() + options.max_seconds * len(runs)
    rounds_RMB: list[list[list[int]]] = []
    while len(rounds_RMB) * BLOCK < options.min_runs:
        rounds_RMB.append([_time_block(run, alone=len(runs) == 1) for run in runs])
        if len(rounds_RMB) * BLOCK >= LEAST_RUNS and time.perf_counter() > deadline:
            break
    return np.array(rounds_RMB).swapaxes(0, 1) / 1e6


def _warm_up(run: Callable[[], object], options: TimerOptions) -> None:
    deadline = time.perf_counter() + options.max_seconds
    for _ in range(options.warmup):
        run()
        if time.perf_counter() > deadline:
            break


def _time_block(run: Callable[[], object], *, alone: bool) -> list[int]:
    """Return the times of a block of runs, in nanoseconds."""
    if not alone:  # The caches hold the weights of another model: fill them first.
        run()
    times = []
    for _ in range(BLOCK):
        start = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - start)
    return times


def _speedup(
    baseline_RB: NDArray[np.float64], other_RB: NDArray[np.float64], rng: np.random.Generator
) -> Speedup:
    num_rounds = len(baseline_RB)
    picks = (rng.integers(num_rounds, size=num_rounds) for _ in range(NUM_RESAMPLES))
    ratios = [np.median(baseline_RB[pick]) / np.median(other_RB[pick]) for pick in picks]
    low, high = np.percentile(ratios, [2.5, 97.5]).tolist()
    return Speedup(
        ratio=float(np.median(baseline_RB) / np.median(other_RB)),
        low=low,
        high=high,
        confidence=0.95,
    )
