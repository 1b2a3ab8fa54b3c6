"""What a source holds: the numbers, the page in a real browser, and the command."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dataforge import plugins
from dataforge.survey import survey
from tests.browser import tab
from tests.test_pages import websrc

HOSTILE = 'Who <script>document.title = "bad"</script> & $where?'


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine rows on three pictures: one missing, one broken; one row without an answer."""
    folder = tmp_path_factory.mktemp("table")
    Image.new("RGB", (1200, 900), "#ddeeff").save(folder / "0.png")
    Image.new("RGB", (300, 200), "#ffeedd").save(folder / "1.png")
    (folder / "2.png").write_bytes(b"no picture")
    rows: list[dict[str, Any]] = [
        {"image": f"{n % 4}.png", "question": HOSTILE, "answer": ["1", "one"], "box": [10, 10, 40, 30]}
        for n in range(8)
    ]
    rows[1] |= {"box": None, "answer": "2"}
    lines = [*map(json.dumps, rows), json.dumps({"image": "0.png", "question": "Why?", "answer": ""}), "{broken"]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    return folder / "rows.jsonl"


def source(table: Path) -> Any:
    columns = {"question": "question", "answers": "answer", "boxes": "box", "box_order": "xyxy", "box_unit": "pixels"}
    return plugins.build("source", {"name": "table", "path": str(table), "licence": "CC0", **columns})


def test_the_numbers_add_up(table: Path) -> None:
    numbers, _ = survey(source(table), 100)
    assert numbers.rows == 8
    assert numbers.unreadable == {"read: no_answer": 1, "read: bad_json": 1}
    assert numbers.sampled == 8 == numbers.examples + sum(numbers.failures.values())
    assert numbers.failures == {"media: not_a_picture": 2, "media: missing_media": 2}
    assert (numbers.pictures, numbers.missing, numbers.groups) == (2, 1, 4)
    assert numbers.megapixels == {"under 0.25 MP": 1, "1 to 2 MP": 1}
    assert (numbers.with_boxes, numbers.boxes, numbers.said_by) == (3, 3, {"annotation": 3})
    assert numbers.box_shares == {"0.01 to 0.1 %": 2, "1 to 5 %": 1}
    assert numbers.answers == {"2 to 5": 3, "1": 1}
    assert (numbers.licence, numbers.redistributable) == ("CC0", False)


def test_a_sample_is_spread_over_all_rows(table: Path) -> None:
    seen: list[int] = []
    numbers, _ = survey(source(table), 3, seen.append)
    assert (numbers.rows, numbers.sampled, seen) == (8, 3, [1, 2, 3])
    assert numbers.groups == 3, "rows 0, 3 and 6"


def test_a_source_without_questions_shows_its_places() -> None:
    numbers, page = survey(plugins.build("source", {"name": "photos"}), 2)
    assert (numbers.rows, numbers.examples, numbers.posed_by_teacher) == (None, 2, 2)
    assert numbers.boxes >= 10
    assert "the teacher makes one" in page


def test_the_page_in_a_browser(table: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(survey(source(table), 100)[1])
    with tab() as browser:
        browser.ask("Page.navigate", url=(tmp_path / "page.html").as_uri())
        browser.wait("document.readyState === 'complete' && document.querySelectorAll('article').length === 2")
        assert browser.evaluate("document.title") == "table: what is in it"
        assert browser.evaluate("document.querySelector('.question').textContent") == HOSTILE
        assert browser.evaluate("document.querySelectorAll('article')[0].querySelectorAll('g.evidence').length") == 1
        assert browser.evaluate("document.querySelectorAll('article image').length") == 2
        assert not browser.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert browser.complaints() == []


def command(*arguments: str, at: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", "from dataforge.cli import main; main()", "sources", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=at, check=False)


def test_the_command_writes_the_page_and_the_numbers(tmp_path: Path) -> None:
    folder = websrc(tmp_path / "web")
    told = command("web_pages", "--path", str(folder), "--json", at=tmp_path)
    assert told.returncode == 0, told.stderr
    numbers = json.loads(told.stdout)
    assert (numbers["rows"], numbers["examples"], numbers["page"]) == (3, 2, "web_pages-source.html")
    assert "websrc" in (tmp_path / "web_pages-source.html").read_text()
    shown = command("web_pages", "--path", str(folder), "--out", "mine.html", at=tmp_path)
    assert "3 rows; 2 examples of 3 opened" in shown.stdout
    assert (tmp_path / "mine.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["webpages"], "did you mean 'web_pages'"),
        (["sa1b"], "path"),
        (["photos", "--path", "nowhere"], "not a folder"),
        (["table", "--manifest", "nowhere.yaml"], "nowhere.yaml"),
        (["photos", "--split", "x", "--limit", "0"], "limit"),
    ],
)
def test_what_cannot_be_surveyed_is_a_line_to_the_person(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    told = command(*arguments, at=tmp_path)
    assert told.returncode == 2
    assert complaint in told.stderr
    assert "Traceback" not in told.stderr


def test_a_manifest_gives_the_options(table: Path, tmp_path: Path) -> None:
    content = {"name": "mine", "source": {"name": "table", "path": str(table), "answers": "answer"}}
    (tmp_path / "mine.yaml").write_text(json.dumps(content))
    told = command("table", "--manifest", "mine.yaml", "--json", at=tmp_path)
    assert json.loads(told.stdout)["rows"] == 8
    other = command("photos", "--manifest", "mine.yaml", at=tmp_path)
    assert (other.returncode, "no source 'photos': there is table" in other.stderr) == (2, True)
    parts = [{**content["source"], "share": 1}, {"name": "photos", "share": 1, "seed": 4}]
    (tmp_path / "both.yaml").write_text(json.dumps({"name": "both", "sources": parts}))
    part = command("table", "--manifest", "both.yaml", "--json", at=tmp_path)
    assert json.loads(part.stdout)["rows"] == 8
    both = command("mixed", "--manifest", "both.yaml", "--limit", "4", "--json", at=tmp_path)
    assert json.loads(both.stdout)["sampled"] == 4
