"""Run one function on many names, each in its own process with limits; resumable."""

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.zoolib.check import read_memory
from sentei.records import commit_of

_POLL_SECONDS = 0.05
Work = Callable[[str], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one network may use.

    Attributes:
        seconds: CPU time, > 0.
        patience: Wall-clock time is limited to this multiple of it, >= 1.
        memory_bytes: Resident memory of its process, > 0.
    """

    seconds: float = 300.0
    patience: float = 5.0
    memory_bytes: int = 8 << 30


@dataclass(kw_only=True)
class _Job:
    name: str
    process: BaseProcess
    receiver: Connection
    limits: Limits
    start: float = field(default_factory=time.monotonic)

    def result(self) -> dict[str, Any] | None:
        """Return the record when the job is done, killed or dead; None while it runs."""
        if self.receiver.poll():
            try:
                record = dict(self.receiver.recv())
            except EOFError:
                self.process.join()
                code = self.process.exitcode
                return self._failed("crash", f"the process died with exit code {code}")
            self.process.join()
            return {"wall_seconds": round(time.monotonic() - self.start, 2), **record}
        wall = time.monotonic() - self.start
        if cpu_seconds(self.process.pid or 0) > self.limits.seconds or (
            wall > self.limits.patience * self.limits.seconds
        ):
            return self._kill("time", f"more than {self.limits.seconds:.0f} s")
        used = read_memory("VmRSS", self.process.pid or 0)
        if used > self.limits.memory_bytes:
            return self._kill("memory", f"more than {self.limits.memory_bytes / 2**30:.0f} GiB")
        return None

    def _kill(self, stage: str, reason: str) -> dict[str, Any]:
        self.process.kill()
        self.process.join()
        return self._failed(stage, reason)

    def _failed(self, stage: str, reason: str) -> dict[str, Any]:
        wall = round(time.monotonic() - self.start, 2)
        return {
            "name": self.name,
            "ok": False,
            "silent": False,
            "stage": stage,
            "reason": reason,
            "wall_seconds": wall,
        }


def run_all(
    names: Sequence[str], work: Work, *, jobs: int, limits: Limits, preload: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield ``work(name)`` for every name as it is done, each from a process of its own.

    A process that passes its limits is killed; one that dies leaves a record that says so.

    Args:
        names: In order of starting.
        work: A function of a module (it is sent to the processes by name).
        jobs: How many run at once, >= 1.
        limits: For every process.
        preload: Modules that every process shares, imported once.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    waiting = list(reversed(names))
    running: list[_Job] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_started(context, work, waiting.pop(), limits))
            time.sleep(_POLL_SECONDS)
            done = [(job, job.result()) for job in running]
            running = [job for job, record in done if record is None]
            yield from (record for _, record in done if record is not None)
    finally:
        for job in running:
            job.process.kill()


def _started(context: ForkServerContext, work: Work, name: str, limits: Limits) -> _Job:
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(work, name, sender), daemon=True)
    process.start()
    sender.close()
    return _Job(name=name, process=process, receiver=receiver, limits=limits)


def _child(work: Work, name: str, sender: Connection) -> None:
    sender.send(dict(work(name)))
    sender.close()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time a process has used (Linux), 0 if unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


# Results ---------------------------------------------------------------------------------------


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line to a file of records; it is on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_records(path: Path) -> dict[str, dict[str, Any]]:
    """Return the last record of every name; a torn last line (a killed run) is left out."""
    found: dict[str, dict[str, Any]] = {}
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        found[record["name"]] = record
    return found


def revision(root: Path, *, dirty: bool = False) -> str:
    """Return the commit of a working tree, short, or the date where there is no git.

    Args:
        root: The working tree.
        dirty: Say so where files of it have been changed since.
    """
    return commit_of(root, dirty=dirty) or time.strftime("%Y-%m-%d")


def progress(done: int, total: int, record: Mapping[str, Any], started: float) -> str:
    """Return one line: how far, what came out, and when it will be over."""
    spent = time.monotonic() - started
    left = spent / max(done, 1) * (total - done)
    state = "ok    " if record["ok"] else ("SILENT" if record["silent"] else "FAILED")
    why = "" if record["ok"] else f" {record['stage']}: {record['reason'][:150]}"
    seconds = record.get("wall_seconds", 0.0)
    return f"[{done:4d}/{total}] {state} {record['name']} {seconds:.1f} s, {left / 60:.0f} min left{why}"
