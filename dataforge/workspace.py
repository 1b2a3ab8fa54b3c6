"""Numbered views onto media: what the student has been shown so far.

A view knows which box of which source picture it shows, so a box on a view of a view composes back to source pixels
by multiplication, and every cut is made from the source in full resolution: nothing is blurred twice. A view of a video
also knows the presentation time of the frame that it shows.
"""

import copy
from collections.abc import Sequence

from PIL import Image

from dataforge.errors import OperationError
from dataforge.geometry import Box
from dataforge.media import MediaStore, fingerprint, fit
from dataforge.records import Frame, Limits, Media, Student, View


class Workspace:
    """The media of one example and the views cut from them, numbered from 1."""

    def __init__(self, store: MediaStore, media: Sequence[Media], student: Student, limits: Limits) -> None:
        self.media = tuple(media)
        self.student = student
        self.limits = limits
        self.views: list[View] = []
        self._store = store
        self._pictures: list[Image.Image] = []

    def fork(self) -> "Workspace":
        """Another workspace with the same views, that goes on by itself."""
        other = copy.copy(self)
        other.views, other._pictures = list(self.views), list(self._pictures)
        return other

    def view(self, number: int) -> View:
        """View by number, from 1; an unknown one is the model's mistake."""
        if not 1 <= number <= len(self.views):
            shown = "image 1 has" if len(self.views) == 1 else f"images 1 to {len(self.views)} have"
            raise OperationError("unknown_image", f"There is no image {number}: only {shown} been shown.")
        return self.views[number - 1]

    def picture(self, number: int) -> Image.Image:
        return self._pictures[number - 1]

    def whole(self, media: int) -> Box:
        """All of a media item, in its source pixels."""
        return Box(0, 0, self.media[media].width, self.media[media].height)

    def to_source(self, number: int, box: Box) -> Box:
        """A box on a view in source pixels."""
        view = self.view(number)
        return box.mapped(Box(0, 0, view.width, view.height), view.box)

    def to_view(self, number: int, box: Box) -> Box:
        """A box in source pixels on a view."""
        view = self.view(number)
        return box.mapped(view.box, Box(0, 0, view.width, view.height))

    def size(self, box: Box, min_pixels: int | None = None, max_pixels: int | None = None) -> tuple[int, int]:
        """The size in which a source box is shown, within the student's pixel bounds or tighter ones."""
        student = self.student
        most = min(student.max_pixels, max_pixels or student.max_pixels)
        least = min(max(student.min_pixels, min_pixels or 0), most)
        return fit(box.width, box.height, student.patch, least, most)

    def first_look(self, media: int) -> None:
        """Show a media item as a whole: a picture in full, a video as its overview; OperationError beyond limits."""
        item = self.media[media]
        if item.kind == "image":
            self.show(media, self.whole(media))
            return
        frames = self._store.overview(item, self.student.video)
        self.show_frames(media, frames, max_pixels=self.student.video.max_pixels)

    def moments(self, media: int, times_s: Sequence[float]) -> list[Frame]:
        """The frames of a video that are on screen at these times, each once, in order of time; nothing is shown."""
        return self._store.frames_at(self.media[media], times_s)

    def fetch(self, media: int, frames: Sequence[Frame]) -> None:
        """Have frames decoded together, before they are shown one by one."""
        self._store.fetch(self.media[media], frames)

    def show_frames(
        self,
        media: int,
        frames: Sequence[Frame],
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ) -> list[View]:
        """Show whole frames of a video as the next views."""
        self.fetch(media, frames)
        return [self.show(media, self.whole(media), min_pixels, max_pixels, frame) for frame in frames]

    def show(
        self,
        media: int,
        box: Box,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        frame: Frame | None = None,
    ) -> View:
        """Cut a box of whole source pixels as the next view; refused when it would pass the episode's limits."""
        size = self.size(box, min_pixels, max_pixels)
        self._refuse_beyond_limits(size)
        picture = self._store.cut(self.media[media], box, size, frame.time_s if frame else None)
        view = View(
            number=len(self.views) + 1,
            width=size[0],
            height=size[1],
            sha256=fingerprint(picture),
            media=media,
            frame=frame.number if frame else None,
            time_s=frame.time_s if frame else None,
            box=box,
        )
        self.views.append(view)
        self._pictures.append(picture)
        return view

    def _refuse_beyond_limits(self, size: tuple[int, int]) -> None:
        if len(self.views) >= self.limits.images:
            raise OperationError(
                "too_many_images",
                f"No further image can be shown: {self.limits.images} is the limit. Answer now.",
            )
        cost, used = self.tokens(size), sum(self.tokens((view.width, view.height)) for view in self.views)
        if used + cost > self.limits.image_tokens:
            raise OperationError(
                "image_budget",
                f"This image would cost {cost} tokens and {self.limits.image_tokens - used} are left. "
                "Choose a smaller part, or answer now.",
            )

    def tokens(self, size: tuple[int, int]) -> int:
        """What a view of that size costs the student: one token a patch."""
        return (size[0] // self.student.patch) * (size[1] // self.student.patch)

    def drop_after(self, count: int) -> None:
        """Forget the views after the first `count`: an operation that failed half way leaves nothing behind."""
        del self.views[count:]
        del self._pictures[count:]
