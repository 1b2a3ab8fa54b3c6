"""Whether a student's template and image processor keep to what `encoding` stands on; UsageError says what doesn't fit.

A template only adds to what stood before, opens a turn as it asks for one, ends it, shows images, and renders tools and
native calls where the student writes these. A processor shows every view in the size that it was cut to.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dataforge import chat
from dataforge.chat import ChatTurn, Part
from dataforge.errors import UsageError
from dataforge.records import Call, Student

if TYPE_CHECKING:
    from training.encoding import Codec


def message(turn: ChatTurn) -> dict[str, Any]:
    """The turn as templates take it: OpenAI's form, a student's text as one string."""
    made = chat.messages([turn])[0]
    if turn.role in ("assistant", "tool", "system"):
        made["content"] = "".join(part.text for part in turn.parts)
    return made


def rest(whole: str, before: str) -> str:
    """What a template added; UsageError where it didn't only add."""
    if not whole.startswith(before):
        raise UsageError(
            "the student's chat template changes earlier turns when a turn is added, so what was sampled is not what "
            "would be trained on: use an instruct checkpoint, or a template that only adds"
        )
    return whole[len(before) :]


def refuse_other_sizes(processor: Any, student: Student) -> None:
    """UsageError unless every view that this student can be shown passes the processor unchanged."""
    patch = processor.patch_size * processor.merge_size
    least, most = processor.size["shortest_edge"], processor.size["longest_edge"]
    if student.patch != patch:
        raise UsageError(
            f"the checkpoint's processor cuts pictures in squares of {patch}, the traces' student in {student.patch}: "
            f"make the traces with student.patch: {patch}, or have SFT cut them anew: --set student.patch={patch}"
        )
    if student.min_pixels < least or student.max_pixels > most:
        raise UsageError(
            f"the checkpoint's processor shows {least} to {most} pixels, the traces' student {student.min_pixels} to "
            f"{student.max_pixels}: make the traces with student.min_pixels and max_pixels within the processor's"
        )


def probe(codec: Codec) -> tuple[str, str]:
    """Header and end of a student's turn, from rendering a short conversation; UsageError where a rule is broken."""
    asked = [message(ChatTurn("user", (Part(view=1), Part("Where?"))))]
    before = codec.text(asked)
    header = rest(codec.text(asked, ask=True), before)
    said = [*asked, {"role": "assistant", "content": "There."}]
    body = rest(codec.text(said), before)
    if not header or not body.startswith(f"{header}There."):
        raise UsageError("the student's chat template gives its turns another header than it asks them with")
    if codec.encode(before).count(codec.image_id) != 1:
        raise UsageError("the student's chat template shows no images: name a vision checkpoint's folder")
    closing = body.removeprefix(f"{header}There.")
    if not closing:
        raise UsageError("the student's chat template doesn't end a turn")
    rest(codec.text([*said, {"role": "user", "content": "Why?"}]), codec.text(said))
    if codec.tools:
        _probe_calls(codec, asked)
    return header, closing


def _probe_calls(codec: Codec, asked: list[dict[str, Any]]) -> None:
    """UsageError unless the template renders tools, and a native call such that reading gives it back."""
    call = Call(name="look", arguments={"at": [1, 2]})
    made = message(ChatTurn("assistant", (Part("Hm."),), 0, call))
    without, whole = codec.text(asked), codec.text([*asked, made])
    listed = all(json.dumps(tool["function"]["name"]) in without for tool in codec.tools or ())
    turn = chat.parse_turn(rest(whole, without), (), (), codec.student)
    if not listed or turn.call != call:
        raise UsageError("the student's chat template renders no tool calls: set student.calls: tagged in the manifest")
