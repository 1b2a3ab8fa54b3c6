"""Two small runs that differ in a known way: each difference is found, counted, and shown with its texts."""

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from dataforge import diff, report
from dataforge.errors import UsageError
from dataforge.records import Failure, Trace, Verdict, read_lines
from dataforge.runs import Run, write_lines
from tests import drawn_run

FIXED = Verdict(check="answer", ok=True, score=1.0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """B: poster-6 is mended, poster-1 is broken, poster-0 failed, poster-8 became a trace, poster-5 is not there."""
    folder = tmp_path_factory.mktemp("runs")
    a = drawn_run.make(folder)
    b = Path(shutil.copytree(a.folder, folder / "other"))
    manifest = json.loads((b / "manifest.json").read_text())
    manifest["compose"]["too_large"] = 6.0
    manifest["prompts"]["write"] = "One line [bold]only[/bold]\n" + manifest["prompts"].get("write", "")
    (b / "manifest.json").write_text(json.dumps(manifest))
    traces = {trace.id: trace for trace in a.traces()}
    traces["poster-6"] = traces["poster-6"].model_copy(
        update={"answer": "42", "verdicts": (*drawn_run.GOOD[:1], FIXED)}
    )
    traces["poster-1"] = traces["poster-1"].model_copy(
        update={"verdicts": (*drawn_run.GOOD[:1], drawn_run.BAD), "answer": "9"}
    )
    new = traces["poster-2"].model_copy(update={"id": "poster-8", "kind": "single"})
    left = [trace for name, trace in traces.items() if name not in ("poster-0", "poster-5")]
    write_lines(b / "traces.jsonl", [*left, new])
    failures = [failure for failure in a.failures() if failure.id != "poster-8"]
    write_lines(b / "failed.jsonl", [*failures, Failure(id="poster-0", stage="compose", reason="no_kind_fits")])
    return Run.open(a.folder), Run.open(b)


def test_what_differs_is_counted(runs: tuple[Run, Run]) -> None:
    made = diff.compare(*runs)
    assert (made.in_both, made.only_a, made.only_b) == (10, 1, 0)
    assert {(flip.check, flip.a, flip.b): flip.count for flip in made.flips} == {
        ("answer", "ok", "wrong"): 1,
        ("answer", "wrong", "ok"): 1,
    }
    assert {(one.what, one.a, one.b): one.count for one in made.shifts} == {
        ("answer", "", ""): 2,
        ("outcome", "failed", "kept"): 1,
        ("outcome", "kept", "failed"): 1,
        ("outcome", "kept", "rejected"): 1,
        ("outcome", "rejected", "kept"): 1,
    }
    assert made.report_a.kept - made.report_b.kept == 1
    assert (made.report_a, made.report_b) == tuple(report.summarise(run) for run in runs)
    assert (made.checks_only_a, made.checks_only_b) == ((), ())


def test_examples_have_the_texts_of_both(runs: tuple[Run, Run]) -> None:
    flip = next(flip for flip in diff.compare(*runs).flips if flip.b == "ok")
    pair = flip.examples[0]
    assert (pair.id, pair.answer_a, pair.answer_b) == ("poster-6", "9", "42")
    assert pair.detail_a == "'9' is not '42'"
    assert pair.thought_b


def test_manifests_are_compared_key_by_key(runs: tuple[Run, Run]) -> None:
    changes = {change.key: (change.a, change.b) for change in diff.compare(*runs).manifest}
    assert changes["compose.too_large"] == ("4.0", "6.0")
    assert set(changes) == {"compose.too_large", "prompts.write"}


def test_a_run_against_itself_differs_in_nothing(runs: tuple[Run, Run]) -> None:
    made = diff.compare(runs[0], runs[0])
    assert (made.manifest, made.flips, made.shifts, made.only_a, made.only_b) == ((), (), (), 0, 0)


def test_filters_files_say_what_is_kept(runs: tuple[Run, Run], tmp_path: Path) -> None:
    a = runs[0]
    b = Path(shutil.copytree(a.folder, tmp_path / "judged"))
    traces = list(read_lines(b / "traces.jsonl", Trace))
    write_lines(b / "kept.jsonl", traces[:7])
    write_lines(b / "rejected.jsonl", traces[7:])
    made = diff.compare(a, Run.open(b))
    assert [(one.a, one.b, one.examples[0].id) for one in made.shifts] == [("rejected", "kept", "poster-6")]


def test_it_is_json_and_comes_back(runs: tuple[Run, Run]) -> None:
    made = diff.compare(*runs)
    assert diff.Diff.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize("width", [50, 140])
def test_it_is_shown_with_markup_as_text(runs: tuple[Run, Run], width: int) -> None:
    console = Console(width=width, file=io.StringIO())
    console.print(diff.render(diff.compare(*runs)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "One line [bold]only[/bold]" in text
    assert "answer: wrong -> ok" in text
    assert "outcome: kept -> failed" in text


def test_a_broken_line_is_named(runs: tuple[Run, Run], tmp_path: Path) -> None:
    b = Path(shutil.copytree(runs[0].folder, tmp_path / "broken"))
    with (b / "traces.jsonl").open("a") as lines:
        lines.write("{}\n")
    with pytest.raises(UsageError, match=r"traces\.jsonl, field id: Field required"):
        diff.compare(runs[0], Run.open(b))
