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
from torch import nn

from benchmarks.zoolib.build import Built, build
from sentei.errors import VerificationError
from sentei.graph import Graph, trace
from sentei.graph.capture import tensors_in
from sentei.surgery import Plan, apply, mask, plan_removal, verify

KEEP = 0.5
_LOOSE = 1e-5


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
    with stage("forward"), torch.no_grad():
        small(*inputs)
    with stage("verify"):
        record |= compare(model, small, plan, inputs)
    _use(model, small, inputs, stage, record)
    if built.whole is not None:
        detector, photos = built.whole
        with stage("whole"):
            _whole(detector, photos)


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


def compare(model: nn.Module, small: nn.Module, plan: Plan, inputs: Any) -> dict[str, float]:
    """Return the differences of outputs and input gradients, relative to their largest values.

    Raises:
        SilentError: They are too large: the pruned network is wrong.
    """
    try:
        found = verify(model, small, plan, inputs)
    except VerificationError as error:
        # Separates a wrong network from a reference that could not run.
        with torch.no_grad():
            mask(plan, model)(*copy.deepcopy(inputs))
        raise SilentError(str(error)) from error
    return {"output_error": found.output_error, "gradient_error": found.gradient_error}


def frozen_share(graph: Graph) -> dict[str, Any]:
    """Return the share of parameters that no group owns a part of, and the main reasons."""
    sizes = {name: p.numel() for name, p in graph.model.named_parameters()}
    whole = sum(sizes.values()) or 1
    untouched = {n: k for n, k in sizes.items() if n not in graph.layouts}
    reasons: Counter[str] = Counter()
    for name, size in untouched.items():
        for reason in graph.frozen.get(name, ("not reached by the traced run",)):
            reasons[reason] += size
    return {
        "frozen": round(sum(untouched.values()) / whole, 4),
        "reasons": [[text, round(size / whole, 4)] for text, size in reasons.most_common(4)],
    }


# What a user does with the result --------------------------------------------------------------


def _use(
    model: nn.Module, small: nn.Module, inputs: Any, stage: Stage, record: dict[str, Any]
) -> None:
    """Export, copy and train the pruned network; what the original cannot do is not asked."""
    uses: dict[str, Callable[[nn.Module, Any], None]] = {
        "copy": copies,
        "export": exports,
        "train": trains,
    }
    for name, use in uses.items():
        try:
            with stage(name):
                use(small, inputs)
        except Exception as error:
            try:
                use(copy.deepcopy(model), inputs)
            except Exception as original:  # noqa: BLE001 - the original fails too: said, not hidden
                record.setdefault("impossible", {})[name] = _line(original)
            else:
                raise error from None


def copies(model: nn.Module, inputs: Any) -> None:
    """Copy and pickle the network; both must compute the same.

    Raises:
        ValueError: They do not.
    """
    buffer = io.BytesIO()
    pickle.dump(model, buffer)
    buffer.seek(0)
    loaded = pickle.load(buffer)  # noqa: S301 - written two lines above
    for other in (copy.deepcopy(model), loaded):
        _same(model, other, inputs)


def exports(model: nn.Module, inputs: Any) -> None:
    """Export the network with ``torch.export``; the program must compute the same.

    Raises:
        ValueError: It does not.
    """
    program = torch.export.export(model, inputs, strict=False)
    _same(model, program.module(), inputs)


@torch.no_grad()
def _same(model: nn.Module, other: Callable[..., Any], inputs: Any) -> None:
    expected, found = (list(tensors_in(m(*inputs))) for m in (model, other))
    for e, f in zip(expected, found, strict=True):
        scale = max(float(e.double().abs().max()), 1e-30) if e.numel() else 1.0
        error = float((e.double() - f.double()).abs().max()) / scale if e.numel() else 0.0
        if not error <= _LOOSE:
            raise ValueError(f"the copy or export computes something else: {error:.1e}")


def trains(model: nn.Module, inputs: Any) -> None:
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


def _whole(detector: nn.Module, photos: Any) -> None:
    """Trace, prune and run a whole detector: images in, boxes out.

    Raises:
        ValueError: The heads of the pruned detector compute something else than they should.
    """
    graph = trace(detector, photos)
    plan = random_plan(graph)
    small = apply(plan, detector)
    with torch.no_grad():
        small(*photos)
    if not plan.removed:
        raise ValueError("nothing can be removed from the whole detector")


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
