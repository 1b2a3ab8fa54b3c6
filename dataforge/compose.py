"""From evidence to looks: which places are looked at, in which order, with which deliberate mistakes.

A plan speaks in source pixels and every look is really run, one after the other, before a teacher writes a word.
Whether a look shows the evidence, misses it, or is too large is measured on the box that was really cut, after the
student's rounding and the operation's padding; a look that fails its test is thrown away and drawn again.

Kinds and their default shares are Pixel Reasoner's (Table 2): `single`; `recrop_once` and `recrop_twice` look at wrong
places first; `zoom_further` first cuts far too much. Beyond the paper: `compare` looks at two places in turn, `direct`
answers from the whole view. A look is only planned where it is needed: where the glyph height is known, evidence that
can be read in the whole view is for `direct` alone.
"""

import hashlib
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from PIL import Image, ImageFilter

from dataforge.chat import quantise
from dataforge.episode import Episode, short_name
from dataforge.errors import ExampleError, OperationError
from dataforge.geometry import Box
from dataforge.manifest import Compose
from dataforge.operations.zoom_in import ZoomIn
from dataforge.records import Call, Example, Kind, Observation, Region, Role, View

ATTEMPTS = 24
"""Draws of one look before its kind is given up for this example."""
LARGEST_LOOK = 0.7
"""Of the picture: a too-large look is still a look."""


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


class Unfit(Exception):
    """This kind can't be made of this example."""


def compose(
    example: Example,
    regions: tuple[Region, ...],
    episode: Episode,
    settings: Compose,
    mix: Mapping[Kind, float],
    seed: int,
    direct: bool = False,
    unfit: Sequence[Kind] = (),
) -> Draft:
    """Draw a kind by the mix and run its looks; ExampleError("compose", "no_kind_fits") when none can be made.

    `direct` may be drawn where the evidence can't be read in the whole view, too, for a model to try; `unfit` are kinds
    that have been tried. The draw is seeded by `seed` and the example's id, so it doesn't depend on what else is in the
    run.
    """
    rng = random.Random(hashlib.sha256(f"{seed}/{example.id}".encode()).digest())
    board = Board(example, regions, episode, settings, rng)
    fitting = (board.eligible() | ({"direct"} if direct else set())) - set(unfit)
    eligible = {kind: share for kind, share in mix.items() if share > 0 and kind in fitting}
    unfit = list(unfit)
    while eligible:
        kind = rng.choices(list(eligible), weights=list(eligible.values()))[0]
        try:
            looks = board.run(kind)
        except Unfit:
            unfit.append(kind)
            del eligible[kind]
            continue
        bare = example.model_copy(update={"evidence": (), "context": ()})
        return Draft(bare, regions, kind, tuple(unfit), episode.opening, tuple(looks))
    tried = f"tried {', '.join(unfit)}" if unfit else f"the mix has only {', '.join(mix)}"
    raise ExampleError("compose", "no_kind_fits", tried)


class Board:
    """One example's picture with its evidence, on which looks are laid."""

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
            hidden = not any(view.box.overlaps(box) for box in self._telling())
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
        if not test(self._as_shown(view.media, cut)):
            return None
        call = Call(name=short_name(self.zoom), arguments={"bbox_2d": list(asked), "target_image": target})
        observation = self.episode.act(call)
        if observation.error:
            raise Unfit
        return Look(role, call, observation, label, too_large)

    # ------------------------------------------------------------------ plausible wrong places

    def _telling(self) -> list[Box]:
        """Places that a wrong look must not show: the evidence, and every place where the answer stands in print."""
        prints = [
            other.box for other in self.others if any(answer in other.label.casefold() for answer in self._answers)
        ]
        return [region.box for region in self.regions] + prints

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
