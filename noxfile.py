"""The checks of the Makefile, each in an environment of its own."""

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["lint", "types", "tests", "docs"]
nox.options.reuse_existing_virtualenvs = True


def install(session: nox.Session) -> None:
    """Install sentei as the Makefile does: torch first, what would replace it last."""
    session.install("-c", "constraints.txt", "torch")
    session.install("-c", "constraints.txt", "-e", ".[onnx,openvino,ray,search,elpv,dev]", "pyyaml")
    session.install("-c", "constraints.txt", "--no-deps", "torchvision", "timm")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, layers and spelling."""
    session.install("-c", "constraints.txt", "codespell", "import-linter", "ruff")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", env={"PYTHONPATH": "src"})
    session.run("codespell")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package and of its tests."""
    install(session)
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the fast tests with coverage, or what follows ``--``."""
    install(session)
    arguments = session.posargs or ["-n", "2", "--cov", "--cov-report=term"]
    session.run("pytest", *arguments, env={"OMP_NUM_THREADS": "1"})


@nox.session
def docs(session: nox.Session) -> None:
    """Run the examples of the README and of docs/."""
    install(session)
    session.run(
        *("pytest", "--doctest-glob=*.md", "README.md", "docs"),
        env={"OMP_NUM_THREADS": "1"},
        success_codes=[0, 5],  # 5: the pages hold no example
    )
