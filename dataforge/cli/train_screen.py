"""What a person sees of a training: the estimate, a bar with the newest loss, what of a trace is learned."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dataforge.cli.screen import err, note, out, stage_progress
from dataforge.recipe import Sft

if TYPE_CHECKING:
    from training.encoding import Encoding
    from training.estimate import Estimate
    from training.sft import Progress, Watch

GB = 1e9


@contextlib.contextmanager
def progress() -> Iterator[Watch]:
    """A bar on the main process's terminal; elsewhere a line on stderr for every tenth part."""
    if int(os.environ.get("RANK", "0")):
        yield lambda progress: None
        return
    with stage_progress("training") as update:
        told = [-1]

        def watch(progress: Progress) -> None:
            update(progress.done, _status(progress), progress.total)
            tenth = 10 * progress.done // max(1, progress.total)
            if progress.stage == "step" and not err.is_terminal and tenth > told[0]:
                told[0] = tenth
                err.print(f"step {progress.done} of {progress.total}: {_status(progress)}", highlight=False)

        yield watch


def _status(progress: Progress) -> str:
    line = progress.line
    if line is None or progress.stage != "step":
        return progress.stage
    rate = line.tokens / max(line.seconds, 1e-9)
    held_out = f", held out {line.held_out_loss:.3f}" if line.held_out_loss is not None else ""
    return f"loss {line.loss:.3f}{held_out}, {rate:,.0f} tokens/s, {line.memory_gb:.1f} GB"


def show_estimate(estimate: Estimate, recipe: Sft, gpus: int, as_json: bool) -> None:
    if as_json:
        typed = estimate.model_dump() | {"recipe": recipe.model_dump(mode="json")}
        out.print_json(json.dumps(typed))
        return
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    for name, value in recipe.model_dump(mode="json").items():
        table.add_row(name, "-" if value is None else escape(str(value)))
    table.add_section()
    dropped = "".join(f", {count} {reason}" for reason, count in sorted(estimate.dropped.items()))
    table.add_row("traces", f"{estimate.traces} to train on, {estimate.held_out} held out{dropped}")
    shares = (
        f"{estimate.image_tokens / estimate.tokens:.0%} of images, {estimate.learned / estimate.tokens:.1%} learned"
    )
    table.add_row("tokens an epoch", f"{estimate.tokens:,}: {shares}; longest trace {estimate.longest:,}")
    table.add_row(
        "steps", f"{estimate.steps}, {estimate.passes} passes, {estimate.padding:.0%} of their tokens padding"
    )
    table.add_row("weights", f"{estimate.weights:,}, {estimate.trained_weights:,} trained")
    memory = estimate.memory
    parts = ", ".join(f"{name} {size / GB:.1f}" for name, size in memory.model_dump().items())
    table.add_row("memory a GPU, estimated", f"{memory.total / GB:.1f} GB ({parts})")
    if gpus > 1:
        table.add_row(f"sharded over {gpus}", f"{memory.sharded(gpus) / GB:.1f} GB (FSDP or ZeRO-3)")
    out.print(table)


def note_begun(folder: Path) -> None:
    """Say where a training that was begun before goes on."""
    from training import checkpoints

    if int(os.environ.get("RANK", "0")):
        return
    if checkpoints.student_of(folder).exists():
        note(f"{folder} is trained already")
    elif found := checkpoints.states(folder):
        note(f"goes on from {found[-1]}")


def show_trained(folder: Path, student: Path, as_json: bool) -> None:
    if int(os.environ.get("RANK", "0")):
        return
    if as_json:
        out.print_json(json.dumps({"folder": str(folder), "student": str(student)}))
        return
    for path in (folder / "metrics.jsonl", folder / "loss.png", student):
        out.print(str(path), highlight=False, soft_wrap=True)


def show_preview(trace_id: str, encoding: Encoding, as_json: bool) -> None:
    """The tokens in colour: learned ones green, the others dim, an image by what it costs."""
    from training.preview import pieces

    shown = list(pieces(encoding))
    if as_json:
        typed = [piece._asdict() | {"view": piece.view and piece.view.number} for piece in shown]
        out.print_json(json.dumps({"id": trace_id, "tokens": len(encoding), "pieces": typed}))
        return
    text = Text()
    for piece in shown:
        if piece.view is not None:
            size = f"{piece.view.width}x{piece.view.height}"
            text.append(f"[image {piece.view.number}, {size}: {piece.tokens} tokens]", style="cyan")
        else:
            text.append(piece.text, style="bold green" if piece.learned else "dim")
    out.print(text, soft_wrap=True)
    images = sum(piece.tokens for piece in shown if piece.view)
    learned = sum(encoding.learn)
    out.print(f"{trace_id}: {len(encoding)} tokens, {images} of images, {learned} learned", highlight=False)
