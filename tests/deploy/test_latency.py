"""Timing against a clock that only the models move."""

import itertools
import sys
import time
from collections.abc import Iterable, Iterator

import pytest
import torch
from torch import Tensor, nn

from sentei.deploy import RUNTIMES, TimerOptions, compare_latency, measure_latency
from sentei.deploy import latency as latency_module
from sentei.errors import DeviceError, ExportError, UnknownNameError

X = torch.ones(2, 3)
FAST = TimerOptions(warmup=1, min_runs=10)


class Clock:
    """Stands in for the time module; only ``pass_ms`` moves it."""

    def __init__(self) -> None:
        self.now_ms = 0.0

    def pass_ms(self, ms: float) -> None:
        self.now_ms += ms

    def perf_counter(self) -> float:
        return self.now_ms / 1e3

    def perf_counter_ns(self) -> int:
        return round(self.now_ms * 1e6)


class Taking(nn.Module):
    """Takes the given times, one a run, and writes down its name."""

    def __init__(
        self, clock: Clock, times_ms: Iterable[float], name: str = "", log: list[str] | None = None
    ) -> None:
        super().__init__()
        self.clock, self.times_ms, self.name = clock, iter(times_ms), name
        self.log = [] if log is None else log

    def forward(self, x: Tensor) -> Tensor:
        self.clock.pass_ms(next(self.times_ms))
        self.log.append(self.name)
        return x


class Watched(nn.Module):
    """Writes down the state it runs in."""

    def __init__(self) -> None:
        super().__init__()
        self.states: set[tuple[bool, bool, int, int]] = set()

    def forward(self, x: Tensor) -> Tensor:
        state = (self.training, torch.is_grad_enabled(), torch.get_num_threads(), x.shape[0])
        self.states.add(state)
        return x


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(latency_module, "time", clock)
    return clock


def test_median_and_percentiles_are_those_of_the_timed_runs(clock: Clock) -> None:
    # The warm-up takes 900 ms a run; the timed runs 1, 2, ..., 100 ms.
    model = Taking(clock, [900] * 3 + list(range(1, 101)))

    latency = measure_latency(model, X, options=TimerOptions(warmup=3))

    assert latency.num_runs == 100
    assert (latency.p10_ms, latency.median_ms, latency.p90_ms) == pytest.approx((10.9, 50.5, 90.1))


def test_real_time_is_measured() -> None:
    class Sleeping(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            time.sleep(0.003)
            return x

    assert 3 <= measure_latency(Sleeping(), X, options=FAST).p10_ms < 30


def test_timing_stops_when_time_is_over_after_ten_runs(clock: Clock) -> None:
    # At 3 s a run: the warm-up ends with its 7th run, at 21 s, and 10 runs take 30 s.
    model = Taking(clock, itertools.repeat(3000))

    latency = measure_latency(model, X, options=TimerOptions(max_seconds=20))

    assert latency.num_runs == 10
    assert len(model.log) == 7 + 10


def test_runs_are_rounded_up_to_blocks(clock: Clock) -> None:
    model = Taking(clock, itertools.repeat(1))

    assert measure_latency(model, X, options=TimerOptions(min_runs=31)).num_runs == 35


def test_models_take_turns(clock: Clock) -> None:
    log: list[str] = []
    models = {name: Taking(clock, itertools.repeat(1), name, log) for name in "ab"}

    compare_latency(models, X, options=FAST)

    # One run each to warm up; then turns of one run to fill the caches and five timed ones.
    assert "".join(log) == "a" + "b" + ("a" * 6 + "b" * 6) * 2


def turns(*round_ms: float) -> Iterator[float]:
    """Yield the times of a warm-up run and of rounds of six runs."""
    return itertools.chain([1], *([ms] * 6 for ms in round_ms))


def test_speedup_of_constant_times_is_their_ratio(clock: Clock) -> None:
    models = {"dense": Taking(clock, turns(30, 30)), "pruned": Taking(clock, turns(10, 10))}

    comparison = compare_latency(models, X, options=FAST)

    speedup = comparison.speedups["pruned"]
    assert comparison.baseline == "dense"
    assert (speedup.ratio, speedup.low, speedup.high) == pytest.approx((3, 3, 3))
    assert [x.median_ms for x in comparison.latencies.values()] == pytest.approx([30, 10])


def test_a_machine_that_slows_for_all_leaves_the_interval_narrow(clock: Clock) -> None:
    slow = [1, 1, 5, 2, 9, 1]
    models = {
        "dense": Taking(clock, turns(*(30 * s for s in slow))),
        "pruned": Taking(clock, turns(*(10 * s for s in slow))),
    }

    speedup = compare_latency(models, X, options=TimerOptions(warmup=1, min_runs=30)).speedups

    assert (speedup["pruned"].low, speedup["pruned"].high) == pytest.approx((3, 3))


def test_the_interval_spans_the_ratios_of_the_rounds(clock: Clock) -> None:
    # Rounds of ratio 1 and of ratio 4, ten each: the interval must span both.
    models = {
        "dense": Taking(clock, turns(*[10, 40] * 10)),
        "pruned": Taking(clock, turns(*[10] * 20)),
    }

    speedup = compare_latency(models, X, options=TimerOptions(warmup=1)).speedups["pruned"]

    assert (speedup.low, speedup.ratio, speedup.high) == pytest.approx((1, 2.5, 4))
    assert speedup.confidence == 0.95


def test_comparing_one_model_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two models and got 1; use measure_latency"):
        compare_latency({"dense": nn.ReLU()}, X)


def test_models_run_in_evaluation_without_gradients_at_the_asked_threads_and_batch() -> None:
    model = Watched()

    latency = measure_latency(
        model, X, options=TimerOptions(warmup=1, min_runs=10, threads=2, batch_size=7)
    )

    assert model.states == {(False, False, 2, 7)}
    assert (latency.threads, latency.batch_size) == (2, 7)


def test_threads_and_mode_come_back_after_an_error() -> None:
    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyError(x.shape)

    model, threads = Failing(), torch.get_num_threads()

    with pytest.raises(KeyError):
        measure_latency(model, X, options=TimerOptions(threads=threads + 1))

    assert (model.training, torch.get_num_threads()) == (True, threads)


@pytest.mark.parametrize(
    ("runtime", "library"),
    [("eager", "torch"), ("onnxruntime", "onnxruntime"), ("openvino", "openvino")],
)
def test_each_runtime_says_what_ran_where(runtime: str, library: str) -> None:
    latency = measure_latency(nn.Linear(3, 3), X, runtime=runtime, options=FAST)

    assert (latency.runtime, latency.device, latency.batch_size) == (runtime, "cpu", 2)
    assert latency.library_version.split()[0] == library
    assert latency.device_name
    assert 0 < latency.p10_ms <= latency.median_ms <= latency.p90_ms


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_models_of_one_class_are_timed_without_limit() -> None:
    models = {str(width): nn.Sequential(nn.Linear(3, width), nn.ReLU()) for width in range(2, 12)}

    comparison = compare_latency(models, X, runtime="compile", options=FAST)

    assert len(comparison.latencies) == 10
    assert comparison.latencies["2"].library_version == f"torch {torch.__version__}"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_that_does_not_compile_is_refused() -> None:
    with pytest.raises(ExportError, match=r"torch\.compile does not compile Linear"):
        measure_latency(nn.Linear(4, 4), X, runtime="compile", options=FAST)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compile_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config as inductor  # noqa: PLC0415  (slow to load)

    monkeypatch.setattr(inductor.cpp, "cxx", (None, "no-such-compiler"))
    with pytest.raises(
        DeviceError, match=r"needs a C.. compiler, and none works.*no-such-compiler"
    ):
        measure_latency(nn.ReLU(), X, runtime="compile", options=FAST)


def test_an_unknown_runtime_is_answered() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown runtime 'onxruntime'.*'onnxruntime'"):
        measure_latency(nn.ReLU(), X, runtime="onxruntime")


@pytest.mark.parametrize("runtime", sorted(RUNTIMES))
def test_a_device_that_is_not_there_is_refused(runtime: str) -> None:
    with pytest.raises(DeviceError, match=r"device 'cuda:77' is not there; .*cpu"):
        measure_latency(nn.ReLU(), X, runtime=runtime, options=TimerOptions(device="cuda:77"))


@pytest.mark.parametrize("package", ["onnxruntime", "openvino"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(DeviceError, match=f"'{package}'.*pip install {package}"):
        measure_latency(nn.ReLU(), X, runtime=package)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"threads": 0}, "threads is 0; expected at least 1"),
        ({"warmup": 0}, "warmup is 0; expected at least 1"),
        ({"min_runs": 9}, "min_runs is 9; expected at least 10"),
    ],
)
def test_counts_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TimerOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_no_time_at_all_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"max_seconds is .*; expected more than 0"):
        TimerOptions(max_seconds=seconds)


@pytest.mark.gpu
def test_a_model_is_timed_on_cuda_and_stays_where_it_is() -> None:
    model = nn.Linear(3, 3)

    latency = measure_latency(model, X, options=TimerOptions(device="cuda"))

    assert latency.device_name == torch.cuda.get_device_name(0)
    assert model.weight.device.type == "cpu"
