"""How fast the subnetwork that a search found is, and its rivals: timed in turns, kept in a file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sentei.errors import CheckpointError, PruningError
from sentei.records import atomic_write_text, decode_fields, plain_mapping
from sentei.spaces.latency import described, time_networks
from sentei.spaces.scene import Scene
from sentei.spaces.subnets import Row

_DENSE = "dense network"

Contest = Mapping[str, Sequence[Row]]
"""Method -> the rows of its subnetwork."""


@dataclass(frozen=True, kw_only=True)
class ContestTimes:
    """Latencies of the subnetworks of one regime.

    Attributes:
        subnets: Method -> the subnetwork that was timed.
        times_ms: Method -> median of one run, in milliseconds; empty where nothing was timed.
        speedups: Method -> times that it is faster than the dense network, and the ends of the
            95 % interval.
        where: Device, library, images of a run; or why nothing was timed.
    """

    subnets: Mapping[str, str]
    times_ms: Mapping[str, float]
    speedups: Mapping[str, tuple[float, float, float]]
    where: str


def contest_times(scene: Scene, directory: Path, level: float, contest: Contest) -> ContestTimes:
    """Return the latencies of a contest, measured where they are not known of these subnetworks.

    A runtime that is not there, or refuses a network, ends no study: ``where`` says why.

    Raises:
        CheckpointError: The file that is there is damaged.
    """
    known = read_contest_times(directory, level, contest)
    if known is not None:
        return known
    try:
        found = _measured(scene, contest)
    except PruningError as error:
        where = f"not timed: {error}"
        return ContestTimes(subnets=_subnets(contest), times_ms={}, speedups={}, where=where)
    document = json.dumps(plain_mapping(found, "latencies")) + "\n"
    atomic_write_text(_path(directory, level), document)
    return found


def read_contest_times(directory: Path, level: float, contest: Contest) -> ContestTimes | None:
    """Return the latencies that were measured of these subnetworks, or None.

    Raises:
        CheckpointError: The file that is there is damaged.
    """
    path = _path(directory, level)
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} holds no latencies ({error}); delete it, they are measured again"
        ) from error
    found = decode_fields(ContestTimes, values, str(path))
    return found if found.subnets == _subnets(contest) else None


def _measured(scene: Scene, contest: Contest) -> ContestTimes:
    widths = {
        name: np.array([rows[0]["widths"][group] for group in scene.dense], np.int64)
        for name, rows in contest.items()
    }
    networks = {_DENSE: scene.graph.widths, **widths}
    found = time_networks(scene.config.latency, scene.graph, networks)
    return ContestTimes(
        subnets=_subnets(contest),
        times_ms={name: found.latencies[name].median_ms for name in contest},
        speedups={name: (s.ratio, s.low, s.high) for name, s in found.speedups.items()},
        where=f"{described(found)}, batch of {scene.config.latency.batch_size}",
    )


def _subnets(contest: Contest) -> dict[str, str]:
    return {name: rows[0]["subnet"] for name, rows in contest.items()}


def _path(directory: Path, level: float) -> Path:
    return directory / f"latency-found-{level:g}.json"
