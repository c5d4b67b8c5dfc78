"""A study of pruning spaces: populations, evaluations, refinement, search, report; resumable."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sentei import __version__, engine
from sentei.engine.study import OnEvent
from sentei.errors import CheckpointError
from sentei.methods.base_network import prepare_base
from sentei.records import atomic_write_text, in_terms_of, plain_mapping, read_settings
from sentei.spaces.config import StudyConfig, study_from_mapping
from sentei.spaces.prepare import prepare_supernet
from sentei.spaces.protocol import Protocol
from sentei.spaces.scene import Scene
from sentei.spaces.subnets import Row, Wish, in_order_of_widths, rows_of
from sentei.train.progress import OnProgress

CONFIG_NAME = "study.json"
ROWS_NAME = "rows.json"
PAGE_NAME = "report.html"
_FREE = ("regimes", "thresholds", "resampling", "search", "supernet", "fidelity")
"""Fields that say what is asked of the results; the others decide what every job finds."""
_FREE_OF_POPULATION = ("controls", "natural")
"""Those that only add jobs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Session:
    """An open study.

    Attributes:
        config: What is studied.
        directory: Where everything of it lies.
        dense: What is known of the dense network: ``accuracy`` (test), ``val_accuracy``, digests.
        scene: Its network.
        store: Jobs and results.
        run: Runs what has no result of some wishes, and returns the rows of all.
        draws: Populations that are not there are drawn; a report of what is there draws none.
        on_progress: Told of every step that the driver itself trains.
    """

    config: StudyConfig
    directory: Path
    dense: Mapping[str, Any]
    scene: Scene = field(repr=False)
    store: engine.Store = field(repr=False)
    run: Callable[[Sequence[Wish]], list[Row]] = field(repr=False)
    draws: bool = True
    on_progress: OnProgress | None = field(default=None, repr=False)


@contextmanager
def open_session(
    config: StudyConfig,
    directory: Path,
    *,
    executor: engine.Executor | None,
    on_event: OnEvent | None = None,
    on_progress: OnProgress | None = None,
    retry_failed: bool = False,
) -> Iterator[Session]:
    """Open a study for its one driver: make the base network, or find it as it was.

    Args:
        config: What is studied.
        directory: Where everything of it is kept; made if missing.
        executor: Where its jobs run; None runs none.
        on_event: Told all that happens to jobs.
        on_progress: Told of every step that the driver itself trains.
        retry_failed: Run those again that have failed before.

    Raises:
        PruningError: Names, files or data are wrong; the directory holds another study, or a
            process has it open; the message says what to do.
    """
    dense = prepare_base(config.base, directory, on_progress=on_progress)
    plain = config.as_json()
    settings = {name: value for name, value in plain.items() if name not in _FREE}
    meta = {
        "kind": "spaces",
        "sentei": __version__,
        "base": dense["sha256"],
        "data": dense["data_digest"],
        "config": _as_stored(settings, directory),
    }
    task = engine.Task(
        "sentei.spaces.evaluate:make_runner",
        {
            "protocol": config.protocol.as_json(),
            "data": config.base.data,
            "directory": str(directory.resolve()),
        },
    )
    listen = {} if on_event is None else {"on_event": on_event}
    with engine.open_store(directory, meta) as store:
        prepare_supernet(config, directory, base=dense["sha256"], on_progress=on_progress)
        if not (directory / CONFIG_NAME).exists():
            write_config(config, directory)

        def run(wishes: Sequence[Wish]) -> list[Row]:
            wishes = [_as_protocol(wish, config.protocol) for wish in wishes]
            if executor is not None:
                jobs = [wish.job for wish in in_order_of_widths(wishes)]
                engine.run_jobs(
                    store, jobs, task=task, executor=executor, retry_failed=retry_failed, **listen
                )
            return rows_of(wishes, store, dense)

        yield Session(
            config=config,
            directory=directory,
            dense=dense,
            scene=Scene.of(config, directory),
            store=store,
            run=run,
            draws=executor is not None,
            on_progress=on_progress,
        )


def _as_protocol(wish: Wish, protocol: Protocol) -> Wish:
    if wish.supernet:  # its weights are the shared ones, its channels those they were trained as
        return wish
    return replace(
        wish,
        weights=wish.weights or protocol.weights,
        ranking=wish.ranking or protocol.ranking,
    )


def _as_stored(settings: Mapping[str, Any], directory: Path) -> Mapping[str, Any]:
    """Return settings as the store of a study that an older sentei began has them."""
    try:
        with engine.read_store(directory) as store:
            stored = store.meta["config"]
    except CheckpointError:
        return settings  # there is none yet, or opening it says what is wrong
    filled = study_from_mapping(stored, origin=str(directory)).as_json()
    now, filled = plain_mapping(settings, "settings"), plain_mapping(filled, "settings")
    now["population"] |= {name: filled["population"][name] for name in _FREE_OF_POPULATION}
    return in_terms_of(now, stored, filled)


def write_config(config: StudyConfig, directory: Path) -> None:
    """Write the configuration of a study, once the study bears it: `read_config` then returns it."""
    atomic_write_text(directory / CONFIG_NAME, json.dumps(config.as_json(), indent=2) + "\n")


def read_config(directory: Path | str) -> StudyConfig:
    """Return the configuration of the study in ``directory``.

    Raises:
        CheckpointError: There is none, or it cannot be read.
    """
    path = Path(directory) / CONFIG_NAME
    values = read_settings(path, what="study of spaces")
    return study_from_mapping(values, origin=str(path))


def study_status(directory: Path | str) -> engine.Status:
    """Return how far a study is, also while another process runs it.

    Raises:
        CheckpointError: There is none in ``directory``.
    """
    with engine.read_store(directory) as store:
        return engine.status(store)
