"""The subnetwork that a search found, trained and saved as an ordinary network."""

from pathlib import Path

from sentei.errors import CheckpointError
from sentei.methods.base_network import BASE_FOLDER, load_base
from sentei.spaces.evaluate import Evaluator
from sentei.spaces.explore import contest
from sentei.spaces.regime_data import RegimeData
from sentei.spaces.study import Session
from sentei.spaces.subnets import Row
from sentei.surgery.checkpoint import read_metadata, read_source, save_pretrained

_SPEC = ("widths", "epochs", "replicate", "weights", "ranking")


def keep_found(session: Session, data: RegimeData) -> Path | None:
    """Save the subnetwork found in a regime; load it with `sentei.load_pretrained`.

    It is trained again as in its first full training, which gives the same weights on the CPU.

    Returns:
        Its directory, or None where nothing was searched.
    """
    found = contest(data)
    if not found:
        return None
    row = next(iter(found.values()))[0]
    folder = session.directory / f"found-{data.level:g}"
    if not _is_there(folder, row):
        model, splits = load_base(session.config.base, session.directory)
        evaluator = Evaluator(protocol=session.config.protocol, model=model, data=splits)
        base = session.directory / BASE_FOLDER
        save_pretrained(
            evaluator.network({name: row[name] for name in _SPEC}, on_progress=session.on_progress),
            folder,
            source=read_source(base),
            metadata={**read_metadata(base), **_identity(row)},
        )
    return folder


def _identity(row: Row) -> dict[str, object]:
    return {name: row[name] for name in ("subnet", "epochs", "replicate", "test_accuracy")}


def _is_there(folder: Path, row: Row) -> bool:
    try:
        known = read_metadata(folder)
    except CheckpointError:
        return False
    return all(known.get(name) == value for name, value in _identity(row).items())
