"""The report adds up, is the same twice, survives what is missing, and lets no data become markup."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import ValidationError

from dataforge import report
from dataforge.geometry import Box
from dataforge.records import Failure, Trace, read_lines
from dataforge.report import Report, counting, exhibits, pictures, samples
from dataforge.runs import Run, append_line, write_lines
from tests import drawn_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_run.make(tmp_path_factory.mktemp("runs")).folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Run:
    """A copy of the drawn run that a test may spoil."""
    return Run.open(shutil.copytree(made, tmp_path / made.name))


class Page(HTMLParser):
    """What a browser would make of a page: its elements and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def classed(self, name: str) -> list[str]:
        return [tag for tag, attributes in self.elements if name in (attributes.get("class") or "").split()]


def page_of(run: Run) -> Page:
    report.write(run)
    return Page((run.folder / "report.html").read_text(encoding="utf-8"))


# --------------------------------------------------------------------------------------------------------- numbers


def test_numbers_of_a_run(run: Run) -> None:
    made = report.summarise(run)
    assert (made.read, made.kept, made.rejected, made.failed) == (11, 6, 2, 3)
    assert made.judged_by == "synth"
    assert made.kinds["single"] == 3
    assert made.rejected_kinds == {"single": 2}
    assert made.rejections == {"answer: wrong": 1, "no_leak: coordinates": 1}
    assert made.failures == {"locate: not_found": 2, "media: broken_picture": 1}
    assert made.roles == {"answer": 8, "look": 5, "mistake": 4, "recover": 3}
    assert made.looks == {"0": 1, "1": 3, "2": 3, "3": 1}
    assert made.evidence["0.1% to 0.3%"] == 8, "160x40 of 1000x2400 pixels"
    assert made.evidence["0.3% to 1%"] == 1
    assert (made.teachers, made.scripted) == ({"scripted": 8}, 8)
    assert (made.input_tokens, made.output_tokens, made.cost_usd) == (800, 80, 0.08)
    assert made.view_tokens == sum(
        (view.width // 28) * (view.height // 28) for trace in run.traces() for view in trace.all_views
    )


def test_the_funnel_goes_from_read_to_kept(run: Run) -> None:
    made = report.summarise(run)
    assert made.funnel == {
        "read": 11,
        "after media": 10,
        "after locate": 8,
        "after answer": 7,
        "after no_leak": 6,
        "kept": 6,
    }
    page = page_of(run)
    assert "From read to kept" in page.text


def test_reasons_by_kind_and_source(run: Run) -> None:
    made = report.summarise(run)
    assert made.reasons_by_kind == {"single": {"answer: wrong": 1, "no_leak: coordinates": 1}}
    assert made.reasons_by_source == {"drawn": {"answer: wrong": 1, "no_leak: coordinates": 1}}
    assert page_of(run).text.count("Why rejected, by kind and source") == 1


def test_tokens_of_a_trace_are_binned(run: Run) -> None:
    made = report.summarise(run)
    assert made.replies == {"under 250": 8}
    assert sum(made.view_sizes.values()) == 8
    assert [counting.token_bin(tokens) for tokens in (249, 250, 16000)] == ["under 250", "250 to 500", "over 16,000"]


def test_a_trace_kept_by_hand_counts_as_kept(run: Run) -> None:
    traces = list(run.traces())
    write_lines(run.folder / "kept.jsonl", traces[:7])
    write_lines(run.folder / "rejected.jsonl", traces[7:])
    made = report.summarise(run)
    assert (made.kept, made.rejected) == (7, 1), "poster-6 has a failed verdict, and was kept all the same"
    assert made.rejections == {"no_leak: coordinates": 1}


@pytest.mark.parametrize(
    ("suffix", "box"), [("/../../../../etc/passwd", None), (".png", (0, 0, 10**9, 10**9))], ids=["path", "box"]
)
def test_a_trace_that_names_what_is_not_the_runs_shows_nothing(run: Run, suffix: str, box: tuple[int, ...]) -> None:
    trace = list(run.traces())[1]
    media = trace.example.media[0].model_copy(update={"suffix": suffix})
    example = trace.example.model_copy(update={"media": (media,)})
    view = trace.all_views[-1].model_copy(update={"box": Box(*map(float, box))} if box else {})
    address, sentence = pictures.Pictures(run.store).view(example, view, (420, 420))
    assert not address
    assert sentence.startswith("no picture: ")


@pytest.mark.parametrize(
    ("share", "label"), [(0.0, "under 0.1%"), (0.001, "0.1% to 0.3%"), (0.2999, "10% to 30%"), (1.0, "over 30%")]
)
def test_share_bins_are_half_open(share: float, label: str) -> None:
    assert counting.share_bin(share) == label


def test_a_report_that_does_not_add_up_is_refused(run: Run) -> None:
    content = report.summarise(run).model_dump()
    with pytest.raises(ValidationError, match="read 12 is not kept 6"):
        Report(**content | {"read": 12})
    with pytest.raises(ValidationError, match="do not add up to 2"):
        Report(**content | {"rejections": {}})


def test_filter_decides_where_it_has_judged_everything(run: Run) -> None:
    traces = list(run.traces())
    write_lines(run.folder / "kept.jsonl", traces[:2])
    write_lines(
        run.folder / "rejected.jsonl",
        [trace.model_copy(update={"verdicts": (drawn_run.BAD,)}) for trace in traces[2:]],
    )
    made = report.summarise(run)
    assert (made.judged_by, made.kept, made.rejected) == ("filter", 2, 6)
    assert made.rejections == {"answer: wrong": 6}


def test_older_verdicts_of_filter_are_not_used(run: Run) -> None:
    write_lines(run.folder / "kept.jsonl", list(run.traces())[:2])
    assert report.summarise(run).kept == 6
    assert "run filter again" in page_of(run).text


def test_an_empty_run_has_a_report(tmp_path: Path) -> None:
    with Run.start(tmp_path, drawn_run.manifest()) as run:
        assert report.write(run).read == 0
        assert "none yet" in page_of(run).text


def test_the_same_run_gives_the_same_bytes(run: Run) -> None:
    files = [run.folder / "report.json", run.folder / "report.html"]
    report.write(run)
    before = [path.read_bytes() for path in files]
    report.write(Run.open(run.folder))
    assert [path.read_bytes() for path in files] == before
    assert str(run.folder).encode() not in before[1]
    assert list(json.loads(before[0])) == list(Report.model_fields)


# ------------------------------------------------------------------------------------------------------------ page


def test_every_sample_shows_its_pictures_looks_and_verdicts(run: Run) -> None:
    page = page_of(run)
    assert len(page.classed("sample")) == 8
    views = sum(len(step.observation.views) for trace in run.traces() for step in trace.looks if step.observation)
    assert [tag for tag, _ in page.elements].count("img") == views
    marks = [attributes["class"] for tag, attributes in page.elements if tag == "g"]
    assert marks.count("mark mistake") == 4
    assert marks.count("mark look") == 8 + 1, "the zoom of a zoom is drawn on its parent view as well"
    shown = sum(
        view.box.overlaps(region.box)
        for trace in run.traces()
        for step in trace.looks
        for view in (step.observation.views if step.observation else ())
        for region in trace.regions
    )
    assert marks.count("mark evidence") == 9 + shown
    assert "answer 0.00: wrong" in page.text
    assert "thoughts written by rule from the annotation" in page.text
    assert page.text.count("call · masked") == 4


def test_a_zoom_of_a_zoom_is_drawn_where_it_lies_on_the_source(run: Run) -> None:
    trace = next(trace for trace in run.traces() if trace.kind == "zoom_further")
    article = exhibits.exhibit(1, trace, pictures.Pictures(run.store))
    rect = next(mark for mark in article.iter("g") if mark.get("class") == "mark look").findall("rect")[1]
    scale = 375 / 1000, 900 / 2400
    box = trace.all_views[-1].box
    assert float(rect.get("x", "")) == pytest.approx(box.x1 * scale[0], abs=0.01)
    assert float(rect.get("y", "")) == pytest.approx(box.y1 * scale[1], abs=0.01)
    assert float(rect.get("width", "")) == pytest.approx(box.width * scale[0], abs=0.01)


def test_no_text_from_data_becomes_markup(run: Run) -> None:
    hostile = '"><script>alert(1)</script><img src=x onerror=alert(1)> $title ${body} & \u202e'
    first = next(run.traces())
    step = first.steps[-1].model_copy(update={"thought": hostile, "role": "answer"})
    example = first.example.model_copy(
        update={"question": hostile, "answers": (hostile,), "choices": (hostile,), "source": hostile}
    )
    region = first.regions[0].model_copy(update={"label": hostile})
    provenance = first.provenance.model_copy(update={"teacher": hostile})
    verdict = drawn_run.BAD.model_copy(update={"reason": hostile, "detail": hostile})
    changes = {
        "id": hostile,
        "example": example,
        "steps": (step,),
        "regions": (region,),
        "answer": hostile,
        "provenance": provenance,
        "verdicts": (verdict,),
    }
    append_line(run.traces_path, first.model_copy(update=changes))
    append_line(run.failed_path, Failure(id=hostile, stage=hostile, reason=hostile, detail=hostile))
    page = page_of(run)
    tags = {tag for tag, _ in page.elements}
    assert "script" not in tags
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.text.count(hostile) >= 10


def test_the_page_needs_nothing_from_outside(run: Run) -> None:
    report.write(run)
    html = (run.folder / "report.html").read_text(encoding="utf-8")
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert addresses
    assert all(address.startswith(("data:image/jpeg;base64,", "#sample-")) for address in addresses)
    assert "url(" not in html
    assert "@import" not in html


def test_a_missing_picture_leaves_a_place(run: Run) -> None:
    shutil.rmtree(run.store.folder)
    page = page_of(run)
    assert page.text.count("no picture: missing media") >= 8
    assert "img" not in {tag for tag, _ in page.elements}


def test_pixels_that_are_not_the_recorded_ones_are_said(run: Run) -> None:
    trace = list(read_lines(run.traces_path, Trace))[1]
    other = trace.all_views[-1].model_copy(update={"sha256": "0" * 64})
    address, sentence = pictures.Pictures(run.store).view(trace.example, other, (420, 420))
    assert address
    assert "not the pixels" in sentence


def test_pictures_beyond_the_budget_are_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "PAGE_BYTES", 30_000)
    page = page_of(run)
    assert "left out: the page holds enough pictures" in page.text
    assert (run.folder / "report.html").stat().st_size < 30_000 * 4 / 3 + 100_000


def test_samples_are_few_and_from_every_kind_and_reason(run: Run) -> None:
    seen = samples.Samples()
    traces = list(run.traces())
    for number in range(200):
        for trace in traces:
            seen.see(trace.model_copy(update={"id": f"{trace.id}-{number}"}), trace.ok)
        seen.see_failure(Failure(id=f"f-{number}", stage="locate", reason="not_found"))
    chosen = seen.traces()
    assert len(chosen) == samples.SAMPLES_KEPT + samples.SAMPLES_REJECTED
    assert {trace.kind for trace, kept in chosen if kept} == {trace.kind for trace in traces}
    assert {report.first_reason(trace) for trace, kept in chosen if not kept} == {
        "answer: wrong",
        "no_leak: coordinates",
    }
    assert len(seen.failures) == samples.FAILURES_OF_ONE_REASON
    assert sum(map(len, seen.kept.values())) <= samples.HELD * 6
