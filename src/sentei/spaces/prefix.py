"""Prefix: what two subnetworks compute alike, before the first group that differs, computed once.

Subnetworks are cut from one network, so that two which keep the same channels of their first groups
have the same first activations, to the bit. The tensors that the rest of the network reads are kept
from one subnetwork for the next; jobs in the order of their first widths have the most in common.
"""

# Arguments and results of torch's calls may be anything.
# ruff: noqa: ANN401

# Shapes: G = groups.

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sentei.errors import TraceError
from sentei.graph import Graph
from sentei.graph.capture import map_tensors, tensors_in
from sentei.graph.follow import Follow
from sentei.index.atoms import IntArray
from sentei.records import hardware
from sentei.spaces.prefix_cuts import Cut, buffers_before, cuts, first_calls

T = TypeVar("T")

MOST_BYTES = 1 << 30
_MEMORY = 8 << 30  # of a machine that does not tell

Removed = Mapping[str, Sequence[int]]
"""Group name -> channels removed, as plans have them."""


def room() -> int:
    """Return how many bytes may be kept: an eighth of a core's share of the memory, 1 GiB at most."""
    machine = hardware()
    return min(MOST_BYTES, (machine.memory_bytes or _MEMORY) // machine.num_cores // 8)


@dataclass(eq=False, kw_only=True)
class Prefix:
    """Keeps first activations of the last subnetwork, batch by batch, for those that share them.

    Args:
        graph: Of the network that all subnetworks are cut from, in the mode they run in.
        num_images: Number of images of a pass.
        num_bytes: What is kept at most; by default what the machine has :func:`room` for.
        measures: A pass measures running statistics; those of calls that are skipped are kept, too.
    """

    graph: Graph = field(repr=False)
    num_images: int
    num_bytes: float = field(default_factory=room)
    measures: bool = False
    _last: tuple[Hashable, Removed] | None = field(default=None, init=False, repr=False)
    _kept: dict[tuple[int, int], Any] = field(default_factory=dict, init=False, repr=False)
    _versions: dict[int, int] = field(default_factory=dict, init=False, repr=False)
    _statistics: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    def run(
        self, model: nn.Module, once: Callable[[], T], *, removed: Removed, source: Hashable
    ) -> T:
        """Return what ``once`` returns, a pass of all batches through a subnetwork.

        What the last subnetwork computed alike is skipped. Where that fails, because this one makes
        other calls than were recorded, all is run, and nothing kept any more.

        Args:
            model: The subnetwork.
            once: Runs it; called a second time where calls could not be skipped.
            removed: The channels that it lacks.
            source: All else that its activations depend on, the batches too; with another one nothing
                is shared.
        """
        if not self._cuts:
            return once()
        start = self._start(removed, source)
        self._last = None  # unless the pass ends well
        try:
            with self._followed(model, start):
                found = once()
        except Exception as error:
            if start == 0 and not isinstance(error, TraceError):
                raise  # its own, it ran as it always does
            found = once()
            self._forget()
            return found
        if self.measures:
            self._hand_over(model, start)
        self._last = source, removed
        if not self._is_intact():
            self._forget()
        return found

    @cached_property
    def _cuts(self) -> tuple[Cut, ...]:
        return cuts(self.graph, num_bytes=self.num_bytes / self.num_images)

    @cached_property
    def _live(self) -> frozenset[int]:
        return frozenset().union(*(cut.live for cut in self._cuts))

    @cached_property
    def _first_G(self) -> IntArray:
        return first_calls(self.graph)

    def _start(self, removed: Removed, source: Hashable) -> int:
        """Return the first call that is run."""
        if self._last is None or self._last[0] != source:
            return 0
        before = self._last[1]
        names = [n for n in {*before, *removed} if before.get(n, ()) != removed.get(n, ())]
        if not self.graph.by_name.keys() >= set(names):
            return 0
        firsts = self._first_G[[self.graph[name].index for name in names]]
        first = min(firsts, default=len(self.graph.recording.calls))
        return max((cut.call for cut in self._cuts if cut.call <= first), default=0)

    @contextmanager
    def _followed(self, model: nn.Module, start: int) -> Iterator[None]:
        """Skip the calls before ``start`` in the runs of a model, one for each batch."""
        own, batch, forward = vars(model).get("forward"), count(), model.forward

        def followed(*args: Any, **kwargs: Any) -> Any:
            with Follow(self.graph.recording, self._runner(next(batch), start)):
                return forward(*args, **kwargs)

        vars(model)["forward"] = followed
        try:
            yield
        finally:
            del vars(model)["forward"]
            if own is not None:
                vars(model)["forward"] = own

    def _runner(self, batch: int, start: int) -> Callable[..., Any]:
        end = self._cuts[-1].call

        def run(index: int, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if index >= end:
                return func(*args, **kwargs)
            numbers = map_tensors((args, kwargs), lambda _: None)
            if index >= start:
                output = func(*args, **kwargs)
                self._keep((batch, index), numbers, output)
                return output
            before, output = self._kept[batch, index]
            if before != numbers:
                call = self.graph.recording.calls[index]
                raise TraceError(f"{call.function} at {call.where} was called with other numbers")
            return output

        return run

    def _keep(self, place: tuple[int, int], numbers: Any, output: Any) -> None:
        if place[1] in self._live:
            self._versions |= {id(t): t._version for t in tensors_in(output)}
        else:
            output = map_tensors(output, _placeholder)
        self._kept[place] = numbers, output

    @torch.no_grad()
    def _hand_over(self, model: nn.Module, start: int) -> None:
        """Give the subnetwork the statistics that skipped calls would have measured; keep its own."""
        recording = self.graph.recording
        own = dict(model.named_buffers())
        for value in buffers_before(recording, start):
            own[recording.values[value].name].copy_(self._statistics[value])
        known = buffers_before(recording, self._cuts[-1].call)
        self._statistics = {value: own[recording.values[value].name].clone() for value in known}

    def _is_intact(self) -> bool:
        """Return whether no call changed what was kept, through a view perhaps."""
        kept = (o for (_, index), (_, o) in self._kept.items() if index in self._live)
        tensors = {id(t): t for output in kept for t in tensors_in(output)}
        self._versions = {key: self._versions[key] for key in tensors}
        return all(t._version == self._versions[key] for key, t in tensors.items())

    def _forget(self) -> None:
        self._cuts = ()
        self._kept.clear()
        self._statistics.clear()


def _placeholder(tensor: Tensor) -> Tensor:
    """Return a tensor of the same shape, type and device, and of no memory, that no call reads."""
    empty = tensor.new_empty(())
    return (empty.fill_(torch.nan) if empty.is_floating_point() else empty).expand(tensor.shape)
