"""Jobs of a study on the command line: where they run, and how far they are."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.progress import TaskID
from rich.table import Table
from rich.text import Text

from sentei import engine
from sentei.cli.progress import Trainings, drawing
from sentei.errors import ConfigError

if TYPE_CHECKING:
    from sentei.engine.study import OnEvent
    from sentei.train.progress import OnProgress


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


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Who is told what a study does.

    Attributes:
        on_event: Of its jobs.
        on_progress: Of what its driver trains.
    """

    on_event: "OnEvent"
    on_progress: "OnProgress"


@contextmanager
def watching_jobs(describe: Callable[[engine.Event], tuple[str, str]]) -> Iterator[Watch]:
    """Show jobs, and trainings of the driver, on standard error: bars on a terminal, else lines.

    Args:
        describe: Returns what a finished job is, and its result.
    """
    with drawing() as (console, bars):
        trainings = Trainings(console, bars)
        bar: list[TaskID] = []

        def listen(event: engine.Event, progress: engine.Progress) -> None:
            trainings.close()
            ended = progress.done + progress.failed
            if not bar:
                bar.append(bars.add_task("jobs", note=""))
            note = f"{ended} of {progress.total}"
            bars.update(bar[0], total=progress.total, completed=ended, note=note)
            if event.kind not in ("done", "failed"):
                return
            what, result = describe(event)
            if event.kind == "failed":
                result = event.error.strip().splitlines()[-1]
            left = progress.seconds_left
            eta = "" if left is None else f", {left / 60:.0f} min left"
            console.print(
                f"{note}: {what}: {result} ({event.wall_s:.0f} s{eta})",
                markup=False,
                soft_wrap=True,
            )

        yield Watch(on_event=listen, on_progress=trainings.advance)


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
