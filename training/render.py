"""A trace as its student reads it: token ids, loss mask and pixels, in one pass through `encoding`.

Observations, questions and headers are never learned. Of the student's own turns each step's `learn` says which parts
are: a deliberate mistake is usually learned as far as its thought and not in its call, since the analysis before it is
sound. `mistakes` lays another rule over the steps that were meant to be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dataforge import chat, plugins
from dataforge.errors import ExampleError
from dataforge.media import MediaStore, cut, fingerprint
from dataforge.plugins import Operation
from dataforge.records import Learn, Trace, View
from training.encoding import SYSTEM, Codec, Encoding, message

if TYPE_CHECKING:
    from PIL import Image


def operations_of(trace: Trace) -> list[Operation]:
    """The operations that a trace was made with, with their options."""
    return [plugins.build("operation", {"name": used.name, **used.options}) for used in trace.provenance.operations]


def codec_for(trace: Trace, checkpoint: str, *, system: str | None = SYSTEM, beside: Path | None = None) -> Codec:
    """The codec of a checkpoint for traces like this one: its student and operations."""
    return Codec.load(checkpoint, trace.provenance.student, operations_of(trace), system=system, beside=beside)


def render(trace: Trace, codec: Codec, mistakes: Learn | None = None) -> Encoding:
    """The trace's ids and mask; its views must have sizes that the codec's student leaves alone.

    `mistakes` says what is learned of steps whose role is `mistake`; as the trace says when None. ExampleError where a
    text can't be written for this student, UsageError where the student's template breaks a rule.
    """
    if mistakes is not None:
        laid = {"learn": mistakes}
        steps = tuple(step.model_copy(update=laid) if step.role == "mistake" else step for step in trace.steps)
        trace = trace.model_copy(update={"steps": steps})
    turns = chat.turns(trace, codec.operations, codec.student, system=codec.system, beside=codec.beside)
    return codec.start(turns, trace.all_views)


def whole_ids(trace: Trace, codec: Codec) -> list[int]:
    """Token ids of the trace's text rendered and read at once: what `render` reaches turn by turn."""
    turns = chat.turns(trace, codec.operations, codec.student, system=codec.system, beside=codec.beside)
    shown = iter(trace.all_views)
    ids: list[int] = []
    for one in codec.encode(codec.text([message(turn) for turn in turns])):
        rows, columns = codec.grid(next(shown)) if one == codec.image_id else (1, 1)
        ids += [one] * (rows * columns)
    return ids


def pictures(trace: Trace, store: MediaStore, views: Sequence[View] | None = None) -> Iterator[Image.Image]:
    """The trace's views as pixels, cut again from their source, in order.

    ExampleError("media", reason) where a source is gone, has changed, or gives other pixels than were recorded.
    """
    for view in trace.all_views if views is None else views:
        picture = cut(store.open(trace.example.media[view.media], view.time_s), view.box, (view.width, view.height))
        if fingerprint(picture) != view.sha256:
            raise ExampleError("media", "other_pixels", f"{trace.id}: image {view.number} is not what was recorded")
        yield picture
