"""Prefix: what two subnetworks compute alike, before the first group that differs, computed once.

Subnetworks are cut from one network, so that two which keep the same channels of their first groups
have the same first activations, to the bit. The tensors that the rest of the network reads are kept
from one subnetwork for the next; jobs in the order of their first widths have the most in common.
"""

# Arguments and results of torch's calls may be anything.
# ruff: noqa: ANN401

# Shapes: G = groups.

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, count
from math import prod
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sentei.errors import TraceError
from sentei.graph import Graph
from sentei.graph.capture import Recording, map_tensors, no_fast_path, tensors_in
from sentei.graph.follow import Follow
from sentei.index.atoms import IntArray
from sentei.records import hardware

T = TypeVar("T")

MOST_BYTES = 1 << 30
_MEMORY = 8 << 30  # of a machine that does not tell

Removed = Mapping[str, Sequence[int]]
"""Group name -> channels removed, as plans have them."""


def room() -> int:
    """Return how many bytes may be kept: an eighth of a core's share of the memory, 1 GiB at most."""
    machine = hardware()
    return min(MOST_BYTES, (machine.memory_bytes or _MEMORY) // machine.num_cores // 8)


def first_calls(graph: Graph) -> IntArray:
    """Return for every group the first recorded call that reads or makes a channel of it, [G]."""
    calls = graph.recording.calls
    first_G = np.full(len(graph.groups), len(calls))
    owners = np.repeat(np.arange(len(graph.groups)), graph.widths)
    for index, call in reversed(list(enumerate(calls))):
        dims = chain.from_iterable(
            graph.values.get(value, ()) for value in {*call.tensors, *call.results}
        )
        for channels in (dim for dim in dims if dim is not None):
            first_G[owners[channels[channels >= 0]]] = index
    return first_G


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A place between two calls where a later run may go on.

    Attributes:
        call: Number of the first call after it.
        live: Calls before it that returned what calls after it read.
    """

    call: int
    live: frozenset[int]


def cuts(graph: Graph, *, num_bytes: float) -> tuple[Cut, ...]:
    """Return places before groups of a network, the first first; none where calls cannot be skipped.

    Args:
        graph: Of the network.
        num_bytes: What the tensors of all of them may take together, for one image.
    """
    recording = graph.recording
    made = {v for call in recording.calls for v in call.results}
    computed = {v for v, value in enumerate(recording.values) if value.kind == "op"}
    read = {v for call in recording.calls for v in call.tensors} | set(recording.outputs)
    if any(op.call < 0 for op in recording.ops) or not read & computed <= made:
        return ()  # scripted code, for one: what it computes is no call's result
    found: list[Cut] = []
    kept: set[int] = set()
    last_uses = {v: call for call, own in enumerate(recording.calls) for v in own.tensors}
    for call in sorted(set(first_calls(graph).tolist()) - {0, len(recording.calls)}):
        values = _live(recording, call)
        if values is None or any(last_uses[b] >= call for b in _buffers_before(recording, call)):
            continue
        kept |= values
        if sum(_bytes_an_image(recording, value) for value in kept) > num_bytes:
            break
        before = enumerate(recording.calls[:call])
        live = frozenset(i for i, own in before if values.intersection(own.results))
        found.append(Cut(call=call, live=live))
    return tuple(found)


def _live(recording: Recording, call: int) -> set[int] | None:
    """Return the values made before a call and read from it on; None if one of them is changed there."""
    before, after = recording.calls[:call], recording.calls[call:]
    made = {v for own in before for v in own.results}
    read = {v for own in after for v in own.tensors} | set(recording.outputs)
    changed = {v for own in after for v in own.results}
    return None if made & read & changed else made & read


def _buffers_before(recording: Recording, call: int) -> set[int]:
    """Return the buffers that calls before this one read, and perhaps change."""
    read = {v for own in recording.calls[:call] for v in own.tensors}
    return {v for v in read if recording.values[v].kind == "buffer"}


def _bytes_an_image(recording: Recording, value: int) -> float:
    found = recording.values[value]
    return prod(found.shape) * found.itemsize / recording.batch_size


@dataclass(eq=False, kw_only=True)
class Prefix:
    """Keeps first activations of the last subnetwork, batch by batch, for those that share them.

    Args:
        graph: Of the network that all subnetworks are cut from, in the mode they run in.
        num_images: Number of images of a pass.
        num_bytes: What is kept at most; by default what the machine has :func:`room` for.
    """

    graph: Graph = field(repr=False)
    num_images: int
    num_bytes: float = field(default_factory=room)
    _last: tuple[Hashable, Removed] | None = field(default=None, init=False)
    _kept: dict[tuple[int, int], Any] = field(default_factory=dict, init=False, repr=False)
    _buffers: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)
    _versions: dict[int, int] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def _cuts(self) -> tuple[Cut, ...]:
        return cuts(self.graph, num_bytes=self.num_bytes / self.num_images)

    @cached_property
    def _live(self) -> frozenset[int]:
        return frozenset().union(*(cut.live for cut in self._cuts))

    @cached_property
    def _first_G(self) -> IntArray:
        return first_calls(self.graph)

    def forget(self) -> None:
        """Keep nothing, from now on."""
        self._cuts = ()
        self._kept.clear()

    def run(
        self, model: nn.Module, once: Callable[[], T], *, removed: Removed, source: Hashable
    ) -> T:
        """Return what ``once`` returns, a pass of all batches through a subnetwork.

        What the last subnetwork computed alike is skipped, unless this one makes other calls than
        those that were recorded: then all is run, and nothing kept any more.

        Args:
            model: The subnetwork.
            once: Runs it, also twice.
            removed: The channels that it lacks.
            source: All else that its activations depend on; with another one nothing is shared.
        """
        if self._cuts:
            with suppress(TraceError, RuntimeError), self._shared(model, removed, source):
                return once()
            self.forget()
        return once()

    @contextmanager
    def _shared(self, model: nn.Module, removed: Removed, source: Hashable) -> Iterator[None]:
        start = self._start(removed, source)
        self._last = None  # unless the pass ends well
        batch = count()
        running = ExitStack()

        def enter(*_: Any) -> None:
            running.enter_context(no_fast_path())
            run = self._runner(next(batch), start)
            running.enter_context(Follow(self.graph.recording, run))

        def leave(*_: Any) -> None:
            running.close()

        handles = [
            model.register_forward_pre_hook(enter),
            model.register_forward_hook(leave, always_call=True),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        self._hand_over(model, start)
        self._last = source, removed
        self._check()

    def _start(self, removed: Removed, source: Hashable) -> int:
        """Return the first call that is run."""
        if self._last is None or self._last[0] != source:
            return 0
        before = self._last[1]
        groups = self.graph.groups
        differ = [g.index for g in groups if before.get(g.name, ()) != removed.get(g.name, ())]
        first = min(self._first_G[differ], default=len(self.graph.recording.calls))
        return max((cut.call for cut in self._cuts if cut.call <= first), default=0)

    def _runner(self, batch: int, start: int) -> Callable[..., Any]:
        end = self._cuts[-1].call

        def run(index: int, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if index < start:
                return self._kept[batch, index]
            output = func(*args, **kwargs)
            if index < end:
                self._keep(batch, index, output)
            return output

        return run

    def _keep(self, batch: int, index: int, output: Any) -> None:
        if index in self._live:
            self._kept[batch, index] = output
            for tensor in tensors_in(output):
                self._versions[id(tensor)] = tensor._version
        else:  # its shape alone: no call that is run reads it
            self._kept[batch, index] = map_tensors(output, _shape_of)

    @torch.no_grad()
    def _hand_over(self, model: nn.Module, start: int) -> None:
        """Give the subnetwork the statistics that skipped calls would have measured; keep its own."""
        values = self.graph.recording.values
        own = dict(model.named_buffers())
        for value in _buffers_before(self.graph.recording, start):
            own[values[value].name].copy_(self._buffers[value])
        known = _buffers_before(self.graph.recording, self._cuts[-1].call)
        self._buffers = {value: own[values[value].name].clone() for value in known}

    def _check(self) -> None:
        """Give up where a call changed what was kept, through a view perhaps."""
        kept = {id(t): t for output in self._kept.values() for t in tensors_in(output)}
        kept = {key: tensor for key, tensor in kept.items() if not tensor.is_meta}
        self._versions = {key: self._versions[key] for key in kept}
        if any(tensor._version != self._versions[key] for key, tensor in kept.items()):
            self.forget()


def _shape_of(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")


__all__ = ["Cut", "Prefix", "cuts", "first_calls", "room"]
