"""Reports of finished runs."""

from collections.abc import Sequence
from pathlib import Path

from sentei.errors import CheckpointError
from sentei.pipeline.journal import RECORD_NAME
from sentei.records import read_record
from sentei.report import write_report


def report_runs(runs: Sequence[str], path: Path) -> Path:
    """Write one HTML file on several runs.

    Args:
        runs: Directories of runs, or records.
        path: File to write.

    Raises:
        CheckpointError: a record is missing, torn or of another version, or the file cannot be
            written.
    """
    records = [read_record(_record_of(Path(run))) for run in runs]
    try:
        return write_report(records, path)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written ({error}); choose another place"
        ) from error


def _record_of(run: Path) -> Path:
    if not run.is_dir():
        return run
    if not (run / RECORD_NAME).exists():
        raise CheckpointError(
            f"{run}: there is no {RECORD_NAME}; name the directory of a finished run"
        )
    return run / RECORD_NAME
