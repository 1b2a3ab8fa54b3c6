"""Photos: a folder of plain pictures without questions, or scenes drawn here; the teacher makes the questions.

Without a `path` it draws scenes that can be drawn again from a number (`dataforge.scenes`), where it is known what can
be asked; those are the only ones that a teacher without eyes can ask about.
"""

import io
import itertools
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from pydantic import Field

from dataforge import reading
from dataforge.errors import ExampleError, UsageError
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.records import Example, Failure, Known, Region, Scene

if TYPE_CHECKING:
    from dataforge.scenes import Drawn, Placed

PICTURES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"))
JPEG_QUALITY = 92


class Photos(Source):
    """Pictures in a folder (`path`) and below, the questions made by the teacher; without it, scenes drawn here."""

    path: Path | None = Field(default=None, description="folder of pictures")
    split: str = "train"
    seed: int = Field(default=0, description="of the scenes drawn")
    start: int = Field(default=0, ge=0, description="first picture read, by name")
    count: int | None = Field(default=None, ge=1, description="pictures read; default: all, endless when drawn")
    licence_: str = Field(default="unknown", alias="licence", description="of the pictures in the folder")
    redistributable_: bool = Field(default=False, alias="redistributable", description="they may be published")

    @property
    def licence(self) -> str:
        return self.licence_ if self.path else "Apache-2.0"

    @property
    def redistributable(self) -> bool:
        return self.redistributable_ or not self.path

    @property
    def endless(self) -> bool:
        return self.path is None and self.count is None

    @property
    def poses(self) -> bool:
        return True

    def read(self) -> Iterator[Row | Failure]:
        """A row for each picture in the order of the names; UsageError where there is none."""
        stop = None if self.count is None else self.start + self.count
        if self.path is None:
            for number in itertools.islice(itertools.count(self.start), self.count):
                name = f"scene-{self.split}-{self.seed}-{number:06d}"
                yield Row(name, name, None)
            return
        for file in itertools.islice(pictures_in(self.path), self.start, stop):
            name = file.relative_to(self.path).as_posix()
            yield Row(f"photos-{name}", f"photos/{name}", name)

    def example(self, row: Row, store: MediaStore) -> Example | Scene:
        if self.path is None:
            return self._drawn(row, store)
        media = store.add_file(self.path / row.content, self.licence, row.group)
        return Scene(id=row.id, group=row.group, source=self.name, split=self.split, media=(media,))

    def _drawn(self, row: Row, store: MediaStore) -> Scene:
        """One of the drawn things is asked about; the others are places that are only looked at."""
        drawn, jpeg = _scene(reading.seed_of(row.group))
        if not drawn.things:
            raise ExampleError("read", "no_place", f"{row.group} has nothing to ask about")
        rng = Random(f"asked {row.group}")
        things = rng.sample(drawn.things, len(drawn.things))
        known = tuple(_known(index, one, rng) for index, one in enumerate(things))
        return Scene(
            id=row.id,
            group=row.group,
            source=self.name,
            split=self.split,
            media=(store.add_bytes(jpeg, ".jpg", self.licence, row.group),),
            places=tuple(_region(one, about) for one, about in zip(things, known, strict=True)),
            known=known,
        )


def pictures_in(folder: Path) -> Iterator[Path]:
    """The picture files of a folder and those below it, by name; UsageError where there are none.

    What lies in a run's folder is left out: a run that writes below the pictures must not read its own copies.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder of pictures")
    runs = {path.parent for path in folder.rglob("manifest.json") if (path.parent / "media").is_dir()}
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURES and path.is_file() and runs.isdisjoint(path.parents)
    )
    if not found:
        raise UsageError(f"no picture in {folder}: looked for {', '.join(sorted(PICTURES))}")
    yield from found


@lru_cache(maxsize=1)
def _scene(seed: int) -> tuple["Drawn", bytes]:
    from dataforge import scenes

    drawn = scenes.draw(seed)
    buffer = io.BytesIO()
    drawn.image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return drawn, buffer.getvalue()


def _known(index: int, one: "Placed", rng: Random) -> Known:
    fact = rng.choice(one.thing.facts)
    detail_px = fact.detail * one.unit_px
    return Known(place=index, question=fact.question, choices=fact.choices, subject=fact.subject, detail_px=detail_px)


def _region(one: "Placed", about: Known) -> Region:
    return Region(box=one.box, label=one.thing.name, text_px=about.detail_px)
