"""Trace: a model and example inputs in, a graph of groups out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from sentei.errors import TraceError, UnknownNameError, check_type
from sentei.graph import rules  # noqa: F401  (registers them)
from sentei.graph.analysis import Analysis, Dims, analyse
from sentei.graph.capture import Kind, Recording, capture, copied, named_tensors
from sentei.graph.groups import INPUTS, OUTPUTS, Graph, Group, Layout, Member, Pick, TraceOptions
from sentei.graph.rules.attention import default_scales
from sentei.graph.rules.indexing import one_meaning_a_buffer
from sentei.graph.rules.norm import root_mean_square_shapes
from sentei.graph.settle import Settled, settle
from sentei.index.atoms import Classes, IntArray
from sentei.registry import did_you_mean


def trace(
    model: nn.Module,
    inputs: Any,  # noqa: ANN401 - whatever the model takes
    *,
    protect: Iterable[str] = (),
    shrink_outputs: bool = False,
) -> Graph:
    """Return which channels of ``model`` go together.

    The model is run once on stand-ins without data; it is not changed, and neither are its mode,
    its gradients or the random state.

    Args:
        model: Any module.
        inputs: Example inputs: a tensor, a tuple (positional) or a dict (keyword arguments).
        protect: Names of modules or parameters that stay whole: of a convolution neither what it
            produces nor what it reads is removed. To keep only what it produces, name its bias,
            or the norm that follows.
        shrink_outputs: Allow the model's outputs (classifier rows) to be removed too.

    Raises:
        TraceError: The model fails on these inputs.
        TypeError: ``model`` is no module.
        UnknownNameError: A name in ``protect`` is neither a module nor a parameter.
    """
    check_type("model", model, nn.Module)
    protect = tuple(protect)
    options = TraceOptions(
        training=any(m.training for m in model.modules()),
        protect=protect,
        shrink_outputs=shrink_outputs,
    )
    recording = capture(model, inputs)
    analysis = analyse(recording)
    default_scales(analysis)
    root_mean_square_shapes(analysis)
    one_meaning_a_buffer(analysis)
    _protect(analysis, model, protect)
    if not shrink_outputs:
        analysis.freeze_values(recording.outputs, "outputs of the model keep their shape")
    settled = settle(analysis, _integer_attributes(model))
    for call in recording.calls:
        call.arguments = ((), {})
    graph = _build(analysis, settled, model, inputs)
    return replace(graph, options=options)


def retrace(graph: Graph, model: nn.Module) -> Graph:
    """Return the graph of ``model`` in evaluation mode, traced as ``graph`` was otherwise.

    In train mode a model makes other calls (it counts batches, drops paths). A graph that was
    traced in evaluation mode is returned as it is.

    Args:
        graph: The graph.
        model: The traced model, or one like it; not changed.
    """
    if not graph.options.training:
        return graph
    return trace(
        copied(model).eval(),
        graph.inputs,
        protect=graph.options.protect,
        shrink_outputs=graph.options.shrink_outputs,
    )


def _integer_attributes(model: nn.Module) -> dict[tuple[str, str, int], int]:
    found = {}
    for path, module in model.named_modules():
        for key, value in vars(module).items():
            if type(value) is int:
                found[path, key, -1] = value
            elif type(value) in (tuple, list):
                found.update({(path, key, i): v for i, v in enumerate(value) if type(v) is int})
    return found


def _protect(a: Analysis, model: nn.Module, names: Iterable[str]) -> None:
    tensors = {n: i for i, v in enumerate(a.recording.values) for n in v.names}
    modules = dict(model.named_modules())
    for name in names:
        if name not in modules and name not in tensors:
            raise UnknownNameError(
                f"cannot protect {name!r}: the model has no such module or parameter."
                f"{did_you_mean(name, [*modules, *tensors])}"
            )
        own = [v for n, v in tensors.items() if not name or n == name or n.startswith(f"{name}.")]
        a.freeze_values(own, f"{name or 'the model'} is protected by the user")


def _build(a: Analysis, settled: Settled, model: nn.Module, inputs: object) -> Graph:
    number, owner = _number_channels(a, settled)

    # Layouts of a network repeat a few arrays (a convolution, its norm, its activations): share
    # them, so that what is computed from one is computed once.
    shared: dict[bytes, IntArray] = {}
    numbers = np.where(settled.classes.frozen, -1, number)

    def channels(atoms: IntArray) -> IntArray:
        found = numbers[settled.classes.labels[atoms]]
        return shared.setdefault(found.tobytes() + bytes(str(found.shape), "ascii"), found)

    def layout(dims: Sequence[IntArray | None]) -> tuple[IntArray | None, ...]:
        numbered = [None if d is None else channels(d) for d in dims]
        return tuple(n if n is not None and (n >= 0).any() else None for n in numbered)

    values = {i: layout(dims) for i, dims in a.layouts.items()}
    values = {i: dims for i, dims in values.items() if any(d is not None for d in dims)}
    sources = {pick.buffer: pick.source for pick in a.picks}
    layouts = {}
    for index, value in enumerate(a.recording.values):
        if not value.name:
            continue
        (inner,) = layout([a.dependent.get(index)])
        (source,) = layout([sources.get(index)])
        if index in values or inner is not None or source is not None:
            pick = None
            if source is not None:
                pick = Pick(indices=a.recording.indices[index], source=source)
            dims = values.get(index, (None,) * len(value.shape))
            layouts[value.name] = Layout(
                names=value.names, shape=value.shape, dims=dims, inner=inner, pick=pick
            )
    rows = _rows(settled, number, len(owner))
    return Graph(
        groups=_groups(layouts, owner, rows, _transposed(a.recording)),
        layouts=layouts,
        attributes={k: channels(atoms) for k, atoms in settled.attributes.items()},
        frozen=_reasons(a, settled, _sides(model)),
        values=values,
        recording=a.recording,
        model=model,
        inputs=inputs,
    )


def _number_channels(a: Analysis, settled: Settled) -> tuple[IntArray, IntArray]:
    """Number the removable classes through, group by group.

    Returns:
        The channel of every class (-1 if frozen or owned by no parameter), and the group of
        every channel.
    """
    groups: dict[int, list[int]] = {}
    known = settled.classes.frozen.copy()
    for index, value in enumerate(a.recording.values):
        if not value.name:
            continue
        arrays = [d for d in a.layouts[index] if d is not None]
        if index in a.dependent:
            arrays.append(a.dependent[index].ravel())
        for atoms in arrays:
            classes = settled.classes.labels[atoms]
            classes = classes[~known[classes]]
            if not len(classes):
                continue
            known[classes] = True
            first = np.sort(np.unique(classes, return_index=True)[1])
            for cls in classes[first].tolist():
                groups.setdefault(int(settled.signature[cls]), []).append(cls)
    number = np.full(len(settled.classes.frozen), -1, dtype=np.int64)
    owner: list[int] = []
    for group, own in enumerate(groups.values()):
        number[own] = np.arange(len(owner), len(owner) + len(own))
        owner += [group] * len(own)
    return number, np.array(owner, dtype=np.int64)


def _rows(settled: Settled, number: IntArray, count: int) -> IntArray:
    """Return the row of every channel, -1 where its group has no rows."""
    rows = np.full(count, -1, dtype=np.int64)
    for cells in settled.balanced:
        for row, classes in enumerate(cells):
            rows[number[classes]] = row
    return rows


def _groups(
    layouts: Mapping[str, Layout], owner: IntArray, rows: IntArray, transposed: set[str]
) -> tuple[Group, ...]:
    count = int(owner.max()) + 1 if len(owner) else 0
    members: list[list[Member]] = [[] for _ in range(count)]
    firsts = np.searchsorted(owner, np.arange(count))
    for name, layout in layouts.items():
        arrays = [(k, d, False) for k, d in enumerate(layout.dims) if d is not None]
        if layout.inner is not None:
            arrays.append((1, layout.inner, True))
        for dim, channels, inner in arrays:
            of_position = np.where(channels < 0, -1, owner[channels])
            for group in np.unique(of_position[of_position >= 0]).tolist():
                local = np.where(of_position == group, channels - firsts[group], -1)
                members[group].append(Member(tensor=name, dim=dim, channels=local, is_inner=inner))
    groups: list[Group] = []
    taken: set[str] = set()
    widths = np.bincount(owner, minlength=count)
    for index in range(count):
        name = _name(members[index], layouts, taken, transposed)
        taken.add(name)
        first, width = int(firsts[index]), int(widths[index])
        own_rows = rows[first : first + width]
        groups.append(
            Group(
                name=name,
                index=index,
                width=width,
                members=tuple(members[index]),
                rows=own_rows if (own_rows >= 0).all() else None,
                first=first,
            )
        )
    return tuple(groups)


def _name(
    members: list[Member], layouts: Mapping[str, Layout], taken: set[str], transposed: set[str]
) -> str:
    """Name a group after the module whose weight produces it."""
    producers = [
        m
        for m in members
        if m.dim == int(m.tensor in transposed) and len(layouts[m.tensor].shape) > 1
    ]
    tensor = (producers or members)[0].tensor
    base = tensor.rsplit(".", 1)[0] if "." in tensor else tensor
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}#{count}"
    return name


def _transposed(recording: Recording) -> set[str]:
    """Return the names of weights whose dimension 1 produces channels."""
    return {
        recording.values[op.args["weight"].value].name
        for op in recording.ops
        if op.name == "convolution" and op.args["transposed"]
    }


def _sides(model: nn.Module) -> dict[str, dict[int, str]]:
    """Return what dimensions of the parameters of convolutions and linear layers stand for."""
    found: dict[str, dict[int, str]] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear | _ConvNd):
            prefix = f"{path}." if path else ""
            out = int(isinstance(module, _ConvTransposeNd))
            found[f"{prefix}weight"] = {out: OUTPUTS, 1 - out: INPUTS}
            found[f"{prefix}bias"] = {0: OUTPUTS}
    return found


def _reasons(
    a: Analysis, settled: Settled, sides: Mapping[str, Mapping[int, str]]
) -> dict[str, tuple[str, ...]]:
    """Return why parameters must stay, outputs first, and the side if it is one side only."""
    found = {}
    for index, value in enumerate(a.recording.values):
        if not value.name or value.kind != "param":
            continue
        dims, own = a.layouts[index], sides.get(value.name, {})
        spoken_of = _spoken_of(a, settled.classes, dims, own)
        reasons = [
            "".join(speaks) + text if len(speaks) == 1 else text
            for text, speaks in spoken_of.items()
        ]
        if reasons:
            found[value.name] = tuple(sorted(reasons, key=lambda text: text.startswith(INPUTS)))
    return found


def _spoken_of(
    a: Analysis, classes: Classes, dims: Dims, sides: Mapping[int, str]
) -> dict[str, set[str]]:
    """Return every reason why positions along some dimension must stay, and on which sides."""
    found: dict[str, set[str]] = {}
    for dim, atoms in enumerate(dims):
        if atoms is not None and len(atoms) > 1:
            for text in _texts(a, classes, atoms):
                found.setdefault(text, set()).add(sides.get(dim, ""))
    return found


def _texts(a: Analysis, classes: Classes, atoms: IntArray) -> list[str]:
    """Return why some of these positions must stay; that kernels have positions is no news."""
    labels = classes.labels[atoms]
    indices = np.unique(classes.reason[labels][classes.frozen[labels]]).tolist()
    texts = [
        a.atoms.reasons[i]
        if i >= 0
        else "it meets inputs, pixels or constants, which cannot shrink"
        for i in indices
    ]
    return [text for text in texts if "positions of a kernel" not in text]


__all__ = ["Kind", "Recording", "TraceError", "named_tensors", "retrace", "trace"]
