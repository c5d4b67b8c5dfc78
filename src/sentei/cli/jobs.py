"""Jobs of a study on the command line: where they run, and how far they are."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sentei import engine
from sentei.errors import ConfigError

if TYPE_CHECKING:
    from sentei.engine.study import OnEvent


def executor_of(name: str, **settings: Any) -> engine.Executor:  # noqa: ANN401 - of any executor
    """Return the executor called ``name``; settings that are None are left out.

    Raises:
        UnknownNameError: There is none.
        ConfigError: It has no such setting, or one is out of range.
    """
    given = {k: v for k, v in settings.items() if v is not None}
    build = engine.EXECUTORS[name]
    try:
        return build(**given)
    except TypeError as error:
        known = [field.name for field in dataclasses.fields(build())]
        other = [k for k in given if k not in known]
        raise ConfigError(f"engine {name!r} has no {' or '.join(other)}; leave it out") from error
    except ValueError as error:
        raise ConfigError(f"engine {name!r}: {error}") from error


ENGINE_SETTINGS = ("workers", "address", "num_gpus", "max_silence_s")
"""Options of commands that are settings of executors."""


@contextmanager
def watching_jobs(
    describe: Callable[[engine.Event], tuple[str, str]],
) -> Iterator["OnEvent"]:
    """Show jobs on standard error: a bar on a terminal, lines elsewhere.

    Args:
        describe: Returns what a finished job is, and its result.
    """
    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed} of {task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("jobs", total=None)

        def listen(event: engine.Event, progress: engine.Progress) -> None:
            bars.update(bar, total=progress.total, completed=progress.done + progress.failed)
            if event.kind not in ("done", "failed"):
                return
            what, result = describe(event)
            if event.kind == "failed":
                result = event.error.strip().splitlines()[-1]
            left = progress.seconds_left
            eta = "" if left is None else f", {left / 60:.0f} min left"
            console.print(
                f"{progress.done + progress.failed} of {progress.total}: {what}: {result}"
                f" ({event.wall_s:.0f} s{eta})",
                markup=False,
                soft_wrap=True,
            )

        yield listen


def shown_status(found: engine.Status, *, of: str) -> Group:
    """Return how far a study is, one row a label.

    Args:
        found: What its store holds.
        of: What a label is.
    """
    table = Table(of, "jobs", "done", "failed")
    for label, counts in found.labels.items():
        table.add_row(Text(label), *map(str, counts))
    left = found.work_left_s
    eta = "" if left is None else f", {left / 60:.0f} minutes of work left for one worker"
    head = Text(f"{found.done} of {found.total} jobs done, {found.failed} failed{eta}")
    failed = [Text(f"{label}: {error}") for label, error in found.failures.values()]
    return Group(head, table, *failed)
