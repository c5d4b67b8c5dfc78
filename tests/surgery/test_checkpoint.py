"""Pruned networks on disk: what comes back, and which files are refused."""

import functools
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from sentei.errors import CheckpointError
from sentei.graph import trace
from sentei.models import load_model
from sentei.surgery import apply, plan_removal
from sentei.surgery.checkpoint import (
    load_pretrained,
    read_metadata,
    read_source,
    save_pretrained,
)
from tests.support import nets
from tests.support.compare import assert_same, some_removal, tensors

USER_FILE = Path(__file__).with_name("user_network.py")


def pruned(name: str) -> tuple[nn.Module, Any, Callable[[], nn.Module]]:
    """Return a pruned network, its inputs, and a factory of the unpruned class."""
    case = nets.case(name)
    graph = trace(case.model, case.inputs)
    small = apply(plan_removal(graph, some_removal(graph)), case.model)
    return small, case.inputs, lambda: nets.fill(nets.case(name).model, seed=7)


def pruned_digits(*, removed: int = 3) -> nn.Module:
    loaded = load_model("digits_cnn")
    model = nets.fill(loaded.model)
    graph = trace(model, nets.example(2, 1, 8, 8))
    return apply(plan_removal(graph, {"conv1": range(removed), "conv2": [0, 5]}), model)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_pretrained(pruned_digits(), tmp_path, source="digits_cnn", metadata={"macs": 12})


def edit(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# What comes back -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", nets.NAMES)
def test_round_trip_computes_the_same(name: str, tmp_path: Path) -> None:
    small, inputs, factory = pruned(name)

    loaded = load_pretrained(save_pretrained(small, tmp_path, source=None), factory=factory)

    assert_same(loaded, small, inputs, rtol=0, atol=0)
    assert repr(loaded) == repr(small)


@pytest.mark.parametrize("name", ["attention", "pad", "split", "tied", "grouped"])
def test_loaded_network_can_be_pruned_and_saved_again(name: str, tmp_path: Path) -> None:
    small, inputs, factory = pruned(name)
    loaded = load_pretrained(save_pretrained(small, tmp_path, source=None), factory=factory)
    graph = trace(loaded, inputs)
    smaller = apply(plan_removal(graph, some_removal(graph, ratio=0.3)), loaded)

    again = load_pretrained(save_pretrained(smaller, tmp_path, source=None), factory=factory)

    assert_same(again, smaller, inputs, rtol=0, atol=0)
    assert vars(again)["_sentei_history"] == vars(smaller)["_sentei_history"]
    assert vars(again)["_sentei_edits"] == vars(smaller)["_sentei_edits"]


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("resnet20", (1, 3, 32, 32)),
        ("timm:mobilenetv3_small_050", (1, 3, 64, 64)),
        ("torchvision:squeezenet1_1", (1, 3, 64, 64)),
        (f"{USER_FILE}:build", (1, 3, 8, 8)),
    ],
)
def test_class_is_rebuilt_from_its_source(
    spec: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    source = load_model(spec)
    model = source.model.double().eval()
    graph = trace(model, nets.example(*shape))
    small = apply(plan_removal(graph, some_removal(graph)), model)

    save_pretrained(small, tmp_path, source=source.source)
    loaded = load_pretrained(tmp_path, trust_code=True)

    x = nets.example(*shape)
    torch.testing.assert_close(loaded(x), small(x), rtol=0, atol=0)
    assert type(loaded).__qualname__ == type(small).__qualname__


def test_another_process_computes_the_same_bits(tmp_path: Path) -> None:
    small = pruned_digits().float()
    images = nets.example(4, 1, 8, 8).float()
    save_pretrained(small, tmp_path, source="digits_cnn")
    safetensors.torch.save_file({"images": images}, tmp_path / "images.safetensors")
    script = (
        "import sys, safetensors.torch as st; from pathlib import Path\n"
        "from sentei.surgery.checkpoint import load_pretrained\n"
        "d = Path(sys.argv[1]); model = load_pretrained(d)\n"
        "out = model(st.load_file(d / 'images.safetensors')['images']).detach()\n"
        "st.save_file({'out': out}, d / 'out.safetensors')\n"
    )

    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)

    found = safetensors.torch.load_file(tmp_path / "out.safetensors")["out"]
    assert torch.equal(found, small(images))


def test_loaded_network_is_in_eval_mode(saved: Path) -> None:
    assert not any(m.training for m in load_pretrained(saved).modules())


def test_loading_leaves_the_random_state_alone(saved: Path) -> None:
    before = torch.get_rng_state()

    load_pretrained(saved)

    assert torch.equal(torch.get_rng_state(), before)


def test_tied_parameters_are_stored_once_and_tied_again(tmp_path: Path) -> None:
    small, _, factory = pruned("tied")

    save_pretrained(small, tmp_path, source=None)
    loaded = load_pretrained(tmp_path, factory=factory)

    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert {"embed.weight", "head.weight"} & stored.keys() == {"embed.weight"}
    assert isinstance(loaded, nets.TiedNet)
    assert loaded.head.weight is loaded.embed.weight


@pytest.mark.parametrize("tied", [False, True])
def test_ties_are_those_of_the_saved_network(tied: bool, tmp_path: Path) -> None:
    def build(*, tie: bool) -> nn.Module:
        layers = [nn.Linear(3, 3, bias=False) for _ in range(2)]
        if tie:
            layers[1].weight = layers[0].weight
        return nets.fill(nn.Sequential(*layers))

    model = build(tie=tied)
    save_pretrained(model, tmp_path, source=None)

    loaded = load_pretrained(tmp_path, factory=lambda: build(tie=not tied))

    assert ("1.weight" not in dict(loaded.named_parameters())) == tied
    assert_same(loaded, model, nets.example(2, 3), rtol=0, atol=0)


def test_buffers_that_are_not_persistent_come_back_as_such(tmp_path: Path) -> None:
    small, _, factory = pruned("buffers")

    loaded = load_pretrained(save_pretrained(small, tmp_path, source=None), factory=factory)

    assert torch.equal(tensors(loaded)["gain"], tensors(small)["gain"])
    assert "gain" not in loaded.state_dict()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_comes_back(dtype: torch.dtype, tmp_path: Path) -> None:
    small = pruned_digits().to(dtype)

    loaded = load_pretrained(save_pretrained(small, tmp_path, source="digits_cnn"))

    torch.testing.assert_close(tensors(loaded), tensors(small), rtol=0, atol=0)


def test_frozen_parameters_come_back_frozen(tmp_path: Path) -> None:
    small = pruned_digits()
    small.get_submodule("conv1").requires_grad_(False)

    loaded = load_pretrained(save_pretrained(small, tmp_path, source="digits_cnn"))

    flags = {n: p.requires_grad for n, p in loaded.named_parameters()}
    assert flags == {n: n != "conv1.weight" for n in flags}


def test_buffer_that_the_class_starts_without_comes_back(tmp_path: Path) -> None:
    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.register_buffer("scale", None)

    model = Lazy()
    model.scale = torch.tensor([2.5])

    loaded = load_pretrained(save_pretrained(model, tmp_path, source=None), factory=Lazy)

    assert tensors(loaded)["scale"].tolist() == [2.5]


def test_views_of_one_storage_are_stored_apart(tmp_path: Path) -> None:
    whole = torch.arange(12.0)
    model = nn.Module()
    model.register_buffer("first", whole[:4])
    model.register_buffer("second", whole[4:])

    save_pretrained(model, tmp_path, source=None)

    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert stored["first"].tolist() == [0, 1, 2, 3]
    assert stored["second"].tolist() == [4, 5, 6, 7, 8, 9, 10, 11]


def test_source_and_metadata_can_be_read_alone(saved: Path) -> None:
    assert read_metadata(saved) == {"macs": 12}
    assert read_source(saved) == {"spec": "digits_cnn", "kwargs": {}}


def test_weights_are_an_ordinary_safetensors_file(saved: Path) -> None:
    stored = safetensors.torch.load_file(saved / "model.safetensors")

    torch.testing.assert_close(stored, tensors(pruned_digits()), rtol=0, atol=0)


# Writing ---------------------------------------------------------------------------------------


def test_only_the_two_files_are_left(saved: Path) -> None:
    assert sorted(p.name for p in saved.iterdir()) == ["config.json", "model.safetensors"]


def test_saving_that_fails_leaves_the_old_network(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_pretrained(saved)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(CheckpointError, match=r"cannot be written: .*No space left on device"):
        save_pretrained(pruned_digits(removed=5), saved, source="digits_cnn")

    torch.testing.assert_close(tensors(load_pretrained(saved)), tensors(before), rtol=0, atol=0)
    assert sorted(p.name for p in saved.iterdir()) == ["config.json", "model.safetensors"]


def test_saving_cut_between_the_two_files_is_noticed(saved: Path, tmp_path: Path) -> None:
    other = save_pretrained(pruned_digits(removed=5), tmp_path / "other", source="digits_cnn")

    (other / "model.safetensors").replace(saved / "model.safetensors")

    with pytest.raises(CheckpointError, match=r"model.safetensors is torn or was altered"):
        load_pretrained(saved)


def test_extra_state_is_refused(tmp_path: Path) -> None:
    class Counting(nn.Linear):
        def get_extra_state(self) -> int:
            return 3

    with pytest.raises(CheckpointError, match="0: Counting keeps extra state"):
        save_pretrained(nn.Sequential(Counting(2, 2)), tmp_path, source=None)


@pytest.mark.parametrize("metadata", [{"a": float("nan")}, {"a": object()}, {"a": {1, 2}}])
def test_metadata_that_is_no_json_is_refused(metadata: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="source and metadata must be JSON"):
        save_pretrained(nn.Linear(2, 2), tmp_path, source=None, metadata=metadata)

    assert list(tmp_path.iterdir()) == []


def test_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(CheckpointError, match=r"cannot be written: .*File exists"):
        save_pretrained(nn.Linear(2, 2), tmp_path / "file", source=None)


# Damaged files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()

    with pytest.raises(CheckpointError, match=f"{name} cannot be read .No such file"):
        load_pretrained(saved)


def test_torn_configuration_is_refused(saved: Path) -> None:
    path = saved / "config.json"
    path.write_text(path.read_text()[:-200])

    with pytest.raises(CheckpointError, match=r"config.json is torn"):
        load_pretrained(saved)


@pytest.mark.parametrize("place", [5, -1])
def test_altered_weights_are_refused(saved: Path, place: int) -> None:
    path = saved / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match="torn or was altered: its SHA-256 digest is"):
        load_pretrained(saved)


def test_torn_weights_are_refused(saved: Path) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])

    with pytest.raises(CheckpointError, match=r"model.safetensors is torn"):
        load_pretrained(saved)


def test_configuration_that_states_other_tensors_is_refused(saved: Path) -> None:
    entries = json.loads((saved / "config.json").read_text())["tensors"]
    entries[0]["shape"][0] += 1
    edit(saved, tensors=entries)

    with pytest.raises(CheckpointError, match=r"holds other tensors .* conv1.weight \(1 differ\)"):
        load_pretrained(saved)


def test_file_that_is_no_safetensors_is_refused(saved: Path) -> None:
    (saved / "model.safetensors").write_bytes(b"something else")
    edit(saved, sha256=hashlib.sha256(b"something else").hexdigest())

    with pytest.raises(CheckpointError, match="is no safetensors file"):
        load_pretrained(saved)


@pytest.mark.parametrize("version", [None, 0, 2, "1"])
def test_other_format_version_is_refused(saved: Path, version: object) -> None:
    edit(saved, format_version=version)

    with pytest.raises(CheckpointError, match=rf"format version {version}, .* reads version 1"):
        load_pretrained(saved)


@pytest.mark.parametrize("text", ["[]", "3", "null", "{}"])
def test_other_json_is_refused(saved: Path, text: str) -> None:
    (saved / "config.json").write_text(text)

    with pytest.raises(CheckpointError, match="has format version None"):
        load_pretrained(saved)


def test_unknown_and_missing_keys_are_named(saved: Path) -> None:
    document = json.loads((saved / "config.json").read_text())
    del document["edits"]
    (saved / "config.json").write_text(json.dumps(document | {"hook": "os.system"}))

    with pytest.raises(CheckpointError, match=r"unknown keys \['hook'\] and lacks \['edits'\]"):
        load_pretrained(saved)


TENSOR = {"names": ["a"], "shape": [1], "dtype": "float32", "kind": "param", "trainable": True}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("source", 3),
        ("sha256", None),
        ("metadata", []),
        ("edits", []),
        ("edits", {"a|b|0": "import os"}),
        ("edits", {"a|b|0": True}),
        ("edits", {"a": 1}),
        ("history", {}),
        ("history", [3]),
        ("tensors", {}),
        ("tensors", [TENSOR | {"names": []}]),
        ("tensors", [TENSOR | {"names": [3]}]),
        ("tensors", [TENSOR | {"shape": [1.0]}]),
        ("tensors", [TENSOR | {"dtype": 3}]),
        ("tensors", [TENSOR | {"kind": "code"}]),
        ("tensors", [TENSOR | {"trainable": 1}]),
        ("tensors", [TENSOR | {"more": 1}]),
    ],
)
def test_values_of_a_wrong_type_are_refused(saved: Path, key: str, value: object) -> None:
    edit(saved, **{key: value})

    with pytest.raises(CheckpointError, match="was altered: a value has a wrong type"):
        load_pretrained(saved)


# Wrong sources ---------------------------------------------------------------------------------


def test_network_saved_without_a_source_needs_a_factory(tmp_path: Path) -> None:
    save_pretrained(nn.Linear(2, 2), tmp_path, source=None)

    with pytest.raises(CheckpointError, match="saved without a source; pass factory="):
        load_pretrained(tmp_path)


def test_source_that_builds_another_network_is_refused(saved: Path) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"builds another network \(Linear\): the file has conv1.weight, bn1.weight, "
        r"bn1.bias and \d+ more that it has not; it has weight, bias that the file has not",
    ):
        load_pretrained(saved, factory=lambda: nn.Linear(2, 2))


def test_unknown_source_is_refused(saved: Path) -> None:
    edit(saved, source={"spec": "digits_cn", "kwargs": {}})

    with pytest.raises(CheckpointError, match=r"cannot be built from its source: .*digits_cnn"):
        load_pretrained(saved)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: nn.Conv1d(3, 6, 1), r"weight has shape \[4, 3, 1, 1\] in the file and \[6, 3, 1\]"),
        (lambda: nn.Conv2d(3, 6, 3), r"weight has shape \[4, 3, 1, 1\] in the file and \[6, 3, 3, 3\]"),
        (lambda: nn.Conv2d(3, 3, 1), r"weight has shape \[4, 3, 1, 1\] in the file and \[3, 3, 1, 1\]"),
    ],
)  # fmt: skip
def test_shapes_that_no_removal_leads_to_are_refused(
    factory: Callable[[], nn.Module], message: str, tmp_path: Path
) -> None:
    save_pretrained(nn.Conv2d(3, 4, 1), tmp_path, source=None)

    with pytest.raises(CheckpointError, match=message):
        load_pretrained(tmp_path, factory=factory)


@pytest.mark.parametrize("label", ["conv|missing|-1", "nowhere|sizes|0", "|sizes|9", "|forward|-1"])
def test_edit_of_an_attribute_the_class_lacks_is_refused(label: str, tmp_path: Path) -> None:
    small, _, factory = pruned("split")
    save_pretrained(small, tmp_path, source=None)
    edit(tmp_path, edits={label: 3})

    with pytest.raises(CheckpointError, match="which the network that the source builds does not"):
        load_pretrained(tmp_path, factory=factory)


def test_users_code_runs_only_when_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched = tmp_path / "imported"
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1))
    save_pretrained(model, tmp_path, source=f"{USER_FILE}:build")
    monkeypatch.setenv("SENTEI_TEST_IMPORTED", str(touched))

    with pytest.raises(CheckpointError, match=r"not run unasked; .* pass trust_code=True"):
        load_pretrained(tmp_path)
    assert not touched.exists()

    load_pretrained(tmp_path, trust_code=True)
    assert touched.exists()


def test_factory_replaces_the_source(tmp_path: Path) -> None:
    model = nn.Conv2d(3, 4, 1)
    save_pretrained(model, tmp_path, source=f"{USER_FILE}:build")

    loaded = load_pretrained(tmp_path, factory=functools.partial(nn.Conv2d, 3, 6, 1))

    assert repr(loaded) == repr(model)
    assert torch.equal(tensors(loaded)["weight"], model.weight)
