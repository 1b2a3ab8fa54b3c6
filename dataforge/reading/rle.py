"""Masks as COCO writes them: run lengths down the columns, as a list of numbers or packed into a string.

Our own, and not pycocotools', for two reasons: what is needed is its decoder alone, a screen of code, against a
compiled dependency; and masks come from files that anybody may have written, where pycocotools trusts the numbers. Both
agree on every sound mask (tests hold strings that pycocotools made); one whose runs don't fill its picture is refused.
"""

from typing import Any, NamedTuple

from PIL import Image

from dataforge.errors import ExampleError
from dataforge.geometry import Box
from dataforge.media import MAX_PIXELS

LONGEST_NUMBER = 7
"""Characters of five bits each that one packed number may have: more than any picture needs."""


class Mask(NamedTuple):
    """Runs outside and inside in turn, outside first, down the columns of a picture of that size."""

    width: int
    height: int
    runs: tuple[int, ...]

    @property
    def area(self) -> int:
        """Pixels inside."""
        return sum(self.runs[1::2])

    @property
    def box(self) -> Box | None:
        """The smallest box around the pixels inside; None where there are none."""
        left = top = 1 << 62
        right = bottom = -1
        at = 0
        for number, run in enumerate(self.runs):
            if number % 2 and run:
                first, last = at, at + run - 1
                left, right = min(left, first // self.height), max(right, last // self.height)
                if first // self.height == last // self.height:
                    top, bottom = min(top, first % self.height), max(bottom, last % self.height)
                else:  # over the end of a column: both ends are reached
                    top, bottom = 0, self.height - 1
            at += run
        return Box(left, top, right + 1, bottom + 1) if right >= 0 else None

    def cut(self, box: Box) -> Image.Image:
        """The part inside a box of whole pixels, as a picture of 0 and 255."""
        first, last = int(box.x1) * self.height, int(box.x2) * self.height
        columns, at = bytearray(last - first), 0
        for number, run in enumerate(self.runs):
            start, end = max(at, first), min(at + run, last)
            if number % 2 and start < end:
                columns[start - first : end - first] = b"\xff" * (end - start)
            at += run
        turned = Image.frombytes("L", (self.height, int(box.width)), bytes(columns))
        return turned.transpose(Image.Transpose.TRANSPOSE).crop((0, int(box.y1), int(box.width), int(box.y2)))


def decoded(rle: Any) -> Mask:
    """A COCO object `{size: [height, width], counts}` as a mask; ExampleError("read", "bad_mask") for anything else."""
    if not isinstance(rle, dict) or not isinstance(rle.get("size"), (list, tuple)) or len(rle["size"]) != 2:
        raise _bad("no object of size and counts")
    height, width = rle["size"]
    if not all(type(side) is int and side > 0 for side in (height, width)) or height * width > MAX_PIXELS:
        raise _bad(f"a size of {height!r} by {width!r}")
    counts = rle.get("counts")
    if isinstance(counts, (str, bytes)):
        runs = unpacked(counts)
    elif isinstance(counts, (list, tuple)) and all(type(run) is int for run in counts):
        runs = list(counts)
    else:
        raise _bad("counts are neither whole numbers nor a string")
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        raise _bad(f"runs of {sum(runs)} pixels in a picture of {height * width}")
    return Mask(width, height, tuple(runs))


def unpacked(counts: str | bytes) -> list[int]:
    """The run lengths in a packed string.

    Each number is written in characters from "0" on, five bits a character, the lowest first, bit 5 saying that more
    follow and bit 4 of the last one being the sign; from the fourth number on it is the difference to the one before
    the last (COCO API, maskApi.c).
    """
    content = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    runs: list[int] = []
    number = shift = 0
    for character in content:
        bits = character - 48
        if not 0 <= bits < 64 or shift >= 5 * LONGEST_NUMBER:
            raise _bad(f"{chr(character)!r} can't stand in a packed number there")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number = shift = 0
    if shift:
        raise _bad("the packed string ends inside a number")
    return runs


def _bad(detail: str) -> ExampleError:
    return ExampleError("read", "bad_mask", detail)
