"""DocVQA (single page): questions on scanned documents, with the words that OCR read.

`<split>_v1.0_withQT.json` (or the older `<split>_v1.0.json`) with the pictures `documents/<page>.png` and OCR
`ocr_results/<page>.json`, whose boxes are four corners in pixels of the size that the file states.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from re import IGNORECASE, compile
from typing import Any

from pydantic import Field

from dataforge import reading
from dataforge.geometry import Box
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.reading import questions
from dataforge.records import Example, Failure, Region

QUESTIONS = compile(r"(?P<split>[a-z]+)_v(?P<version>[\d.]+)(?P<more>_withqt)?\.json", IGNORECASE)


class Docvqa(Source):
    """Single-page DocVQA from a folder in its official layout; OCR words come along as context."""

    path: Path = Field(description="folder with <split>_v1.0_withQT.json, documents, ocr_results")
    split: str = "train"
    start: int = Field(default=0, ge=0, description="first row read")
    count: int | None = Field(default=None, ge=1, description="rows read; default: to the end")

    @property
    def licence(self) -> str:
        return "DocVQA: research use; documents of the UCSF Industry Documents Library, not to be passed on"

    def read(self) -> Iterator[Row | Failure]:
        """Rows in the order of the file; UsageError where there is none of that split."""
        wanted = f"{self.split}_v1.0_withQT.json or {self.split}_v1.0.json"
        file = questions.question_file(self.path, QUESTIONS, self.split, wanted)
        pictures = [file.parent, *questions.folders(self.path, "documents", self.split)]
        ocr = questions.folders(self.path, "ocr", self.split)

        def make(number: int, entry: dict[str, Any]) -> Row:
            asked = reading.text(entry, "questionId")
            name = reading.relative(reading.text(entry, "image"), "image")
            stem = Path(name).stem
            found = [place / one for place in pictures for one in (name, Path(name).name)]
            words = questions.stem_file(ocr, stem, (".json",))
            content = {
                "question": reading.text(entry, "question"),
                "answers": reading.answers(entry.get("answers"), f"answers of question {asked}"),
                "picture": next((path for path in found if path.is_file()), found[0]),
                "origin": f"DocVQA/{stem}",
                "ocr": words if words.is_file() else None,
            }
            return Row(f"docvqa-{self.split}-{asked}", f"docvqa/{stem}", content)

        yield from reading.rows(f"docvqa-{self.split}", questions.entries(file), make, self.start, self.count)

    def example(self, row: Row, store: MediaStore) -> Example:
        found = row.content
        media = store.add_file(found["picture"], self.licence, found["origin"])
        words = tuple(_words(found["ocr"], media.width, media.height))
        return self.asked(row, media, split=self.split, context=words)


def _words(file: Path | None, width: int, height: int) -> Iterator[Region]:
    """Lines and words of an OCR file on a page of that size; none where it is broken: OCR is a help only."""
    try:
        pages = json.loads(file.read_bytes())["recognitionResults"] if file else []
        page = pages[0] if pages else {}
        stated = Box(0, 0, float(page.get("width") or width), float(page.get("height") or height))
        lines = [line for line in page.get("lines", []) if isinstance(line, dict)]
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return
    words = [word for line in lines for word in line.get("words") or []]
    for one in [*(line for line in lines if " " in str(line.get("text", "")).strip()), *words]:
        if (region := _region(one, stated, Box(0, 0, width, height))) is not None:
            yield region


def _region(printed: Any, stated: Box, page: Box) -> Region | None:
    """A line or a word on the page: the box around its corners."""
    try:
        label, corners = str(printed["text"]).strip(), [float(number) for number in printed["boundingBox"]]
        label.encode()
        box = _around(corners).mapped(stated, page).intersect(page)
    except (KeyError, TypeError, ValueError):
        return None
    if not label or box.width <= 0 or box.height <= 0:
        return None
    return Region(box=box, label=label, said_by="ocr", text_px=min(box.width, box.height))


def _around(corners: Sequence[float]) -> Box:
    across, down = corners[0::2], corners[1::2]
    return Box(min(across), min(down), max(across), max(down))
