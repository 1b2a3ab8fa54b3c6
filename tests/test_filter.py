"""Filter: phases, order, what is remembered, marks, kills, and lines that don't fit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataforge.errors import UsageError
from dataforge.filter import sift
from dataforge.filter.judging import Line, extended, passed, with_verdicts
from dataforge.marks import Mark, write_mark
from dataforge.records import Trace, Verdict, to_line
from dataforge.report import judged_by
from dataforge.runs import Run
from tests import drawn_run
from tests.servers import TeacherServer

CHEAP = ["well_formed", "answer", "no_leak", "legible"]
ALL = [*CHEAP, "replay"]

MINE = {
    "first_only": (
        "from dataforge.plugins import SetCheck\n"
        "class FirstOnly(SetCheck):\n"
        "    '''The first of each group; it reads all before it speaks.'''\n"
        "    reasons = ('later',)\n"
        "    def sift(self, traces, kit):\n"
        "        groups = [trace.example.group for trace in traces]\n"
        "        for at, group in enumerate(groups):\n"
        "            yield self.failed('later') if group in groups[:at] else self.passed()\n"
    ),
    "fatal": (
        "import os, signal\n"
        "from dataforge.plugins import Check\n"
        "class Fatal(Check):\n"
        "    '''One trace takes the process down.'''\n"
        "    def judge(self, trace, kit):\n"
        "        if trace.id == 'poster-2':\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return self.passed()\n"
    ),
    "slow": (
        "import time\n"
        "from dataforge.plugins import Check\n"
        "class Slow(Check):\n"
        "    '''Takes its time.'''\n"
        "    opens_pictures = True\n"
        "    def judge(self, trace, kit):\n"
        "        time.sleep(0.2)\n"
        "        return self.passed(0.5)\n"
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return drawn_run.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    shutil.copytree(made.folder, tmp_path / "runs" / made.folder.name)
    return Run.open(tmp_path / "runs" / made.folder.name)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Checks from outside, called mine.NAME, in worker processes too."""
    (tmp_path / "mine").mkdir()
    for name, text in MINE.items():
        (tmp_path / "mine" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


def read(run: Run, name: str) -> list[Trace]:
    return [Trace.model_validate_json(line) for line in (run.folder / f"{name}.jsonl").read_text().splitlines()]


def said(trace: Trace) -> dict[str, str]:
    return {verdict.check: verdict.reason for verdict in trace.verdicts}


def outcome(run: Run) -> dict[str, bytes]:
    return {name: (run.folder / name).read_bytes() for name in ("kept.jsonl", "rejected.jsonl")}


# ---------------------------------------------------------------------------------------------- phases and order


def test_all_reasons_are_shown_and_pictures_are_only_opened_for_what_passes(run: Run) -> None:
    sifted = sift(run, ["replay", *CHEAP, "grounded"])
    assert [trace.id for trace in read(run, "kept")] == [f"poster-{n}" for n in (1, 2, 3, 4, 5)]
    assert [trace.id for trace in read(run, "rejected")] == ["poster-0", "poster-6", "poster-7"]
    both = next(trace for trace in read(run, "rejected") if trace.id == "poster-6")
    assert said(both) == {
        "well_formed": "",
        "answer": "wrong",
        "no_leak": "",
        "legible": "too_small",
        "grounded": "misses_evidence",
    }
    kept = read(run, "kept")[0]
    assert list(said(kept)) == [*CHEAP, "grounded", "replay"], "in the manifest's order, pictures last"
    assert sifted.judged == {**dict.fromkeys([*CHEAP, "grounded"], 8), "replay": 5}
    assert (sifted.kept, sifted.rejected, sum(sifted.reasons.values())) == (5, 3, 3)
    assert judged_by(run) == "filter"


def test_set_checks_see_survivors_alone_and_in_order(run: Run, mine: None) -> None:
    sifted = sift(run, ["mine.first_only", *ALL])
    assert sifted.reasons["mine.first_only: later"] == 3
    assert [trace.id for trace in read(run, "kept")] == ["poster-1", "poster-4"]
    assert all("mine.first_only" not in said(trace) for trace in read(run, "rejected") if trace.id > "poster-5")


def test_what_is_written_is_what_to_line_writes(run: Run) -> None:
    sift(run, ALL)
    before = {trace.id: trace for trace in run.traces()}
    for name in ("kept", "rejected"):
        for line, trace in zip(
            (run.folder / f"{name}.jsonl").read_text().splitlines(True), read(run, name), strict=True
        ):
            assert line == to_line(trace) == to_line(before[trace.id].model_copy(update={"verdicts": trace.verdicts}))


def test_a_line_in_another_form_is_written_anew(made: Run) -> None:
    """A line with spaces, or with the seam's words inside an argument, takes the slow way to the same end."""
    trace = next(trace for trace in made.traces() if trace.kind == "single")
    call = trace.steps[0].call
    assert call is not None
    odd = call.model_copy(update={"arguments": {"a": 1, "verdicts": [{"provenance": {}}], "provenance": {}}})
    odd_trace = trace.model_copy(update={"steps": (trace.steps[0].model_copy(update={"call": odd}), *trace.steps[1:])})
    verdict = Verdict(check="c", ok=False, reason="r", detail='"ok":true ],"provenance":{ \u2028 é')
    told = extended("[]", json.dumps(verdict.model_dump(), ensure_ascii=False, separators=(",", ":")))
    assert not passed(told)
    for one in (trace, odd_trace):
        wanted = to_line(one.model_copy(update={"verdicts": (verdict,)}))
        stored = to_line(one)
        for line in (stored, json.dumps(json.loads(stored)) + "\n"):
            assert with_verdicts(Line(1, line.encode()), told.rstrip("\n")).decode() == wanted


# ---------------------------------------------------------------------------------------------- what is remembered


def test_a_second_filter_judges_nothing_and_a_changed_option_that_check_alone(run: Run) -> None:
    first = sift(run, ALL)
    before = outcome(run)
    assert first.judged["replay"] == 5
    assert sift(run, ALL).judged == {}
    assert outcome(run) == before
    changed: list[Any] = ["well_formed", "answer", "no_leak", {"name": "legible", "plain_side_px": 20.0}, "replay"]
    again = sift(run, changed)
    assert again.judged == {"legible": 8, "replay": 1}, "and replay of what legible now lets through"
    assert sift(run, ALL).judged == {}
    assert outcome(run) == before


def test_a_changed_line_is_judged_anew(run: Run) -> None:
    sift(run, ALL)
    lines = run.traces_path.read_text().splitlines(True)
    lines[1] = lines[1].replace('"answer":"42"', '"answer":"43"', 1)
    run.traces_path.write_text("".join(lines))
    assert sift(run, ALL).judged == dict.fromkeys(CHEAP, 1)
    assert said(next(t for t in read(run, "rejected") if t.id == "poster-1"))["answer"] == "wrong"


def test_without_its_memory_a_filter_says_the_same(run: Run) -> None:
    sift(run, ALL)
    before = outcome(run)
    (run.folder / "verdicts.sqlite").unlink()
    sift(run, ALL)
    assert outcome(run) == before


def test_a_broken_memory_is_named_with_its_fix(run: Run) -> None:
    (run.folder / "verdicts.sqlite").write_bytes(b"no database at all " * 100)
    with pytest.raises(UsageError, match=r"verdicts\.sqlite cannot be used .* delete it"):
        sift(run, ALL)


def test_a_filter_whose_verdicts_are_known_needs_no_server(run: Run) -> None:
    """Nor a key: the teacher is opened when it is first asked."""

    def fill(schema: Any, body: Any) -> dict[str, Any]:
        return {"grounding": 5, "honesty": 5, "reasoning": 5, "language": 5, "why": "-"}

    with TeacherServer(fill=fill) as server:
        checks: list[Any] = [*ALL, {"name": "judged", "teacher": asking(server)}]
        first = sift(run, checks)
        assert (first.judged["judged"], server.requests) == (5, 5)
    before = outcome(run)
    (run.folder.parent / "replies.sqlite").unlink()
    assert sift(run, checks).judged == {}
    assert outcome(run) == before


def asking(server: TeacherServer) -> dict[str, Any]:
    return {"name": "openai_api", "model": "tiny-vision", "base_url": server.url, "retries": 0}


def test_a_dead_key_stops_the_filter_and_leaves_the_last_one_whole(run: Run) -> None:
    sift(run, ALL)
    before = outcome(run)
    with TeacherServer("wrong_key") as server, pytest.raises(UsageError, match="OPENAI_API_KEY"):
        sift(run, [*ALL, {"name": "judged", "teacher": asking(server)}])
    assert outcome(run) == before
    assert not (run.folder / ".sifting").exists()


# ---------------------------------------------------------------------------------------------- a person's marks


def test_a_person_overrules_the_checks(run: Run, mine: None) -> None:
    """A dropped trace is no one's duplicate; a kept one is kept, with the verdicts that it failed."""
    write_mark(run.folder, Mark(id="poster-1", mark="drop"))
    write_mark(run.folder, Mark(id="poster-7", mark="keep"))
    sifted = sift(run, [*ALL, "mine.first_only"])
    kept = {trace.id: trace for trace in read(run, "kept")}
    assert list(kept) == ["poster-2", "poster-4", "poster-7"]
    assert sifted.reasons["marked: dropped_by_hand"] == 1
    dropped = next(trace for trace in read(run, "rejected") if trace.id == "poster-1")
    assert said(dropped)["marked"] == "dropped_by_hand"
    assert kept["poster-7"].ok
    assert said(kept["poster-7"])["legible"] == "too_small"


# ---------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("line", ["{oops", '{"id": "x"}', '{"schema_version":2}', "null"])
def test_a_line_that_does_not_fit_is_named(run: Run, line: str) -> None:
    lines = run.traces_path.read_text().splitlines(True)
    run.traces_path.write_text("".join([*lines[:3], line + "\n", *lines[3:]]))
    with pytest.raises(UsageError, match=r"traces\.jsonl line 4, field"):
        sift(run, ALL)
    assert not (run.folder / "kept.jsonl").exists()


def test_a_last_line_that_a_kill_cut_short_is_passed_over(run: Run) -> None:
    with run.traces_path.open("a") as lines:
        lines.write('{"schema_version":1,"id":"po')
    assert sift(run, ALL).kept == 5


def test_a_run_without_traces_says_what_to_do(run: Run) -> None:
    run.traces_path.unlink()
    with pytest.raises(UsageError, match="run synth first"):
        sift(run, ALL)


def test_a_worker_that_dies_costs_one_trace(run: Run, mine: None) -> None:
    sifted = sift(run, [*ALL, "mine.fatal"])
    assert sifted.reasons["filter: died"] == 1
    assert sifted.kept == 4
    assert said(next(t for t in read(run, "rejected") if t.id == "poster-2")) == {"filter": "died"}


SIFT = """
import sys
from pathlib import Path
from dataforge.filter import sift
from dataforge.runs import Run

if __name__ == "__main__":
    with Run.open(Path(sys.argv[1]), hold=True) as run:
        sift(run, sys.argv[2:])
"""


def test_kill_minus_nine_in_the_middle_then_the_same(run: Run, mine: None, tmp_path: Path) -> None:
    checks = [*ALL, "mine.slow"]
    whole = tmp_path / "runs" / "whole"
    shutil.copytree(run.folder, whole)
    sift(Run.open(whole), checks)
    (tmp_path / "sift.py").write_text(SIFT)
    command = [sys.executable, str(tmp_path / "sift.py"), str(run.folder), *checks]
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[1]}"}
    for wait_s in (0.6, 1.1, 1.5):
        process = subprocess.Popen(command, env=environment)
        time.sleep(wait_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, env=environment, check=True)
    assert outcome(run) == outcome(Run.open(whole))
    assert not (run.folder / ".sifting").exists()


def test_memory_does_not_grow_with_the_run(run: Run) -> None:
    """Ten times the traces: the peak of the filtering process stays where it was."""
    stored = run.traces_path.read_text().splitlines(True)
    peaks = []
    for times in (40, 400):
        lines = [line.replace('"id":"poster', f'"id":"{turn}-poster', 1) for turn in range(times) for line in stored]
        run.traces_path.write_text("".join(lines))
        code = "import resource\nwith Run.open(Path(sys.argv[1])) as run: sift(run, sys.argv[2:])\n"
        code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        script = SIFT.split("if __name__")[0] + code
        told = subprocess.run(
            [sys.executable, "-c", script, str(run.folder), *CHEAP], capture_output=True, text=True, check=True
        )
        peaks.append(int(told.stdout) / 1024)
    assert peaks[1] - peaks[0] < 12, peaks
