"""A registry gives what was registered, and answers everything else with a way on."""

import sys
from pathlib import Path

import pytest

from sentei.errors import PruningError
from sentei.registry import Registry, did_you_mean, load_plugins


def make_registry(*names: str) -> Registry[str]:
    registry: Registry[str] = Registry("fruit")
    for name in names:
        registry.register(name)(name.upper())
    return registry


def test_gives_what_was_registered() -> None:
    assert make_registry("pear", "plum")["plum"] == "PLUM"


def test_decorator_returns_its_argument() -> None:
    class Pear:
        """A plug-in."""

    assert Registry[type]("fruit").register("pear")(Pear) is Pear


def test_iterates_over_names_in_alphabetical_order() -> None:
    assert list(make_registry("plum", "fig", "pear")) == ["fig", "pear", "plum"]


def test_counts_and_contains_its_names() -> None:
    registry = make_registry("plum", "fig")

    assert (len(registry), "fig" in registry, "pear" in registry) == (2, True, False)


def test_taken_name_is_refused() -> None:
    with pytest.raises(ValueError, match="fruit 'fig' is registered twice; choose another name"):
        make_registry("fig", "fig")


def test_first_entry_survives_a_refused_one() -> None:
    registry = make_registry("fig")

    with pytest.raises(ValueError, match="registered twice"):
        registry.register("fig")("other")

    assert registry["fig"] == "FIG"


def test_typo_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(PruningError, match=r"unknown fruit 'plumm'\. Did you mean 'plum'\?"):
        make_registry("plum", "fig")["plumm"]


def test_far_name_is_answered_with_all_of_a_long_registry() -> None:
    names = [f"name-{i:02}" for i in range(30)]

    with pytest.raises(PruningError, match=f"unknown fruit 'xyz'. Known: {', '.join(names)}"):
        make_registry(*names)["xyz"]


def test_several_near_names_are_all_offered() -> None:
    assert did_you_mean("l3-norm", ["l1-norm", "l2-norm"]) == (
        " Did you mean 'l2-norm' or 'l1-norm'?"
    )


def test_far_name_is_answered_with_a_short_list() -> None:
    assert did_you_mean("xyz", ["plum", "fig"]) == " Known: fig, plum."


def test_far_name_is_not_answered_with_a_long_list() -> None:
    assert did_you_mean("xyz", [f"name-{i}" for i in range(21)]) == ""


def test_registries_do_not_share_names() -> None:
    make_registry("fig")

    assert len(make_registry("plum")) == 1


def test_every_module_of_a_package_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_plugins"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "one.py").write_text("LOADED = True\n")
    monkeypatch.syspath_prepend(tmp_path)

    load_plugins("some_plugins", [str(package)])

    assert sys.modules["some_plugins.one"].LOADED
