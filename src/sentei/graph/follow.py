"""Follow: run a traced model again, and know for every call into torch which recorded call it is.

The same model in the same mode makes the same calls, whatever the batch; so the number of a call
tells which channels its tensors hold.
"""

# Arguments and results of torch's calls may be anything.
# ruff: noqa: ANN401

from collections.abc import Callable, Mapping
from typing import Any

from torch.overrides import TorchFunctionMode

from sentei.errors import TraceError
from sentei.graph.capture import Recording

Handler = Callable[[int, Any, tuple[Any, ...], dict[str, Any]], Any]
"""Number of the recorded call, function, positional and keyword arguments -> result."""

_SHAPE_ONLY = frozenset(
    {
        "__get__", "dim", "is_floating_point", "__set__", "device", "size", "numel", "nelement",
        "__len__",
    }
)  # fmt: skip


class Follow(TorchFunctionMode):
    """Hands every call of one run of a traced model to a function that runs it.

    Args:
        recording: What the trace recorded.
        handle: Runs the call, as it is or changed, and returns its result. Calls it makes itself
            are not followed.
    """

    def __init__(self, recording: Recording, handle: Handler) -> None:
        super().__init__()
        self._recording = recording
        self._handle = handle
        self._num_calls = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one call into torch.

        Raises:
            TraceError: It is another call than the recorded run made here.
        """
        name = getattr(func, "__name__", str(func))
        if name in _SHAPE_ONLY:
            return func(*args, **(kwargs or {}))
        return self._handle(self._next(name), func, args, dict(kwargs or {}))

    def _next(self, name: str) -> int:
        calls, index = self._recording.calls, self._num_calls
        if index >= len(calls) or calls[index].function != name:
            expected = calls[index].function if index < len(calls) else "the end"
            raise TraceError(
                f"the model ran differently than when it was traced: call {index} is "
                f"{name!r}, it was {expected!r}; trace it in the mode (train or eval) it runs in, with "
                "inputs that take the same path"
            )
        self._num_calls += 1
        return index
