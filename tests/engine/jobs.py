"""Tasks that tests run in workers; a JSON specification says what each job does."""

import math
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sentei import engine
from sentei.engine import Job, Store, Task
from sentei.engine.job import Report, Run

HERE = Path(__file__)


def task(name: str = "make", **context: object) -> Task:
    return Task(f"{HERE}:{name}", context)


def numbers(count: int, **spec: object) -> list[Job]:
    return [Job({"x": x, **spec}, label=f"third {x % 3}") for x in range(count)]


def table(store: Store) -> dict[str, str]:
    """Return what decides whether two studies found the same, to the bit."""
    return {key: repr(result.value) for key, result in store.results().items()}


def make(context: Mapping[str, Any]) -> Run:
    offset = context.get("offset", 0.1)

    def run(spec: dict[str, Any], report: Report) -> dict[str, Any]:
        if "sleep_s" in spec:
            time.sleep(spec["sleep_s"])
        if _is_there(spec, "hangs_while"):
            time.sleep(600)
        if spec.get("fails"):
            raise ZeroDivisionError(f"job {spec['x']} divides by zero")
        if "exits" in spec:
            sys.exit(spec["exits"])
        if _is_there(spec, "dies_while"):
            os.kill(os.getpid(), signal.SIGKILL)
        for step in range(spec.get("reports", 0)):
            report({"step": step})
        if spec.get("is_odd"):
            return {"array": object()}
        return {"root": math.sqrt(spec["x"]) + offset, "third": spec["x"] / 3}

    return run


def _is_there(spec: Mapping[str, Any], name: str) -> bool:
    """Return whether the file of that name is there; it is taken away if it counts once."""
    if name not in spec or not Path(spec[name]).exists():
        return False
    if spec.get("once"):
        Path(spec[name]).unlink()
    return True


def make_environment(_context: Mapping[str, Any]) -> Run:
    def run(spec: dict[str, Any], _report: Report) -> dict[str, Any]:
        return {name: os.environ.get(name) for name in spec["names"]}

    return run


def make_crowd(_context: Mapping[str, Any]) -> Run:
    """Return a task whose jobs end when as many of them have begun as the crowd is large."""

    def run(spec: dict[str, Any], _report: Report) -> dict[str, Any]:
        crowd = Path(spec["crowd"])
        crowd.mkdir(exist_ok=True)
        (crowd / str(spec["x"])).touch()
        while len(list(crowd.iterdir())) < spec["size"]:
            time.sleep(0.01)
        return {"gpu": os.environ["CUDA_VISIBLE_DEVICES"]}

    return run


def make_parent(_context: Mapping[str, Any]) -> Run:
    """Return a task whose jobs fork a child that outlives a killed worker, and then die."""

    def run(spec: dict[str, Any], _report: Report) -> dict[str, Any]:
        flag = Path(spec["flag"])
        if flag.exists():
            return {"second": True}
        flag.touch()
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    return run


def make_nothing(_context: Mapping[str, Any]) -> Run:
    raise FileNotFoundError("no weights at weights.safetensors")


def make_number(_context: Mapping[str, Any]) -> int:
    return 7


def make_end(_context: Mapping[str, Any]) -> Run:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def drive(directory: str, engine_name: str, count: int) -> None:
    """Run a study of slow jobs, in a process that a test kills."""
    executor = engine.EXECUTORS[engine_name]()
    with engine.open_store(directory, {"study": "slow"}) as store:
        engine.run_jobs(store, numbers(count, sleep_s=0.05), task=task(), executor=executor)
