"""The board as two pictures: every score with its interval, and every difference with its."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataforge.evaluate.board import Board, Mean
from dataforge.runs import make_folder, writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"without": "#8a8f98", "with": "#1f6feb", "blank": "#d4a72c", "elsewhere": "#bc4c00"}
SETTINGS = {"svg.hashsalt": "dataforge", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def draw(board: Board, folder: Path) -> list[Path]:
    """Write scores.svg and, where there are differences, gaps.svg; the same board gives the same bytes."""
    make_folder(folder, "--out")
    scores = [(row.benchmark, f"{row.model}, {row.arm}", row.score, COLOURS[row.arm]) for row in board.rows]
    gaps = [(gap.benchmark, f"{gap.model}, {gap.arm} over {gap.over}", gap.gain, "#1f6feb") for gap in board.gaps]
    made = [_figure(scores, "score, 95 % interval", folder / "scores.svg")]
    if gaps:
        made.append(_figure(gaps, "difference in points, 95 % interval", folder / "gaps.svg", zero=True))
    return made


def _figure(lines: list[tuple[str, str, Mean, str]], label: str, path: Path, zero: bool = False) -> Path:
    """One panel a benchmark, one line an estimate."""
    import matplotlib
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(benchmark for benchmark, *_ in lines))
    heights = [sum(one[0] == panel for one in lines) for panel in panels]
    with matplotlib.rc_context(SETTINGS):  # type: ignore[arg-type]
        figure = Figure(figsize=(8, 0.6 * len(panels) + 0.32 * sum(heights) + 0.6), layout="constrained")
        axes: Any = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[count + 0.6 for count in heights])
        for axis, panel in zip(axes[:, 0], panels, strict=True):
            _panel(axis, panel, [one[1:] for one in lines if one[0] == panel], zero)
        axes[-1, 0].set_xlabel(label)
        with writing(path, "--out"):
            figure.savefig(path, metadata={"Date": None})
    return path


def _panel(axis: "Axes", title: str, lines: list[tuple[str, Mean, str]], zero: bool) -> None:
    axis.set_title(title, loc="left")
    for place, (_, found, colour) in enumerate(lines):
        mean, low, high = (100 * value for value in (found.mean, found.low, found.high))
        # a mean may lie outside of a bootstrap's percentiles by a rounding error
        ends = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
        axis.errorbar([mean], [place], xerr=ends, fmt="o", color=colour, capsize=3, markersize=5)
        axis.annotate(f"{mean:+.1f}" if zero else f"{mean:.1f}", (mean, place), (0, 5), textcoords="offset points")
    if zero:
        axis.axvline(0, color="#8a8f98", linewidth=0.8)
    else:
        axis.set_xlim(0, 100)
    axis.set_yticks(range(len(lines)), [label for label, *_ in lines])
    axis.set_ylim(len(lines) - 0.4, -0.6)
