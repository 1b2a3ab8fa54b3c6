"""Commands about the surroundings of a run: fingerprint, schema, plugins, cache, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dataforge.cli.app import (
    RUNS,
    AsJson,
    DryRun,
    RunsFolder,
    examples,
    teacher_spec,
)
from dataforge.cli.later import collected
from dataforge.errors import UsageError

commands = collected()


@commands.command(
    epilog=examples(
        "dataforge fingerprint VStarBench --out vstar.prints",
        "dataforge fingerprint infographics-3fa91c --out mine.prints",
        "dataforge fingerprint hub:lmms-lab/HR-Bench@test --out hrbench.prints",
    ),
)
def fingerprint(
    what: Annotated[str, typer.Argument(help="A folder, table, run, manifest, or hub:REPO[:CONFIG][@SPLIT].")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    runs: RunsFolder = RUNS,
    as_json: AsJson = False,
) -> None:
    """Write the hashes of a set's pictures and questions to a file that the check `contaminated` reads.

    The file holds no picture and no text, so it can be passed on where the set can't.
    """
    from dataforge.alike import fingerprints
    from dataforge.runs import find_run

    named = not (what.startswith("hub:") or Path(what).exists()) and (runs / what / "manifest.json").is_file()
    header = fingerprints.make(str(find_run(runs, what)) if named else what, out)
    unread = f"; {header.unreadable} unreadable, first: {header.first_unreadable}" if header.unreadable else ""
    said = f"{out}: {header.pictures} pictures, {header.questions} questions{unread}"
    typer.echo(header.model_dump_json() if as_json else said)


@commands.command(epilog=examples("dataforge schema Trace > trace.schema.json"))
def schema(record: Annotated[str, typer.Argument(help="Trace, Failure, or Manifest.")] = "Trace") -> None:
    """Print the JSON Schema of a stored record."""
    import json

    from pydantic import BaseModel

    from dataforge import manifest, records

    known: dict[str, type[BaseModel]] = {
        "Trace": records.Trace,
        "Failure": records.Failure,
        "Manifest": manifest.Manifest,
    }
    if record not in known:
        raise UsageError(f"no record {record!r}: there are {', '.join(known)}")
    typer.echo(json.dumps(known[record].model_json_schema(), indent=1))


@commands.command(epilog=examples("dataforge plugins check"))
def plugins(
    family: Annotated[
        str | None, typer.Argument(help="source, operation, check, teacher or exporter; all when left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what a manifest can name, with each plug-in's options."""
    from dataforge import plugins as registry
    from dataforge.cli import screen

    if family is not None and family not in registry.FAMILIES:
        raise UsageError(f"no family {family!r}: there are {', '.join(registry.FAMILIES)}")
    screen.show_plugins([one for one in registry.FAMILIES if family in (None, one)], as_json)


@commands.command(
    epilog=examples("dataforge cache", "dataforge cache --prune --model gpt-4.1-mini --dry-run"),
)
def cache(
    prune: Annotated[bool, typer.Option("--prune", help="Delete the replies that the next options choose.")] = False,
    model: Annotated[str | None, typer.Option(help="Choose replies of this model.")] = None,
    purpose: Annotated[str | None, typer.Option(help="Choose replies of this purpose: write, locate, verify.")] = None,
    unused: Annotated[bool, typer.Option("--unused", help="Choose replies that no trace of a run here names.")] = False,
    runs: RunsFolder = RUNS,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Show what has been paid for: teacher replies by model and purpose, with tokens, dollars and size on disk.

    With --prune, delete those that fit every option given. A deleted reply is paid for again when a run needs it, and
    a run that isn't finished may need replies that no trace names yet.
    """
    from dataforge.ask import cache as caching
    from dataforge.cli import screen

    path = runs / "replies.sqlite"
    if not prune:
        if model or purpose or unused:
            raise UsageError("--model, --purpose and --unused choose what goes: give --prune with them")
        screen.show_cache(path, caching.held(path), as_json)
        return
    gone = caching.prune(path, caching.Choice(model, purpose, unused), dry_run)
    screen.show_pruned(path, gone, dry_run, as_json)


@commands.command(epilog=examples("dataforge doctor --teacher gpt-4.1-mini"))
def doctor(
    teacher: Annotated[str | None, typer.Option(help="A teacher plug-in, or a model name at the endpoint.")] = None,
    base_url: Annotated[str | None, typer.Option(help="The OpenAI-compatible endpoint of the model.")] = None,
    runs: RunsFolder = RUNS,
    as_json: AsJson = False,
) -> None:
    """Say what is installed, whether the teacher answers, and the command that mends what is missing."""
    from dataforge import doctor as doctoring
    from dataforge.cli import screen

    findings = doctoring.examine(teacher_spec(teacher, base_url), runs)
    screen.show_findings(findings, as_json)
    if any(not finding.ok and finding.needed for finding in findings):
        raise typer.Exit(1)
