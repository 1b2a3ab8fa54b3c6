"""Command train miniature: the learning trap on a CPU, with and without curiosity. torch is imported when it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dataforge.cli.app import AsJson, DryRun, examples
from dataforge.cli.later import collected
from dataforge.cli.train import need_torch
from dataforge.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from training.miniature import Result

TITLES = {
    "curiosity": "with curiosity",
    "no_curiosity": "without curiosity",
    "no_warm_start": "no warm start",
    "no_corrections": "no correction data",
    "forced_look": "forced looks instead of curiosity",
}

commands = collected()


@commands.command(
    epilog=examples(
        "dataforge train miniature --out checkpoints/miniature",
        "dataforge train miniature --out checkpoints/miniature --arm no_warm_start --arm no_corrections",
    ),
)
def miniature(
    out: Annotated[Path, typer.Option(help="Folder of all runs; what is finished there is not run again.")],
    manifest: Annotated[Path | None, typer.Option("--manifest", "-m", help="Another than the shipped one.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of everything: pictures, weights, sampling.")] = 3,
    first_seed: Annotated[int, typer.Option(min=0, help="The settings were found on 0 to 9 and on 20.")] = 21,
    arm: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(TITLES)}; the first two if none; repeatable.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes side by side, one core each.")] = 2,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change a value of the RL recipe, key=value; repeatable.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Train a student of 0.7 million weights on a task made for it, with the curiosity reward and without.

    Draws pictures whose answer can't be read without the right look, teaches tiny random students to look (and to
    guess), and goes on with reinforcement learning. Prints a table of the students before and after, with their spread
    over seeds, and draws RaPR and accuracy over the steps.
    """
    need_torch()
    from dataforge.cli import screen
    from dataforge.manifest import load, shipped
    from dataforge.recipe import laid_over
    from dataforge.runs import make_folder
    from training import miniature as small

    chosen = load(manifest or shipped("miniature"))
    recipe = laid_over(chosen.train.rl, change or [])
    chosen = chosen.model_copy(update={"train": chosen.train.model_copy(update={"rl": recipe})})
    arms = [one for one in small.ARMS if one in (arm or small.BOTH)]
    if unknown := set(arm or ()) - set(small.ARMS):
        raise UsageError(f"no arm {sorted(unknown)[0]!r}: there are {', '.join(small.ARMS)}")
    if dry_run:
        rollouts = recipe.queries * recipe.rollouts * recipe.steps
        if as_json:
            plan = {"seeds": seeds, "arms": arms, "steps": recipe.steps, "rollouts": rollouts}
            screen.out.print_json(json.dumps(plan))
            return
        told = f"{seeds} seeds of {len(arms)} arms: {recipe.steps} steps, {rollouts:,} rollouts each"
        screen.out.print(told, highlight=False)
        return
    make_folder(out, "--out")
    asked = range(first_seed, first_seed + seeds)
    results = small.run(chosen, out, small.Plan(), seeds=asked, arms=arms, workers=workers, watch=screen.note)
    plot = small.draw(results, out / "miniature.png")
    if as_json:
        screen.out.print_json(json.dumps({"results": str(out / "results.json"), "plot": str(plot)}))
        return
    screen.print_whole(table(results))
    for path in (plot, out / "results.json"):
        screen.out.print(str(path), highlight=False, soft_wrap=True)


def _rapr(one: Result) -> list[float]:
    """RaPR of ten steps each, in order."""
    values = [float(line["rapr"]) for line in one.lines]
    return [sum(part) / len(part) for part in (values[at : at + 10] for at in range(0, len(values), 10))]


COLUMNS: dict[str, Callable[[Result], float | None]] = {
    "calls that fail": lambda one: one.before.worth.errors,
    "a call pays": lambda one: one.before.worth.with_calls,
    "no call pays": lambda one: one.before.worth.without,
    "RaPR before": lambda one: one.before.worth.rapr,
    "lowest": lambda one: min(_rapr(one), default=None),
    "last": lambda one: _rapr(one)[-1] if one.lines else None,
    "accuracy before": lambda one: one.before.worth.accuracy,
    "after": lambda one: one.after.worth.accuracy,
    "greedy": lambda one: one.after.greedy.accuracy,
}
"""What is told of a student: before RL, RaPR over ten steps of it, after it"""


def table(results: Sequence[Result]) -> Table:
    """Students before and after RL: seed by seed, and by arm the mean and range over seeds."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE, pad_edge=False)
    for column in ("", "seed", *COLUMNS):
        made.add_column(column, justify="right" if column else "left")
    for arm, title in TITLES.items():
        these = [one for one in results if one.arm == arm]
        for one in these:
            made.add_row(title, str(one.seed), *(_spread([value(one)]) for value in COLUMNS.values()))
        if len(these) > 1:
            cells = [[value(one) for one in these] for value in COLUMNS.values()]
            made.add_row(title, "all", *map(_spread, cells), style="bold", end_section=True)
    return made


def _spread(values: Sequence[float | None]) -> str:
    real = [value for value in values if value is not None]
    if not real:
        return "-"
    mean = sum(real) / len(real)
    return f"{mean:.2f}" if len(real) == 1 else f"{mean:.2f} ({min(real):.2f} to {max(real):.2f})"
