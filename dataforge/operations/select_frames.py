"""Select frames: frames of a video that were shown before, once more and larger."""

from typing import ClassVar

from pydantic import Field

from dataforge.errors import OperationError
from dataforge.plugins import Operation
from dataforge.records import View
from dataforge.workspace import Workspace

MOST = 8
"""Frames of one call, as in Pixel Reasoner (section C.1)."""


class SelectFrames(Operation):
    """Show some frames of a video again, larger than in the overview.

    Each comes whole and from the source in full resolution, also where the number is that of a part of it.
    """

    of_video: ClassVar[bool] = True

    min_pixels: int = Field(default=256 * 28 * 28, ge=1, description="a smaller frame is enlarged to this area")
    max_pixels: int = Field(default=512 * 28 * 28, ge=1, description="a larger frame is shrunk to this area")

    def apply(self, workspace: Workspace, target_frames: list[int]) -> list[View]:
        """Select frames of the video that matter; they are returned larger, as new images, in the order asked for.

        Args:
            target_frames: The numbers of the images that show these frames, at most 8.
        """
        if not target_frames:
            raise OperationError("no_frames", "target_frames is empty: give the numbers of 1 to 8 images.")
        if len(target_frames) > MOST:
            raise OperationError("too_many_frames", f"{len(target_frames)} frames are too many: select at most {MOST}.")
        chosen = [workspace.view(number) for number in target_frames]
        for number, view in zip(target_frames, chosen, strict=True):
            if view.moment is None:
                raise OperationError("not_a_frame", f"Image {number} is no frame of a video.")
        moments = [(view.media, view.time_s) for view in chosen]
        for place, number in enumerate(target_frames):
            if moments[place] in moments[:place]:
                raise OperationError("repeated_frame", f"Image {number} repeats a frame: give each frame once.")
        for media in {view.media for view in chosen}:
            workspace.fetch(media, [view.moment for view in chosen if view.media == media and view.moment])
        return [
            workspace.show(view.media, workspace.whole(view.media), self.min_pixels, self.max_pixels, view.moment)
            for view in chosen
        ]
