"""One trace in the terminal: all of it, as plain text, found by id or the start of it."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from dataforge.errors import UsageError
from dataforge.runs import Run
from dataforge.show import find_trace, picture_map, render
from tests import drawn_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return drawn_run.make(tmp_path_factory.mktemp("runs"))


def shown(run: Run, name: str, width: int = 400) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(render(find_trace(run, name), run))
    return console.file.getvalue()


def test_the_whole_trace_is_shown(run: Run) -> None:
    text = shown(run, "poster-4")
    trace = find_trace(run, "poster-4")
    for step in trace.steps:
        assert step.thought in text
    assert '-> zoom_in {"bbox_2d": [129, 578, 644, 1283], "target_image": 1}' in text
    assert "image 2: 728x1036, shows [200, 900, 1000, 2000] of picture 1" in text
    assert "1 mistake  call masked" in text
    assert "42 | forty-two" in text
    assert "thoughts written by rule from the annotation" in text
    assert str(run.store.path(trace.example.media[0])) in text


def test_what_is_wrong_is_said(run: Run) -> None:
    assert "not ok  answer 0.00: wrong ('9' is not '42')" in shown(run, "poster-6")


def test_markup_in_data_stays_text(run: Run) -> None:
    assert drawn_run.HOSTILE in shown(run, "poster-1")
    assert "42 <b>bees</b>" in shown(run, "poster-0")


@pytest.mark.parametrize("name", [f"poster-{number}" for number in range(8)])
def test_it_fits_a_narrow_terminal(run: Run, name: str) -> None:
    shown(run, name, width=50)


def test_the_map_shows_evidence_and_numbered_looks(run: Run) -> None:
    rows = picture_map(find_trace(run, "poster-3")).plain.splitlines()
    assert len(rows) <= 20 + 2 + 1
    assert "▒" in "".join(rows[:-1])
    place = {digit: next(row for row, text in enumerate(rows[:-1]) if digit in text) for digit in "234"}
    assert place["2"] < place["4"] < place["3"], "as they lie on the picture, from top to bottom"


def test_a_trace_is_found_by_the_start_of_its_id(run: Run) -> None:
    assert find_trace(run, "poster-1").id == "poster-1"
    with pytest.raises(UsageError, match=r"several traces start with 'poster-': poster-0, poster-1, poster-2, \.\.\."):
        find_trace(run, "poster-")


def test_a_unique_start_is_enough(tmp_path: Path) -> None:
    with Run.start(tmp_path, drawn_run.manifest()) as run:
        for name in ("page-12", "page-34"):
            run.append(drawn_run.trace(run, name, "direct", []))
        assert find_trace(run, "page-3").id == "page-34"


def test_an_unknown_id_is_answered_with_near_ones(run: Run) -> None:
    with pytest.raises(UsageError, match=r"no trace 'pster-3' in drawn-.*: near are poster-3, "):
        find_trace(run, "pster-3")


def test_a_failed_example_says_why(run: Run) -> None:
    with pytest.raises(UsageError, match="poster-8 became no trace: locate: not_found"):
        find_trace(run, "poster-8")


def test_a_run_without_traces_says_so(tmp_path: Path) -> None:
    with Run.start(tmp_path, drawn_run.manifest()) as run, pytest.raises(UsageError, match="it holds none"):
        find_trace(run, "a")
