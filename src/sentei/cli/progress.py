"""Stages and epochs on standard error: bars on a terminal, lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sentei import pipeline

if TYPE_CHECKING:
    from sentei.pipeline import Event, Listener, StageEvent
    from sentei.train import Progress as Step


@contextmanager
def drawing() -> Iterator[tuple[Console, Progress]]:
    """Yield standard error, and bars on it whose tasks have a field ``note``."""
    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        yield console, bars


@contextmanager
def watching() -> Iterator["Listener"]:
    """Show what a run does, on standard error, as long as the ``with`` block runs."""
    with drawing() as (console, bars):
        trainings = Trainings(console, bars)

        def listen(event: "Event") -> None:
            if isinstance(event, pipeline.StageEvent):
                trainings.turn(event)
            else:
                trainings.advance(event)

        yield listen


class Trainings:
    """Draws stages and steps; holds the bar of the phase that runs."""

    def __init__(self, console: Console, bars: Progress) -> None:
        self.console = console
        self.bars = bars
        self.phase = ""
        self.task = TaskID(0)

    def turn(self, event: "StageEvent") -> None:
        """Show that a stage begins or ends."""
        self.close()
        if event.state == "begin":
            self._open(event.stage, total=None)
        else:
            words = "done earlier" if event.state == "kept" else f"{event.seconds:.1f} s"
            self.console.print(f"{event.stage}: {words}")

    def advance(self, event: "Step") -> None:
        """Show a step; without a terminal, the last one of an epoch."""
        if event.phase != self.phase:
            self.close()
            self._open(event.phase, total=event.num_epochs * event.num_steps)
        self.bars.update(
            self.task,
            completed=(event.epoch - 1) * event.num_steps + event.step,
            note=f"epoch {event.epoch}/{event.num_epochs}, loss {event.loss:.3f}",
        )
        is_epoch = event.phase != "evaluate" and event.step == event.num_steps
        if is_epoch and not self.console.is_terminal:
            self.console.print(
                f"{event.phase}: epoch {event.epoch} of {event.num_epochs}, "
                f"loss {event.loss:.3f}, {event.seconds:.0f} s"
            )

    def _open(self, phase: str, *, total: int | None) -> None:
        self.phase = phase
        self.task = self.bars.add_task(phase, total=total, note="")

    def close(self) -> None:
        """Take the bar away, if there is one."""
        if self.phase:
            self.bars.remove_task(self.task)
            self.phase = ""
