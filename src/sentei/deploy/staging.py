"""Files that appear whole or not at all."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sentei.errors import ExportError


@contextlib.contextmanager
def staged(destination: Path) -> Iterator[Path]:
    """Yield a path of the same name in a scratch directory beside ``destination``.

    What was written to the scratch directory moves beside ``destination`` when the block ends
    without an error, companions first and ``destination`` last; otherwise it is deleted.

    Raises:
        ExportError: a file could not be written: the disk is full, or the path is unwritable.
    """
    directory = destination.parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory, prefix=".export-") as scratch:
            yield Path(scratch, destination.name)
            _move(Path(scratch), destination)
    except OSError as error:
        raise ExportError(
            f"{destination} could not be written ({error}); "
            f"nothing was left behind; choose another place, or make room there"
        ) from error


def _move(scratch: Path, destination: Path) -> None:
    moved: list[Path] = []
    try:
        files = sorted(scratch.iterdir(), key=lambda file: file.name == destination.name)
        moved.extend(file.replace(destination.with_name(file.name)) for file in files)
    except OSError:
        for file in moved:
            file.unlink()
        raise
