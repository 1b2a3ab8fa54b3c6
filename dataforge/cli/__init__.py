"""The command line: parse, call, print, exit code. No other logic; the file of a command is imported when it is called.

Results go to stdout (a path, a small table, or --json), progress and messages to stderr. Exit code 0: done; 1: ran and
failed, or nothing kept; 2: the person must change something; 130: interrupted, with everything finished on disk.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dataforge.cli.app import app
from dataforge.errors import UsageError

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the console script: runs a command and turns what it raises into an exit code."""
    try:
        app()
    except UsageError as error:
        sys.stderr.write(f"dataforge: {error}\n")
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def _version(wanted: bool) -> None:
    if wanted:
        from dataforge import __version__

        typer.echo(f"dataforge {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show version.")] = False,
) -> None:
    pass
