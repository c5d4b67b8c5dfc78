"""The command line: answers, errors, exit codes, and one JSON document when asked for it."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sentei
from sentei import __version__
from sentei.cli import main
from sentei.methods import METHODS
from sentei.pipeline import load_network

Capture = pytest.CaptureFixture[str]


def answer(capsys: Capture, *arguments: str) -> dict[str, Any]:
    """Return the document of a command, the only thing it may print on standard output."""
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def complaint(capsys: Capture, *arguments: str) -> str:
    """Return the message of a command that fails, the same in both forms."""
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert main([*arguments, "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert (
        " ".join(shown.err.split()) == f"sentei: {' '.join(document['error']['message'].split())}"
    )
    return document["error"]["message"]


def run_digits(output: Path, *more: str) -> list[str]:
    return [
        *("prune", "digits_cnn", "--data", "digits", "--target", "macs=0.5", "-o", str(output)),
        *("--fine-tune-epochs", "1", "--epochs", "1", "--batch-size", "256"),
        *("--runtime", "none", "--no-onnx", *more),
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cli") / "run"
    assert main(run_digits(directory)) == 0
    return directory


def test_help_needs_no_torch() -> None:
    script = (
        "import sys; from sentei.cli import main\n"
        "for command in ([], ['prune'], ['bench']): main([*command, '--help'])\n"
        "assert 'torch' not in sys.modules"
    )

    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("command", ["prune", "groups", "score", "bench", "export", "report"])
def test_help_of_every_command_shows_an_example(capsys: Capture, command: str) -> None:
    assert main([command, "--help"]) == 0

    assert f"sentei {command} " in capsys.readouterr().out.replace("Usage: sentei", "")


def run_process(*arguments: str, output: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command line as a process whose standard output is a file, 80 columns or not."""
    command = [sys.executable, "-m", "sentei", *arguments]
    environment = {**os.environ, "COLUMNS": "80"}
    with output.open("w") as file:
        return subprocess.run(
            command, stdout=file, stderr=subprocess.PIPE, text=True, check=False, env=environment
        )


def test_an_example_file_can_be_redirected_and_read(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"

    done = run_process("space", "example", output=path)

    assert done.returncode == 0, done.stderr
    packaged = Path(sentei.__file__).parent / "cli" / "study.toml"
    assert path.read_text() == packaged.read_text()
    assert max(map(len, path.read_text().splitlines())) > 80


def test_what_is_redirected_has_one_line_for_each_line(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"

    run_process("list", output=path)

    (methods,) = (line for line in path.read_text().splitlines() if line.startswith("methods"))
    assert methods == f"methods: {', '.join(METHODS)}"


def test_a_terminal_gets_paths_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")

    main(["space", "example"])

    packaged = Path(sentei.__file__).parent / "cli" / "study.toml"
    assert terminal.getvalue() == packaged.read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no file that is always full")
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_an_answer_that_cannot_be_written_is_told(flags: tuple[str, ...]) -> None:
    done = run_process("list", "criteria", *flags, output=Path("/dev/full"))

    assert done.returncode == 2
    assert re.fullmatch(
        "sentei: a file cannot be read or written: .*No space left.*; make room.*\n", done.stderr
    )


def test_version_is_that_of_the_package(capsys: Capture) -> None:
    main(["--version"])

    assert capsys.readouterr().out.strip() == __version__


def test_prune_tells_where_everything_is(capsys: Capture, run: Path) -> None:
    assert main(run_digits(run)) == 0

    shown = capsys.readouterr()
    text = "".join(shown.out.split())
    assert "testaccuracy" in text
    for name in ("model", "report.html", "record.json", "plan.json", "dense", "log.txt"):
        assert f"{run}/{name}" in text
        assert (run / name).exists()
    assert "recovery: done earlier" in shown.err


def test_prune_gives_its_record(capsys: Capture, run: Path) -> None:
    document = answer(capsys, *run_digits(run))

    assert document["record"] == json.loads((run / "record.json").read_text())
    assert document["directory"] == str(run)


def test_prune_reads_a_file_and_flags_go_before_it(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'model = "digits_cnn"\ndata = "digits"\nbudget = "macs=0.9"\nonnx = false\nseed = 1\n'
        'fine_tune_when = "never"\nrecover_when = "never"\nlatency.runtimes = []\n'
    )
    output = str(tmp_path / "run")

    document = answer(
        capsys, "prune", "--config", str(path), "-o", output, "-t", "macs=0.6", "--criterion", "l1"
    )

    config = document["record"]["config"]
    assert (config["budget"], config["seed"], config["criterion"]) == ({"macs": 0.6}, 1, "l1")


def test_groups_says_what_is_frozen_and_why(capsys: Capture) -> None:
    document = answer(capsys, "groups", "digits_cnn")

    assert {g["name"]: g["width"] for g in document["groups"]} == {
        "conv1": 16,
        "conv2": 32,
        "conv3": 32,
    }
    assert document["frozen"]["linear.bias"] == [
        "its outputs: outputs of the model keep their shape"
    ]


def test_groups_can_be_asked_about_one_module(capsys: Capture) -> None:
    document = answer(capsys, "groups", "digits_cnn", "--why", "conv4")

    # conv4 makes the channels of the residual sum and takes those of conv3.
    assert [g["name"] for g in document["groups"]] == ["conv2", "conv3"]
    assert document["frozen"] == {}


def test_score_gives_the_norm_of_each_filter(capsys: Capture, run: Path) -> None:
    document = answer(capsys, "score", str(run), "--criterion", "random")
    model = sentei.load_pretrained(run / "model")

    widths = {name: len(scores) for name, scores in document["scores"].items()}
    assert widths == {n: model.get_parameter(f"{n}.weight").shape[0] for n in widths}


def test_bench_compares_with_the_first(capsys: Capture, run: Path) -> None:
    dense, small = str(run / "dense"), str(run)

    document = answer(capsys, "bench", dense, small, "--runs", "10")

    assert document["costs"][small]["macs"] < document["costs"][dense]["macs"]
    assert list(document["speedups"]["eager"]) == [small]
    assert document["latencies"]["eager"][dense]["num_runs"] == 10


def test_export_writes_what_the_network_computes(
    capsys: Capture, run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "net.pt2"

    answer(capsys, "export", str(run), "--format", "torch", "-o", str(path))

    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = load_network(str(run)).model(images)
    torch.testing.assert_close(torch.export.load(path).module()(images), expected)


def test_report_holds_the_runs(capsys: Capture, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"

    answer(capsys, "report", str(run), str(run / "record.json"), "-o", str(path))

    assert path.read_text().count('"kind": "prune"') == 2


def test_list_names_every_kind(capsys: Capture) -> None:
    document = answer(capsys, "list")

    assert sorted(document) == ["criteria", "data", "methods", "models", "runtimes", "scopes"]
    assert "taylor" in document["criteria"]


TORN = '{"schema_version": 1, "kind"'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prune", "digits_cn", "--data", "digits", "-t", "macs=0.5"], "'digits_cnn'"),
        (["prune", "digits_cnn", "--data", "digts", "-t", "macs=0.5"], "'digits'"),
        (["prune", "digits_cnn", "--data", "digits", "-t", "mac=0.5"], "Did you mean .*'macs'"),
        (["prune", "digits_cnn", "--data", "digits"], "budget is missing"),
        (["prune", "digits_cnn", "--dta", "digits"], "Did you mean --data"),
        (["prun"], "Did you mean .?prune"),
        (["groups", "digits_cnn", "--why", "conv9"], "Did you mean 'conv"),
        (["groups", "timm:resnet5"], "Did you mean 'resnet50'"),
        (["score", "digits_cnn", "--criterion", "tailor"], "Did you mean 'taylor'"),
        (["score", "digits_cnn", "--criterion", "taylor"], "looks at images; name a data set"),
        (["bench", "digits_cnn", "--runtime", "eagr"], "Did you mean 'eager'"),
        (["bench", "digits_cnn", "--device", "cuda:9"], "device 'cuda:9' is not there"),
        (["bench"], "name at least one network"),
        (["bench", "digits_cnn", "--image-size", "0"], "image_size is 0; expected at least 1"),
        (["bench", "vgg16_bn", "--image-size", "8"], "failed on the example inputs at"),
        (["export", "digits_cnn", "-f", "onx", "-o", "x"], "Did you mean 'onnx'"),
        (["report"], "name at least one run"),
        (["list", "critera_"], "Did you mean 'criteria'"),
    ],
)
def test_mistakes_are_answered(
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    found = complaint(capsys, *arguments)

    assert re.search(message, found), found


def test_what_nobody_foresaw_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail(_kind: str | None) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr("sentei.pipeline.listing.catalog", fail)

    assert main(["list", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["kind"] == "KeyError"
    assert 'raise KeyError("surprise")' in error["message"]
    assert main(["list"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert main(["list", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_debug_shows_where_an_error_was_raised(capsys: Capture) -> None:
    assert main(["list", "nothing", "--debug"]) == 2

    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("record.json", lambda path: ["report", str(path)]),
        ("run.toml", lambda path: ["prune", "--config", str(path)]),
        ("w.pth", lambda path: [*run_digits(path.parent / "run"), "--weights", str(path)]),
        ("w.safetensors", lambda path: [*run_digits(path.parent / "run"), "--weights", str(path)]),
    ],
)
def test_unreadable_files_are_named(
    capsys: Capture, tmp_path: Path, name: str, command: Callable[[Path], list[str]]
) -> None:
    path = tmp_path / name
    path.write_text(TORN)

    assert str(path) in complaint(capsys, *command(path))


def test_list_methods_gives_a_card_for_each_in_the_order_of_the_survey(capsys: Capture) -> None:
    rows = answer(capsys, "list", "methods")

    assert isinstance(rows, list)
    fields = {"name", "section", "paper", "year", "venue", "arxiv", "needs", "when", "granularity"}
    assert all(fields <= row.keys() for row in rows)
    sections = [row["section"] for row in rows if row["section"] != "baseline"]
    assert sections == sorted(sections)
    slimming = next(row for row in rows if row["name"] == "network-slimming")
    assert (slimming["section"], slimming["year"], slimming["venue"]) == ("2.3.1", 2017, "ICCV")
    assert (slimming["needs"], slimming["when"]) == ("training", "during training")


def test_list_methods_shows_the_tree_of_the_survey(capsys: Capture) -> None:
    assert main(["list", "methods"]) == 0

    shown = capsys.readouterr().out
    places = [shown.index(t) for t in ("2.1 Weight-dependent", "2.1.1 Filter norm", "2.3.1 On")]
    assert places == sorted(places)
