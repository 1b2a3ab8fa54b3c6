"""Folders of page screenshots with questions, in the three layouts that are about, as entries of one form.

- WebSRC: `<domain>/<site>/dataset.csv` (question, id, element_id, answer_start, answer) with the pages beside it in
  `processed_data/<page>.png` and `.json` (`{tid: {rect: {x, y, width, height}}}`, CSS pixels of the page that the
  screenshot was cut from: it shows the element with the lowest number, perhaps not to its end); the page is
  characters 2 to 9 of the id, the answer's element is `element_id`, -1 for yes and no (WebSRC-Baseline's README).
- ScreenQA: JSON lists of `image_id, question, ground_truth`, the truth either short answers or full answers with
  `ui_elements[{text, bounds}]`, left, top, right, bottom in pixels of the stated size; `<split>.json`, screenshots
  `<image_id>.jpg`.
- Textract: pictures, and the service's answers about them with QUERY blocks; `<stem>*.json`, boxes in 0..1 of the page.

Each entry holds what is wanted of it: id, group, question, answers, the picture's file, boxes with their convention and
the size they are stated for (None where it isn't), and the words of the page where the folder has them.
"""

import json
import os.path
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from dataforge import reading
from dataforge.errors import ExampleError, UsageError
from dataforge.reading.boxes import Convention

Layout = Literal["websrc", "screen_qa", "textract"]

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
PIXELS, CSS, SHARES = Convention("xyxy", "pixels"), Convention("xywh", "pixels"), Convention("xywh", "0..1")
LICENCES: dict[Layout, str] = {
    "websrc": "WebSRC: research use; pages are their owners'",
    "screen_qa": "questions CC BY 4.0 (ScreenQA); screenshots as Rico's",
    "textract": "as stated for the documents",
}


def recognised(folder: Path) -> Layout:
    """Whose layout a folder has; UsageError where it is none of them."""
    if not folder.is_dir():
        raise UsageError(f"web_pages path: {folder} is not a folder; leave `path` out to draw pages instead")
    if any(folder.rglob("dataset.csv")):
        return "websrc"
    for file in sorted(folder.rglob("*.json")):
        content = reading.load_json(file)
        if isinstance(content, dict) and isinstance(content.get("Blocks"), list):
            return "textract"
        if isinstance(content, list) and content and isinstance(content[0], dict) and "ground_truth" in content[0]:
            return "screen_qa"
    raise UsageError(f"{folder} has none of the layouts {', '.join(get_args(Layout))}")


def entries(folder: Path, layout: Layout, split: str) -> Iterator[reading.Entry]:
    """The questions of a folder, in the order of the files' names; UsageError where there is none."""
    read = {"websrc": _websrc, "screen_qa": _screen_qa, "textract": _textract}[layout]
    yield from read(folder, split)


# ------------------------------------------------------------------------------------------------------- WebSRC


def _websrc(folder: Path, split: str) -> Iterator[reading.Entry]:
    for table in sorted(folder.rglob("dataset.csv")):
        for row in reading.table(table):
            yield row if isinstance(row, ExampleError) else _spoiled_or(_websrc_entry, row, table, folder)


def _websrc_entry(row: dict[str, Any], table: Path, folder: Path) -> dict[str, Any]:
    asked = reading.text(row, "id")
    stem = table.parent / "processed_data" / reading.relative(asked[2:9], "id")
    number = reading.text(row, "element_id")
    page = stem.with_suffix(".png").relative_to(folder).as_posix()
    width, rects = (None, {}) if number == "-1" else _rects(stem.with_suffix(".json"))
    return {
        "id": asked,
        "group": page,
        "question": reading.text(row, "question"),
        "answers": reading.answers(row.get("answer"), f"answer of {asked}"),
        "picture": stem.with_suffix(".png"),
        "boxes": [rects[number]] if number in rects else [],
        "convention": CSS,
        "size": (width, None),
        "words": None,
    }


@lru_cache(maxsize=4)
def _rects(file: Path) -> tuple[int, dict[str, list[float]]]:
    """The width of a page's screenshot, and the boxes of its elements on it by their number.

    ExampleError where the file can't be read.
    """
    try:
        content = json.loads(file.read_bytes())
        found = {number: one["rect"] for number, one in content.items() if "rect" in one}
        shown = found[min(found, key=int)]
        rects = {
            number: [rect["x"] - shown["x"], rect["y"] - shown["y"], float(rect["width"]), float(rect["height"])]
            for number, rect in found.items()
        }
        return round(shown["width"]), rects
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise ExampleError("read", "bad_annotation", f"{file.name}: {type(error).__name__}") from None


# ----------------------------------------------------------------------------------------------------- ScreenQA


def _screen_qa(folder: Path, split: str) -> Iterator[reading.Entry]:
    files = sorted(folder.rglob("*.json"))
    if not any(file.stem == split for file in files):
        there = ", ".join(sorted({file.stem for file in files}))
        raise UsageError(f"no {split}.json in {folder} or below: there is {there}; set `split`")
    for file in (file for file in files if file.stem == split):
        name = file.relative_to(folder).with_suffix("").as_posix()
        for number, row in enumerate(reading.table(file)):
            yield row if isinstance(row, ExampleError) else _spoiled_or(_screen_entry, row, folder, f"{name}-{number}")


def _screen_entry(row: dict[str, Any], folder: Path, name: str) -> dict[str, Any]:
    image = reading.relative(reading.text(row, "image_id"), "image_id")
    truths = row.get("ground_truth")
    boxes: list[Any] = []
    answers: list[Any] = []
    for truth in truths if isinstance(truths, list) else []:
        if isinstance(truth, dict):
            answers.append(truth.get("full_answer"))
            elements = truth.get("ui_elements")
            found = [one["bounds"] for one in elements or [] if isinstance(one, dict) and one.get("bounds")]
            boxes = boxes or found  # of the first annotator who points at something
        else:
            answers.append(truth)
    sides = [row.get(side) for side in ("image_width", "image_height")]
    stated = tuple(side if isinstance(side, int) else None for side in sides)
    return {
        "id": name,
        "group": image,
        "question": reading.text(row, "question"),
        "answers": reading.answers(answers, "ground_truth"),
        "picture": _picture(folder, image),
        "boxes": boxes,
        "convention": PIXELS,
        "size": stated,
        "words": None,
    }


def _picture(folder: Path, stem: str) -> Path:
    """The picture of that stem, in the folder or one of the usual ones below."""
    names = [f"{stem}{ending}" for ending in (".jpg", *PICTURES)]
    folders = [folder / below for below in (".", "images", "screenshots", "combined")]
    paths = [place / name for place in folders for name in names]
    return next((path for path in paths if os.path.isfile(path)), paths[0])


# ----------------------------------------------------------------------------------------------------- Textract


def _textract(folder: Path, split: str) -> Iterator[reading.Entry]:
    pictures = {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in PICTURES}
    for file in sorted(folder.rglob("*.json")):
        content = reading.load_json(file)
        blocks = content.get("Blocks") if isinstance(content, dict) else None
        if not isinstance(blocks, list):
            continue
        by_id = {one.get("Id"): one for one in blocks if isinstance(one, dict)}
        queries = [one for one in by_id.values() if one.get("BlockType") == "QUERY"]
        if not queries:
            yield ExampleError("read", "no_question", f"{file.name} holds no QUERY block")
        for number, query in enumerate(queries):
            yield _spoiled_or(_query_entry, query, by_id, file, pictures, number)


def _query_entry(
    query: dict[str, Any], by_id: Mapping[Any, dict[str, Any]], file: Path, pictures: Mapping[str, Path], number: int
) -> dict[str, Any]:
    links = query.get("Relationships") or []
    ids = [one for link in links if link.get("Type") == "ANSWER" for one in link.get("Ids") or []]
    found = [by_id[one] for one in ids if one in by_id]
    named = [stem for stem in pictures if file.stem == stem or file.stem.startswith(f"{stem}.")]
    stem = max(named, key=len, default=file.stem)
    picture = pictures.get(stem, file.with_suffix(".png"))
    return {
        "id": f"{file.stem}-{number}",
        "group": picture.name,
        "question": reading.text(query, "Query.Text"),
        "answers": reading.answers([one.get("Text") for one in found], f"answer of {query.get('Query')}"),
        "picture": picture,
        "boxes": [box for one in found if (box := _share(one)) is not None],
        "convention": SHARES,
        "size": (None, None),
        "words": _printed(by_id),
    }


def _share(block: dict[str, Any]) -> list[float] | None:
    place = reading.at(block, "Geometry.BoundingBox")
    if not isinstance(place, dict):
        return None
    return [place.get(side) for side in ("Left", "Top", "Width", "Height")]  # type: ignore[misc]


def _printed(by_id: Mapping[Any, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """LINE and WORD blocks, grouped as InfographicVQA's OCR files group them."""
    return {kind: [one for one in by_id.values() if one.get("BlockType") == kind] for kind in ("LINE", "WORD")}


def _spoiled_or(make: Any, *arguments: Any) -> reading.Entry:
    """What `make` gives, or the ExampleError it ends in: the stream goes on."""
    try:
        entry: reading.Entry = make(*arguments)
    except ExampleError as error:
        return error
    return entry
