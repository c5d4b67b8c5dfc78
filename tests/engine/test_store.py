"""The store: nothing is lost, nothing is overwritten, and what is wrong is named."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sentei.engine import Failure, Job, Result, Store, lock, open_store, read_store, rebuild_store
from sentei.engine.database import DATABASE_NAME, JOURNAL_NAME
from sentei.errors import CheckpointError

META = {"code": "1.0", "data": {"digest": "abc"}, "seeds": [0, 1]}
JOBS = [Job({"x": x}, f"label {x % 2}") for x in range(4)]


def result(value: float) -> Result:
    return Result(
        value={"accuracy": value},
        wall_s=1.5,
        finished_at="2030-01-31T12:00:00+00:00",
        worker="process 1",
        attempts=1,
    )


FAILURE = Failure(
    error="Traceback\nZeroDivisionError: x",
    finished_at="2030-01-31T12:00:00+00:00",
    worker="process 2",
    attempts=1,
)


def content(store: Store) -> tuple[object, ...]:
    labels = [(job, job.label) for job in store.jobs()]
    return store.meta, labels, store.results(), store.failures(), store.notes("space")


def filled(directory: Path) -> tuple[object, ...]:
    """Write a study with everything in it, and return its content."""
    with open_store(directory, META) as store:
        store.add_jobs(JOBS)
        store.add_ends([(JOBS[2].key, result(0.1 + 0.2))])
        store.add_ends([(JOBS[1].key, FAILURE)])
        store.add_notes("space", {"all/0": {"job": JOBS[0].key, "weight": 0.5}, "all/1": [1]})
        return content(store)


def test_store_holds_what_was_put_in_it_in_the_order_of_jobs(tmp_path: Path) -> None:
    filled(tmp_path)

    with open_store(tmp_path, META) as store:
        store.add_ends([(JOBS[0].key, result(0.5))])

        assert store.meta == META
        assert store.jobs() == JOBS
        assert [job.label for job in store.jobs()] == ["label 0", "label 1"] * 2
        assert list(store.results().items()) == [
            (JOBS[0].key, result(0.5)),
            (JOBS[2].key, result(0.1 + 0.2)),
        ]
        assert store.failures() == {JOBS[1].key: FAILURE}
        assert store.notes("space") == {
            "all/0": {"job": JOBS[0].key, "weight": 0.5},
            "all/1": [1],
        }
        assert store.notes("other") == {}


def test_jobs_are_taken_once(tmp_path: Path) -> None:
    with open_store(tmp_path, META) as store:
        assert store.add_jobs([JOBS[1], JOBS[0], JOBS[1]]) == 2
        assert store.add_jobs(JOBS) == 2
        assert store.jobs() == [JOBS[1], JOBS[0], JOBS[2], JOBS[3]]


def test_second_result_changes_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path, META) as store:
        store.add_jobs(JOBS)
        assert store.add_ends([(JOBS[0].key, result(0.25))]) == [True]
        size = (tmp_path / JOURNAL_NAME).stat().st_size

        assert store.add_ends([(JOBS[0].key, result(0.75))]) == [False]

        assert store.results() == {JOBS[0].key: result(0.25)}
        assert (tmp_path / JOURNAL_NAME).stat().st_size == size


def test_result_after_a_failure_ends_it(tmp_path: Path) -> None:
    with open_store(tmp_path, META) as store:
        store.add_jobs(JOBS)
        store.add_ends([(JOBS[0].key, FAILURE)])
        store.add_ends([(JOBS[0].key, result(0.25))])

        assert store.failures() == {}


def test_note_is_added_again_only_if_it_is_the_same(tmp_path: Path) -> None:
    with open_store(tmp_path, META) as store:
        store.add_notes("space", {"a": {"weight": 1.0}})
        store.add_notes("space", {"a": {"weight": 1.0}, "b": 2})

        with pytest.raises(CheckpointError, match=r"space a.weight is 1.0 there and 2.0 now"):
            store.add_notes("space", {"c": 3, "a": {"weight": 2.0}})

        assert store.notes("space") == {"a": {"weight": 1.0}, "b": 2}


def test_store_of_another_study_is_refused_with_what_differs(tmp_path: Path) -> None:
    before = filled(tmp_path)

    message = r"holds another study: data.digest is 'abc' there and 'xyz' now; seeds is \[0, 1\]"
    with (
        pytest.raises(CheckpointError, match=message),
        open_store(tmp_path, {**META, "data": {"digest": "xyz"}, "seeds": [0]}),
    ):
        pass

    with read_store(tmp_path) as store:
        assert content(store) == before


def test_store_is_built_anew_from_its_journal(tmp_path: Path) -> None:
    before = filled(tmp_path)
    (tmp_path / DATABASE_NAME).write_bytes(b"not a database, " * 100)

    rebuild_store(tmp_path)

    with open_store(tmp_path, META) as store:
        assert content(store) == before
    assert (tmp_path / f"{DATABASE_NAME}.damaged").read_bytes().startswith(b"not a database")


def test_lost_database_is_built_anew_when_it_is_opened(tmp_path: Path) -> None:
    before = filled(tmp_path)
    (tmp_path / DATABASE_NAME).unlink()

    with open_store(tmp_path, META) as store:
        assert content(store) == before


def test_journal_cut_anywhere_gives_what_was_whole(tmp_path: Path) -> None:
    filled(tmp_path)
    journal = (tmp_path / JOURNAL_NAME).read_bytes()
    num_jobs_after = {}
    for cut in range(0, len(journal), 37):
        directory = tmp_path / str(cut)
        directory.mkdir()
        (directory / JOURNAL_NAME).write_bytes(journal[:cut])
        with open_store(directory, META) as store:
            num_jobs_after[cut] = len(store.jobs())
            store.add_jobs(JOBS)
            assert store.jobs() == JOBS

    kinds = [json.loads(line)["kind"] for line in journal.splitlines()]
    ends = [i + 1 for i, byte in enumerate(journal) if byte == ord("\n")]
    assert num_jobs_after == {
        cut: sum(kind == "job" and end <= cut for kind, end in zip(kinds, ends, strict=True))
        for cut in num_jobs_after
    }


def test_entry_that_did_not_reach_the_database_is_not_lost(tmp_path: Path) -> None:
    with open_store(tmp_path, META) as store:
        store.add_jobs(JOBS)
        old = tmp_path / "old"
        store.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(tmp_path / DATABASE_NAME, old)
        store.add_ends([(JOBS[3].key, result(0.75))])
    old.replace(tmp_path / DATABASE_NAME)

    with open_store(tmp_path, META) as store:
        assert store.results() == {JOBS[3].key: result(0.75)}


@pytest.mark.parametrize("damage", ["text", "torn"])
def test_damaged_database_is_named_with_its_remedy(tmp_path: Path, damage: str) -> None:
    filled(tmp_path)
    path = tmp_path / DATABASE_NAME
    torn = path.read_bytes()[:-3000]
    path.write_bytes(b"not a database, " * 500 if damage == "text" else torn)

    message = f"{DATABASE_NAME} is damaged .*; build it anew from {JOURNAL_NAME}.*rebuild_store"
    with pytest.raises(CheckpointError, match=message), open_store(tmp_path, META):
        pass
    with pytest.raises(CheckpointError, match=message), read_store(tmp_path):
        pass


def test_damaged_line_of_the_journal_is_named(tmp_path: Path) -> None:
    filled(tmp_path)
    journal = tmp_path / JOURNAL_NAME
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], lines[1][:20] + b"\n", *lines[2:]]))

    end = len(lines[0]) + 21
    with pytest.raises(CheckpointError, match=f"the line that ends at byte {end} is damaged"):
        rebuild_store(tmp_path)


def test_entry_of_a_later_version_is_named(tmp_path: Path) -> None:
    filled(tmp_path)
    with (tmp_path / JOURNAL_NAME).open("a") as file:
        file.write('{"kind": "wish"}\n')

    with (
        pytest.raises(CheckpointError, match="entry of kind 'wish' is not as version 1 writes it"),
        open_store(tmp_path, META),
    ):
        pass


def test_study_of_another_version_is_named(tmp_path: Path) -> None:
    with open_store(tmp_path, META):
        pass
    journal = tmp_path / JOURNAL_NAME
    journal.write_text(journal.read_text().replace('"version":1', '"version":2'))
    rebuild_store(tmp_path)

    message = "study of version 2, this sentei reads 1"
    with pytest.raises(CheckpointError, match=message), open_store(tmp_path, META):
        pass
    with pytest.raises(CheckpointError, match=message), read_store(tmp_path):
        pass


def test_journal_that_became_shorter_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / JOURNAL_NAME).unlink()

    message = r"journal.jsonl has 0 bytes, \d+ were read from it before; restore"
    with pytest.raises(CheckpointError, match=message), open_store(tmp_path, META):
        pass
    with pytest.raises(CheckpointError, match=r"has no journal.jsonl to build a study from"):
        rebuild_store(tmp_path)


def test_directory_without_a_study_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no study \(study.sqlite\)"):
        read_store(tmp_path).__enter__()

    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_is_named_and_the_next_driver_builds_it_anew(tmp_path: Path) -> None:
    filled(tmp_path)
    with read_store(tmp_path) as store:
        there = store.results()
    for file in tmp_path.glob(f"{DATABASE_NAME}*"):
        file.unlink()
    (tmp_path / DATABASE_NAME).touch()

    message = "study.sqlite is empty or no study; run the command that began the study again"
    with pytest.raises(CheckpointError, match=message):
        read_store(tmp_path).__enter__()
    with open_store(tmp_path, META) as store:
        assert store.results() == there


def test_reader_sees_a_study_at_work_and_cannot_change_it(tmp_path: Path) -> None:
    with open_store(tmp_path, META) as driver:
        driver.add_jobs(JOBS)
        with read_store(tmp_path) as reader:
            driver.add_ends([(JOBS[0].key, result(0.25))])

            assert reader.results() == {JOBS[0].key: result(0.25)}
            with pytest.raises(CheckpointError, match="attempt to write a readonly database"):
                reader.rows("DELETE FROM result")


def test_second_driver_is_told_the_process_of_the_first(tmp_path: Path) -> None:
    script = (
        "import sys; from sentei.engine import open_store\n"
        f"with open_store({str(tmp_path)!r}, {META!r}): print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"open\n"
        message = f"is in use by process {first.pid}; wait until it ends"
        with pytest.raises(CheckpointError, match=message), open_store(tmp_path, META):
            pass
        with pytest.raises(CheckpointError, match=message):
            rebuild_store(tmp_path)
        first.kill()

    with open_store(tmp_path, META) as store:
        assert store.meta == META


def test_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "fcntl", None)

    with pytest.warns(UserWarning, match="no locks; let one driver at a time run"):
        open_store(tmp_path, META).__enter__()


def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(CheckpointError, match=r"file/study/.lock cannot be read or written"):
        open_store(tmp_path / "file" / "study", META).__enter__()


def test_write_that_fails_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open_store(tmp_path, META) as store:
        with monkeypatch.context() as full:
            full.setattr("sentei.engine.journal.os.fsync", refuse)
            message = r"journal.jsonl cannot be read or written .*No space left.*make room"
            with pytest.raises(CheckpointError, match=message):
                store.add_jobs(JOBS)
        assert store.jobs() == []
        store.add_jobs(JOBS[:1])
        assert store.jobs() == JOBS[:1]

    lines = (tmp_path / JOURNAL_NAME).read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds == ["study", "job"]


def test_disk_that_was_full_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    jobs = [Job({"x": x}) for x in range(3000)]
    kept = 0
    with open_store(small_disk / "study", META) as store:
        store.add_jobs(jobs[:300])

        def fill() -> None:
            nonlocal kept
            for job in jobs:
                store.add_ends([(job.key, result(kept / 7))])
                kept += 1

        with pytest.raises(CheckpointError, match=r"(No space|disk is full|I/O error).*make room"):
            fill()

    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    with open_store(small_disk / "study", META) as store:
        found = [r.value["accuracy"] for r in store.results().values()]
        assert found[:kept] == [i / 7 for i in range(kept)]
        assert len(found) in {kept, kept + 1}  # the last one may be in the journal alone
        assert store.add_jobs(jobs) == 2700
