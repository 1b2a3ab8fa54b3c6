"""Infographics, the default source: a folder of InfographicVQA, the same on the Hub, or posters drawn here.

InfographicVQA's pictures can't be had without an account and may not be passed on, so a run with neither `path` nor
`hub` draws its own: posters that can be drawn again from a number, with the place of every answer known. All three give
the same examples: a question on a large page, its answers, and the words of the page as context where they are known.
"""

import io
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from dataforge import reading
from dataforge.errors import ExampleError
from dataforge.geometry import Box
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.reading import questions
from dataforge.records import Example, Failure, Region

if TYPE_CHECKING:
    from dataforge.posters import Block, Poster

QUESTIONS = re.compile(
    r"infographics?vqa_(?P<split>[a-z]+)_v(?P<version>[\d.]+)(?P<more>_withqt)?\.json", re.IGNORECASE
)
JPEG_QUALITY = 92
"""High enough that print of nine pixels stays crisp; the colour planes are not halved for the same reason."""


class Infographics(Source):
    """InfographicVQA from a folder (`path`) or the Hub (`hub`); without either, posters drawn by this program."""

    path: Path | None = Field(
        default=None, description="folder with infographicsVQA_<split>_v1.0*.json, images and ocr"
    )
    hub: str | None = Field(
        default=None, description="Hub data set or local copy, such as lmms-lab/DocVQA:InfographicVQA"
    )
    split: str = "train"
    seed: int = Field(default=0, description="of the posters drawn")
    start: int = Field(default=0, ge=0, description="first row read")
    count: int | None = Field(default=None, ge=1, description="rows read; default: all, endless when drawn")
    per_poster: int = Field(default=1, ge=1, description="questions asked of each poster drawn")

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        if self.path and self.hub:
            raise ValueError("give path or hub, not both")
        return self

    @property
    def drawn(self) -> bool:
        """The pages are posters of this program, not InfographicVQA."""
        return not (self.path or self.hub)

    @property
    def licence(self) -> str:
        return "Apache-2.0" if self.drawn else "InfographicVQA: research use, pictures not to be passed on"

    @property
    def redistributable(self) -> bool:
        return self.drawn

    @property
    def endless(self) -> bool:
        return self.drawn and self.count is None

    def read(self) -> Iterator[Row | Failure]:
        """Rows in the order of the file; a poster's questions one after the other. UsageError for no data."""
        if self.drawn:
            yield from reading.drawn_rows(f"poster-{self.split}-{self.seed}", self.per_poster, self.start, self.count)
            return
        entries = _folder_entries(self.path, self.split) if self.path else reading.hub(str(self.hub), self.split)
        yield from reading.rows(f"infographicvqa-{self.split}", entries, self._row, self.start, self.count)

    def _row(self, number: int, entry: dict[str, Any]) -> Row:
        asked = reading.text(entry, "questionId")
        content: dict[str, Any] = {
            "question": reading.text(entry, "question"),
            "answers": reading.answers(entry.get("answers"), f"answers of question {asked}"),
        }
        if self.path:
            content |= _files(entry)
            name = content["name"]
        else:
            content["picture"] = _bytes(entry.get("image"))
            content["ocr"] = entry.get("ocr")
            name = reading.fingerprint(content["picture"])
        content["origin"] = f"InfographicVQA/{name}"
        return Row(f"infographicvqa-{asked}", f"infographicvqa/{name}", content)

    def example(self, row: Row, store: MediaStore) -> Example:
        if self.drawn:
            return self._drawn_example(row, store)
        found = row.content
        media = reading.put(store, found["picture"], self.licence, found["origin"])
        words = words_of(_blocks(found["ocr"]), media.width, media.height)
        return self.asked(row, media, split=self.split, context=words)

    def _drawn_example(self, row: Row, store: MediaStore) -> Example:
        poster, jpeg = _poster(reading.seed_of(row.group))
        if row.content >= len(poster.questions):
            raise ExampleError("read", "no_question", f"{row.group} has {len(poster.questions)} questions")
        asked = poster.questions[row.content]
        return Example(
            id=row.id,
            group=row.group,
            source=self.name,
            split=self.split,
            question=asked.text,
            answers=asked.answers,
            answer_type=asked.answer_type,
            choices=asked.choices,
            media=(store.add_bytes(jpeg, ".jpg", self.licence, row.group),),
            evidence=tuple(_region(block) for block in asked.evidence),
            context=tuple(_region(block) for block in poster.blocks if block not in asked.evidence),
        )


# --------------------------------------------------------------------------------------------------- drawn posters


@lru_cache(maxsize=1)
def _poster(seed: int) -> tuple["Poster", bytes]:
    """The poster with its JPEG; kept until the next, since its questions come one after the other."""
    from dataforge import posters

    poster = posters.draw(seed)
    buffer = io.BytesIO()
    poster.image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return poster, buffer.getvalue()


def _region(block: "Block") -> Region:
    return Region(box=Box(*block.box), label=block.label, text_px=block.text_px or None)


# ----------------------------------------------------------------------------------------------- folder of the task


def _folder_entries(folder: Path, split: str) -> Iterator[reading.Entry]:
    """The rows of a split, each with `files`: the folders where pictures and OCR may lie."""
    split = {"validation": "val"}.get(split, split)  # as the Hub and as the files call it
    wanted = f"infographicsVQA_{split}_v1.0.json or infographicsVQA_{split}_v1.0_withQT.json"
    otherwise = "; leave `path` out to draw posters instead"
    found = questions.entries(questions.question_file(folder, QUESTIONS, split, wanted, otherwise))
    files = {what + "s": questions.folders(folder, what, split) for what in ("image", "ocr")}
    for entry in found:
        yield entry if isinstance(entry, ExampleError) else entry | {"files": files}


def _files(entry: dict[str, Any]) -> dict[str, Any]:
    """Where a row's picture and OCR lie; the OCR is None where there's no file for it."""
    name = reading.relative(reading.text(entry, "image_local_name"), "image_local_name")
    found = {"name": name, "picture": reading.pick(entry["files"]["images"], name), "ocr": None}
    for ocr_name in (str(entry.get("ocr_output_file") or ""), f"{Path(name).stem}.json"):
        if ocr_name and ".." not in ocr_name and not ocr_name.startswith("/"):
            path = reading.pick(entry["files"]["ocrs"], ocr_name)
            if found["ocr"] is None and path.is_file():
                found["ocr"] = path
    return found


def _bytes(picture: Any) -> bytes:
    content = picture.get("bytes") if isinstance(picture, dict) else picture
    if not isinstance(content, bytes) or not content:
        raise ExampleError("read", "bad_row", "image holds no bytes")
    return content


# --------------------------------------------------------------------------------------------------- words of OCR


def _blocks(ocr: Path | str | None) -> Any:
    """Textract's answer from a file or a string; None where there is none or it is broken: OCR is a help only."""
    try:
        return json.loads(ocr.read_bytes() if isinstance(ocr, Path) else ocr or "null")
    except (OSError, TypeError, ValueError, RecursionError):
        return None


def words_of(blocks: Any, width: int, height: int) -> tuple[Region, ...]:
    """Textract's LINE and WORD blocks as regions on a page of that size, lines first, each in reading order.

    Both are given, since an answer may be a whole line or some words of one; a line of one word only where there are
    no WORD blocks. A block without text or without a box on the page is left out.
    """
    if not isinstance(blocks, dict):
        return ()
    words = _printed(blocks.get("WORD"), width, height)
    lines = _printed(blocks.get("LINE"), width, height)
    return tuple([line for line in lines if not words or " " in line.label] + words)


def _printed(blocks: Any, width: int, height: int) -> list[Region]:
    page = Box(0, 0, width, height)
    found = []
    for block in blocks if isinstance(blocks, list) else []:
        try:
            label, place = block["Text"].strip(), block["Geometry"]["BoundingBox"]
            left, top, across, down = (float(place[side]) for side in ("Left", "Top", "Width", "Height"))
            label.encode()
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        box = Box(left, top, left + across, top + down).mapped(Box(0, 0, 1, 1), page).intersect(page)
        if label and box.width > 0 and box.height > 0:
            # print that runs up the page is as high as its box is wide
            upright = box.height <= box.width or len(label) < 4
            text_px = box.height if upright else box.width
            found.append(Region(box=box, label=label, said_by="ocr", text_px=text_px))
    return found
