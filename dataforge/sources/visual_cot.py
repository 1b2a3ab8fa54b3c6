"""Visual-CoT: questions with the box that holds the answer, on the pictures of a dozen other data sets.

One JSONL file of `question, answer, image, width, height, bboxs, dataset, split`; boxes are left, top, right, bottom in
pixels of the stated size. The boxes were matched by machine and some are wrong: they are taken as the annotation they
are, and the checks that look at the pixels decide.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from dataforge import reading
from dataforge.errors import ExampleError
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.reading import boxes
from dataforge.records import Example, Failure, Region

PIXELS = boxes.Convention("xyxy", "pixels")


class VisualCot(Source):
    """Questions with evidence boxes from a Visual-CoT file (`*_cot_train.jsonl`)."""

    path: Path = Field(description="the JSONL file")
    images: Path | None = Field(default=None, description="folder of the pictures; default: `images` beside the file")
    start: int = Field(default=0, ge=0, description="first row read")
    count: int | None = Field(default=None, ge=1, description="rows read; default: to the end")

    @property
    def licence(self) -> str:
        return "of the data set that the picture is from; boxes Apache-2.0 (Visual-CoT)"

    def read(self) -> Iterator[Row | Failure]:
        return reading.rows(self.path.stem, reading.table(self.path), self._row, self.start, self.count)

    def _row(self, number: int, entry: dict[str, Any]) -> Row:
        name = reading.relative(reading.text(entry, "image"), "image")
        dataset = reading.text(entry, "dataset")
        content = {
            "question": reading.text(entry, "question"),
            "answers": reading.answers(entry.get("answer"), "answer"),
            "image": reading.pick(self._folders(dataset), name),
            "origin": f"Visual-CoT/{dataset}/{name}",
            "size": (_side(entry, "width"), _side(entry, "height")),
            "boxes": boxes.listed(entry.get("bboxs")),
            "split": reading.text(entry, "split"),
        }
        return Row(f"{self.path.stem}-{number}", f"{dataset}/{name}", content)

    def _folders(self, dataset: str) -> list[Path]:
        """Where a picture may lie: the pictures of one data set alone, or all of them unpacked as released."""
        folder = self.images or self.path.parent / "images"
        within = reading.relative(dataset, "dataset")
        return [folder, folder / within, folder / "cot" / within]

    def example(self, row: Row, store: MediaStore) -> Example:
        found = row.content
        media = store.add_file(found["image"], self.licence, found["origin"])
        if (media.width, media.height) != found["size"]:
            stated = "{}x{}".format(*found["size"])
            raise ExampleError("read", "size_mismatch", f"{stated} stated, {media.width}x{media.height} found")
        evidence = tuple(Region(box=boxes.placed(box, PIXELS, media.width, media.height)) for box in found["boxes"])
        return self.asked(row, media, split=found["split"], evidence=evidence)


def _side(entry: dict[str, Any], field: str) -> int:
    value = entry.get(field)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ExampleError("read", "bad_row", f"{field} is missing or no whole number")
    return value
