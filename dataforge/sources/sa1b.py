"""SA-1B: photos with masks and without questions (`sa_1.jpg` and `sa_1.json` side by side); the teacher asks.

Pixel Reasoner has the teacher pick a place by itself. The masks do better: a place worth a question is small, a thing
of its own, and like no other place in the picture, and all three can be measured (`places`). Where no mask is such a
place, the teacher looks for one, as in the paper. Boxes are left, top, width, height in pixels.
"""

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageChops, ImageStat
from pydantic import Field

from dataforge.errors import ExampleError, UsageError
from dataforge.geometry import Box
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.reading.boxes import Convention, placed
from dataforge.reading.rle import decoded
from dataforge.records import Example, Failure, Region, Scene

XYWH = Convention("xywh", "pixels")
MOST_MASKS = 400
"""Of a picture that are decoded, the surest first."""
OTHER_PLACES = 60
SIDE = 16
"""Of the thumbnails by which places are compared."""


class Look(NamedTuple):
    """A mask's place and how it looks: a thumbnail, and the mask on it."""

    region: Region
    area: float
    thumbnail: Image.Image
    mask: Image.Image


class Sa1b(Source):
    """A folder of SA-1B: pictures with masks, from which the teacher's places are chosen; it makes the questions."""

    path: Path = Field(description="folder of sa_*.jpg with sa_*.json beside them, or folders of such")
    split: str = "train"
    start: int = Field(default=0, ge=0, description="first picture read, by name")
    count: int | None = Field(default=None, ge=1, description="pictures read; default: to the end")
    least_area: float = Field(default=0.0002, gt=0, description="of a place, in pictures")
    most_area: float = Field(default=0.02, gt=0, le=1, description="of a place, in pictures")
    least_px: int = Field(default=24, ge=8, description="shorter side of a place, in source pixels")
    unlike: float = Field(default=0.1, ge=0, le=1, description="least difference of colours to every other mask")

    @property
    def licence(self) -> str:
        return "SA-1B Dataset Research License: research use, pictures not to be passed on"

    @property
    def poses(self) -> bool:
        return True

    def read(self) -> Iterator[Row | Failure]:
        """A row for each annotation file, by name; UsageError where there is none."""
        if not self.path.is_dir():
            raise UsageError(f"sa1b path: {self.path} is not a folder")
        found = sorted(self.path.rglob("sa_*.json"))
        if not found:
            raise UsageError(f"no sa_*.json in {self.path}")
        stop = None if self.count is None else self.start + self.count
        for file in itertools.islice(found, self.start, stop):
            name = file.relative_to(self.path).with_suffix("").as_posix()
            yield Row(f"sa1b-{name}", f"sa1b/{name}", name)

    def example(self, row: Row, store: MediaStore) -> Example | Scene:
        file = self.path / f"{row.content}.json"
        masks = annotations(file)
        media = store.add_file(file.with_suffix(".jpg"), self.licence, f"SA-1B/{row.content}.jpg")
        places, context = self.places(masks, store.open(media))
        return Scene(
            id=row.id,
            group=row.group,
            source=self.name,
            split=self.split,
            media=(media,),
            places=tuple(places),
            context=tuple(context),
        )

    def places(self, masks: Sequence[dict[str, Any]], image: Image.Image) -> tuple[list[Region], list[Region]]:
        """The places worth a question, those most unlike all others first; and other places.

        A mask that can't be decoded, or whose box is elsewhere, is left out: it is a help, not the picture's evidence.
        """
        looks = [look for one in masks[:MOST_MASKS] if (look := _look(one, image)) is not None]
        whole = image.width * image.height
        worth = []
        for look in looks:
            box = look.region.box
            fits = self.least_area * whole <= look.area <= self.most_area * whole
            if fits and min(box.width, box.height) >= self.least_px and look.area >= 0.3 * box.area:
                unlike = min((difference(look, other) for other in looks if other is not look), default=1.0)
                if unlike >= self.unlike:
                    worth.append((-unlike, look.region))
        chosen = [region for _, region in sorted(worth, key=lambda one: (one[0], one[1].box))]
        rest = [look.region for look in looks if look.region not in chosen]
        return chosen, sorted(rest, key=lambda region: region.box.area)[-OTHER_PLACES:]


def annotations(file: Path) -> list[dict[str, Any]]:
    """The masks of a file, the surest first; ExampleError("read", "bad_annotation") where it can't be read."""
    try:
        content = json.loads(file.read_bytes())
        listed = content["annotations"]
        found = [one for one in listed if isinstance(one, dict)]
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise ExampleError("read", "bad_annotation", f"{file.name}: {type(error).__name__}: {error}") from None
    return sorted(found, key=_sureness, reverse=True)


def _sureness(annotation: dict[str, Any]) -> float:
    value = annotation.get("predicted_iou")
    return float(value) if isinstance(value, (int, float)) else 0.0


def _look(annotation: dict[str, Any], image: Image.Image) -> Look | None:
    """How a mask looks in the picture; None for one that is broken, of another size, or not where its box is."""
    try:
        mask = decoded(annotation.get("segmentation"))
        numbers = [float(side) for side in annotation["bbox"]]
        stated = placed(numbers, XYWH, image.width, image.height)
    except (ExampleError, KeyError, TypeError, ValueError):
        return None
    box = mask.box
    if (mask.width, mask.height) != image.size or box is None or not _same(box, stated):
        return None
    corners = (int(box.x1), int(box.y1), int(box.x2), int(box.y2))
    thumbnail = image.crop(corners).resize((SIDE, SIDE), Image.Resampling.BOX)
    shape = mask.cut(box).resize((SIDE, SIDE), Image.Resampling.BOX).point(lambda inside: 255 * (inside > 127))
    return Look(Region(box=box), mask.area, thumbnail, shape)


def _same(box: Box, stated: Box) -> bool:
    """The boxes agree but for rounding: SA-1B's are one pixel short of the mask's, COCO's are not."""
    return all(abs(one - other) <= 2 for one, other in zip(box, stated, strict=True))


def difference(one: Look, other: Look) -> float:
    """How unlike two masks are, 0 (the same thing twice) to 1.

    The mean difference of their colours where both are; 1 for masks of clearly different size or proportions, and for
    those that lie over each other, as a thing and its parts do.
    """
    a, b = one.region.box, other.region.box
    if a.overlaps(b) or not 0.4 <= one.area / other.area <= 2.5:
        return 1.0
    if abs(math.log((a.width / a.height) / (b.width / b.height))) > math.log(1.8):
        return 1.0
    both = ImageChops.darker(one.mask, other.mask)
    if both.getbbox() is None:
        return 1.0
    apart = ImageChops.difference(one.thumbnail, other.thumbnail)
    return sum(ImageStat.Stat(apart, both).mean) / 3 / 255
