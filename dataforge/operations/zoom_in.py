"""Zoom in: a part of an earlier view, cut again from the source in full resolution."""

import math

from pydantic import Field

from dataforge.errors import OperationError
from dataforge.geometry import Box
from dataforge.plugins import Operation
from dataforge.records import View
from dataforge.workspace import Workspace


class ZoomIn(Operation):
    """Zoom in on a part of an image.

    `padding` widens the box on each side by that share of the target image's width and height (0.1 is Pixel
    Reasoner's); the box that is really cut never leaves the target image.
    """

    padding: float = Field(default=0.0, ge=0, le=0.5, description="of the target's sides, added on each side")
    min_side: int = Field(default=28, ge=1, description="least width and height of a cut, in source pixels")
    min_pixels: int = Field(default=256 * 28 * 28, ge=1, description="a smaller cut is enlarged to this area")
    max_pixels: int = Field(default=1000 * 28 * 28, ge=1, description="a larger cut is shrunk to this area")

    def apply(self, workspace: Workspace, bbox_2d: Box, target_image: int) -> list[View]:
        """Zoom in on a rectangular part of an image shown so far; the part is returned enlarged, as a new image.

        Args:
            bbox_2d: The part to zoom in on, as [x1, y1, x2, y2]: its left, top, right and bottom edge.
            target_image: The number of the image that the part lies on; 1 is the first image shown.
        """
        box = self.cut_box(workspace, bbox_2d, target_image)
        target = workspace.view(target_image)
        return [workspace.show(target.media, box, self.min_pixels, self.max_pixels, target.moment)]

    def cut_box(self, workspace: Workspace, bbox_2d: Box, target_image: int) -> Box:
        """The whole source pixels that `apply` cuts; OperationError where the call makes no sense."""
        view = workspace.view(target_image)
        frame = Box(0, 0, view.width, view.height)
        _refuse_senseless(bbox_2d, frame, target_image)
        padded = bbox_2d.grow(self.padding * view.width, self.padding * view.height).clamp(frame)
        box = workspace.to_source(target_image, padded).outward().clamp(view.box)
        if min(box.width, box.height) < self.min_side:
            raise OperationError(
                "too_small",
                f"bbox_2d covers only {box.width:.0f}x{box.height:.0f} pixels of the original image; "
                f"both sides need at least {self.min_side}. Choose a larger part.",
            )
        return box


def _refuse_senseless(box: Box, frame: Box, number: int) -> None:
    """Sentences without coordinates, so that they hold in every student's box unit."""
    if not all(math.isfinite(value) for value in box):
        raise OperationError("not_finite", "bbox_2d must hold four finite numbers.")
    if box.x1 > box.x2 or box.y1 > box.y2:
        raise OperationError("reversed_box", "bbox_2d is reversed: write [x1, y1, x2, y2] with x1 < x2 and y1 < y2.")
    if box.x1 == box.x2 or box.y1 == box.y2:
        raise OperationError("empty_box", "bbox_2d is empty: x1 must be below x2, and y1 below y2.")
    slack = 1.0  # a pixel: what rounding in another box unit can add
    if not frame.grow(slack, slack).contains(box):
        raise OperationError("out_of_range", f"bbox_2d leaves image {number}: keep its four edges inside the image.")
