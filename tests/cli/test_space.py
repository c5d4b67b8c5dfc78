"""``sentei space``: what the command line adds to a study."""

import re
import tomllib
from pathlib import Path

import pytest

from sentei.cli import main
from sentei.cli.space import example
from sentei.spaces.config import study_from_mapping


def test_the_example_file_runs_as_it_stands_and_names_real_defaults() -> None:
    document = example().document
    assert isinstance(document, dict)
    text = document["toml"]

    study = study_from_mapping(tomllib.loads(text), origin="example")

    assert study.regimes == (0.7, 0.5, 0.3)
    assert study.search.regimes == (0.5,)
    # A key that is commented out is a key too: with its mark removed the file still reads.
    plain = re.sub(r"^# (?=[a-z_]+ = )", "", text, flags=re.MULTILINE)
    assert study_from_mapping(tomllib.loads(plain), origin="example").protocol.criterion == "l1"


def test_an_unknown_key_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "study.toml"
    path.write_text('[base]\nmodel = "digits_cnn"\ndata = "digits"\n[population]\nper_strata = 3\n')

    assert main(["space", "run", str(path), "-o", str(tmp_path / "out")]) == 2

    assert "unknown key population.per_strata" in capsys.readouterr().err
