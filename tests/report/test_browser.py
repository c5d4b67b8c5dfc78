"""The report in a real browser."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sentei.report import write_report
from tests.report.samples import Page, record

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_page_runs_without_a_console_message(tmp_path: Path) -> None:
    path = write_report(
        [replace(record(), name="a"), replace(record(), name="b")], tmp_path / "report.html"
    )

    done = subprocess.run(
        [
            str(BROWSER),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    assert "CONSOLE" not in done.stderr
    page = Page(done.stdout)
    # The script ran: it, and only it, makes the headers of sortable tables buttons.
    headers = page.section("comparison").findall(".//thead/tr/th")
    assert [header[0].tag for header in headers] == ["button"] * len(headers)
