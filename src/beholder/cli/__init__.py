"""The command line: one file per verb. Importing this imports neither torch nor numpy."""

from __future__ import annotations


def main() -> None:
    """The program `beholder`."""
    from beholder.cli.app import app

    app(prog_name="beholder")
