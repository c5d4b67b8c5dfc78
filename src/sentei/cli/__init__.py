"""The command line: parse, call, print. Parsing costs no torch."""

from sentei.cli.app import main

__all__ = ["main"]
