r"""Chat: a trace as the messages of one student, and messages as a trace's steps.

A trace isn't tied to a student; here it takes one's dialect. `turns` says what stands in each message and which of
its texts the loss sees, `messages` puts that into OpenAI's form. An image is named by the number of its view: who needs
pixels asks the workspace.

Writing is strict: a turn is read back before it leaves, and a trace that would be read differently (a thought with a
tag in it, an answer that no box can hold) or that holds a marker of the common templates is refused with an
ExampleError. Markers aren't escaped: an escape would teach a spelling that no student ever meets, and each trainer
would have to undo it.
"""

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dataforge.dialect import (
    CLOSE,
    OPEN,
    Turn,
    arguments_json,
    clean,
    from_student,
    parse_message,
    parse_turn,
    quantise,
    read,
    tagged,
    to_student,
    tool_schemas,
)
from dataforge.episode import describe
from dataforge.errors import ExampleError
from dataforge.plugins import Operation
from dataforge.prompts import find_prompt
from dataforge.records import Call, Example, Observation, Step, Student, Trace, View

__all__ = [
    "ChatTurn",
    "Part",
    "Turn",
    "from_messages",
    "from_student",
    "messages",
    "opening",
    "parse_message",
    "parse_turn",
    "quantise",
    "question_text",
    "result_turns",
    "student_turn",
    "to_messages",
    "to_student",
    "tool_schemas",
    "turns",
]

_MARKER = re.compile(r"<\|\w+\|>|</?(?:tool_call|tool_response|tools)>|<(?:image|video|audio)>")


class Part(NamedTuple):
    """A piece of a turn: a text, or the number of the view that is shown there."""

    text: str = ""
    view: int | None = None
    learn: bool = False


class ChatTurn(NamedTuple):
    """One message before it takes a trainer's form. Its texts join without a separator."""

    role: Literal["system", "user", "assistant", "tool"]
    parts: tuple[Part, ...]
    step: int | None = None
    """Index into the trace's steps; None before the first."""
    call: Call | None = None
    """In the native form the call as written, in the student's box unit."""
    learn: bool = False
    """The loss sees what is no part: the native call, and the end of the turn."""


def question_text(example: Example) -> str:
    """The question, then its choices on lines of their own as "A. ...", "B. ..."; ExampleError beyond Z."""
    if len(example.choices) > 26:
        raise ExampleError("chat", "too_many_choices", f"{len(example.choices)} choices")
    lettered = [f"{chr(ord('A') + index)}. {choice}" for index, choice in enumerate(example.choices)]
    return "\n".join([example.question.strip(), *lettered])


def to_messages(
    trace: Trace,
    operations: Sequence[Operation],
    student: Student,
    *,
    system: str | None,
    beside: Path | None = None,
) -> list[dict[str, Any]]:
    """The trace as OpenAI messages; an image part is {"type": "image", "view": its number}.

    Arguments and errors are those of `turns`. In the native form the request also needs `tool_schemas`.
    """
    return messages(turns(trace, operations, student, system=system, beside=beside))


def from_messages(
    chat: Iterable[Mapping[str, Any]],
    operations: Sequence[Operation],
    views: Sequence[View],
    student: Student,
) -> tuple[list[tuple[str, Call | None]], str | None]:
    """Thought and call of each assistant message, and the last one's answer: what `to_messages` was given.

    `views` are all of the trace's; how many of them a call could name is counted from the image parts before it.
    """
    said: list[tuple[str, Call | None]] = []
    shown, answer = 0, None
    for message in chat:
        content = message.get("content")
        if isinstance(content, list):
            shown += sum(part.get("type") == "image" for part in content)
        if message["role"] == "assistant":
            turn = parse_message(message, operations, views[:shown], student)
            said.append((turn.thought, turn.call))
            answer = turn.answer
    return said, answer


def messages(chat: Iterable[ChatTurn]) -> list[dict[str, Any]]:
    """OpenAI messages of the turns; texts that follow one another become one part."""
    return [_message(turn) for turn in chat]


def turns(
    trace: Trace,
    operations: Sequence[Operation],
    student: Student,
    *,
    system: str | None,
    beside: Path | None = None,
) -> list[ChatTurn]:
    """The trace as turns for this student; `system` opens the system turn, prompts in `beside` win over the shipped.

    ExampleError("chat", reason) where a text holds a marker or would be read differently than it was meant.
    """
    final = trace.steps[-1] if trace.steps else None
    if trace.answer.strip() and (final is None or final.call or final.observation):
        raise ExampleError("chat", "no_answer_step", "no step is left to say the answer")
    chat = opening(trace.example, trace.views, operations, student, system=system, beside=beside)
    views = list(trace.views)
    for index, step in enumerate(trace.steps):
        answer = trace.answer if step is final else ""
        chat.append(student_turn(step, index, answer, operations, views, student))
        if step.observation is not None:
            chat += result_turns(step, index, student)
            views += step.observation.views
        elif step is not final:
            raise ExampleError("chat", "no_result", f"step {index + 1} has no observation")
    return chat


def opening(
    example: Example,
    views: Sequence[View],
    operations: Sequence[Operation],
    student: Student,
    *,
    system: str | None,
    beside: Path | None = None,
) -> list[ChatTurn]:
    """What stands before the student's first turn: system text with the tagged form's tools, images, question."""
    text = system or ""
    if operations and student.calls == "tagged":
        tools = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tool_schemas(operations, student))
        text = find_prompt("student", beside).fill(system=text, tools=tools)
    question = question_text(example)
    _refuse_markers(question, "the question")
    guideline = find_prompt("guideline" if operations else "guideline_plain", beside).fill()
    asked = (*_shown(describe(views), views), Part(f"{question}\n\n{guideline}"))
    return ([ChatTurn("system", (Part(text),))] if text else []) + [ChatTurn("user", asked)]


def student_turn(
    step: Step,
    index: int,
    answer: str,
    operations: Sequence[Operation],
    views: Sequence[View],
    student: Student,
) -> ChatTurn:
    """A step as the student's turn: thought, then call or boxed answer; `answer` is "" in all but the last step.

    A thought that already says the answer in a box gets no second one. `learn` marks the texts that the loss sees; the
    boxed answer counts as a call, and so does the end of the turn.
    """
    thought, answer = clean(step.thought).strip(), " ".join(answer.split())
    written = to_student(step.call, operations, views, student) if step.call else None
    said = ""
    if written:
        said = tagged(written)
    elif answer and read(thought) != Turn(thought, answer=answer):
        said = r"\boxed{" + re.sub(r"([{}])", r"\\\1", answer) + "}"
    _refuse_unreadable(thought, said, written, answer, index)
    failed = step.call is None and step.observation is not None  # its text may hold the tags that it failed with
    text = re.sub(rf"{OPEN}|{CLOSE}", " ", thought) if failed else f"{thought}\n{answer}"
    _refuse_markers(text, f"step {index + 1}")
    parts = [Part(thought, learn=step.learn in ("both", "thought"))] if thought else []
    if said and not (written and student.calls == "native"):
        parts.append(Part(f"\n{said}" if thought else said, learn=step.learn in ("both", "call")))
    native = written if student.calls == "native" else None
    return ChatTurn("assistant", tuple(parts), index, native, learn=step.learn in ("both", "call"))


def result_turns(step: Step, index: int, student: Student) -> list[ChatTurn]:
    """What came back from a step: one user turn, or in the native form a tool turn and a user turn with the images.

    Most servers refuse images in a tool message, and one that answers no call is refused by all of them: a malformed
    call is answered by a user turn.
    """
    result = step.observation or Observation(text="")
    _refuse_markers(result.text, f"the result of step {index + 1}")
    shown = _shown(result.text, result.views)
    if student.calls == "tagged":
        inside = (Part("<tool_response>\n"), *shown, Part("\n</tool_response>"))
        return [ChatTurn("user", inside, index)]
    if step.call is None:
        return [ChatTurn("user", shown, index)]
    told = ChatTurn("tool", (Part(result.text),), index)
    return [told, ChatTurn("user", shown, index)] if result.views else [told]


def _shown(text: str, views: Sequence[View]) -> tuple[Part, ...]:
    """Views with the sentence that goes with them; each with its own where the sentence is the episode's."""
    groups = [[view] for view in views] if text == describe(views) else [list(views)]
    labels = [describe(group) for group in groups] if text == describe(views) else [text]
    return tuple(
        part
        for label, group in zip(labels, groups, strict=True)
        for part in (Part(label), *(Part(view=view.number) for view in group))
    )


def _refuse_unreadable(thought: str, said: str, call: Call | None, answer: str, index: int) -> None:
    """ExampleError unless the turn, once written, is read as what it was meant to say."""
    turn = read(f"{thought}\n{said}")
    same_call = tagged(turn.call) == said if turn.call and call else turn.call is call
    if not same_call or (turn.thought, turn.answer or "") != (thought, answer):
        raise ExampleError("chat", "unreadable", f"step {index + 1} would be read differently")


def _refuse_markers(text: str, where: str) -> None:
    if found := _MARKER.search(text):
        raise ExampleError("chat", "marker", f"{found[0]} in {where}")


def _message(turn: ChatTurn) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    for view, parts in itertools.groupby(turn.parts, key=lambda part: part.view):
        if view is None:
            content.append({"type": "text", "text": "".join(part.text for part in parts)})
        else:
            content.append({"type": "image", "view": view})
    # a call without a thought: an empty text is the one content that servers and templates all take
    message: dict[str, Any] = {"role": turn.role, "content": content or [{"type": "text", "text": ""}]}
    identity = f"call_{(turn.step or 0) + 1}"
    if turn.call is not None:
        function = {"name": turn.call.name, "arguments": arguments_json(turn.call)}
        message["tool_calls"] = [{"id": identity, "type": "function", "function": function}]
    if turn.role == "tool":
        message["tool_call_id"] = identity
    return message
