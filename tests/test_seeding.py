"""Streams are named, stable across machines, and know nothing of each other."""

import hashlib
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sentei.seeding import derive_seed, make_generator


def test_seed_is_the_first_63_bits_of_sha256() -> None:
    # Worked out with sha256sum on the bytes [0, "data", "shuffle"], and bc to halve 8 bytes.
    assert derive_seed(0, "data", "shuffle") == 2772754440791481969


@given(root=st.integers(), names=st.lists(st.text()))
def test_seed_agrees_with_hashlib(root: int, names: list[str]) -> None:
    digest = hashlib.sha256(json.dumps([root, *names]).encode()).hexdigest()

    assert derive_seed(root, *names) == int(digest[:16], 16) // 2


def test_seeds_of_different_paths_differ() -> None:
    paths: list[tuple[str, ...]] = [
        (), ("",), ("a",), ("b",), ("ab",), ("a", "b"), ("b", "a"), ("a b",), ("a,b",), ('a", "b',),
    ]  # fmt: skip
    seeds = {derive_seed(root, *path) for root in (-1, 0, 1, 2**63) for path in paths}

    assert len(seeds) == 4 * len(paths)


def test_same_name_gives_the_same_numbers() -> None:
    first, second = make_generator(3, "init"), make_generator(3, "init")

    assert torch.equal(torch.rand(8, generator=first), torch.rand(8, generator=second))


def test_streams_of_two_names_are_uncorrelated() -> None:
    a, b = (torch.randn(10_000, generator=make_generator(0, name)) for name in ("a", "b"))

    # The correlation of independent samples has standard deviation 1 / sqrt(10000).
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1].item()) < 4 * 0.01


def test_drawing_from_one_stream_leaves_the_other_alone() -> None:
    expected = torch.rand(4, generator=make_generator(0, "b"))
    a, b = make_generator(0, "a"), make_generator(0, "b")

    torch.rand(100, generator=a)

    assert torch.equal(torch.rand(4, generator=b), expected)


def test_global_state_is_not_changed() -> None:
    before = torch.get_rng_state()

    torch.rand(5, generator=make_generator(0, "a"))

    assert torch.equal(torch.get_rng_state(), before)


def test_generator_is_on_the_cpu_unless_told() -> None:
    assert make_generator(0, "a").device == torch.device("cpu")


@pytest.mark.gpu
def test_generator_is_on_the_device_asked_for() -> None:
    assert make_generator(0, "a", device="cuda").device.type == "cuda"
