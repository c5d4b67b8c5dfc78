"""A file of JSON lines that grows: what is in it has happened, and survives a crash."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sentei.engine.database import explained
from sentei.engine.job import canonical_json
from sentei.errors import CheckpointError


class Journal:
    """Entries, one a line; a last line without its end was torn by a crash and does not count.

    Args:
        path: The file; made by the first entry.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self) -> int:
        """Return the length of the file in bytes."""
        return self.path.stat().st_size if self.path.exists() else 0

    def append(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Write entries and wait until the disk has them: all, or none.

        Raises:
            CheckpointError: They cannot be written, most likely for want of room.
        """
        content = "".join(f"{canonical_json(entry)}\n" for entry in entries)
        size = self.size()
        try:
            with explained(self.path), self.path.open("ab") as file:
                file.write(content.encode())
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            self.truncate(size)
            raise

    def read(self, begin: int) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield the entries after byte ``begin``, each with the byte where it ends.

        Raises:
            CheckpointError: A line is no entry, or the file is shorter than ``begin``.
        """
        if self.size() < begin:
            raise CheckpointError(
                f"{self.path} has {self.size()} bytes, {begin} were read from it before; restore "
                "the whole file, or start a new study in another directory"
            )
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(begin)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                begin += len(line)
                yield self._entry(line, begin), begin

    def truncate(self, size: int) -> None:
        """Forget what comes after byte ``size``."""
        if self.size() > size:
            os.truncate(self.path, size)

    def _entry(self, line: bytes, end: int) -> dict[str, Any]:
        try:
            entry = json.loads(line)
            if isinstance(entry, dict) and isinstance(entry["kind"], str):
                return entry
        except (ValueError, KeyError):
            pass
        raise CheckpointError(
            f"{self.path}: the line that ends at byte {end} is damaged; restore the file from a "
            "copy, or start a new study in another directory"
        )
