"""The command that looks at a source before anything is made of it: sources."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dataforge.cli.app import AsJson, examples
from dataforge.cli.later import collected
from dataforge.errors import UsageError

if TYPE_CHECKING:
    from dataforge import plugins

commands = collected()

DRAWN, STORED = 24, 200
"""Rows opened by default: of a source that never ends, and of one that does."""


@commands.command(
    epilog=examples(
        "dataforge sources",
        "dataforge sources sa1b --path SA-1B",
        "dataforge sources web_pages --path WebSRC/data --limit 1000",
        "dataforge sources table --manifest mine.yaml",
    ),
)
def sources(
    name: Annotated[str | None, typer.Argument(help="A source; all are listed when left out.")] = None,
    path: Annotated[Path | None, typer.Option(help="The source's folder or file.")] = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", "-m", help="Take the source's options from it.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="The source's split.")] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, help="Rows opened, spread over all; default 200, of drawn ones 24."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The page; default: NAME-source.html here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a source holds before anything is made of it, and write a page with ten pictures and their boxes.

    All rows are counted; a sample of them is opened: pictures found and missing, sizes, boxes, answer types.
    """
    from dataforge.cli import screen
    from dataforge.runs import make_folder, write_whole
    from dataforge.survey import survey

    if name is None:
        screen.show_plugins(["source"], as_json)
        return
    source = _source(name, path, manifest, split)
    if source.missing:
        raise UsageError(f"{name}: {source.missing}")
    most = limit or (DRAWN if source.endless else STORED)
    target = out or Path(f"{re.sub(r'[^A-Za-z0-9_]', '_', name)}-source.html")
    make_folder(target.parent, "--out")
    with screen.survey_progress(most) as watch:
        numbers, page = survey(source, most, watch)
    write_whole(target, page, "--out")
    screen.show_survey(numbers, target, as_json)
    if not numbers.examples:
        raise typer.Exit(1)


def _source(name: str, path: Path | None, manifest: Path | None, split: str | None) -> plugins.Source:
    """The source of that name, with the options of a manifest that names it, and those of the flags over them."""
    from dataforge import manifest as manifests
    from dataforge import plugins
    from dataforge.sources.mixed import Mixed

    options: dict[str, object] = {"name": name}
    if manifest is not None:
        stated: plugins.Source = plugins.build("source", manifests.load(manifest).source)
        parts = stated.parts if isinstance(stated, Mixed) else ()
        there = {one.name: one for one in (stated, *(part.source for part in parts))}
        if name not in there:
            raise UsageError(f"{manifest} has no source {name!r}: there is {', '.join(there)}")
        options |= there[name].model_dump(mode="json", by_alias=True)
    options |= {"path": str(path)} if path else {}
    options |= {"split": split} if split else {}
    source: plugins.Source = plugins.build("source", options)
    return source
