"""Run a study of pruning spaces from its populations to its report; what is done is not redone."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from sentei import engine
from sentei.engine.study import OnEvent
from sentei.records import atomic_write_text
from sentei.report.space_page import write_space_report
from sentei.report.space_schema import Analysis
from sentei.spaces.config import StudyConfig
from sentei.spaces.contest_latency import contest_times, read_contest_times
from sentei.spaces.explore import SEARCHED, contest, search
from sentei.spaces.keep import keep_found
from sentei.spaces.populate import check_sizes, first_wishes
from sentei.spaces.regime_data import FRESH_BASE, fresh_names
from sentei.spaces.result_proxies import may_screen
from sentei.spaces.results import analyse, regimes_of
from sentei.spaces.rounds import refine_rounds
from sentei.spaces.study import (
    PAGE_NAME,
    ROWS_NAME,
    Session,
    open_session,
    write_config,
)
from sentei.spaces.subnets import Row
from sentei.train.progress import OnProgress

Until = Literal["sample", "evaluate", "refine", "search"]
"""Parts of a study, in order; the report follows each."""


def run_study(  # noqa: PLR0913 - jobs and trainings of the driver have listeners of their own
    config: StudyConfig,
    directory: Path | str,
    *,
    executor: engine.Executor | None,
    on_event: OnEvent | None = None,
    on_progress: OnProgress | None = None,
    retry_failed: bool = False,
    until: Until = "search",
) -> Analysis | None:
    """Run what has no result yet of a study, write its report, and return the analysis.

    ``directory`` then holds ``study.json``, ``base/`` (the network), ``populations/`` (frozen before
    anything is evaluated), the store, ``rows.json``, ``report.html`` and ``analysis.json``, and
    ``found-REGIME/``, the subnetwork that a search found, as an ordinary saved network, with
    ``latency-found-REGIME.json``, how fast it and its rivals are.

    Args:
        config: What is studied.
        directory: Where everything of it is kept.
        executor: Where its jobs run; results do not depend on it. None runs none: the report is
            of what is there.
        on_event: Told all that happens to jobs.
        on_progress: Told of every step that the driver itself trains: of the base network, the
            supernet, and the subnetwork that is kept.
        retry_failed: Run those again that have failed before.
        until: Where to stop: at the populations, their evaluation, the fresh draws of refined
            spaces, or the search.

    Returns:
        The analysis; None after ``sample``.

    Raises:
        PruningError: Names, files, data or a space are wrong; the message says what to do.
        KeyboardInterrupt: SIGINT or SIGTERM came; finished jobs are kept.
    """
    directory = Path(directory)
    with open_session(
        config,
        directory,
        executor=executor,
        on_event=on_event,
        on_progress=on_progress,
        retry_failed=retry_failed,
    ) as session:
        check_sizes(session.scene, directory, _sizes(config))
        wishes = {t: first_wishes(session.scene, directory, t) for t in config.regimes}
        write_config(config, directory)
        if until == "sample":
            return None
        rows = [row for level in config.regimes for row in session.run(wishes[level])]
        if until != "evaluate":
            rows += _explore(session, rows, searches=until == "search")
        return _publish(session, rows)


def _sizes(config: StudyConfig) -> dict[str, int]:
    """Return how many recipes every population has whose space results decide."""
    names = [FRESH_BASE, *(n for r in range(1, config.search.rounds + 1) for n in fresh_names(r))]
    fresh = dict.fromkeys(names, config.search.fresh)
    return {**fresh, **dict.fromkeys(SEARCHED, config.search.candidates)}


def _explore(session: Session, rows: Sequence[Row], *, searches: bool) -> list[Row]:
    """Return the rows of fresh draws, and of the search, in the regimes that have them."""
    found: list[Row] = []
    for data in regimes_of(session.scene, rows):
        if data.level not in session.config.search.regimes:
            continue
        fresh, slabs = refine_rounds(session, data)
        found += fresh
        if searches:
            found += search(session, data, slabs, screens=may_screen(data))
    return found


def _publish(session: Session, rows: Sequence[Row]) -> Analysis:
    unique = list({json.dumps(_identity(row), sort_keys=True): row for row in rows}.values())
    directory = session.directory
    atomic_write_text(directory / ROWS_NAME, json.dumps(unique) + "\n")
    times = {}
    for data in regimes_of(session.scene, unique):
        found = contest(data)
        if session.draws:
            keep_found(session, data)
            if found:
                times[data.level] = contest_times(session.scene, directory, data.level, found)
        elif (known := read_contest_times(directory, data.level, found)) is not None:
            times[data.level] = known
    failed = len(session.store.failures())
    analysis = analyse(session.scene, unique, session.dense, times=times, failed=failed)
    write_space_report(directory / PAGE_NAME, analysis)
    return analysis


def _identity(row: Row) -> dict[str, Any]:
    names = (
        "regime",
        "space",
        "subnet",
        "stratum",
        "epochs",
        "replicate",
        "weights",
        "ranking",
        "supernet",
        "zero_cost",
    )
    return {name: row[name] for name in names}
