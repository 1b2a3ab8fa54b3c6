"""Boxes as data sets write them: four numbers whose order, unit and frame somebody must declare.

Four conventions are in common use, and the size of a number tells none of them apart from another. What comes out is
one thing: pixels of the upright picture, inside it. A box that isn't inside is an error of its row and never moved, but
for two pixels of rounding.
"""

import json
import math
from typing import Any, Literal, NamedTuple

from dataforge.errors import ExampleError
from dataforge.geometry import Box

Order = Literal["xyxy", "xywh", "yxyx"]
Unit = Literal["pixels", "0..1", "0..1000"]
Frame = Literal["upright", "stored"]

ROUNDING_PX = 2
"""How far a box may stick out of its picture and still be taken for rounded."""

SMALLEST_PX = 1e-3
"""A side below this holds nothing that can be shown: what is left of a box that was empty before it was computed."""


class Convention(NamedTuple):
    """How a data set writes a box; `stored` means that it was drawn before the EXIF orientation was applied."""

    order: Order
    unit: Unit
    frame: Frame = "upright"


def listed(value: Any) -> list[list[float]]:
    """One box or a list of boxes, as four numbers each; JSON text is read, None is no box.

    ExampleError("read", "bad_box") for anything else.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError):
            raise ExampleError("read", "bad_box", "text that is not JSON") from None
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise ExampleError("read", "bad_box", f"{type(value).__name__}, not a list")
    boxes = [value] if value and not isinstance(value[0], (list, tuple)) else value
    return [_numbers(box) for box in boxes]


def _numbers(box: Any) -> list[float]:
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        raise ExampleError("read", "bad_box", "not four numbers")
    for number in box:
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise ExampleError("read", "bad_box", f"{number!r} is not a number")
    return [float(number) for number in box]


def placed(numbers: list[float], convention: Convention, width: int, height: int, orientation: int = 1) -> Box:
    """A declared box in pixels of the upright picture of that size; ExampleError("read", "bad_box").

    `orientation` is the file's EXIF value, 1 to 8, which counts where the convention's frame is `stored`.
    """
    turn = orientation if convention.frame == "stored" else 1
    across, down = (height, width) if turn >= 5 else (width, height)
    return within(turned(_pixels(numbers, convention, across, down), turn, across, down), width, height)


def _pixels(numbers: list[float], convention: Convention, width: int, height: int) -> Box:
    one, two, three, four = numbers
    if convention.order == "xywh":
        box = Box(one, two, one + three, two + four)
    elif convention.order == "yxyx":
        box = Box(two, one, four, three)
    else:
        box = Box(one, two, three, four)
    if convention.unit == "pixels":
        return box
    full = 1 if convention.unit == "0..1" else 1000
    return box.mapped(Box(0, 0, full, full), Box(0, 0, width, height))


def turned(box: Box, orientation: int, width: int, height: int) -> Box:
    """A box on the stored picture of that size, on the upright one. The cases are those of EXIF tag 274."""
    flipped_x, flipped_y = (width - box.x2, width - box.x1), (height - box.y2, height - box.y1)
    straight_x, straight_y = (box.x1, box.x2), (box.y1, box.y2)
    across, down = {
        1: (straight_x, straight_y),
        2: (flipped_x, straight_y),
        3: (flipped_x, flipped_y),
        4: (straight_x, flipped_y),
        5: (straight_y, straight_x),
        6: (flipped_y, straight_x),
        7: (flipped_y, flipped_x),
        8: (straight_y, flipped_x),
    }[orientation]
    return Box(across[0], down[0], across[1], down[1])


def within(box: Box, width: int, height: int) -> Box:
    """The box, clamped where it sticks out by rounding only; ExampleError("read", "bad_box") otherwise."""
    bounds = Box(0, 0, width, height)
    shown = [round(side, 1) for side in box]
    if not bounds.grow(ROUNDING_PX, ROUNDING_PX).contains(box):
        raise ExampleError("read", "bad_box", f"{shown} is not inside {width}x{height}")
    clamped = box.clamp(bounds)
    if clamped.width < SMALLEST_PX or clamped.height < SMALLEST_PX:
        raise ExampleError("read", "bad_box", f"{shown} is empty or reversed")
    return clamped
