"""TallyQA: how many ... are there? One JSON a split, a list of questions on pictures of Visual Genome and COCO.

`issimple` says that a question asks for all things of one kind; the others (`complex`, "how many dogs are lying down?")
are the benchmark that papers report. Whether training files have the field isn't known, so a file without it is refused
where only complex questions are wanted, and never taken for all complex.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dataforge import reading
from dataforge.errors import ExampleError, UsageError
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.records import Example, Failure

Questions = Literal["complex", "simple", "all"]


class Tallyqa(Source):
    """TallyQA's counting questions from its folder."""

    path: Path = Field(description="folder with test.json or train.json, or that file")
    images: Path | None = Field(default=None, description="folder of VG_100K, VG_100K_2, train2014, val2014")
    split: str = "test"
    questions: Questions = "complex"
    start: int = Field(default=0, ge=0, description="first question read")
    count: int | None = Field(default=None, ge=1, description="questions read; default: to the end")

    @property
    def licence(self) -> str:
        return "TallyQA: Apache-2.0 questions; pictures of COCO and Visual Genome (Flickr), CC BY 4.0"

    def read(self) -> Iterator[Row | Failure]:
        entries = (entry for entry in reading.table(self._file()) if self._wanted(entry))
        return reading.rows(f"tallyqa-{self.split}", entries, self._row, self.start, self.count)

    def _file(self) -> Path:
        path = self.path if self.path.suffix == ".json" else self.path / f"{self.split}.json"
        if not path.is_file():
            raise UsageError(f"no {path}: give TallyQA's folder with {self.split}.json, or that file")
        return path

    def _wanted(self, entry: reading.Entry) -> bool:
        if isinstance(entry, ExampleError) or self.questions == "all":
            return True
        simple = entry.get("issimple")
        if not isinstance(simple, bool):
            raise UsageError(f"{self._file()}: issimple is missing, so no complex ones can be told: questions: all")
        return simple == (self.questions == "simple")

    def _row(self, number: int, entry: dict[str, Any]) -> Row:
        answer = entry.get("answer")
        if isinstance(answer, bool) or not isinstance(answer, int):
            raise ExampleError("read", "bad_row", "answer is no whole number")
        name = reading.relative(reading.text(entry, "image"), "image")
        folder = self.images or (self.path.parent if self.path.suffix == ".json" else self.path)
        content = {
            "question": reading.text(entry, "question"),
            "answer": str(answer),
            "category": str(entry.get("data_source") or ""),
            "picture": reading.pick([folder, folder / "images"], name),
            "origin": f"TallyQA/{name}",
        }
        return Row(f"tallyqa-{reading.text(entry, 'question_id')}", f"tallyqa/{name}", content)

    def example(self, row: Row, store: MediaStore) -> Example:
        found = row.content
        return Example(
            id=row.id,
            group=row.group,
            source=self.name,
            split=self.split,
            category=found["category"],
            question=found["question"],
            answers=(found["answer"],),
            answer_type="number",
            media=(reading.put(store, found["picture"], self.licence, found["origin"]),),
        )
