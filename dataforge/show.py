"""Show: one trace in the terminal, with a small map of where on the picture was looked.

Texts from data are put in as plain text, never as rich's markup: a question may hold square brackets.
"""

import heapq
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from dataforge.errors import UsageError
from dataforge.geometry import Box
from dataforge.records import Step, Trace, Verdict, View
from dataforge.report import judged
from dataforge.runs import Run

MAP = (44, 20)
"""Largest width and height of the map, in characters."""
CHARACTER_ASPECT = 2.0
"""Height of a terminal's character, in widths."""
NEAR = 3

ROLES = {"look": "bold blue", "mistake": "bold red", "recover": "bold cyan", "answer": "bold green"}


def find_trace(run: Run, trace_id: str) -> Trace:
    """The stored trace of that id, or the only one whose id starts so; UsageError names near ids."""
    starting: list[Trace] = []
    for trace in judged(run):
        if trace.id == trace_id:
            return trace
        if trace.id.startswith(trace_id) and len(starting) <= NEAR:
            starting.append(trace)
    if len(starting) == 1:
        return starting[0]
    if starting:
        some = ", ".join(trace.id for trace in starting[:NEAR])
        more = ", ..." if len(starting) > NEAR else ""
        raise UsageError(f"several traces start with {trace_id!r}: {some}{more}")
    for failure in run.failures():
        if failure.id == trace_id:
            detail = f" ({failure.detail})" if failure.detail else ""
            raise UsageError(f"{trace_id} became no trace: {failure.stage}: {failure.reason}{detail}")
    near = heapq.nlargest(NEAR, (trace.id for trace in run.traces()), key=lambda other: fuzz.ratio(other, trace_id))
    raise UsageError(
        f"no trace {trace_id!r} in {run.folder.name}: " + (f"near are {', '.join(near)}" if near else "it holds none")
    )


def render(trace: Trace, run: Run) -> RenderableType:
    """The whole trace for a rich console: question, map, steps, answer, verdicts."""
    example = trace.example
    made = trace.provenance
    teacher = f"{made.teacher}, thoughts written by rule from the annotation" if made.scripted else made.teacher
    parts: list[RenderableType] = [
        Rule(Text.assemble((trace.id, "bold"), f"  {trace.kind}  {example.source}")),
        Text(example.question, style="bold"),
        *(Text(f"  {chr(ord('A') + index)}. {choice}") for index, choice in enumerate(example.choices)),
        Text(f"teacher {teacher or 'not named'}; rewrites: {made.rewrites}", style="dim"),
    ]
    for index, media in enumerate(example.media):
        path = run.store.path(media)
        missing = "" if path.exists() else ", missing:"
        what = "picture" if media.kind == "image" else "video"
        parts.append(Text(f"{what} {index + 1}, {media.width}x{media.height} pixels{missing}", style="dim"))
        parts.append(Text(str(path), style="dim", overflow="fold"))
    parts.append(Padding(picture_map(trace), (1, 0, 1, 2)))
    for number, step in enumerate(trace.steps, start=1):
        parts += _step(number, step)
    parts += _judged(trace)
    return Group(*parts)


def _step(number: int, step: Step) -> Iterator[RenderableType]:
    learned = {"both": "all learned", "thought": "call masked", "call": "thought masked", "none": "all masked"}
    yield Text.assemble((f"{number} {step.role}", ROLES[step.role]), (f"  {learned[step.learn]}", "dim"))
    yield Padding(Text(step.thought), (0, 0, 0, 2))
    if step.call:
        arguments = json.dumps(step.call.arguments, ensure_ascii=False)
        yield Padding(Text(f"-> {step.call.name} {arguments}", style="magenta"), (0, 0, 0, 2))
    if step.observation:
        style = "red" if step.observation.error else "dim"
        yield Padding(Text(f"<- {step.observation.text}", style=style), (0, 0, 0, 2))
        for view in step.observation.views:
            yield Padding(Text(_described(view), style="dim"), (0, 0, 0, 5))


def _described(view: View) -> str:
    box = ", ".join(f"{side:g}" for side in view.box)
    if view.blank:
        return f"image {view.number}: {view.width}x{view.height}, shown as plain grey"
    what = "picture" if view.time_s is None else "video"
    moment = "" if view.time_s is None else f" at {view.time_s:.2f} s"
    return f"image {view.number}: {view.width}x{view.height}, shows [{box}] of {what} {view.media + 1}{moment}"


def _judged(trace: Trace) -> Iterator[RenderableType]:
    accepted = " | ".join(trace.example.answers) or "unknown"
    yield Text("")
    yield Text.assemble(("answer  ", "dim"), (trace.answer, "bold"))
    yield Text.assemble(("key     ", "dim"), accepted, (f"  ({trace.example.answer_type})", "dim"))
    for verdict in trace.verdicts:
        yield _verdict(verdict)


def _verdict(verdict: Verdict) -> Text:
    score = "" if verdict.score is None else f" {verdict.score:.2f}"
    if verdict.ok:
        return Text(f"ok      {verdict.check}{score}", style="green")
    detail = f" ({verdict.detail})" if verdict.detail else ""
    return Text(f"not ok  {verdict.check}{score}: {verdict.reason}{detail}", style="red")


# ---------------------------------------------------------------------------------------------------------- the map


@dataclass(frozen=True)
class Ink:
    """What a box is drawn with: its six line characters and a style."""

    across: str
    down: str
    corners: str
    style: str


RIGHT = Ink("─", "│", "┌┐└┘", "blue")
WRONG = Ink("┄", "┆", "┌┐└┘", "red")
FRAME = Ink("─", "│", "╭╮╰╯", "dim")


def picture_map(trace: Trace) -> Text:
    """The first picture that evidence lies on, as characters: evidence filled, looks as boxes with their numbers."""
    media = trace.regions[0].media if trace.regions else 0
    source = trace.example.media[media]
    if source.kind == "video":
        return time_line(trace, media)
    scale = min(MAP[0] / source.width, MAP[1] * CHARACTER_ASPECT / source.height)
    columns = max(4, round(source.width * scale))
    rows = max(2, round(source.height * scale / CHARACTER_ASPECT))
    whole, onto = Box(0, 0, source.width, source.height), Box(1, 1, columns + 1, rows + 1)
    sheet = [[(" ", "")] * (columns + 2) for _ in range(rows + 2)]
    _outline(sheet, (1, 1, columns + 1, rows + 1), FRAME)
    for step in trace.looks:
        for view in step.observation.views if step.observation else ():
            if view.media == media:
                ink = WRONG if step.role == "mistake" else RIGHT
                _outline(sheet, _cells(view.box.mapped(whole, onto), onto), ink, str(view.number))
    # last, so that no outline hides it
    for region in trace.regions:
        if region.media == media:
            left, top, right, bottom = _cells(region.box.mapped(whole, onto), onto)
            for row in range(top, bottom):
                sheet[row][left:right] = [("▒", "green")] * (right - left)
    text = Text("\n").join(Text.assemble(*row) for row in sheet)
    return text.append("\n▒ evidence  2 look  ┄ mistake", style="dim")


def time_line(trace: Trace, media: int) -> Text:
    """The video as a line of characters for the overview, one for each stretch of evidence, one for each look."""
    first, last = trace.example.media[media].span_s or (0.0, 0.0)
    width = MAP[0]

    def at(time_s: float) -> int:
        return min(width - 1, int((time_s - first) / max(last - first, 1e-6) * width))

    def dots(views: Sequence[View], sign: str, style: str, name: str) -> Text:
        row = [" "] * width
        for view in views:
            if view.media == media and view.time_s is not None:
                row[at(view.time_s)] = sign
        return Text.assemble(("".join(row), style), (f"  {name}", "dim"))

    lines = [dots(trace.views, "·", "dim", "overview")]
    for region in trace.regions:
        if region.media == media and region.span_s:
            start, end = (at(time_s) for time_s in region.span_s)
            bar = " " * start + "▒" * (end - start + 1)
            lines.append(Text.assemble((bar.ljust(width), "green"), ("  evidence", "dim")))
    for number, step in enumerate(trace.looks, start=1):
        sign, style, name = ("✗", "red", "mistake") if step.role == "mistake" else ("●", "blue", "look")
        views = step.observation.views if step.observation else ()
        lines.append(dots(views, sign, style, f"{name} {number}"))
    ends = f"{first:.1f} s".ljust(width - 8) + f"{last:.1f} s".rjust(8)
    return Text("\n").join([*lines, Text(ends, style="dim")])


def _cells(box: Box, bounds: Box) -> tuple[int, int, int, int]:
    """The characters that a box covers, at least one: left, top, right, bottom, the last two exclusive."""
    box = box.clamp(bounds)
    left, top = min(int(box.x1), int(bounds.x2) - 1), min(int(box.y1), int(bounds.y2) - 1)
    return left, top, max(left + 1, round(box.x2)), max(top + 1, round(box.y2))


def _outline(sheet: list[list[tuple[str, str]]], cells: tuple[int, int, int, int], ink: Ink, number: str = "") -> None:
    """A box just outside of these characters, with its number in the upper left corner."""
    left, top, right, bottom = cells[0] - 1, cells[1] - 1, cells[2], cells[3]
    for column in range(left, right + 1):
        sheet[top][column] = sheet[bottom][column] = (ink.across, ink.style)
    for row in range(top, bottom + 1):
        sheet[row][left] = sheet[row][right] = (ink.down, ink.style)
    corners = ((top, left), (top, right), (bottom, left), (bottom, right))
    for (row, column), corner in zip(corners, ink.corners, strict=True):
        sheet[row][column] = (corner, ink.style)
    for offset, digit in enumerate(number[: right - left + 1]):
        sheet[top][left + offset] = (digit, f"bold {ink.style}")
