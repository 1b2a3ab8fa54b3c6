"""Frames decoded by PyAV: from the key frame before each, on to the frame itself.

Frames that nothing refers to are not decoded on the way, which is exact and saves a third of the work; where key frames
alone are wanted, nothing else is. Where a file's key frames don't keep their word (an open GOP, a seek that lands too
late, damage), decoding starts earlier, at last at the start of the file; a frame that is still missing or marked
corrupt is an ExampleError.
"""

from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from dataforge.errors import ExampleError
from dataforge.video.index import Index
from dataforge.video.scan import frames_of, opened, packets_of, stream_of

Skipped = Literal["DEFAULT", "NONREF"]
SKIPS_UNREFERENCED = frozenset({"h264", "mpeg4"})
"""Codecs whose bitstream says truly which frames no other frame needs."""


def decode(path: Path, index: Index, wanted: Collection[int]) -> Iterator[tuple[int, Image.Image]]:
    """The frames of these times (in the index's units), upright; ExampleError where one can't be had."""
    if index.counted:
        yield from _count(path, index, wanted)
        return
    missing, why = set(wanted), ""
    for back in (0, 1, len(index.keys)):
        try:
            with opened(path) as container:
                for pts, image in _pass(container, index, sorted(missing), back):
                    missing.discard(pts)
                    yield pts, image
        except ExampleError as error:
            if error.reason != "broken_video":
                raise
            why = error.detail
        if not missing:
            return
    reason = "broken_video" if why else "corrupt_frame"
    base = index.time_base[0] / index.time_base[1]
    raise ExampleError(
        "media", reason, f"{len(missing)} frames, the first at {min(missing) * base:.3f} s: {why}".rstrip(": ")
    )


def _count(path: Path, index: Index, wanted: Collection[int]) -> Iterator[tuple[int, Image.Image]]:
    """Frames by their place in the order of presentation, from the start of the file."""
    last = max(wanted)
    with opened(path) as container:
        for pts, frame in zip(index.pts, frames_of(container, stream_of(container, index.stream)), strict=False):
            if pts in wanted:
                if frame.is_corrupt:
                    raise ExampleError("media", "corrupt_frame", f"frame {index.pts.index(pts)}")
                yield pts, index.upright(picture(frame))
            if pts == last:
                return


def picture(frame: VideoFrame) -> Image.Image:
    image: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
    return image


def _pass(container: InputContainer, index: Index, wanted: list[int], back: int) -> Iterator[tuple[int, Image.Image]]:
    """Those of the wanted frames that this pass finds whole, starting so many key frames before each."""
    stream = stream_of(container, index.stream)
    todo = deque(wanted)
    while todo:
        start = index.key_before(todo[0], back)
        if start is not None:
            container.seek(start, stream=stream, backward=True)
        before = len(todo)
        yield from _run(container, stream, index, todo, back)
        if len(todo) == before:
            todo.popleft()  # the file ended before it came


def _run(
    container: InputContainer, stream: VideoStream, index: Index, todo: deque[int], back: int
) -> Iterator[tuple[int, Image.Image]]:
    """Decode from here on; ends where it is quicker to start again at a later key frame."""
    wanted, before = frozenset(todo), len(todo)
    unwanted: Skipped = "NONREF" if index.codec in SKIPS_UNREFERENCED else "DEFAULT"
    keys_alone = back == 0 and wanted <= set(index.keys)
    for packet in packets_of(container, stream):
        if keys_alone and packet.size and packet.pts not in wanted:
            continue  # read over: that is quicker than to seek
        stream.codec_context.skip_frame = "DEFAULT" if packet.pts in wanted else unwanted
        for frame in packet.decode():
            if frame.pts is None:
                continue
            while todo and todo[0] < frame.pts:
                todo.popleft()
            if todo and todo[0] == frame.pts:
                todo.popleft()
                if not frame.is_corrupt:
                    yield frame.pts, index.upright(picture(frame))
            if not todo:
                return
            later = index.key_before(todo[0], back)
            if not keys_alone and len(todo) < before and later is not None and later > frame.pts:
                return
