"""What a crew makes of what its workers say, with workers that say what the test wants."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import pytest

from sentei.engine import Event, Job
from sentei.engine.crew import Agency, Crew, Limits, Worker
from tests.engine.jobs import numbers, task

NEVER_LOST = Limits(max_attempts=2, max_silence_s=None)
DONE = {"kind": "done", "values": {}, "wall_s": 1.0}


class Echo(Worker):
    """Says it is ready, and then of each job what the agency has for it."""

    def __init__(self, slot: int) -> None:
        self.name = f"worker {slot}"
        self.says: list[Mapping[str, object]] = [{"kind": "ready"}]

    def give(self, spec: str) -> None:
        self.says = [{"kind": "report", "values": {"spec": spec}}, DONE]

    def fate(self) -> str:
        return "died"


class Echoes(Agency[Echo]):
    """Workers that speak at the same time, one message each; those told so are silent."""

    def __init__(self, *, silent: Sequence[str] = ()) -> None:
        self.silent = set(silent)
        self.dismissed: list[str] = []
        self.rounds = 0

    def hire(self, slot: int) -> Echo:
        return Echo(slot)

    def listen(self, workers: Sequence[Echo]) -> Sequence[tuple[Echo, Mapping[str, object]]]:
        self.rounds += 1
        is_heard = {
            w.name: w.says[0]["kind"] == "ready" or w.name not in self.silent for w in workers
        }
        return [(w, w.says.pop(0)) for w in workers if w.says and is_heard[w.name]]

    def dismiss(self, workers: Sequence[Echo]) -> None:
        self.dismissed += [w.name for w in workers]
        self.silent -= {w.name for w in workers}  # the next one in its place speaks


def told_of(agency: Echoes, jobs: list[Job], *, size: int, limits: Limits) -> list[list[Event]]:
    told: list[list[Event]] = []
    listener = lambda events: told.append(list(events))  # noqa: E731
    Crew(agency, task(), listener, size=size, limits=limits).run(jobs)
    return told


def test_what_is_heard_at_once_is_told_at_once() -> None:
    told = told_of(Echoes(), numbers(6), size=3, limits=NEVER_LOST)

    kinds = [[event.kind for event in events] for events in told]
    assert kinds == [
        ["start"] * 3,
        ["report"] * 3,
        ["done"] * 3 + ["start"] * 3,
        ["report"] * 3,
        ["done"] * 3,
    ]


def test_ends_heard_before_a_worker_breaks_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Event] = []
    agency = Echoes()
    crew = Crew(agency, task(), told.extend, size=2, limits=NEVER_LOST)
    hear, counts = crew._hear, iter(range(100))

    def hear_five(worker: Echo, message: Mapping[str, object] | None) -> None:
        if next(counts) == 5:  # two are ready, two report, one is done
            raise RuntimeError("stop")
        hear(worker, message)

    monkeypatch.setattr(crew, "_hear", hear_five)
    with pytest.raises(RuntimeError, match="stop"):
        crew.run(numbers(2))

    assert [event.kind for event in told] == ["start", "start", "report", "report", "done"]
    assert agency.dismissed == ["worker 0", "worker 1"]


def test_a_silent_worker_is_ended_and_its_job_goes_to_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agency = Echoes(silent=["worker 1"])
    clock = SimpleNamespace(monotonic=lambda: 10.0 * agency.rounds)
    monkeypatch.setattr("sentei.engine.crew.time", clock)
    limits = Limits(max_attempts=2, max_silence_s=35)

    events = [e for part in told_of(agency, numbers(3), size=2, limits=limits) for e in part]

    (retry,) = [event for event in events if event.kind == "retry"]
    assert retry.error == "its worker worker 1 said nothing for 35 s"
    assert retry.job.spec["x"] == 0  # the last that is idle has the first job
    assert agency.dismissed[0] == "worker 1"
    assert sorted(e.job.spec["x"] for e in events if e.kind == "done") == [0, 1, 2]
    assert [e.attempts for e in events if e.kind == "done" and e.job == retry.job] == [2]


def test_reports_are_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    agency = Echoes()
    clock = SimpleNamespace(monotonic=lambda: 10.0 * agency.rounds)
    monkeypatch.setattr("sentei.engine.crew.time", clock)

    # From the start to the end are 20 s, in whose middle is a report.
    told = told_of(agency, numbers(1), size=1, limits=Limits(max_attempts=1, max_silence_s=15))

    assert told[-1][-1].kind == "done"


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_no_seconds_of_silence_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"max_silence_s is .*more than 0 is needed"):
        Limits(max_attempts=1, max_silence_s=seconds)
