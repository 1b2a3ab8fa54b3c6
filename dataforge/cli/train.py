"""Commands that train a student: train sft, train preview, train tiny. torch is imported when one of them runs."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dataforge.cli.app import RUNS, AsJson, DryRun, RunsFolder, examples
from dataforge.cli.later import collected, listed
from dataforge.errors import UsageError

if TYPE_CHECKING:
    from dataforge.recipe import Train
    from training.trace_set import TraceSet

commands = collected(
    help="Train a student on traces.",
    no_args_is_help=True,
    cls=listed("""
        rl         train_rl         Reinforcement learning with the curiosity reward.
        miniature  train_miniature  The learning trap in miniature, on a CPU.
    """),
)

Checkpoint = Annotated[str, typer.Option("--student", help="A Qwen2.5-VL or Qwen3-VL: folder, or name on the Hub.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A value of the recipe, such as batch=32; --dry-run lists them."),
]
Recipe = Annotated[Path | None, typer.Option("--manifest", "-m", help="Take the section `train` of this manifest.")]


def need_torch() -> None:
    """UsageError with the command that installs what training needs; transformers is told to be silent."""
    from importlib.util import find_spec

    if missing := [name for name in ("torch", "transformers", "accelerate") if find_spec(name) is None]:
        raise UsageError(f"training needs {', '.join(missing)}: pip install 'dataforge[train]'")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


@commands.command(
    short_help="Tune a student on traces.",
    epilog=examples(
        "dataforge train sft infographics-3fa91c --student Qwen/Qwen2.5-VL-7B-Instruct --dry-run",
        "dataforge train sft --student students/tiny --set learning_rate=1e-3 --set batch=8",
        "dataforge train sft hub:me/traces --student Qwen/Qwen2.5-VL-3B-Instruct --set lora.rank=32",
        "accelerate launch --num_processes 8 -m dataforge.cli train sft --student Qwen/Qwen2.5-VL-7B-Instruct",
    ),
)
def sft(
    student: Checkpoint,
    run: Annotated[
        str, typer.Argument(help="A run's folder or name, a published set (folder or hub:ORG/NAME), or a release.json.")
    ] = "latest",
    out: Annotated[Path | None, typer.Option(help="The training's folder; default checkpoints/RUN-STUDENT.")] = None,
    manifest: Recipe = None,
    changes: Changes = None,
    gpus: Annotated[int, typer.Option(min=1, help="How many to estimate for; with --dry-run.")] = 1,
    runs: RunsFolder = RUNS,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Tune a student on a run's traces by instruction, with the recipe of the manifest's section `train.sft`.

    Only the student's own turns are learned, and of a deliberate mistake no more than the thought. The same command
    goes on where a training in the same folder stopped. Several GPUs: start it with `accelerate launch`.
    """
    need_torch()
    from dataforge.cli import train_screen as screen
    from dataforge.recipe import laid_over
    from training import sft as tuning

    traces, manifest_recipe = opened(run, runs, manifest)
    recipe = laid_over(manifest_recipe.sft, changes or [])
    with screen.progress() as watch:
        job = tuning.prepare(student, traces, recipe, watch)
    if dry_run:
        from training.estimate import estimate

        screen.show_estimate(estimate(job, gpus, recipe.precision != "fp32"), recipe, gpus, as_json)
        return
    folder = out or Path("checkpoints") / f"{traces.path.parent.name}-{Path(student).name}"
    screen.note_begun(folder)
    with screen.progress() as watch:
        trained = tuning.train(job, folder, watch)
    screen.show_trained(folder, trained, as_json)


@commands.command(
    short_help="Show what is learned of a trace.",
    epilog=examples("dataforge train preview poster-000003-0 --student Qwen/Qwen2.5-VL-7B-Instruct"),
)
def preview(
    trace_id: Annotated[str, typer.Argument(help="A trace's id, or the start of it.")],
    student: Checkpoint,
    run: Annotated[str, typer.Option(help="A run's folder or name.")] = "latest",
    manifest: Recipe = None,
    changes: Changes = None,
    runs: RunsFolder = RUNS,
    as_json: AsJson = False,
) -> None:
    """Show one trace as its student reads it: every token, learned ones in colour, images by their number of tokens."""
    need_torch()
    from dataforge import show
    from dataforge.cli import train_screen as screen
    from dataforge.recipe import laid_over
    from training.encoding import Codec
    from training.render import render
    from training.trace_set import find

    found = show.find_trace(find(run, runs), trace_id)
    traces, manifest_recipe = opened(run, runs, manifest)
    recipe = laid_over(manifest_recipe.sft, changes or [])
    traces = traces.for_student(recipe.student)
    codec = Codec.load(student, traces.student, traces.operations, system=recipe.system)
    screen.show_preview(found.id, render(traces.cut(found), codec, recipe.mistakes), as_json)


@commands.command(
    short_help="Write a tiny random student.",
    epilog=examples("dataforge train tiny students/tiny", "dataforge train tiny students/three --family qwen3_vl"),
)
def tiny(
    folder: Annotated[Path, typer.Argument(help="Where the checkpoint is written.")],
    family: Annotated[str, typer.Option(help="qwen2_5_vl or qwen3_vl.")] = "qwen2_5_vl",
    seed: Annotated[int, typer.Option(help="Another draw of the weights.")] = 0,
) -> None:
    """Write a Qwen-VL of three million parameters with random weights: a student to try a recipe with anywhere."""
    need_torch()
    from dataforge.runs import make_folder
    from training import tiny as students

    known: tuple[Literal["qwen2_5_vl"], Literal["qwen3_vl"]] = ("qwen2_5_vl", "qwen3_vl")
    if (chosen := next((name for name in known if name == family), None)) is None:
        raise UsageError(f"no family {family!r}: there are {', '.join(known)}")
    make_folder(folder, "`train tiny FOLDER`")
    typer.echo(str(students.build(folder, chosen, seed=seed)))


def opened(run: str, runs: Path, manifest: Path | None) -> tuple[TraceSet, Train]:
    """The traces that a name stands for, and the recipes: those of a manifest file, else of the run's own."""
    from dataforge.manifest import load
    from training.trace_set import find, open_set

    found = find(run, runs)
    return open_set(found), (load(manifest) if manifest else found.manifest).train
