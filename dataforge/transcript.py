"""A trace as a transcript for somebody else's trainer: turns, pictures in order, calls in that trainer's words.

What `chat` says in our student's dialect is said here with another tool name, another box unit and another padding.
The padding is the other executor's: where it widens each box, the box written is the one that it will widen to what the
trace really shows, and a look that no such box gives is refused, for a student would learn that a call shows what it
doesn't.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from dataforge import chat, dialect
from dataforge.episode import operations_of, short_name, signature
from dataforge.errors import ExampleError
from dataforge.geometry import Box
from dataforge.plugins import Operation
from dataforge.prompts import find_prompt
from dataforge.records import BoxUnit, Call, Learn, Step, Trace, View


class Piece(NamedTuple):
    """A part of a turn: a text, or the index of a picture."""

    text: str = ""
    picture: int | None = None


class Said(NamedTuple):
    """One turn. A student's has its text without the call, and the call as it is written there."""

    role: Literal["user", "assistant", "result"]
    pieces: tuple[Piece, ...]
    call: Call | None = None
    learn: Learn = "both"
    error: bool = False
    to_call: bool = True
    """Of a result: it answers a call, and not a turn that could not be read."""

    @property
    def pictures(self) -> tuple[int, ...]:
        return tuple(piece.picture for piece in self.pieces if piece.picture is not None)

    def text(self, placeholder: str = "") -> str:
        """All in one string, with the placeholder where a picture is, and a new line between it and what follows."""
        texts = [piece.text if piece.picture is None else placeholder for piece in self.pieces]
        after = [None, *(piece.picture for piece in self.pieces)]
        parted = [bool(text) and before is not None for text, before in zip(texts, after, strict=False)]
        return "".join(f"\n{text}" if apart else text for text, apart in zip(texts, parted, strict=True))

    def written(self) -> str:
        """A student's text with its call in tags, as it would be sampled."""
        return f"{self.text()}\n{dialect.tagged(self.call)}".lstrip("\n") if self.call else self.text()


class Shot(NamedTuple):
    """An encoded picture: its file name by content, and its bytes."""

    name: str
    content: bytes


class Transcript(NamedTuple):
    """What an exporter lays out."""

    trace: Trace
    question: str
    system: str
    """Our student's system text, with the tools under their names there."""
    tools: list[dict[str, object]]
    turns: tuple[Said, ...]
    pictures: tuple[Shot, ...]
    """All views in the order in which they are shown; empty until somebody has encoded them."""
    sources: tuple[Shot, ...]
    """The whole media of the question, in full resolution; of a video its opening frames."""

    @property
    def is_video(self) -> bool:
        return any(media.kind == "video" for media in self.trace.example.media)


def transcribe(trace: Trace, names: Mapping[str, str], box_unit: BoxUnit | None, padding: float | None) -> Transcript:
    """The trace without its pictures; `names` gives operations other names. ExampleError where it can't be said."""
    own = trace.provenance.student
    student = own.model_copy(update={"calls": "native", "box_unit": box_unit or own.box_unit})
    operations = operations_of(trace)
    tools = [_renamed_schema(tool, names) for tool in dialect.tool_schemas(operations, student)]
    steps = [_repadded(step, trace, operations, padding) for step in trace.steps]
    said = trace.model_copy(update={"steps": tuple(steps)})
    opening = chat.opening(trace.example, trace.views, operations, student, system=None)
    turns = [Said("user", _pieces(opening[-1].parts))]
    views = list(trace.views)
    for index, step in enumerate(said.steps):
        answer = trace.answer if index == len(steps) - 1 else ""
        spoken = chat.student_turn(step, index, answer, operations, views, student)
        call = spoken.call and spoken.call.model_copy(update={"name": names.get(spoken.call.name, spoken.call.name)})
        turns.append(Said("assistant", _pieces(spoken.parts), call, step.learn))
        if step.observation is not None:
            back = chat.result_turns(step, index, student)[-1]
            failed = bool(step.observation.error)
            turns.append(Said("result", _pieces(back.parts), error=failed, to_call=step.call is not None))
            views += step.observation.views
    listed = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    system = find_prompt("student").fill(system="You are a helpful assistant.", tools=listed) if tools else ""
    return Transcript(trace, chat.question_text(trace.example), system, tools, tuple(turns), (), ())


def _pieces(parts: Sequence[chat.Part]) -> tuple[Piece, ...]:
    return tuple(Piece(part.text, None if part.view is None else part.view - 1) for part in parts)


def _renamed_schema(tool: dict[str, object], names: Mapping[str, str]) -> dict[str, object]:
    function = dict(tool["function"])  # type: ignore[call-overload]
    return {**tool, "function": function | {"name": names.get(function["name"], function["name"])}}


def _repadded(step: Step, trace: Trace, operations: Sequence[Operation], padding: float | None) -> Step:
    """The step with boxes that an executor of that padding widens to what the step really cut."""
    if step.call is None or padding is None or step.observation is None or not step.observation.views:
        return step
    operation = next(one for one in operations if short_name(one) == step.call.name)
    boxes = [name for name, argument in signature(operation).items() if argument.annotation is Box]
    if not boxes or getattr(operation, "padding", None) == padding:
        return step
    number = step.call.arguments.get(dialect.TARGET, 1)
    target = next(view for view in trace.all_views if view.number == int(number))
    cut = step.observation.views[0]
    box = shrunk(cut, target, padding)
    call = step.call.model_copy(update={"arguments": step.call.arguments | {boxes[0]: list(box)}})
    return step.model_copy(update={"call": call})


def shrunk(cut: View, target: View, padding: float) -> Box:
    """The box on the target that grows into the cut; at an edge of the target it may start anywhere within the
    padding, for what is widened never leaves the picture.
    """
    frame = Box(0, 0, target.width, target.height)
    shown = cut.box.mapped(target.box, frame)
    x1, x2 = _inner(shown.x1, shown.x2, target.width, padding * target.width)
    y1, y2 = _inner(shown.y1, shown.y2, target.height, padding * target.height)
    return Box(x1, y1, x2, y2)


def _inner(low: float, high: float, side: int, air: float) -> tuple[float, float]:
    start, end = low + air, high - air
    if start >= end:  # less air is enough where the picture ends
        start = 0.0 if low <= 0.5 else start
        end = float(side) if high >= side - 0.5 else end
    if end - start < 1:
        raise ExampleError("export", "padding", "the other executor shows more than this look, whatever the box")
    return start, end
