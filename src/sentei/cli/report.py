"""``sentei report``: finished runs in one page."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sentei import pipeline
from sentei.cli.answer import Answer, verbatim


def report(
    *runs: str,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("report.html"),
) -> Answer:
    """Write one HTML page on finished runs; it opens offline in any browser.

    ```console
    sentei report runs/a runs/b -o report.html
    ```

    Args:
        runs: Directories of runs, or their records.
        output: File to write.

    Raises:
        ValueError: no run is named.
    """
    if not runs:
        raise ValueError("name at least one run: sentei report RUN -o report.html")
    path = pipeline.report_runs(runs, output)
    return Answer(
        document={"path": str(path), "runs": list(runs)},
        shown=verbatim(f"{path}: {len(runs)} run(s)"),
    )
