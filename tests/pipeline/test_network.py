"""Networks from specifications, saved directories and runs."""

from pathlib import Path

import pytest
import torch

import sentei
from sentei import RunConfig
from sentei.errors import CheckpointError, ModelError, UnknownNameError
from sentei.pipeline import load_network


def test_random_weights_follow_the_seed_alone() -> None:
    torch.manual_seed(1)
    one = load_network("digits_cnn", seed=5).model.state_dict()
    torch.manual_seed(2)
    other = load_network("digits_cnn", seed=5).model.state_dict()

    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_loading_leaves_the_random_state_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    load_network("digits_cnn")

    assert torch.rand(1) == expected


def test_network_without_weights_is_new() -> None:
    assert load_network("digits_cnn", num_classes=10).is_new


def test_saved_network_keeps_weights_source_and_size_of_images(tmp_path: Path) -> None:
    network = load_network("digits_cnn", num_classes=10)
    metadata = {"input_shape": [1, 8, 8]}
    sentei.save_pretrained(network.model, tmp_path, source=network.source, metadata=metadata)

    loaded = load_network(str(tmp_path))

    torch.testing.assert_close(loaded.model.state_dict(), network.model.state_dict())
    assert (loaded.source, loaded.input_shape, loaded.is_new) == (network.source, (1, 8, 8), False)


def test_run_stands_for_its_pruned_network(finished: RunConfig) -> None:
    run = load_network(finished.output).model
    model = load_network(f"{finished.output}/model").model

    torch.testing.assert_close(run.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_unfinished_run_has_no_network(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{}")

    with pytest.raises(CheckpointError, match="this run has no network yet"):
        load_network(str(tmp_path))


def test_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config.json cannot be read"):
        load_network(str(tmp_path))


def test_saved_network_takes_no_other_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a saved network and brings its weights"):
        load_network(str(tmp_path), pretrained=True)


def test_missing_directory_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"there is no directory .*nowhere"):
        load_network(str(tmp_path / "nowhere"))


def test_example_has_the_size_that_is_asked_for() -> None:
    network = load_network("digits_cnn")

    assert network.example().shape == (1, 1, 8, 8)
    assert network.example(image_size=12, batch_size=3).shape == (3, 1, 12, 12)


def test_example_of_a_network_that_tells_no_size_has_the_channels_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "grey.py"
    path.write_text("from torch import nn\ndef make():\n    return nn.Conv2d(1, 4, 3)\n")

    example = load_network(f"{path}:make").example(image_size=12)

    assert example.shape == (1, 1, 12, 12)


def test_unknown_size_of_images_is_a_clear_error(tmp_path: Path) -> None:
    network = load_network("digits_cnn")
    sentei.save_pretrained(network.model, tmp_path, source=network.source)

    with pytest.raises(ModelError, match=r"the size of its images is not known; .*--image-size"):
        load_network(str(tmp_path)).example()
