"""Skeleton: where a model keeps what channels own, found without a walk through all modules."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Home:
    """One name of a parameter or buffer.

    Attributes:
        name: As of :func:`~sentei.graph.capture.named_tensors`.
        path: Of the module that holds it.
        own: What the module calls it.
        first: The first name of the tensor, which differs where it is shared.
        shape: Its sizes in the traced model.
    """

    name: str
    path: str
    own: str
    first: str
    shape: tuple[int, ...]

    def tensor(self, modules: Mapping[str, nn.Module]) -> Tensor | None:
        """Return the tensor, None if there is none; modules are those of :class:`Skeleton`."""
        module = modules.get(self.path)
        if module is None:
            return None
        parameter = module._parameters.get(self.own)
        return module._buffers.get(self.own) if parameter is None else parameter


@dataclass(frozen=True, kw_only=True, eq=False)
class Skeleton:
    """The modules that hold what channels own, and those above them.

    Attributes:
        homes: Of all tensors that channels own a part of.
        steps: (path, path of the module above, own name) of every module but the outermost, each
            after the one above it.
    """

    homes: tuple[Home, ...]
    steps: tuple[tuple[str, str, str], ...]

    @classmethod
    def of(cls, homes: Iterable[Home], paths: Iterable[str]) -> "Skeleton":
        """Return the skeleton of tensors, and of further modules that are looked at."""
        homes = tuple(homes)
        steps: dict[str, tuple[str, str, str]] = {}
        for path in (*(home.path for home in homes), *paths):
            for piece in accumulate(path.split("."), "{}.{}".format):
                above, _, own = piece.rpartition(".")
                steps[piece] = (piece, above, own)
        steps.pop("", None)
        return cls(homes=homes, steps=tuple(steps.values()))

    def modules(self, model: nn.Module) -> dict[str, nn.Module]:
        """Return the modules of a model by path, without those it lacks."""
        found = {"": model}
        for path, above, own in self.steps:
            module = found[above]._modules.get(own) if above in found else None
            if module is not None:
                found[path] = module
        return found


__all__ = ["Home", "Skeleton"]
