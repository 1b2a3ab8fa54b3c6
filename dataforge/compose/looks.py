"""What a picture's looks and a video's have in common: how one is drawn, run, and thrown away where it isn't right."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from dataforge.chat import quantise
from dataforge.episode import Episode, short_name
from dataforge.errors import OperationError
from dataforge.geometry import Box
from dataforge.manifest import Compose
from dataforge.operations.zoom_in import ZoomIn
from dataforge.records import Call, Example, Kind, Observation, Region, Role, View

ATTEMPTS = 24
"""Draws of one look before its kind is given up for this example."""


@dataclass(frozen=True)
class Look:
    """One executed look and what it was aimed at."""

    role: Role
    call: Call
    observation: Observation
    target: str
    too_large: bool = False


@dataclass(frozen=True)
class Draft:
    """A trace whose operations have run and whose thoughts are still to be written."""

    example: Example
    regions: tuple[Region, ...]
    kind: Kind
    unfit: tuple[str, ...]
    views: tuple[View, ...]
    looks: tuple[Look, ...]

    @property
    def of_video(self) -> bool:
        """What is first shown is frames of a video."""
        return any(view.time_s is not None for view in self.views)


class Unfit(Exception):
    """This kind can't be made of this example."""


class Ground:
    """One example's media with its evidence, on which looks are laid."""

    def __init__(
        self,
        example: Example,
        regions: tuple[Region, ...],
        episode: Episode,
        settings: Compose,
        rng: random.Random,
    ) -> None:
        self.regions = regions
        self.episode = episode
        self.workspace = episode.workspace
        self.settings = settings
        self.rng = rng
        self.zoom = next((one for one in episode.operations.values() if isinstance(one, ZoomIn)), None)
        self.others = [region for region in example.context if region.media == regions[0].media]
        self._answers = [answer.casefold() for answer in example.answers if len(answer) >= 3]

    def eligible(self) -> set[Kind]:
        """The kinds whose conditions hold before anything has run."""
        raise NotImplementedError

    def run(self, kind: Kind) -> list[Look]:
        """Run a kind's looks on a fresh episode; Unfit when they can't be made."""
        raise NotImplementedError

    def _telling(self) -> list[Region]:
        """What a wrong look must not show: the evidence, every place where the answer stands in print, and what is
        called as the evidence is."""
        prints = [other for other in self.others if self._tells(other)]
        return [*self.regions, *prints]

    def _tells(self, other: Region) -> bool:
        again = other.span_s is not None and any(other.label == region.label != "" for region in self.regions)
        return again or any(answer in other.label.casefold() for answer in self._answers)

    def _as_shown(self, media: int, box: Box) -> View:
        """The view that a cut of `box` would give, without its pixels."""
        assert self.zoom is not None
        cut = box.outward().clamp(self.workspace.whole(media))
        width, height = self.workspace.size(cut, self.zoom.min_pixels, self.zoom.max_pixels)
        return View(number=1, width=width, height=height, sha256="", media=media, box=cut)

    def _legible(self, region: Region, view: View) -> bool | None:
        """Whether the region's glyphs can be read in that view; None where their height isn't known.

        They can when they are tall enough as shown, or shown in full resolution: no look would show more.
        """
        if region.text_px is None:
            return None
        scale = min(view.width / view.box.width, view.height / view.box.height)
        return scale >= 0.99 or region.text_px * scale >= self.settings.legible_px

    def _around(self, box: Box, tightness: float = 1.0) -> Box:
        """A look around a place: free space on each side by the settings' margin, none side shorter than the least.

        The margin is counted in the mean side, so that a long line of print gets space above and below as well.
        """
        side = math.sqrt(box.area)
        low, high = self.settings.margin
        left, top, right, bottom = (self.rng.uniform(low, high) * tightness * side for _ in range(4))
        look = Box(box.x1 - left, box.y1 - top, box.x2 + right, box.y2 + bottom)
        short_x = max(0.0, self.settings.least_px - look.width) / 2
        short_y = max(0.0, self.settings.least_px - look.height) / 2
        return look.grow(short_x, short_y)

    def _attempt(
        self,
        role: Role,
        box: Box,
        target: int,
        label: str,
        test: Callable[[View], bool],
        too_large: bool = False,
    ) -> Look | None:
        """Run a look at a source box if the box that it would really cut passes the test."""
        assert self.zoom is not None
        view = self.workspace.view(target)
        frame = Box(0, 0, view.width, view.height)
        asked = quantise(self.workspace.to_view(target, box).clamp(frame), view, self.workspace.student)
        try:
            cut = self.zoom.cut_box(self.workspace, asked, target)
        except OperationError:
            return None
        shown = self._as_shown(view.media, cut).model_copy(update={"frame": view.frame, "time_s": view.time_s})
        if not test(shown):
            return None
        call = Call(name=short_name(self.zoom), arguments={"bbox_2d": list(asked), "target_image": target})
        return self._ran(role, call, label, too_large)

    def _ran(self, role: Role, call: Call, label: str, too_large: bool = False) -> Look:
        """The look that a call gives; Unfit where the episode refuses it."""
        observation = self.episode.act(call)
        if observation.error:
            raise Unfit
        return Look(role, call, observation, label, too_large)
