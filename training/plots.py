"""Plots of runs: what was watched, over steps, one curve a run or a band over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PANELS = (
    ("rapr", "rollouts that use an operation (RaPR)"),
    ("accuracy", "accuracy"),
    ("accuracy_with_looks", "accuracy of rollouts with looks"),
    ("errors", "calls that fail"),
    ("uniform", "groups that agree"),
    ("curiosity", "mean curiosity bonus"),
)
COLORS = ("#1b6ca8", "#c8553d", "#588157", "#7b5ea7", "#8d6b00")


def curves(
    runs: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]],
    path: Path,
    panels: Sequence[tuple[str, str]] = PANELS,
    window: int = 5,
) -> Path:
    """Draw the panels into a PNG: for each name the mean over its runs (lists of metrics lines), and their range."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(4.6 * across, 3.2 * down), layout="constrained")
    FigureCanvasAgg(figure)
    for at, (key, title) in enumerate(panels):
        axes = figure.add_subplot(down, across, at + 1)
        for (name, lines), color in zip(runs.items(), COLORS * len(runs), strict=False):
            smooth = [_smoothed([line.get(key) for line in run], window) for run in lines]
            steps = range(1, min((len(one) for one in smooth), default=0) + 1)
            columns = [[one[step - 1] for one in smooth] for step in steps]
            axes.plot(steps, [sum(column) / len(column) for column in columns], color=color, label=name, linewidth=1.6)
            if len(smooth) > 1:
                low, high = [min(column) for column in columns], [max(column) for column in columns]
                axes.fill_between(steps, low, high, color=color, alpha=0.18, linewidth=0)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        if key != "curiosity":
            axes.set_ylim(-0.02, 1.02)
    if len(runs) > 1:
        figure.axes[0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path


def _smoothed(values: Sequence[float | None], window: int) -> list[float]:
    """Means over the last `window` steps; what could not be measured takes the value before."""
    filled: list[float] = []
    for value in values:
        filled.append(value if value is not None else filled[-1] if filled else 0.0)
    return [sum(filled[max(0, at - window + 1) : at + 1]) / min(at + 1, window) for at in range(len(filled))]
