"""The process of a worker: what it does with memory."""

import subprocess
import sys

import pytest

# Blocks of 40 MB: more than glibc keeps by itself.
_FAULTS = """
import ctypes, resource, sys
from sentei.engine.worker import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def use_block():
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(40_000_000)))
    libc.memset(block, 1, ctypes.c_size_t(40_000_000))
    libc.free(block)

if sys.argv[1] == "keeps":
    keep_freed_memory()
use_block()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    use_block()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(how: str) -> int:
    run = subprocess.run(
        [sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True
    )
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is what is told")
def test_memory_that_was_freed_is_not_paged_in_anew() -> None:
    gives_back, keeps = _faults("gives back"), _faults("keeps")

    assert gives_back >= 50  # huge pages may stand for a block each
    assert keeps <= gives_back // 10
