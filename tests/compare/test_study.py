"""A comparison on digits, whole, interrupted and resumed."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sentei import engine
from sentei.cli import main
from sentei.compare import CompareConfig, Comparison, compare, comparison_status, read_config
from sentei.errors import BudgetError, CheckpointError
from sentei.methods import base_network
from sentei.models import load_model
from sentei.records import code_commit
from sentei.surgery.checkpoint import load_pretrained, save_pretrained
from sentei.train import evaluate

VOLATILE = ("seconds", "wall_s", "curve", "commit")


def quick(output: Path, **changes: Any) -> CompareConfig:  # noqa: ANN401 - of any field
    values: dict[str, Any] = {
        "model": "digits_cnn",
        "data": "digits",
        "output": str(output),
        "methods": ("random", "l1", "network-slimming"),
        "targets": ("macs=0.5",),
        "seeds": 2,
        "recipes": ("short",),
        "train_images": 300,
        "val_images": 60,
        "test_images": 80,
        "calibration_images": 64,
        "tolerance": 0.02,
        **changes,
    }
    return CompareConfig(**values)


def stable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in VOLATILE} for row in rows]


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[CompareConfig, list[dict[str, Any]]]:
    config = quick(tmp_path_factory.mktemp("comparison"))
    return config, compare(config, executor=engine.EXECUTORS["serial"]()).rows


def test_every_method_target_and_seed_has_a_row_that_meets_the_budget(
    finished: tuple[CompareConfig, list[dict[str, Any]]],
) -> None:
    _, rows = finished

    assert [(r["seed"], r["method"]) for r in rows] == [
        (seed, method) for seed in (0, 1) for method in ("random", "l1", "network-slimming")
    ]
    assert all(0.49 <= r["macs_left"] <= 0.5 for r in rows)
    assert all(sum(r["epochs"].values()) == 2 for r in rows)
    assert rows[2]["epochs"] == {"sparse": 1, "recover": 1}
    assert all(r["verification"]["output_error"] < 1e-9 for r in rows)


def test_all_methods_start_from_one_network_whose_digest_is_kept(
    finished: tuple[CompareConfig, list[dict[str, Any]]],
) -> None:
    config, rows = finished
    directory = Path(config.output)

    (weights,) = (directory / "base").glob("*.safetensors")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    with engine.read_store(directory) as store:
        assert store.meta["base"] == digest
    found = json.loads((directory / "rows.json").read_text())
    assert found["base"]["sha256"] == digest
    model, data = base_network.load_base(config, directory)
    judged = evaluate(model, data.loader("test", batch_size=80))
    assert {r["base_accuracy"] for r in rows} == {judged.accuracy}
    assert judged.num_samples == 80


def test_a_factory_that_knows_no_options_gives_the_images(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from sentei.data import load_data\ndef make():\n    return load_data('digits')\n"
    )
    config = quick(tmp_path / "study", data=f"{file}:make", methods=("random",), seeds=1)

    found = compare(config, executor=engine.EXECUTORS["serial"]())

    assert found.failures == []
    assert [r["method"] for r in found.rows] == ["random"]


def test_rows_and_page_name_the_commit_of_the_code(
    finished: tuple[CompareConfig, list[dict[str, Any]]],
) -> None:
    config, rows = finished

    (commit,) = {r["commit"] for r in rows}
    assert commit == code_commit()
    page = (Path(config.output) / "report.html").read_text(encoding="utf-8")
    assert (commit or "not run from a checkout") in page


def test_a_finished_comparison_is_not_computed_again(
    finished: tuple[CompareConfig, list[dict[str, Any]]],
) -> None:
    config, rows = finished
    seen: list[str] = []

    again = compare(
        read_config(config.output),
        executor=engine.EXECUTORS["serial"](),
        on_event=lambda event, _: seen.append(event.kind),
    )

    assert again.rows == rows
    assert seen == []


def test_status_counts_jobs_by_method(
    finished: tuple[CompareConfig, list[dict[str, Any]]],
) -> None:
    config, _ = finished

    found = comparison_status(config.output)

    assert (found.total, found.done, found.failed) == (6, 6, 0)
    assert found.labels["l1"] == (2, 2, 0)


def test_a_second_driver_is_refused_while_the_base_network_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, learn, refused = quick(tmp_path), base_network._learn, []

    def intrude(*arguments: Any) -> None:  # noqa: ANN401 - as _learn
        with pytest.raises(CheckpointError, match=f"in use by process {os.getpid()}"):
            base_network.prepare_base(config, tmp_path)
        refused.append(True)
        learn(*arguments)

    monkeypatch.setattr(base_network, "_learn", intrude)
    first = base_network.prepare_base(config, tmp_path)

    assert refused == [True]
    assert base_network.prepare_base(config, tmp_path) == first


def test_another_base_network_is_refused(tmp_path: Path) -> None:
    config = quick(tmp_path, methods=("random",), seeds=1)
    compare(config, executor=engine.EXECUTORS["serial"]())
    other = load_model("digits_cnn", num_classes=10).model
    source = {"spec": "digits_cnn", "kwargs": {"num_classes": 10}}
    save_pretrained(other, tmp_path / "base", source=source)

    with pytest.raises(CheckpointError, match="the base network is not the one"):
        compare(config, executor=engine.EXECUTORS["serial"]())


def test_other_settings_in_the_same_directory_are_refused(tmp_path: Path) -> None:
    config = quick(tmp_path, methods=("random",), seeds=1)
    compare(config, executor=engine.EXECUTORS["serial"]())

    with pytest.raises(CheckpointError, match="batch_size"):
        compare(dataclasses.replace(config, batch_size=32), executor=engine.EXECUTORS["serial"]())


def test_a_method_that_cannot_work_fails_alone_and_says_what_would(tmp_path: Path) -> None:
    file = tmp_path / "plain.py"
    file.write_text(
        "from torch import nn\n"
        "def make(num_classes=10, in_channels=1):\n"
        "    return nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(),\n"
        "                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))\n"
    )
    config = quick(
        tmp_path / "study", model=f"{file}:make", methods=("l1", "network-slimming"), seeds=1
    )

    found = compare(config, executor=engine.EXECUTORS["serial"]())

    assert [r["method"] for r in found.rows] == ["l1"]
    assert "network-slimming" in found.failures[0]["job"]
    assert "sparsify with 'ssl'" in found.failures[0]["error"]
    assert found.failures[0]["traceback"].startswith("Traceback")


def test_one_calibration_image_is_enough_or_a_method_for_which_it_is_is_named(
    tmp_path: Path,
) -> None:
    methods = ("l1", "hrank", "nisp")
    config = quick(tmp_path, methods=methods, seeds=1, calibration_images=1)

    found = compare(config, executor=engine.EXECUTORS["serial"]())

    assert [r["method"] for r in found.rows] == ["l1", "hrank"]
    assert "one image does not tell" in found.failures[0]["error"]
    assert "'hrank', which works on one" in found.failures[0]["error"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"targets": ("macs=0.5", "macs=0.0001")},
            r"target macs=0\.0001: .*\(0\.\d+\) is the lowest",
        ),
        ({"targets": ("macs=2",)}, "target macs=2: .* above 1 is the cost itself, not a factor"),
        ({"targets": ("macs=0.2",), "floor": 0.9}, r"floor=0\.9 and round_to=1 leave reachable"),
        ({"targets": ("macs=0.2",), "round_to": 16}, r"floor=0\.1 and round_to=16 leave reachable"),
    ],
)
def test_a_target_out_of_reach_is_refused_before_the_base_network_learns(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    config = quick(tmp_path, **changes)

    with pytest.raises(BudgetError, match=message):
        compare(config, executor=engine.EXECUTORS["serial"]())

    assert not (tmp_path / "base").exists()


def test_a_target_out_of_reach_is_not_added_to_a_comparison(
    finished: tuple[CompareConfig, list[dict[str, Any]]],
) -> None:
    config, rows = finished
    more = dataclasses.replace(config, targets=("macs=0.5", "macs=0.0001"))

    with pytest.raises(BudgetError, match=r"target macs=0\.0001: "):
        compare(more, executor=engine.EXECUTORS["serial"]())

    assert comparison_status(config.output).total == len(rows)


def test_single_weights_are_removed_however_few_widths_could_leave(tmp_path: Path) -> None:
    config = quick(tmp_path, methods=("weight-magnitude",), targets=("macs=0.005",), seeds=1)

    found = compare(config, executor=engine.EXECUTORS["serial"]())

    assert [r["macs_left"] <= 0.005 for r in found.rows] == [True]


@pytest.mark.slow
def test_a_killed_comparison_goes_on_and_ends_with_the_same_rows(
    tmp_path: Path, finished: tuple[CompareConfig, list[dict[str, Any]]]
) -> None:
    _, rows = finished
    config = quick(tmp_path / "killed")
    code = (
        "import json, sys; from sentei import engine; from sentei.compare import *;"
        "config = CompareConfig.from_json(json.loads(sys.argv[1]));"
        "compare(config, executor=engine.EXECUTORS['serial']())"
    )
    driver = subprocess.Popen([sys.executable, "-c", code, json.dumps(config.as_json())])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        journal = Path(config.output) / "journal.jsonl"
        if journal.exists() and journal.read_text().count('"result"') >= 2:
            break
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()

    found = compare(config, executor=engine.EXECUTORS["process"](workers=1, threads=1))

    assert stable(found.rows) == stable(rows)


def test_the_command_compares_shows_status_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "study"
    arguments = [
        *("compare", "digits_cnn", "-d", "digits", "-m", "l1", "-t", "macs=0.5", "--seeds", "1"),
        *("--recipe", "short", "--train-images", "200", "--val-images", "50", "--base-epochs", "1"),
        *("--test-images", "50", "--tolerance", "0.02", "--engine", "serial", "--json"),
        *("--protect", "conv1,", "--calibration-images", "32"),
    ]
    assert main([*arguments, "-o", str(directory)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [r["method"] for r in document["rows"]][-1] == "l1"
    assert document["failures"] == []
    assert list(document["rows"][-1]["widths"]) == ["conv2", "conv3"]

    assert main(["compare", "--status", str(directory), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == len(document["rows"])
    assert main(["compare", "--resume", str(directory), "--engine", "serial", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == document["rows"]
    assert load_pretrained(directory / "base") is not None


def test_failed_jobs_end_with_code_3_and_one_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[CompareConfig] = []
    numbers = dict.fromkeys(("accuracy", "macs_left", "wall_s"), 0.5)
    row = {"target": "macs=0.5", "recipe": "short", "method": "l1", **numbers}
    failures = [{"job": "method hrank", "error": "no images", "traceback": "..."}]
    base = {"accuracy": 0.9, "test_images": 80}

    def fake(config: CompareConfig, **_: object) -> Comparison:
        given.append(config)
        return Comparison(rows=[row], failures=failures, base=base, left_out=["x is left out"])

    monkeypatch.setattr("sentei.compare.compare", fake)
    arguments = ["compare", "digits_cnn", "-d", "digits", "-m", "l1"]

    assert main([*arguments, "--floor", "0.2", "--round-to", "8", "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["rows"], document["failures"]) == ([row], failures)
    assert (given[0].floor, given[0].round_to) == (0.2, 8)

    assert main(arguments) == 3
    shown = capsys.readouterr().out
    assert "50.00%" in shown
    assert "x is left out\nfailed: method hrank: no images\n" in shown

    failures.clear()
    assert main(arguments) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare"], "MODEL is missing; give it, or go on with a comparison: --resume DIR"),
        (["compare", "digits_cnn", "-d", "digits"], "--methods is missing"),
        (
            ["compare", "resnet20", "--resume", "x", "--seeds", "5", "--workers", "1"],
            "--resume reads from the study what it compares, and MODEL, --seeds would not count",
        ),
        (["compare", "digits_cnn", "-d", "digits", "-m", "l3"], "unknown method 'l3'"),
        (["compare", "--status", "nowhere"], "nowhere"),
        (
            ["compare", "digits_cnn", "-d", "digits", "-m", "l1", "--engine", "serial",
             "--workers", "2"],
            "engine 'serial' has no workers; leave it out",
        ),
        (["compare", "digits_cnn", "-d", "digits", "-m", "l1", "--engine", "ry"], "'ray'"),
        (
            ["compare", "digits_cnn", "-d", "digits", "-m", "l1", "--workers", "1", "--num-gpus", "0.5"],
            "engine 'process' has no num_gpus; leave it out",
        ),
        (
            ["compare", "digits_cnn", "-d", "digits", "-m", "l1", "--max-silence-s", "0"],
            "engine 'process': max_silence_s is 0.0; more than 0 is needed",
        ),
    ],
)  # fmt: skip
def test_bad_commands_end_with_a_message_and_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in " ".join(error.split())
    assert "Traceback" not in error
