"""The report in a real browser."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sentei.report import write_report
from tests.report.samples import Page, record

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
CLICKS = """
<script>
  const header = [...document.querySelectorAll("#comparison ~ .scroll th")]
    .find((th) => th.textContent === "MACs");
  header.firstElementChild.click();
  const root = document.documentElement;
  document.body.dataset.overflow = root.scrollWidth - root.clientWidth;
</script>
"""


def opened(path: Path, profile: Path) -> tuple[Page, str]:
    """The page after its scripts ran, and what the browser said meanwhile."""
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
            "--window-size=500,900",
            f"--user-data-dir={profile}",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return Page(done.stdout), done.stderr


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_page_works_without_a_console_message(tmp_path: Path) -> None:
    costs = {"dear": 3_000_000, "cheap": 1_000_000, "medium": 2_000_000}
    records = [
        replace(record(), name=name, after=replace(record().after, macs=macs))
        for name, macs in costs.items()
    ]
    path = write_report(records, tmp_path / "report.html")
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", f"{CLICKS}</body>"))

    page, messages = opened(path, tmp_path / "profile")

    assert "CONSOLE" not in messages
    # The script made the headers buttons, and the click on "MACs" sorted the rows by number.
    assert [row[0] for row in page.rows("All runs")] == ["cheap", "medium", "dear"]
    sorted_by = [th for th in page.root.iter("th") if th.get("aria-sort") == "ascending"]
    assert [th[0].tag for th in sorted_by] == ["button"]
    assert page.root.findall(".//body")[0].get("data-overflow") == "0"


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_policy_stops_a_request_and_the_browser_says_so(tmp_path: Path) -> None:
    path = write_report([record()], tmp_path / "report.html")
    image = '<img src="https://example.invalid/x.png"></body>'
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", image))

    _, messages = opened(path, tmp_path / "profile")

    assert "CONSOLE" in messages
    assert "Content Security Policy" in messages
