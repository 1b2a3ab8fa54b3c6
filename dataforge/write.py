"""The teacher writes the thoughts of a trace whose operations have already run.

It sees the real views in order and fills named slots, never a free page, so no observation can be invented and no call
can be bent. By default it isn't told the answer: that its answer agrees with the key is then evidence for the trace.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dataforge.ask.request import Message, Picture, Request
from dataforge.chat import question_text
from dataforge.compose import Draft, Look
from dataforge.manifest import Manifest
from dataforge.records import Step, View

LONGEST_SLOT = 4000
"""Characters: beyond it a teacher has lost the thread."""


def slots(draft: Draft) -> dict[str, str]:
    """The slots to fill, in order, each with what belongs there."""
    whole = "the video, from its overview" if draft.of_video else "the whole image"
    wanted = {"overview": f"first thoughts on {whole}"}
    for number, look in enumerate(draft.looks, start=1):
        wanted[f"look_{number}"] = f"why to make look {number}"
        if number < len(draft.looks):
            wanted[f"seen_{number}"] = f"what look {number} shows" + _verdict_on(look)
    last = f"look {len(draft.looks)}" if draft.looks else whole
    wanted["reading"] = f"what {last} shows, and how the answer follows"
    wanted["answer"] = "the final answer alone"
    return wanted


def _verdict_on(look: Look) -> str:
    if look.role != "mistake":
        return ", and what is still missing"
    if look.too_large:
        return ", and that far too much is in view: what is needed is in there, but must be seen closer"
    return ", and why that isn't what is needed"


def request(draft: Draft, pictures: Sequence[Picture], manifest: Manifest) -> Request:
    """The first request for a draft's thoughts. `pictures` are its views in order, or none for a blind teacher."""
    wanted = slots(draft)
    example = draft.example
    note = ""
    if manifest.write.reveal_answer and example.answers:
        note = f"The right answer is: {example.answers[0]}. Let the reasoning arrive at it from what is seen."
    text = manifest.prompt("write_video" if draft.of_video else "write").fill(
        question=question_text(example),
        answer_note=note,
        slots="\n".join(f"- `{name}`: {meaning}" for name, meaning in wanted.items()),
    )
    parts: list[str | Picture] = [text]
    for caption, picture in zip(_captions(draft), pictures, strict=False):
        parts += [caption, picture]
    schema = {
        "type": "object",
        "properties": {name: {"type": "string", "description": meaning} for name, meaning in wanted.items()},
        "required": list(wanted),
        "additionalProperties": False,
    }
    return Request("write", (Message("user", tuple(parts)),), schema, truth(draft))


def _captions(draft: Draft) -> Iterator[str]:
    """What stands before each picture: those of the opening, then those of each look."""
    for view in draft.views:
        if view.time_s is not None:
            yield f"Overview, frame {view.number}, at {view.time_s:.2f} s:"
        else:
            yield "The whole image:" if len(draft.views) == 1 else f"Whole image {view.number}:"
    for number, look in enumerate(draft.looks, start=1):
        for view in look.observation.views:
            if view.time_s is None:
                yield f"Look {number}:"
            else:
                part = "" if "target_image" not in look.call.arguments else "a part of the frame "
                yield f"Look {number}, {part}at {view.time_s:.2f} s:"


def truth(draft: Draft) -> dict[str, Any]:
    """What a teacher may read that writes from the annotation; it is never sent."""
    example = draft.example
    times = {"times_s": _times(draft.views)} if draft.of_video else {}
    return times | {
        "id": example.id,
        "kind": draft.kind,
        "question": example.question,
        "answer": example.answers[0] if example.answers else "",
        "choices": list(example.choices),
        "evidence": [region.label for region in draft.regions],
        "looks": [_look(look) for look in draft.looks],
    }


def _look(look: Look) -> dict[str, Any]:
    of_video = {"times_s": times, "call": look.call.name} if (times := _times(look.observation.views)) else {}
    return {"role": look.role, "target": look.target, "too_large": look.too_large, **of_video}


def _times(views: Sequence[View]) -> list[float]:
    """When the frames of a video that these views show are presented; nothing for pictures."""
    return [view.time_s for view in views if view.time_s is not None]


def again(asked: Request, reply: str, complaint: str, manifest: Manifest) -> Request:
    """The conversation so far with the teacher's reply and the complaint about it, quoted."""
    text = manifest.prompt("rewrite").fill(reason=complaint)
    messages = (*asked.messages, Message("assistant", (reply,)), Message("user", (text,)))
    return Request(asked.purpose, messages, asked.schema, asked.truth)


def complaint_about(filled: Mapping[str, Any] | None, draft: Draft) -> str:
    """What is wrong with the reply as a form, or nothing."""
    if filled is None:
        return "The reply is not one JSON object."
    for name in slots(draft):
        value = filled.get(name)
        if not isinstance(value, str) or not value.strip():
            return f"The slot `{name}` is missing, empty, or not a string."
        if len(value) > LONGEST_SLOT:
            return f"The slot `{name}` is longer than {LONGEST_SLOT} characters."
    return ""


def steps(draft: Draft, filled: Mapping[str, str]) -> tuple[tuple[Step, ...], str]:
    """The trace's steps and its answer, from the slots.

    What was thought about a look opens the next step. The call of a deliberate mistake is not learned, its thought is
    (Pixel Reasoner's paper masks designated wrong operations; its release masks every early turn).
    """
    texts = {name: " ".join(filled[name].split()) for name in slots(draft)}
    before, made = texts["overview"], []
    for number, look in enumerate(draft.looks, start=1):
        made.append(
            Step(
                thought=f"{before} {texts[f'look_{number}']}",
                call=look.call,
                observation=look.observation,
                role=look.role,
                learn="thought" if look.role == "mistake" else "both",
            )
        )
        before = texts.get(f"seen_{number}", "")
    reading = texts["reading"] if draft.looks else f"{before} {texts['reading']}"
    return (*made, Step(thought=reading.strip(), role="answer")), texts["answer"]
