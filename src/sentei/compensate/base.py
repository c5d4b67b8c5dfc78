"""What a compensation is: it changes the weights of a pruned network, never its widths."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from sentei.criteria.base import Needs, Source
from sentei.registry import Registry
from sentei.surgery import Plan


@dataclass(frozen=True, kw_only=True, eq=False)
class Removal:
    """What was removed, for those who make up for it.

    Attributes:
        model: The network before; not to be changed.
        plan: What went.
        batches: (images [N, ...], labels [N]) pairs, read as often as needed; () where the
            compensation needs none.
        seed: Of whatever is drawn.
    """

    model: nn.Module = field(repr=False)
    plan: Plan
    batches: Sequence[tuple[Tensor, Tensor]] = field(default=(), repr=False)
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Compensation(ABC):
    """Changes the weights of a pruned network so that it is nearer to what it was.

    A compensation is a frozen dataclass: its fields are its configuration.

    Attributes:
        source: Where it comes from.
        needs: What it must be given besides the two networks.
    """

    source: ClassVar[Source]
    needs: ClassVar[Needs] = Needs.NOTHING

    @abstractmethod
    def compensate(self, small: nn.Module, removal: Removal) -> None:
        """Change the weights of ``small`` in place.

        Args:
            small: What applying ``removal.plan`` to ``removal.model`` gave, not trained since.
            removal: What was removed.
        """


COMPENSATIONS: Registry[Callable[..., Compensation]] = Registry("compensation")
"""Name -> what builds the compensation; all its fields have defaults."""
