"""Any table of questions: JSONL, JSON, CSV, TSV, parquet or a Hub data set, with its columns declared.

The manifest says which column is what; a dotted name reaches into nested fields ("extra_info.question"). What a table
can't say by itself is declared too: the order, unit and frame of its boxes, whether a string in the picture column is
a file name or base64, whether answers are JSON in a string. Nothing of that is guessed.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dataforge import reading
from dataforge.errors import ExampleError
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.reading.boxes import Convention, Frame, Order, Unit, listed, placed
from dataforge.records import AnswerType, Example, Failure, Media, Region


class Table(Source):
    """Questions from a table file (`path`) or a Hub data set (`hub`), with declared columns."""

    path: Path | None = Field(default=None, description=f"table file: {', '.join(reading.FORMATS)}")
    hub: str | None = Field(default=None, description="Hub data set, `repo` or `repo:config`, or a local folder")
    rows_in: str = Field(default="", description="dotted path of the list of rows in a JSON file")
    split: str = "train"
    start: int = Field(default=0, ge=0, description="first row read")
    count: int | None = Field(default=None, ge=1, description="rows read; default: to the end")

    question: str = Field(default="question", description="column of the question")
    answers: str = Field(default="answers", description="column of the answer, or of a list of them")
    answers_json: bool = Field(default=False, description="a string of answers holds a JSON list")
    answer_type: AnswerType = "text"
    choices: str | None = Field(default=None, description="column of the list of options")
    id: str | None = Field(default=None, description="column of the id; default: the row's number")
    group: str | None = Field(default=None, description="column shared by rows on one picture; default: the picture")

    image: str = Field(default="image", description="column of the picture: name, bytes, {bytes, path} or base64")
    image_text: Literal["file", "base64"] = Field(default="file", description="what a string in it is")
    images: Path | None = Field(default=None, description="folder of the files; default: that of the table")

    boxes: str | None = Field(default=None, description="column of the evidence box, or of a list of them")
    box_order: Order | None = None
    box_unit: Unit | None = None
    box_frame: Frame = Field(default="upright", description="drawn after or before EXIF orientation")

    licence_: str = Field(default="unknown", alias="licence", description="of the pictures")
    redistributable_: bool = Field(default=False, alias="redistributable", description="the pictures may be published")

    @property
    def licence(self) -> str:
        return self.licence_

    @property
    def redistributable(self) -> bool:
        return self.redistributable_

    @model_validator(mode="after")
    def _is_declared(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give one of path and hub")
        if self.boxes and not (self.box_order and self.box_unit):
            raise ValueError("boxes needs box_order (xyxy, xywh, yxyx) and box_unit (pixels, 0..1, 0..1000)")
        return self

    @property
    def title(self) -> str:
        """The table's name without its folder: the start of ids and origins."""
        return self.path.stem if self.path else Path(str(self.hub)).name.replace(":", "-")

    def read(self) -> Iterator[Row | Failure]:
        inside = self.rows_in
        entries = reading.table(self.path, inside) if self.path else reading.hub(str(self.hub), self.split)
        return reading.rows(self.title, entries, self._row, self.start, self.count)

    def _row(self, number: int, entry: dict[str, Any]) -> Row:
        picture, name = self._picture(entry)
        content = {
            "question": reading.text(entry, self.question),
            "answers": self._answers(entry),
            "choices": reading.texts(reading.at(entry, self.choices), self.choices) if self.choices else (),
            "picture": picture,
            "origin": f"{self.title}/{name}",
            "boxes": listed(reading.at(entry, self.boxes)) if self.boxes else [],
        }
        own = reading.text(entry, self.id) if self.id else str(number)
        group = reading.text(entry, self.group) if self.group else name
        return Row(f"{self.title}-{own}", f"{self.title}/{group}", content)

    def _answers(self, entry: dict[str, Any]) -> tuple[str, ...]:
        value = reading.at(entry, self.answers)
        if self.answers_json and isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise ExampleError("read", "bad_row", f"{self.answers} is not JSON") from None
        return reading.answers(value, self.answers)

    def _picture(self, entry: dict[str, Any]) -> tuple[Path | bytes, str]:
        """The file or the bytes, and a name that two rows share where they share the picture."""
        value = reading.at(entry, self.image)
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, str) and self.image_text == "base64":
            value = _from_base64(value, self.image)
        if isinstance(value, bytes):
            return value, reading.fingerprint(value)
        name = reading.text({self.image: value}, self.image)
        if Path(name).is_absolute() and self.path and not self.images:
            return Path(name), Path(name).name
        if not (self.images or self.path):
            raise ExampleError("read", "bad_row", f"{self.image} is a file name: give its folder as `images`")
        folder = self.images or Path(str(self.path)).parent
        return folder / reading.relative(name, self.image), name

    def example(self, row: Row, store: MediaStore) -> Example:
        found = row.content
        media = reading.put(store, found["picture"], self.licence, found["origin"])
        return self.asked(
            row,
            media,
            split=self.split,
            answer_type=self.answer_type,
            choices=found["choices"],
            evidence=self._evidence(found["boxes"], media, store),
        )

    def _evidence(self, boxes: list[list[float]], media: Media, store: MediaStore) -> tuple[Region, ...]:
        if not (boxes and self.box_order and self.box_unit):
            return ()
        convention = Convention(self.box_order, self.box_unit, self.box_frame)
        turn = store.orientation(media) if self.box_frame == "stored" else 1
        return tuple(Region(box=placed(box, convention, media.width, media.height, turn)) for box in boxes)


def _from_base64(value: str, field: str) -> bytes:
    try:
        return base64.b64decode(value.partition("base64,")[2] or value, validate=True)
    except ValueError:
        raise ExampleError("read", "bad_row", f"{field} is not base64") from None
