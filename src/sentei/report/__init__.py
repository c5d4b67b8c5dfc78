"""Records in, one self-contained HTML file out. Sees records only; needs no torch."""

from sentei.report.page import render_report, write_report

__all__ = ["render_report", "write_report"]
