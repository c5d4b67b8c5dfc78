"""Cheap scores beside the drop that they stand for, as a report shows them."""

from collections.abc import Iterator

import numpy as np

from sentei.report import space_schema as schema
from sentei.spaces.config import MIN_FULL
from sentei.spaces.extrapolate import MIN_EPOCHS, extrapolate
from sentei.spaces.measured import Measured
from sentei.spaces.regime_data import STRATIFIED, RegimeData
from sentei.spaces.stats_base import FloatArray
from sentei.spaces.stats_proxy import Gate, ProxySettings, proxy_check, rank_agreement
from sentei.spaces.subnets import Row, choose

_GATES = {
    "substitute": "may stand in for training",
    "screen": "may choose what to train",
    "train": "says too little: train",
}
_ONE_SHOT = "norms measured anew, percentage points"


def proxies(data: RegimeData) -> tuple[schema.Proxy, ...]:
    """Return the cheap scores there are: without training, by the supernet, after few epochs.

    Also a zero-cost score, if the search screens by one.
    """
    trained = data.recipes
    found = [
        _proxy(
            data, trained, trained.one_shot_drop, name="one shot",
            unit=f"drop before training, {_ONE_SHOT}",
        )
    ]  # fmt: skip
    shared = {
        row["subnet"]: row["drop"] for row in choose(data.rows, space=STRATIFIED, supernet=True)
    }
    names = _names(trained)
    if shared.keys() >= set(names):
        drops = np.array([shared[name] for name in names])
        unit = f"drop with shared weights, {_ONE_SHOT}"
        found.append(_proxy(data, trained, drops, name="supernet", unit=unit))
    score, values = data.config.search.screen, _zero_cost(data)
    if values is not None:
        found.append(
            _proxy(data, trained, values, name=score, unit=f"{score} without training, negated")
        )
    return (*found, *_of_full(data))


def _zero_cost(data: RegimeData) -> FloatArray | None:
    """Return the negated zero-cost scores of the trained population that a search screens by.

    None where it does not, where they are not all known and finite, or all the same.
    """
    wanted = data.config.search.zero_cost
    if wanted is None:
        return None
    rows = choose(data.rows, space=STRATIFIED, zero_cost=wanted)
    scores = {row["subnet"]: row["score"] for row in rows}
    found = [scores.get(name) for name in _names(data.recipes)]
    known = [value for value in found if value is not None]
    return -np.array(known) if len(known) == len(found) and len(set(known)) > 1 else None


def may_screen(data: RegimeData) -> bool:
    """Return whether what the search screens by may choose what it trains, in this regime."""
    trained, cheap = data.recipes, data.recipes.one_shot_drop
    if data.config.search.zero_cost is not None:
        scores = _zero_cost(data)
        if scores is None:
            return False
        cheap = scores
    found = rank_agreement(cheap, trained.drop, resampling=data.config.resampling)
    return Gate().use(found) != "train"


def _of_full(data: RegimeData) -> Iterator[schema.Proxy]:
    """Yield what is compared with a training of full length: without it, short, extrapolated."""
    epochs = data.config.fidelity.epochs
    measured = data.measured(space=STRATIFIED, epochs=epochs)
    if not data.config.fidelity.recipes or measured is None:
        return
    full = measured.averaged()
    usual, after = data.config.protocol.epochs, f"against {epochs} epochs"
    yield _proxy(
        data, full, full.one_shot_drop, name=f"one shot {after}",
        unit=f"drop before training, {_ONE_SHOT}",
    )  # fmt: skip
    short, same = data.stratified.paired(full)
    yield _proxy(
        data, same, short.drop, name=f"{usual} epochs {after}",
        unit=f"drop after {usual} epochs, percentage points",
    )  # fmt: skip
    yield from _extrapolated(data, full)


def _extrapolated(data: RegimeData, full: Measured) -> Iterator[schema.Proxy]:
    """Yield the last loss that the first epochs of a full training foretell, if any do."""
    epochs = data.config.fidelity.epochs
    rows = {
        row["subnet"]: row
        for row in choose(data.rows, space=STRATIFIED, epochs=epochs, replicate=0)
        if row["weights"] == data.config.protocol.weights
        and row["ranking"] == data.config.protocol.ranking
    }
    forecasts = [_forecast(rows[name], epochs) for name in _names(full)]
    known = [place for place, forecast in enumerate(forecasts) if forecast is not None]
    if len(known) < MIN_FULL:
        return
    losses, ends, hits = np.array([forecasts[place] for place in known]).T
    error = float(np.abs(losses - ends).mean())
    yield _proxy(
        data, full.where(np.array(known)), losses,
        name=f"extrapolated from {MIN_EPOCHS} of {epochs} epochs",
        unit=f"validation loss after {epochs} epochs as foretold, nats",
        note=f"; {len(known)} of {len(full)} curves bend enough to be extrapolated; they end "
        f"{error:.3g} nats from the forecast on average, {hits.mean():.0%} of them inside its "
        "95 % interval",
    )  # fmt: skip


def _forecast(row: Row, epochs: int) -> tuple[float, float, float] | None:
    """Return the loss foretold, the loss found, and 1 where the interval holds it, or None."""
    curve = [record["val_loss"] for record in row["curve"]]
    try:
        found = extrapolate(curve[:MIN_EPOCHS], epoch=epochs)
    except ValueError:
        return None  # the curve does not bend
    return found.value, curve[-1], float(found.low <= curve[-1] <= found.high)


def _names(recipes: Measured) -> list[str]:
    return [recipes.subnets[recipe] for recipe in recipes.recipe]


def _proxy(
    data: RegimeData, trained: Measured, cheap: FloatArray, *, name: str, unit: str, note: str = ""
) -> schema.Proxy:
    found = proxy_check(
        cheap,
        data.setting.observations(trained),
        bounds=data.bounds,
        strata=trained.stratum,
        settings=ProxySettings(resampling=data.config.resampling),
    )
    return schema.Proxy(
        name=name,
        regime=data.name,
        unit=unit,
        values=tuple(cheap.tolist()),
        drops=tuple(trained.drop.tolist()),
        tau=found.agreement.tau,
        interval=(found.agreement.interval.low, found.agreement.interval.high),
        level=found.agreement.interval.level,
        partial_tau=found.partial.tau,
        within_tau=None if found.within is None else found.within.tau,
        recall=found.recall,
        shift=found.shift.factor,
        shift_interval=(found.shift.interval.low, found.shift.interval.high),
        gate=_GATES[found.use] + note,
    )
