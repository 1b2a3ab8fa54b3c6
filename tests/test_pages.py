"""Web pages: what Chromium lays out and draws, and the folders of screenshots."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from dataforge import pages, plugins
from dataforge.errors import ExampleError, UsageError
from dataforge.geometry import Box
from dataforge.media import MediaStore
from dataforge.pages import chromium
from dataforge.plugins import Row
from dataforge.records import Failure
from tests.test_pose import run_all

needs_chromium = pytest.mark.skipif(chromium.program() is None, reason="no Chromium on this machine")
needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")
STYLE = "body { margin: 10px; font: 20px/1 sans-here } p { margin: 0; color: #000 } .gone { visibility: hidden }"


@pytest.fixture(scope="module")
def drawn() -> list[pages.Page]:
    return [pages.draw(seed) for seed in range(8)]


# ------------------------------------------------------------------------------------------------- drawn pages


@needs_chromium
def test_a_box_holds_the_ink_of_its_element_and_no_more() -> None:
    body = "<p><span data-key='a'>HOMER &amp; co</span></p><p class='gone'>gone</p><p>after <b>it</b></p>"
    sheet = chromium.render(STYLE, body, 400)
    image = Image.open(io.BytesIO(sheet.png)).convert("L")
    assert (image.width, image.height) == (sheet.width, sheet.height) == (400, 80)
    assert [(one.key, one.text) for one in sheet.printed] == [("a", "HOMER & co"), ("", "after it"), ("", "it")]
    box, text_px = sheet.printed[0].box, sheet.printed[0].text_px
    ink = ImageChops.invert(image.crop((0, 0, 400, 30))).getbbox()
    assert ink is not None
    assert box.grow(1, 1).contains(Box(*map(float, ink)))
    assert box.x1 - 1 <= ink[0]
    assert ink[2] >= box.x2 - 3
    capitals = ImageChops.invert(image.crop((10, 0, 24, 30))).point(lambda value: 255 * (value > 100)).getbbox()
    assert capitals is not None
    assert capitals[3] - capitals[1] == pytest.approx(text_px, abs=1)


@needs_chromium
def test_the_same_seed_gives_the_same_page_in_another_browser(drawn: list[pages.Page]) -> None:
    code = (
        "import sys, hashlib; from dataforge import pages; print(hashlib.sha256(pages.draw(3).sheet.png).hexdigest())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == hashlib.sha256(drawn[3].sheet.png).hexdigest()
    assert pages.draw(3) == drawn[3]
    assert len({page.sheet.png for page in drawn}) == len(drawn)


@needs_chromium
def test_every_answer_is_the_whole_text_of_one_element_inside_its_places(drawn: list[pages.Page]) -> None:
    kinds = Counter(page.kind for page in drawn)
    assert len(kinds) >= 3, kinds
    for page in drawn:
        whole = Box(0, 0, page.sheet.width, page.sheet.height)
        assert page.sheet.width * page.sheet.height > 1_500_000, "one must look closer"
        assert len({asked.question for asked in page.asked}) == len(page.asked)
        for asked in page.asked:
            answer = page.places[asked.key]
            assert answer.text == asked.answer
            boxes = [page.places[key].box for key in asked.places]
            assert all(whole.contains(box) for box in boxes)
            assert any(box.grow(1, 1).contains(answer.box) for box in boxes), asked
            assert all(asked.answer not in label for label in asked.places.values())
            assert asked.answer not in asked.question.split()


@needs_chromium
def test_drawn_pages_become_traces(tmp_path: Path) -> None:
    progress, run = run_all(tmp_path, "web_pages", {"limit": 6, "source": {"name": "web_pages", "per_page": 2}})
    assert (progress.read, progress.kept) == (6, 6)
    traces = list(run.traces())
    assert len({trace.example.group for trace in traces}) == 3, "two questions a page"
    assert all("Chrom" in trace.example.media[0].origin for trace in traces), "whose layout it is"


@needs_chromium
@needs_proc
def test_the_browser_goes_with_the_process_that_started_it() -> None:
    code = (
        "import time; from dataforge.pages.chromium import browser, render;"
        "render('', '<p>x', 300); print(browser()._pid, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert _alive(pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 20
    while _alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has buried yet doesn't."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@needs_chromium
@needs_proc
def test_the_browser_is_not_told_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    browser = chromium.Chromium()
    try:
        assert b"sk-secret" not in Path(f"/proc/{browser._pid}/environ").read_bytes()
    finally:
        browser.close()


@needs_chromium
def test_a_browser_that_died_costs_one_page() -> None:
    chromium.render("", "<p>before", 300)
    os.kill(chromium.browser()._pid, signal.SIGKILL)
    with pytest.raises(ExampleError) as caught:
        chromium.render("", "<p>dead", 300)
    assert (caught.value.stage, caught.value.reason) == ("pages", "browser_failed")
    assert chromium.render("", "<p>after", 300).printed[0].text == "after"


@needs_chromium
def test_a_browser_that_does_not_start_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "chromium").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "chromium").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ExampleError) as caught:
        chromium.Chromium()
    assert caught.value.reason == "browser_failed"


def test_without_a_browser_the_person_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    source = plugins.build("source", {"name": "web_pages"})
    if not chromium.MAC.is_file():
        assert "apt-get install chromium" in source.missing
        with pytest.raises(UsageError, match="apt-get install chromium"):
            chromium.Chromium()
    assert plugins.build("source", {"name": "web_pages", "path": str(tmp_path)}).missing == ""


# ------------------------------------------------------------------------------------------------- folders


def web(folder: Path, **options: Any) -> Any:
    return plugins.build("source", {"name": "web_pages", "path": str(folder), **options})


def read(source: Any, store: MediaStore) -> tuple[list[Any], Counter[str]]:
    """The examples of a source, and the reasons of what became none."""
    found, reasons = [], Counter[str]()
    for item in source.read():
        if isinstance(item, Failure):
            reasons[item.reason] += 1
            continue
        assert isinstance(item, Row)
        try:
            found.append(source.example(item, store))
        except ExampleError as error:
            reasons[error.reason] += 1
    return found, reasons


def websrc(folder: Path) -> Path:
    """A site in WebSRC's layout: its screenshot shows element 2, which begins at (100, 50) of the page."""
    site = folder / "auto" / "03"
    (site / "processed_data").mkdir(parents=True)
    rows = [
        ("What is the length?", "au030000106472", "4", "0", "190.7 "),
        ("Is it red?", "au030000106473", "-1", "1", "yes"),
        ("What is below the end?", "au030000106474", "5", "0", "a price"),
        ("Where is no file?", "au030000906475", "4", "0", "nowhere"),
        ("Nothing?", "au030000106476", "4", "0", ""),
    ]
    lines = ["question,id,element_id,answer_start,answer", *(",".join(row) for row in rows)]
    (site / "dataset.csv").write_text("\n".join(lines) + "\n")
    rects = {"2": (100, 50, 300, 900), "4": (160, 80, 60, 20), "5": (160, 700, 60, 20)}
    named = {n: {"rect": dict(zip(("x", "y", "width", "height"), rect, strict=True))} for n, rect in rects.items()}
    (site / "processed_data" / "0300001.json").write_text(json.dumps(named))
    Image.new("RGB", (300, 200), "white").save(site / "processed_data" / "0300001.png")
    return folder


def test_websrc_boxes_are_moved_onto_the_screenshot(tmp_path: Path, store: MediaStore) -> None:
    (length, red), reasons = read(web(websrc(tmp_path)), store)
    assert (length.question, length.answers, length.group) == (
        "What is the length?",
        ("190.7",),
        "websrc/auto/03/processed_data/0300001.png",
    )
    assert [tuple(region.box) for region in length.evidence] == [(60, 30, 120, 50)]
    assert (red.answers, red.evidence) == (("yes",), ())
    assert reasons == {"bad_box": 1, "bad_annotation": 1, "no_answer": 1}
    assert not web(tmp_path).redistributable


def test_a_screenshot_of_another_width_is_refused(tmp_path: Path, store: MediaStore) -> None:
    folder = websrc(tmp_path)
    Image.new("RGB", (600, 400)).save(folder / "auto" / "03" / "processed_data" / "0300001.png")
    found, reasons = read(web(folder), store)
    assert (len(found), reasons["size_mismatch"]) == (1, 2)


def test_screen_qa_with_and_without_boxes(tmp_path: Path, store: MediaStore) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (100, 200)).save(tmp_path / "images" / "7.jpg")
    element = {"text": "12", "bounds": [10, 20, 30, 40], "vh_index": 3}
    truths = [{"full_answer": "none", "ui_elements": []}, {"full_answer": "12 apples", "ui_elements": [element]}]
    boxed = {"image_id": 7, "image_width": 100, "image_height": 200, "question": "How many?", "ground_truth": truths}
    short = {"image_id": 7, "question": "Who?", "ground_truth": ["Ann"]}
    rows = [boxed, boxed | {"image_width": 200}, boxed | {"image_id": 8}, short]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    (first, last), reasons = read(web(tmp_path), store)
    assert (first.answers, [tuple(one.box) for one in first.evidence]) == (("none", "12 apples"), [(10, 20, 30, 40)])
    assert (last.answers, last.evidence) == (("Ann",), ())
    assert reasons == {"size_mismatch": 1, "missing_media": 1}
    with pytest.raises(UsageError, match=r"no val\.json .* there is train"):
        list(web(tmp_path, split="val").read())


def test_textract_queries(samples: Path, store: MediaStore) -> None:
    found, reasons = read(web(samples / "textract_docs"), store)
    assert [(one.question, one.answers) for one in found] == [
        ("What is the name of the package?", ("Textractor",)),
        ("What is the title of the document?", ("Textractor Test Document",)),
    ]
    assert reasons == {"no_answer": 2, "no_question": 3}
    title = found[1]
    assert len(title.context) > 50
    assert title.evidence[0].box.contains(title.context[0].box.grow(-3, -3)), "its first line is the title's"


@pytest.mark.parametrize(("file", "split"), [("short_answers", "validation"), ("complex_qa", "data")])
def test_real_screen_qa_without_screenshots_is_counted(samples: Path, store: MediaStore, file: str, split: str) -> None:
    found, reasons = read(web(samples / "screen_qa" / file, split=split), store)
    assert (found, reasons) == ([], {"missing_media": 40})


def test_a_folder_of_no_known_layout_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="websrc, screen_qa, textract"):
        list(web(tmp_path).read())
    with pytest.raises(UsageError, match="leave `path` out to draw pages"):
        list(web(tmp_path / "nowhere").read())
