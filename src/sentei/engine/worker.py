"""What a worker does, wherever it is: build the task once, then run one job after another.

Driver and worker exchange JSON texts alone, so that a result is the same from every executor.
"""

import ctypes
import json
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from sentei.engine.job import Run, Task, canonical_json
from sentei.records import plain_mapping

Message: TypeAlias = Mapping[str, Any]
"""``kind``: ready, broken, report, done or failed; and, as the kind has it, ``values``, ``error``,
``wall_s``."""

KEPT_BYTES = 1 << 30
"""Freed memory that a worker keeps for itself, at most."""

_GRACE_S = 1.0
_MALLOPT = {"trim": -1, "mmap": -3, "arenas": -8}  # M_TRIM_THRESHOLD and so on, of malloc.h


def threads_environment(threads: int) -> dict[str, str]:
    """Return the variables that hold numerical libraries to so many threads.

    They are read when such a library is loaded, and so must be set before.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    # Threads that wait must not spin: on a loaded machine they take the time of those that work.
    return {name: str(threads) for name in names} | {"OMP_WAIT_POLICY": "passive"}


def keep_freed_memory() -> None:
    """Let this process keep the memory it frees, where the C library is glibc.

    By default glibc gives large blocks back to the system, and every activation of the next
    forward pass is paged in anew: a fifth to a quarter of the time of small networks on a CPU.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_MALLOPT["trim"], KEPT_BYTES)
    mallopt(_MALLOPT["mmap"], KEPT_BYTES)
    mallopt(_MALLOPT["arenas"], 1)  # threads beside the main one would trim heaps of their own


def build_task(task: Task) -> tuple[Run | None, Message]:
    """Build a task; return it and what to tell the driver."""
    try:
        return task.build(), {"kind": "ready"}
    except Exception:  # noqa: BLE001 - told to the driver, which raises it
        return None, {"kind": "broken", "error": traceback.format_exc()}


def run_job(run: Run, spec: str, tell: Callable[[Message], None]) -> None:
    """Run one job and tell its reports and then its end.

    Args:
        run: The task, built.
        spec: The job's specification as JSON.
        tell: Takes what is to be told to the driver, plain JSON values.
    """

    def report(values: Mapping[str, Any]) -> None:
        tell({"kind": "report", "values": plain_mapping(values, "report")})

    begin = time.perf_counter()
    try:
        values = plain_mapping(run(json.loads(spec), report), "result")
        end = {"kind": "done", "values": values}
    except (Exception, SystemExit):  # noqa: BLE001 - recorded as the failure of this job
        end = {"kind": "failed", "error": traceback.format_exc()}
    tell({**end, "wall_s": time.perf_counter() - begin})


def stream_job(run: Run, spec: str) -> Iterator[Message]:
    """Run one job in a thread of its own and yield what it tells, when it tells it."""
    messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
    threading.Thread(target=run_job, args=(run, spec, messages.put), daemon=True).start()
    while (message := messages.get())["kind"] == "report":
        yield message
    yield message


def serve(descriptor: int) -> None:
    """Be a worker process: read a task and then jobs from a socket, and answer on it."""
    keep_freed_memory()
    connection = Connection(descriptor)
    task = json.loads(connection.recv_bytes())
    specs: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, specs), daemon=True).start()

    def tell(message: Message) -> None:
        connection.send_bytes(canonical_json(message).encode())

    run, first = build_task(Task(**task))
    tell(first)
    while run is not None and (spec := specs.get()) is not None:
        run_job(run, spec, tell)


def _receive(connection: Connection, specs: "queue.SimpleQueue[str | None]") -> None:
    """Pass jobs on; when the driver is gone end this process, and what it started."""
    try:
        while True:
            specs.put(connection.recv_bytes().decode())
    except (EOFError, OSError):
        specs.put(None)
    time.sleep(_GRACE_S)  # an idle worker has ended in peace by then
    os.killpg(0, signal.SIGKILL)
