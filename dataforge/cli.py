"""The command line: parse, call, print, exit code. No other logic, and nothing heavy is imported before it is used.

Results go to stdout (a path, a small table, or --json), progress and messages to stderr. Exit code 0: done; 1: ran and
failed, or nothing kept; 2: the person must change something; 130: interrupted, with everything finished on disk.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dataforge.errors import UsageError

if TYPE_CHECKING:
    from dataforge.manifest import Manifest

app = typer.Typer(
    name="dataforge",
    help="The data engine for pixel-space reasoning: make, check and look at zoom-in traces.",
    no_args_is_help=True,
    rich_markup_mode=None,  # drawing the help with rich doubles the time of `--help`
    pretty_exceptions_enable=False,
)

SourceName = Annotated[str | None, typer.Option("--source", "-s", help="A shipped manifest by name.")]
ManifestFile = Annotated[Path | None, typer.Option("--manifest", "-m", help="A manifest file of your own.")]
RunsFolder = Annotated[Path, typer.Option("--runs", help="Where run folders lie.", envvar="DATAFORGE_RUNS")]
RunName = Annotated[str, typer.Argument(help="A run's folder or name; `latest` is the newest.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Resolve, count and estimate; write nothing.")]

RUNS = Path("runs")


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


def _examples(*commands: str) -> str:
    """The end of a command's help; \b keeps the lines as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show version.")] = False,
) -> None:
    pass


@app.command(
    short_help="Make traces from questions on pictures.",
    epilog=_examples(
        "dataforge synth --source infographics --limit 24",
        "dataforge synth --source infographics --path InfographicVQA --teacher gpt-4.1-mini",
        "dataforge synth --source infographics --teacher Qwen2.5-VL-72B --base-url http://localhost:8000/v1",
        "dataforge synth --manifest mine.yaml --dry-run",
        "dataforge synth --manifest mine.yaml --budget 20 --batch",
    ),
)
def synth(
    source: SourceName = None,
    manifest: ManifestFile = None,
    path: Annotated[Path | None, typer.Option(help="The source's folder or file of real data.")] = None,
    teacher: Annotated[str | None, typer.Option(help="A teacher plug-in, or a model name at the endpoint.")] = None,
    base_url: Annotated[str | None, typer.Option(help="The OpenAI-compatible endpoint of the model.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Examples to read.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another draw of everything random.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that cut pictures; default one a core.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Hard cap of what the run pays, over all its invocations: 20, 20usd, 5Mtok.")
    ] = None,
    batch: Annotated[bool, typer.Option("--batch", help="Ask through the Batch API: half price, up to a day.")] = False,
    retry: Annotated[
        list[str] | None, typer.Option(help="Also make failures of this reason again; repeatable.")
    ] = None,
    runs: RunsFolder = RUNS,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make traces: read questions on pictures, find the evidence, run real zooms, have a teacher write the thoughts.

    The same manifest goes on where an earlier run of it stopped; nothing finished is made or paid for twice. Failures
    that were the endpoint's (rate limits, time-outs, server errors) are made again. A run that reaches its budget ends
    with exit code 1; the same command with a higher one goes on.
    """
    from dataforge import estimate, screen
    from dataforge.budget import parse_budget

    chosen = _manifest(source, manifest, path, teacher, base_url, limit=limit, seed=seed, workers=workers)
    cap = parse_budget(budget) if budget else None
    if dry_run:
        screen.show_estimate(estimate.estimate(chosen, batch), cap, as_json)
        return
    _synth(chosen, runs, as_json, budget=cap, batch=batch, retry=tuple(retry or ()))


def _synth(chosen: Manifest, runs: Path, as_json: bool, **how: Any) -> None:
    from dataforge import plugins, report, screen
    from dataforge.runs import Run
    from dataforge.synth import synth as make

    if not plugins.build("teacher", chosen.teacher).sees:
        screen.note("the scripted teacher writes thoughts from the annotation by rule: for trying, not for real data")
    with Run.start(runs, chosen) as run:
        try:
            with screen.synth_progress(chosen.limit) as watch:
                progress = make(run, watch, **how)
        except KeyboardInterrupt:
            screen.note("interrupted: all that was finished is kept; the same command goes on from there")
            raise typer.Exit(130) from None
        finally:
            summary = report.write(run)
        screen.show_run(run, summary, as_json)
    if progress.stopped:
        screen.note(f"stopped early: {progress.stopped}")
    if progress.stopped or not summary.kept:
        raise typer.Exit(1)


@app.command(
    short_help="Judge a stored run by its checks.",
    epilog=_examples(
        "dataforge filter",
        "dataforge filter infographics-3fa91c --check replay --check grounded",
    ),
)
def filter(
    run: RunName = "latest",
    check: Annotated[list[str] | None, typer.Option(help="Checks instead of the manifest's; repeatable.")] = None,
    runs: RunsFolder = RUNS,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Judge a stored run by its manifest's checks, replay among them; write kept.jsonl and rejected.jsonl."""
    from dataforge import plugins, report, screen
    from dataforge.filter import sift
    from dataforge.runs import Run, find_run

    with Run.open(find_run(runs, run), hold=not dry_run) as opened:
        checks = list(check) if check else list(opened.manifest.filter)
        for spec in checks:
            plugins.build("check", spec)
        if dry_run:
            screen.show_filter_plan(opened, checks, as_json)
            return
        with screen.filter_progress(opened) as watch:
            sifted = sift(opened, checks, watch)
        summary = report.write(opened)
        screen.show_run(opened, summary, as_json)
    if not sifted.kept:
        raise typer.Exit(1)


@app.command(short_help="Show one trace in the terminal.", epilog=_examples("dataforge show poster-000003-0"))
def show(
    trace_id: Annotated[str, typer.Argument(help="A trace's id, or the start of it.")],
    run: Annotated[str, typer.Option(help="A run's folder or name.")] = "latest",
    runs: RunsFolder = RUNS,
    as_json: AsJson = False,
) -> None:
    """Show one trace in the terminal: the question, every look and thought, the verdicts."""
    from dataforge import screen
    from dataforge import show as showing
    from dataforge.records import to_line
    from dataforge.runs import Run, find_run

    opened = Run.open(find_run(runs, run))
    trace = showing.find_trace(opened, trace_id)
    if as_json:
        typer.echo(to_line(trace), nl=False)
    else:
        screen.out.print(showing.render(trace, opened))


@app.command(
    short_help="Browse a run in a local page.",
    epilog=_examples("dataforge view", "dataforge view infographics-3fa91c --port 8700"),
)
def view(
    run: RunName = "latest",
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 takes any free one.")] = 8700,
    runs: RunsFolder = RUNS,
) -> None:
    """Browse a run in a local page: filter, search, look at every view, mark what to keep or drop.

    Only this machine can reach it. Marks are kept in the run folder and honoured by `filter`.
    """
    from dataforge import screen
    from dataforge import view as viewing
    from dataforge.runs import Run, find_run

    opened = Run.open(find_run(runs, run))
    viewing.serve(opened, port, lambda address: screen.note(f"{address} (Ctrl-C ends it)"))


@app.command(
    short_help="What a change did: two runs side by side.",
    epilog=_examples("dataforge diff infographics-3fa91c infographics-77b0e2"),
)
def diff(
    run_a: Annotated[str, typer.Argument(help="A run's folder or name.")],
    run_b: RunName = "latest",
    runs: RunsFolder = RUNS,
    as_json: AsJson = False,
) -> None:
    """Compare two runs: what a changed prompt, teacher or threshold did to counts, verdicts and answers."""
    from dataforge import diff as differing
    from dataforge import screen
    from dataforge.runs import Run, find_run

    made = differing.compare(Run.open(find_run(runs, run_a)), Run.open(find_run(runs, run_b)))
    if as_json:
        typer.echo(made.model_dump_json())
    else:
        screen.out.print(differing.render(made))


@app.command(
    short_help="Hash a set, to keep its like out of training.",
    epilog=_examples(
        "dataforge fingerprint VStarBench --out vstar.prints",
        "dataforge fingerprint hub:lmms-lab/HR-Bench@test --out hrbench.prints",
    ),
)
def fingerprint(
    what: Annotated[str, typer.Argument(help="A folder, table, run, manifest, or hub:REPO[:CONFIG][@SPLIT].")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    as_json: AsJson = False,
) -> None:
    """Write the hashes of a set's pictures and questions to a file that the check `contaminated` reads.

    The file holds no picture and no text, so it can be passed on where the set can't.
    """
    from dataforge import fingerprints

    header = fingerprints.make(what, out)
    unread = f"; {header.unreadable} unreadable, first: {header.first_unreadable}" if header.unreadable else ""
    said = f"{out}: {header.pictures} pictures, {header.questions} questions{unread}"
    typer.echo(header.model_dump_json() if as_json else said)


@app.command(short_help="Print a record's JSON Schema.", epilog=_examples("dataforge schema Trace > trace.schema.json"))
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


@app.command(short_help="List what a manifest can name.", epilog=_examples("dataforge plugins check"))
def plugins(
    family: Annotated[
        str | None, typer.Argument(help="source, operation, check or teacher; all when left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what a manifest can name, with each plug-in's options."""
    from dataforge import plugins as registry
    from dataforge import screen

    if family is not None and family not in registry.FAMILIES:
        raise UsageError(f"no family {family!r}: there are {', '.join(registry.FAMILIES)}")
    screen.show_plugins([one for one in registry.FAMILIES if family in (None, one)], as_json)


@app.command(
    short_help="Show or prune the cache of teacher replies.",
    epilog=_examples("dataforge cache", "dataforge cache --prune --model gpt-4.1-mini --dry-run"),
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
    from dataforge import cache as caching
    from dataforge import screen

    path = runs / "replies.sqlite"
    if not prune:
        if model or purpose or unused:
            raise UsageError("--model, --purpose and --unused choose what goes: give --prune with them")
        screen.show_cache(path, caching.held(path), as_json)
        return
    gone = caching.prune(path, caching.Choice(model, purpose, unused), dry_run)
    screen.show_pruned(path, gone, dry_run, as_json)


@app.command(
    short_help="Say what is here and what is missing.", epilog=_examples("dataforge doctor --teacher gpt-4.1-mini")
)
def doctor(
    teacher: Annotated[str | None, typer.Option(help="A teacher plug-in, or a model name at the endpoint.")] = None,
    base_url: Annotated[str | None, typer.Option(help="The OpenAI-compatible endpoint of the model.")] = None,
    runs: RunsFolder = RUNS,
    as_json: AsJson = False,
) -> None:
    """Say what is installed, whether the teacher answers, and the command that mends what is missing."""
    from dataforge import doctor as doctoring
    from dataforge import screen

    findings = doctoring.examine(_teacher_spec(teacher, base_url), runs)
    screen.show_findings(findings, as_json)
    if any(not finding.ok and finding.needed for finding in findings):
        raise typer.Exit(1)


def _manifest(
    source: str | None,
    file: Path | None,
    path: Path | None,
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
    return manifest.load(chosen, laid, path, _teacher_spec(teacher, base_url))


def _teacher_spec(teacher: str | None, base_url: str | None) -> dict[str, Any] | None:
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
