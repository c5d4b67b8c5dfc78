"""Specifications, sources and the errors of load_model."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import nn

from sentei.errors import ModelError, UnknownNameError
from sentei.models import build_from_source, load_model
from sentei.models.efficientnet_lite import find_packaged_file
from sentei.models.torchvision_models import import_torchvision

USER_CODE = """
from torch import nn
from neighbour import WIDTH

def tiny(num_classes: int = 4) -> nn.Module:
    return nn.Linear(WIDTH, num_classes)

def not_a_model() -> int:
    return 3
"""


def no_network(*_args: object, **_keywords: object) -> nn.Module:
    raise OSError("no route to host")


@pytest.fixture
def user_file(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "neighbour.py").write_text("WIDTH = 6\n")
    path = tmp_path / "model.py"
    path.write_text(USER_CODE)
    yield path
    sys.modules.pop("neighbour", None)


@pytest.mark.parametrize("spec", ["resnet20", "sentei:resnet20"])
def test_built_in_name_gives_its_input_shape(spec: str) -> None:
    assert load_model(spec).input_shape == (3, 32, 32)


def test_digits_network_takes_one_grey_channel() -> None:
    assert load_model("digits_cnn").input_shape == (1, 8, 8)


def test_in_channels_shows_in_the_input_shape() -> None:
    assert load_model("resnet20", in_channels=1).input_shape == (1, 32, 32)


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("digits_cnn", {"num_classes": 3, "in_channels": 2}),
        ("timm:mobilenetv3_small_050", {"num_classes": 3, "in_channels": 1}),
        ("torchvision:squeezenet1_1", {"num_classes": 3}),
    ],
)
def test_source_rebuilds_the_same_shapes_after_json(spec: str, options: dict[str, Any]) -> None:
    loaded = load_model(spec, **options)

    rebuilt = build_from_source(json.loads(json.dumps(loaded.source)))

    expected = {name: tensor.shape for name, tensor in loaded.model.state_dict().items()}
    assert {name: t.shape for name, t in rebuilt.state_dict().items()} == expected


def test_timm_input_shape_comes_from_its_configuration() -> None:
    assert load_model("timm:tf_efficientnet_lite1", in_channels=1).input_shape == (1, 240, 240)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("squeezenet1_1", (3, 224, 224)),
        ("r3d_18", None),
        ("lraspp_mobilenet_v3_large", (3, 224, 224)),
    ],
)
def test_torchvision_input_shape(name: str, shape: tuple[int, int, int] | None) -> None:
    assert load_model(f"torchvision:{name}").input_shape == shape


def test_import_torchvision_leaves_a_working_installation_alone() -> None:
    first = import_torchvision()

    assert import_torchvision() is first is sys.modules["torchvision"]


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("resnet21", "resnet20"),
        ("timm:resnet19", "resnet18"),
        ("torchvision:resnet19", "resnet18"),
        ("tim:resnet18", "timm"),
        ("torch.nn:Lineer", "Linear"),
    ],
)
def test_typo_is_answered(spec: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"Did you mean .*'{meant}'"):
        load_model(spec)


def test_missing_extra_names_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)

    with pytest.raises(ModelError, match=r"pip install 'sentei\[timm\]'"):
        load_model("timm:resnet18")


def test_missing_torchvision_names_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)

    with pytest.raises(ModelError, match=r"pip install 'sentei\[torchvision\]'"):
        load_model("torchvision:resnet18")


def test_torchvision_refuses_other_channels() -> None:
    with pytest.raises(ModelError, match="takes 3 channels, not 1"):
        load_model("torchvision:resnet18", in_channels=1)


def test_failed_timm_download_is_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import_torchvision()
    monkeypatch.setattr("timm.create_model", no_network)

    with pytest.raises(ModelError, match="no route to host; check the network"):
        load_model("timm:resnet18", pretrained=True)


def test_failed_torchvision_download_is_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import_torchvision()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)

    with pytest.raises(ModelError, match="no route to host"):
        load_model("torchvision:squeezenet1_1", pretrained=True)


def test_torchvision_weights_skip_another_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    published = load_model("torchvision:squeezenet1_1").model.state_dict()
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *_args, **_keywords: published
    )

    loaded = load_model("torchvision:squeezenet1_1", pretrained=True, num_classes=3)

    name = "features.3.squeeze.weight"
    assert torch.equal(loaded.model.state_dict()[name], published[name])
    assert [note.split(":")[0] for note in loaded.notes] == [
        "classifier.1.weight",
        "classifier.1.bias",
    ]


def test_user_network_without_classes_refuses_other_shapes(tmp_path: Path) -> None:
    path = tmp_path / "fixed.py"
    path.write_text("from torch import nn\n\ndef fixed():\n    return nn.Linear(6, 4)\n")
    weights = tmp_path / "weights.pth"
    torch.save(nn.Linear(6, 5).state_dict(), weights)

    with pytest.raises(ModelError, match=r"weight has shape \[5, 6\] in the file and \[4, 6\]"):
        load_model(f"{path}:fixed", weights=weights)


def test_built_in_network_has_no_pretrained_weights() -> None:
    with pytest.raises(ModelError, match="without pretrained weights; pass weights=FILE"):
        load_model("resnet20", pretrained=True)


def test_weights_and_pretrained_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        load_model("timm:resnet18", weights=Path("a.pth"), pretrained=True)


def test_number_of_classes_out_of_range() -> None:
    with pytest.raises(ValueError, match="num_classes is 0, expected an integer >= 1"):
        load_model("resnet20", num_classes=0)


def test_user_file_may_import_its_neighbour(user_file: Path) -> None:
    model = load_model(f"{user_file}:tiny", num_classes=5).model

    assert isinstance(model, nn.Linear)
    assert model.weight.shape == (5, 6)


def test_user_module_is_a_factory() -> None:
    assert isinstance(load_model("torch.nn:Identity").model, nn.Identity)


def test_user_factory_must_accept_the_option(user_file: Path) -> None:
    with pytest.raises(ModelError, match="cannot be called with in_channels=1"):
        load_model(f"{user_file}:tiny", in_channels=1)


def test_user_factory_must_return_a_module(user_file: Path) -> None:
    with pytest.raises(ModelError, match=r"returned int, expected a torch.nn.Module"):
        load_model(f"{user_file}:not_a_model")


def test_user_file_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="there is no file"):
        load_model(f"{tmp_path / 'nothing.py'}:tiny")


def test_user_file_that_fails_is_a_model_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("1 / 0\n")

    with pytest.raises(ModelError, match="cannot be imported: ZeroDivisionError"):
        load_model(f"{path}:tiny")


def test_source_never_runs_foreign_code_unasked(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "evil.py"
    path.write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")

    with pytest.raises(ModelError, match="is not run unasked"):
        build_from_source({"spec": f"{path}:factory", "kwargs": {}})
    assert not mark.exists()


def test_source_of_trusted_code_is_rebuilt(user_file: Path) -> None:
    source = load_model(f"{user_file}:tiny", num_classes=5).source

    assert isinstance(build_from_source(source, trust_code=True), nn.Linear)


@pytest.mark.parametrize(
    "source", [{}, {"spec": 3, "kwargs": {}}, {"spec": "resnet20", "kwargs": {"pretrained": True}}]
)
def test_malformed_source_is_refused(source: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="expected 'spec', a string"):
        build_from_source(source)


@pytest.mark.skipif(
    find_packaged_file("tf_efficientnet_lite0") is None, reason="the weights are not installed"
)
def test_packaged_efficientnet_lite_sees_a_palace_and_a_daisy() -> None:
    model = load_model("timm:tf_efficientnet_lite0", pretrained=True).model.eval()
    images = torch.stack([torch.from_numpy(i.copy()) for i in load_sample_images().images])
    x = images.permute(0, 3, 1, 2).float()[:, :, :, 100:527] / 127.5 - 1
    x = nn.functional.interpolate(x, size=(224, 224), mode="bilinear", antialias=True)

    with torch.inference_mode():
        classes = model(x).argmax(dim=1).tolist()

    assert classes == [698, 985]  # ImageNet: palace, daisy


@pytest.mark.skipif(
    find_packaged_file("tf_efficientnet_lite0") is None, reason="the weights are not installed"
)
def test_packaged_weights_skip_another_classifier() -> None:
    loaded = load_model("timm:tf_efficientnet_lite0", pretrained=True, num_classes=2)

    assert [note.split(":")[0] for note in loaded.notes] == [
        "classifier.weight",
        "classifier.bias",
    ]
