"""Accuracy and loss over the epochs."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from itertools import groupby

from sentei.records import EpochRecord, RunRecord
from sentei.report import curves, formats
from sentei.report.elements import el
from sentei.report.scales import Scale, linear_scale
from sentei.report.tables import figure_of, folded, number, paragraph, table


def recovery(record: RunRecord, key: str) -> list[ET.Element]:
    """Return accuracy and loss over the epochs of every phase."""
    curve = record.curve
    if not curve:
        return [paragraph("The network was not trained in this run.", class_="none")]
    phases = _phases(curve)
    panels = [
        _accuracy_panel(record, phases, key),
        _loss_panel(record, phases, key),
    ]
    shown = [panel for panel in panels if panel is not None]
    detail = table(
        "Training, epoch by epoch",
        ["Phase", "Epoch", "Train loss", "Val loss", "Val accuracy", "Learning rate", "Time"],
        (
            [
                epoch.phase,
                number(epoch.epoch, formats.integer),
                number(epoch.train_loss, formats.significant),
                number(epoch.val_loss, formats.significant),
                number(epoch.val_accuracy, formats.percent),
                number(epoch.learning_rate, formats.significant),
                number(epoch.seconds, formats.duration),
            ]
            for epoch in curve
        ),
    )
    return [el("div", *shown, class_="panels"), folded("Epochs as a table", detail)]


def _phases(curve: Sequence[EpochRecord]) -> list[curves.Phase]:
    phases: list[curves.Phase] = []
    for name, members in groupby(enumerate(curve), key=lambda pair: pair[1].phase):
        stretch = list(members)
        (first, first_epoch), (last, last_epoch) = stretch[0], stretch[-1]
        phases.append(
            curves.Phase(
                name=name,
                first=first,
                last=last,
                first_epoch=first_epoch.epoch,
                last_epoch=last_epoch.epoch,
            )
        )
    return phases


def _line(
    curve: Sequence[EpochRecord],
    phases: Sequence[curves.Phase],
    title: tuple[str, str],
    value: Callable[[EpochRecord], float | None],
    show: Callable[[float], str],
) -> curves.Line:
    """Return a series; ``title`` is its name in hover texts and its name at the line's end."""
    points = [
        curves.Point(
            step=step,
            phase=phase,
            value=known,
            hover=f"{curve[step].phase}, epoch {curve[step].epoch}: {title[0]} {show(known)}",
        )
        for phase, stretch in enumerate(phases)
        for step in range(stretch.first, stretch.last + 1)
        if (known := value(curve[step])) is not None
    ]
    return curves.Line(name=title[1], class_=title[1], points=points)


def _accuracy_panel(
    record: RunRecord, phases: Sequence[curves.Phase], key: str
) -> ET.Element | None:
    title = ("validation accuracy", "validation")
    line = _line(record.curve, phases, title, lambda e: e.val_accuracy, formats.percent)
    if not line.points:
        return None
    before = record.before.accuracy
    values = [point.value for point in line.points] + ([] if before is None else [before])
    panel = curves.Panel(
        lines=[line],
        phases=phases,
        scale=_within(linear_scale(values), 0.0, 1.0),
        label=formats.tick_percent,
        reference=None if before is None else (before, f"before {formats.percent(before)} (test)"),
    )
    chart = curves.lines(f"{key}-accuracy-chart", "Accuracy over the epochs", panel)
    return figure_of(chart, el("b", "Top-1 accuracy"), " on the validation samples")


def _within(scale: Scale, low: float, high: float) -> Scale:
    return Scale(low=max(scale.low, low), high=min(scale.high, high))


def _loss_panel(record: RunRecord, phases: Sequence[curves.Phase], key: str) -> ET.Element:
    show = formats.significant
    drawn = [
        _line(record.curve, phases, ("train loss", "train"), lambda e: e.train_loss, show),
        _line(record.curve, phases, ("validation loss", "validation"), lambda e: e.val_loss, show),
    ]
    values = [point.value for line in drawn for point in line.points]
    panel = curves.Panel(lines=drawn, phases=phases, scale=linear_scale(values), label=formats.tick)
    chart = curves.lines(f"{key}-loss-chart", "Loss over the epochs", panel)
    return figure_of(chart, el("b", "Loss"), ", mean over the samples")
