"""TextVQA: questions on print in photos, ten answers each, with the words that OCR read.

`TextVQA_0.5.1_<split>.json` with the pictures `<image_id>.jpg` in `train_images` (or `<split>_images`), and beside it
`TextVQA_Rosetta_OCR_v0.2_<split>.json`, whose boxes are left, top, width, height in 0..1. The early release 0.1, which
names the picture `train/<id>.jpg` and has no OCR, is read as well.
"""

from collections.abc import Iterator
from pathlib import Path
from re import IGNORECASE, compile
from typing import Any

from pydantic import Field

from dataforge import reading
from dataforge.errors import ExampleError
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.reading import boxes, questions
from dataforge.records import Example, Failure, Region

QUESTIONS = compile(r"textvqa(_(?P<version>[\d.]+))?(?P<more>_with_url)?_(?P<split>[a-z]+)\.json", IGNORECASE)
OCR = "TextVQA_Rosetta_OCR_v*_{split}.json"
SHARES = boxes.Convention("xywh", "0..1")
LARGEST_TILT = 15.0
"""Degrees; the box of a word that leans more is not that of its print."""
PICTURES = (".jpg", ".jpeg", ".png")


class Textvqa(Source):
    """TextVQA from a folder in its official layout; OCR words come along as context."""

    path: Path = Field(description="folder with TextVQA_0.5.1_<split>.json, pictures, and OCR if there is some")
    split: str = "train"
    start: int = Field(default=0, ge=0, description="first row read")
    count: int | None = Field(default=None, ge=1, description="rows read; default: to the end")

    @property
    def licence(self) -> str:
        return (
            "questions CC BY 4.0 (TextVQA); pictures CC BY 2.0 with their authors' names (Open Images), not passed on"
        )

    def read(self) -> Iterator[Row | Failure]:
        """Rows in the order of the file; UsageError where there is none of that split."""
        wanted = f"TextVQA_0.5.1_{self.split}.json"
        file = questions.question_file(self.path, QUESTIONS, self.split, wanted)
        words, places = self._words(), questions.folders(self.path, "image", self.split)

        def make(number: int, entry: dict[str, Any]) -> Row:
            name = reading.relative(reading.text(entry, "image_id" if "image_id" in entry else "image"), "image")
            stem = str(Path(name).with_suffix("")) if name.lower().endswith(PICTURES) else name
            asked = reading.text(entry, "question_id") if "question_id" in entry else str(number)
            content = {
                "question": reading.text(entry, "question"),
                "answers": reading.answers(entry.get("answers"), f"answers of question {asked}"),
                "picture": questions.stem_file(places, stem, PICTURES),
                "origin": f"TextVQA/{stem}",
                "words": words.get(stem, []),
            }
            return Row(f"textvqa-{self.split}-{asked}", f"textvqa/{stem}", content)

        yield from reading.rows(f"textvqa-{self.split}", questions.entries(file), make, self.start, self.count)

    def _words(self) -> dict[str, list[Any]]:
        """The OCR words by picture; none where there is no such file."""
        files = sorted(self.path.rglob(OCR.format(split=self.split)))
        if not files:
            return {}
        return {
            str(one.get("image_id")): one["ocr_info"]
            for one in questions.entries(files[-1])
            if not isinstance(one, ExampleError) and isinstance(one.get("ocr_info"), list)
        }

    def example(self, row: Row, store: MediaStore) -> Example:
        found = row.content
        media = store.add_file(found["picture"], self.licence, found["origin"])
        words = (_word(one, media.width, media.height) for one in found["words"])
        context = tuple(word for word in words if word is not None)
        return self.asked(row, media, split=self.split, answer_type="vqa", context=context)


def _word(info: Any, width: int, height: int) -> Region | None:
    """An OCR word in pixels; None for one that is broken, leans, or lies outside: OCR is a help only."""
    try:
        place, label = info["bounding_box"], str(info["word"]).strip()
        numbers = [float(place[side]) for side in ("top_left_x", "top_left_y", "width", "height")]
        if not label or abs(float(place.get("rotation") or 0)) > LARGEST_TILT:
            return None
        box = boxes.placed(numbers, SHARES, width, height)
    except (KeyError, TypeError, ValueError, AttributeError, ExampleError):
        return None
    return Region(box=box, label=label, said_by="ocr", text_px=box.height)
