"""Score: a graph, a criterion and, if it needs them, batches in; one number a channel out."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Needs
from sentei.criteria.derivatives import Derivatives
from sentei.errors import DataError, PruningError, check_type
from sentei.graph import Graph
from sentei.graph.capture import find_tensor
from sentei.graph.trace import retrace
from sentei.train.checks import check_batch, check_outputs, preserve_modes

Loss = Callable[[Tensor, Tensor], Tensor]
"""Outputs and labels of a batch -> mean loss over its images, a scalar."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """One number for every channel; low is removed first.

    Attributes:
        criterion: Name of the criterion.
        by_group: Scores by group name, each float64 [width].
        comparable: Scores of different groups can be compared as they are.
        notes: What a reader should know: which criterion ``auto`` chose.
    """

    criterion: str
    by_group: Mapping[str, FloatArray] = field(repr=False)
    comparable: bool = False
    notes: tuple[str, ...] = ()


def score(
    graph: Graph,
    criterion: str | Criterion,
    *,
    batches: Iterable[Sequence[Tensor]] | None = None,
    loss: Loss | None = None,
    model: nn.Module | None = None,
) -> Scores:
    """Return how important every channel of a graph is.

    Runs the model in evaluation mode, if at all. Weights, gradients, buffers, modes and random
    states are afterwards as they were.

    Args:
        graph: The graph.
        criterion: Its name, or the criterion itself; the result says what ``auto`` chose.
        batches: (images [N, ...], labels [N]) pairs, read once; (images,) is enough for a
            criterion that needs no labels. Ignored by one that needs nothing.
        loss: Mean loss over the images of a batch from outputs and labels; cross entropy by
            default.
        model: The model to score, of the shapes of the traced one; by default the traced one.

    Raises:
        UnknownNameError: There is no such criterion.
        PruningError: Batches are missing; the model does not fit the graph; a parameter, the
            loss or a score is not finite; or the criterion has nothing to judge a group by.
        DataError: There are no images, or labels do not fit.
        TrainingError: The model's outputs do not fit cross entropy.
        TypeError: ``graph`` is no graph.
    """
    check_type("graph", graph, Graph)
    name = criterion if isinstance(criterion, str) else repr(criterion)
    chosen = CRITERIA[criterion]() if isinstance(criterion, str) else criterion
    notes: tuple[str, ...] = ()
    other = chosen.choose(graph, batches)
    if other is not None:
        asked = type(chosen).__name__.lower()
        notes = (f"channels are ranked by {other}, as criterion {asked} chose",)
        name, chosen = other, CRITERIA[other]()
    model = graph.model if model is None else model
    parameters = owned_parameters(graph, model)
    _check_finite(parameters)
    if chosen.needs is Needs.NOTHING:
        evidence = Evidence(graph=graph, parameters=_detached(parameters))
    elif batches is None:
        kind = "labelled images" if Needs.GRADIENTS in chosen.needs else "images"
        raise PruningError(
            f"criterion {name!r} needs {kind}; pass batches=..., or score with 'l1', which needs "
            "no data"
        )
    else:
        evidence = _watch(
            chosen, Evidence(graph=graph, parameters=parameters), model, batches, loss
        )
    with torch.no_grad():
        values = chosen.score(evidence)
    return Scores(
        criterion=name,
        by_group=split_by_group(graph, name, values),
        comparable=chosen.comparable,
        notes=notes,
    )


def weights_of(graph: Graph) -> Evidence:
    """Return the weights of the traced model, as criteria see them that need nothing else.

    Raises:
        PruningError: The model was changed since, or a parameter is not finite.
    """
    parameters = owned_parameters(graph, graph.model)
    _check_finite(parameters)
    return Evidence(graph=graph, parameters=_detached(parameters))


def owned_parameters(graph: Graph, model: nn.Module) -> dict[str, Tensor]:
    """Return the floating-point parameters of ``model`` that channels own a part of, by name.

    Raises:
        PruningError: A tensor is missing, or not of the shape that was traced.
    """
    modules = graph.skeleton.modules(model)
    found = {}
    for name, layout in graph.layouts.items():
        tensor, kind = find_tensor(modules, name)
        if tensor is None or tensor.shape != layout.shape:
            shape = "is missing" if tensor is None else f"has shape {tuple(tensor.shape)}"
            raise PruningError(
                f"{name}: the graph was traced with shape {layout.shape}, in this model it {shape}; "
                "use the traced model, or trace this one"
            )
        if kind == "param" and tensor.is_floating_point():
            found[name] = tensor
    return found


def _detached(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in parameters.items()}


def _check_finite(parameters: Mapping[str, Tensor]) -> None:
    for name, tensor in parameters.items():
        values = tensor.detach()
        # A sum is finite only if every element is; the count is taken where it is not.
        if not math.isfinite(values.sum().item()):
            bad = int((~values.isfinite()).sum())
            if bad:
                raise PruningError(
                    f"{name}: {bad} of {values.numel()} elements are NaN or infinite; "
                    "load weights that are finite"
                )


def split_by_group(graph: Graph, name: str, values: FloatArray) -> dict[str, FloatArray]:
    """Return scores of all channels, shape [C], by group.

    Raises:
        PruningError: A score is not finite.
    """
    own = {g.name: values[g.first : g.first + g.width].astype(np.float64) for g in graph.groups}
    if not np.isfinite(values).all():
        for group in graph.groups:
            bad = int((~np.isfinite(own[group.name])).sum())
            if bad:
                raise PruningError(
                    f"group {group.name}: criterion {name!r} gives {bad} of {group.width} channels "
                    "a score that is not finite; use larger batches, or another criterion"
                )
    return own


# Watching the model run ------------------------------------------------------------------------


def _watch(
    criterion: Criterion,
    evidence: Evidence,
    model: nn.Module,
    batches: Iterable[Sequence[Tensor]],
    loss: Loss | None,
) -> Evidence:
    """Return the evidence with what running the model on all batches adds."""
    derivatives = Derivatives(criterion.needs, evidence)
    num_images = 0
    with ExitStack() as around:
        around.enter_context(_untouched(model, derivatives.parameters.values()))
        graph = evidence.graph
        if Needs.ACTIVATIONS in criterion.needs:
            graph = _in_evaluation_mode(graph, model)
        sums = around.enter_context(criterion.observe(graph, model))
        for batch in batches:
            num_images += len(batch[0])
            if derivatives.parameters:
                _check_labels(batch)
                derivatives.add(batch, partial(_summed_loss, model, loss=loss))
            else:
                _forward(model, batch)
    if num_images == 0:
        raise DataError("no images to score with: the batches are empty; check the data set")
    return replace(
        evidence,
        graph=graph,
        parameters=_detached(evidence.parameters),
        sums=sums,
        num_images=num_images,
        **derivatives.means(num_images),
    )


def _in_evaluation_mode(graph: Graph, model: nn.Module) -> Graph:
    """Return the graph of the same channels with the calls that evaluation mode makes."""
    again = retrace(graph, model)
    before, after = ([(g.name, g.width) for g in found.groups] for found in (graph, again))
    if before != after:
        raise PruningError(
            f"the model has {len(before)} groups of channels in train mode, in which it was traced, and "
            f"{len(after)} or others in evaluation mode, in which it is watched; trace it after "
            "model.eval()"
        )
    return again


@torch.no_grad()
def _forward(model: nn.Module, batch: Sequence[Tensor]) -> None:
    model(_to_device_of(model, batch[0]))


def _to_device_of(model: nn.Module, images: Tensor) -> Tensor:
    first = next(model.parameters(), None)
    return images if first is None else images.to(first.device)


@torch.enable_grad()
def _summed_loss(model: nn.Module, batch: Sequence[Tensor], *, loss: Loss | None) -> Tensor:
    """Return the loss added over the images of a batch, a scalar."""
    images, labels = _to_device_of(model, batch[0]), batch[1]
    if loss is None:
        check_batch(images, labels)
        logits = check_outputs(model(images), labels)
        value = nn.functional.cross_entropy(logits, labels.to(logits.device))
    else:
        value = loss(model(images), labels.to(images.device))
    if value.numel() != 1 or not bool(value.isfinite()):
        found = float(value.detach()) if value.numel() == 1 else f"of shape {tuple(value.shape)}"
        raise PruningError(
            f"the loss of a batch is {found}; expected one finite number, the mean over its images"
        )
    return value.sum() * len(images)


def _check_labels(batch: Sequence[Tensor]) -> None:
    if len(batch) < 2 or not isinstance(batch[1], Tensor):
        raise DataError(
            "a batch holds images without labels, and this criterion needs gradients; give (images, "
            "labels), or score with 'thinet' or 'chip', which look at images alone"
        )


@contextmanager
def _untouched(model: nn.Module, parameters: Iterable[Tensor]) -> Iterator[None]:
    """Evaluation mode and gradients inside; modes, buffers, flags, random states given back."""
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    flags = [(p, p.requires_grad) for p in parameters]
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(devices)), preserve_modes(model):
        model.eval()
        _set_flags((p, True) for p, _ in flags)
        try:
            yield
        finally:
            _set_flags(flags)
            _give_back(buffers)


def _set_flags(flags: Iterable[tuple[Tensor, bool]]) -> None:
    for parameter, requires_grad in flags:
        parameter.requires_grad_(requires_grad)


@torch.no_grad()
def _give_back(buffers: Iterable[tuple[Tensor, Tensor]]) -> None:
    for buffer, saved in buffers:
        if not torch.equal(buffer, saved):
            buffer.copy_(saved)
