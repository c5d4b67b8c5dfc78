"""Capture: run the model once and write down every operator, tensor and size.

Two modes run at once. The function mode sees the calls of the user's code, before arguments are
parsed: it hands out sizes that remember where they came from and notes file and line. The
dispatch mode beneath it sees every operator that really runs, whatever called it (modules,
functions, scripted code, C++ composites). Weights are replaced by ``meta`` tensors, so that
nothing is computed and the user's model is never touched; where a model needs real values
(control flow on data, ``.item()``), it runs once more on them.
"""

# Arguments and results of torch's calls, and inputs of models, may be anything.
# ruff: noqa: ANN401

import copy
import dataclasses
import os
import sys
import traceback
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import sentei.errors
from sentei.errors import TraceError
from sentei.index.atoms import IntArray
from sentei.index.sizes import Expr, Size, SizeLog, plain

M = TypeVar("M", bound=nn.Module)
Kind = Literal["param", "buffer", "input", "const", "op"]

# Calls that run as one opaque operator: their insides depend on the widths in ways that no size
# argument shows.
OPAQUE = frozenset(
    {
        "multi_head_attention_forward", "lstm", "gru", "rnn_tanh", "rnn_relu",
        "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell",
    }
)  # fmt: skip

# Calls that compute with the numbers they are given: a size there is no size.
_ARITHMETIC = frozenset(
    {
        "add", "radd", "sub", "rsub", "mul", "rmul", "div", "rdiv", "truediv", "rtruediv",
        "true_divide", "floor_divide", "floordiv", "rfloordiv", "pow", "rpow", "remainder",
        "mod", "fmod", "fill", "full", "full_like", "new_full", "masked_fill", "clamp", "lt",
        "gt", "le", "ge", "eq", "ne", "tensor", "as_tensor", "scalar_tensor",
    }
)  # fmt: skip

# Where code lies that is not the user's.
_NOT_THE_USER = tuple(
    f"{Path(file).parent}{os.sep}" for file in (torch.__file__, sentei.errors.__file__)
)

# Attributes of modules that never hold a number of channels.
_NOT_WIDTHS = frozenset({"kernel_size", "stride", "padding", "dilation", "output_padding"})


class Ref(NamedTuple):
    """Stands for a tensor in recorded arguments."""

    value: int


@dataclass(kw_only=True, slots=True)
class Value:
    """One tensor seen in the run.

    Attributes:
        shape: Its sizes in the run.
        itemsize: Bytes an element.
        kind: Parameter, buffer, input of the model, other constant, or result of an operator.
        name: Qualified name of a parameter or buffer, else "".
        producer: Index of the operator that made it, or -1.
        names: All names of a shared parameter or buffer.
    """

    shape: tuple[int, ...]
    itemsize: int
    kind: Kind
    name: str = ""
    producer: int = -1
    names: tuple[str, ...] = ()


@dataclass(kw_only=True, slots=True)
class Call:
    """One call of the user's code into torch.

    Attributes:
        function: Name of the function ("conv2d", "view", ...).
        arguments: Its arguments, sizes still as :class:`Size`, tensors as they were.
        tensors: Values of its tensor arguments, in order.
        results: Values of the tensors it returned, in order.
        where: ``file:line`` of the user's code.
        module: Path of the module whose forward ran.
    """

    function: str
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    tensors: tuple[int, ...]
    where: str
    module: str
    results: tuple[int, ...] = ()


@dataclass(kw_only=True, slots=True)
class Op:
    """One operator that ran.

    Attributes:
        name: ATen name without overload ("convolution").
        func: The overload itself.
        args: Arguments by schema name, defaults filled in, tensors as :class:`Ref`.
        outputs: Values of the tensors it returned (an in-place operator returns its input's).
        call: The user's call it belongs to, or -1.
    """

    name: str
    func: Any
    args: dict[str, Any]
    outputs: tuple[int, ...]
    call: int


@dataclass(kw_only=True)
class Recording:
    """Everything one run showed.

    Attributes:
        values: Every tensor.
        ops: Every operator, in the order they ran.
        calls: The user's calls, in the same order.
        outputs: Values of the tensors the model returned.
        escapes: Sizes used as numbers, and where.
        guards: Comparisons of sizes that the code branched on.
        indices: Values of the model's buffers of integers or booleans with one dimension.
        batch_size: Length of the first dimension of the first input.
    """

    values: list[Value] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    escapes: list[tuple[Expr, str]] = field(default_factory=list)
    guards: list[tuple[str, Expr, Expr, bool, str]] = field(default_factory=list)
    indices: dict[int, IntArray] = field(default_factory=dict)
    batch_size: int = 1

    def where(self, op: Op) -> str:
        """Return ``module (file:line)`` of an operator, for messages."""
        if op.call < 0:
            return op.name
        call = self.calls[op.call]
        return f"{call.module or 'the model'} ({call.where})"


@cache
def _schema(func: Any) -> tuple[str, tuple[tuple[str, Any], ...]]:
    arguments = tuple(
        (a.name, a.default_value if a.has_default_value() else None) for a in func._schema.arguments
    )
    return func._schema.name.split("::")[-1].rstrip("_").lstrip("_"), arguments


def tensors_in(obj: Any, seen: frozenset[int] = frozenset()) -> Iterator[Tensor]:
    """Yield every tensor in nested tuples, lists, dicts, dataclasses and plain objects."""
    if isinstance(obj, Tensor):
        yield obj
    elif obj is None or isinstance(obj, int | float | str | slice | torch.dtype | torch.device):
        return
    elif isinstance(obj, Mapping):
        for item in obj.values():
            yield from tensors_in(item, seen)
    elif isinstance(obj, list | tuple | set):
        for item in obj:
            yield from tensors_in(item, seen)
    elif id(obj) not in seen and not isinstance(obj, nn.Module | type):
        if dataclasses.is_dataclass(obj):
            yield from tensors_in(_fields(obj), seen | {id(obj)})
        elif hasattr(obj, "__dict__"):
            yield from tensors_in(vars(obj), seen | {id(obj)})


def _fields(obj: Any) -> dict[str, Any]:
    return {f.name: getattr(obj, f.name) for f in dataclasses.fields(obj) if hasattr(obj, f.name)}


def map_tensors(obj: Any, function: Any) -> Any:
    """Return ``obj`` with ``function`` applied to every tensor in tuples, lists, dicts, dataclasses."""
    if isinstance(obj, Tensor):
        return function(obj)
    if isinstance(obj, list):
        return [map_tensors(o, function) for o in obj]
    if isinstance(obj, tuple):
        items = [map_tensors(o, function) for o in obj]
        return type(obj)(*items) if hasattr(obj, "_fields") else tuple(items)
    if isinstance(obj, dict):
        return {k: map_tensors(v, function) for k, v in obj.items()}
    if dataclasses.is_dataclass(obj) and not isinstance(obj, nn.Module | type):
        changed = copy.copy(obj)
        for key, value in _fields(obj).items():
            object.__setattr__(changed, key, map_tensors(value, function))
        return changed
    return obj


def copied(model: M, memo: dict[int, Any] | None = None) -> M:
    """Return a deep copy of a module; tensors it has computed and keeps come detached.

    Torch refuses to copy those: an attention map that a forward left behind, the weight that
    ``torch.nn.utils.prune`` or the old ``weight_norm`` computes.

    Args:
        model: The module.
        memo: What to put in place of objects, by id, as of :func:`copy.deepcopy`.
    """
    memo = _empty_tables(model) | (memo or {})
    try:
        return copy.deepcopy(model, dict(memo))
    except RuntimeError:
        computed = {
            id(t): t.detach().clone()
            for module in model.modules()
            for t in tensors_in(vars(module))
            if t.grad_fn is not None
        }
        if not computed:
            raise
        return copy.deepcopy(model, computed | memo)


def _empty_tables(model: nn.Module) -> dict[int, Any]:
    """Return what takes the place of empty tables, by id.

    A module has a dozen of them for its hooks, and deepcopy is slow with each.
    """
    values = (value for _, module in walk(model) for value in vars(module).values())
    return {id(v): OrderedDict() for v in values if type(v) is OrderedDict and not v}


def _bare(obj: Any) -> Any:
    """Return call arguments with every size as a bare integer."""
    kind = type(obj)
    if kind is Size:
        return plain(obj)
    if kind is tuple or kind is torch.Size:
        return tuple(_bare(o) for o in obj)
    if kind is list:
        return [_bare(o) for o in obj]
    if kind is slice:
        return slice(_bare(obj.start), _bare(obj.stop), _bare(obj.step))
    if kind is dict:
        return {k: _bare(v) for k, v in obj.items()}
    return obj


def ints_in(obj: Any) -> Iterator[int]:
    """Yield the integers of call arguments in order, sizes included, booleans not."""
    if isinstance(obj, bool | Tensor):
        return
    if isinstance(obj, int):
        yield obj
    elif isinstance(obj, slice):
        yield from ints_in([obj.start, obj.stop, obj.step])
    elif isinstance(obj, list | tuple):
        for item in obj:
            yield from ints_in(item)
    elif isinstance(obj, dict):
        yield from ints_in(list(obj.values()))


class _Recorder:
    """State shared by the two modes."""

    def __init__(self) -> None:
        self.recording = Recording()
        self.log = SizeLog(where=self.user_line)
        self.recording.escapes, self.recording.guards = self.log.escapes, self.log.guards
        self.ids: dict[int, int] = {}
        self.alive: list[Tensor] = []
        self.modules: list[str] = [""]
        self.call = -1
        self.paused = False
        self.below = False  # an operator runs: what it calls is no call of the user's code

    def user_line(self) -> str:
        frame = sys._getframe(1)
        while frame is not None:
            path = frame.f_code.co_filename
            if not path.startswith(_NOT_THE_USER):
                short = "/".join(path.split("/")[-2:])
                return f"{short}:{frame.f_lineno}"
            frame = frame.f_back  # type: ignore[assignment]
        return "the model's code"

    def add(self, tensor: Tensor, kind: Kind, name: str = "") -> int:
        index = len(self.recording.values)
        self.recording.values.append(
            Value(
                shape=tuple(tensor.shape),
                itemsize=tensor.element_size(),
                kind=kind,
                name=name,
                names=(name,) if name else (),
                producer=len(self.recording.ops) if kind == "op" else -1,
            )
        )
        self.ids[id(tensor)] = index
        self.alive.append(tensor)
        return index

    def find(self, tensor: Tensor) -> int:
        """Return the value of a tensor; one never seen before is a constant of the model."""
        index = self.ids.get(id(tensor))
        if index is None:
            index = self.add(tensor, "const")
        return index

    def refs(self, obj: Any) -> Any:
        if isinstance(obj, Tensor):
            return Ref(self.find(obj))
        if isinstance(obj, list | tuple):
            return [self.refs(o) for o in obj]
        return obj

    def op(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:
        name, schema = _schema(func)
        bound = {}
        for position, (key, default) in enumerate(schema):
            value = args[position] if position < len(args) else kwargs.get(key, default)
            bound[key] = self.refs(value)
        self.record(name, func, bound, out)

    def record(self, name: str, func: Any, bound: dict[str, Any], out: Any) -> None:
        outputs = []
        for tensor in [out] if isinstance(out, Tensor) else tensors_in(out):
            known = self.ids.get(id(tensor))
            outputs.append(self.add(tensor, "op") if known is None else known)
        self.recording.ops.append(
            Op(name=name, func=func, args=bound, outputs=tuple(outputs), call=self.call)
        )

    def sized(self, tensor: Tensor, dim: int | None = None) -> Any:
        value = self.find(tensor)
        if dim is not None:
            dim %= max(tensor.dim(), 1)
            return Size(tensor.shape[dim], ("dim", value, dim), self.log)
        return torch.Size(
            [Size(n, ("dim", value, d), self.log) for d, n in enumerate(tensor.shape)]
        )


def _batch_norm_meta(x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Shapes of a batch norm; torch's own meta kernel decomposes it, at half the cost of a run."""
    training = args[4] if len(args) > 4 else kwargs["training"]
    statistics = x.new_empty(x.shape[1] if training else 0)
    return torch.empty_like(x), statistics, torch.empty_like(statistics)


def _unary_meta(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ARG001
    return torch.empty_like(x)


def _unary_in_place_meta(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ARG001
    return x


def _shortcuts() -> dict[Any, Any]:
    aten = torch.ops.aten
    found: dict[Any, Any] = {aten.native_batch_norm.default: _batch_norm_meta}
    for name in ("hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "silu", "elu", "relu",
                 "gelu", "mish", "sigmoid", "tanh"):  # fmt: skip
        found[getattr(aten, name).default] = _unary_meta
        if hasattr(aten, f"{name}_"):
            found[getattr(aten, f"{name}_").default] = _unary_in_place_meta
    return found


# Torch's meta kernels of these run Python decompositions that take longer than all the rest.
_SHORTCUTS = _shortcuts()


class _Operators(TorchDispatchMode):
    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recorder = recorder

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # Below eager code torch has the function mode rest; below scripted code it does not.
        self.recorder.below = True
        try:
            return self._run(func, args, kwargs or {})
        finally:
            self.recorder.below = False

    def _run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        shortcut = _SHORTCUTS.get(func) if args and args[0].__class__ is Tensor else None
        if shortcut is not None and args[0].is_meta:
            out = shortcut(*args, **kwargs)
        else:
            out = func(*args, **kwargs)
        if not self.recorder.paused:
            self.recorder.op(func, args, kwargs, out)
        return out


_SHAPE = torch.Tensor.shape.__get__  # type: ignore[attr-defined]
_GETTERS = {
    _SHAPE: None,
    torch.Tensor.size: None,
}


class _Functions(TorchFunctionMode):
    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        recorder = self.recorder
        if recorder.below:
            return func(*args, **kwargs)
        if func in _GETTERS:
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            return recorder.sized(args[0], None if dim is None else plain(dim))
        if func is torch.Tensor.numel or func is torch.Tensor.nelement:
            total: int = 1
            for size in recorder.sized(args[0]):
                total = size * total
            return total
        if func is torch.Tensor.__len__:
            return plain(args[0].shape[0])
        name = getattr(func, "__name__", str(func))
        if name in ("__get__", "dim", "is_floating_point", "__set__", "device"):
            return func(*_bare(args), **_bare(kwargs))
        return self._run(func, name, args, kwargs)

    def _run(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        recorder = self.recorder
        before = recorder.call
        inputs = list(tensors_in((args, kwargs)))
        recorder.recording.calls.append(
            Call(
                function=name,
                arguments=(args, kwargs),
                tensors=tuple(recorder.find(t) for t in inputs),
                where=recorder.user_line(),
                module=recorder.modules[-1],
            )
        )
        recorder.call = len(recorder.recording.calls) - 1
        if name.strip("_").removeprefix("i") in _ARITHMETIC or name.strip("_") in _ARITHMETIC:
            used = [s for s in ints_in([*args, *kwargs.values()]) if isinstance(s, Size)]
            recorder.log.escapes.extend((s.expr, recorder.user_line()) for s in used)
        opaque = name in OPAQUE and not recorder.paused
        recorder.paused = recorder.paused or opaque
        try:
            out = func(*_bare(args), **_bare(kwargs))
        finally:
            recorder.paused = recorder.paused and not opaque
        if opaque:
            bound = {"tensors": [Ref(recorder.find(t)) for t in inputs]}
            recorder.record(name, None, bound, out)
        recorder.recording.calls[recorder.call].results = tuple(
            recorder.ids.get(id(t), -1) for t in tensors_in(out)
        )
        recorder.call = before
        return out


@contextmanager
def no_fast_path() -> Iterator[None]:
    """Have attention make the calls that a trace records, not one fused call for all."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


@contextmanager
def _module_names(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    names = {id(m): name for name, m in model.named_modules()}

    def enter(module: nn.Module, args: Any) -> None:  # noqa: ARG001
        recorder.modules.append(names.get(id(module), recorder.modules[-1]))

    def leave(module: nn.Module, args: Any, out: Any) -> None:  # noqa: ARG001
        recorder.modules.pop()

    handles = [
        torch_module.register_module_forward_pre_hook(enter),
        torch_module.register_module_forward_hook(leave, always_call=True),
    ]
    try:
        with no_fast_path():
            yield
    finally:
        for handle in handles:
            handle.remove()


def _taint(model: nn.Module, log: SizeLog) -> None:
    """Replace every integer attribute of the (copied) modules by a size that knows its name."""
    for path, module in model.named_modules():
        for key, value in list(vars(module).items()):
            if key in _NOT_WIDTHS or key.startswith("__"):
                continue
            if type(value) is int and value > 0:
                vars(module)[key] = Size(value, ("attr", path, key, -1), log)
            elif type(value) in (tuple, list) and value and all(type(v) is int for v in value):
                items = [Size(v, ("attr", path, key, i), log) for i, v in enumerate(value)]
                vars(module)[key] = type(value)(items)


def walk(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the path and the module of every module, shared ones once a path.

    In the order of the modules; torch's own iterators are several times slower.
    """
    stack: list[tuple[str, nn.Module]] = [("", model)]
    while stack:
        path, module = stack.pop()
        yield path, module
        if module._modules:
            prefix = f"{path}." if path else ""
            children = [(prefix + n, m) for n, m in module._modules.items() if m is not None]
            stack.extend(reversed(children))


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor, Kind]]:
    """Yield ``(name, tensor, kind)`` of every parameter and buffer, shared ones once a name.

    In the order of the modules, parameters of each first.
    """
    for path, module in walk(model):
        prefix = f"{path}." if path else ""
        for name, parameter in module._parameters.items():
            if parameter is not None:
                yield prefix + name, parameter, "param"
        for name, buffer in module._buffers.items():
            if buffer is not None:
                yield prefix + name, buffer, "buffer"


def find_tensor(modules: Mapping[str, nn.Module], name: str) -> tuple[Tensor | None, Kind]:
    """Return a parameter or buffer by name, None if there is none, and which of the two it is.

    Args:
        modules: By path, see :func:`walk`.
        name: As of :func:`named_tensors`.
    """
    path, _, own = name.rpartition(".")
    module = modules.get(path)
    if module is None:
        return None, "buffer"
    parameter = module._parameters.get(own)
    return (module._buffers.get(own), "buffer") if parameter is None else (parameter, "param")


def _shadow(model: nn.Module, *, real: bool) -> tuple[nn.Module, dict[int, Tensor]]:
    """Copy the module tree; its tensors become ``meta`` tensors, or shared/cloned real ones."""
    memo: dict[int, Any] = {}
    stand_ins: dict[int, Tensor] = {}
    for _, tensor, kind in named_tensors(model):
        if id(tensor) in stand_ins:
            continue
        source = tensor.detach()
        stand_in = source.clone() if real and kind == "buffer" else source
        if not real:
            stand_in = torch.empty_like(source, device="meta")
        if kind == "param":
            stand_in = nn.Parameter(stand_in, requires_grad=False)
        memo[id(tensor)] = stand_ins[id(tensor)] = stand_in
    return copied(model, memo), stand_ins


def _run(model: nn.Module, inputs: tuple[Any, ...] | dict[str, Any], *, real: bool) -> Recording:
    shadow, stand_ins = _shadow(model, real=real)
    recorder = _Recorder()
    # Parameters first: they name the groups.
    for name, tensor, kind in sorted(named_tensors(model), key=lambda found: found[2] == "buffer"):
        stand_in = stand_ins[id(tensor)]
        known = recorder.ids.get(id(stand_in))
        if known is None:
            known = recorder.add(stand_in, kind, name)
            if kind == "buffer" and _may_index(tensor):
                recorder.recording.indices[known] = tensor.detach().cpu().numpy().copy()
        else:
            recorder.recording.values[known].names += (name,)
    if not real:
        inputs = map_tensors(inputs, lambda t: t.to("meta"))
    first = True
    for tensor in tensors_in(inputs):
        recorder.add(tensor, "input")
        if first and tensor.dim() > 1:
            recorder.recording.batch_size, first = tensor.shape[0], False
    _taint(shadow, recorder.log)
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        # Dropout draws numbers even for tensors without data.
        torch.random.fork_rng(devices={t.device for t in stand_ins.values() if t.is_cuda}),
        _module_names(shadow, recorder),
        _Operators(recorder),
        _Functions(recorder),
    ):
        out = shadow(*args, **kwargs)
    recorder.recording.outputs = [
        recorder.ids[id(t)] for t in tensors_in(out) if id(t) in recorder.ids
    ]
    return recorder.recording


def _may_index(tensor: Tensor) -> bool:
    """Return whether a tensor could pick positions of a dimension of another."""
    kinds = (torch.int64, torch.int32, torch.bool)
    return tensor.dim() == 1 and tensor.dtype in kinds and not tensor.is_meta


def _blame(error: BaseException) -> str:
    """Return the last line of the user's code in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    user = [f for f in frames if not f.filename.startswith(_NOT_THE_USER)]
    frame = (user or list(frames))[-1]
    return f"{frame.filename}:{frame.lineno}: {frame.line}"


def as_inputs(inputs: Any) -> tuple[Any, ...] | dict[str, Any]:
    """Return example inputs as positional (tuple) or keyword (dict) arguments."""
    if isinstance(inputs, dict):
        return inputs
    if isinstance(inputs, list | tuple):
        return tuple(inputs)
    return (inputs,)


def capture(model: nn.Module, inputs: Any) -> Recording:
    """Run ``model`` once on ``inputs`` and return what happened.

    The model is not changed: the run uses a copy of the module tree with stand-ins for its
    tensors, in the mode (train or eval) the model is in.

    Args:
        model: Any module.
        inputs: A tensor, a tuple of positional or a dict of keyword arguments.

    Raises:
        TraceError: The model itself fails on these inputs; the message names its line.
    """
    arguments = as_inputs(inputs)
    if not any(True for _ in tensors_in(arguments)):
        raise TraceError(
            f"the example inputs hold no tensor (found {type(inputs).__name__}); "
            "pass the tensors that the model's forward takes"
        )
    # Whatever the user's forward raises on meta tensors, the real run decides.
    with suppress(Exception):
        return _run(model, arguments, real=False)
    try:
        return _run(model, arguments, real=True)
    except Exception as error:
        raise TraceError(
            f"the model failed on the example inputs at {_blame(error)}\n"
            f"  {type(error).__name__}: {error}\n"
            "  check the shape, dtype and device of the inputs, or move the failing lines "
            "out of forward"
        ) from error
