"""What there is to choose from, by kind."""

from collections.abc import Iterable, Mapping

from sentei.allocate import SCOPES
from sentei.criteria import CRITERIA
from sentei.data import DATASETS
from sentei.deploy import RUNTIMES
from sentei.errors import UnknownNameError
from sentei.models import MODELS
from sentei.registry import did_you_mean

CATALOG: Mapping[str, Iterable[str]] = {
    "models": MODELS,
    "data": DATASETS,
    "criteria": CRITERIA,
    "scopes": SCOPES,
    "runtimes": RUNTIMES,
}


def catalog(kind: str | None = None) -> dict[str, list[str]]:
    """Return the names of one kind, or of all kinds.

    Raises:
        UnknownNameError: there is no such kind.
    """
    if kind is None:
        return {name: list(entries) for name, entries in CATALOG.items()}
    if kind not in CATALOG:
        raise UnknownNameError(f"there is no list of {kind!r}.{did_you_mean(kind, CATALOG)}")
    return {kind: list(CATALOG[kind])}
