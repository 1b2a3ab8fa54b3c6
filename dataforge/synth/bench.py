"""What happens in a worker process: a row becomes a draft, with its pictures opened once and its operations run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataforge import plugins
from dataforge.ask.request import Picture
from dataforge.compose import Draft, compose
from dataforge.episode import Episode
from dataforge.geometry import Box
from dataforge.locate import Located, cannot, locate
from dataforge.manifest import Manifest
from dataforge.media import MediaStore, cut, fit
from dataforge.plugins import Operation, Row, Source
from dataforge.pose import refused
from dataforge.records import Example, Kind, Region, Scene, View
from dataforge.shown import around, cuts, encoded, evidence
from dataforge.synth.posing import Unposed


@dataclass(frozen=True)
class Ready:
    """A draft and its encoded views, in order (none for a teacher that doesn't look).

    `example` is there with a draft that a base model may fail to solve: another kind is then drawn of it.
    """

    draft: Draft
    pictures: tuple[Picture, ...]
    example: Example | None = None


@dataclass(frozen=True)
class Unlocated:
    """An example whose evidence has not been found yet, with its first views for a teacher to search."""

    example: Example
    located: Located
    views: tuple[View, ...]
    shown: tuple[Picture, ...]

    @property
    def is_image(self) -> bool:
        return self.example.media[0].kind == "image"


class Bench:
    """What a worker process needs to turn a row into a draft."""

    def __init__(self, manifest: Manifest, media: Path) -> None:
        self.manifest = manifest
        self.store = MediaStore(media, video_backend=manifest.video_backend, video_limit_s=manifest.video_limit_s)
        self.source: Source = plugins.build("source", manifest.source)
        self.operations: list[Operation] = [plugins.build("operation", spec) for spec in manifest.operations]
        self.sees = plugins.build("teacher", manifest.teacher).sees

    def prepare(self, row: Row) -> Ready | Unlocated | Unposed:
        found = self.source.example(row, self.store)
        return self._unposed(found) if isinstance(found, Scene) else self._prepared(found)

    def _unposed(self, scene: Scene) -> Unposed:
        """A scene with what a teacher sees of it before it chooses a place."""
        student, media = self.manifest.student, scene.media[0]
        if not self.sees and not scene.known:
            raise refused("cannot_see", "a question can only be posed by a teacher with eyes: name one with --teacher")
        width, height = fit(media.width, media.height, student.patch, student.min_pixels, student.max_pixels)
        whole, parts = None, {}
        if self.sees:
            picture = Box(0, 0, media.width, media.height)
            whole = encoded(cut(self.store.open(media), picture, (width, height)))
            offered = scene.places[: self.manifest.pose.places]
            parts = {index: self.part(scene, place) for index, place in enumerate(offered)}
        return Unposed(scene, whole, parts, min(width / media.width, height / media.height))

    def _prepared(self, example: Example) -> Ready | Unlocated:
        order = self.manifest.locate.order
        before = order[: order.index("teacher")] if "teacher" in order else order
        located = locate(example, self.store, self.manifest.locate, before)
        if located.regions:
            return self.draft(example, located.regions)
        if "teacher" not in order or not self.sees:
            raise cannot(located)
        episode = self._episode(example)
        views = [view for view in episode.opening if view.media == 0]
        return Unlocated(example, located, tuple(views), tuple(self._encoded(episode, view.number) for view in views))

    def locate_after_teacher(self, example: Example) -> Ready:
        order = self.manifest.locate.order
        located = locate(example, self.store, self.manifest.locate, order[order.index("teacher") + 1 :])
        if not located.regions:
            raise cannot(located)
        return self.draft(example, located.regions)

    def draft(self, example: Example, regions: tuple[Region, ...], unfit: tuple[Kind, ...] = ()) -> Ready:
        manifest, episode = self.manifest, self._episode(example)
        solvable = manifest.direct is not None
        draft = compose(
            example, regions, episode, manifest.compose, manifest.mix, manifest.seed, direct=solvable, unfit=unfit
        )
        tried = solvable and draft.kind == "direct"
        numbers = range(1, len(episode.workspace.views) + 1) if self.sees or tried else ()
        return Ready(draft, tuple(self._encoded(episode, number) for number in numbers), example if tried else None)

    def part(self, scene: Scene, region: Region) -> Picture:
        """A place of a scene with some air, enlarged."""
        media, box, size, _ = around(region, scene, self.manifest.student)
        return encoded(cut(self.store.open(scene.media[media]), box, size))

    def parts(self, example: Example, region: Region) -> tuple[Picture, ...]:
        """A region with some air, alone, as a teacher must be able to answer from it; of a video, frames of it."""
        parts = evidence(region, example, self.manifest.student, self.store)
        return tuple(encoded(image) for image in cuts(example, parts, self.store))

    def _episode(self, example: Example) -> Episode:
        return Episode(example, self.store, self.operations, self.manifest.student, self.manifest.limits)

    def _encoded(self, episode: Episode, number: int) -> Picture:
        return encoded(episode.workspace.picture(number))


_bench: Bench


def set_up_bench(manifest: dict[str, Any], media: Path) -> None:
    global _bench
    _bench = Bench(Manifest(**manifest), media)


def at_bench(job: str, *arguments: Any) -> Any:
    """Run a method of this worker's bench."""
    return getattr(_bench, job)(*arguments)
