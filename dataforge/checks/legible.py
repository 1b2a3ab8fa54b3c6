"""Legible: the evidence can be read at the size in which it is shown at last, and could not be before.

Pure geometry. What counts is the height of the glyphs as shown, or, where it isn't known, the shorter side of the
evidence's box: print in it is no taller than that. So a box proves that print is too small, but a large box proves no
large print: only a thing that is plain to see as a whole needs no look.
"""

from typing import ClassVar

from pydantic import Field

from dataforge.geometry import Box
from dataforge.plugins import Check, Kit
from dataforge.records import Region, Trace, Verdict, View

FULL = 0.99
"""Shown pixels for each source pixel from which a view is in full resolution: no look would show more."""


class Legible(Check):
    """The last look shows the evidence large enough to read, and the whole view does not: the zoom was needed.

    Evidence in a video counts in frames of its time; where it is whole frames, nothing is measured but that some are
    shown. For `direct` it is the other way round: the whole view must do, unless a model has shown that it does by
    answering from it alone. Each place of a `compare` counts at its own look.
    """

    least_px: float = Field(default=8.0, gt=0, description="glyph height as shown, below which no one can read")
    plain_px: float = Field(default=12.0, gt=0, description="glyph height in the whole view that needs no zoom")
    plain_side_px: float = Field(
        default=112.0, gt=0, description="the same for a box's shorter side, where the glyph height isn't known"
    )

    reasons: ClassVar[tuple[str, ...]] = ("too_small", "zoom_not_needed", "needs_a_look")

    def complaint(self, verdict: Verdict) -> str:
        return ""  # the looks are not the teacher's

    def judge(self, trace: Trace, kit: Kit) -> Verdict:
        if not trace.regions:
            return self.passed()
        plain = [
            not _is_whole(region, trace) and any(self._plain(region, view) for view in trace.views)
            for region in trace.regions
        ]
        if trace.kind == "direct":
            if all(plain) or trace.provenance.solved is not None:
                return self.passed()
            return self.failed("needs_a_look", "the evidence can't be read in the whole view")
        if all(plain):
            return self.failed("zoom_not_needed", "all of the evidence can be read in the whole view")
        looks = _right_looks(trace)
        sizes = [_largest(region, looks) for region in trace.regions]
        for (shown, scale), region in zip(sizes, trace.regions, strict=True):
            if not scale:
                return self.failed("too_small", "the last look doesn't show the evidence at all", 0.0)
            if _is_whole(region, trace):
                continue
            if scale < FULL and shown < self.least_px:
                what = "print" if region.text_px else "the evidence's shorter side"
                return self.failed("too_small", f"{what} is {shown:.1f} pixels high as shown", round(shown, 1))
        return self.passed(round(min(shown for shown, _ in sizes), 1))

    def _plain(self, region: Region, view: View) -> bool:
        """Whether the region is plain to see in a whole view."""
        if view.media != region.media or not region.there_at(view.time_s):
            return False
        scale = _scale(view)
        if region.text_px is None:
            return min(region.box.width, region.box.height) * scale >= self.plain_side_px
        return scale >= FULL or region.text_px * scale >= self.plain_px


def _right_looks(trace: Trace) -> list[View]:
    """The views that the answer is read from."""
    right = [step.observation.views for step in trace.looks if step.observation and step.role != "mistake"]
    telling = right if trace.kind == "compare" else right[1:] if trace.kind == "frames_then_zoom" else right[-1:]
    return [view for views in telling for view in views]


def _is_whole(region: Region, trace: Trace) -> bool:
    """Evidence that is whole frames of a video: an action, whose size is unknown, so only its time can be judged."""
    media = trace.example.media[region.media]
    return region.span_s is not None and region.box.contains(Box(0, 0, media.width, media.height))


def _largest(region: Region, views: list[View]) -> tuple[float, float]:
    """Height in shown pixels, and shown pixels for each source pixel, in the view that shows the region largest."""
    height = region.text_px or min(region.box.width, region.box.height)
    there = [view for view in views if view.media == region.media and region.there_at(view.time_s)]
    scales = [_scale(view) for view in there if view.box.overlaps(region.box)]
    scale = max(scales, default=0.0)
    return height * scale, scale


def _scale(view: View) -> float:
    return min(view.width / view.box.width, view.height / view.box.height)
