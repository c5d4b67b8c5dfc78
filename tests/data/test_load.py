"""Names, the user's own data, and ELPV."""

import importlib.util
from pathlib import Path

import pytest
import torch

from sentei.data import load_data
from sentei.data.base import num_samples
from sentei.errors import DataError, UnknownNameError

USER_CODE = """
import torch
from sentei.data import load_data

def part(count, channels=2):
    return [(torch.full((channels, 4, 5), float(i)), i % 3) for i in range(count)]

def mapping(seed: int = 0):
    return {"train": part(6 + seed), "val": part(3), "test": part(4)}

def named():
    return mapping() | {"class_names": ["a", "b", "c", "d"]}

def splits(image_size=8):
    return load_data("digits", image_size=image_size)

class Noise:
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return torch.rand(2, 4, 5), 0

def hollow():
    from dataclasses import replace
    return replace(load_data("digits"), test=[])

def everything(**options):
    channels = options.get("in_channels", 2)
    return {"train": part(6 + options["seed"], channels), "val": part(3), "test": part(4)}

def grey(in_channels):
    return load_data("digits")

def random():
    return mapping() | {"test": Noise()}

def no_test():
    return {"train": part(6), "val": part(3)}

def empty():
    return mapping() | {"val": []}

def flat():
    return mapping() | {"train": [(torch.ones(5), 0)]}

def unlabelled():
    return mapping() | {"train": [torch.ones(2, 4, 5)] * 3}

def one_class():
    return mapping() | {"class_names": ["only"]}

def number():
    return 3
"""


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "data.py"
    path.write_text(USER_CODE)
    return path


@pytest.mark.parametrize(
    ("spec", "meant"),
    [("digit", "digits"), ("cifar:here", "cifar10"), ("foldr:images", "folder")],
)
def test_typo_is_answered(spec: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"Did you mean '{meant}'"):
        load_data(spec)


def test_image_size_out_of_range() -> None:
    with pytest.raises(ValueError, match="image_size is 0, expected >= 1"):
        load_data("digits", image_size=0)


@pytest.mark.parametrize("name", ["digits", "elpv"])
def test_data_without_a_location(name: str) -> None:
    with pytest.raises(DataError, match=f"this data set has no location; write '{name}'"):
        load_data(f"{name}:here")


def test_mapping_gives_shape_classes_and_sizes(user_file: Path) -> None:
    splits = load_data(f"{user_file}:mapping")

    assert splits.input_shape == (2, 4, 5)
    assert splits.class_names == ("0", "1", "2")
    assert [len(b) for _, b in splits.loader("test", batch_size=3)] == [3, 1]


def test_mapping_names_its_classes(user_file: Path) -> None:
    assert load_data(f"{user_file}:named").class_names == ("a", "b", "c", "d")


def test_batches_of_the_users_data_are_collated(user_file: Path) -> None:
    images, labels = next(iter(load_data(f"{user_file}:mapping").loader("val", batch_size=3)))

    assert images[:, 0, 0, 0].tolist() == [0.0, 1.0, 2.0]
    assert labels.tolist() == [0, 1, 2]


def test_factory_receives_the_seed(user_file: Path) -> None:
    loader = load_data(f"{user_file}:mapping", seed=3).loader("train", batch_size=100)

    assert len(next(iter(loader))[1]) == 9


def test_factory_may_return_splits(user_file: Path) -> None:
    assert load_data(f"{user_file}:splits", image_size=12).input_shape == (1, 12, 12)


def test_digest_of_random_data_is_stable(user_file: Path) -> None:
    state = torch.get_rng_state()
    spec = f"{user_file}:random"

    assert load_data(spec).digest == load_data(spec).digest
    assert torch.equal(torch.get_rng_state(), state)


def test_digest_changes_with_the_users_data(user_file: Path) -> None:
    spec = f"{user_file}:mapping"

    assert load_data(spec).digest != load_data(spec, seed=1).digest


def test_a_factory_of_any_keywords_receives_all_options(user_file: Path) -> None:
    splits = load_data(f"{user_file}:everything", in_channels=3, seed=2)

    assert splits.input_shape == (3, 4, 5)
    assert num_samples(splits.train) == 8


def test_wanted_channels_must_be_there(user_file: Path) -> None:
    with pytest.raises(DataError, match="no parameter in_channels; add it, or return images"):
        load_data(f"{user_file}:mapping", in_channels=3)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("no_test", "the factory's mapping has no test"),
        ("empty", "val is empty; every part needs images"),
        ("flat", r"is torch.float32 \[5\], expected a float tensor \[C, H, W\]"),
        ("unlabelled", "is not a pair of image and class index"),
        ("one_class", "1 class, expected at least 2"),
        ("number", "returned int, expected a DataSplits or a mapping"),
    ],
)
def test_unusable_data_are_refused(user_file: Path, factory: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(f"{user_file}:{factory}")


def test_empty_part_of_the_users_splits(user_file: Path) -> None:
    with pytest.raises(DataError, match="test is empty; every part needs images"):
        load_data(f"{user_file}:hollow")


def test_splits_of_other_channels_are_refused(user_file: Path) -> None:
    with pytest.raises(DataError, match="images have 1 channels, 3 were asked"):
        load_data(f"{user_file}:grey", in_channels=3)


def test_factory_does_not_exist(user_file: Path) -> None:
    with pytest.raises(
        UnknownNameError, match=r"has no function 'mappings'. Did you mean 'mapping'"
    ):
        load_data(f"{user_file}:mappings")


def test_file_that_fails_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import a_module_that_is_not_there\n")

    with pytest.raises(DataError, match="cannot be imported: ModuleNotFoundError"):
        load_data(f"{path}:mapping")


def test_missing_elpv_names_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    with pytest.raises(DataError, match=r"pip install 'sentei\[elpv\]'"):
        load_data("elpv")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("elpv_dataset") is None, reason="the images are not installed"
)
def test_elpv_has_all_cells_in_two_classes() -> None:
    splits = load_data("elpv", image_size=32)

    labels = torch.cat(
        [y for part in ("train", "val", "test") for _, y in splits.loader(part, batch_size=512)]
    )
    # The package's table has 1,508 and 295 cells at probability 0 and 1/3, 106 and 715 at 2/3 and 1.
    assert torch.bincount(labels).tolist() == [1803, 821]
    assert splits.input_shape == (3, 32, 32)
