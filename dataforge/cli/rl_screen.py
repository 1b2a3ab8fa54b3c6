"""What a person sees of an RL run: a live dashboard on a terminal, one line a step elsewhere, a table at the end."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dataforge.cli.screen import err, note, out

if TYPE_CHECKING:
    from training.rl import Progress
    from training.rl_plan import Plan

SPARKS = "▁▂▃▄▅▆▇█"
SHOWN = (
    ("accuracy", "right answers", 1.0),
    ("accuracy_with_looks", "  with looks", 1.0),
    ("accuracy_without", "  without", 1.0),
    ("rapr", "RaPR", 1.0),
    ("errors", "calls that fail", 1.0),
    ("uniform", "groups that agree", 1.0),
    ("broken", "cut off or too long", 1.0),
    ("curiosity", "curiosity bonus", None),
    ("penalty", "penalty", None),
    ("entropy", "entropy", None),
    ("sampled_tokens", "tokens sampled", None),
    ("parity/most", "parity, largest", None),
    ("gradient_norm", "gradient norm", None),
)


@contextlib.contextmanager
def dashboard(steps: int) -> Iterator[Callable[[Progress], None]]:
    """A dashboard on stderr that is drawn again after each step; where that is no terminal, a line a step."""
    history: list[Mapping[str, float]] = []
    alarms: list[str] = []

    def line(progress: Progress) -> None:
        seen = progress.metrics
        told = ", ".join(f"{name} {_number(seen.get(name))}" for name in ("accuracy", "rapr", "errors", "uniform"))
        err.print(f"step {progress.step} of {steps}: {told}", highlight=False)
        for alarm in progress.alarms:
            note(alarm)

    if not err.is_terminal:
        yield line
        return
    with Live(console=err, transient=True, auto_refresh=False) as live:

        def draw(progress: Progress) -> None:
            history.append(progress.metrics)
            alarms.extend(progress.alarms)
            live.update(board(progress.step, steps, history, alarms), refresh=True)

        yield draw
    for alarm in alarms:
        note(alarm)


def board(step: int, steps: int, history: Sequence[Mapping[str, float]], alarms: Sequence[str]) -> Group:
    """The dashboard after a step: the newest value of each measure with its course, looks a rollout, alarms."""
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    newest = history[-1]
    for key, name, top in SHOWN:
        if key in newest:
            table.add_row(name, _number(newest[key]), Text(spark([one.get(key) for one in history], top), "cyan"))
    for key in sorted(newest):
        if key.startswith("accuracy/"):
            table.add_row(f"  on {escape(key[9:])}", _number(newest[key]), "")
    looks = "  ".join(f"{key[6:]}: {newest[key]:.0%}" for key in sorted(newest) if key.startswith("looks/"))
    seconds = newest.get("seconds/sample", 0.0) + newest.get("seconds/learn", 0.0)
    head = Text(f"step {step} of {steps}, {seconds:.1f} s a step, {seconds * (steps - step) / 60:.0f} min left")
    shown: list[Any] = [head, table, Text(f"looks a rollout  {looks}")]
    return Group(*shown, *(Text(alarm, "bold red") for alarm in alarms[-3:]))


def spark(values: Sequence[float | None], top: float | None, width: int = 48) -> str:
    """The course of a measure in one line of blocks, from 0 to `top` or to its own largest value."""
    real = [value for value in values if value is not None and math.isfinite(value)][-width:]
    highest = top or max((abs(value) for value in real), default=0.0) or 1.0
    return "".join(SPARKS[min(int(abs(value) / highest * len(SPARKS)), len(SPARKS) - 1)] for value in real)


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def show_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        out.print_json(json.dumps(plan._asdict() | {"recipe": plan.recipe}))
        return
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    for name, value in plan.rows():
        table.add_row(name, escape(value))
    out.print(table)
    note("a dry run: nothing was written, and no weights were loaded")


def show_trained(folder: Path, student: Path, lines: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """First and last steps side by side, and where everything lies."""
    if as_json:
        out.print_json(json.dumps({"folder": str(folder), "student": str(student), "last": dict(lines[-1])}))
        return
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in ("", "first steps", "last steps"):
        table.add_column(column, justify="left" if not column else "right")
    some = max(1, min(10, len(lines) // 4))
    for key, name, _ in SHOWN[:8]:
        table.add_row(
            name, *(_number(_mean([line.get(key) for line in part])) for part in (lines[:some], lines[-some:]))
        )
    out.print(table)
    for path in (student, folder / "curves.png", folder / "metrics.jsonl"):
        out.print(str(path), highlight=False, soft_wrap=True)


def _mean(values: Sequence[float | None]) -> float | None:
    real = [value for value in values if value is not None]
    return sum(real) / len(real) if real else None
