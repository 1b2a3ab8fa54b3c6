"""Commands that make and judge traces: synth, filter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dataforge.cli.app import (
    RUNS,
    AsJson,
    DryRun,
    ManifestFile,
    RunName,
    RunsFolder,
    SourceName,
    SourcePath,
    chosen_manifest,
    examples,
)
from dataforge.cli.later import collected
from dataforge.errors import UsageError

if TYPE_CHECKING:
    from dataforge.manifest import Manifest

commands = collected()


@commands.command(
    epilog=examples(
        "dataforge synth --source infographics --limit 24",
        "dataforge synth --source infographics --path InfographicVQA --teacher gpt-4.1-mini",
        "dataforge synth --source infographics --teacher Qwen2.5-VL-72B --base-url http://localhost:8000/v1",
        "dataforge synth --source pixel_reasoner --path sa1b=SA-1B --path star=STAR --teacher gpt-4.1-mini",
        "dataforge synth --source star --path STAR --teacher gpt-4.1-mini",
        "dataforge synth --manifest mine.yaml --dry-run",
        "dataforge synth --manifest mine.yaml --budget 20 --batch",
    ),
)
def synth(
    source: SourceName = None,
    manifest: ManifestFile = None,
    path: SourcePath = None,
    teacher: Annotated[str | None, typer.Option(help="A teacher plug-in, or a model name at the endpoint.")] = None,
    base_url: Annotated[str | None, typer.Option(help="The OpenAI-compatible endpoint of the model.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Examples to read.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another draw of everything random.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that cut pictures; default one a core.")] = None,
    video_backend: Annotated[
        str | None, typer.Option(help="Who decodes videos: auto (exact on every file), pyav, decord (checked).")
    ] = None,
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
    from dataforge.ask.budget import manifest_budget
    from dataforge.cli import screen
    from dataforge.synth import estimate

    changes = {"limit": limit, "seed": seed, "workers": workers, "budget": budget, "video_backend": video_backend}
    chosen = chosen_manifest(source, manifest, path, teacher, base_url, **changes)
    cap = manifest_budget(chosen.budget)
    if dry_run:
        screen.show_estimate(estimate.estimate(chosen, batch), cap, as_json)
        return
    _synth(chosen, runs, as_json, batch=batch, retry=tuple(retry or ()))


def _synth(chosen: Manifest, runs: Path, as_json: bool, **how: Any) -> None:
    from dataforge import plugins, report
    from dataforge.cli import screen
    from dataforge.runs import Run
    from dataforge.sources.mixed import stand_ins
    from dataforge.synth import synth as make

    for sentence in stand_ins(plugins.build("source", chosen.source)):
        screen.note(sentence)
    teacher = plugins.build("teacher", chosen.teacher)
    if not teacher.sees:
        screen.note(
            f"the {teacher.title} teacher writes thoughts by rule from the annotation: for trying, not for real data"
        )
    with Run.start(runs, chosen) as run:
        try:
            with screen.synth_progress(chosen.limit) as watch:
                progress = make(run, watch, **how)
        except KeyboardInterrupt:
            screen.note("interrupted: all that was finished is kept; the same command goes on from there")
            raise typer.Exit(130) from None
        except UsageError:
            run.undo_start()
            raise
        finally:
            if run.folder.exists():
                summary = report.write(run)
        screen.show_run(run, summary, as_json)
    if progress.stopped:
        screen.note(f"stopped early: {progress.stopped}")
    if progress.stopped or not summary.kept:
        raise typer.Exit(1)


@commands.command(
    epilog=examples(
        "dataforge filter",
        "dataforge filter infographics-3fa91c --check replay --check grounded",
        "dataforge filter --manifest mine.yaml",
    ),
)
def filter(
    run: RunName = "latest",
    check: Annotated[list[str] | None, typer.Option(help="Checks instead of the manifest's; repeatable.")] = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", "-m", help="A manifest whose checks become the run's.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Hard cap of what the run pays, its traces included: 20, 20usd, 5Mtok.")
    ] = None,
    runs: RunsFolder = RUNS,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Judge a stored run by its manifest's checks, replay among them; write kept.jsonl and rejected.jsonl.

    To change a threshold, edit the `filter` of a manifest and name it: only what that changes is judged anew.
    """
    from dataforge import manifest as manifests
    from dataforge import plugins, report
    from dataforge.ask.budget import manifest_budget
    from dataforge.cli import screen
    from dataforge.filter import sift
    from dataforge.runs import Run, find_run

    if check and manifest:
        raise UsageError("give --check or --manifest: both say which checks to judge by")
    chosen = manifests.load(manifest) if manifest else None
    with Run.open(find_run(runs, run), hold=not dry_run) as opened:
        checks = list(check) if check else list((chosen or opened.manifest).filter)
        for spec in checks:
            plugins.build("check", spec)
        if dry_run:
            screen.show_filter_plan(opened, checks, as_json)
            return
        if chosen:
            opened.judge_by(chosen)
        with screen.filter_progress(opened) as watch:
            sifted = sift(opened, checks, watch, manifest_budget(budget))
        summary = report.write(opened)
        screen.show_run(opened, summary, as_json)
    if not sifted.kept:
        raise typer.Exit(1)
