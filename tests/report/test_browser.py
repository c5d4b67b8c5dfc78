"""The report in a real browser."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sentei.report import write_report
from sentei.report.space_page import write_space_report
from tests.report.samples import Page, record
from tests.report.space_samples import analysis

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
CLICKS = """
<script>
  const header = [...document.querySelectorAll("SCOPE th")]
    .find((th) => th.textContent === "HEADER");
  header.firstElementChild.click();
  const root = document.documentElement;
  document.body.dataset.overflow = root.scrollWidth - root.clientWidth;
</script>
"""


def click(path: Path, scope: str, header: str) -> None:
    """Add a script that clicks on the header of a column and measures what the window cuts."""
    script = CLICKS.replace("SCOPE", scope).replace("HEADER", header)
    markup = path.read_text(encoding="utf-8").replace("</body>", f"{script}</body>")
    path.write_text(markup, encoding="utf-8")


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
    click(path, "#comparison ~ .scroll", "MACs")

    page, messages = opened(path, tmp_path / "profile")

    assert "CONSOLE" not in messages
    # The script made the headers buttons, and the click on "MACs" sorted the rows by number.
    assert [row[0] for row in page.rows("All runs")] == ["cheap", "medium", "dear"]
    sorted_by = [th for th in page.root.iter("th") if th.get("aria-sort") == "ascending"]
    assert [th[0].tag for th in sorted_by] == ["button"]
    assert page.root.findall(".//body")[0].get("data-overflow") == "0"


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_page_of_a_space_study_works_without_a_console_message(tmp_path: Path) -> None:
    path = write_space_report(tmp_path / "report.html", analysis())
    click(path, "details table", "Drop, points")

    page, messages = opened(path, tmp_path / "profile")

    assert "CONSOLE" not in messages
    drops = [float(row[-1]) for row in page.rows("Subnetworks, resnet20 at 50 %")]
    assert drops == sorted(drops)
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
