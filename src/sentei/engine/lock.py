"""One process a directory: a lock that the operating system lets go of when its holder dies."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sentei.errors import CheckpointError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".lock"


@contextmanager
def locked(directory: Path) -> Iterator[bool]:
    """Keep other processes out of a directory while the block runs.

    Args:
        directory: Made if missing. The file of the lock stays in it: deleting it would let two
            processes lock two files of one name.

    Yields:
        Whether there is a lock: not every system and file system has any.

    Raises:
        CheckpointError: Another process holds the lock, or the directory is a file.
    """
    if directory.exists() and not directory.is_dir():
        raise CheckpointError(f"{directory} is a file; give a directory")
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK_NAME).open("a+", encoding="ascii") as file:
        is_locked = _take(file, directory)
        if is_locked:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield is_locked


def _take(file: IO[str], directory: Path) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise CheckpointError(
            f"{directory} is in use by process {file.read() or 'unknown'}; wait until it ends, or "
            "give another directory"
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        return False
    return True
