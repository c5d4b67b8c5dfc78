"""``sentei compare``: methods head to head."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sentei import compare as comparison
from sentei import engine
from sentei.cli.answer import Answer, verbatim
from sentei.cli.jobs import ENGINE_SETTINGS, executor_of, shown_status, watching_jobs
from sentei.errors import ConfigError

if TYPE_CHECKING:
    from sentei.compare import Comparison


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What is compared, and where it runs.

    Args:
        data: Images: digits, elpv, cifar10:DIR, folder:DIR, or FILE.py:FACTORY.
        methods: Names joined by commas (see: sentei list methods); a section of the survey (2.1) or
            all stands for those in it. The baselines are always there.
        targets: Budgets, such as macs=0.5,0.25.
        seeds: Number of seeds.
        recipe: Recipe of the recovery, the same for all: closed (100 epochs), quick (20), short (2);
            or as papers for CIFAR train: pfec (40, constant rate 0.001), greg (120, steps), clr-rnf
            (150, steps, weight decay 0.005); each also -distilled. Several joined by commas cross
            methods with recipes.
        epochs: Epochs of the recipe, instead of its own.
        optimizer: Optimizer of the recipe, instead of its own: sgd, adamw.
        learning_rate: Learning rate of the recipe, instead of its own.
        amp: Precision of training: auto, bfloat16, off.
        output: Directory of the study; by default one below runs/.
        weights: File of weights to start from (.safetensors, .pth).
        pretrained: Start from published weights.
        base_epochs: Epochs that a network with a new classifier learns the data first.
        image_size: Height and width of the images, in pixels.
        batch_size: Images of a training batch.
        train_images: Training images that are used, instead of all.
        val_images: Validation images that are used, instead of all.
        test_images: Test images that are used, instead of all.
        calibration_images: Training images that criteria look at.
        protect: Modules or parameters that stay whole, joined by commas.
        tolerance: How far below its limit the cost may end, relative.
        floor: Least share of a group of channels that stays.
        round_to: Widths become multiples of it.
        engine: Where jobs run: process (this machine), serial, ray.
        workers: Jobs at once; by default one a core.
        address: Of a Ray cluster, with --engine ray.
        num_gpus: GPUs of each job, with --engine ray; a fraction shares one.
        max_silence_s: Seconds a job may report nothing before its worker is ended and the job tried
            again; by default it may hang for ever.
        resume: Directory of a comparison to go on with; what it compares is read there.
        status: Directory of a comparison; tells how far it is and runs nothing.
        retry_failed: Run jobs again that have failed.
        device: Where to train: cpu, cuda.
        trust_code: Run code outside sentei that a saved network names as its source.
    """

    data: Annotated[str | None, Parameter(name=["--data", "-d"])] = None
    methods: Annotated[str | None, Parameter(name=["--methods", "-m"])] = None
    targets: Annotated[str, Parameter(name=["--targets", "-t"])] = "macs=0.5,0.25"
    seeds: int = 3
    recipe: str = "closed"
    epochs: int | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    amp: str | None = None
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None
    weights: str | None = None
    pretrained: Annotated[bool, Parameter(negative="")] = False
    base_epochs: int = 5
    image_size: int | None = None
    batch_size: int = 64
    train_images: int | None = None
    val_images: int | None = None
    test_images: int | None = None
    calibration_images: int = 512
    protect: str = ""
    tolerance: float = 0.005
    floor: float = 0.1
    round_to: int = 1
    engine: str = "process"
    workers: int | None = None
    address: str | None = None
    num_gpus: float | None = None
    max_silence_s: float | None = None
    resume: Path | None = None
    status: Path | None = None
    retry_failed: Annotated[bool, Parameter(negative="")] = False
    device: str = "cpu"
    trust_code: Annotated[bool, Parameter(negative="")] = False


COMPARE_OPTIONS = CompareOptions()
_RECIPE_FIELDS = ("epochs", "optimizer", "learning_rate", "amp")


def compare(model: str | None = None, /, *, options: CompareOptions = COMPARE_OPTIONS) -> Answer:
    """Compare methods: one network, one recipe, the same images in the same order, several seeds.

    The same command run again goes on where it was interrupted; more methods, targets or seeds add
    to what is there. The exit code is 3 where jobs failed; the others are done and shown.

    ```console
    sentei compare resnet20 --data digits --methods l1,fpgm,network-slimming --recipe short
    sentei compare --status runs/compare-resnet20-digits
    sentei compare --resume runs/compare-resnet20-digits
    ```

    Args:
        model: timm:NAME, torchvision:NAME, a built-in name (see: sentei list models),
            FILE.py:FACTORY, or the directory of a saved network or of a run.
        options: See each.
    """
    if options.status is not None:
        return _status(options.status)
    config = _config(model, options)
    executor = executor_of(
        options.engine, **{name: getattr(options, name) for name in ENGINE_SETTINGS}
    )
    with watching_jobs(_describe) as watch:
        found = comparison.compare(
            config,
            executor=executor,
            on_event=watch.on_event,
            on_progress=watch.on_progress,
            retry_failed=options.retry_failed,
        )
    document = {"directory": config.output, **dataclasses.asdict(found)}
    return Answer(
        document=document, shown=_shown(found, config.output), is_partial=bool(found.failures)
    )


def _config(model: str | None, options: CompareOptions) -> Any:  # noqa: ANN401 - loads torch
    if options.resume is not None:
        _check_resumed(model, options)
        return comparison.read_config(options.resume)
    for name, value in (("MODEL", model), ("--data", options.data), ("--methods", options.methods)):
        if value is None:
            raise ConfigError(
                f"{name} is missing; give it, or go on with a comparison: --resume DIR"
            )
    assert model is not None
    assert options.methods is not None
    plain = (
        *("data", "weights", "pretrained", "base_epochs", "image_size", "batch_size", "seeds"),
        *("train_images", "val_images", "test_images", "calibration_images", "tolerance"),
        *("floor", "round_to", "device", "trust_code"),
    )
    changes = {k: getattr(options, k) for k in _RECIPE_FIELDS}
    return comparison.CompareConfig(
        model=model,
        output=options.output
        or f"runs/compare-{Path(model).name}-{options.data}".replace(":", "-"),
        methods=comparison.select_methods(options.methods),
        targets=comparison.parse_targets(options.targets),
        recipes=tuple(part.strip() for part in options.recipe.split(",")),
        protect=tuple(part.strip() for part in options.protect.split(",") if part.strip()),
        train={k: v for k, v in changes.items() if v is not None},
        **{name: getattr(options, name) for name in plain},
    )


def _check_resumed(model: str | None, options: CompareOptions) -> None:
    """Refuse what a comparison that goes on would not heed."""
    heeded = {"resume", "retry_failed", "engine", *ENGINE_SETTINGS}
    names = [f.name for f in dataclasses.fields(options) if f.name not in heeded]
    given = [n for n in names if getattr(options, n) != getattr(COMPARE_OPTIONS, n)]
    unheeded = ["MODEL"] * (model is not None) + [f"--{n.replace('_', '-')}" for n in given]
    if unheeded:
        raise ConfigError(
            f"--resume reads from the study what it compares, and {', '.join(unheeded)} would not "
            "count; leave it out, or for more methods, targets, seeds or recipes repeat the command "
            "that began the study with them"
        )


def _status(directory: Path) -> Answer:
    found = comparison.comparison_status(directory)
    return Answer(document=dataclasses.asdict(found), shown=shown_status(found, of="method"))


def _describe(event: engine.Event) -> tuple[str, str]:
    spec, found = event.job.spec, event.values
    what = f"{spec['method']} {spec['target']} {spec['recipe']} seed {spec['seed']}"
    return what, f"{found['accuracy']:.4f}" if found else ""


def _shown(found: "Comparison", directory: str) -> Group:
    """Return the means of every method, best first."""
    cells: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in found.rows:
        cells.setdefault((row["target"], row["recipe"], row["method"]), []).append(row)
    table = Table("target", "recipe", "method", "accuracy", "seeds", "MACs left", "seconds")

    def mean(rows: list[dict[str, Any]], name: str) -> float:
        return float(sum(row[name] for row in rows)) / len(rows)

    order = sorted(cells.items(), key=lambda kv: (kv[0][:2], -mean(kv[1], "accuracy")))
    for (target, recipe, method), rows in order:
        table.add_row(
            *(Text(t) for t in (target, recipe, method)),
            f"{mean(rows, 'accuracy'):.2%}",
            str(len(rows)),
            f"{mean(rows, 'macs_left'):.3f}",
            f"{mean(rows, 'wall_s'):.0f}",
        )
    failed = [Text(f"failed: {f['job']}: {f['error']}") for f in found.failures]
    base = Text(f"base network: {found.base['accuracy']:.2%} on {found.base['test_images']} images")
    absent = [Text(line) for line in found.left_out]
    return Group(base, table, *absent, *failed, verbatim(f"everything is in {directory}"))
