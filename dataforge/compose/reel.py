"""Kinds of looks at a video: which frames, and which part of one.

Evidence is there during a stretch of time, and a look shows it when one of its frames is from that stretch. Where the
overview holds such frames they are selected by number; what happened between two frames of the overview is looked for
by time. Whether a frame is wrong is measured in seconds as well: two numbers may differ and show the same thing.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from dataforge.compose.looks import ATTEMPTS, Ground, Look, Unfit
from dataforge.episode import short_name
from dataforge.errors import OperationError
from dataforge.geometry import Box
from dataforge.operations.select_frames import MOST, SelectFrames
from dataforge.operations.select_moments import SelectMoments
from dataforge.records import Call, Frame, Kind, Region, Role, Span, View

GUARD_S = 0.2
"""A wrong frame keeps at least so far from the evidence: annotators' bounds are no sharper."""
LARGEST_PLACE = 0.25
"""Of the frame: a larger thing is no place in it."""
TINY_PX = 28.0
"""Shorter side as shown, of a thing without print: one patch of the student's tells nothing of it."""
MOST_ZOOMS = 3
Selection = tuple[Call, list[View]]
"""A call, and the views that it would give."""
WIDER = 0.6
"""A look by time reaches beyond the evidence, at most by this share of its length on each side."""


class Reel(Ground):
    """One example's video with its evidence."""

    @cached_property
    def media(self) -> int:
        return self.regions[0].media

    @cached_property
    def overview(self) -> list[View]:
        return [view for view in self.episode.opening if view.media == self.media]

    @cached_property
    def by_number(self) -> SelectFrames | None:
        return next((one for one in self.episode.operations.values() if isinstance(one, SelectFrames)), None)

    @cached_property
    def by_time(self) -> SelectMoments | None:
        return next((one for one in self.episode.operations.values() if isinstance(one, SelectMoments)), None)

    # ------------------------------------------------------------------ which kinds can be made

    def eligible(self) -> set[Kind]:
        """The kinds whose conditions hold before anything has run."""
        if len({region.media for region in self.regions}) > 1:
            return set()
        if all(self._read_in(region, self.overview) for region in self.regions):
            return {"direct"}
        if self.by_number is None and self.by_time is None:
            return set()
        if not (self._in_overview(self.regions) or self._fits_one_stretch()):
            return {"compare"}
        if any(map(self._needs_zoom, self.regions)):
            zooms = self.zoom is not None and len(self.regions) <= MOST_ZOOMS
            return {"frames_then_zoom"} if zooms and all(map(self._is_a_place, self.regions)) else set()
        return {"single", "reselect"}

    def _needs_zoom(self, region: Region) -> bool:
        """A selected frame is too small for it: its print can't be read, or it is tiny."""
        operation = self.by_number or self.by_time
        assert operation is not None
        (frame,) = self._as_large([self.overview[0].moment or Frame(0, 0.0)], operation)
        if region.text_px is None:
            return min(region.box.width, region.box.height) * frame.width / frame.box.width < TINY_PX
        return self._legible(region, frame) is False

    def _read_in(self, region: Region, views: Sequence[View]) -> bool:
        return any(self._legible(region, view) is True for view in views if region.there_at(view.time_s))

    def _in_overview(self, regions: Sequence[Region]) -> bool:
        """Each of them is there in some frame of the overview, so that numbers are enough."""
        if self.by_number is None:
            return False
        return all(any(region.there_at(view.time_s) for view in self.overview) for region in regions)

    def _fits_one_stretch(self) -> bool:
        """Frames of one look, spread evenly over all of the evidence, can meet each part of it."""
        if self.by_time is None:
            return False
        start, end = _stretch(self.regions)
        shortest = min(to - begin for begin, to in map(self._span, self.regions))
        return len(self.regions) == 1 or (end - start) / MOST <= max(shortest, 1e-9)

    def _is_a_place(self, region: Region) -> bool:
        return region.box.area <= LARGEST_PLACE * self.workspace.whole(self.media).area

    def _span(self, region: Region) -> Span:
        return region.span_s or self.workspace.media[self.media].span_s or (0.0, 0.0)

    # ------------------------------------------------------------------ the kinds

    def run(self, kind: Kind) -> list[Look]:
        """Run a kind's looks on a fresh episode; Unfit when they can't be made."""
        self.episode.restart()
        kinds: dict[Kind, Callable[[], Iterator[Look]]] = {
            "direct": lambda: iter(()),
            "single": lambda: iter([self._right("look", self.regions)]),
            "reselect": self._reselect,
            "frames_then_zoom": self._frames_then_zoom,
            "compare": self._compare,
        }
        if kind not in kinds:
            raise Unfit
        return list(kinds[kind]())

    def _reselect(self) -> Iterator[Look]:
        yield self._wrong()
        yield self._right("recover", self.regions)

    def _frames_then_zoom(self) -> Iterator[Look]:
        frames = self._frames("look", self.regions, lambda views: True)
        yield frames
        for region in self.regions:
            yield self._zoomed(region, frames.observation.views)

    def _compare(self) -> Iterator[Look]:
        if len(self.regions) > self.episode.limits.operations:
            raise Unfit
        for region in self.regions:
            yield self._right("look", (region,))

    # ------------------------------------------------------------------ the looks

    def _right(self, role: Role, regions: tuple[Region, ...]) -> Look:
        """A look that shows a moment of each of these regions, large enough to read."""

        def right(views: Sequence[View]) -> bool:
            shown = [[view for view in views if region.there_at(view.time_s)] for region in regions]
            return all(
                any(self._legible(region, view) is not False for view in there)
                for region, there in zip(regions, shown, strict=True)
            )

        return self._frames(role, regions, right)

    def _frames(self, role: Role, regions: tuple[Region, ...], right: Callable[[Sequence[View]], bool]) -> Look:
        """Frames of each of these regions, by number where the overview has them, else by time."""
        label = " and ".join(dict.fromkeys(region.label for region in regions if region.label))
        for call, views in self._numbers(regions) if self._in_overview(regions) else self._stretches(regions):
            if right(views) and all(any(region.there_at(view.time_s) for view in views) for region in regions):
                return self._ran(role, call, label)
        raise Unfit

    def _numbers(self, regions: tuple[Region, ...]) -> Iterator[Selection]:
        """Select the overview's frames that show the evidence: one of each region first, then more of them."""
        assert self.by_number is not None
        there = [[view for view in self.overview if region.there_at(view.time_s)] for region in regions]
        chosen = {views[len(views) // 2].number for views in there}
        rest = sorted({view.number for views in there for view in views} - chosen)
        room = max(0, MOST - len(chosen))
        if len(rest) > room:
            rest = [rest[int((place + 0.5) * len(rest) / room)] for place in range(room)]
        if len(chosen) <= MOST:
            views = [view for view in self.overview if view.number in chosen | set(rest)]
            frames = [view.moment for view in views if view.moment]
            yield self._select([view.number for view in views]), self._as_large(frames, self.by_number)

    def _stretches(self, regions: tuple[Region, ...]) -> Iterator[Selection]:
        """Look at the time of the evidence and a little around it, more closely with each attempt."""
        if self.by_time is None:
            raise Unfit
        first, last = self._span(Region(box=self.workspace.whole(self.media), media=self.media))
        start, end = _stretch([region.model_copy(update={"span_s": self._span(region)}) for region in regions])
        for attempt in range(ATTEMPTS):
            wider = WIDER * (1 - attempt / ATTEMPTS) * max(end - start, 0.5)
            begin = max(first, start - self.rng.uniform(0, wider))
            to = min(last, end + self.rng.uniform(0, wider))
            begin, to, count = round(begin, 2), round(to, 2), self.rng.randint(3, MOST)
            try:
                _, frames = self.by_time.frames(self.workspace, begin, to, count)
            except OperationError:
                continue
            call = Call(name=short_name(self.by_time), arguments={"start_s": begin, "end_s": to, "count": count})
            yield call, self._as_large(frames, self.by_time)

    def _as_large(self, frames: Sequence[Frame], operation: SelectFrames | SelectMoments) -> list[View]:
        """The views that the operation would give of these frames, without their pixels."""
        whole = self.workspace.whole(self.media)
        width, height = self.workspace.size(whole, operation.min_pixels, operation.max_pixels)
        shown = {"number": 1, "width": width, "height": height, "sha256": "", "media": self.media, "box": whole}
        return [View(**shown, frame=frame.number, time_s=frame.time_s) for frame in frames]

    def _wrong(self) -> Look:
        """A look at frames that are near each other and show none of the evidence."""
        spans = [self._span(region) for region in self._telling()]
        apart = [
            view
            for view in self.overview
            if view.time_s is not None
            and not any(start - GUARD_S <= view.time_s <= end + GUARD_S for start, end in spans)
        ]
        if not apart or self.by_number is None:
            raise Unfit
        first = self.rng.randrange(len(apart))
        chosen = apart[first : first + self.rng.randint(2, 5)]
        times = [view.time_s for view in chosen]
        there = [other for other in self.others if other.span_s and any(map(other.there_at, times))]
        label = self.rng.choice(there).label if there else ""
        return self._ran("mistake", self._select([view.number for view in chosen]), label)

    def _zoomed(self, region: Region, frames: Sequence[View]) -> Look:
        """A look at a region's place in one of the frames at which it is there."""

        def right(view: View) -> bool:
            return view.box.contains(region.box) and self._legible(region, view) is not False

        there = [view.number for view in frames if region.there_at(view.time_s)]
        for attempt in range(ATTEMPTS):
            tightness = 1.0 if attempt < ATTEMPTS // 2 else 2 * (1 - attempt / ATTEMPTS)
            box: Box = self._around(region.box, tightness)
            look = self._attempt("look", box, self.rng.choice(there), region.label, right)
            if look:
                return look
        raise Unfit

    def _select(self, numbers: list[int]) -> Call:
        assert self.by_number is not None
        return Call(name=short_name(self.by_number), arguments={"target_frames": numbers})


def _stretch(regions: Sequence[Region]) -> Span:
    """From the first moment of these regions to the last."""
    spans = [region.span_s for region in regions if region.span_s]
    if not spans:
        raise Unfit
    return min(start for start, _ in spans), max(end for _, end in spans)
