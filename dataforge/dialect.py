r"""Dialect: how a student is told of the operations, how it writes a call, and how that is read.

Inside the project a call's boxes are pixels of the view it names. A student writes them in its own unit, and inside
<tool_call> tags or as OpenAI's `tool_calls`: the manifest's `Student` says which, and this module alone translates.
The size of a number never decides its unit.

Which image a box lies on: the one that the operation's int argument `target_image` names. Every operation with a Box
argument has one, and a Box is an argument by itself, never inside a list; `tool_schemas` refuses the others.

Reading never fails: a turn is a call, an answer, or an error sentence that the student can act on. A native message is
read by the same code as a tagged text, after its calls have been put into tags.
"""

import ast
import inspect
import json
import math
import re
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from dataforge.answers.metrics import extract_boxed
from dataforge.episode import bind, short_name, signature
from dataforge.errors import OperationError, UsageError
from dataforge.geometry import Box
from dataforge.plugins import Operation
from dataforge.records import BoxUnit, Call, Observation, Student, View

TARGET = "target_image"
"""The argument that names the image on which an operation's boxes lie."""

OPEN, CLOSE = "<tool_call>", "</tool_call>"

_UNIT_CLAUSE: dict[BoxUnit, str] = {
    "pixels": "in pixels of that image",
    "0..1": "as fractions of that image's width and height, 0 to 1",
    "0..1000": "in thousandths of that image's width and height, 0 to 1000",
}


class Turn(NamedTuple):
    """What a student's turn says: exactly one of call, answer and error is set.

    `thought` is the text before the call, or the text without an answer that has the last line to itself; the whole
    text where the turn could not be read. Text after a call is dropped: the call comes first.
    """

    thought: str
    call: Call | None = None
    answer: str | None = None
    error: Observation | None = None


# ------------------------------------------------------------------------------------------------------------- schemas


def tool_schemas(operations: Sequence[Operation], student: Student) -> list[dict[str, Any]]:
    """OpenAI function schemas of the operations, with boxes in the student's unit.

    UsageError where an operation's signature or docstring doesn't say enough.
    """
    return [_schema(operation, student) for operation in operations]


def _schema(operation: Operation, student: Student) -> dict[str, Any]:
    summary, described = _documented(operation)
    arguments = signature(operation)
    properties = {}
    for name, parameter in arguments.items():
        if name not in described:
            raise UsageError(f"operation {operation.name}: the Args: of apply does not describe {name}")
        properties[name] = _property(parameter.annotation, described[name], student)
        if Box in typing.get_args(parameter.annotation):
            raise UsageError(f"operation {operation.name}: {name} must be a Box by itself to be translated")
        if parameter.annotation is Box and TARGET not in arguments:
            raise UsageError(f"operation {operation.name}: its box {name} needs an int argument {TARGET}")
    required = [name for name, parameter in arguments.items() if parameter.default is parameter.empty]
    parameters = {"type": "object", "properties": properties, "required": required}
    function = {"name": short_name(operation), "description": summary, "parameters": parameters}
    return {"type": "function", "function": function}


def _property(annotation: Any, description: str, student: Student) -> dict[str, Any]:
    if annotation is not Box:
        return {**TypeAdapter(annotation).json_schema(), "description": description}
    description = f"{description.rstrip('.')}, {_UNIT_CLAUSE[student.box_unit]}."
    numbers = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
    return {**numbers, "description": description}


def _documented(operation: Operation) -> tuple[str, dict[str, str]]:
    """The docstring of `apply`: what stands before `Args:`, and what `Args:` says of each argument."""
    summary, _, section = (inspect.getdoc(type(operation).apply) or "").partition("\nArgs:\n")
    described: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break
        if entry := re.match(r" {4}(\w+): *(.*)", line):
            name = entry[1]
            described[name] = entry[2]
        elif name:
            described[name] += f" {line.strip()}"
    return " ".join(summary.split()), {name: " ".join(text.split()) for name, text in described.items()}


# --------------------------------------------------------------------------------------------------------------- boxes


def to_student(call: Call, operations: Sequence[Operation], views: Sequence[View], student: Student) -> Call:
    """The call as the student writes it: boxes in its unit, as whole numbers, or 4 decimals for 0..1.

    `views` are those shown before the call. A call that can't run (an unknown image, a box of three numbers) comes back
    unchanged, so that `Episode.act` answers it in the same words.
    """
    return _translated(call, operations, views, lambda value, side: _written(value, side, student.box_unit))


def from_student(call: Call, operations: Sequence[Operation], views: Sequence[View], student: Student) -> Call:
    """The call with its boxes in pixels of the view it names, from the student's unit; never rounded.

    What `to_student` leaves unchanged is left unchanged here.
    """
    return _translated(call, operations, views, lambda value, side: _pixels(value, side, student.box_unit))


def quantise(box: Box, view: View, student: Student) -> Box:
    """The nearest box on the view, in its pixels, that the student can write exactly; inside the view, never empty."""
    unit = student.box_unit
    x1, x2 = _on_grid(box.x1, box.x2, view.width, unit)
    y1, y2 = _on_grid(box.y1, box.y2, view.height, unit)
    return Box(x1, y1, x2, y2)


def _translated(
    call: Call,
    operations: Sequence[Operation],
    views: Sequence[View],
    change: Callable[[float, int], float],
) -> Call:
    """The call with every edge of its boxes changed; `change` gets the edge and the side of the view along it."""
    operation = next((known for known in operations if short_name(known) == call.name), None)
    if operation is None:
        return call
    try:
        bound = bind(operation, call.arguments)  # as the episode will, so that "1" is image 1 here as there
    except OperationError:
        return call
    wanted = signature(operation)
    number = bound.get(TARGET, wanted[TARGET].default if TARGET in wanted else None)
    view = next((view for view in views if view.number == number), None)
    if view is None:
        return call
    boxes = {
        name: [change(*edge) for edge in zip(value, (view.width, view.height) * 2, strict=True)]
        for name, value in bound.items()
        if isinstance(value, Box) and all(map(math.isfinite, value))
    }
    return call.model_copy(update={"arguments": {**call.arguments, **boxes}})


def _written(value: float, side: int, unit: BoxUnit) -> float:
    if unit == "pixels":
        return round(value)
    return round(value / side, 4) if unit == "0..1" else round(value * 1000 / side)


def _pixels(value: float, side: int, unit: BoxUnit) -> float:
    if unit == "pixels":
        return value
    return value * side if unit == "0..1" else value * side / 1000


def _on_grid(low: float, high: float, side: int, unit: BoxUnit) -> tuple[float, float]:
    """Two different edges, in pixels, among those that the unit can say along a side."""
    steps = {"pixels": side, "0..1": 10000, "0..1000": 1000}[unit]
    first, last = (min(max(round(edge * steps / side), 0), steps) for edge in (low, high))
    if first >= last:
        first = min(max(math.floor((low + high) / 2 * steps / side), 0), steps - 1)
        last = first + 1
    # through the number that will be written, so that reading it gives the same floats
    start, end = (_pixels(step / 10000 if unit == "0..1" else step, side, unit) for step in (first, last))
    return start, end


# ------------------------------------------------------------------------------------------------------------- reading


def parse_turn(text: str, operations: Sequence[Operation], views: Sequence[View], student: Student) -> Turn:
    """What a student's text says, with boxes in pixels of the view named among the `views` shown so far.

    Never raises: a call that can't be read becomes `error`, with the code malformed_call or several_calls, and a
    turn without call and answer becomes no_answer.
    """
    turn = read(text)
    if turn.call is None:
        return turn
    return turn._replace(call=from_student(turn.call, operations, views, student))


def parse_message(
    message: Mapping[str, Any], operations: Sequence[Operation], views: Sequence[View], student: Student
) -> Turn:
    """What an OpenAI assistant message says, in its `tool_calls` or, from a server that reads no calls, in its text.

    Never raises, as `parse_turn`.
    """
    return parse_turn(message_text(message), operations, views, student)


def message_text(message: Mapping[str, Any]) -> str:
    """A message's text with its native calls put into tags, however odd their shape."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    found = [part.get("text") for part in parts if isinstance(part, Mapping)]
    texts = [text for text in found if isinstance(text, str)]
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, Mapping) else None
        function = function if isinstance(function, Mapping) else {}
        arguments = function.get("arguments") or "{}"
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, default=str)
        name = json.dumps(function.get("name"), default=str)
        texts.append(_in_tags(name, arguments))
    return "\n".join(texts)


def arguments_json(call: Call) -> str:
    r"""A call's arguments as JSON; < can only stand in a string, where \u003c says the same and no marker can arise."""
    return _escaped(json.dumps(call.arguments, ensure_ascii=False))


def tagged(call: Call) -> str:
    """A call, with boxes as written, in its tags, as the Hermes and Qwen templates lay it out."""
    return _in_tags(json.dumps(call.name, ensure_ascii=False), json.dumps(call.arguments, ensure_ascii=False))


def _in_tags(name: str, arguments: str) -> str:
    body = f'{{"name": {name}, "arguments": {arguments}}}'
    return f"{OPEN}\n{_escaped(body)}\n{CLOSE}"


def _escaped(text: str) -> str:
    return text.replace("<", "\\u003c")


def read(text: str) -> Turn:
    """What a student's text says, with boxes as written; never raises, as `parse_turn`."""
    text = clean(text).strip()
    thought, *bodies = text.split(OPEN)
    try:
        if len(bodies) > 1:
            raise _several()
        if not bodies and CLOSE in text:
            raise _malformed("its opening tag is missing")
        if bodies:
            return Turn(thought.strip(), call=_read_call(bodies[0]))
    except OperationError as error:
        return Turn(text, error=Observation(text=f"Error: {error}", error=error.reason))
    return _read_answer(text)


def _read_answer(text: str) -> Turn:
    answer = extract_boxed(text)
    if not answer:
        sentence = r"Error: This turn holds neither a call nor an answer. Give the final answer in \boxed{}."
        return Turn(text, error=Observation(text=sentence, error="no_answer"))
    before = text[: text.rindex(r"\boxed")].rstrip(" \t")
    alone = before == "" or before.endswith("\n")
    ends_the_text = extract_boxed(text[:-1]) is None  # without its last character the box stands open
    return Turn(before.strip() if alone and ends_the_text else text, answer=answer)


def _read_call(rest: str) -> Call:
    """The call in what follows an opening tag; OperationError where there is none, or more than one.

    A missing closing tag is forgiven when the JSON is whole: servers cut a stop string off.
    """
    body, closing, _ = rest.partition(CLOSE)
    value = _load(re.sub(r"^\s*```\w*", "", body), cut_off=not closing)
    if isinstance(value, list):
        if len(value) > 1:
            raise _several()
        value = value[0] if value else None
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise _malformed("it names no function")
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str) and arguments.strip():
        arguments = _load(arguments)
    if arguments and not isinstance(arguments, dict):
        raise _malformed("its arguments are not a JSON object")
    return Call(name=name.strip(), arguments=arguments or {})


def _load(text: str, cut_off: bool = False) -> Any:
    """The JSON value that the text starts with, or the Python literal that it is; text may follow when `cut_off`."""
    text = text.strip().rstrip("`").strip()
    try:
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(text)
        except ValueError:
            if len(text) > 4000:  # far beyond any call; keeps Python's parser out of odd depths
                raise
            with warnings.catch_warnings():  # Python's parser remarks on odd numbers, to whoever watches the terminal
                warnings.simplefilter("ignore")
                value, end = ast.literal_eval(text), len(text)
        value = _tamed(value)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise _malformed("it is not valid JSON") from None
    left = text[end:].strip(" \t\r\n`,;]}")  # one brace too many is forgiven
    if left.startswith("{"):
        raise _several()
    if left and not cut_off:
        raise _malformed("there is more than one JSON object in it")
    return value


def _tamed(value: Any, depth: int = 0) -> Any:
    """A value that a record can store as JSON; a number that isn't finite becomes text, which no operation takes."""
    if depth > 8:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        return {clean(str(key)): _tamed(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_tamed(item, depth + 1) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and abs(value) <= 1e15:  # false for nan; beyond it an int may overflow a float
        return value
    return clean(str(value))


def clean(text: str) -> str:
    """The text without lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _malformed(why: str) -> OperationError:
    form = 'Write one JSON object with "name" and "arguments".'
    return OperationError("malformed_call", f"The call cannot be read: {why}. {form}")


def _several() -> OperationError:
    return OperationError("several_calls", "One call at a time: none of this turn's calls was run.")
