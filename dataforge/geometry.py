"""Boxes: the only arithmetic on rectangles in the project.

A box is left, top, right, bottom in pixels of *something*: the source picture or a numbered view. Which one is
said by the name that holds it, never guessed from the size of the numbers. Right and bottom are exclusive.
"""

import math
from typing import NamedTuple


class Box(NamedTuple):
    """x1, y1, x2, y2 in pixels; x2 and y2 exclusive, so width = x2 - x1."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def width(self) -> float:
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        return self.y2 - self.y1

    @property
    def area(self) -> float:
        return max(self.width, 0.0) * max(self.height, 0.0)

    @property
    def center(self) -> tuple[float, float]:
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2

    def intersect(self, other: "Box") -> "Box":
        """The part inside both; its area is 0 where they don't meet."""
        return Box(max(self.x1, other.x1), max(self.y1, other.y1), min(self.x2, other.x2), min(self.y2, other.y2))

    def overlaps(self, other: "Box") -> bool:
        shared = self.intersect(other)
        return shared.width > 0 and shared.height > 0

    def contains(self, other: "Box") -> bool:
        return self.x1 <= other.x1 and self.y1 <= other.y1 and self.x2 >= other.x2 and self.y2 >= other.y2

    def coverage(self, other: "Box") -> float:
        """The share of `other` that lies inside this box, 0..1."""
        shared = self.intersect(other)
        if shared.width <= 0 or shared.height <= 0:
            return 0.0
        return min(shared.area / other.area, 1.0)

    def union(self, other: "Box") -> "Box":
        return Box(min(self.x1, other.x1), min(self.y1, other.y1), max(self.x2, other.x2), max(self.y2, other.y2))

    def grow(self, dx: float, dy: float) -> "Box":
        """Moved outwards by dx on the left and right, dy on the top and bottom."""
        return Box(self.x1 - dx, self.y1 - dy, self.x2 + dx, self.y2 + dy)

    def clamp(self, bounds: "Box") -> "Box":
        """The nearest box inside `bounds`; may be empty."""
        x1, y1 = min(max(self.x1, bounds.x1), bounds.x2), min(max(self.y1, bounds.y1), bounds.y2)
        x2, y2 = min(max(self.x2, bounds.x1), bounds.x2), min(max(self.y2, bounds.y1), bounds.y2)
        return Box(x1, y1, x2, y2)

    def outward(self) -> "Box":
        """The smallest box of whole pixels around this one, forgiving rounding noise of a millionth."""
        return Box(
            math.floor(self.x1 + 1e-6),
            math.floor(self.y1 + 1e-6),
            math.ceil(self.x2 - 1e-6),
            math.ceil(self.y2 - 1e-6),
        )

    def mapped(self, inside: "Box", onto: "Box") -> "Box":
        """This box, given in the frame `inside`, in the frame `onto`."""
        sx, sy = onto.width / inside.width, onto.height / inside.height
        return Box(
            onto.x1 + (self.x1 - inside.x1) * sx,
            onto.y1 + (self.y1 - inside.y1) * sy,
            onto.x1 + (self.x2 - inside.x1) * sx,
            onto.y1 + (self.y2 - inside.y1) * sy,
        )
