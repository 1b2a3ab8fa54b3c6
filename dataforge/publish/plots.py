"""The card's plots as PNG files; the same numbers give the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from dataforge.publish.record import Published

INK, PALE = "#2f5d8a", "#c9d6e3"
SIZE = (6.4, 3.2)
SHOWN = 12
"""Bars in one plot; the rest is added up."""


def draw_all(record: Published, folder: Path) -> dict[str, str]:
    """Write the plots into `folder`/plots; returns file -> what it shows."""
    reports = [run.report for run in record.runs]
    kinds = {split: dict(counts) for split, counts in record.kinds.items()}
    plots = {
        "kinds": ("Traces by kind", _summed(list(kinds.values()))),
        "sources": ("Traces by source", _summed(list(record.sources.values()))),
        "evidence": ("Evidence, as a share of the picture's area", _binned([one.evidence for one in reports])),
        "looks": ("Looks in a trace", _binned([one.looks for one in reports])),
        "tokens": ("View tokens of a trace", _binned([one.view_sizes for one in reports])),
        "rejected": ("Why traces were rejected", _summed([one.rejections for one in reports])),
    }
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    drawn = {}
    for name, (title, counts) in plots.items():
        if counts:
            _bars(folder / "plots" / f"{name}.png", title, counts)
            drawn[f"plots/{name}.png"] = title
    return drawn


def _summed(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Added up, the most frequent first, the rest as one."""
    total: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    order = sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))
    rest = sum(count for _, count in order[SHOWN:])
    return dict(order[:SHOWN]) | ({"others": rest} if rest else {})


def _binned(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Added up, bins in the order of the run that has the most of them."""
    order: dict[str, int] = {}
    for one in sorted(counts, key=len, reverse=True):
        for name, count in one.items():
            order[name] = order.get(name, 0) + count
    return order


def _bars(path: Path, title: str, counts: Mapping[str, int]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE[0], max(1.4, 0.6 + 0.28 * len(counts))), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names = [name.replace("_", " ") for name in counts]
    bars = axes.barh(range(len(names)), list(counts.values()), color=INK, height=0.7)
    axes.bar_label(bars, [f"{count:,}" for count in counts.values()], padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), [name.replace("$", r"\$") for name in names], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(PALE)
    axes.set_title(title, fontsize=9, loc="left")
    # the version of matplotlib would be in there, and change the bytes
    figure.savefig(path, format="png", metadata={"Software": None})
