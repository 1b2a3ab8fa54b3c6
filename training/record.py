"""What a training leaves behind to look at: metrics.jsonl, TensorBoard's file, and a plot at the end.

One line a step, whole or not at all. A resumed run drops the lines after the step that it goes on from, so the file is
that of an unbroken run, but for the seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field

from dataforge.records import Record as Stored
from dataforge.records import read_lines
from dataforge.runs import append_line, write_lines


class Line(Stored):
    """One step."""

    step: int
    epoch: float
    loss: float = Field(description="nats a learned token, mean over the step's traces")
    learning_rate: float
    gradient_norm: float = Field(description="before it is cut to the recipe's `clip`")
    tokens: int = Field(description="of the step's traces, those of images included, padding not")
    learned: int = Field(description="tokens that the loss sees")
    gpus: int = Field(description="processes that shared the step")
    seconds: float
    waited: float = Field(description="seconds of these in which a GPU waited for its batch, mean over the GPUs")
    memory_gb: float = Field(description="peak so far: of the first GPU, or of the process where there is none")
    held_out_loss: float | None = None


class Record:
    """The open metrics of one training; only the main process writes."""

    def __init__(self, out: Path, first: int, main: bool) -> None:
        self.path = out / "metrics.jsonl"
        self.main = main
        self._board: Any = None
        if main:
            write_lines(self.path, [line for line in read_lines(self.path, Line) if line.step <= first])
            self._board = _board(out / "tensorboard", first)

    def add(self, line: Line) -> None:
        if not self.main:
            return
        append_line(self.path, line)
        if self._board is not None:
            for name, value in line.model_dump(exclude={"step"}, exclude_none=True).items():
                self._board.add_scalar(name, value, line.step)

    def lines(self) -> list[Line]:
        return list(read_lines(self.path, Line))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.main:
            if self._board is not None:
                self._board.close()
            plot(self.lines(), self.path.with_name("loss.png"))


def _board(folder: Path, first: int) -> Any:
    """TensorBoard's writer, or None where it isn't installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    writer: Any = SummaryWriter
    return writer(str(folder), purge_step=first + 1)


def plot(lines: list[Line], path: Path) -> None:
    """Loss and learning rate over the steps, as a picture."""
    if not lines:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    steps = [line.step for line in lines]
    axes.plot(steps, [line.loss for line in lines], label="loss", color="#2b6cb0", linewidth=1.2)
    held_out = [line for line in lines if line.held_out_loss is not None]
    if held_out:
        losses = [line.held_out_loss or 0.0 for line in held_out]
        axes.plot([line.step for line in held_out], losses, "o-", label="held out", color="#c05621", markersize=4)
    axes.set(xlabel="step", ylabel="nats a learned token")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    rates = axes.twinx()
    rates.plot(steps, [line.learning_rate for line in lines], label="learning rate", color="#a0aec0", linewidth=1)
    rates.set(ylabel="learning rate")
    rates.set_ylim(bottom=0)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=120)
