"""What a command answers."""

from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer in two forms.

    Attributes:
        document: As JSON values, for ``--json``.
        shown: For people.
    """

    document: dict[str, Any] | list[dict[str, Any]]
    shown: RenderableType
