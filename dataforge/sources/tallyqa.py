"""TallyQA: counting questions on photos of Visual Genome and COCO.

One JSON list a split: `answer` (a whole number), `image` (such as `VG_100K_2/2410408.jpg`), `question`, `question_id`,
`issimple`, `data_source`. Nothing says where the counted things are: the teacher looks for them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from dataforge import reading
from dataforge.errors import UsageError
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.reading.questions import whole_number
from dataforge.records import Example, Failure


class Tallyqa(Source):
    """TallyQA from a folder: `<split>.json` and the pictures' folders."""

    path: Path = Field(description="folder with <split>.json, and the pictures in it or in `images`")
    split: str = "train"
    images: Path | None = Field(default=None, description="folder of VG_100K, VG_100K_2, train2014, val2014")
    simple: bool = Field(default=True, description="take questions too that a detector could answer")
    start: int = Field(default=0, ge=0, description="first row read")
    count: int | None = Field(default=None, ge=1, description="rows read; default: to the end")

    @property
    def licence(self) -> str:
        return "questions as TallyQA's; pictures of Visual Genome (CC BY 4.0) and COCO (Flickr's terms), not passed on"

    def read(self) -> Iterator[Row | Failure]:
        """Rows in the order of the file; UsageError where there is none of that split."""
        file = self.path / f"{self.split}.json"
        if not file.is_file():
            there = ", ".join(sorted(path.stem for path in self.path.glob("*.json"))) or "no JSON file"
            raise UsageError(f"no {self.split}.json in {self.path}: there is {there}")
        places = [self.images] if self.images else [self.path, self.path / "images"]
        entries: Iterator[reading.Entry] = reading.table(file)
        if not self.simple:
            entries = (one for one in entries if not (isinstance(one, dict) and one.get("issimple") is True))

        def make(number: int, entry: dict[str, Any]) -> Row:
            name = reading.relative(reading.text(entry, "image"), "image")
            content = {
                "question": reading.text(entry, "question"),
                "answers": (str(whole_number(entry, "answer")),),
                "picture": reading.pick(places, name),
                "origin": f"TallyQA/{name}",
            }
            return Row(f"tallyqa-{self.split}-{reading.text(entry, 'question_id')}", f"tallyqa/{name}", content)

        yield from reading.rows(f"tallyqa-{self.split}", entries, make, self.start, self.count)

    def example(self, row: Row, store: MediaStore) -> Example:
        found = row.content
        media = store.add_file(found["picture"], self.licence, found["origin"])
        return self.asked(row, media, split=self.split, answer_type="number")
