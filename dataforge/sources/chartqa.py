"""ChartQA: questions on charts, written by people and by machine.

`<split>/<split>_human.json` and `<split>/<split>_augmented.json`, lists of `imgname, query, label`, with the charts in
`<split>/png`. A label is always a string: a number, words, or a printed list of numbers. The folder may be that of the
repository or the `ChartQA Dataset` in it. Charts are small: many questions can be read off the whole view, and become
traces without a look. Its metric forgives 5 % on numbers: the check `answer` takes `tolerance: 0.05`.
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dataforge import reading
from dataforge.errors import UsageError
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.records import AnswerType, Example, Failure

NUMBER = re.compile(r"[-+]?[$€£]?\d[\d,]*(\.\d+)?\s*%?")
SHARE = re.compile(r"0\.\d*[1-9]\d*")
Part = Literal["human", "augmented"]


class Chartqa(Source):
    """ChartQA from a folder in its official layout."""

    path: Path = Field(description="the folder `ChartQA Dataset`, or the one that holds it")
    split: str = "train"
    parts: tuple[Part, ...] = Field(default=("human", "augmented"), min_length=1, description="whose questions")
    start: int = Field(default=0, ge=0, description="first row read")
    count: int | None = Field(default=None, ge=1, description="rows read; default: to the end")

    @property
    def licence(self) -> str:
        return "questions as ChartQA's; charts of Statista, Pew, OECD, Our World in Data, not to be passed on"

    def read(self) -> Iterator[Row | Failure]:
        """The parts' rows one after the other, each in its file's order; UsageError where there is no such split."""
        folder = self._folder()
        streams = (self._part(folder, part) for part in self.parts)
        stop = None if self.count is None else self.start + self.count
        yield from itertools.islice(itertools.chain.from_iterable(streams), self.start, stop)

    def _folder(self) -> Path:
        places = [self.path / "ChartQA Dataset" / self.split, self.path / self.split, self.path]
        names = [f"{self.split}_{part}.json" for part in self.parts]
        for place in places:
            if any((place / name).is_file() for name in names):
                return place
        raise UsageError(f"no {' or '.join(names)} in {self.path}, its {self.split}, or its ChartQA Dataset")

    def _part(self, folder: Path, part: Part) -> Iterator[Row | Failure]:
        file = folder / f"{self.split}_{part}.json"
        if not file.is_file():
            return

        def make(number: int, entry: dict[str, Any]) -> Row:
            name = reading.relative(reading.text(entry, "imgname"), "imgname")
            label = reading.text(entry, "label")
            answers, kind = typed(label)
            content = {
                "question": reading.text(entry, "query"),
                "answers": answers,
                "answer_type": kind,
                "picture": reading.pick([folder / "png", folder], name),
                "origin": f"ChartQA/{name}",
            }
            return Row(f"chartqa-{self.split}-{part}-{number}", f"chartqa/{name}", content)

        yield from reading.rows(f"chartqa-{self.split}-{part}", reading.table(file), make)

    def example(self, row: Row, store: MediaStore) -> Example:
        found = row.content
        media = store.add_file(found["picture"], self.licence, found["origin"])
        return self.asked(row, media, split=self.split, answer_type=found["answer_type"])


def typed(label: str) -> tuple[tuple[str, ...], AnswerType]:
    """A label's accepted answers and their type: a number, a printed list, or words.

    A share such as 0.72 stands for what the chart prints as 72 %, so that is accepted as well.
    """
    if SHARE.fullmatch(label):
        return (label, f"{100 * float(label):g}%"), "number"
    if NUMBER.fullmatch(label):
        return (label,), "number"
    if label.startswith("[") and label.endswith("]"):
        items = [item.strip().strip("'\"") for item in label[1:-1].split(",")]  # words stand there without quotes
        if len(items) > 1 and all(items):
            return (", ".join(items),), "list"
    return (label,), "text"
