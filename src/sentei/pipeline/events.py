"""What a run tells while it goes on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sentei.train import Progress


@dataclass(frozen=True, kw_only=True)
class StageEvent:
    """A stage of a run begins, has ended, or was finished by an earlier process.

    Args:
        stage: Its name.
        state: ``"begin"``, ``"end"`` or ``"kept"``.
        seconds: Wall time of the stage; 0 when it begins.
    """

    stage: str
    state: Literal["begin", "end", "kept"]
    seconds: float = 0.0


Event: TypeAlias = StageEvent | Progress
Listener: TypeAlias = Callable[[Event], None]


def silence(_event: Event) -> None:
    """Listen to nothing."""
