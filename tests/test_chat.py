"""Messages, dialects and the reading of turns: what is written is read back, and nothing that is read raises."""

import json
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge import chat
from dataforge.chat import parse_message, parse_turn, quantise, to_student
from dataforge.dialect import from_student
from dataforge.episode import bind
from dataforge.errors import ExampleError, OperationError, UsageError
from dataforge.geometry import Box
from dataforge.operations.zoom_in import ZoomIn
from dataforge.plugins import Operation
from dataforge.records import Call, Example, Media, Observation, Provenance, Step, Student, Trace, View, to_line
from dataforge.workspace import Workspace

UNITS = ("pixels", "0..1", "0..1000")
FORMS = ("tagged", "native")
SHA = "0" * 64
ZOOM = (ZoomIn(),)
PIXELS = Student()


class Frames(Operation):
    """An operation with one argument of every other type."""

    def apply(
        self,
        workspace: Workspace,
        area: Box,
        target_image: int = 1,
        frames: list[int] = [1],  # noqa: B006
        mode: Literal["sharp", "soft"] = "sharp",
        scale: float = 1.0,
        grey: bool = False,
        note: str = "",
    ) -> list[View]:
        """Show frames,
        one after the other.

        Args:
            area: The part to show.
            target_image: The image
                that it lies on.
            frames: Their numbers.
            mode: How to draw.
            scale: How large.
            grey: Without colour.
            note: Free text.

        Returns:
            views: not an argument.
        """
        return []


FRAMES = (Frames(),)


def view(number: int, width: int = 1120, height: int = 700) -> View:
    return View(number=number, width=width, height=height, sha256=SHA, box=Box(0, 0, width, height))


def example(**fields: Any) -> Example:
    media = (Media(sha256=SHA, suffix=".png", width=1120, height=700),)
    whole = {"id": "e", "group": "g", "source": "s", "question": "Which year?", "answers": ("1987",), "media": media}
    return Example.model_validate({**whole, **fields})


def trace(steps: tuple[Step, ...], answer: str = "1987", **fields: Any) -> Trace:
    return Trace(
        id="t",
        example=example(**fields),
        views=(view(1),),
        steps=steps,
        answer=answer,
        kind="single",
        provenance=Provenance(version="0", manifest="0"),
    )


def zoom(box: Any, target: Any = 1) -> Call:
    return Call(name="zoom_in", arguments={"bbox_2d": box, "target_image": target})


def seen(*numbers: int) -> Observation:
    views = tuple(view(number, 448, 336) for number in numbers)
    return Observation(text=" ".join(f"Image {number} (448x336 pixels):" for number in numbers), views=views)


def student(unit: str = "pixels", form: str = "tagged") -> Student:
    return Student.model_validate({"box_unit": unit, "calls": form})


LOOK = Step(thought="The year is too small to read.", call=zoom([112.0, 70.0, 560.0, 350.0]), observation=seen(2))
END = Step(thought="It says 1987.", role="answer")


# ---------------------------------------------------------------------------------------------------- schemas


@pytest.mark.parametrize(
    ("unit", "clause"),
    [
        ("pixels", "in pixels of that image"),
        ("0..1", "as fractions of that image's width and height, 0 to 1"),
        ("0..1000", "in thousandths of that image's width and height, 0 to 1000"),
    ],
)
def test_schema_of_zoom_in(unit: str, clause: str) -> None:
    assert chat.tool_schemas(ZOOM, student(unit)) == [
        {
            "type": "function",
            "function": {
                "name": "zoom_in",
                "description": "Zoom in on a rectangular part of an image shown so far; the part is returned"
                " enlarged, as a new image.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "bbox_2d": {
                            "type": "array",
                            "items": {"type": "number"},
                            "minItems": 4,
                            "maxItems": 4,
                            "description": "The part to zoom in on, as [x1, y1, x2, y2]: its left, top, right and"
                            f" bottom edge, {clause}.",
                        },
                        "target_image": {
                            "type": "integer",
                            "description": "The number of the image that the part lies on; 1 is the first image shown.",
                        },
                    },
                    "required": ["bbox_2d", "target_image"],
                },
            },
        }
    ]


def test_schema_of_every_type() -> None:
    function = chat.tool_schemas(FRAMES, PIXELS)[0]["function"]
    assert function["description"] == "Show frames, one after the other."
    assert function["parameters"]["required"] == ["area"]
    properties = function["parameters"]["properties"]
    assert {name: properties[name] for name in ("target_image", "frames", "mode", "scale", "grey", "note")} == {
        "target_image": {"type": "integer", "description": "The image that it lies on."},
        "frames": {"type": "array", "items": {"type": "integer"}, "description": "Their numbers."},
        "mode": {"type": "string", "enum": ["sharp", "soft"], "description": "How to draw."},
        "scale": {"type": "number", "description": "How large."},
        "grey": {"type": "boolean", "description": "Without colour."},
        "note": {"type": "string", "description": "Free text."},
    }


class NoDescription(Operation):
    def apply(self, workspace: Workspace, degrees: int) -> list[View]:
        """Rotate."""
        return []


class NoTarget(Operation):
    def apply(self, workspace: Workspace, area: Box) -> list[View]:
        """Blur.

        Args:
            area: What to blur.
        """
        return []


class BoxesInAList(Operation):
    def apply(self, workspace: Workspace, areas: list[Box], target_image: int) -> list[View]:
        """Blur.

        Args:
            areas: What to blur.
            target_image: Where.
        """
        return []


@pytest.mark.parametrize(
    ("operation", "complaint"),
    [
        (NoDescription(), "does not describe degrees"),
        (NoTarget(), "needs an int argument target_image"),
        (BoxesInAList(), "must be a Box by itself"),
    ],
)
def test_an_operation_that_says_too_little_is_refused(operation: Operation, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        chat.tool_schemas([operation], PIXELS)


# ------------------------------------------------------------------------------------------------------ boxes


@pytest.mark.parametrize(
    ("unit", "written"),
    [("pixels", [112, 70, 560, 350]), ("0..1", [0.1, 0.1, 0.5, 0.5]), ("0..1000", [100, 100, 500, 500])],
)
def test_a_box_in_each_unit(unit: str, written: list[float]) -> None:
    call = to_student(zoom([112.0, 70.0, 560.0, 350.0]), ZOOM, [view(1)], student(unit))
    assert call.arguments == {"bbox_2d": written, "target_image": 1}
    assert [type(edge) for edge in call.arguments["bbox_2d"]] == [type(edge) for edge in written]
    back = from_student(call, ZOOM, [view(1)], student(unit))
    assert back == zoom([112.0, 70.0, 560.0, 350.0])


def test_the_whole_image_is_never_taken_for_pixels() -> None:
    call = from_student(zoom([0, 0, 1, 1]), ZOOM, [view(1)], student("0..1"))
    assert call.arguments["bbox_2d"] == [0, 0, 1120, 700]
    small = from_student(zoom([0, 0, 1, 1]), ZOOM, [view(1)], student("pixels"))
    assert small.arguments["bbox_2d"] == [0, 0, 1, 1]


def test_the_named_image_scales_the_box() -> None:
    views = [view(1), view(2, 448, 336)]
    for target in (2, "2", 2.0):  # what the episode takes for image 2
        call = from_student(zoom([0.0, 0.0, 0.5, 0.5], target), ZOOM, views, student("0..1"))
        assert call == zoom([0.0, 0.0, 224.0, 168.0], target)


def test_a_default_target_and_another_box_name_are_translated() -> None:
    call = Call(name="test_chat", arguments={"area": [0, 0, 1, 0.5], "grey": True})
    assert from_student(call, FRAMES, [view(1)], student("0..1")).arguments == {"area": [0, 0, 1120, 350], "grey": True}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    "call",
    [
        zoom([0, 0, 1, 1], 7),
        zoom([0, 0, 1, 1], 0),
        zoom([0, 0, 1, 1], True),
        zoom([0, 0, 1]),
        zoom("0 0 1 1"),
        zoom(["nan", 0, 1, 1]),
        zoom([float("nan"), 0, 1, 1]),
        zoom(None),
        Call(name="zoom_in", arguments={"bbox_2d": [0, 0, 1, 1]}),
        Call(name="zoom_in", arguments={**zoom([0, 0, 1, 1]).arguments, "speed": 3}),
        Call(name="unknown", arguments={"bbox_2d": [0, 0, 1, 1]}),
    ],
    ids=repr,
)
def test_a_call_that_cannot_run_passes_unchanged(call: Call, unit: str) -> None:
    assert repr(from_student(call, ZOOM, [view(1)], student(unit))) == repr(call)  # nan is not equal to itself
    assert repr(to_student(call, ZOOM, [view(1)], student(unit))) == repr(call)


sides = st.integers(1, 4000)
edges = st.floats(-50, 4050)
units = st.sampled_from(UNITS)


@given(sides, sides, edges, edges, edges, edges, units)
def test_a_quantised_box_survives_the_round_trip(
    width: int, height: int, x1: float, y1: float, x2: float, y2: float, unit: str
) -> None:
    shown, who = view(1, width, height), student(unit)
    box = quantise(Box(x1, y1, x2, y2), shown, who)
    assert Box(0, 0, width, height).contains(box)
    assert box.x1 < box.x2
    assert box.y1 < box.y2
    assert quantise(box, shown, who) == box
    call = zoom(list(box))
    written = json.loads(json.dumps(to_student(call, ZOOM, [shown], who).model_dump()))
    assert from_student(Call(**written), ZOOM, [shown], who) == call


@given(sides, st.tuples(st.floats(0, 1), st.floats(0, 1)), units)
def test_a_quantised_edge_is_the_nearest(side: int, shares: tuple[float, float], unit: str) -> None:
    low, high = sorted(share * side for share in shares)
    box = quantise(Box(low, 0, high, side), view(1, side, side), student(unit))
    grid = side / {"pixels": side, "0..1": 10000, "0..1000": 1000}[unit]
    reach = grid / 2 if high - low >= grid else grid * 1.5
    assert abs(box.x1 - low) <= reach * (1 + 1e-6)
    assert abs(box.x2 - high) <= reach * (1 + 1e-6)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(10.6, 0, 10.8, 5), Box(10, 0, 11, 5)),
        (Box(9.8, 0, 10.4, 5), Box(10, 0, 11, 5)),
        (Box(99.9, 0, 100, 5), Box(99, 0, 100, 5)),
        (Box(-9, -9, 0, 5), Box(0, 0, 1, 5)),
        (Box(0, 0, 500, 500), Box(0, 0, 100, 50)),
    ],
)
def test_quantise_keeps_a_box_inside_and_not_empty(box: Box, expected: Box) -> None:
    assert quantise(box, view(1, 100, 50), PIXELS) == expected


# ---------------------------------------------------------------------------------------------------- reading

BODY = '{"name": "zoom_in", "arguments": {"bbox_2d": [1, 2, 30, 40], "target_image": 1}}'
READ = zoom([1, 2, 30, 40])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"Look.\n<tool_call>\n{BODY}\n</tool_call>", id="plain"),
        pytest.param(f"Look. <tool_call>{BODY}</tool_call>", id="on one line"),
        pytest.param(f"Look.\n<tool_call>{BODY}</tool_call>\nThen I see 1987.", id="text after the call"),
        pytest.param(rf"Look.<tool_call>{BODY}</tool_call> \boxed{{1987}}", id="answer after the call"),
        pytest.param(f"Look.\n<tool_call>\n{BODY}", id="no closing tag"),
        pytest.param(f"Look.\n<tool_call>\n{BODY}\nand so on", id="no closing tag, text after"),
        pytest.param(f"Look.\n<tool_call>\n```json\n{BODY}\n```\n</tool_call>", id="fenced"),
        pytest.param(f"Look.<tool_call>```{BODY}```</tool_call>", id="fenced on one line"),
        pytest.param(f"Look.\n<tool_call>\n{BODY}}}\n</tool_call>", id="one brace too many"),
        pytest.param(f"Look.\n<tool_call>[{BODY}]</tool_call>", id="list of one"),
        pytest.param("Look.<tool_call>" + BODY.replace('"', "'") + "</tool_call>", id="single quotes"),
        pytest.param("Look.<tool_call>" + BODY.replace("1}", "1,}") + "</tool_call>", id="trailing comma"),
        pytest.param("Look.<tool_call>" + BODY.replace("arguments", "parameters") + "</tool_call>", id="parameters"),
        pytest.param(
            "Look.<tool_call>"
            + json.dumps({"name": "zoom_in", "arguments": json.dumps(READ.arguments)})
            + "</tool_call>",
            id="double encoded",
        ),
        pytest.param("Look.<tool_call>" + BODY.replace("[1, 2,", "[1,\n\t2,") + "</tool_call>", id="line breaks"),
    ],
)
def test_odd_calls_are_read(text: str) -> None:
    assert parse_turn(text, ZOOM, [view(1)], PIXELS) == ("Look.", READ, None, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(f"a<tool_call>{BODY}</tool_call><tool_call>{BODY}</tool_call>", "several_calls", id="two"),
        pytest.param(f"a<tool_call>{BODY}\n{BODY}</tool_call>", "several_calls", id="two in one tag"),
        pytest.param(f"a<tool_call>[{BODY}, {BODY}]</tool_call>", "several_calls", id="two in a list"),
        pytest.param("a<tool_call></tool_call>", "malformed_call", id="empty"),
        pytest.param("a<tool_call>", "malformed_call", id="cut off at once"),
        pytest.param("a<tool_call>[]</tool_call>", "malformed_call", id="empty list"),
        pytest.param(f"a<tool_call>{BODY[:-9]}", "malformed_call", id="cut off in the JSON"),
        pytest.param(f"a {BODY}</tool_call>", "malformed_call", id="no opening tag"),
        pytest.param("a<tool_call>{name: zoom_in}</tool_call>", "malformed_call", id="no quotes"),
        pytest.param(f"a<tool_call>{BODY} please</tool_call>", "malformed_call", id="text in the tag"),
        pytest.param('a<tool_call>{"arguments": {}}</tool_call>', "malformed_call", id="no name"),
        pytest.param('a<tool_call>{"name": 3, "arguments": {}}</tool_call>', "malformed_call", id="name is a number"),
        pytest.param('a<tool_call>{"name": "z", "arguments": [1]}</tool_call>', "malformed_call", id="list arguments"),
        pytest.param('a<tool_call>{"name": "z", "arguments": "x"}</tool_call>', "malformed_call", id="word arguments"),
        pytest.param("a<tool_call>" + "[" * 100_000 + "</tool_call>", "malformed_call", id="deep"),
        pytest.param("a<tool_call>" + "(" * 3000 + "</tool_call>", "malformed_call", id="deep for Python"),
        pytest.param(
            'a<tool_call>{"name": "z", "arguments": {"a": ' + "[" * 50 + "]" * 50 + "}}",
            "malformed_call",
            id="deep arguments",
        ),
        pytest.param("a<tool_call>{'a': __import__('os')}</tool_call>", "malformed_call", id="code"),
        pytest.param("a<tool_call>" + "1" * 5000 + "</tool_call>", "malformed_call", id="long number"),
        pytest.param("", "no_answer", id="nothing"),
        pytest.param("It is 1987.", "no_answer", id="no box"),
        pytest.param(r"It is \boxed{19", "no_answer", id="open box"),
        pytest.param(r"It is \boxed{}", "no_answer", id="empty box"),
    ],
)
def test_unreadable_turns_get_a_sentence(text: str, reason: str) -> None:
    turn = parse_turn(text, ZOOM, [view(1)], PIXELS)
    assert turn.thought == text
    assert (turn.call, turn.answer) == (None, None)
    assert turn.error is not None
    assert turn.error.error == reason
    assert turn.error.text.startswith("Error: ")
    assert "<" not in turn.error.text


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("It says 1987.\n\\boxed{1987}", "It says 1987.", "1987"),
        ("It says 1987.\n\n \\boxed{ 1987 }\n", "It says 1987.", "1987"),
        ("\\boxed{1987}", "", "1987"),
        ("So it is \\boxed{1987}.", "So it is \\boxed{1987}.", "1987"),
        ("So it is \\boxed{1987}", "So it is \\boxed{1987}", "1987"),
        ("First \\boxed{1986}, no:\n\\boxed{\\{1\\}, 2}", "First \\boxed{1986}, no:", "{1}, 2"),
        ("a\n\\boxed{1987}\nbecause it says so", "a\n\\boxed{1987}\nbecause it says so", "1987"),
        ("a\n\\boxed{1} and } {}", "a\n\\boxed{1} and } {}", "1"),
    ],
)
def test_answers_are_read(text: str, thought: str, answer: str) -> None:
    assert parse_turn(text, ZOOM, [view(1)], PIXELS) == (thought, None, answer, None)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 400, "1e300"])
def test_numbers_that_no_record_can_hold_reach_the_operation_as_text(number: str) -> None:
    text = "<tool_call>" + BODY.replace("30", number) + "</tool_call>"
    turn = parse_turn(text, ZOOM, [view(1)], student("0..1000"))
    assert turn.call is not None
    assert isinstance(turn.call.arguments["bbox_2d"][2], str)
    line = to_line(turn.call)
    assert Call.model_validate_json(line) == turn.call
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} was stored"))
    with pytest.raises(OperationError, match="list of four numbers"):
        bind(ZOOM[0], turn.call.arguments)


pieces = st.sampled_from(
    ["<tool_call>", "</tool_call>", BODY, "{", "}", "[", '"', "'", "\\boxed{", "```json", "NaN", ":", ",", "\n", "\\"]
)


@settings(max_examples=300)
@given(st.lists(pieces | st.text(max_size=8), max_size=12).map("".join), units)
def test_no_text_raises(text: str, unit: str) -> None:
    turn = parse_turn(text, ZOOM, [view(1)], student(unit))
    assert sum(said is not None for said in turn[1:]) == 1
    to_line(Step(thought=turn.thought, call=turn.call, observation=turn.error)).encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, st.dictionaries(st.sampled_from(["name", "arguments", "x"]), json_values), json_values)
def test_no_message_raises(content: Any, function: dict[str, Any], odd: Any) -> None:
    for calls in ([{"function": function}], [{"function": odd}], [odd], odd, [{"function": function}] * 2):
        turn = parse_message({"role": "assistant", "content": content, "tool_calls": calls}, ZOOM, [view(1)], PIXELS)
        assert sum(said is not None for said in turn[1:]) == 1
    parse_message({}, ZOOM, [], PIXELS)


def native(*arguments: Any, content: Any = "Look.") -> dict[str, Any]:
    functions = [{"name": "zoom_in", "arguments": one} for one in arguments]
    calls = [{"id": "x", "type": "function", "function": function} for function in functions]
    return {"role": "assistant", "content": content, "tool_calls": calls}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(native(json.dumps(READ.arguments)), READ, id="plain"),
        pytest.param(native(READ.arguments), READ, id="arguments not encoded"),
        pytest.param(native(json.dumps(json.dumps(READ.arguments))), READ, id="double encoded"),
        pytest.param(native(str(READ.arguments)), READ, id="single quotes"),
        pytest.param(native(""), Call(name="zoom_in"), id="no arguments"),
        pytest.param(native("{"), "malformed_call", id="broken"),
        pytest.param(native("[1]"), "malformed_call", id="list"),
        pytest.param(native("{}", "{}"), "several_calls", id="two"),
        pytest.param({"content": f"Look.<tool_call>{BODY}</tool_call>"}, READ, id="left in the text by the server"),
        pytest.param({"content": [{"type": "text", "text": "Hm."}], "tool_calls": None}, "no_answer", id="no call"),
    ],
)
def test_native_messages_are_read(message: dict[str, Any], expected: Call | str) -> None:
    turn = parse_message(message, ZOOM, [view(1)], PIXELS)
    if isinstance(expected, Call):
        assert (turn.thought, turn.call) == ("Look.", expected)
    else:
        assert turn.error is not None
        assert turn.error.error == expected
        assert parse_turn(turn.thought, ZOOM, [view(1)], PIXELS) == turn


# ---------------------------------------------------------------------------------------------------- writing


def test_question_with_choices() -> None:
    assert chat.question_text(example(question=" Which? ", choices=("red", "blue"))) == "Which?\nA. red\nB. blue"
    with pytest.raises(ExampleError, match="too_many_choices"):
        chat.question_text(example(choices=("a",) * 27))


def test_tagged_messages_in_full() -> None:
    out = chat.to_messages(trace((LOOK, END)), ZOOM, student("0..1000"), system="You see well.")
    tools = json.dumps(chat.tool_schemas(ZOOM, student("0..1000"))[0])
    assert [message["role"] for message in out] == ["system", "user", "assistant", "user", "assistant"]
    system = out[0]["content"][0]["text"]
    assert system.startswith("You see well.\n\n# Tools\n")
    assert f"<tools>\n{tools}\n</tools>" in system
    assert system.endswith('<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>')
    assert out[1]["content"][:2] == [
        {"type": "text", "text": "Image 1 (1120x700 pixels):"},
        {"type": "image", "view": 1},
    ]
    assert out[1]["content"][2]["text"].startswith("Which year?\n\nReason step by step.")
    assert out[1]["content"][2]["text"].endswith(r"\boxed{}.")
    call = '{"name": "zoom_in", "arguments": {"bbox_2d": [100, 100, 500, 500], "target_image": 1}}'
    said = f"The year is too small to read.\n<tool_call>\n{call}\n</tool_call>"
    assert out[2]["content"] == [{"type": "text", "text": said}]
    assert out[3]["content"] == [
        {"type": "text", "text": "<tool_response>\nImage 2 (448x336 pixels):"},
        {"type": "image", "view": 2},
        {"type": "text", "text": "\n</tool_response>"},
    ]
    assert out[4]["content"] == [{"type": "text", "text": "It says 1987.\n\\boxed{1987}"}]


def test_native_messages_in_full() -> None:
    out = chat.to_messages(trace((LOOK, END)), ZOOM, student("0..1", "native"), system=None)
    assert [message["role"] for message in out] == ["user", "assistant", "tool", "user", "assistant"]
    arguments = '{"bbox_2d": [0.1, 0.1, 0.5, 0.5], "target_image": 1}'
    assert out[1]["content"] == [{"type": "text", "text": "The year is too small to read."}]
    assert out[1]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "zoom_in", "arguments": arguments}}
    ]
    assert out[2] == {
        "role": "tool",
        "content": [{"type": "text", "text": "Image 2 (448x336 pixels):"}],
        "tool_call_id": "call_1",
    }
    assert out[3]["content"][1] == {"type": "image", "view": 2}


def test_each_view_stands_with_its_own_sentence() -> None:
    call = Call(name="test_chat", arguments={"area": [0.0, 0.0, 1.0, 1.0]})
    out = chat.to_messages(
        trace((Step(thought="Look.", call=call, observation=seen(2, 3)), END)), FRAMES, PIXELS, system=None
    )
    assert [part.get("text", part.get("view")) for part in out[3]["content"]] == [
        "<tool_response>\nImage 2 (448x336 pixels):",
        2,
        "Image 3 (448x336 pixels):",
        3,
        "\n</tool_response>",
    ]


def test_without_operations_nothing_speaks_of_calls() -> None:
    out = chat.to_messages(trace((END,)), (), PIXELS, system=None)
    assert [message["role"] for message in out] == ["user", "assistant"]
    assert "function" not in out[0]["content"][-1]["text"]


def test_errors_come_back_as_text() -> None:
    refused = Step(thought="", call=zoom([5.0, 5.0, 1.0, 1.0]), observation=Observation(text="Error: no.", error="x"))
    tagged = chat.to_messages(trace((refused, END)), ZOOM, PIXELS, system=None)
    assert tagged[3]["content"] == [{"type": "text", "text": "<tool_response>\nError: no.\n</tool_response>"}]
    out = chat.to_messages(trace((refused, END)), ZOOM, student(form="native"), system=None)
    assert [message["role"] for message in out] == ["user", "assistant", "tool", "assistant"]
    assert out[1]["content"] == [{"type": "text", "text": ""}]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "raw", ["a <tool_call>{", f"<tool_call>{BODY}</tool_call><tool_call>{BODY}</tool_call>", "Well ..."]
)
def test_a_turn_that_could_not_be_read_round_trips(raw: str, form: str) -> None:
    who = student(form=form)
    turn = parse_turn(raw, ZOOM, [view(1)], who)
    made = trace((Step(thought=turn.thought, observation=turn.error, learn="none"), LOOK, END))
    out = chat.to_messages(made, ZOOM, who, system=None)
    assert [message["role"] for message in out if message["role"] != "system"][:4] == ["user", "assistant"] * 2
    steps = [(step.thought, step.call) for step in made.steps]
    assert chat.from_messages(out, ZOOM, made.all_views, who) == (steps, "1987")


@pytest.mark.parametrize(
    ("learn", "learned"),
    [
        ("both", ["The year is too small to read.", "<tool_call>"]),
        ("thought", ["The year is too small to read."]),
        ("call", ["<tool_call>"]),
        ("none", []),
    ],
)
def test_learn_marks_the_parts(learn: Any, learned: list[str]) -> None:
    made = trace((LOOK.model_copy(update={"learn": learn}), END))
    turn = chat.turns(made, ZOOM, PIXELS, system=None)[2]
    assert [part.text.split("\n")[0] or part.text.split("\n")[1] for part in turn.parts if part.learn] == learned
    assert not any(part.learn for turn in chat.turns(made, ZOOM, PIXELS, system="x")[:2] for part in turn.parts)


def test_a_thought_that_says_the_answer_gets_no_second_box() -> None:
    made = trace((Step(thought=r"So it is \boxed{1987}.", role="answer"),))
    assert chat.to_messages(made, ZOOM, PIXELS, system=None)[-1]["content"][0]["text"] == r"So it is \boxed{1987}."


def test_a_marker_in_an_argument_is_escaped() -> None:
    call = Call(name="test_chat", arguments={"area": [0.0, 0.0, 9.0, 9.0], "note": "</tool_call><image><|im_end|>"})
    made = trace((Step(thought="a", call=call, observation=seen(2)), END))
    for form in FORMS:
        out = chat.to_messages(made, FRAMES, student(form=form), system=None)
        assert "<image>" not in json.dumps(out)
        steps, _ = chat.from_messages(out, FRAMES, made.all_views, student(form=form))
        assert steps[0][1] == call


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        pytest.param(trace((END,), question="What is <tool_call>?"), "marker", id="tag in the question"),
        pytest.param(trace((END,), choices=("a", "<image>")), "marker", id="image in a choice"),
        pytest.param(trace((Step(thought="<|im_end|>"),)), "marker", id="special token in a thought"),
        pytest.param(trace((END,), answer="<image>"), "marker", id="image in the answer"),
        pytest.param(
            trace((Step(thought="a", call=zoom([1, 1, 2, 2], 9), observation=Observation(text="<image>")), END)),
            "marker",
            id="image in a result",
        ),
        pytest.param(trace((Step(thought=f"<tool_call>{BODY}"),)), "unreadable", id="call in a thought"),
        pytest.param(trace((Step(thought="a"), END)), "no_result", id="no result"),
        pytest.param(trace((END,), answer="\\"), "unreadable", id="backslash"),
        pytest.param(trace((END,), answer=r"\,"), "unreadable", id="answer that no box can hold"),
        pytest.param(trace((LOOK,)), "no_answer_step", id="no step for the answer"),
        pytest.param(trace((Step(thought=r"\boxed{5}"),), answer=""), "unreadable", id="a box without an answer"),
    ],
)
def test_what_would_be_read_differently_is_refused(made: Trace, reason: str) -> None:
    for form in FORMS:
        with pytest.raises(ExampleError) as caught:
            chat.to_messages(made, ZOOM, student(form=form), system=None)
        assert caught.value.reason == reason


# ------------------------------------------------------------------------------------------------- round trip

thoughts = st.text(max_size=40).map(str.strip).filter(lambda text: "\\boxed" not in text and "<" not in text)
answers = st.text(alphabet=st.characters(exclude_characters="\\<", exclude_categories=["Cs"]), min_size=1, max_size=12)
shares = st.tuples(*[st.floats(0, 1)] * 4)


@st.composite
def traces(draw: st.DrawFn, who: Student) -> Trace:
    steps, views = [], [view(1)]
    for _ in range(draw(st.integers(0, 3))):
        target = draw(st.integers(1, len(views)))
        shown = views[target - 1]
        x1, y1, x2, y2 = draw(shares)
        box = quantise(Box(x1 * shown.width, y1 * shown.height, x2 * shown.width, y2 * shown.height), shown, who)
        call, result = zoom(list(box), target), seen(len(views) + 1)
        kind = draw(st.sampled_from(["look", "refused", "unknown image", "unreadable"]))
        if kind == "look":
            views += result.views
        else:
            result = Observation(text="Error: no.", error="no")
        if kind == "unknown image":
            call = zoom(list(box), len(views) + draw(st.integers(1, 3)))
        if kind == "unreadable":
            steps.append(Step(thought=draw(thoughts) + "<tool_call>{", observation=result))
        else:
            steps.append(Step(thought=draw(thoughts), call=call, observation=result))
    answer = " ".join(draw(answers).split())
    return trace((*steps, Step(thought=draw(thoughts), role="answer")), answer=answer)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("unit", UNITS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_messages_are_read_back_as_the_trace(unit: str, form: str, data: st.DataObject) -> None:
    who = student(unit, form)
    made = data.draw(traces(who))
    out = json.loads(json.dumps(chat.to_messages(made, ZOOM, who, system=None)))
    steps, answer = chat.from_messages(out, ZOOM, made.all_views, who)
    assert steps == [(step.thought, step.call) for step in made.steps]
    assert (answer or "") == made.answer
    shown = [part["view"] for message in out for part in message["content"] if part["type"] == "image"]
    assert shown == [one.number for one in made.all_views]
