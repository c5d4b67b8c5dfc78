"""Network pruning spaces: populations of subnetworks, drawn, evaluated, compared, refined, searched.

Names load on first use, so that a command line can be parsed without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentei.spaces.config import StudyConfig, read_study
    from sentei.spaces.demo import demo_study
    from sentei.spaces.joint import report_studies
    from sentei.spaces.run import run_study
    from sentei.spaces.study import read_config, study_status

__all__ = [
    "StudyConfig",
    "demo_study",
    "read_config",
    "read_study",
    "report_studies",
    "run_study",
    "study_status",
]

_HOMES = {
    "config": ("StudyConfig", "read_study"),
    "demo": ("demo_study",),
    "joint": ("report_studies",),
    "run": ("run_study",),
    "study": ("read_config", "study_status"),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a public name may be anything
    for home, names in _HOMES.items():
        if name in names:
            globals()[name] = value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
