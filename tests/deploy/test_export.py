"""Exported files compute what the model computes, and appear whole or not at all."""

import errno
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from torch import Tensor, nn

from sentei.deploy import Exported, export_onnx, export_openvino, export_torch
from sentei.errors import ExportError

EXAMPLE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
OTHER = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def tiny_net() -> nn.Sequential:
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )
    net.load_state_dict(
        {
            name: torch.linspace(0.2, 1.7, value.numel()).cos().reshape(value.shape).to(value)
            if not name.endswith("running_var")
            else torch.linspace(0.5, 2.0, 6)
            for name, value in net.state_dict().items()
        }
    )
    return net


class OneBatch(nn.Module):
    """Runs at a batch of 4 alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.ones(4 if x.shape[0] == 4 else 7, 1, 1, 1)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


class Squeezing(nn.Module):
    """Returns a tensor whose number of dimensions depends on the batch size."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3), keepdim=True).squeeze()


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, scale: Tensor) -> dict[str, Any]:
        return {"sum": x + scale, "others": (x * 2, scale - 1)}


def expected(net: nn.Module, x: Tensor) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        array: np.ndarray[Any, Any] = net.eval()(x).numpy()
    return array


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_onnx(tiny_net(), EXAMPLE, tmp_path_factory.mktemp("onnx") / "net.onnx")


def test_the_onnx_file_computes_what_the_model_computes_at_another_batch(
    exported: Exported,
) -> None:
    session = onnxruntime.InferenceSession(exported.path)

    (found,) = session.run(None, {session.get_inputs()[0].name: OTHER.numpy()})

    np.testing.assert_allclose(found, expected(tiny_net(), OTHER), rtol=1e-5, atol=1e-6)


def test_the_onnx_file_stands_alone(exported: Exported) -> None:
    assert [file.name for file in exported.path.parent.iterdir()] == ["net.onnx"]
    assert exported.num_bytes == exported.path.stat().st_size


def test_the_result_tells_what_the_onnx_file_is(exported: Exported) -> None:
    model = onnx.load(exported.path)

    assert exported.dynamic_batch
    assert exported.static_reason == ""
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert exported.opset == model.opset_import[0].version
    assert exported.max_abs_difference < 1e-5


def test_the_onnx_file_does_not_tell_where_the_source_code_lies(exported: Exported) -> None:
    assert b".py" not in exported.path.read_bytes()


def test_export_keeps_the_mode_and_is_silent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    net = tiny_net()
    net[1].eval()

    export_onnx(net, EXAMPLE, tmp_path / "net.onnx")

    assert net.training
    assert not net[1].training
    assert capfd.readouterr() == ("", "")


def test_the_asked_opset_is_written(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"

    assert export_onnx(nn.ReLU(), EXAMPLE, path, opset=19, dynamic_batch=False).opset == 19
    assert onnx.load(path).opset_import[0].version == 19


def test_an_opset_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot write ONNX opset 99"):
        export_onnx(nn.ReLU(), EXAMPLE, tmp_path / "net.onnx", opset=99, dynamic_batch=False)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("export", [export_onnx, export_torch])
def test_a_model_of_one_batch_size_is_exported_for_it_and_says_so(
    tmp_path: Path, export: Callable[..., Exported]
) -> None:
    result = export(OneBatch(), EXAMPLE.repeat(4, 1, 1, 1), tmp_path / "net")

    assert not result.dynamic_batch
    assert "batch" in result.static_reason


def test_a_static_batch_is_exported_when_asked_for(tmp_path: Path) -> None:
    result = export_onnx(nn.ReLU(), EXAMPLE, tmp_path / "net.onnx", dynamic_batch=False)

    assert (result.dynamic_batch, result.static_reason) == (False, "")
    assert onnxruntime.InferenceSession(result.path).get_inputs()[0].shape == [1, 3, 8, 8]


@pytest.mark.parametrize("export", [export_onnx, export_torch])
def test_a_branch_on_values_is_refused_with_the_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], export: Callable[..., Exported]
) -> None:
    with pytest.raises(ExportError, match="does not export Branching: GuardOnDataDependent"):
        export(Branching(), EXAMPLE, tmp_path / "net")

    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("export", [export_onnx, export_torch])
def test_a_file_that_disagrees_is_not_written(
    tmp_path: Path, export: Callable[..., Exported]
) -> None:
    (tmp_path / "net").write_text("old")

    with pytest.raises(ExportError, match=r"disagrees with the model: output 0 .* differs by up"):
        export(Noisy(), EXAMPLE, tmp_path / "net")

    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"net": "old"}


@pytest.mark.parametrize("export", [export_onnx, export_torch])
def test_several_inputs_and_nested_outputs_are_exported(
    tmp_path: Path, export: Callable[..., Exported]
) -> None:
    result = export(TwoInputs(), (EXAMPLE, EXAMPLE.flip(-1)), tmp_path / "net")

    assert result.dynamic_batch
    assert result.max_abs_difference == 0


def export_module_to_openvino(model: nn.Module, example: Tensor, path: Path) -> Exported:
    return export_openvino(model, path, example=example)


@pytest.mark.parametrize("export", [export_onnx, export_torch, export_module_to_openvino])
def test_a_full_disk_is_an_export_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, export: Callable[..., Exported]
) -> None:
    def full(source: Path, target: Path) -> None:
        if target.is_relative_to(tmp_path):
            raise OSError(errno.ENOSPC, "No space left on device")
        source.rename(target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ExportError, match="No space left on device"):
        export(nn.ReLU(), EXAMPLE, tmp_path / "net")

    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("export", [export_onnx, export_torch, export_module_to_openvino])
def test_an_unwritable_path_is_an_export_error(
    tmp_path: Path, export: Callable[..., Exported]
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ExportError, match="could not be written"):
        export(nn.ReLU(), EXAMPLE, tmp_path / "file" / "net")


def test_the_torch_program_computes_what_the_model_computes_at_another_batch(
    tmp_path: Path,
) -> None:
    result = export_torch(tiny_net(), EXAMPLE, tmp_path / "net.pt2")

    program = torch.export.load(tmp_path / "net.pt2").module()
    np.testing.assert_array_equal(expected_of(program, OTHER), expected(tiny_net(), OTHER))
    assert (result.dynamic_batch, result.max_abs_difference, result.opset) == (True, 0, None)


def expected_of(program: Callable[[Tensor], Tensor], x: Tensor) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        array: np.ndarray[Any, Any] = program(x).numpy()
    return array


def test_the_torch_program_holds_neither_example_nor_source_code(tmp_path: Path) -> None:
    export_torch(tiny_net(), EXAMPLE, tmp_path / "net.pt2")

    with zipfile.ZipFile(tmp_path / "net.pt2") as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        graph = archive.read(next(name for name in sizes if name.endswith("model.json")))
    assert [size for name, size in sizes.items() if "sample_inputs" in name] == [0]
    assert b".py" not in graph


def test_openvino_computes_what_the_model_computes_at_another_batch(tmp_path: Path) -> None:
    result = export_openvino(tiny_net(), tmp_path, example=EXAMPLE)

    network = openvino.Core().compile_model(
        tmp_path / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    np.testing.assert_allclose(
        network([OTHER.numpy()])[0], expected(tiny_net(), OTHER), rtol=1e-5, atol=1e-6
    )
    assert {file.name for file in tmp_path.iterdir()} == {"model.xml", "model.bin"}
    assert result.num_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())


def test_an_onnx_file_becomes_openvino_of_the_same_name(exported: Exported, tmp_path: Path) -> None:
    result = export_openvino(exported.path, tmp_path)

    assert result.path == tmp_path / "net.xml"
    assert result.dynamic_batch


def test_openvino_fixes_the_batch_where_it_cannot_leave_it_open(tmp_path: Path) -> None:
    result = export_openvino(Squeezing(), tmp_path, example=OTHER)

    assert not result.dynamic_batch
    assert "OpenVINO cannot open it" in result.static_reason
    assert list(openvino.Core().read_model(result.path).inputs[0].shape) == [5, 3, 8, 8]


def test_float16_weights_halve_the_weights(exported: Exported, tmp_path: Path) -> None:
    export_openvino(exported.path, tmp_path / "full")
    export_openvino(exported.path, tmp_path / "half", compress_to_fp16=True)

    full, half = ((tmp_path / name / "net.bin").stat().st_size for name in ("full", "half"))
    assert half < 0.6 * full


def test_openvino_of_a_module_needs_an_example(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"module ReLU without an example; give example="):
        export_openvino(nn.ReLU(), tmp_path)


def test_an_onnx_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_text("text")

    with pytest.raises(ExportError, match=r"net\.onnx: ONNX Runtime cannot open it"):
        export_openvino(tmp_path / "net.onnx", tmp_path / "out")


def test_integers_are_not_drawn_as_an_example(tmp_path: Path) -> None:
    tokens = torch.zeros(2, 3, dtype=torch.int64)
    path = export_onnx(nn.Embedding(4, 2), tokens, tmp_path / "net.onnx").path

    with pytest.raises(ValueError, match="no example can be drawn for the input"):
        export_openvino(path, tmp_path / "out")
