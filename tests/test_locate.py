"""Evidence is found where it stands, told apart by the question, or refused as ambiguous."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from dataforge import plugins
from dataforge.geometry import Box
from dataforge.locate import by_words, find_text, locate, said_box, tesseract
from dataforge.manifest import Locate
from dataforge.media import MediaStore
from dataforge.plugins import Row
from dataforge.records import Example, Media, Region

MEDIA = Media(sha256="0" * 64, suffix=".png", width=1000, height=800)


def words(*lines: str) -> list[Region]:
    """Lines of words, 20 px high, 40 px apart; a word starts every 12 px per letter."""
    found = []
    for row, line in enumerate(lines):
        x = 10
        for word in line.split():
            box = Box(x, 40 * row, x + 10 * len(word), 40 * row + 20)
            found.append(Region(box=box, label=word, said_by="ocr", text_px=20))
            x += 10 * len(word) + 12
    return found


def as_lines(*lines: str) -> list[Region]:
    return [
        Region(box=Box(10, 40 * row, 10 + 10 * len(line), 40 * row + 20), label=line, said_by="ocr", text_px=20)
        for row, line in enumerate(lines)
    ]


def example(question: str, *answers: str, **more: object) -> Example:
    return Example(id="e", group="g", source="t", question=question, answers=answers, media=(MEDIA,), **more)  # type: ignore[arg-type]


PAGE = ("Visitors 1,204 in 2019", "Members 318 in 2020", "Opened in 1987 by Mary Shaw")


@pytest.mark.parametrize("page", [words(*PAGE), as_lines(*PAGE)], ids=["words", "lines"])
@pytest.mark.parametrize(("answer", "row"), [("1,204", 0), ("318", 1), ("Mary Shaw", 2), ("mary shaw.", 2)])
def test_an_answer_is_found_where_it_stands(page: list[Region], answer: str, row: int) -> None:
    places = find_text(answer, page, 0.85)
    assert len(places) == 1
    assert 40 * row <= places[0].box.y1 < places[0].box.y2 <= 40 * row + 20
    assert answer.rstrip(".").casefold() in places[0].label.casefold()
    assert places[0].said_by == "ocr"


@pytest.mark.parametrize("answer", ["319", "1,205", "20", "Mary Shore Hill", "", "?!"])
def test_what_does_not_stand_there_is_not_found(answer: str) -> None:
    assert find_text(answer, words(*PAGE), 0.85) == []


def test_print_with_a_reading_error_is_found_but_not_a_wrong_number() -> None:
    assert find_text("Conservation Society", words("the Conservatlon Society said"), 0.85)
    assert not find_text("item 1987", words("item 1986"), 0.85)


def test_an_answer_over_several_lines_is_one_region() -> None:
    page = as_lines("Old Mill Museum", "12 Harbour Street, North End", "Oldham OL4 2RT", "Open daily")
    places = find_text("12 Harbour Street, North End, Oldham OL4 2RT", page, 0.85)
    assert len(places) == 1
    assert (places[0].box.y1, places[0].box.y2) == (40, 100)


def test_the_questions_words_tell_places_apart() -> None:
    page = words("Subtotal before rounding 68.00", "a line", "b line", "c line", "Grand total amount due 68.00")
    found = by_words(example("What is the grand total amount?", "68.00"), page, 0.85)
    assert [region.box.y1 for region in found.regions] == [160]


def test_two_places_as_near_are_ambiguous() -> None:
    found = by_words(example("What is it?", "68.00"), words("68.00 here", "68.00 there"), 0.85)
    assert not found.regions
    assert found.reason == "ambiguous_region"


def test_the_manifests_order_decides(store: MediaStore) -> None:
    boxed = Region(box=Box(0, 0, 50, 50), label="annotated")
    one = example("Where?", "318", evidence=(boxed,), context=tuple(words(*PAGE)))
    assert locate(one, store, Locate(), ["annotation", "ocr"]).regions == (boxed,)
    assert locate(one, store, Locate(), ["ocr", "annotation"]).regions[0].said_by == "ocr"


def test_a_choices_text_is_searched_not_its_letter() -> None:
    one = example("Who opened it?", "B", answer_type="choice", choices=("Ann Lee", "Mary Shaw"))
    found = by_words(one, words("A B C", *PAGE), 0.85)
    assert found.regions[0].label == "Mary Shaw"


@pytest.mark.parametrize(
    "reply",
    [
        None,
        {},
        {"found": False, "box": [0, 0, 10, 10]},
        {"found": True, "box": [0, 0, 10]},
        {"found": True, "box": [0, 0, 1001, 10]},
        {"found": True, "box": ["0", 0, 1, 1]},
        {"found": True, "box": [500, 500, 100, 100]},
        {"found": True, "box": [10, 10, 10, 10]},
        {"found": True, "box": [float("nan"), 0, 10, 10]},
    ],
)
def test_a_senseless_box_of_a_teacher_is_none(reply: dict[str, object] | None) -> None:
    assert said_box(reply, example("?", "1")) is None


def test_a_teachers_box_is_in_thousandths() -> None:
    region = said_box({"found": True, "box": [100, 500, 200, 1000], "label": "x"}, example("?", "1"))
    assert region is not None
    assert region.box == Box(100, 400, 200, 800)
    assert region.said_by == "teacher"


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")
def test_tesseract_reads_drawn_words_where_they_stand() -> None:
    picture = Image.new("RGB", (900, 300), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=32)
    draw.text((40, 40), "Harbour visitors", "black", font=font)
    draw.text((500, 200), "total 4715", "black", font=font)
    truth = Box(*draw.textbbox((500, 200), "total 4715", font=font))
    places = find_text("4715", tesseract(picture), 0.85)
    assert len(places) == 1
    assert truth.grow(8, 8).contains(places[0].box)


def test_real_receipts_are_located(samples: Path, tmp_path: Path) -> None:
    """Of the real questions in the InfographicVQA layout most are located, and each place holds the answer's print."""
    folder = samples / "infographicvqa_layout"
    source = plugins.build("source", {"name": "infographics", "path": str(folder), "split": "val"})
    store = MediaStore(tmp_path)
    rows = [row for row in source.read() if isinstance(row, Row)]
    assert len(rows) == len(json.loads((folder / "infographicsVQA_val_v1.0_withQT.json").read_text())["data"])
    located = 0
    for row in rows:
        one = source.example(row, store)
        found = by_words(one, [region for region in one.context if region.said_by == "ocr"], 0.85)
        if found.regions:
            located += 1
            digits = "".join(filter(str.isdigit, one.answers[0]))
            assert digits in "".join(filter(str.isdigit, found.regions[0].label))
        else:
            assert found.reason in ("ambiguous_region", "no_region")
    assert located >= 0.6 * len(rows)
