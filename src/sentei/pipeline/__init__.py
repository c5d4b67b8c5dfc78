"""The whole of it: trace, score, plan, apply, verify, recover, measure; runs that resume.

Names load on first use, so that a command line can be parsed without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentei.deploy import TimerOptions
    from sentei.pipeline.benchmark import Bench, bench, export
    from sentei.pipeline.config import LatencyConfig, RunConfig
    from sentei.pipeline.config_file import config_from_mapping, merge, read_toml
    from sentei.pipeline.events import Event, Listener, StageEvent
    from sentei.pipeline.in_memory import Pruned, prune
    from sentei.pipeline.inspection import GroupsReport, ScoreReport, inspect_groups, inspect_scores
    from sentei.pipeline.listing import CATALOG, catalog
    from sentei.pipeline.network import Network, load_network
    from sentei.pipeline.reports import report_runs
    from sentei.pipeline.runner import run

__all__ = [
    "CATALOG",
    "Bench",
    "Event",
    "GroupsReport",
    "LatencyConfig",
    "Listener",
    "Network",
    "Pruned",
    "RunConfig",
    "ScoreReport",
    "StageEvent",
    "TimerOptions",
    "bench",
    "catalog",
    "config_from_mapping",
    "export",
    "inspect_groups",
    "inspect_scores",
    "load_network",
    "merge",
    "prune",
    "read_toml",
    "report_runs",
    "run",
]

_HOMES = {
    "benchmark": ("Bench", "TimerOptions", "bench", "export"),
    "listing": ("CATALOG", "catalog"),
    "config": ("LatencyConfig", "RunConfig"),
    "config_file": ("config_from_mapping", "merge", "read_toml"),
    "events": ("Event", "Listener", "StageEvent"),
    "inspection": ("GroupsReport", "ScoreReport", "inspect_groups", "inspect_scores"),
    "network": ("Network", "load_network"),
    "in_memory": ("Pruned", "prune"),
    "reports": ("report_runs",),
    "runner": ("run",),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a public name may be anything
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
