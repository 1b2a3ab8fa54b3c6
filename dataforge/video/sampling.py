"""Which frames stand for a video: evenly in time, some of each scene, or those that decode by themselves."""

import bisect
import heapq
import itertools
from collections.abc import Sequence

from dataforge.records import Frame, Span
from dataforge.video.index import Index


def evenly(index: Index, count: int, span_s: Span | None = None) -> list[Frame]:
    """The frames on screen in the middle of `count` equal parts of the video, or of a span; each once, in order."""
    start, end = span_s or _whole(index)
    step = (end - start) / count
    return _distinct([index.at(start + (part + 0.5) * step) for part in range(count)])


def of_scenes(index: Index, cuts: Sequence[float], count: int) -> list[Frame]:
    """Frames spread over the scenes that begin at `cuts`: one of each, the longest first, then more of the longer."""
    start, end = _whole(index)
    bounds = [start, *sorted(cut for cut in set(cuts) if start < cut < end), end]
    scenes = sorted(itertools.pairwise(bounds), key=lambda scene: (scene[0] - scene[1], scene[0]))[:count]
    shares = [(-(to - begin) / 2, place, 1) for place, (begin, to) in enumerate(scenes)]
    heapq.heapify(shares)
    for _ in range(count - len(scenes)):
        _, place, share = heapq.heappop(shares)
        begin, to = scenes[place]
        heapq.heappush(shares, (-(to - begin) / (share + 2), place, share + 1))
    frames = [frame for _, place, share in shares for frame in evenly(index, share, _inside(scenes[place]))]
    return _distinct(sorted(frames))


def key_frames(index: Index, count: int) -> list[Frame]:
    """Key frames alone, those nearest to where even ones would be; fewer where the video has fewer."""
    keys = [index.frame(bisect.bisect_left(index.pts, key)) for key in index.keys] or [index.frame(0)]
    if len(keys) <= count:
        return keys
    wanted = evenly(index, count)
    return _distinct(sorted(min(keys, key=lambda key: abs(key.time_s - frame.time_s)) for frame in wanted))


def _whole(index: Index) -> Span:
    """All of the video; its last frame counts as long as the others do on average."""
    first, last = index.span_s
    return first, last + (last - first) / max(1, len(index.pts) - 1)


def _inside(scene: Span) -> Span:
    # a frame on screen at the cut itself belongs to the scene after it
    return scene[0] + 1e-6, scene[1] - 1e-6


def _distinct(frames: Sequence[Frame]) -> list[Frame]:
    return list(dict.fromkeys(frames))
