"""Populations in files: frozen once, never overwritten, and refused where altered."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sentei.errors import CheckpointError
from sentei.spaces.population import Origin, Population, frozen, subnet_id
from sentei.spaces.space import SpaceConfig, regime

ORIGIN = Origin(
    name="natural", network="resnet20", regime=0.5, config=SpaceConfig(name="base", slabs=()),
    slabs=(regime(0.5),), sampler="exact", seed=7, num=3,
)  # fmt: skip


def drawn() -> Population:
    return Population(
        origin=ORIGIN,
        widths=np.array([[4, 8], [5, 7], [6, 6]]),
        weights=np.array([0.1, 1.0, 1.9]),
        strata=np.array([-1, 0, 1]),
    )


def never() -> Population:
    raise AssertionError("drawn again")


def test_a_population_is_drawn_once_and_then_read(tmp_path: Path) -> None:
    path = tmp_path / "populations" / "natural.json"

    first = frozen(path, ORIGIN, drawn)
    written = path.read_bytes()
    second = frozen(path, ORIGIN, never)

    np.testing.assert_array_equal(second.widths, first.widths)
    np.testing.assert_array_equal(second.weights, first.weights)
    np.testing.assert_array_equal(second.strata, first.strata)
    assert second.widths.dtype == np.int64
    assert len(second) == 3
    assert path.read_bytes() == written


def test_a_population_of_another_origin_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "natural.json"
    frozen(path, ORIGIN, drawn)
    written = path.read_bytes()

    with pytest.raises(
        CheckpointError, match="holds another population: seed is 7 there and 8 now"
    ):
        frozen(path, replace(ORIGIN, seed=8), drawn)

    assert path.read_bytes() == written


def test_a_population_of_before_an_option_came_is_the_same_one(tmp_path: Path) -> None:
    path = tmp_path / "natural.json"
    frozen(path, ORIGIN, drawn)
    content = json.loads(path.read_text())
    del content["digest"], content["origin"]["config"]["mac_scope"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps({**content, "digest": digest}))

    assert len(frozen(path, ORIGIN, never)) == 3
    other = replace(ORIGIN, config=SpaceConfig(name="base", slabs=(), mac_scope="conv"))
    with pytest.raises(CheckpointError, match="mac_scope is None there and 'conv' now"):
        frozen(path, other, never)


@pytest.mark.parametrize(("old", "new"), [("[4, 8]", "[4, 9]"), ('"seed": 7', '"seed": 8')])
def test_a_population_that_was_altered_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "natural.json"
    frozen(path, ORIGIN, drawn)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))

    with pytest.raises(CheckpointError, match=r"natural.json was altered after it was written"):
        frozen(path, ORIGIN, never)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"version": 1}'])
def test_a_torn_population_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "natural.json"
    path.write_text(text)

    with pytest.raises(CheckpointError, match=r"natural.json is no population \(.*\); restore it"):
        frozen(path, ORIGIN, never)


def test_a_recipe_is_known_by_its_widths_alone() -> None:
    expected = hashlib.sha256(b"[4,8]").hexdigest()[:16]

    assert subnet_id(np.array([4, 8])) == expected != subnet_id(np.array([8, 4]))
