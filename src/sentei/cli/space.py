"""``sentei space``: populations of subnetworks, studied."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sentei import engine, spaces
from sentei.cli.answer import Answer, verbatim
from sentei.cli.jobs import ENGINE_SETTINGS, executor_of, shown_status, watching_jobs
from sentei.errors import ConfigError

if TYPE_CHECKING:
    from sentei.report.space_schema import Analysis
    from sentei.spaces import StudyConfig

_Output = Annotated[Path, Parameter(name=["--output", "-o"])]
_Until = Literal["sample", "evaluate", "refine", "search"]

_HELP = """Study populations of subnetworks: draw them at equal MACs, evaluate them, compare their
distributions, refine the space they come from, and search in it.

```console
sentei space example > study.toml
sentei space run study.toml -o runs/spaces
sentei space status runs/spaces
sentei space resume runs/spaces
```

A job that fails does so alone: the study goes on, and the exit code is 3.
"""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a study runs, and how far.

    Args:
        until: Where to stop: sample (freeze the populations), evaluate, refine (draw afresh from
            the refined space and its placebo), search.
        engine: Where jobs run: process (this machine), serial, ray. Results do not depend on it.
        workers: Jobs at once; by default one a core.
        address: Of a Ray cluster, with --engine ray.
        num_gpus: GPUs of each job, with --engine ray; a fraction shares one.
        max_silence_s: Seconds a job may report nothing before its worker is ended and the job tried
            again; by default it may hang for ever.
        retry_failed: Run jobs again that have failed.
    """

    until: _Until = "search"
    engine: str = "process"
    workers: int | None = None
    address: str | None = None
    num_gpus: float | None = None
    max_silence_s: float | None = None
    retry_failed: Annotated[bool, Parameter(negative="")] = False


RUN_OPTIONS = RunOptions()


def run(study: Path, /, *, output: _Output, options: RunOptions = RUN_OPTIONS) -> Answer:
    """Run a study; the same command again goes on where it was interrupted.

    Args:
        study: TOML file (see: sentei space example).
        output: Directory that everything of it is kept in.
        options: See each.
    """
    return _run(spaces.read_study(study), output, options)


def resume(directory: Path, /, *, options: RunOptions = RUN_OPTIONS) -> Answer:
    """Go on with a study that was interrupted, or take it further.

    Args:
        directory: Of the study.
        options: See each.
    """
    return _run(spaces.read_config(directory), directory, options)


def demo(*, output: _Output = Path("runs/space-demo"), options: RunOptions = RUN_OPTIONS) -> Answer:
    """Run the whole protocol on handwritten digits: minutes on two cores, to see what it does.

    Args:
        output: Directory that everything of it is kept in.
        options: See each.
    """
    return _run(spaces.demo_study(), output, options)


def status(directory: Path, /) -> Answer:
    """Tell how far a study is, also while another process runs it.

    Args:
        directory: Of the study.
    """
    found = spaces.study_status(directory)
    return Answer(document=dataclasses.asdict(found), shown=shown_status(found, of="population"))


def report(
    directory: Path,
    /,
    *others: Path,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> Answer:
    """Write the report of what a study has found so far, or one of several; runs nothing.

    Several must have a report each. The law across networks (C2) is judged over all of them.

    Args:
        directory: Of the study.
        others: Of more studies.
        output: Directory of the report of several studies.
    """
    if output is not None:
        return _answer(spaces.report_studies([directory, *others], output), output)
    if others:
        raise ConfigError(f"{1 + len(others)} studies share a report; say where: -o DIRECTORY")
    found = spaces.run_study(spaces.read_config(directory), directory, executor=None)
    assert found is not None
    return _answer(found, directory)


def example() -> Answer:
    """Print a study file with every key, explained."""
    text = Path(__file__).with_name("study.toml").read_text(encoding="utf-8")
    return Answer(document={"toml": text}, shown=verbatim(text.removesuffix("\n")))


def make_space_app() -> App:
    """Return the command with its subcommands."""
    app = App(name="space", help=_HELP, help_format="markdown")
    for command in (run, resume, status, report, demo, example):
        app.command(command)
    return app


def _run(config: "StudyConfig", directory: Path, options: RunOptions) -> Answer:
    executor = executor_of(
        options.engine, **{name: getattr(options, name) for name in ENGINE_SETTINGS}
    )
    with watching_jobs(_describe) as watch:
        found = spaces.run_study(
            config,
            directory,
            executor=executor,
            on_event=watch.on_event,
            on_progress=watch.on_progress,
            retry_failed=options.retry_failed,
            until=options.until,
        )
    if found is None:
        text = f"the populations are frozen in {directory / 'populations'}"
        return Answer(document={"directory": str(directory)}, shown=verbatim(text))
    return _answer(found, directory, failed=spaces.study_status(directory).failed)


def _answer(found: "Analysis", directory: Path, *, failed: int = 0) -> Answer:
    document = {"directory": str(directory), **dataclasses.asdict(found)}
    return Answer(document=document, shown=_shown(found, directory, failed), is_partial=failed > 0)


def _describe(event: engine.Event) -> tuple[str, str]:
    spec, found = event.job.spec, event.values
    untrained = spec.get("zero_cost", "one shot")
    trained = f"{spec['epochs']} epochs" if spec["epochs"] else untrained
    what = f"{event.job.label} {trained} replicate {spec['replicate']}"
    if not found:
        return what, ""
    accuracy, value = found["val_accuracy"], found.get("score")
    if accuracy is None:
        return what, "no score" if value is None else f"{value:.4g}"
    return what, f"{accuracy:.4f}"


def _shown(found: "Analysis", directory: Path, failed: int) -> Group:
    """Return spaces, verdicts and contenders as tables."""
    parts: list[Any] = [_spaces(found), _verdicts(found)]
    if found.contenders:
        parts.append(_contenders(found))
    if failed:
        why = f"{failed} jobs failed; sentei space status {directory} says why"
        parts.append(verbatim(f"{why}, sentei space resume {directory} --retry-failed tries again"))
    where = verbatim(f"the report is {directory / 'report.html'}")
    return Group(*parts, where)


def _spaces(found: "Analysis") -> Table:
    table = Table("regime", "space", "n", "least drop", "mean", "5 %", title="Spaces")
    for regime in found.regimes:
        for space in regime.spaces:
            drops = (space.minimum, space.mean, space.low_quantile)
            cells = (regime.name, space.name, str(len(space.drops)), *(f"{d:.2f}" for d in drops))
            table.add_row(*map(Text, cells))
    return table


def _verdicts(found: "Analysis") -> Table:
    table = Table("", "where", "estimate", "p", "verdict", title="Conjectures")
    for one in found.verdicts:
        power = "" if one.power is None else f" (power {one.power:.2f})"
        numbers = ["" if v is None else f"{v:.3g}" for v in (one.estimate, one.p)]
        doubt = power if one.verdict == "inconclusive" else ""
        cells = (one.conjecture, one.scope, *numbers, f"{one.verdict}{doubt}")
        table.add_row(*map(Text, cells))
    return table


def _contenders(found: "Analysis") -> Table:
    table = Table("method", "accuracy", "drop", "MACs", "parameters", title="At equal MACs")
    for one in found.contenders:
        counts = [f"{v:,.0f}" if v is not None else "" for v in (one.macs, one.params)]
        accuracy = "" if one.accuracy is None else f"{one.accuracy:.2%}"
        table.add_row(*map(Text, (one.method, accuracy, f"{one.drop:.2f}", *counts)))
    return table
