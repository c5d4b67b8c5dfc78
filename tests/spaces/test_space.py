"""Slabs and configurations: what they hold, and what they refuse."""

import json
from typing import Any

import pytest

from sentei.errors import ConfigError
from sentei.spaces.space import Slab, SpaceConfig, regime


def test_a_configuration_survives_json() -> None:
    config = SpaceConfig(
        name="early", slabs=(regime(0.5), Slab(quantity="stage:8x8", low=0.1, high=0.4)),
        unit="block", rounding="floor_removed", param_scope="conv", bucket_edges=(0.3, 0.6),
    )  # fmt: skip

    assert SpaceConfig.from_json(json.loads(json.dumps(config.as_json()))) == config


def test_a_regime_is_a_slab_of_macs() -> None:
    assert str(regime(0.5, delta=0.01)) == "macs in [0.49, 0.51]"
    assert str(regime(0.5, by="params")) == "params in [0.495, 0.505]"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"quantity": "mac", "low": 0, "high": 1}, "unknown quantity 'mac'. Did you mean 'mac"),
        ({"quantity": "macs", "low": 0.6, "high": 0.5}, "slab of macs: from 0.6 to 0.5; expected"),
        ({"quantity": "macs", "low": 0, "high": float("inf")}, "both finite"),
    ],
)
def test_a_slab_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Slab(**values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"floor": 1.5}, "floor=1.5; expected a share"),
        ({"round_to": 0}, "round_to=0; expected at least 1"),
        ({"unit": "groups"}, "unit='groups'. Did you mean 'group'"),
        ({"bucket_edges": (0.5, 0.2)}, r"bucket_edges=\(0.5, 0.2\); expected them ascending"),
    ],
)
def test_a_configuration_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpaceConfig(name="x", slabs=(), **options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "slabs": [], "florr": 0.2}, "unknown key 'florr'. Did you mean 'floor'"),
        ({"name": "x"}, "space 'x': 'slabs'; give a name, a list of slabs"),
        ({"name": "x", "slabs": [{"quantity": "macs"}]}, "space 'x': .*low"),
        ({"name": "x", "slabs": [], "floor": 2}, "space 'x': floor=2"),
    ],
)
def test_a_file_is_refused_with_what_is_wrong(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SpaceConfig.from_json(values)
