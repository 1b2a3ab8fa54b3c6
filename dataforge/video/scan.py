"""A video file described by PyAV without decoding more than its first frame."""

import itertools
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dataforge.errors import ExampleError
from dataforge.media import MAX_ASPECT, MAX_PIXELS
from dataforge.video.index import TURNS, Index

LEAST_SHAPE, MOST_SHAPE = Fraction(1, 8), Fraction(8)
"""Pixel shapes outside of these are nonsense in the file, and passed over."""


def describe(path: Path) -> Index:
    """The frames of a video file; ExampleError("media", reason) where it is none, or not a whole one."""
    with opened(path) as container:
        stream = _chosen(container)
        packets, frame = _read(container, stream)
        number, base, form = stream.index, stream.time_base, container.format.name
        codec = stream.codec_context.codec.canonical_name
        turn, (width, height) = _turn(frame), _square(frame, stream)
        if turn[0] == 0:
            width, height = height, width
    if width * height > MAX_PIXELS:
        raise ExampleError("media", "too_many_pixels", f"{width}x{height}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ExampleError("media", "extreme_aspect", f"{width}x{height}")
    if base is None:
        raise ExampleError("media", "no_times", "the stream has no time base")
    pts, keys, counted = (packets.pts, packets.keys, False) if packets.sure else _by_decoding(path, number, packets)
    index = Index(
        stream=number,
        codec=codec,
        width=width,
        height=height,
        turn=turn,
        time_base=(base.numerator, base.denominator),
        pts=pts,
        keys=keys,
        counted=counted,
        leading=packets.leading,
        container=form,
    )
    if any(later <= earlier for earlier, later in itertools.pairwise(index.times)):
        raise ExampleError("media", "no_times", "two frames have the same time")
    return index


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """The file open for reading; whatever FFmpeg says of a broken one becomes an ExampleError."""
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            yield container
    except av.error.InvalidDataError as error:
        raise ExampleError("media", "broken_video", str(error.strerror)) from None
    except (MemoryError, av.error.MemoryError):
        raise ExampleError("media", "out_of_memory", "its frames don't fit into the decoder's memory") from None
    except av.error.FFmpegError as error:
        raise ExampleError("media", "broken_video", f"{type(error).__name__}: {error.strerror}") from None


def _chosen(container: InputContainer) -> VideoStream:
    """The stream that a player would show; never a cover picture."""
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not streams:
        raise ExampleError("media", "no_video", "there is no moving picture in the file")
    best = container.streams.best("video")
    return next((stream for stream in streams if best is not None and stream.index == best.index), streams[0])


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _turn(frame: VideoFrame) -> tuple[int, int, int, int]:
    """The display matrix, rounded to quarter turns and mirror images."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return (1, 0, 0, 1)
    numbers = struct.unpack("=9i", bytes(cast(Any, matrix))[:36])
    largest = max(abs(numbers[place]) for place in (0, 1, 3, 4)) or 1
    a, b, c, d = (round(numbers[place] / largest) for place in (0, 1, 3, 4))
    return (a, b, c, d) if (a, b, c, d) in TURNS else (1, 0, 0, 1)


def _square(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    """A frame's size once its pixels are square."""
    shape = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    if not LEAST_SHAPE <= shape <= MOST_SHAPE:
        shape = Fraction(1)
    return max(1, round(frame.width * shape)), frame.height


class _Packets(NamedTuple):
    """What a file's packets say; `leading` when frames come after a key frame that are shown before it."""

    pts: tuple[int, ...]
    keys: tuple[int, ...]
    leading: bool
    sure: bool
    """Every packet has a time of its own, and its container is one that knows better than to make them up."""


def _read(container: InputContainer, stream: VideoStream) -> tuple[_Packets, VideoFrame]:
    """Times of all frames and of the key frames, and the first frame that is whole; the only one decoded.

    ExampleError where there is none, or the file ends too early.
    """
    stream.thread_type = "NONE"
    pts: list[int | None] = []
    keys: list[int] = []
    read, leading, first = 0, False, None
    for packet in packets_of(container, stream):
        if first is None:
            first = next((frame for frame in packet.decode() if not frame.is_corrupt), None)
        if not packet.size:
            continue
        read += 1
        if packet.is_corrupt:
            raise ExampleError("media", "truncated_video", f"packet {read} is cut off")
        # what was cut away without being encoded again is there, but not to be shown
        if not packet.is_discard:
            pts.append(packet.pts)
        if packet.pts is not None:
            if packet.is_keyframe:
                keys.append(packet.pts)
            leading = leading or packet.pts < keys[-1] if keys else leading
    if first is None:
        raise ExampleError("media", "no_frames", "nothing in it can be decoded")
    stated = len(stream.index_entries)
    if read < stated:
        raise ExampleError("media", "truncated_video", f"{read} of {stated} packets are there")
    known = sorted({one for one in pts if one is not None})
    sure = len(known) == len(pts) and bool(pts) and "avi" not in container.format.name
    return _Packets(tuple(known), tuple(sorted(keys)), leading, sure), first


def _by_decoding(path: Path, number: int, packets: _Packets) -> tuple[tuple[int, ...], tuple[int, ...], bool]:
    """Times, key frames, and whether frames must be counted, of a file whose packets can't be believed.

    AVI numbers packets in the order of decoding: their times are right, but belong to other frames.
    """
    with opened(path) as container:
        times = [frame.pts for frame in frames_of(container, stream_of(container, number))]
    decoded = tuple(time for time in times if time is not None)
    ascending = all(one < later for one, later in itertools.pairwise(decoded))
    if decoded and len(decoded) == len(times) and ascending:
        return (decoded, packets.keys, False) if decoded == packets.pts else (decoded, (), False)
    if packets.pts and len(packets.pts) == len(times):
        return packets.pts, (), True
    raise ExampleError("media", "no_times", "its frames have no presentation times")


def stream_of(container: InputContainer, number: int) -> VideoStream:
    """The video stream of that index, decoded in one thread: the workers fill the cores."""
    stream = next(stream for stream in container.streams.video if stream.index == number)
    stream.thread_type = "NONE"
    return stream


def packets_of(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
    """Its packets from here on, the last one empty.

    PyAV's own generator (18.1) keeps 200 bytes for ever when it is dropped before its end without being closed; lying
    between frames that were freed, they kept up to 36 MB of the heap from being used again after 1,000 files.
    `yield from` closes it.
    """
    yield from container.demux(stream)


def frames_of(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Its frames from here on, in order of presentation."""
    for packet in packets_of(container, stream):
        yield from packet.decode()
