"""The examples work."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from sentei import RunConfig, pipeline

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_configuration_of_the_demonstration_is_valid() -> None:
    path = EXAMPLES / "demo_elpv.toml"

    config = pipeline.config_from_mapping(pipeline.read_toml(path), origin=path.name)

    assert config.budget.limits == {"macs": 0.5}


def test_drawing_has_a_pair_of_bars_for_every_group(config: RunConfig, tmp_path: Path) -> None:
    record = pipeline.run(config)
    picture = tmp_path / "picture.svg"

    command = [sys.executable, str(EXAMPLES / "draw_result.py"), config.output, str(picture)]
    subprocess.run(command, check=True)

    widths = {g.name: (g.width_before, g.width_after) for g in record.groups if not g.frozen}
    bars = ET.parse(picture).getroot().iter("{http://www.w3.org/2000/svg}rect")
    titles = [bar[0].text for bar in bars]
    lines = [f"{name}: {a} to {b} channels" for name, (a, b) in widths.items()]
    assert titles == [line for line in lines for _ in range(2)]
