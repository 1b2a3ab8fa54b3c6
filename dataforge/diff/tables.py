"""A diff in the terminal. Texts from data go in as plain text, never as rich's markup."""

import difflib
from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from dataforge.diff.counting import Change, Diff, Flip, Pair, Shift
from dataforge.report import Report

LINES = 24
"""Changed lines of one long text, such as a prompt."""
SHORT = 60
"""A value up to so many characters, without a line end, goes into the table."""
COUNTED = ("rejections", "failures", "kinds", "looks")


def render(diff: Diff) -> RenderableType:
    """The whole diff for a rich console: manifests, counts, flips and shifts with examples."""
    met = f"{diff.in_both:,} ids in both runs, {diff.only_a:,} in A alone, {diff.only_b:,} in B alone"
    parts: list[RenderableType] = [
        Text.assemble(("A ", "bold"), diff.run_a),
        Text.assemble(("B ", "bold"), diff.run_b),
        Text(met, style="dim"),
        Rule(Text("manifest"), align="left"),
        *_manifest(diff.manifest),
        Rule(Text("counts"), align="left"),
        _counts(diff.report_a, diff.report_b),
    ]
    for name, checks in (("A", diff.checks_only_a), ("B", diff.checks_only_b)):
        if checks:
            parts.append(Text(f"judged in {name} alone by {', '.join(checks)}", style="dim"))
    parts.append(Rule(Text("verdicts of the same trace"), align="left"))
    parts += [part for flip in diff.flips for part in _flip(flip)] or [Text("no verdict flips", style="dim")]
    parts.append(Rule(Text("other changes of the same trace"), align="left"))
    parts += [part for shift in diff.shifts for part in _shift(shift)] or [Text("none", style="dim")]
    return Group(*parts)


def _manifest(changes: tuple[Change, ...]) -> Iterator[RenderableType]:
    """Short values side by side, long ones as their changed lines."""
    if not changes:
        yield Text("the same", style="dim")
        return
    table = Table("key", "A", "B", box=box.SIMPLE, pad_edge=False)
    long = [change for change in changes if any(_is_long(value) for value in (change.a, change.b))]
    for change in changes:
        if change not in long:
            table.add_row(*(Text("-" if cell is None else cell) for cell in (change.key, change.a, change.b)))
    if table.row_count:
        yield table
    for change in long:
        yield Text(change.key, style="bold")
        compared = difflib.unified_diff((change.a or "").splitlines(), (change.b or "").splitlines(), lineterm="", n=0)
        lines = [line for line in compared if not line.startswith(("---", "+++", "@@"))]
        for line in lines[:LINES]:
            yield Padding(Text(line, style="green" if line.startswith("+") else "red"), (0, 0, 0, 2))
        if len(lines) > LINES:
            yield Text(f"  and {len(lines) - LINES} lines more", style="dim")


def _is_long(value: str | None) -> bool:
    return value is not None and (len(value) > SHORT or "\n" in value)


def _counts(a: Report, b: Report) -> Table:
    table = Table("", "A", "B", "B - A", box=box.SIMPLE, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name in ("read", "kept", "rejected", "failed"):
        _row(table, name, getattr(a, name), getattr(b, name))
    for field in COUNTED:
        ours, theirs = getattr(a, field), getattr(b, field)
        for name in dict.fromkeys([*ours, *theirs]):
            _row(table, f"{field}: {name}", ours.get(name, 0), theirs.get(name, 0))
    for name in ("view_tokens", "rewrites", "input_tokens", "output_tokens"):
        _row(table, name.replace("_", " "), getattr(a, name), getattr(b, name))
    if a.cost_usd is not None and b.cost_usd is not None:
        table.add_row("cost", f"${a.cost_usd:,.4f}", f"${b.cost_usd:,.4f}", f"{b.cost_usd - a.cost_usd:+,.4f}")
    return table


def _row(table: Table, name: str, a: int, b: int) -> None:
    table.add_row(Text(name), f"{a:,}", f"{b:,}", f"{b - a:+,}" if b != a else "")


def _flip(flip: Flip) -> Iterator[RenderableType]:
    style = "green" if flip.b == "ok" else "red" if flip.a == "ok" else "yellow"
    yield Text.assemble((f"{flip.count:,}  ", "bold"), f"{flip.check}: ", (f"{flip.a} -> {flip.b}", style))
    yield from _pairs(flip.examples)


def _shift(shift: Shift) -> Iterator[RenderableType]:
    change = f": {shift.a} -> {shift.b}" if shift.a or shift.b else " changed"
    yield Text.assemble((f"{shift.count:,}  ", "bold"), shift.what, change)
    yield from _pairs(shift.examples)


def _pairs(examples: tuple[Pair, ...]) -> Iterator[RenderableType]:
    for pair in examples:
        yield Padding(Text.assemble((pair.id, "cyan"), f"  {pair.question}"), (0, 0, 0, 4))
        for side, answer, thought, detail in (
            ("A", pair.answer_a, pair.thought_a, pair.detail_a),
            ("B", pair.answer_b, pair.thought_b, pair.detail_b),
        ):
            said = " | ".join(filter(None, (answer, thought, detail)))
            yield Padding(Text.assemble((f"{side} ", "dim"), said), (0, 0, 0, 6))
