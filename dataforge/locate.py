"""Where the evidence is: annotation, the words of OCR, or the teacher looking and looking again.

Each region says who said so. The ways are tried in the manifest's order; the first that gives a region wins. Words that
match the answer in several places are told apart by the question's words near them; where that doesn't decide, the
reason is `ambiguous_region`, not a guess.
"""

import csv
import io
import math
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from dataforge.errors import ExampleError
from dataforge.geometry import Box
from dataforge.manifest import Locate
from dataforge.media import MediaStore
from dataforge.records import Example, Region, SaidBy, View

MOST_LINES = 5
"""An answer such as an address may run over this many lines of print."""
CLEAR_LEAD = 1.25
"""How much nearer the question's words must be to one place than to the next."""
TESSERACT_TIMEOUT_S = 120

STOP_WORDS = frozenset(
    "a an and are as at by does for from how in is it its many much of on or shown that the this to was were what when "
    "where which who whose why with picture image infographic according".split()
)


@dataclass(frozen=True)
class Located:
    """Regions found, or the reason why there are none."""

    regions: tuple[Region, ...] = ()
    reason: str = "no_region"
    detail: str = ""


def locate(example: Example, store: MediaStore, settings: Locate, ways: Sequence[SaidBy]) -> Located:
    """Try `ways` (of annotation and ocr; the teacher's is `synth`'s to ask) and give the first that finds regions."""
    found = Located()
    for way in ways:
        if way == "annotation" and example.evidence:
            return Located(example.evidence)
        if way == "ocr":
            found = by_words(example, read_words(example, store), settings.match)
            if found.regions:
                return found
    return found


# ---------------------------------------------------------------------------------------------- by words


def read_words(example: Example, store: MediaStore) -> list[Region]:
    """The source's own OCR words, else Tesseract's where it is installed, else none."""
    words = [region for region in example.context if region.said_by == "ocr"]
    if words:
        return words
    pictures = [(index, media) for index, media in enumerate(example.media) if media.kind == "image"]
    return [word for index, media in pictures for word in tesseract(store.open(media), index)]


def by_words(example: Example, words: Sequence[Region], least: float) -> Located:
    """The place where one of the accepted answers stands in print."""
    for answer in _searchable(example):
        places = find_text(answer, words, least)
        if len(places) == 1:
            return Located((places[0],))
        if places:
            best = _nearest_to_question(example.question, places, words)
            if best is None:
                return Located((), "ambiguous_region", f"{answer!r} stands in {len(places)} places")
            return Located((best,))
    return Located((), "no_region", "no accepted answer stands in print" if words else "there are no OCR words")


def _searchable(example: Example) -> list[str]:
    """What may stand in print: the answers, or the text of the option that a letter stands for."""
    if example.answer_type != "choice":
        return list(example.answers)
    letters = {chr(ord("A") + index): choice for index, choice in enumerate(example.choices)}
    return [letters.get(answer.strip().upper(), answer) for answer in example.answers]


def find_text(answer: str, words: Sequence[Region], least: float) -> list[Region]:
    """Every place where the answer stands in print, as one region each, no two overlapping.

    Words come in reading order; single words and whole lines may be mixed. A place is a run of words, a line that holds
    the answer between word bounds, or several lines in a row; likeness (0..1) must reach `least`, and digits agree.
    """
    wanted = _plain(answer)
    if not wanted:
        return []
    singles = [region for region in words if " " not in region.label.strip()]
    lines = [region for region in words if " " in region.label.strip()]
    found = _runs(wanted, singles, least, most=len(wanted.split()) + 1)
    found += [(1.0, line) for line in lines if f" {wanted} " in f" {_plain(line.label)} "]
    found += _runs(wanted, lines, least, most=MOST_LINES)
    places: list[Region] = []
    for _, region in sorted(found, key=lambda one: (-one[0], one[1].box.area)):
        if not any(region.media == place.media and region.box.overlaps(place.box) for place in places):
            places.append(region)
    return places


def _runs(wanted: str, units: Sequence[Region], least: float, most: int) -> list[tuple[float, Region]]:
    """Runs of up to `most` units whose joined text is like `wanted`, with their likeness."""
    from rapidfuzz import fuzz

    plain = [_plain(unit.label) for unit in units]
    found = []
    for start in range(len(units)):
        text = ""
        for end in range(start, min(start + most, len(units))):
            text = f"{text} {plain[end]}".strip()
            if len(text) > 1.5 * len(wanted) + 4:
                break
            likeness = fuzz.ratio(wanted, text) / 100
            if likeness >= least and _digits(text) == _digits(wanted) and units[start].media == units[end].media:
                found.append((likeness, _joined(units[start : end + 1])))
    return found


def _joined(units: Sequence[Region]) -> Region:
    box = units[0].box
    for unit in units[1:]:
        box = box.union(unit.box)
    heights = [unit.text_px for unit in units if unit.text_px]
    return Region(
        box=box,
        media=units[0].media,
        label=" ".join(unit.label for unit in units),
        said_by="ocr",
        text_px=min(heights) if heights else None,
    )


def _nearest_to_question(question: str, places: Sequence[Region], words: Sequence[Region]) -> Region | None:
    """The place with the question's words clearly nearest to it; None when two places are about as near."""
    asked = [word for word in _plain(question).split() if len(word) > 2 and word not in STOP_WORDS]
    scored = sorted(((_support(place, asked, words), index) for index, place in enumerate(places)), reverse=True)
    best, second = scored[0], scored[1]
    if best[0] <= 0 or best[0] < CLEAR_LEAD * second[0]:
        return None
    return places[best[1]]


def _support(place: Region, asked: Sequence[str], words: Sequence[Region]) -> float:
    """Sum over the question's words of 1 / (1 + distance in line heights) to the nearest print of each."""
    line = max(place.text_px or place.box.height, 1.0)
    total = 0.0
    for word in asked:
        near = [_distance(place.box, other.box) / line for other in words if word in _plain(other.label).split()]
        total += 1 / (1 + min(near)) if near else 0.0
    return total


def _distance(one: Box, other: Box) -> float:
    """Free pixels between two boxes; what lies in the same line counts a quarter, as people read across."""
    across = max(other.x1 - one.x2, one.x1 - other.x2, 0.0)
    down = max(other.y1 - one.y2, one.y1 - other.y2, 0.0)
    return math.hypot(across / 4 if down == 0 else across, down)


def _plain(text: str) -> str:
    """Lower case, punctuation at word ends dropped, one space between words."""
    words = (re.sub(r"^[^\w$€£%+-]+|[^\w%]+$", "", word) for word in text.casefold().split())
    return " ".join(word for word in words if word)


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


# ---------------------------------------------------------------------------------------------- tesseract


def tesseract(image: Image.Image, media: int = 0) -> list[Region]:
    """Words and lines that Tesseract reads in a picture; none where it isn't installed or gives up."""
    program = shutil.which("tesseract")
    if program is None:
        return []
    buffer = io.BytesIO()
    image.convert("L").save(buffer, "BMP")
    command = [program, "stdin", "stdout", "--psm", "6", "tsv"]
    try:
        result = subprocess.run(
            command,
            input=buffer.getvalue(),
            capture_output=True,
            timeout=TESSERACT_TIMEOUT_S,
            env=os.environ | {"OMP_THREAD_LIMIT": "1"},
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        return []
    rows = csv.DictReader(io.StringIO(result.stdout.decode("utf-8", "replace")), delimiter="\t", quoting=csv.QUOTE_NONE)
    return _tesseract_regions(list(rows), media)


def _tesseract_regions(rows: Sequence[dict[str, Any]], media: int) -> list[Region]:
    """Words of some confidence, and the lines that they form."""
    lines: dict[tuple[str, ...], list[Region]] = {}
    for row in rows:
        text = (row.get("text") or "").strip()
        if row["level"] != "5" or not text or float(row["conf"]) < 30:
            continue
        left, top, width, height = (int(row[key]) for key in ("left", "top", "width", "height"))
        if width < 1 or height < 1:
            continue
        box = Box(left, top, left + width, top + height)
        word = Region(box=box, media=media, label=text, said_by="ocr", text_px=height)
        lines.setdefault((row["page_num"], row["block_num"], row["par_num"], row["line_num"]), []).append(word)
    words = [word for line in lines.values() for word in line]
    return words + [_joined(line) for line in lines.values() if len(line) > 1]


# ---------------------------------------------------------------------------------------------- by the teacher

LOCATE_SCHEMA = {
    "type": "object",
    "properties": {
        "found": {"type": "boolean", "description": "whether the place can be seen in the image"},
        "box": {
            "type": "array",
            "items": {"type": "number"},
            "description": "left, top, right, bottom, each from 0 to 1000 of the image's width or height",
        },
        "label": {"type": "string", "description": "what is at that place, in a few words"},
    },
    "required": ["found", "box", "label"],
    "additionalProperties": False,
}

VERIFY_SCHEMA = {
    "type": "object",
    "properties": {
        "answerable": {"type": "boolean", "description": "whether this image alone answers the question"},
        "answer": {"type": "string", "description": "the answer, as short as possible; empty if not answerable"},
    },
    "required": ["answerable", "answer"],
    "additionalProperties": False,
}


def said_box(reply: dict[str, Any] | None, example: Example) -> Region | None:
    """The region in a teacher's reply to the locate prompt, in source pixels; None when there is no sound box in it."""
    if not reply or reply.get("found") is not True:
        return None
    numbers = reply.get("box")
    if not isinstance(numbers, list) or len(numbers) != 4:
        return None
    if not all(isinstance(n, (int, float)) and not isinstance(n, bool) and 0 <= n <= 1000 for n in numbers):
        return None
    media = example.media[0]
    picture = Box(0, 0, media.width, media.height)
    box = Box(*numbers).mapped(Box(0, 0, 1000, 1000), picture)
    if box.width < 2 or box.height < 2:
        return None
    return Region(box=box, label=str(reply.get("label", ""))[:200], said_by="teacher")


LOCATE_VIDEO_SCHEMA = {
    "type": "object",
    "properties": {
        "found": {"type": "boolean", "description": "whether the stretch can be seen in the frames"},
        "first": {"type": "integer", "description": "number of the first frame of the stretch"},
        "last": {"type": "integer", "description": "number of its last frame"},
        "label": {"type": "string", "description": "what happens there, in a few words"},
    },
    "required": ["found", "first", "last", "label"],
    "additionalProperties": False,
}


def said_stretch(reply: dict[str, Any] | None, example: Example, views: Sequence[View]) -> Region | None:
    """The stretch of time in a teacher's reply to the video prompt; None where it names no frames that were shown."""
    if not reply or reply.get("found") is not True:
        return None
    by_number = {view.number: view for view in views if view.time_s is not None}
    first, last = (by_number.get(reply[key]) if _is_number(reply.get(key)) else None for key in ("first", "last"))
    if first is None or last is None or first.media != last.media or (first.time_s or 0.0) > (last.time_s or 0.0):
        return None
    media = example.media[first.media]
    return Region(
        box=Box(0, 0, media.width, media.height),
        media=first.media,
        span_s=(first.time_s or 0.0, last.time_s or 0.0),
        label=str(reply.get("label", ""))[:200],
        said_by="teacher",
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def cannot(located: Located) -> ExampleError:
    return ExampleError("locate", located.reason, located.detail)
