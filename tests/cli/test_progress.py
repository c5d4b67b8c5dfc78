"""What a run shows while it goes on, on standard error."""

import pytest

from sentei import engine
from sentei.cli.jobs import watching_jobs
from sentei.cli.progress import watching
from sentei.pipeline import StageEvent
from sentei.train import Progress


def step(phase: str, *, epoch: int, step: int) -> Progress:
    return Progress(
        phase=phase, epoch=epoch, num_epochs=3, step=step, num_steps=2, loss=0.5, seconds=4.0
    )


def test_without_a_terminal_every_epoch_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with watching() as listen:
        listen(StageEvent(stage="dense network", state="kept", seconds=9.0))
        listen(StageEvent(stage="recovery", state="begin"))
        for epoch in (1, 2):
            listen(step("recover", epoch=epoch, step=1))
            listen(step("recover", epoch=epoch, step=2))
        listen(step("evaluate", epoch=1, step=2))
        listen(StageEvent(stage="recovery", state="end", seconds=8.25))

    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line for line in shown.err.splitlines() if line.strip()] == [
        "dense network: done earlier",
        "recover: epoch 1 of 3, loss 0.500, 4 s",
        "recover: epoch 2 of 3, loss 0.500, 4 s",
        "recovery: 8.2 s",
    ]


def test_trainings_of_the_driver_are_shown_before_the_jobs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = engine.Job({"epochs": 1}, label="0.5 stratified")
    event = engine.Event(kind="done", job=job, worker="a", wall_s=3.0)
    with watching_jobs(lambda seen: (seen.job.label, "0.9")) as watch:
        for epoch in (1, 2):
            watch.on_progress(step("supernet", epoch=epoch, step=2))
        watch.on_event(event, engine.Progress(total=5, done=1, failed=0))

    assert [line for line in capsys.readouterr().err.splitlines() if line.strip()] == [
        "supernet: epoch 1 of 3, loss 0.500, 4 s",
        "supernet: epoch 2 of 3, loss 0.500, 4 s",
        "1 of 5: 0.5 stratified: 0.9 (3 s)",
    ]
