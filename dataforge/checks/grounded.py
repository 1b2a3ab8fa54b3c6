"""Grounded: looks show what their role says, measured on the boxes that were really cut, and in a video in seconds."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from dataforge.plugins import Check, Kit
from dataforge.records import Region, Step, Trace, Verdict, View


class Grounded(Check):
    """The looks before the answer show the evidence, a mistake shows none of it or is far too large.

    A trace of kind `direct` has no look; one without evidence can't be judged, and fails. Evidence in a video is shown
    by a frame of its time: a frame of any other time shows none of it, whatever its number.
    """

    least: float = Field(default=0.95, gt=0, le=1, description="share of the evidence that right looks must show")
    too_large: float = Field(default=4.0, gt=1, description="a too-large look's area, in areas of the right one")

    reasons: ClassVar[tuple[str, ...]] = (
        "no_evidence",
        "no_look",
        "misses_evidence",
        "mistake_shows_evidence",
        "mistake_not_too_large",
        "mistake_misses_evidence",
        "no_zoom",
    )

    def complaint(self, verdict: Verdict) -> str:
        return ""  # the looks are not the teacher's

    def judge(self, trace: Trace, kit: Kit) -> Verdict:
        if not trace.regions:
            return self.failed("no_evidence")
        if trace.kind == "direct":
            return self.passed()
        right = [step for step in trace.looks if step.role != "mistake"]
        if not right:
            return self.failed("no_look", "no look but mistakes")
        telling = right if trace.kind == "compare" else right[1:] if trace.kind == "frames_then_zoom" else right[-1:]
        if not telling:
            return self.failed("no_zoom", "the frames were selected, and no part of one was looked at")
        shown = min(_coverage(region, telling) for region in trace.regions)
        if shown < self.least:
            return self.failed("misses_evidence", f"{shown:.0%} of the evidence is shown", shown)
        for number, step in enumerate(trace.steps, start=1):
            if step.role == "mistake" and (verdict := self._mistake(trace, number, step, right[-1])):
                return verdict
        return self.passed(shown)

    def _mistake(self, trace: Trace, number: int, step: Step, right: Step) -> Verdict | None:
        coverage = [_coverage(region, [step]) for region in trace.regions]
        if trace.kind != "zoom_further":
            if max(coverage) > 0:
                return self.failed("mistake_shows_evidence", f"step {number} shows {max(coverage):.0%} of it")
            return None
        if min(coverage) < self.least:
            return self.failed("mistake_misses_evidence", f"step {number} shows {min(coverage):.0%} of it")
        ratio = _area([step]) / _area([right])
        if ratio < self.too_large:
            return self.failed("mistake_not_too_large", f"step {number} is only {ratio:.1f} times the right look")
        return None


def _views(steps: Sequence[Step]) -> list[View]:
    return [view for step in steps if step.observation for view in step.observation.views]


def _coverage(region: Region, steps: Sequence[Step]) -> float:
    """The largest share of a region that one view of these steps shows."""
    there = [view for view in _views(steps) if view.media == region.media and region.there_at(view.time_s)]
    return max((view.box.coverage(region.box) for view in there), default=0.0)


def _area(steps: Sequence[Step]) -> float:
    return max((view.box.area for view in _views(steps)), default=1.0)
