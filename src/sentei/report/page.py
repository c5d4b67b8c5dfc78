"""The page: one HTML file that opens offline and asks for nothing from outside."""

import dataclasses
import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from sentei.records import RunRecord, atomic_write_text
from sentei.report import formats
from sentei.report.elements import el, to_markup
from sentei.report.facts import Facts, derive
from sentei.report.index import index_section, run_details
from sentei.report.sections import run_sections
from sentei.report.tables import moment

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
)


def write_report(records: Sequence[RunRecord], path: Path, *, title: str | None = None) -> Path:
    """Write the report of ``records`` as one self-contained HTML file.

    A reader of ``path`` sees the old file or the whole new one.

    Args:
        records: Runs, in the order shown; may be empty.
        path: File to write; its folder is made if needed.
        title: Title of the page; by default the name of the run, or the number of runs.

    Returns:
        ``path``.

    Raises:
        ValueError: a record holds a value that JSON has not, such as NaN.
    """
    atomic_write_text(path, render_report(records, title=title))
    return path


def render_report(records: Sequence[RunRecord], *, title: str | None = None) -> str:
    """Return the report of ``records`` as the text of one HTML file.

    One run fills the page. Several begin with a comparison and are folded below it. Every number
    shown is also in the page's ``<script type="application/json" id="data">``: the records as they
    are, and what is derived from them.

    Args:
        records: Runs, in the order shown; may be empty.
        title: Title of the page; by default the name of the run, or the number of runs.

    Raises:
        ValueError: a record holds a value that JSON has not, such as NaN.
    """
    title = title or _title(records)
    facts = [derive(record) for record in records]
    return document(title, _about(records), _content(records, facts), _data(records, facts))


def document(title: str, about: ET.Element, content: Sequence[ET.Element], data: str) -> str:
    """Return the text of one HTML file that asks for nothing from outside.

    Args:
        title: Of the page.
        about: What stands below the title.
        content: The sections.
        data: Every number shown, as :func:`json_data` gives it.
    """
    page = el(
        "html",
        _head(title),
        el(
            "body",
            el("a", "Skip to the content", href="#content", class_="skip"),
            el("header", el("p", "sentei report", class_="brand"), el("h1", title), about),
            el("main", *content, id="content"),
            el("footer", el("p", "Made by sentei. Every number is in this file as JSON.")),
            el("script", data, type="application/json", id="data"),
            el("script", _asset("page.js")),
        ),
        lang="en",
    )
    return f"<!doctype html>\n{to_markup(page)}\n"


def _title(records: Sequence[RunRecord]) -> str:
    return records[0].name if len(records) == 1 else formats.plural(len(records), "run")


def _head(title: str) -> ET.Element:
    policy = el("meta", content=CONTENT_SECURITY_POLICY)
    policy.set("http-equiv", "Content-Security-Policy")
    return el(
        "head",
        el("meta", charset="utf-8"),
        policy,
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{title} \u2013 sentei"),
        # An empty icon keeps browsers from asking a server for one.
        el("link", rel="icon", href="data:,"),
        el("style", _asset("page.css")),
    )


def _asset(name: str) -> str:
    return files("sentei.report").joinpath(name).read_text(encoding="utf-8")


def _about(records: Sequence[RunRecord]) -> ET.Element:
    if len(records) == 1:
        record = records[0]
        about = el("p", f"{record.kind} on {record.data.name}, ", moment(record.created))
    else:
        about = el("p", f"{formats.plural(len(records), 'run')} compared")
    about.set("class", "about")
    return about


def _content(records: Sequence[RunRecord], facts: Sequence[Facts]) -> list[ET.Element]:
    if not records:
        return [el("p", "There is no run to report.", class_="none")]
    if len(records) == 1:
        return run_sections(records[0], facts[0], "run-1")
    folded = [
        run_details(i, record, run_sections(record, derived, f"run-{i}", level=3))
        for i, (record, derived) in enumerate(zip(records, facts, strict=True), start=1)
    ]
    heading = el("h2", "Runs", id="runs")
    return [index_section(records, facts), el("section", heading, *folded, aria_labelledby="runs")]


def _data(records: Sequence[RunRecord], facts: Sequence[Facts]) -> str:
    runs = [
        {"record": json.loads(record.to_json()), "derived": dataclasses.asdict(derived)}
        for record, derived in zip(records, facts, strict=True)
    ]
    return json_data({"runs": runs})


def json_data(value: Mapping[str, Any]) -> str:
    """Return JSON that no HTML parser can mistake for markup.

    Raises:
        ValueError: it holds a value that JSON has not, such as NaN.
    """
    words = json.dumps(value, allow_nan=False)
    # "<" opens every dangerous sequence: </script, <!--, <script.
    return words.replace("<", "\\u003c")
