"""What the sources of videos share: finding a clip, and stretches of time as data sets write them."""

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataforge import reading
from dataforge.errors import ExampleError
from dataforge.geometry import Box
from dataforge.records import Media, Region, Span

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")


def lacks() -> str:
    """Why no video can be read here; empty where one can."""
    return "" if importlib.util.find_spec("av") else "videos need av: pip install av"


def clip(folders: Sequence[Path], name: str, field: str = "video_id") -> Path:
    """The video of that name, whatever its format; its likeliest path where there is none."""
    stem = reading.relative(name, field)
    stem = stem.removesuffix(Path(stem).suffix) if Path(stem).suffix.lower() in SUFFIXES else stem
    found = (reading.pick(folders, f"{stem}{suffix}") for suffix in SUFFIXES)
    return next((path for path in found if path.is_file()), folders[0] / f"{stem}.mp4")


def span(value: Any, field: str) -> Span:
    """A pair of seconds; ExampleError("read", "bad_span") for anything else."""
    numbers = list(value) if isinstance(value, (list, tuple)) else []
    try:
        start, end = (float(one) for one in numbers)
    except (TypeError, ValueError):
        raise ExampleError("read", "bad_span", f"{field} is {value!r}") from None
    if not (math.isfinite(start) and math.isfinite(end) and start < end):
        raise ExampleError("read", "bad_span", f"{field} runs from {start} to {end}")
    return start, end


def within(stretch: Span, media: Media, label: str = "") -> Region:
    """Whole frames of a stretch, which data sets count from the first frame on; ExampleError where it isn't there."""
    first, last = media.span_s or (0.0, 0.0)
    start, end = max(first, first + stretch[0]), min(last, first + stretch[1])
    if start > end:
        said, there = f"{stretch[0]:.1f} s to {stretch[1]:.1f} s", f"{last - first:.1f} s"
        raise ExampleError("read", "span_outside", f"{said} of a video of {there}")
    return Region(box=Box(0, 0, media.width, media.height), span_s=(round(start, 6), round(end, 6)), label=label)


def lettered(answer: str, choices: Sequence[str]) -> str:
    """The letter of the choice that an answer's text is; ExampleError where it is none of them, or several."""
    plain = [" ".join(choice.casefold().split()).rstrip(".") for choice in choices]
    wanted = " ".join(answer.casefold().split()).rstrip(".")
    if plain.count(wanted) != 1:
        raise ExampleError("read", "answer_not_a_choice", f"{answer!r} is {plain.count(wanted)} of the choices")
    return chr(ord("A") + plain.index(wanted))
