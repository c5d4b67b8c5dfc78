"""What a run shows while it goes on, on standard error."""

import pytest

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
