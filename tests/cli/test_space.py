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


FAILING = """
regimes = [0.5]
window = 0.02
[base]
model = "digits_cnn"
data = "digits"
base_epochs = 1
train_images = 300
val_images = 100
test_images = 80
[protocol]
epochs = 1
learning_rate = 1e30
recalibration_images = 64
[population]
strata = 2
per_stratum = 2
natural = 2
[resampling]
draws = 50
"""


def test_failed_jobs_are_told_and_make_the_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "study.toml", str(tmp_path / "out")
    path.write_text(FAILING)

    until = ["--until", "evaluate", "--engine", "serial"]
    assert main(["space", "run", str(path), "-o", out, *until]) == 3

    shown = capsys.readouterr().out
    assert re.search(r"\d+ jobs failed; sentei space status \S+out says why", shown)
    assert "the report is" in shown
    assert main(["space", "status", out]) == 0
