"""Controls: does an answer depend on what was looked at?

A model that zooms in and answers rightly may have known the answer without the zoom. So its looks are replaced by
something of the same size that can't help: plain grey, or another place of the same picture, drawn by seed; for a whole
frame of a video, another frame. The first views stay as they are, and so do the words that come back but for a frame's
time. The view says what was really shown, so such an episode is stored, shown and replayed like any other. A look at a
whole picture has no elsewhere, and one at most of it hardly any: such looks come back nearly as asked for.
"""

import random

from dataforge.geometry import Box
from dataforge.media import blank, fingerprint
from dataforge.records import Control, Frame, View
from dataforge.workspace import Workspace

DRAWS = 16
"""Places drawn for one look; the one that shares least with what was asked for is shown."""
APART = 0.1
"""Least distance of another frame, in lengths of the video."""


class Misled(Workspace):
    """A workspace whose views, once `control` is set, show something else than asked for."""

    control: Control = ""

    def mislead(self, control: Control, seed: str) -> None:
        """From the next view on; the same seed draws the same places."""
        self.control = control
        self._draw = random.Random(seed)

    def show(
        self,
        media: int,
        box: Box,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        frame: Frame | None = None,
    ) -> View:
        """As a workspace's `show`, then with another box or frame, or without pixels."""
        if self.control == "elsewhere" and frame and box == self.whole(media):
            frame = self._other_frame(media, frame)
        elif self.control == "elsewhere":
            box = self._elsewhere(self.whole(media), box)
        view = super().show(media, box, min_pixels, max_pixels, frame)
        if self.control == "blank":
            self._pictures[-1] = blank((view.width, view.height))
            view = view.model_copy(update={"blank": True, "sha256": fingerprint(self._pictures[-1])})
            self.views[-1] = view
        return view

    def _other_frame(self, media: int, frame: Frame) -> Frame:
        """A frame drawn evenly over the video's time, not next to the one asked for where that can be."""
        start, end = self.media[media].span_s or (0.0, 0.0)
        drawn = [self._draw.uniform(start, end) for _ in range(DRAWS)]
        far = [time_s for time_s in drawn if abs(time_s - frame.time_s) > APART * (end - start)]
        return self.moments(media, [(far or drawn)[0]])[0]

    def _elsewhere(self, whole: Box, box: Box) -> Box:
        """A box of the same size, uniform over the picture among those that share least with the one asked for."""
        width, height = int(box.width), int(box.height)
        corners = [
            (self._draw.randint(0, int(whole.width) - width), self._draw.randint(0, int(whole.height) - height))
            for _ in range(DRAWS)
        ]
        drawn = [Box(x, y, x + width, y + height) for x, y in corners]
        return min(drawn, key=box.coverage)
