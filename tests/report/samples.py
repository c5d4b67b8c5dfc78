"""Records to report, and pages read back as trees."""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from html.parser import HTMLParser
from typing import Any

from sentei.records import (
    DataRecord,
    EpochRecord,
    GroupRecord,
    Hardware,
    LatencyRecord,
    Measurement,
    RunRecord,
)

HOSTILE = "</script><img src=x onerror=alert(1)><!--<script>\"'&"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class TreeParser(HTMLParser):
    """Builds a tree as a browser would, for well-nested pages; refuses others."""

    def __init__(self) -> None:
        super().__init__()
        self.root = ET.Element("document")
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = ET.SubElement(self.open[-1], tag, {k: v or "" for k, v in attrs})
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        parent = self.open[-1]
        if len(parent):
            parent[-1].tail = (parent[-1].tail or "") + data
        else:
            parent.text = (parent.text or "") + data


@dataclass(frozen=True)
class Page:
    """A parsed report."""

    markup: str

    @cached_property
    def root(self) -> ET.Element:
        parser = TreeParser()
        parser.feed(self.markup)
        parser.close()
        assert parser.open == [parser.root]
        return parser.root

    @cached_property
    def data(self) -> dict[str, Any]:
        (script,) = [s for s in self.root.iter("script") if s.get("id") == "data"]
        data: dict[str, Any] = json.loads(script.text or "")
        return data

    def by_id(self, name: str) -> ET.Element:
        (element,) = [e for e in self.root.iter() if e.get("id") == name]
        return element

    def section(self, name: str) -> ET.Element:
        (element,) = [e for e in self.root.iter("section") if e.get("aria-labelledby") == name]
        return element

    def chart(self, name: str) -> ET.Element:
        (element,) = [
            e for e in self.root.iter("svg") if e.get("aria-labelledby") == f"{name}-title"
        ]
        return element

    def rows(self, caption: str) -> list[list[str]]:
        (table,) = [t for t in self.root.iter("table") if text_of(t.find("caption")) == caption]
        body = table.find("tbody")
        assert body is not None
        return [[text_of(cell) for cell in row] for row in body]


def text_of(element: ET.Element | None) -> str:
    """Text of an element and all in it, no-break spaces as spaces."""
    assert element is not None
    return "".join(element.itertext()).replace("\u00a0", " ")


def numbers_in(value: object) -> Iterator[float]:
    """All numbers of a JSON value."""
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from numbers_in(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def poison(value: object, *, kept: frozenset[str] = frozenset()) -> object:
    """The value with every string in it hostile; times and ``kept`` stay, for others are refused."""
    if isinstance(value, str):
        return value if value in kept or re.match(r"\d{4}-\d\d-\d\dT", value) else HOSTILE
    if is_dataclass(value) and not isinstance(value, type):
        changed = {f.name: poison(getattr(value, f.name), kept=kept) for f in fields(value)}
        return replace(value, **changed)
    if isinstance(value, Mapping):
        return {poison(key, kept=kept): poison(item, kept=kept) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(poison(item, kept=kept) for item in value)
    return value


def latency(
    runtime: str = "torch", median_ms: float = 8.0, *, library_version: str = "2.0"
) -> LatencyRecord:
    """A time that spreads from 3/4 of its median to 3/2 of it."""
    return LatencyRecord(
        runtime=runtime,
        device="cpu",
        threads=1,
        batch_size=1,
        median_ms=median_ms,
        p10_ms=median_ms * 0.75,
        p90_ms=median_ms * 1.5,
        num_runs=30,
        library_version=library_version,
    )


def epoch(phase: str, number: int) -> EpochRecord:
    """An epoch whose accuracy is 1/2, 5/8, 3/4, ..."""
    return EpochRecord(
        phase=phase,
        epoch=number,
        train_loss=1.0 / (number + 1),
        val_loss=1.25 / (number + 1),
        val_accuracy=0.5 + 0.125 * number,
        learning_rate=0.01,
        seconds=61.0,
    )


def record() -> RunRecord:
    """A run whose numbers are easy to follow: half of the MACs, a quarter of the parameters."""
    return RunRecord(
        kind="prune",
        name="half",
        created="2026-02-03T10:20:30+00:00",
        code_version="0.1.0",
        config={"criterion": {"name": "l1"}, "strength": 0.375},
        seeds={"run": 7},
        data=DataRecord(name="digits", digest="d1", num_train=60, num_val=20, num_test=10),
        checkpoint_digest="c1",
        hardware=Hardware(
            cpu="a processor",
            num_cores=2,
            memory_bytes=16_000_000_000,
            gpu=None,
            platform="Linux",
            python="3.12.1",
            libraries={"torch": "2.0"},
        ),
        before=Measurement(
            accuracy=0.9,
            loss=0.5,
            macs=4_000_000,
            num_parameters=80_000,
            weight_bytes=320_000,
            activation_bytes=64_000,
            peak_activation_bytes=16_000,
            size_on_disk_bytes=330_000,
            latencies=(latency(median_ms=8.0),),
        ),
        after=Measurement(
            accuracy=0.875,
            loss=0.625,
            macs=2_000_000,
            num_parameters=20_000,
            weight_bytes=80_000,
            activation_bytes=32_000,
            peak_activation_bytes=8_000,
            size_on_disk_bytes=82_500,
            latencies=(latency(median_ms=5.0),),
        ),
        groups=(
            GroupRecord(
                name="stem", width_before=4, width_after=3, scores=(0.001, 0.01, 0.1, 10.0)
            ),
            GroupRecord(name="body", width_before=16, width_after=8, scores=(0.0, 0.5, 0.25, 2.0)),
            GroupRecord(name="head", width_before=10, width_after=10, frozen="it is the output"),
        ),
        curve=(epoch("finetune", 0), epoch("finetune", 1), epoch("finetune", 2)),
        seconds={"trace": 1.25, "finetune": 183.0},
        notes=("read me",),
    )
