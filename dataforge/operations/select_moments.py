"""Select moments: frames of a video from between those that were shown, by time."""

import math
from typing import ClassVar

from pydantic import Field

from dataforge.errors import OperationError
from dataforge.operations.select_frames import MOST
from dataforge.plugins import Operation
from dataforge.records import Frame, Span, View
from dataforge.workspace import Workspace

SLACK_S = 0.011
"""Times are told with two decimals, so the last one told may lie this much after the last frame."""


class SelectMoments(Operation):
    """Show frames of a stretch of the video, spread evenly in time: also those that the overview left out.

    Pixel Reasoner has no such operation: what happens between two shown frames can't be seen with `select_frames`.
    Of an example with several videos it shows the first.
    """

    of_video: ClassVar[bool] = True

    min_pixels: int = Field(default=256 * 28 * 28, ge=1, description="a smaller frame is enlarged to this area")
    max_pixels: int = Field(default=512 * 28 * 28, ge=1, description="a larger frame is shrunk to this area")

    def apply(self, workspace: Workspace, start_s: float, end_s: float, count: int) -> list[View]:
        """Look at a stretch of the video more densely; frames from it are returned as new images, in order of time.

        Args:
            start_s: Where the stretch begins, in seconds of the video's own time, as told with each frame.
            end_s: Where it ends, in seconds.
            count: How many frames to show, 1 to 8, spread evenly; fewer come where the stretch holds fewer.
        """
        media, frames = self.frames(workspace, start_s, end_s, count)
        return workspace.show_frames(media, frames, self.min_pixels, self.max_pixels)

    def frames(self, workspace: Workspace, start_s: float, end_s: float, count: int) -> tuple[int, list[Frame]]:
        """Which video, and which of its frames, `apply` shows; OperationError where the call makes no sense."""
        media = next((at for at, item in enumerate(workspace.media) if item.kind == "video"), None)
        if media is None:
            raise OperationError("no_video", "There is no video to select moments from.")
        if count < 1:
            raise OperationError("no_frames", "count must be at least 1.")
        if count > MOST:
            raise OperationError("too_many_frames", f"{count} frames are too many: select at most {MOST}.")
        start, end = _inside(workspace.media[media].span_s or (0.0, 0.0), start_s, end_s)
        step = (end - start) / count
        return media, workspace.moments(media, [start + (part + 0.5) * step for part in range(count)])


def _inside(span: Span, start: float, end: float) -> Span:
    """The stretch, on the video; a sentence where it isn't."""
    first, last = span
    if not (math.isfinite(start) and math.isfinite(end)):
        raise OperationError("not_finite", "start_s and end_s must be finite numbers.")
    if start > end:
        raise OperationError("reversed_stretch", "end_s lies before start_s: write the earlier time first.")
    if start < first - SLACK_S or end > last + SLACK_S:
        raise OperationError(
            "out_of_range", f"The stretch leaves the video, which runs from {first:.2f} s to {last:.2f} s."
        )
    return min(max(start, first), last), min(max(end, first), last)
