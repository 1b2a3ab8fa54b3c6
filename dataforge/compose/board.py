"""Kinds of looks at pictures."""

import math
from collections.abc import Callable, Iterator
from functools import reduce

from PIL import Image, ImageFilter

from dataforge.compose.looks import ATTEMPTS, Ground, Look, Unfit
from dataforge.geometry import Box
from dataforge.records import Kind, Region, Role, View

LARGEST_LOOK = 0.7
"""Of the picture: a too-large look is still a look."""


class Board(Ground):
    """One example's picture with its evidence, on which looks are laid."""

    # ------------------------------------------------------------------ which kinds can be made

    def eligible(self) -> set[Kind]:
        """The kinds whose conditions hold before anything has run."""
        if all(self._legible(region, self.episode.opening[region.media]) is True for region in self.regions):
            return {"direct"}
        if self.zoom is None:
            return set()
        if len(self.regions) > 1 and not self._fits_one_look():
            return {"compare"}
        return {"single", "recrop_once", "recrop_twice", "zoom_further"}

    def _fits_one_look(self) -> bool:
        if len({region.media for region in self.regions}) > 1:
            return False
        together, picture = self._together(), self.workspace.whole(self.regions[0].media)
        air = self.settings.margin[0] * math.sqrt(together.area)
        look = together.grow(air, air)
        return look.area < LARGEST_LOOK / 2 * picture.area and all(
            self._legible(region, self._as_shown(region.media, look)) is not False for region in self.regions
        )

    def _together(self) -> Box:
        return reduce(Box.union, (region.box for region in self.regions))

    # ------------------------------------------------------------------ the kinds

    def run(self, kind: Kind) -> list[Look]:
        """Run a kind's looks on a fresh episode; Unfit when they can't be made."""
        self.episode.restart()
        kinds: dict[Kind, Callable[[], Iterator[Look]]] = {
            "direct": lambda: iter(()),
            "single": self._single,
            "recrop_once": lambda: self._recrop(1),
            "recrop_twice": lambda: self._recrop(2),
            "zoom_further": self._zoom_further,
            "compare": self._compare,
        }
        return list(kinds[kind]())

    def _single(self) -> Iterator[Look]:
        yield self._right("look", self.regions, 1)

    def _recrop(self, mistakes: int) -> Iterator[Look]:
        seen: list[Box] = []
        for _ in range(mistakes):
            look = self._wrong(seen)
            seen.append(look.observation.views[0].box)
            yield look
        yield self._right("recover", self.regions, 1)

    def _zoom_further(self) -> Iterator[Look]:
        large = self._too_large()
        shown = large.observation.views[0]
        yield large
        yield self._right("recover", self.regions, shown.number, shown.box.area / self.settings.too_large)

    def _compare(self) -> Iterator[Look]:
        for region in self.regions:
            yield self._right("look", (region,), region.media + 1)

    # ------------------------------------------------------------------ the looks

    def _right(self, role: Role, regions: tuple[Region, ...], target: int, most: float = math.inf) -> Look:
        """A look that shows these regions whole and legible, in an area of at most `most` source pixels."""
        evidence = reduce(Box.union, (region.box for region in regions))

        def right(view: View) -> bool:
            return view.box.area <= most and all(
                view.box.contains(region.box) and self._legible(region, view) is not False for region in regions
            )

        label = " and ".join(region.label for region in regions if region.label)
        for attempt in range(ATTEMPTS):
            tightness = 1.0 if attempt < ATTEMPTS // 2 else 2 * (1 - attempt / ATTEMPTS)
            look = self._attempt(role, self._around(evidence, tightness), target, label, right)
            if look:
                return look
        raise Unfit

    def _wrong(self, seen: list[Box]) -> Look:
        """A look at a plausible place that shows none of the evidence."""

        def wrong(view: View) -> bool:
            hidden = not any(view.box.overlaps(place.box) for place in self._telling())
            return hidden and not any(view.box.coverage(box) > 0.5 or box.coverage(view.box) > 0.5 for box in seen)

        places = self._places()
        for region in places[:ATTEMPTS]:
            look = self._attempt("mistake", self._around(region.box), region.media + 1, region.label, wrong)
            if look:
                return look
        raise Unfit

    def _too_large(self) -> Look:
        """A look that holds the evidence and far too much besides."""
        media, evidence = self.regions[0].media, self._together()
        picture = self.workspace.whole(media)
        least = self._around(evidence).area * self.settings.too_large

        def too_large(view: View) -> bool:
            legible = [self._legible(region, view) for region in self.regions]
            return (
                view.box.contains(evidence)
                and least <= view.box.area <= LARGEST_LOOK * picture.area
                and not all(answer is True for answer in legible)
            )

        label = " and ".join(region.label for region in self.regions if region.label)
        for _ in range(ATTEMPTS):
            area = least * max(LARGEST_LOOK * picture.area / least, 1.05) ** self.rng.uniform(0.05, 0.95)
            aspect = (picture.width / picture.height) ** self.rng.uniform(0, 1)
            width = min(max(math.sqrt(area * aspect), evidence.width * 1.2), picture.width)
            height = min(max(area / width, evidence.height * 1.2), picture.height)
            box = self._somewhere_over(evidence, width, height, picture)
            look = self._attempt("mistake", box, media + 1, label, too_large, too_large=True)
            if look:
                return look
        raise Unfit

    def _somewhere_over(self, evidence: Box, width: float, height: float, picture: Box) -> Box:
        """A box of that size inside the picture that holds the evidence at a random place."""
        left = self.rng.uniform(max(picture.x1, evidence.x2 - width), min(evidence.x1, picture.x2 - width))
        top = self.rng.uniform(max(picture.y1, evidence.y2 - height), min(evidence.y1, picture.y2 - height))
        return Box(left, top, left + width, top + height)

    # ------------------------------------------------------------------ plausible wrong places

    def _places(self) -> list[Region]:
        """Other places that could hold an answer, in random order, those of the evidence's own size first."""
        evidence = self._together()
        places = [other for other in self.others if not other.box.overlaps(evidence)] or self._busy_places()
        self.rng.shuffle(places)
        return sorted(places, key=lambda other: abs(math.log(other.box.area / evidence.area)) > math.log(8))

    def _busy_places(self) -> list[Region]:
        """Where nothing is annotated: squares of the picture in which most is drawn, by edge density."""
        media, evidence = self.regions[0].media, self._together()
        whole = self.workspace.whole(media)
        edges = self.workspace.picture(media + 1).convert("L").filter(ImageFilter.FIND_EDGES)
        across, down = (max(4, min(24, round(side / 80))) for side in edges.size)
        cells = edges.resize((across, down), Image.Resampling.BOX)
        ink = cells.tobytes()
        busy = sorted(range(across * down), key=lambda cell: -ink[cell])
        side_x = max(evidence.width, whole.width / across) / 2
        side_y = max(evidence.height, whole.height / down) / 2
        places = []
        for cell in busy[: max(8, across * down // 3)]:
            x, y = (cell % across + 0.5) * whole.width / across, (cell // across + 0.5) * whole.height / down
            box = Box(x - side_x, y - side_y, x + side_x, y + side_y).clamp(whole)
            if not box.overlaps(evidence):
                places.append(Region(box=box, media=media))
        return places
