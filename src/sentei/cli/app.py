"""The application: its commands, and what becomes of answers, errors and interrupts."""

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from cyclopts import App, CycloptsError
from rich.console import Console, Group

from sentei import __version__
from sentei.cli.answer import Answer
from sentei.cli.bench import bench
from sentei.cli.compare import compare
from sentei.cli.export import export
from sentei.cli.groups import groups
from sentei.cli.listing import list_names
from sentei.cli.prune import prune
from sentei.cli.report import report
from sentei.cli.score import score
from sentei.cli.space import make_space_app
from sentei.errors import PruningError

EXIT_UNEXPECTED = 1
EXIT_ERROR = 2
EXIT_PARTIAL = 3
EXIT_INTERRUPTED = 130

_FLAGS = ("--json", "--debug")
_UNBROKEN = 1_000_000
_HELP = """Make trained networks smaller: prune channels to a budget, prove that the result is
right, train it again, and measure what was gained.

```console
sentei prune resnet20 --data digits --target macs=0.5
sentei groups timm:resnet50 --why layer2.0.conv1
sentei bench runs/first/dense runs/first/model --runtime eager,onnxruntime
```
"""
_EPILOGUE = """Every command takes `--json`: one JSON document on standard output and nothing else,
errors included; and `--debug`: where in the code an error was raised.
"""


def make_app() -> App:
    """Return the application with all its commands."""
    app = App(
        name="sentei",
        version=__version__,
        help=_HELP,
        help_format="markdown",
        help_epilogue=_EPILOGUE,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        exit_on_error=False,
        print_error=False,
    )
    for command in (prune, compare, groups, score, bench, export, report):
        app.command(command)
    app.command(list_names, name="list")
    app.command(make_space_app())
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0: done. 1: what sentei did not expect. 2: something the user can correct. 3: done but for jobs
    that failed, which the answer names. 130: interrupted.

    Args:
        arguments: What follows the name of the program; None takes that of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    try:
        with _own_standard_output(as_json):
            answer = make_app()([token for token in given if token not in _FLAGS])
    except KeyboardInterrupt:
        _complain(
            "interrupted; what was finished is kept: run the same command again to go on",
            kind="KeyboardInterrupt",
            as_json=as_json,
        )
        return EXIT_INTERRUPTED
    except (PruningError, ValueError, CycloptsError, OSError) as error:
        if "--debug" in given:
            traceback.print_exc()
        _complain(_message(error), kind=type(error).__name__, as_json=as_json)
        return EXIT_ERROR
    except Exception as error:  # noqa: BLE001 - models and data are code of the user: anything
        if "--debug" in given:
            traceback.print_exc()
        _complain(_unexpected(error), kind=type(error).__name__, as_json=as_json)
        return EXIT_UNEXPECTED
    return _deliver(answer, as_json=as_json)


@contextlib.contextmanager
def _own_standard_output(as_json: bool) -> Iterator[None]:
    """Keep what libraries print away from the document."""
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        yield


def _deliver(answer: object, *, as_json: bool) -> int:
    """Print an answer, and return the exit code."""
    try:
        if isinstance(answer, Answer):
            _print(answer, as_json=as_json)
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer would fail once more at exit: let it go nowhere.
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # else what reads it has had enough
            _complain(_message(error), kind="OSError", as_json=False)
            return EXIT_ERROR
    return EXIT_PARTIAL if isinstance(answer, Answer) and answer.is_partial else 0


def _message(error: Exception) -> str:
    """Return the message without the name of a class."""
    if isinstance(error, OSError):
        return (
            f"a file cannot be read or written: {error}; make room or correct the permissions, "
            "and run the same command again"
        )
    return " ".join(str(error).split()) if isinstance(error, CycloptsError) else str(error)


def _unexpected(error: Exception) -> str:
    """Return the message of an error that nothing in sentei foresees, and where it arose."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__}: {error}\n  at {frame.filename}:{frame.lineno}: {frame.line}\n"
        "  it comes from the code of the model or of the data, or is a mistake of sentei; --debug "
        "shows the whole way, and what was finished is kept"
    )


def _complain(message: str, *, kind: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": {"kind": kind, "message": message}}))
    else:
        Console(stderr=True, highlight=False).print(
            "sentei: ", message, sep="", markup=False, soft_wrap=True
        )


def _print(answer: Answer, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer.document, allow_nan=False))
    else:
        # A file or a pipe has no width: broken lines would spoil what is copied or read from it.
        width = None if sys.stdout.isatty() else _UNBROKEN
        # Within a group, as a bare text would be made anew, and wrapped.
        Console(highlight=False, width=width).print(Group(answer.shown), crop=False)
