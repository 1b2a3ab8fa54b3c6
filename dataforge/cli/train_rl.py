"""Command train rl: curiosity-driven reinforcement learning. torch is imported when it runs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dataforge.cli.app import AsJson, DryRun, ManifestFile, SourceName, chosen_manifest, examples
from dataforge.cli.later import collected
from dataforge.cli.train import need_torch
from dataforge.errors import UsageError

if TYPE_CHECKING:
    from dataforge.manifest import Manifest
    from training.questions import Questions

commands = collected()


@commands.command(
    epilog=examples(
        "dataforge train rl --manifest mine.yaml --student checkpoints/sft/student --out checkpoints/rl --dry-run",
        "dataforge train rl --manifest mine.yaml --student checkpoints/sft/student --out checkpoints/rl",
        "dataforge train rl -m mine.yaml --student Qwen/Qwen2.5-VL-7B-Instruct --out checkpoints/rl --run latest",
        "dataforge train rl -m mine.yaml --student tiny --out here --set queries=8 --set reward.alpha=1.0",
        "accelerate launch --num_processes 8 -m dataforge.cli train rl -m mine.yaml --student S --out checkpoints/rl",
    ),
)
def rl(
    student: Annotated[str, typer.Option(help="The checkpoint to begin from: a folder, or a name on the Hub.")],
    out: Annotated[Path, typer.Option(help="Folder of the training; the same one goes on where it stopped.")],
    source: SourceName = None,
    manifest: ManifestFile = None,
    path: Annotated[
        list[str] | None,
        typer.Option(help="The source's folder or file of real data; NAME=DIR where there are several."),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="Ask the questions of this run folder instead of the source's.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Ask the `queries` of this published set, local or on the Hub.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Questions to ask.")] = None,
    difficulty: Annotated[
        int,
        typer.Option(
            min=0, help="Answer each question so many times first; keep those neither always right nor wrong."
        ),
    ] = 0,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change a value of the recipe, key=value; repeatable.")
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", help="Where run folders lie.", envvar="DATAFORGE_RUNS")] = Path(
        "runs"
    ),
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Train a student by reinforcement learning: it works on questions with the manifest's operations and is rewarded.

    The recipe is the manifest's `train.rl`; what isn't said there is Pixel Reasoner's. Give the same command again to
    go on after a stop. A run stops with exit code 1 when sampler and learner differ, or when an alarm says so.
    """
    need_torch()
    from dataforge.cli import rl_screen
    from dataforge.recipe import laid_over
    from dataforge.runs import make_folder
    from training import rl as training
    from training import rl_plan
    from training.parity import Breach
    from training.plots import curves
    from training.watch import read

    chosen = chosen_manifest(source, manifest, path, None, None)
    recipe = laid_over(chosen.train.rl, change or [])
    scratch = tempfile.TemporaryDirectory() if dry_run else None  # the plan reads a picture or two
    if not dry_run:
        make_folder(out, "--out")
    pictures = Path(scratch.name) if scratch else out / "questions"
    questions = _questions(chosen, run, dataset, limit, runs, pictures)
    job = training.prepare(student, chosen, questions, recipe)
    if dry_run:
        rl_screen.show_plan(rl_plan.plan(job), as_json)
        return
    if difficulty:
        from training.difficulty import keep_undecided

        job = keep_undecided(job, difficulty, out)
    try:
        with rl_screen.dashboard(recipe.steps) as watch:
            folder = training.train(job, out, watch)
    except (Breach, training.Stopped) as stop:
        typer.echo(f"dataforge: stopped: {stop}", err=True)
        raise typer.Exit(1) from None
    lines = read(out / "metrics.jsonl")
    if lines:
        curves({out.name: [lines]}, out / "curves.png")
    rl_screen.show_trained(out, folder, lines, as_json)


def _questions(
    chosen: Manifest, run: str | None, dataset: str | None, limit: int | None, runs: Path, pictures: Path
) -> Questions:
    """Where the questions come from: a run, a published set, or the manifest's source."""
    from dataforge.media import MediaStore
    from dataforge.runs import find_run
    from training import questions

    if run and dataset:
        raise UsageError("give --run or --dataset, not both")
    if run:
        return questions.from_run(find_run(runs, run), limit)
    if dataset:
        return questions.from_set(dataset, MediaStore(pictures), limit)
    return questions.from_source(chosen, MediaStore(pictures), limit)
