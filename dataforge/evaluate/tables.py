"""The board for eyes: rich in a terminal, Markdown in a file. The same cells in both."""

from collections.abc import Callable, Iterator
from typing import Literal

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dataforge.evaluate.board import Board, Gap, Mean, Row

Column = tuple[str, Callable[[Row], str]]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _interval(value: Mean | None) -> str:
    return "-" if value is None else f"{100 * value.mean:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def _count(value: Mean | None) -> str:
    return f"{value.n if value else 0:,}"


WHO: tuple[Column, ...] = (("model", lambda row: row.model), ("operations", lambda row: row.arm))
SCORES: tuple[Column, ...] = (
    *WHO,
    ("score [95 %]", lambda row: _interval(row.score)),
    ("n", lambda row: _count(row.score)),
    ("pictures", lambda row: f"{row.groups:,}"),
    ("right in all orders", lambda row: _interval(row.all_orders)),
    ("no answer", lambda row: str(row.unanswered)),
)
LOOKED: tuple[Column, ...] = (
    *WHO,
    ("score given a look", lambda row: _interval(row.with_look)),
    ("n", lambda row: _count(row.with_look)),
    ("score given none", lambda row: _interval(row.without_look)),
    (" n", lambda row: _count(row.without_look)),
)
WAYS: tuple[Column, ...] = (
    *WHO,
    ("RaPR", lambda row: _share(row.rapr.mean)),
    ("looks", lambda row: f"{row.looks:.2f}"),
    ("errors", lambda row: _share(row.error_rate)),
    ("evidence", lambda row: _share(row.saw_evidence)),
    ("tokens in", lambda row: f"{row.input_tokens:,.0f}"),
    ("out", lambda row: f"{row.output_tokens:,.0f}"),
    ("s", lambda row: "-" if row.seconds is None else f"{row.seconds:.1f}"),
)
"""RaPR and evidence are percent of the questions, errors of the calls; looks, tokens and seconds are a question's."""
EMPTY = {"right in all orders": "-", "evidence": "-", "no answer": "0", "s": "-"}
"""Columns left out where no row has anything else to say."""

Lines = tuple[list[str], list[list[str]]]


def _table(columns: tuple[Column, ...], rows: list[Row]) -> Lines:
    names = [name for name, _ in columns]
    cells = [[cell(row) for _, cell in columns] for row in rows]
    kept = [at for at, name in enumerate(names) if any(line[at] != EMPTY.get(name) for line in cells)]
    return [names[at] for at in kept], [[line[at] for at in kept] for line in cells]


def _parts(board: Board) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Heading, column names and cells of each table; the first two columns say who."""
    for benchmark in dict.fromkeys(row.benchmark for row in board.rows):
        rows = [row for row in board.rows if row.benchmark == benchmark]
        used = ", ".join(dict.fromkeys(row.protocol for row in rows))
        yield f"{benchmark}: {rows[0].metric} (protocol {used})", *_table(SCORES, rows)
        if gaps := [gap for gap in board.gaps if gap.benchmark == benchmark]:
            names = ["model", "operations", "over", "points [95 %]", "n", "won", "lost"]
            yield f"{benchmark}: differences", names, [_gap(gap) for gap in gaps]
        if looked := [row for row in rows if row.with_look]:
            yield f"{benchmark}: where the model looked, and where not", *_table(LOOKED, looked)
        yield f"{benchmark}: what a question takes", *_table(WAYS, rows)
        if lines := [
            [row.model, row.arm, name, _interval(found), _count(found)]
            for name in sorted({name for row in rows for name in row.categories})
            for row in rows
            if (found := row.categories.get(name))
        ]:
            yield f"{benchmark}: by category", ["model", "operations", "category", "score [95 %]", "n"], lines


def _gap(gap: Gap) -> list[str]:
    gain = gap.gain
    interval = f"{100 * gain.mean:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
    return [gap.model, gap.arm, gap.over, interval, f"{gain.n:,}", str(gap.gained), str(gap.lost)]


def render(board: Board) -> Group:
    """The board for a rich console."""
    parts: list[RenderableType] = []
    for heading, names, lines in _parts(board):
        table = Table(box=box.SIMPLE, pad_edge=False, title=escape(heading), title_justify="left")
        for at, name in enumerate(names):
            justify: Literal["left", "right"] = "left" if at < 2 else "right"
            table.add_column(escape(name), justify=justify, overflow="fold", no_wrap=at > 0, min_width=0 if at else 12)
        for line in lines:
            table.add_row(*map(escape, line))
        parts.append(table)
    parts += [Text(f"note: {note}", style="yellow") for note in board.notes]
    return Group(*parts)


def markdown(board: Board) -> str:
    """The board as Markdown tables."""
    blocks = []
    for heading, names, lines in _parts(board):
        rule = ["---" if at < 2 else "---:" for at in range(len(names))]
        rows = [" | ".join(cell.replace("|", r"\|") for cell in line) for line in [names, rule, *lines]]
        blocks.append(f"### {heading}\n\n" + "\n".join(f"| {line} |" for line in rows))
    if board.notes:
        blocks.append("\n".join(f"- {note}" for note in board.notes))
    return "\n\n".join(blocks) + "\n"
