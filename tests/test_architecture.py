"""Import promises that no single module can make."""

import importlib
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import sentei

ROOT = Path(__file__).parents[1]


def modules_after(statement: str) -> set[str]:
    """Return the modules a fresh interpreter holds after ``statement``."""
    script = f"import sys; {statement}; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import sentei",
        "import sentei.records",
        "import sentei.seeding",
        "import sentei.engine",
        "import sentei.report",
        "import sentei.records; sentei.records.hardware()",
    ],
)
def test_import_costs_no_torch(statement: str) -> None:
    assert "torch" not in modules_after(statement)


def test_every_note_of_a_change_is_of_a_kind_that_a_release_prints() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    kinds = {kind["directory"] for kind in settings["tool"]["towncrier"]["type"]}

    found = {path.name.split(".")[-2] for path in (ROOT / "changelog.d").glob("*.md")}

    assert found <= kinds


def test_star_import_gives_the_public_names() -> None:
    namespace: dict[str, object] = {}

    exec("from sentei import *", namespace)

    assert sorted(namespace.keys() - {"__builtins__"}) == sorted(sentei.__all__)


def test_no_public_name_is_hidden_by_a_package() -> None:
    for module in pkgutil.iter_modules(sentei.__path__, "sentei."):
        importlib.import_module(module.name)

    hidden = [name for name in sentei.__all__ if isinstance(getattr(sentei, name), ModuleType)]

    assert hidden == []


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(sentei, "no_such_name")  # noqa: B009 - mypy knows that the name does not exist


def test_layers_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]

    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout
