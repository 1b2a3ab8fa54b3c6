"""Commands that are listed by name and one line of help, and whose file is imported when one of them is called."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group


class Later(TyperCommand):
    """A command in its group's list. What is asked of it goes to the real one: arguments, its own help, completion."""

    def __init__(self, name: str, file: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help)
        self.file = file

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return self.real().make_context(info_name, args, parent, **extra)

    def real(self) -> Any:
        """The command of that name in the file's `commands`, or else all of these: a group of its own."""
        group = get_group(import_module(f"dataforge.cli.{self.file}").commands)
        return group.commands.get(str(self.name), group)


def listed(table: str) -> type[TyperGroup]:
    """A group that adds to its commands those of a table: a line each of name, file under dataforge/cli, and help."""
    later = [Later(*line.split(maxsplit=2)) for line in table.strip().splitlines()]

    class Listed(TyperGroup):
        def __init__(self, *, commands: Any, **how: Any) -> None:
            super().__init__(commands={**commands, **{str(one.name): one for one in later}}, **how)

    return Listed


def collected(**how: Any) -> typer.Typer:
    """What a file's commands are collected in."""
    return typer.Typer(rich_markup_mode=None, **how)  # drawing the help with rich doubles the time of `--help`
