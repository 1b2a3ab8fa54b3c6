"""What the commands share: the application, the options that several take, and the manifest that flags name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dataforge.cli.later import collected, listed
from dataforge.errors import UsageError

if TYPE_CHECKING:
    from dataforge.manifest import Manifest

app = collected(
    name="dataforge",
    help="The data engine for pixel-space reasoning: make, check, publish and train on traces of looks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    cls=listed("""
        sources      sources   What a source holds: counts, sizes, boxes.
        synth        make      Make traces from questions on pictures.
        filter       make      Judge a stored run by its checks.
        show         look      Show one trace in the terminal.
        view         look      Browse a run in a local page.
        diff         look      What a change did: two runs side by side.
        push         publish   Publish runs as a data set.
        verify       publish   Prove a published set from itself.
        pull         publish   A published set back into a run folder.
        export       publish   Kept traces in another trainer's layout.
        import       publish   Traces made elsewhere, as a run.
        train        train     Train a student on traces.
        eval         evaluate  Try a model on a benchmark, with and without operations.
        fingerprint  around    Hash a set, to keep its like out of training.
        cache        around    Show or prune the cache of teacher replies.
        plugins      around    List what a manifest can name.
        schema       around    Print a record's JSON Schema.
        doctor       around    Say what is here and what is missing.
    """),
)

SourceName = Annotated[str | None, typer.Option("--source", "-s", help="A shipped manifest by name.")]
ManifestFile = Annotated[Path | None, typer.Option("--manifest", "-m", help="A manifest file of your own.")]
SourcePath = Annotated[
    list[str] | None,
    typer.Option("--path", help="The source's folder or file of real data; NAME=DIR for one of several sources."),
]
RunsFolder = Annotated[Path, typer.Option("--runs", help="Where run folders lie.", envvar="DATAFORGE_RUNS")]
RunName = Annotated[str, typer.Argument(help="A run's folder or name; `latest` is the newest.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Resolve, count and estimate; write nothing.")]

RUNS = Path("runs")


def examples(*commands: str) -> str:
    """The end of a command's help; \b keeps the lines as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


def chosen_manifest(
    source: str | None,
    file: Path | None,
    path: Sequence[str] | None,
    teacher: str | None,
    base_url: str | None,
    **changes: Any,
) -> Manifest:
    """The manifest that the flags name, with single values laid over it."""
    from dataforge import manifest

    if (source is None) == (file is None):
        raise UsageError(f"give --source NAME (one of {', '.join(manifest.shipped_names())}) or --manifest FILE")
    chosen = file if file is not None else manifest.shipped(str(source))
    laid = {key: value for key, value in changes.items() if value is not None}
    plain, named = _split_paths(path or ())
    return manifest.load(chosen, laid, plain, teacher_spec(teacher, base_url), named)


def _split_paths(given: Sequence[str]) -> tuple[Path | None, dict[str, Path]]:
    """--path DIR is the source's, --path NAME=DIR that of one of several."""
    from dataforge import plugins

    named, plain = {}, []
    for text in given:
        name, sign, folder = text.partition("=")
        if sign and name in plugins.names("source"):
            named[name] = Path(folder)
        else:
            plain.append(Path(text))
    if len(plain) > 1 or (plain and named):
        raise UsageError("one --path for the source, or --path NAME=DIR for each of several sources")
    return (plain[0] if plain else None), named


def teacher_spec(teacher: str | None, base_url: str | None) -> dict[str, Any] | None:
    """--teacher NAME is a plug-in, or else the name of a model that an OpenAI-compatible endpoint serves."""
    from dataforge import plugins

    if teacher is None:
        if base_url is not None:
            raise UsageError("--base-url needs --teacher MODEL: which model answers there?")
        return None
    if teacher in plugins.names("teacher") or (base_url is None and "." in teacher and _importable(teacher)):
        return {"name": teacher}
    return {"name": "openai_api", "model": teacher} | ({"base_url": base_url} if base_url else {})


def _importable(name: str) -> bool:
    from importlib.util import find_spec

    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
