"""Where a video's scenes change: where a frame, made tiny and grey, is unlike the one before it."""

from pathlib import Path

from dataforge.video.index import Index
from dataforge.video.scan import frames_of, opened, stream_of

SIZE = (32, 18)
LEAST = 12.0
"""Mean difference of grey levels, 0 to 255, that makes a cut; what moves in front of a camera stays below it."""
APART_S = 0.3
"""A flash is no scene."""


def cuts(path: Path, index: Index) -> list[float]:
    """The times of the first frames of all scenes but the first. Decodes the whole video."""
    found: list[float] = []
    before = b""
    with opened(path) as container:
        for frame in frames_of(container, stream_of(container, index.stream)):
            grey = frame.reformat(*SIZE, format="gray")
            line = grey.planes[0].line_size
            rows = bytes(grey.planes[0])
            tiny = b"".join(rows[row * line : row * line + SIZE[0]] for row in range(SIZE[1]))
            time = frame.time
            if before and time is not None and (not found or time - found[-1] > APART_S):
                change = sum(abs(one - other) for one, other in zip(before, tiny, strict=True)) / len(tiny)
                if change >= LEAST:
                    found.append(round(time, 6))
            before = tiny
    return found
