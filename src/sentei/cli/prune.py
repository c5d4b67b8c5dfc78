"""``sentei prune``: the main job."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from sentei import pipeline
from sentei.cli.answer import Answer
from sentei.cli.progress import watching
from sentei.cli.tables import result


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a run; the others stand in a file (``--config``).

    Args:
        data: Images: digits, elpv, cifar10:DIR, folder:DIR, or FILE.py:FACTORY.
        target: What the pruned network may cost, such as macs=0.5 or macs=0.5,params=0.6.
        output: Directory of the run; by default one below runs/.
        criterion: How important a channel is (see: sentei list criteria); auto, the default, takes
            fisher where layers read every group, else l1.
        scope: How channels of different groups are compared (see: sentei list scopes).
        round_to: Make widths multiples of this number; the default is the largest of 16, 8 and 4
            with which the budget can be met, as fast runtimes like such widths.
        epochs: Epochs of training after pruning; 0 for none.
        fine_tune_epochs: Epochs of training before, where the classifier is new; 0 for none.
        pretrained: Start from published weights.
        weights: File of weights to start from (.safetensors, .pth).
        image_size: Height and width of the images, in pixels.
        batch_size: Images of a batch in training.
        steps: Rounds of pruning; 1 prunes in one shot.
        runtime: Runtimes to time in, joined by commas; none for no timing.
        onnx: Write model.onnx.
        seed: Root of all random numbers.
        device: Where to train: cpu, cuda, cuda:1.
        config: TOML file with any field of a run; flags go before it.
        fresh: Delete what an earlier run left in the directory, and start over.
        trust_code: Run code outside sentei that a saved network names as its source.
    """

    data: Annotated[str | None, Parameter(name=["--data", "-d"])] = None
    target: Annotated[str | None, Parameter(name=["--target", "-t"])] = None
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None
    criterion: str | None = None
    scope: str | None = None
    round_to: int | None = None
    epochs: int | None = None
    fine_tune_epochs: int | None = None
    pretrained: Annotated[bool | None, Parameter(negative="")] = None
    weights: str | None = None
    image_size: int | None = None
    batch_size: int | None = None
    steps: int | None = None
    runtime: str | None = None
    onnx: bool | None = None
    seed: int | None = None
    device: str | None = None
    config: Path | None = None
    fresh: Annotated[bool, Parameter(negative="")] = False
    trust_code: Annotated[bool | None, Parameter(negative="")] = None


OPTIONS = Options()


def prune(
    model: str | None = None,
    /,
    *,
    options: Options = OPTIONS,
) -> Answer:
    """Make a network smaller: prune it to a budget, verify, train, measure, export, report.

    The same command run again goes on where it was interrupted; a finished run prints its results.

    ```console
    sentei prune resnet20 --data digits --target macs=0.5
    sentei prune timm:resnet18 --pretrained --data folder:photos --target macs=0.5,params=0.6
    sentei prune runs/first --data digits --target macs=0.5 -o runs/second
    sentei prune --config run.toml --seed 1
    ```

    Args:
        model: timm:NAME, torchvision:NAME, a built-in name (see: sentei list models),
            FILE.py:FACTORY, or the directory of a saved network or of a run.
        options: See each.
    """
    values = {} if options.config is None else pipeline.read_toml(options.config)
    values = pipeline.merge(values, _given(model, options))
    values.setdefault("output", _default_output(values))
    origin = "command line" if options.config is None else str(options.config)
    config = pipeline.config_from_mapping(values, origin=origin)
    with watching() as listener:
        record = pipeline.run(config, on_progress=listener, fresh=options.fresh)
    directory = Path(config.output)
    document = {"directory": str(directory), "record": json.loads(record.to_json())}
    return Answer(document=document, shown=result(record, directory))


def _given(model: str | None, options: Options) -> dict[str, Any]:
    """Return the fields of a run that the command line sets."""
    plain = (
        *("data", "output", "criterion", "scope", "round_to", "pretrained", "weights"),
        *("image_size", "batch_size", "steps", "onnx", "seed", "device", "trust_code"),
    )
    runtimes = None
    if options.runtime is not None:
        names = [name.strip() for name in options.runtime.split(",")]
        runtimes = {"runtimes": [] if names == ["none"] else names}
    values = {
        "model": model,
        **{name: getattr(options, name) for name in plain},
        "budget": options.target,
        "latency": runtimes,
        **_training("fine_tune", options.fine_tune_epochs),
        **_training("recover", options.epochs),
    }
    return {name: value for name, value in values.items() if value is not None}


def _training(recipe: str, epochs: int | None) -> dict[str, Any]:
    if epochs == 0:
        return {f"{recipe}_when": "never"}
    return {recipe: None if epochs is None else {"epochs": epochs}}


def _default_output(values: dict[str, Any]) -> str:
    name = f"{values.get('model', 'run')}-{values.get('data', '')}"
    return f"runs/{re.sub('[^A-Za-z0-9_.]+', '-', name).strip('-.')}"
