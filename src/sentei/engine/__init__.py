"""Many jobs: a store that nothing is lost from, and executors that give the same results.

It knows nothing of pruning and needs no torch: a task brings what its jobs need into the workers.
Every module of this package is imported, and every entry point of the group ``sentei.engine``: a
new executor is one file here, or one module elsewhere.
"""

from sentei.engine.base import EXECUTORS, Event, Executor, Listener
from sentei.engine.job import Job, Task
from sentei.engine.store import Failure, Result, Store, open_store, read_store, rebuild_store
from sentei.engine.study import Progress, Status, run_jobs, status
from sentei.registry import load_plugins

__all__ = [
    "EXECUTORS",
    "Event",
    "Executor",
    "Failure",
    "Job",
    "Listener",
    "Progress",
    "Result",
    "Status",
    "Store",
    "Task",
    "open_store",
    "read_store",
    "rebuild_store",
    "run_jobs",
    "status",
]

load_plugins(__name__, __path__)
