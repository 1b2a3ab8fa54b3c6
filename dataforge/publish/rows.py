"""Rows of a published set: what stands in its columns, computed from records alone.

The pictures are put in by whoever has them; everything else of a row is a pure function of the trace, so `verify`
computes it again and compares.
"""

import json
from collections.abc import Sequence
from typing import Any

from dataforge.chat import to_messages, tool_schemas
from dataforge.episode import operations_of
from dataforge.records import Example, Media, Record, Step, Student, Trace, to_line
from dataforge.report.counting import first_reason

Row = dict[str, Any]


def trace_row(trace: Trace, student: Student, run: str, number: int) -> Row:
    """The columns of a trace but for its images; ExampleError where it can't be said in chat messages."""
    operations = operations_of(trace)
    messages = to_messages(trace, operations, student, system=None)
    return {
        **asked(trace.id, trace.example),
        **judged(trace),
        "messages": [_message(message, student) for message in messages],
        "tools": _json(tool_schemas(operations, student)),
        "answer": trace.answer,
        "steps": [_step(step) for step in trace.steps],
        "provenance": _provenance(trace),
        "run": run,
        "number": number,
        "trace": _line(trace),
    }


def query_row(trace: Trace, kept: bool, run: str, number: int) -> Row:
    """The columns of the example behind a trace, but for its images; `kept` says whether its trace was."""
    return {
        **asked(trace.example.id, trace.example),
        **judged(trace),
        "kept": kept,
        "reason": "" if kept else first_reason(trace),
        "run": run,
        "number": number,
        "example": _line(trace.example),
    }


def media_row(media: Media, content: bytes) -> Row:
    """A source picture or video with its bytes."""
    picture = {"bytes": content, "path": f"{media.sha256}{media.suffix}"}
    still = media.kind == "image"
    return {**_media(media), "image": picture if still else None, "video": None if still else content}


def image_cells(contents: Sequence[bytes], suffix: str) -> list[dict[str, Any]]:
    """Encoded views as cells of an image column, named by number; a path of this machine never gets in."""
    return [{"bytes": content, "path": f"{number}{suffix}"} for number, content in enumerate(contents, start=1)]


def asked(name: str, example: Example) -> Row:
    """The columns of a question."""
    return {
        "id": name,
        "question": example.question,
        "answers": list(example.answers),
        "answer_type": example.answer_type,
        "choices": list(example.choices),
        "source": example.source,
        "group": example.group,
        "media": [_media(media) for media in example.media],
    }


def judged(trace: Trace) -> Row:
    """The columns of what was made of a question, and what was said of that."""
    return {
        "kind": trace.kind,
        "regions": [region.model_dump(mode="json") for region in trace.regions],
        "verdicts": [verdict.model_dump(mode="json") for verdict in trace.verdicts],
    }


def _media(media: Media) -> dict[str, Any]:
    return {
        "sha256": media.sha256,
        "kind": media.kind,
        "suffix": media.suffix,
        "width": media.width,
        "height": media.height,
        "licence": media.licence,
        "origin": media.origin,
    }


def _message(message: dict[str, Any], student: Student) -> dict[str, Any]:
    """A chat message with every key that the column has: parquet knows no absent ones."""
    content = [{"type": part["type"], "text": part.get("text")} for part in message["content"]]
    told = {"role": message["role"], "content": content}
    if student.calls == "native":
        told |= {"tool_calls": message.get("tool_calls"), "tool_call_id": message.get("tool_call_id")}
    return told


def _step(step: Step) -> dict[str, Any]:
    result = step.observation
    return {
        "thought": step.thought,
        "call": _json(step.call.model_dump(mode="json")) if step.call else None,
        "role": step.role,
        "learn": step.learn,
        "observation": result.text if result else None,
        "error": result.error if result else None,
        "views": [view.number for view in result.views] if result else [],
    }


def _provenance(trace: Trace) -> dict[str, Any]:
    made = trace.provenance.model_dump(mode="json")
    plain = ("version", "manifest", "teacher", "pillow", "scripted", "answer_revealed")
    counts = ("rewrites", "input_tokens", "output_tokens", "cost_usd", "seed")
    told = {name: made[name] for name in (*plain, *counts)}
    return told | {"prompts": _json(made["prompts"]), "operations": _json(made["operations"])}


def _line(record: Record) -> str:
    return to_line(record).rstrip("\n")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
