"""Several studies in one report: networks, regimes and budgets side by side, and the law across them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sentei.errors import CheckpointError, ConfigError
from sentei.methods.base_network import base_facts
from sentei.records import utc_now
from sentei.report import space_schema as schema
from sentei.report.space_page import write_space_report
from sentei.spaces.conjectures import Site
from sentei.spaces.contest_latency import ContestTimes, read_contest_times
from sentei.spaces.explore import contest
from sentei.spaces.results import analyse, regimes_of
from sentei.spaces.scene import Scene
from sentei.spaces.study import PAGE_NAME, ROWS_NAME, read_config
from sentei.spaces.subnets import Row
from sentei.spaces.verdicts import judge_design, sites_of

_DESIGN = "C2"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Study:
    """What a study has found so far."""

    name: str
    scene: Scene = field(repr=False)
    rows: list[Row] = field(repr=False)
    dense: dict[str, Any] = field(repr=False)
    times: dict[float, ContestTimes] = field(repr=False)

    @property
    def epochs(self) -> int:
        return self.scene.config.protocol.epochs

    @property
    def sites(self) -> list[Site]:
        return sites_of(
            regimes_of(self.scene, self.rows),
            dense_mcb=self.scene.terrain.dense["mcb"],
            checkpoint=self.dense["sha256"],
        )


def report_studies(directories: Sequence[Path | str], output: Path | str) -> schema.Analysis:
    """Write one report of several studies, from the rows that each has written; runs nothing.

    The verdict on C2 is judged anew, over the optima of all of them; the others stand as they are.

    Args:
        directories: Of the studies; each has a report already.
        output: Directory that the report is written into.

    Raises:
        CheckpointError: A directory holds no study with a report.
        ConfigError: There is no directory, or one is there twice.
    """
    paths = [Path(directory) for directory in directories]
    if not paths or len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError(f"{len(paths)} directories of studies; give at least one, each once")
    studies = [_read(path) for path in paths]
    analysis = _joined(studies)
    write_space_report(Path(output) / PAGE_NAME, analysis)
    return analysis


def _read(directory: Path) -> _Study:
    config, dense = read_config(directory), base_facts(directory)
    try:
        rows = json.loads((directory / ROWS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{directory} has no report yet ({error}); write it first: sentei space report {directory}"
        ) from error
    assert dense is not None  # it was made before there were rows
    scene = Scene.of(config, directory)
    times = {
        data.level: read_contest_times(directory, data.level, contest(data))
        for data in regimes_of(scene, rows)
    }
    return _Study(
        name=directory.resolve().name,
        scene=scene,
        rows=rows,
        dense=dense,
        times={level: found for level, found in times.items() if found is not None},
    )


def _joined(studies: Sequence[_Study]) -> schema.Analysis:
    networks = [study.scene.network for study in studies]
    repeated = {name for name in networks if networks.count(name) > 1}
    found = [
        _named(
            analyse(study.scene, study.rows, study.dense, times=study.times),
            f"{study.name}: " if study.scene.network in repeated else "",
        )
        for study in studies
    ]
    verdicts, missing = _design(studies)
    own = [verdict for one in found for verdict in one.verdicts if verdict.conjecture != _DESIGN]
    reasons = {key: why for one in found for key, why in one.missing.items()}
    return schema.Analysis(
        title=f"Pruning spaces of {', '.join(dict.fromkeys(networks))}",
        about=f"{sum(len(study.rows) for study in studies)} evaluations in {len(studies)} studies. "
        "Drops are in percentage points of validation accuracy.",
        created=utc_now(),
        choices=_choices(studies, found),
        regimes=tuple(regime for one in found for regime in one.regimes),
        verdicts=tuple(sorted([*own, *verdicts], key=lambda verdict: verdict.conjecture)),
        proxies=tuple(proxy for one in found for proxy in one.proxies),
        contenders=tuple(contender for one in found for contender in one.contenders),
        found=tuple(architecture for one in found for architecture in one.found),
        missing={key: why for key, why in reasons.items() if not key.startswith(_DESIGN)} | missing,
        provenance={
            f"{study.name}: {what}": value
            for study, one in zip(studies, found, strict=True)
            for what, value in one.provenance.items()
        },
    )


def _named(analysis: schema.Analysis, prefix: str) -> schema.Analysis:
    """Return an analysis whose regimes are told apart from those of other studies of the network."""
    if not prefix:
        return analysis
    return replace(
        analysis,
        regimes=tuple(replace(one, name=prefix + one.name) for one in analysis.regimes),
        verdicts=tuple(replace(one, scope=prefix + one.scope) for one in analysis.verdicts),
        proxies=tuple(replace(one, regime=prefix + one.regime) for one in analysis.proxies),
        contenders=tuple(replace(one, network=prefix + one.network) for one in analysis.contenders),
        found=tuple(replace(one, regime=prefix + one.regime) for one in analysis.found),
        missing={
            f"{key} ({prefix.removesuffix(': ')})": why for key, why in analysis.missing.items()
        },
    )


def _design(studies: Sequence[_Study]) -> tuple[list[schema.Verdict], dict[str, str]]:
    """Return the verdict on C2 over all studies, or why there is none."""
    sites = [site for study in studies for site in study.sites]
    scope = f"{len({site.network for site in sites})} networks, {len(sites)} regimes in all"
    why = unlike([study.epochs for study in studies], sites)
    if not why:
        try:
            return [judge_design(sites, studies[0].scene.config, scope=scope)], {}
        except ValueError as error:
            why = str(error)
    return [], {f"{_DESIGN}, {scope}": why}


def unlike(epochs: Sequence[int], sites: Sequence[Site]) -> str:
    """Return why optima of several studies do not speak about one law, or nothing.

    Args:
        epochs: Of the training of each study.
        sites: The optima.
    """
    if len(set(epochs)) > 1:
        return (
            f"the studies train for {', '.join(map(str, epochs))} epochs, and m* is a property of "
            "the budget; join those of one length"
        )
    places = [(site.network, site.regime, site.checkpoint) for site in sites]
    if len(set(places)) < len(places):
        return "two studies are of the same weights in the same regime; join one of them"
    return ""


def _choices(
    studies: Sequence[_Study], found: Sequence[schema.Analysis]
) -> tuple[schema.Choice, ...]:
    """Return every choice, with the studies' names where they chose differently."""
    joined = []
    for same in zip(*(one.choices for one in found), strict=True):
        values = [choice.value for choice in same]
        if len(set(values)) > 1:
            named = zip(studies, values, strict=True)
            values = ["; ".join(f"{study.name}: {value}" for study, value in named)]
        joined.append(replace(same[0], value=values[0]))
    return tuple(joined)
