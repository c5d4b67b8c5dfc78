"""A latency that is quadratic in the widths: measured on some recipes, fitted, frozen in a file."""

# Shapes: N = measured recipes, F = features, G = groups.

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls
from torch import nn

from sentei.allocate import plan_widths
from sentei.cost.operators import multiply_adds_of
from sentei.cost.quadratic import Quadratic, affine, quadratic_forms
from sentei.cost.terms import Term, terms_of
from sentei.criteria import score
from sentei.deploy import Comparison, TimerOptions, compare_latency
from sentei.errors import CheckpointError, ConfigError
from sentei.graph import Graph
from sentei.methods.base_network import check_counts
from sentei.pipeline.workshop import use_fast_format
from sentei.records import atomic_write_text, differences, plain_mapping
from sentei.spaces.stats_base import FloatArray, IntArray, generator
from sentei.surgery import apply

FILE_NAME = "latency.json"
_LEAST = 12


@dataclass(frozen=True, kw_only=True)
class LatencyConfig:
    """How latency is measured: for slabs of it, and of what a search found beside its rivals.

    Args:
        recipes: Random recipes that are timed, beside the dense network; 0, or at least 12.
        runtime: Name of the runtime.
        batch_size: Images of a run, >= 1.
        threads: Of a run, >= 1.
        runs: Timed runs of each recipe, >= 10.

    Raises:
        ConfigError: A number is out of range.
    """

    recipes: int = 0
    runtime: str = "eager"
    batch_size: int = 1
    threads: int = 1
    runs: int = 50

    def __post_init__(self) -> None:
        if self.recipes and self.recipes < _LEAST:
            raise ConfigError(f"recipes is {self.recipes}; give 0, or at least {_LEAST}")
        check_counts(self, ("batch_size", "threads"))
        if self.runs < 10:
            raise ConfigError(f"runs is {self.runs}; give at least 10")


@dataclass(frozen=True, kw_only=True, eq=False)
class LatencyModel:
    r"""Milliseconds as a sum of costs: :math:`\sum_s a_s F_s(c) + b A(c) + k`.

    F_s are the multiply-adds whose results are maps of one size, A the bytes of activations, and no
    coefficient is negative, so that a wider network is never faster. What depends on the widths in
    another way, such as channels that fill a vector register, is the error.

    Attributes:
        coefficients: Feature -> milliseconds a unit of it.
        dense_ms: Latency of the dense network, measured.
        error: Median over the measured recipes of the relative error, where each is left out of
            the fit that foretells it.
        largest_error: The largest of these.
        widths: Of the measured recipes, the dense network first.
        times_ms: Their medians.
        where: Device and library.
        settings: Fields of the configuration.
    """

    coefficients: Mapping[str, float]
    dense_ms: float
    error: float
    largest_error: float
    widths: tuple[tuple[int, ...], ...] = field(repr=False)
    times_ms: tuple[float, ...] = field(repr=False)
    where: str
    settings: Mapping[str, Any]

    def form(self, graph: Graph) -> Quadratic:
        """Return the latency in shares of what the dense network is foretold to take."""
        forms = features(graph)
        terms = [forms[name].times(value) for name, value in self.coefficients.items()]
        total = reduce(lambda one, other: one.plus(other), terms)
        whole = float(total.value(graph.widths[:, None].astype(np.float64))[0])
        return total.times(1 / whole)


def features(graph: Graph) -> dict[str, Quadratic]:
    """Return what a latency is a sum of: multiply-adds by size of map, activations, a constant."""
    recording = graph.recording
    sums: dict[str, list[Term]] = {}
    for op in recording.ops:
        for product in multiply_adds_of(recording, op):
            size = "x".join(map(str, recording.values[op.outputs[0]].shape[2:])) or "1"
            sums.setdefault(f"macs {size}", []).append((1, product))
    sums["activations"] = terms_of(recording).sums["activation_bytes"]
    constant = affine(np.zeros(len(graph.groups)), 1.0)
    return {**quadratic_forms(graph, sums), "constant": constant}


def prepare_latency(
    config: LatencyConfig, graph: Graph, choices: Sequence[IntArray], directory: Path
) -> LatencyModel:
    """Return the latency of a study, measured once and kept in its directory.

    Args:
        config: How.
        graph: Of the dense network.
        choices: Widths that each group may have.
        directory: Of the study.

    Raises:
        CheckpointError: The one that is there was measured otherwise, or is damaged.
        PruningError: The runtime is not there or refuses the network.
    """
    path = directory / FILE_NAME
    if not path.exists():
        found = fit_latency(config, graph, choices)
        atomic_write_text(path, json.dumps(plain_mapping(found, "latency")) + "\n")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        model = LatencyModel(**values)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is no latency of a study ({error}); restore it") from error
    other = differences(model.settings, dataclasses.asdict(config))
    if other:
        raise CheckpointError(
            f"{path} was measured otherwise: {'; '.join(other)}. Give the settings it was measured "
            "with, or another directory (-o)"
        )
    return model


def fit_latency(config: LatencyConfig, graph: Graph, choices: Sequence[IntArray]) -> LatencyModel:
    """Time random recipes in turns and fit their latency; changes nothing.

    Args:
        config: How.
        graph: Of the dense network.
        choices: Widths that each group may have.

    Raises:
        PruningError: The runtime is not there or refuses the network.
    """
    rng = generator(0, "latency")
    random = [[rng.choice(own) for own in choices] for _ in range(config.recipes)]
    widths_NG = np.array([graph.widths, *random], dtype=np.int64)
    times_N, where = _timed(config, graph, widths_NG)
    values_FN = np.stack(
        [form.value(widths_NG.T.astype(np.float64)) for form in features(graph).values()]
    )
    errors_N = _left_out(values_FN, times_N)
    coefficients = _fit(values_FN, times_N)
    return LatencyModel(
        coefficients=dict(zip(features(graph), coefficients.tolist(), strict=True)),
        dense_ms=float(times_N[0]),
        error=float(np.median(errors_N)),
        largest_error=float(errors_N.max()),
        widths=tuple(tuple(row) for row in widths_NG.tolist()),
        times_ms=tuple(times_N.tolist()),
        where=where,
        settings=dataclasses.asdict(config),
    )


def _timed(config: LatencyConfig, graph: Graph, widths_NG: IntArray) -> tuple[FloatArray, str]:
    """Return the median milliseconds of recipes, [N], and where they were measured."""
    names = [str(number) for number in range(len(widths_NG))]
    found = time_networks(config, graph, dict(zip(names, widths_NG, strict=True)))
    return np.array([found.latencies[name].median_ms for name in names]), described(found)


def time_networks(
    config: LatencyConfig, graph: Graph, widths: Mapping[str, IntArray]
) -> Comparison:
    """Time networks of some widths in turns; changes nothing.

    Args:
        config: How; its number of recipes does not count here.
        graph: Of the dense network.
        widths: Name -> widths of all groups, [G], two or more; the first is the baseline.

    Raises:
        PruningError: The runtime is not there or refuses a network.
    """
    scores = score(graph, "l1")

    def network(widths_G: IntArray) -> nn.Module:
        small = apply(plan_widths(graph, scores, widths_G), graph.model)
        use_fast_format(small)
        return small

    return compare_latency(
        {name: network(widths_G) for name, widths_G in widths.items()},
        graph.inputs,
        runtime=config.runtime,
        options=TimerOptions(
            batch_size=config.batch_size,
            threads=config.threads,
            warmup=5,
            min_runs=config.runs,
            max_seconds=60.0,
        ),
    )


def described(found: Comparison) -> str:
    """Return where latencies were measured: device, library, threads."""
    first = next(iter(found.latencies.values()))
    return f"{first.device_name}, {first.library_version}, {first.threads} threads"


def _fit(values_FN: FloatArray, times_N: FloatArray) -> FloatArray:
    """Return the coefficients >= 0 of the least relative squares, [F]."""
    scales_F = np.maximum(values_FN.max(axis=1), 1e-300)
    design_NF = (values_FN / scales_F[:, None]).T / times_N[:, None]
    return np.asarray(nnls(design_NF, np.ones(times_N.size))[0] / scales_F)


def _left_out(values_FN: FloatArray, times_N: FloatArray) -> FloatArray:
    """Return the relative error of each recipe by the fit of the others, [N]."""
    errors = []
    for index in range(times_N.size):
        others_N = np.arange(times_N.size) != index
        coefficients_F = _fit(values_FN[:, others_N], times_N[others_N])
        foretold = float(coefficients_F @ values_FN[:, index])
        errors.append(abs(foretold / times_N[index] - 1))
    return np.array(errors)
