"""What a trace shows, as encoded pictures for a model that is asked about it.

Views are stored as geometry; here they are cut again from the run's media. A picture is opened in a thread of its own
store, so that the event loop goes on asking, and no more of them are decoded at once than there are threads.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from dataforge.ask.request import Picture
from dataforge.geometry import Box
from dataforge.media import MediaStore, fit, to_jpeg
from dataforge.records import Example, Region, Scene, Student, View

FRAMES = 8
"""Of a stretch of video, at most."""
LEAST_PIXELS = 256 * 28 * 28
"""A small part is enlarged to this area, as a zoom would."""


class Part(NamedTuple):
    """A box of whole source pixels of one media item, and the size in which it is shown."""

    media: int
    box: Box
    size: tuple[int, int]
    time_s: float | None = None


def of_view(view: View) -> Part:
    """The part of the source that a stored view shows."""
    return Part(view.media, view.box, (view.width, view.height), view.time_s)


def evidence(region: Region, example: Example, student: Student, store: MediaStore) -> list[Part]:
    """What shows a region: the part of its picture, or the same part of frames from its time in a video."""
    part = around(region, example, student)
    media = example.media[region.media]
    if media.kind == "image":
        return [part]
    start, end = region.span_s or media.span_s or (0.0, 0.0)
    step = (end - start) / FRAMES
    frames = store.frames_at(media, [start + (place + 0.5) * step for place in range(FRAMES)])
    # a stretch between two frames shows none; what is on screen then is the frame before it
    inside = [frame for frame in frames if region.there_at(frame.time_s)] or frames[-1:]
    store.fetch(media, inside)
    return [part._replace(time_s=frame.time_s) for frame in inside]


def around(region: Region, example: Example | Scene, student: Student) -> Part:
    """A region with a little air, in a size that the student's preprocessor leaves alone."""
    media = example.media[region.media]
    air = max(8.0, 0.15 * max(region.box.width, region.box.height))
    box = region.box.grow(air, air).outward().clamp(Box(0, 0, media.width, media.height))
    least = max(student.min_pixels, min(LEAST_PIXELS, student.max_pixels))
    return Part(region.media, box, fit(box.width, box.height, student.patch, least, student.max_pixels))


def encoded(image: Image.Image) -> Picture:
    """A picture as JPEG, with its hash.

    Its base64 is made here too, in a worker or a thread: the loop that thousands of calls wait for has no time for it.
    """
    jpeg = to_jpeg(image)
    picture = Picture(jpeg, hashlib.sha256(jpeg).hexdigest())
    _ = picture.base64
    return picture


async def pictures(example: Example, parts: Sequence[Part], store: MediaStore) -> list[Picture]:
    """These parts, encoded, in order; ExampleError("media", reason) where the source can't be opened."""
    return await asyncio.to_thread(_pictures, example, parts, store)


async def images(example: Example, parts: Sequence[Part], store: MediaStore) -> list[Image.Image]:
    """These parts as pixels, in order; errors as those of `pictures`."""
    return await asyncio.to_thread(_images, example, parts, store)


def _pictures(example: Example, parts: Sequence[Part], store: MediaStore) -> list[Picture]:
    return [encoded(image) for image in _images(example, parts, store)]


def _images(example: Example, parts: Sequence[Part], store: MediaStore) -> list[Image.Image]:
    return cuts(example, parts, MediaStore(store.folder))  # its memory of decoded pictures is for one thread


def cuts(example: Example, parts: Sequence[Part], store: MediaStore) -> list[Image.Image]:
    """These parts as pixels, in order, here and now."""
    return [store.cut(example.media[part.media], part.box, part.size, part.time_s) for part in parts]
