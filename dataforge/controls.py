"""Controls: does an answer depend on what was looked at?

A model that zooms in and answers rightly may have known the answer without the zoom. So its looks are replaced by
something of the same size that can't help: plain grey, or another place of the same picture, drawn by seed. The first
views stay as they are, the words that come back too; only the pixels differ. The view says what was really shown, so
such an episode is stored, shown and replayed like any other.
"""

import random
from typing import Any

from dataforge.geometry import Box
from dataforge.media import blank, fingerprint
from dataforge.records import Control, View
from dataforge.workspace import Workspace

DRAWS = 16
"""Places drawn for one look; the one that shares least with what was asked for is shown."""


class Misled(Workspace):
    """A workspace whose views, once `control` is set, show something else than asked for."""

    control: Control = ""

    def mislead(self, control: Control, seed: str) -> None:
        """From the next view on; the same seed draws the same places."""
        self.control = control
        self._draw = random.Random(seed)

    def show(self, media: int, box: Box, *args: Any, **more: Any) -> View:
        """As a workspace's `show`, then with another box or without pixels."""
        if self.control == "elsewhere":
            box = self._elsewhere(self.whole(media), box)
        view = super().show(media, box, *args, **more)
        if self.control == "blank":
            self._pictures[-1] = blank((view.width, view.height))
            view = view.model_copy(update={"blank": True, "sha256": fingerprint(self._pictures[-1])})
            self.views[-1] = view
        return view

    def _elsewhere(self, whole: Box, box: Box) -> Box:
        """A box of the same size, uniform over the picture among those that share least with the one asked for."""
        width, height = int(box.width), int(box.height)
        corners = [
            (self._draw.randint(0, int(whole.width) - width), self._draw.randint(0, int(whole.height) - height))
            for _ in range(DRAWS)
        ]
        drawn = [Box(x, y, x + width, y + height) for x, y in corners]
        return min(drawn, key=box.coverage)
