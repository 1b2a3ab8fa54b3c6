"""Photos with tiny targets in the file layout of V*Bench: `<name>.jpg` beside `<name>.json`.

The JSON holds `target_object` (a list of names), `bbox` (of each, left, top, width, height in pixels), `question` and
`options`, the right one first. The layout serves training sets of that kind; V*Bench itself is for evaluation: a set
that is trained on keeps clear of it with the check `contaminated`. Options are laid in an order drawn by the seed.
"""

import hashlib
import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from pydantic import Field

from dataforge import reading
from dataforge.errors import ExampleError, UsageError
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.reading import boxes
from dataforge.records import Example, Failure, Region

XYWH = boxes.Convention("xywh", "pixels")
PICTURES = (".jpg", ".jpeg", ".png", ".JPG")


class VstarTrain(Source):
    """Questions on tiny targets, with their boxes, from a folder in V*Bench's layout."""

    path: Path = Field(description="folder of pictures with a JSON file beside each, or of folders of such")
    split: str = "train"
    seed: int = Field(default=0, description="of the order of the options")
    start: int = Field(default=0, ge=0, description="first file read, by name")
    count: int | None = Field(default=None, ge=1, description="files read; default: to the end")
    licence_: str = Field(default="unknown", alias="licence", description="of the pictures")
    redistributable_: bool = Field(default=False, alias="redistributable", description="the pictures may be published")

    @property
    def licence(self) -> str:
        return self.licence_

    @property
    def redistributable(self) -> bool:
        return self.redistributable_

    def read(self) -> Iterator[Row | Failure]:
        """A row for each JSON file, by name; UsageError where there is none."""
        if not self.path.is_dir():
            raise UsageError(f"vstar_train path: {self.path} is not a folder")
        files = sorted(self.path.rglob("*.json"))
        if not files:
            raise UsageError(f"no JSON file in {self.path}")
        stop = None if self.count is None else self.start + self.count
        for file in itertools.islice(files, self.start, stop):
            name = file.relative_to(self.path).with_suffix("").as_posix()
            yield from reading.rows(name, iter([_loaded(file)]), partial(_row, name))

    def example(self, row: Row, store: MediaStore) -> Example:
        found = row.content
        place = self.path / found["name"]
        paths = [place.with_name(place.name + ending) for ending in PICTURES]
        media = store.add_file(next((path for path in paths if path.is_file()), paths[0]), self.licence, row.group)
        options, right = list(found["options"]), found["options"][0]
        Random(hashlib.sha256(f"{self.seed}/{row.id}".encode()).digest()).shuffle(options)
        labels = [*found["targets"], *[""] * len(found["boxes"])]
        evidence = [boxes.placed(box, XYWH, media.width, media.height) for box in found["boxes"]]
        return Example(
            id=row.id,
            group=row.group,
            source=self.name,
            split=self.split,
            question=found["question"],
            answers=(chr(ord("A") + options.index(right)),),
            answer_type="choice",
            choices=tuple(options),
            media=(media,),
            evidence=tuple(Region(box=box, label=label) for box, label in zip(evidence, labels, strict=False)),
        )


def _row(name: str, number: int, entry: dict[str, Any]) -> Row:
    options = reading.texts(entry.get("options"), "options")
    if len(options) < 2 or len(set(options)) < len(options):
        raise ExampleError("read", "bad_row", f"{name}: options must be two or more different ones")
    content = {
        "question": reading.text(entry, "question"),
        "options": options,
        "targets": reading.texts(entry.get("target_object"), "target_object"),
        "boxes": boxes.listed(entry.get("bbox")),
        "name": name,
    }
    return Row(f"vstar-{name}", f"vstar/{name}", content)


def _loaded(file: Path) -> reading.Entry:
    try:
        content = reading.load_json(file)
    except UsageError as error:
        return ExampleError("read", "bad_json", str(error))
    return content if isinstance(content, dict) else ExampleError("read", "bad_row", f"{file.name} is no object")
