"""The detectors of the zoo are the published ones: same numbers of parameters."""

from typing import Any

import pytest
import torch

from benchmarks.zoolib.yolo import CONFIGS, build_yolo

# From the projects' own model tables and summaries, 80 classes.
PUBLISHED = {
    "v3-tiny": 8_852_366,
    "v5n": 1_872_157,
    "v8n": 3_157_200,
    "v10n": 2_775_520,
    "11n": 2_624_080,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_yolo_has_the_published_number_of_parameters(name: str) -> None:
    network = build_yolo(CONFIGS[name])
    assert sum(p.numel() for p in network.parameters()) == PUBLISHED[name]


def test_every_configuration_is_checked_against_a_published_number() -> None:
    assert set(CONFIGS) == set(PUBLISHED)


def test_the_anchor_free_head_predicts_one_box_a_cell() -> None:
    (found,) = build_yolo(CONFIGS["v8n"]).eval()(torch.zeros(2, 3, 64, 96))
    cells = 8 * 12 + 4 * 6 + 2 * 3  # strides 8, 16, 32
    assert found.shape == (2, 4 + 80, cells)


def test_boxes_of_equal_logits_are_centred_on_their_cells() -> None:
    network: Any = build_yolo(CONFIGS["v8n"]).eval()
    for parameter in network.model[-1].cv2.parameters():
        torch.nn.init.zeros_(parameter)
    (found,) = network(torch.randn(1, 3, 64, 64))
    # Uniform over 16 bins: every side is 7.5 cells away; the first cell of stride 8 is at (4, 4).
    assert found[0, :4, 0].tolist() == pytest.approx([4.0, 4.0, 120.0, 120.0], rel=1e-5)


def test_an_unknown_module_is_named() -> None:
    config = {"depth": 1, "width": 1, "layers": [(-1, 1, "Convv", (8,))]}
    with pytest.raises(ValueError, match="no YOLO module 'Convv'; there are AnchorDetect"):
        build_yolo(config)
