"""Check one network: prune half of every group, and prove that the rest still computes right."""

import copy
import io
import pickle
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.zoolib.build import Built, build
from benchmarks.zoolib.detectors import RawHeads
from sentei.errors import VerificationError
from sentei.graph import Graph, kept, trace
from sentei.graph.capture import map_tensors, tensors_in
from sentei.graph.groups import INPUTS, OUTPUTS
from sentei.surgery import Plan, apply, mask, plan_removal, verify

Inputs = tuple[Any, ...]
KEEP = 0.5
_LOOSE = 1e-5
_LOOSE_VERIFY = 1e-3


class Stage:
    """Remembers what is being done, so that a failure can say where it happened."""

    def __init__(self) -> None:
        self.name = "build"
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time one stage in CPU seconds."""
        self.name = name
        start = time.process_time()
        yield
        self.seconds[name] = time.process_time() - start


def check(name: str) -> dict[str, Any]:
    """Return the record of one network; never raises for what the network or sentei does."""
    torch.set_num_threads(1)
    stage = Stage()
    record: dict[str, Any] = {"name": name, "ok": False, "silent": False}
    start = time.monotonic()
    try:
        with stage("build"):
            built = build(name)
        record["note"] = built.note
        record["parameters"] = _size(built.model)
        _prune_and_check(built, stage, record)
        record["ok"] = True
    except Exception as error:  # noqa: BLE001 - whatever it is goes into the table
        record |= {"stage": stage.name, "reason": _line(error), "silent": _is_silent(error)}
    record["seconds"] = {k: round(v, 4) for k, v in stage.seconds.items()}
    record["wall_seconds"] = round(time.monotonic() - start, 2)
    return record


class SilentError(Exception):
    """The pruned network runs and computes something else."""


def _is_silent(error: Exception) -> bool:
    return isinstance(error, SilentError)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:600]


def _size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _prune_and_check(built: Built, stage: Stage, record: dict[str, Any]) -> None:
    model, inputs = built.model, built.inputs
    before = reset_peak()
    with stage("trace"):
        graph = trace(model, inputs)
    record |= {"groups": len(graph.groups), **frozen_share(graph)}
    with stage("plan"):
        plan = random_plan(graph)
    with stage("apply"):
        small = apply(plan, model)
    peak = read_memory("VmHWM")
    record["peak_bytes"] = max(0, peak - before) if peak else None
    record["removed"] = round(1 - _size(small) / max(1, _size(model)), 4)
    with stage("forward"):
        _forward(small, inputs)
    with stage("verify"):
        record |= compare(model, small, plan, inputs)
    _use(model, small, inputs, stage, record)
    if built.whole is not None:
        with stage("whole"):
            record |= _whole(built)


def random_plan(graph: Graph, keep: float = KEEP) -> Plan:
    """Return a plan that keeps a random share of every group, equally many in every row."""
    rng = np.random.default_rng(0)
    removed = {}
    for group in graph.groups:
        rows = np.zeros(group.width, dtype=np.int64) if group.rows is None else group.rows
        a_row = group.width // group.num_rows
        gone = a_row - max(1, round(keep * a_row))
        picked = [rng.permutation(np.flatnonzero(rows == r))[:gone] for r in range(group.num_rows)]
        removed[group.name] = np.concatenate(picked).tolist()
    return plan_removal(graph, removed)


def compare(model: nn.Module, small: nn.Module, plan: Plan, inputs: Inputs) -> dict[str, Any]:
    """Return the differences of outputs and input gradients, relative to their largest values.

    In float64, or, if the original does not run in that (its code makes tensors of fixed type),
    in the precision it has, with a tolerance to match.

    Raises:
        SilentError: They are too large: the pruned network is wrong.
    """
    double = map_tensors(inputs, lambda t: t.double() if t.is_floating_point() else t)
    try:
        _forward(copy.deepcopy(model).double(), double)
    except RuntimeError:
        return _compare_as_is(model, small, plan, inputs)
    try:
        found = verify(model, small, plan, inputs)
    except VerificationError as error:
        _forward(mask(plan, model), inputs)  # separates a wrong network from a failed reference
        raise SilentError(str(error)) from error
    return {"output_error": found.output_error, "gradient_error": found.gradient_error}


def _compare_as_is(
    model: nn.Module, small: nn.Module, plan: Plan, inputs: Inputs
) -> dict[str, Any]:
    model, small = copy.deepcopy(model), copy.deepcopy(small)  # some keep what they computed
    expected = _results(mask(plan, model), inputs)
    errors = [
        max(map(distance, e, f)) for e, f in zip(expected, _results(small, inputs), strict=True)
    ]
    if not max(errors) <= _LOOSE_VERIFY:
        raise SilentError(f"in float32 outputs and gradients differ by {errors}")
    return {"output_error": errors[0], "gradient_error": errors[1], "precision": "float32"}


def _results(model: nn.Module, inputs: Inputs) -> tuple[list[Tensor], list[Tensor]]:
    """Return outputs, and gradients of a random weighting of them to the inputs."""
    leaves = map_tensors(inputs, lambda t: t.clone().requires_grad_())
    out = list(tensors_in(model(*leaves)))
    generator = torch.Generator().manual_seed(0)
    terms = [(t * torch.randn(t.shape, generator=generator)).sum() for t in out]
    total = torch.stack(terms).sum()
    grads = torch.autograd.grad(
        total, list(tensors_in(leaves)), allow_unused=True, materialize_grads=True
    )
    return [t.detach() for t in out], list(grads)


@torch.no_grad()
def _forward(model: nn.Module, inputs: Inputs) -> None:
    model(*inputs)


def distance(expected: Tensor, found: Tensor) -> float:
    """Return the largest difference, relative to the largest value expected.

    Raises:
        SilentError: The shapes differ.
    """
    if expected.shape != found.shape:
        raise SilentError(f"shape {tuple(found.shape)}, expected {tuple(expected.shape)}")
    if not expected.numel():
        return 0.0
    expected, found = expected.double(), found.double()
    return float((expected - found).abs().max()) / max(float(expected.abs().max()), 1e-30)


def _of_all_sides(reason: str) -> str:
    return reason.removeprefix(OUTPUTS).removeprefix(INPUTS)


def frozen_share(graph: Graph) -> dict[str, Any]:
    """Return the share of parameters that no group owns a part of, and the main reasons."""
    sizes = {name: p.numel() for name, p in graph.model.named_parameters()}
    whole = sum(sizes.values()) or 1
    untouched = {n: k for n, k in sizes.items() if n not in graph.layouts}
    reasons: Counter[str] = Counter()
    for name, size in untouched.items():
        found = graph.frozen.get(name, ("not reached by the traced run",))
        reasons.update(dict.fromkeys((_of_all_sides(text) for text in found), size))
    return {
        "frozen": round(sum(untouched.values()) / whole, 4),
        "reasons": [[text, round(size / whole, 4)] for text, size in reasons.most_common(4)],
    }


# What a user does with the result --------------------------------------------------------------


def _use(
    model: nn.Module, small: nn.Module, inputs: Inputs, stage: Stage, record: dict[str, Any]
) -> None:
    """Export, copy and train the pruned network; what the original cannot do is not asked."""
    uses: dict[str, Callable[[nn.Module, Inputs], None]] = {
        "copy": copies,
        "export": exports,
        "train": trains,
    }
    for name, use in uses.items():
        try:
            with stage(name):
                use(small, inputs)
        except Exception as error:  # noqa: BLE001 - raised again below
            try:
                use(copy.deepcopy(model), inputs)
            except Exception as original:  # noqa: BLE001 - the original fails too: said, not hidden
                record.setdefault("impossible", {})[name] = _line(original)
            else:
                raise error from None


def copies(model: nn.Module, inputs: Inputs) -> None:
    """Copy and pickle the network; both must compute the same.

    Raises:
        ValueError: They do not.
    """
    buffer = io.BytesIO()
    pickle.dump(model, buffer)
    buffer.seek(0)
    loaded = pickle.load(buffer)
    for other in (copy.deepcopy(model), loaded):
        _same(model, other, inputs)


def exports(model: nn.Module, inputs: Inputs) -> None:
    """Export the network with ``torch.export``; the program must compute the same.

    Raises:
        ValueError: It does not.
    """
    program = torch.export.export(model, inputs, strict=False)
    _same(model, program.module(), inputs)


@torch.no_grad()
def _same(model: nn.Module, other: Callable[..., Any], inputs: Inputs) -> None:
    expected, found = (list(tensors_in(m(*inputs))) for m in (model, other))
    error = max(map(distance, expected, found))
    if not error <= _LOOSE:
        raise ValueError(f"the copy or export computes something else: {error:.1e}")


def trains(model: nn.Module, inputs: Inputs) -> None:
    """Take one step of gradient descent in training mode. Changes ``model``.

    Raises:
        ValueError: No gradient reached a parameter, or one is not finite.
    """
    torch.manual_seed(0)
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    outputs = [t for t in tensors_in(model(*inputs)) if t.is_floating_point() and t.requires_grad]
    loss = torch.stack([t.square().mean() for t in outputs]).sum()
    loss.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    if not grads:
        raise ValueError("no gradient reached a parameter")
    if not all(bool(g.isfinite().all()) for g in grads):
        raise ValueError("a gradient is not finite")
    optimizer.step()


def _whole(built: Built) -> dict[str, float]:
    """Trace and prune the detector as users run it, photos in, boxes out; compare its raw heads.

    Raises:
        SilentError: The heads of the pruned detector compute something else than they should.
    """
    assert built.whole is not None
    heads, (detector, photos) = built.model, built.whole
    plan = random_plan(trace(detector, photos))
    small = apply(plan, detector)
    _forward(small, photos)
    same = transferred(plan, trace(heads, built.inputs), prefix="detector.")
    found = compare(heads, RawHeads(small), same, built.inputs)
    return {f"whole_{key}": value for key, value in found.items()}


def transferred(plan: Plan, graph: Graph, *, prefix: str) -> Plan:
    """Return ``plan`` for ``graph``, whose model holds the planned one under ``prefix``."""
    removed = {}
    for group in graph.groups:
        member = next(m for m in group.members if not m.is_inner)
        layout = plan.graph.layouts.get(member.tensor.removeprefix(prefix))
        channels = None if layout is None else layout.dims[member.dim]
        if channels is not None:
            gone = np.unique(member.channels[~kept(channels, plan.keep)])
            removed[group.name] = gone[gone >= 0].tolist()
    return plan_removal(graph, removed)


# Memory ----------------------------------------------------------------------------------------


def reset_peak() -> int:
    """Forget the peak memory of this process (Linux) and return its present bytes, 0 if unknown."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return read_memory("VmRSS")


def read_memory(key: str, pid: int | str = "self") -> int:
    """Return ``VmRSS`` or ``VmHWM`` of a process in bytes, 0 if unknown."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)
