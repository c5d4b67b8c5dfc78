"""Weight files: what is accepted, and what each refusal says."""

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from sentei.errors import ModelError
from sentei.models import MODELS, load_model

State = dict[str, Tensor]


def digits_state(**options: int) -> State:
    return dict(MODELS["digits_cnn"](**options).state_dict())


def save(path: Path, state: State) -> Path:
    safetensors.torch.save_file(state, path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Callable[[State], Path]:
    return lambda state: save(tmp_path / "weights.safetensors", state)


def assert_loaded(weights: Path, state: State) -> None:
    loaded = load_model("digits_cnn", weights=weights).model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_safetensors_are_loaded(file: Callable[[State], Path]) -> None:
    state = digits_state()

    assert_loaded(file(state), state)


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_torch_files_are_loaded(tmp_path: Path, suffix: str) -> None:
    state, path = digits_state(), tmp_path / f"weights{suffix}"
    torch.save(state, path)

    assert_loaded(path, state)


def test_nested_state_dict_of_data_parallel_is_loaded(tmp_path: Path) -> None:
    state, path = digits_state(), tmp_path / "weights.pth"
    torch.save({"epoch": 3, "state_dict": {f"module.{n}": t for n, t in state.items()}}, path)

    assert_loaded(path, state)


def test_batch_norm_counters_may_be_missing(file: Callable[[State], Path]) -> None:
    state = {n: t for n, t in digits_state().items() if not n.endswith("num_batches_tracked")}

    assert_loaded(file(state), state)


def test_number_of_classes_is_taken_from_the_file(file: Callable[[State], Path]) -> None:
    state = digits_state(num_classes=4)

    loaded = load_model("digits_cnn", weights=file(state))

    assert loaded.source["kwargs"] == {"num_classes": 4}
    assert torch.equal(loaded.model.state_dict()["linear.weight"], state["linear.weight"])


@pytest.mark.parametrize("num_classes", [3, 11, 12])
def test_other_classifier_is_skipped_with_a_note(
    file: Callable[[State], Path], num_classes: int
) -> None:
    state = digits_state()

    loaded = load_model("digits_cnn", weights=file(state), num_classes=num_classes)

    assert sorted(note.split(":")[0] for note in loaded.notes) == ["linear.bias", "linear.weight"]
    assert torch.equal(loaded.model.state_dict()["conv4.weight"], state["conv4.weight"])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such file"):
        load_model("digits_cnn", weights=tmp_path / "nothing.pth")


def test_other_suffix(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.touch()

    with pytest.raises(ModelError, match=r"expected a .safetensors, .pth or .pt file"):
        load_model("digits_cnn", weights=path)


@pytest.mark.parametrize("length", [0, 5, 1000])
def test_torn_safetensors(file: Callable[[State], Path], length: int) -> None:
    path = file(digits_state())
    path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(ModelError, match="the file is torn"):
        load_model("digits_cnn", weights=path)


@pytest.mark.parametrize("length", [0, 5, 1000])
def test_torn_torch_file(tmp_path: Path, length: int) -> None:
    path = tmp_path / "weights.pth"
    torch.save(digits_state(), path)
    path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(ModelError, match="the file is torn"):
        load_model("digits_cnn", weights=path)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(MODELS["digits_cnn"](), path)

    with pytest.raises(ModelError, match="Python objects, which are never loaded"):
        load_model("digits_cnn", weights=path)


def test_entry_that_is_no_tensor(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"epoch": 3}, path)

    with pytest.raises(ModelError, match="entry 'epoch' is int, expected a tensor"):
        load_model("digits_cnn", weights=path)


def test_content_that_is_no_mapping(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(torch.ones(2), path)

    with pytest.raises(ModelError, match="expected a mapping of names to tensors"):
        load_model("digits_cnn", weights=path)


def test_keys_that_do_not_fit(file: Callable[[State], Path]) -> None:
    state = digits_state()
    state["head.weight"] = state.pop("linear.weight").clone()

    with pytest.raises(ModelError, match=r"missing linear.weight; unexpected head.weight"):
        load_model("digits_cnn", weights=file(state))


def test_at_most_five_names_are_listed(file: Callable[[State], Path]) -> None:
    with pytest.raises(ModelError, match=r"bn1.running_var and 16 more; unexpected none"):
        load_model("digits_cnn", weights=file({"linear.weight": torch.ones(10, 32)}))


def test_shape_that_does_not_fit(file: Callable[[State], Path]) -> None:
    state = digits_state() | {"conv1.weight": torch.ones(16, 3, 3, 3)}

    with pytest.raises(ModelError, match=r"conv1.weight has shape \[16, 3, 3, 3\] in the file and"):
        load_model("digits_cnn", weights=file(state))


def test_pruned_file_is_sent_to_load_pretrained(file: Callable[[State], Path]) -> None:
    state = (
        digits_state()
        | {
            "conv3.weight": torch.ones(8, 32, 3, 3),
            "conv4.weight": torch.ones(32, 8, 3, 3),
        }
        | {f"bn3.{n}": torch.ones(8) for n in ("weight", "bias", "running_mean", "running_var")}
    )

    with pytest.raises(ModelError, match="already pruned network, open it with"):
        load_model("digits_cnn", weights=file(state))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(file: Callable[[State], Path], value: float) -> None:
    state = digits_state()
    state["conv2.weight"] = state["conv2.weight"].clone()
    state["conv2.weight"][3, 2, 1, 0] = value

    with pytest.raises(ModelError, match=r"conv2.weight holds NaN or infinite values"):
        load_model("digits_cnn", weights=file(state))
