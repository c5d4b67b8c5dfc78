"""Watch: what the readers of channels see while a model runs, and how the loss depends on it.

One forward pass (and one backward pass) serves all points of all groups. Nothing is kept but
sums over images, so that memory is bounded and the split into batches does not matter.

Shapes: N = images of a batch; C = channels that lie at one point; G = channels of all groups;
F = elements of a channel at a point, for one image.
"""

# Arguments and results of torch's calls may be anything.
# ruff: noqa: ANN401

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sentei.criteria.base import Evidence, FloatArray, require
from sentei.errors import PruningError
from sentei.graph import Graph
from sentei.graph.capture import map_tensors, no_fast_path, tensors_in
from sentei.graph.follow import Follow
from sentei.graph.points import Point
from sentei.graph.points import points as reading_points

_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """What one call reads at a point, for one batch.

    Attributes:
        point: The point.
        input: The tensor there, of the shape of the point but for the number of samples.
        weight: What the call multiplies it with; empty if it does not.
        output: What the call made of it; empty while gradients are read.
        num_images: N.
        num_traced: Number of images of the recorded run.
        args: Positional arguments of the call.
        kwargs: Its keyword arguments.
        called: The function; see :meth:`again`.
    """

    point: Point
    input: Tensor = field(repr=False)
    weight: Tensor = field(default=torch.empty(0), repr=False)
    output: Any = field(default=(), repr=False)
    num_images: int
    num_traced: int = 1
    args: tuple[Any, ...] = field(default=(), repr=False)
    kwargs: dict[str, Any] = field(default_factory=dict, repr=False)
    called: Callable[..., Any] = field(default=tuple, repr=False)

    @cached_property
    def rows(self) -> Tensor:
        """The elements of every image and channel, shape [N, C, F]."""
        return self.as_rows(self.input)

    def as_rows(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the shape of the input as [N, C, F].

        Where channels own different numbers of positions, the shorter rows end in zeros; see
        :meth:`num_elements`.
        """
        point = self.point
        batch = tensor[None] if point.sample_dim is None else tensor.movedim(point.sample_dim, 0)
        flat = point.by_channel(batch.movedim(point.dim, 1)[..., None].flatten(2))
        share = self._samples_an_image(flat)
        return flat.unflatten(0, (-1, share)).transpose(1, 2).flatten(2)

    def again(self, weight: Tensor) -> Any:
        """Return what the call makes of its arguments with another weight."""
        args, kwargs = _swapped((self.args, self.kwargs), [self.point.weight_argument], weight)
        return self.called(*args, **kwargs)

    @property
    def num_elements(self) -> Tensor:
        """Elements that each channel has for one image, shape [C], float64; F unless rows end in zeros."""
        owned = (self.point.places >= 0).sum(axis=1)
        counts = torch.from_numpy(owned / self.point.places.shape[1]).to(self.input.device)
        return counts * self.rows.shape[2]

    def _samples_an_image(self, samples: Tensor) -> int:
        point = self.point
        if point.sample_dim is None:
            return 1
        num_traced = point.shape[point.sample_dim]
        share, rest = divmod(num_traced, self.num_traced)
        if rest or len(samples) != share * self.num_images:
            raise PruningError(
                f"{point.module or 'the model'}: {point.function} reads {len(samples)} samples of "
                f"{self.num_images} images, and {num_traced} of {self.num_traced} when it was traced; "
                f"expected equally many an image, in dimension {point.sample_dim}; score with images "
                "of the traced size, or with 'taylor', which does not ask which image is which"
            )
        return share


Read = Callable[[Reading], None]
ReadGradient = Callable[[Reading, Tensor], None]


@contextmanager
def watch(
    graph: Graph,
    model: nn.Module,
    points: Iterable[Point],
    *,
    read: Read | None = None,
    read_gradient: ReadGradient | None = None,
    read_error: ReadGradient | None = None,
) -> Iterator[None]:
    """Look at the points of every run of ``model`` inside the context; the results stay the same.

    Args:
        graph: The graph the points are of, traced in the mode that the model runs in.
        model: The model; its hooks are taken away at the end.
        points: Where to look.
        read: Called without gradients after each call that reads a point, with its output.
        read_gradient: Called in every backward pass with what the point held and the gradient of
            the loss with respect to what the call read there, of the same shape.
        read_error: Called in every backward pass with what the point held and the gradient of the
            loss with respect to what the call made of it.

    Raises:
        TraceError: The model runs differently than when it was traced.
        PruningError: An activation is not finite.
    """
    by_call: dict[int, list[Point]] = {}
    for point in points:
        by_call.setdefault(point.call, []).append(point)
    watcher = _Watcher(graph, by_call, read, read_gradient, read_error)
    handles = [
        model.register_forward_pre_hook(watcher.enter, with_kwargs=True),
        model.register_forward_hook(watcher.leave, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Watcher:
    def __init__(
        self,
        graph: Graph,
        by_call: dict[int, list[Point]],
        read: Read | None,
        read_gradient: ReadGradient | None,
        read_error: ReadGradient | None,
    ) -> None:
        self.recording = graph.recording
        self.by_call = by_call
        self.read = read
        self.read_gradient = read_gradient
        self.read_error = read_error
        self.num_images = 0
        self.running = ExitStack()

    def enter(self, model: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        lengths = (len(t) for t in tensors_in((args, kwargs)) if t.dim() > 1)
        self.num_images = next(lengths, 1)
        self.running.enter_context(no_fast_path())
        self.running.enter_context(Follow(self.recording, self.run))

    def leave(self, model: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG002
        self.running.close()

    def run(self, index: int, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        here = self.by_call.get(index, [])
        if self.read_gradient is not None:
            for point in here:
                reading = self._reading(point, func, args, kwargs)
                args, kwargs = _hooked(self.read_gradient, reading, args, kwargs)
        output = func(*args, **kwargs)
        if self.read_error is not None and here and output.requires_grad:
            for point in here:
                reading = self._reading(point, func, args, kwargs)
                output.register_hook(partial(_hand_over, self.read_error, reading))
        if self.read is not None:
            with torch.no_grad():
                for point in here:
                    self.read(self._reading(point, func, args, kwargs, output))
        return output

    def _reading(
        self, point: Point, func: Any, args: Any, kwargs: Any, output: Any = ()
    ) -> Reading:
        tensors = [t.detach() for t in tensors_in((args, kwargs))]
        seen = tensors[point.arguments[0]]
        _check_finite(point, seen)
        return Reading(
            point=point,
            input=seen,
            weight=tensors[point.weight_argument] if point.weight_argument >= 0 else torch.empty(0),
            output=output,
            called=func,
            num_images=self.num_images,
            num_traced=self.recording.batch_size,
            args=args,
            kwargs=kwargs,
        )


@torch.no_grad()
def _hand_over(read: ReadGradient, reading: Reading, gradient: Tensor) -> None:
    read(reading, gradient)


def _hooked(
    read: ReadGradient, reading: Reading, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> _Arguments:
    """Return the arguments with an alias of the tensor, whose gradient is this reader's own."""
    arguments = reading.point.arguments
    tensor = list(tensors_in((args, kwargs)))[arguments[0]]
    if not tensor.requires_grad:
        return args, kwargs
    alias = tensor.view_as(tensor)
    alias.register_hook(partial(_hand_over, read, reading))
    return _swapped((args, kwargs), arguments, alias)


def _swapped(arguments: _Arguments, numbers: Sequence[int], tensor: Tensor) -> _Arguments:
    """Return arguments of a call with another tensor in the places of some, by number."""
    place = count()
    found: _Arguments = map_tensors(arguments, lambda t: tensor if next(place) in numbers else t)
    return found


def _check_finite(point: Point, seen: Tensor) -> None:
    # A sum is finite only if every element is; the count is taken where it is not.
    if not bool(seen.sum().isfinite()):
        bad = int((~seen.isfinite()).sum())
        if bad:
            raise PruningError(
                f"{point.module or 'the model'}: {point.function} reads {bad} of {seen.numel()} "
                "activations that are NaN or infinite; check the images and the weights"
            )


# Sums over images ------------------------------------------------------------------------------


@contextmanager
def sum_over_images(
    graph: Graph,
    model: nn.Module,
    points: Sequence[Point],
    statistic: Callable[[Reading], Tensor],
) -> Iterator[dict[str, Tensor]]:
    """Add up one number an image and channel over all images and points; the sums are "total", [G].

    Args:
        graph: The graph.
        model: The model that will run.
        points: Where to look.
        statistic: From a reading to one number for every image and channel, shape [N, C].
    """
    total = torch.zeros(graph.num_channels, dtype=torch.float64)

    def read(reading: Reading) -> None:
        add_channels(total, reading.point, statistic(reading).sum(0, dtype=torch.float64))

    with watch(graph, model, points, read=read):
        yield {"total": total}


def mean_over_points(evidence: Evidence, points: Sequence[Point], missing: str) -> FloatArray:
    """Return what :func:`sum_over_images` added up, averaged over images and points, shape [G].

    Args:
        evidence: Its sums hold "total".
        points: Those that were looked at.
        missing: What a group lacks that has no point, and what to do, for the message.

    Raises:
        PruningError: A channel lies at no point.
    """
    counts = num_points(evidence.graph, points, missing)
    means: FloatArray = evidence.sums["total"].numpy() / (counts * evidence.num_images)
    return means


def num_points(graph: Graph, points: Sequence[Point], missing: str) -> FloatArray:
    """Return at how many points each channel lies, shape [G].

    Args:
        graph: The graph.
        points: Those that count.
        missing: What a group lacks that has no point, and what to do, for the message.

    Raises:
        PruningError: A channel lies at no point.
    """
    counts = count_points(graph, points)
    require(graph, counts > 0, missing)
    return counts


def count_points(graph: Graph, points: Iterable[Point]) -> FloatArray:
    """Return at how many points each channel lies, shape [G], 0 where there is none."""
    counts = np.zeros(graph.num_channels)
    for point in points:
        counts[point.owned] += 1
    return counts


def require_readers(graph: Graph) -> None:
    """Refuse groups that no layer reads: gates at readers say nothing of them.

    Raises:
        PruningError: There is one.
    """
    missing = "no convolution or linear layer reads it; score with 'taylor', or protect it"
    num_points(graph, reading_points(graph), missing)


def add_channels(total: Tensor, point: Point, values: Tensor) -> None:
    """Add one number for every channel at a point, [..., C], to those of all groups, [..., G]."""
    index = torch.from_numpy(point.owned)
    total.index_add_(-1, index, values.to(device=total.device, dtype=total.dtype))


# Gradients of gates ----------------------------------------------------------------------------


@contextmanager
def watch_gates(
    graph: Graph,
    model: nn.Module,
    points: Iterable[Point],
    add: Callable[[Tensor], None],
) -> Iterator[None]:
    r"""Hand over the gradients of one gate m = 1 for every image and channel, batch by batch.

    The gate multiplies the channel at all its points at once, and its gradient

    .. math:: \frac{\partial L_n}{\partial m_{nc}} = \sum_{points} \sum_{positions}
        x_{nc} \frac{\partial L}{\partial x_{nc}}

    comes out of the one backward pass, without any gate: the forward pass and all other gradients
    stay as they were. If the loss that is differentiated is a sum over images and the images do
    not mix (evaluation mode), it is the gradient of each image's own loss.

    Args:
        graph: The graph.
        model: The model that will run forward and backward.
        points: Where the gates sit.
        add: Called once after each batch with the gradients, shape [N, G], float64.
    """
    pending: list[Tensor] = []

    def read_gradient(reading: Reading, gradient: Tensor) -> None:
        if not pending:
            pending.append(torch.zeros(reading.num_images, graph.num_channels, dtype=torch.float64))
        products = reading.as_rows(reading.input.double() * gradient).sum(2, dtype=torch.float64)
        add_channels(pending[0], reading.point, products)

    def hand_over(*_: object) -> None:
        if pending:
            add(pending.pop())

    # A backward pass is over when the next forward begins, or the context ends.
    handle = model.register_forward_pre_hook(hand_over)
    try:
        with watch(graph, model, points, read_gradient=read_gradient):
            yield
        hand_over()
    finally:
        handle.remove()


@contextmanager
def sum_over_gates(
    graph: Graph,
    model: nn.Module,
    points: Iterable[Point],
    statistic: Callable[[Tensor], Tensor],
) -> Iterator[dict[str, Tensor]]:
    """Add up a number for every image and channel from the gradients of gates.

    Args:
        graph: The graph.
        model: The model that will run forward and backward.
        points: Where the gates sit.
        statistic: From the gradients of a batch, [N, G], to numbers of that shape.

    Yields:
        "total": the sums over images, shape [G], float64.
    """
    total = torch.zeros(graph.num_channels, dtype=torch.float64)

    def add(gradients: Tensor) -> None:
        total.add_(statistic(gradients).sum(0).cpu())

    with watch_gates(graph, model, points, add):
        yield {"total": total}
