"""A trace as its student reads it: token ids, loss mask and pixels, in one pass through `encoding`.

Observations, questions and headers are never learned. Of the student's own turns each step's `learn` says which parts
are: a deliberate mistake is usually learned as far as its thought and not in its call, since the analysis before it is
sound. `mistakes` lays another rule over the steps that were meant to be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dataforge import chat
from dataforge.errors import ExampleError
from dataforge.media import MediaStore, cut, fingerprint
from dataforge.records import Learn, Trace, View
from training.encoding import Codec, Encoding

if TYPE_CHECKING:
    from PIL import Image


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


def pictures(trace: Trace, store: MediaStore, views: Sequence[View] | None = None) -> Iterator[Image.Image]:
    """The trace's views as pixels, cut again from their source, in order.

    ExampleError("media", reason) where a source is gone, has changed, or gives other pixels than were recorded by the
    same version of Pillow: another may round otherwise.
    """
    import PIL

    comparable = trace.provenance.pillow in ("", PIL.__version__)
    for view in trace.all_views if views is None else views:
        picture = cut(store.open(trace.example.media[view.media], view.time_s), view.box, (view.width, view.height))
        if comparable and fingerprint(picture) != view.sha256:
            raise ExampleError("media", "other_pixels", f"{trace.id}: image {view.number} is not what was recorded")
        yield picture
