"""The pictures of a page: a whole source picture or a view, cut again and scaled, as an address that a page can show.

Where there is nothing to show, there is a sentence that says why. A run folder may come from somebody else, so what a
trace says of a picture is not believed: no file outside the run's media, no size that would eat the memory.
"""

import base64
import re

from PIL import Image

from dataforge.errors import ExampleError
from dataforge.geometry import Box
from dataforge.media import REDUCING_GAP, MediaStore, blank, cut, fingerprint, to_jpeg
from dataforge.records import Example, Trace, View

QUALITY = 72
PAGE_BYTES = 4_000_000
"""JPEG bytes on one page: a third more as base64."""
VIEW_PIXELS = 50_000_000
"""A larger view than any student takes."""
CHANGED = "cut again, these are not the pixels that were recorded"

Size = tuple[float, float]


class Pictures:
    """The run's pictures as data: addresses, until the page holds PAGE_BYTES of them."""

    def __init__(self, store: MediaStore) -> None:
        self._store = store
        self._left = PAGE_BYTES

    def whole(self, example: Example, media: int, most: Size) -> tuple[str, str]:
        """The address of a picture scaled into `most`, or "" and a sentence that says why there is none."""
        try:
            image = self.opened(example, media, self._moment(example, media))
        except ExampleError as error:
            return "", _absent(error)
        return self._address(image, most)

    def view(self, example: Example, view: View, most: Size) -> tuple[str, str]:
        """The address of a view, cut again; the sentence is not empty when it isn't what was recorded."""
        try:
            shown = self.cut(example, view)
        except ExampleError as error:
            return "", _absent(error)
        changed = fingerprint(shown) != view.sha256
        address, sentence = self._address(shown, most)
        return address, CHANGED if address and changed else sentence

    def link(self, trace: Trace, media: int | None = None, view: int | None = None) -> str:
        """Where the same picture is shown in full size; nothing for a page that stands alone."""
        return ""

    def _moment(self, example: Example, media: int) -> float | None:
        """When a video is shown that is shown by one picture: while its first evidence is there, else half-way."""
        item = example.media[media]
        if item.kind == "image":
            return None
        spans = [region.span_s for region in example.evidence if region.media == media and region.span_s]
        return self._store.frames_at(item, [sum((*spans, item.span_s or (0.0, 0.0))[0]) / 2])[0].time_s

    def opened(self, example: Example, media: int, time_s: float | None = None) -> Image.Image:
        """A source picture, or a frame of a video; ExampleError where it is gone, changed, or badly named."""
        if media >= len(example.media) or not re.fullmatch(r"(\.[A-Za-z0-9]{1,8})?", example.media[media].suffix):
            raise ExampleError("media", "bad_name")
        return self._store.open(example.media[media], time_s)

    def cut(self, example: Example, view: View) -> Image.Image:
        """A view, cut again; ExampleError also where no such view can be."""
        image = self.opened(example, view.media, view.time_s)
        if view.width * view.height > VIEW_PIXELS or not Box(0, 0, *image.size).contains(view.box):
            raise ExampleError("media", "impossible_view")
        if view.blank:
            return blank((view.width, view.height))
        return cut(image, view.box, (view.width, view.height))

    def _address(self, image: Image.Image, most: Size) -> tuple[str, str]:
        jpeg = shrunk(image, most)
        if len(jpeg) > self._left:
            return "", "left out: the page holds enough pictures"
        self._left -= len(jpeg)
        return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii"), ""


def _absent(error: ExampleError) -> str:
    return f"no picture: {error.reason.replace('_', ' ')}"


def shrunk(image: Image.Image, most: Size) -> bytes:
    """The picture as JPEG, scaled down into `most`."""
    width, height = (round(side) for side in scaled(image.size, most))
    return to_jpeg(image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP), QUALITY)


def scaled(size: Size, most: Size, enlarged: float = 1.0) -> Size:
    """The size scaled to fit into `most`, enlarged at most so many times; no side below 1."""
    scale = min(most[0] / size[0], most[1] / size[1], enlarged)
    return max(size[0] * scale, 1.0), max(size[1] * scale, 1.0)
