"""What a video holds, written down once: its frames by presentation time, where decoding can start, how to turn it.

A frame is chosen by its time, never by index/rate: files have variable rates, start at 10 s, state a rate of 1,000, or
were cut without being encoded again. The list of times comes from the packets, so it costs no decoding.
"""

import bisect
from functools import cached_property

from PIL import Image

from dataforge.errors import ExampleError
from dataforge.records import Frame, Record

TURNS: dict[tuple[int, int, int, int], Image.Transpose | None] = {
    (1, 0, 0, 1): None,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}
"""From the four upper left numbers of a file's display matrix to what makes a frame upright."""


class Index(Record):
    """One video file's frames."""

    stream: int
    codec: str
    width: int
    """Upright, with square pixels."""
    height: int
    turn: tuple[int, int, int, int] = (1, 0, 0, 1)
    time_base: tuple[int, int]
    pts: tuple[int, ...]
    """Of every frame, in units of the time base, ascending."""
    keys: tuple[int, ...]
    """Those at which decoding can start; none where the file can only be read from its start."""
    counted: bool = False
    """Decoded frames don't know their times: the first has the first time, and so on."""
    leading: bool = False
    """Some frames are decoded after a key frame and shown before it (an open GOP)."""
    container: str = ""

    @cached_property
    def times(self) -> tuple[float, ...]:
        """Presentation times in seconds, to the microsecond."""
        over, under = self.time_base
        return tuple(round(pts * over / under, 6) for pts in self.pts)

    @property
    def span_s(self) -> tuple[float, float]:
        return self.times[0], self.times[-1]

    def frame(self, number: int) -> Frame:
        return Frame(number, self.times[number])

    def at(self, time_s: float) -> Frame:
        """The frame that is on screen at that time; the first before it starts, the last after it ended."""
        return self.frame(max(0, bisect.bisect_right(self.times, time_s + 5e-7) - 1))

    def exactly(self, time_s: float) -> Frame:
        """The frame of that presentation time; ExampleError where the video has none."""
        found = self.at(time_s)
        if abs(found.time_s - time_s) > 1e-6:
            raise ExampleError("media", "no_such_frame", f"no frame is presented at {time_s} s")
        return found

    def key_before(self, pts: int, back: int = 0) -> int | None:
        """Where to start decoding for a frame, or so many key frames earlier; None for the start of the file."""
        place = bisect.bisect_right(self.keys, pts) - 1 - back
        return self.keys[place] if place >= 0 else None

    def upright(self, image: Image.Image) -> Image.Image:
        """A decoded frame, turned and with square pixels."""
        turn = TURNS[self.turn]
        image = image if turn is None else image.transpose(turn)
        size = (self.width, self.height)
        return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
