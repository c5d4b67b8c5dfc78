"""What a command answers."""

from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.text import Text


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer in two forms.

    Attributes:
        document: As JSON values, for ``--json``.
        shown: For people.
        is_partial: Something that was asked for failed; the answer says what.
    """

    document: dict[str, Any] | list[dict[str, Any]]
    shown: RenderableType
    is_partial: bool = False


def verbatim(text: str) -> Text:
    """Return text that is printed as it is, for copying: a terminal breaks its lines, we do not."""
    return Text(text, no_wrap=True, overflow="ignore")
