"""Frames decoded by decord, where it agrees with the packets about what is in the file.

decord returns wrong frames without a word for open GOPs, for MPEG transport streams and for files that were cut without
being encoded again, and it can't read AV1. So what it says of a file's frames and their times is held against the
packet index first, and a file on which the two disagree, or of a sort that it was found to be wrong about, is refused.
It decodes ahead without bound while it is left alone, so a reader lives no longer than a request.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from dataforge.errors import ExampleError
from dataforge.video.index import Index

TRUSTED = frozenset({"h264", "vp8", "vp9", "mpeg4", "mjpeg"})
"""Codecs in which its frames were found to be those that it was asked for, whenever the times agree."""
SEEKS_EXACTLY = frozenset({"mp4", "mov", "matroska", "webm", "avi"})
QUARTER_TURNS = frozenset({(1, 0, 0, 1), (-1, 0, 0, -1), (0, 1, -1, 0), (0, -1, 1, 0)})
SLACK_S = 2e-3
"""It keeps times as 32-bit floats."""
AT_ONCE = 8


def decode(path: Path, index: Index, wanted: Collection[int]) -> Iterator[tuple[int, Image.Image]]:
    """The frames of these times (in the index's units), upright.

    ExampleError("media", "backend_disagrees") where decord can't be trusted with the file.
    """
    if index.codec not in TRUSTED:
        raise _refused(f"decord can't be trusted with {index.codec}")
    if index.leading or index.counted:
        raise _refused("decord returns other frames than it is asked for where frames are shown before a key frame")
    if not set(index.container.split(",")) & SEEKS_EXACTLY:
        raise _refused(f"decord doesn't find frames again in {index.container}")
    if index.turn not in QUARTER_TURNS:
        raise _refused("decord shows no mirror images")
    reader = _reader(path)
    try:
        _refuse_disagreement(reader, index)
        places = {pts: place for place, pts in enumerate(index.pts)}
        order = sorted(wanted)
        for start in range(0, len(order), AT_ONCE):
            some = order[start : start + AT_ONCE]
            for pts, pixels in zip(some, reader.get_batch([places[pts] for pts in some]).asnumpy(), strict=True):
                yield pts, _upright(Image.fromarray(pixels), index)
    except ExampleError:
        raise
    except Exception as error:  # its errors have no base class of their own
        raise ExampleError("media", "broken_video", f"decord: {str(error).splitlines()[0][:200]}") from None
    finally:
        del reader


def _reader(path: Path) -> Any:
    try:
        import decord

        return decord.VideoReader(str(path), num_threads=1)
    except ImportError:
        raise ExampleError("media", "no_backend", "decord isn't installed: pip install decord") from None
    except Exception as error:
        raise _refused(f"decord: {str(error).splitlines()[0][:200]}") from None


def _refuse_disagreement(reader: Any, index: Index) -> None:
    count = len(reader)
    if count != len(index.pts):
        raise _refused(f"decord counts {count} frames, the packets {len(index.pts)}")
    starts = reader.get_frame_timestamp(list(range(count)))[:, 0]
    for place, time in enumerate(index.times):
        # it counts from the first frame on, whatever the file says
        said, known = float(starts[place] - starts[0]), time - index.times[0]
        if abs(said - known) > SLACK_S + 1e-6 * known:
            raise _refused(f"decord has frame {place} {said:.3f} s after the first, the packets {known:.3f} s")


def _upright(image: Image.Image, index: Index) -> Image.Image:
    """It turns frames itself, but leaves pixels that aren't square as they are."""
    size = (index.width, index.height)
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def _refused(why: str) -> ExampleError:
    return ExampleError("media", "backend_disagrees", why)
