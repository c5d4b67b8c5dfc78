"""What users get wrong: one clear message, and nothing half done."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import sentei
from sentei.cli import main
from sentei.errors import PlanError
from sentei.pipeline import load_network

Capture = pytest.CaptureFixture[str]

NET = """
from torch import nn

def make(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
        nn.Linear(8, num_classes),
    )
"""


def prune(run: Path, model: str, *more: str, data: str = "digits") -> list[str]:
    return [
        *("prune", model, "--data", data, "--target", "macs=0.5", "-o", str(run)),
        *("--fine-tune-epochs", "1", "--epochs", "1", "--runtime", "none", "--no-onnx", *more),
    ]


def refused(capsys: Capture, arguments: list[str]) -> str:
    """Return the message of a command that fails."""
    assert main(arguments) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in message
    return message


def make_images(folder: Path, *, classes: int = 2, count: int = 8) -> str:
    for k in range(classes):
        (folder / f"class{k}").mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (16, 16), (120 * k, 9 * i, 0)).save(folder / f"class{k}" / f"{i}.png")
    return f"folder:{folder}"


def net_file(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path / 'net.py'}:make"


def test_empty_data_set(capsys: Capture, tmp_path: Path) -> None:
    data = make_images(tmp_path / "images", count=0)

    assert "no image" in refused(capsys, prune(tmp_path / "run", "digits_cnn", data=data))


def test_network_that_does_not_take_the_images(capsys: Capture, tmp_path: Path) -> None:
    message = refused(capsys, prune(tmp_path / "run", net_file(tmp_path)))

    assert "does not run on the images of digits, which have the shape [1, 8, 8]" in message
    assert "to have 3 channels" in message
    assert not (tmp_path / "run" / "dense").exists()


def test_batches_of_one_image_where_they_cannot_be_normalized(
    capsys: Capture, tmp_path: Path
) -> None:
    data = make_images(tmp_path / "images")
    arguments = prune(tmp_path / "run", net_file(tmp_path), "--image-size", "16", data=data)

    message = refused(capsys, [*arguments, "--batch-size", "1"])

    assert "single value a channel" in message
    assert "at least 2 images" in message


def test_weights_that_are_not_numbers(capsys: Capture, tmp_path: Path) -> None:
    state = load_network("digits_cnn", num_classes=10).model.state_dict()
    state["conv2.weight"][0] = torch.nan
    torch.save(state, tmp_path / "w.pth")

    message = refused(
        capsys, prune(tmp_path / "run", "digits_cnn", "--weights", str(tmp_path / "w.pth"))
    )

    assert "conv2.weight holds NaN" in message


def test_saved_network_whose_weights_are_not_numbers(capsys: Capture, tmp_path: Path) -> None:
    network = load_network("digits_cnn", num_classes=10)
    with torch.no_grad():
        network.model.get_parameter("conv2.weight")[0] = torch.nan
    sentei.save_pretrained(network.model, tmp_path / "net", source=network.source)

    message = refused(capsys, prune(tmp_path / "run", str(tmp_path / "net")))

    assert "conv2.weight" in message
    assert "NaN" in message


def test_budget_below_what_the_floor_allows(capsys: Capture, tmp_path: Path) -> None:
    arguments = prune(tmp_path / "run", "digits_cnn")
    arguments[arguments.index("macs=0.5")] = "macs=0.001"

    message = refused(capsys, arguments)

    assert "cannot be met" in message
    assert "lower the floor" in message
    assert not (tmp_path / "run" / "plan.json").exists()


def test_image_that_cannot_be_read(capsys: Capture, tmp_path: Path) -> None:
    data = make_images(tmp_path / "images")
    for path in (tmp_path / "images").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])

    message = refused(capsys, prune(tmp_path / "run", net_file(tmp_path), data=data))

    assert "the image cannot be read" in message
    assert ".png" in message


def test_saved_network_that_was_altered(capsys: Capture, tmp_path: Path) -> None:
    network = load_network("digits_cnn", num_classes=10)
    sentei.save_pretrained(network.model, tmp_path / "net", source=network.source)
    weights = tmp_path / "net" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x00\x00\x80\x3f")

    assert "is torn or was altered" in refused(capsys, ["groups", str(tmp_path / "net")])


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1}'])
def test_plan_that_cannot_be_read(text: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3))
    graph = sentei.trace(model, torch.zeros(1, 3, 8, 8))

    with pytest.raises(PlanError, match=r"this is not a plan .*Plan\.to_json"):
        sentei.Plan.from_json(text, graph)


def test_group_that_does_not_exist() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3))
    before = copy.deepcopy(model.state_dict())

    with pytest.raises(sentei.PruningError, match="the graph has no group '9'"):
        sentei.plan_removal(sentei.trace(model, torch.zeros(1, 3, 8, 8)), {"9": [0]})
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x, **_: sentei.trace(x, m), "model is a Tensor; expected a Module"),
        (lambda m, **_: sentei.score(m, "l1"), "graph is a Sequential; expected a Graph"),
        (
            lambda graph, scores, **_: sentei.plan(scores, graph, budget="macs=0.5"),
            "graph is a Scores; expected a Graph",
        ),
        (
            lambda graph, scores, half, **_: sentei.plan(graph, scores, budget=half),
            r"budget is 0\.5; expected Budget\(macs=0\.5\)",
        ),
        (lambda m, x, half, **_: sentei.prune(m, x, budget=half), r"budget is 0\.5; expected"),
        (lambda m, plan, **_: sentei.apply(m, plan), "plan is a Sequential; expected a Plan"),
        (lambda m, plan, **_: sentei.mask(m, plan), "plan is a Sequential; expected a Plan"),
        (lambda m, x, plan, **_: sentei.verify(plan, m, m, x), "plan is a Sequential; expected"),
    ],
    ids=["trace", "score", "plan", "share", "prune", "apply", "mask", "verify"],
)
def test_arguments_of_another_kind_are_named(call: Callable[..., Any], message: str) -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)), torch.zeros(1, 3, 8, 8)
    graph = sentei.trace(model, x)
    scores = sentei.score(graph, "l1")
    plan = sentei.plan(graph, scores, budget="macs=0.5")

    with pytest.raises(TypeError, match=message):
        call(m=model, x=x, graph=graph, scores=scores, plan=plan, half=0.5)


def test_device_that_is_not_there(capsys: Capture, tmp_path: Path) -> None:
    message = refused(capsys, prune(tmp_path / "run", "digits_cnn", "--device", "cuda:7"))

    assert "device 'cuda:7' is not there" in message
    assert not (tmp_path / "run").exists()


def test_directory_that_cannot_be_written(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    message = refused(capsys, prune(tmp_path / "file" / "run", "digits_cnn"))

    assert "cannot be written" in message


def test_source_outside_sentei_is_not_run_unasked(capsys: Capture, tmp_path: Path) -> None:
    network = load_network(net_file(tmp_path), num_classes=10)
    metadata = {"input_shape": [3, 16, 16]}
    sentei.save_pretrained(
        network.model, tmp_path / "net", source=network.source, metadata=metadata
    )

    assert "not run unasked" in refused(capsys, ["groups", str(tmp_path / "net")])
    assert main(["groups", str(tmp_path / "net"), "--trust-code"]) == 0
