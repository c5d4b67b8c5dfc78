"""A comparison as a study: the base network, the jobs, their results and the page."""

import dataclasses
import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sentei import __version__, engine
from sentei.allocate import Budget, check_reachable
from sentei.compare.config import CompareConfig, jobs_of, left_out
from sentei.cost import CostModel
from sentei.engine.study import OnEvent
from sentei.errors import BudgetError
from sentei.graph import trace
from sentei.methods import METHODS
from sentei.methods.base_network import prepare_base
from sentei.methods.task import VERIFIED_IMAGES
from sentei.records import atomic_write_text, machine_facts, read_settings
from sentei.report.comparison_page import write_comparison
from sentei.train.progress import OnProgress

CONFIG_NAME = "config.json"
ROWS_NAME = "rows.json"
PAGE_NAME = "report.html"
_FREE = ("output", "methods", "targets", "seeds", "recipes")
"""Fields that say which jobs there are; the others decide what every job finds."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a comparison found.

    Attributes:
        rows: One mapping for each finished job, in the order of the jobs.
        failures: Label, last line of the error, and the whole of it (``traceback``), of each job that
            failed.
        base: What the network does before pruning, and its digests.
        left_out: A line for each method and target that have no jobs.
    """

    rows: list[dict[str, Any]]
    failures: list[dict[str, str]]
    base: dict[str, Any]
    left_out: list[str] = field(default_factory=list)


def compare(
    config: CompareConfig,
    *,
    executor: engine.Executor,
    on_event: OnEvent | None = None,
    on_progress: OnProgress | None = None,
    retry_failed: bool = False,
) -> Comparison:
    """Run what has no result yet of a comparison, write its page, and return all results.

    ``config.output`` then holds ``config.json``, ``base/`` (the network all methods start from),
    the store, ``rows.json`` and ``report.html``. The same call again computes nothing; more
    methods, targets, seeds or recipes add to it.

    Args:
        config: What to compare.
        executor: Where the jobs run.
        on_event: Told all that happens to jobs.
        on_progress: Told of every step that the driver itself trains: of the base network.
        retry_failed: Run those again that have failed before.

    Raises:
        PruningError: Names, files, data or the base training are wrong, no widths meet a target, or
            the directory holds a comparison of something else; the message says what to do.
        KeyboardInterrupt: SIGINT or SIGTERM came; finished jobs are kept.
    """
    directory = Path(config.output)
    base = prepare_base(
        config, directory, on_progress=on_progress, check=partial(_check_targets, config)
    )
    meta = {
        "kind": "comparison",
        "sentei": __version__,
        "base": base["sha256"],
        "data": base["data_digest"],
        "config": {k: v for k, v in config.as_json().items() if k not in _FREE},
    }
    task = engine.Task(
        "sentei.compare.job:make_runner",
        {"config": config.as_json(), "directory": str(directory.resolve())},
    )
    jobs = [engine.Job(spec, label=spec["method"]) for spec in jobs_of(config)]
    with engine.open_store(directory, meta) as store:
        atomic_write_text(directory / CONFIG_NAME, json.dumps(config.as_json(), indent=2) + "\n")
        listen = {} if on_event is None else {"on_event": on_event}
        engine.run_jobs(
            store, jobs, task=task, executor=executor, retry_failed=retry_failed, **listen
        )
        found = dataclasses.replace(
            _collect(store, [job.key for job in jobs], base), left_out=left_out(config)
        )
    atomic_write_text(directory / ROWS_NAME, json.dumps(dataclasses.asdict(found)) + "\n")
    write_comparison(
        directory / PAGE_NAME,
        title=f"Methods on {config.model}, {config.data}",
        rows=found.rows,
        provenance=_provenance(config, found),
        failures=found.failures,
    )
    return found


def _check_targets(config: CompareConfig, model: nn.Module, shape: tuple[int, int, int]) -> None:
    """Refuse a target that no widths of the network meet, before anything is trained.

    Raises:
        BudgetError: There is one; the message names it, and the lowest that can be met.
    """
    if all(METHODS[name].card.granularity != "channel" for name in config.methods):
        return
    graph = trace(model, torch.zeros(VERIFIED_IMAGES, *shape), protect=config.protect)
    costs = CostModel.of(graph)
    for target in config.targets:
        budget = Budget.parse(target)
        try:
            check_reachable(
                graph, budget, round_to=config.round_to, floor=config.floor, costs=costs
            )
        except BudgetError as error:
            absolute = any(limit > 1 for limit in budget.limits.values())
            hint = "; a number above 1 is the cost itself, not a factor" if absolute else ""
            raise BudgetError(f"target {target}: {error}{hint}") from error


def _provenance(config: CompareConfig, found: Comparison) -> dict[str, str]:
    """Return what the numbers of a comparison rest on, in words."""
    base = found.base
    commits = sorted({row["commit"] for row in found.rows if row.get("commit")})
    recipes = {name: config.recipe(name).as_json() for name in config.recipes}
    return {
        "sentei": __version__,
        "commits": ", ".join(commits) or "not run from a checkout",
        "base network": f"{base['accuracy']:.4f} on {base['test_images']} test images",
        "SHA-256 of its weights": base["sha256"],
        "SHA-256 of the data": base["data_digest"],
        "settings": json.dumps(config.as_json()),
        "recipes": json.dumps(recipes),
        **({"left out": "; ".join(found.left_out)} if found.left_out else {}),
        **machine_facts(),
    }


def read_config(directory: Path | str) -> CompareConfig:
    """Return the configuration of a comparison that was started in ``directory``.

    Raises:
        CheckpointError: There is none, or it cannot be read.
    """
    path = Path(directory) / CONFIG_NAME
    values = read_settings(path, what="comparison")
    return CompareConfig.from_json({**values, "output": str(directory)})


def comparison_status(directory: Path | str) -> engine.Status:
    """Return how far a comparison is, also while another process runs it.

    Raises:
        CheckpointError: There is none in ``directory``.
    """
    with engine.read_store(directory) as store:
        return engine.status(store)


def _collect(store: engine.Store, keys: list[str], base: dict[str, Any]) -> Comparison:
    results, failures = store.results(), store.failures()
    jobs = {job.key: job for job in store.jobs()}
    rows = [
        {**results[key].value, "base_accuracy": base["accuracy"], "wall_s": results[key].wall_s}
        for key in keys
        if key in results
    ]
    failed = [
        {
            "job": ", ".join(f"{k} {v}" for k, v in jobs[key].spec.items()),
            "error": failures[key].error.strip().splitlines()[-1],
            "traceback": failures[key].error,
        }
        for key in keys
        if key in failures and key not in results
    ]
    return Comparison(rows=rows, failures=failed, base=base)


__all__ = ["Comparison", "compare", "comparison_status", "read_config"]
