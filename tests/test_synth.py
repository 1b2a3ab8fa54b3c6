"""The whole path: sources to checked traces, with real processes, real HTTP teachers, and real kills."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from dataforge import manifest, plugins
from dataforge.episode import replay
from dataforge.errors import UsageError
from dataforge.filter import sift
from dataforge.manifest import Manifest
from dataforge.records import Failure, Trace
from dataforge.runs import Run, cut_torn_line
from dataforge.synth import Progress, synth
from tests.servers import TeacherServer

SHEETS = 10


@pytest.fixture(scope="session")
def sheets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ten drawn sheets, with questions on one small number each: table.jsonl."""
    folder = tmp_path_factory.mktemp("sheets")
    font = ImageFont.load_default(size=11)
    rows = []
    for number in range(SHEETS):
        picture = Image.effect_noise((1100, 1500), 25).convert("RGB")
        draw = ImageDraw.Draw(picture)
        for line in range(12):
            draw.text((80, 100 + 110 * line), f"line {line}: stock of {7 * line + 3} units", "black", font=font)
        box = draw.textbbox((700, 180 + 90 * number), f"order {4100 + number}", font=font)
        draw.text((700, 180 + 90 * number), f"order {4100 + number}", "black", font=font)
        picture.save(folder / f"{number}.jpg", quality=90)
        row = {"id": f"s{number}", "question": f"Which order is on sheet {number}?", "answer": str(4100 + number)}
        rows.append(row | {"image": f"{number}.jpg", "box": [list(box)]})
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def of_sheets(sheets: Path, **changes: Any) -> Manifest:
    source = {
        "name": "table",
        "path": str(sheets / "table.jsonl"),
        "images": str(sheets),
        "id": "id",
        "question": "question",
        "answers": "answer",
        "image": "image",
        "boxes": "box",
        "box_order": "xyxy",
        "box_unit": "pixels",
        "box_frame": "upright",
        "answer_type": "number",
    }
    source = {key: value for key, value in (source | changes.pop("source", {})).items() if value is not None}
    texts = manifest.load(manifest.shipped("infographics")).prompts
    return manifest.parse({"name": "sheets", "source": source, "prompts": texts, "workers": 2} | changes, "test")


def at(server: TeacherServer, **options: Any) -> dict[str, Any]:
    return {"name": "openai_api", "model": "tiny-vision", "base_url": server.url, "retries": 0} | options


def said(schema: Mapping[str, Any], body: Mapping[str, Any], answer: str | None = None) -> dict[str, Any]:
    """Sensible texts for every slot; the answer is read off the question, as a seeing model would off the sheet."""
    text = json.dumps(body["messages"])
    sheet = text.split("Which order is on sheet ")[1].split("?")[0]
    texts = {name: f"Thoughts on {name.replace('_', ' ')}, as seen here." for name in schema["properties"]}
    return texts | {"answer": answer or str(4100 + int(sheet))}


def run_all(runs: Path, chosen: Manifest) -> tuple[Progress, Run]:
    with Run.start(runs, chosen) as run:
        return synth(run), run


def bytes_of(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run.traces_path, run.failed_path) if path.exists()}


# ---------------------------------------------------------------------------------------------- offline


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of the shipped manifest: drawn infographics, the scripted teacher."""
    chosen = manifest.load(manifest.shipped("infographics"), {"limit": 10})
    return run_all(tmp_path_factory.mktemp("runs"), chosen)[1]


def test_the_main_job_offline(drawn: Run) -> None:
    traces = list(drawn.traces())
    assert len(traces) + len(list(drawn.failures())) == 10
    assert len(traces) >= 9
    assert all(trace.ok for trace in traces), [trace.verdicts for trace in traces if not trace.ok]
    assert [trace.id for trace in traces] == sorted(trace.id for trace in traces)
    assert len({trace.kind for trace in traces}) >= 3
    assert all(trace.provenance.scripted for trace in traces)
    assert (drawn.folder.parent / "latest").resolve() == drawn.folder


def test_every_stored_trace_replays_pixel_for_pixel(drawn: Run) -> None:
    assert [list(replay(trace, drawn.store)) for trace in drawn.traces()] == [[]] * len(list(drawn.traces()))


def test_no_machine_path_and_no_clock_in_a_run(drawn: Run) -> None:
    text = drawn.traces_path.read_text()
    assert str(drawn.folder) not in text
    assert str(Path.home()) not in text
    assert os.uname().nodename not in text


def test_filter_keeps_them_and_finds_a_tampered_one(drawn: Run, tmp_path: Path) -> None:
    sifted = sift(drawn, drawn.manifest.filter)
    stored = list(drawn.traces())
    assert (sifted.kept, sifted.rejected) == (len(stored), 0)
    assert len((drawn.folder / "kept.jsonl").read_text().splitlines()) == len(stored)
    lines = drawn.traces_path.read_text().splitlines()
    line = json.loads(lines[0])
    line["steps"][0]["observation"]["views"][0]["box"][0] += 1.0
    folder = tmp_path / drawn.folder.name
    folder.mkdir()
    (folder / "manifest.json").write_bytes((drawn.folder / "manifest.json").read_bytes())
    (folder / "media").symlink_to(drawn.folder / "media")
    (folder / "traces.jsonl").write_text("\n".join([json.dumps(line), *lines[1:], ""]))
    again = sift(Run.open(folder), drawn.manifest.filter)
    assert (again.kept, again.rejected) == (len(stored) - 1, 1)
    assert again.reasons["replay: geometry"] == 1


def test_same_manifest_same_bytes_whatever_the_workers(sheets: Path, tmp_path: Path) -> None:
    one = run_all(tmp_path / "a", of_sheets(sheets, workers=1))[1]
    two = run_all(tmp_path / "b", of_sheets(sheets, workers=3))[1]
    assert bytes_of(one) == bytes_of(two)
    before = bytes_of(one)
    progress, again = run_all(tmp_path / "a", of_sheets(sheets, workers=2))
    assert again.folder == one.folder
    assert progress.skipped == SHEETS
    assert bytes_of(again) == before


def test_a_limit_is_raised_without_making_anything_twice(sheets: Path, tmp_path: Path) -> None:
    run_all(tmp_path / "a", of_sheets(sheets, limit=4))
    progress, grown = run_all(tmp_path / "a", of_sheets(sheets, limit=9))
    assert (progress.skipped, progress.read) == (4, 5)
    assert bytes_of(grown) == bytes_of(run_all(tmp_path / "b", of_sheets(sheets, limit=9))[1])


# ---------------------------------------------------------------------------------------------- a teacher over HTTP


def test_a_teacher_over_http_that_is_not_told_the_answer(sheets: Path, tmp_path: Path) -> None:
    with TeacherServer(fill=said) as server:
        progress, run = run_all(tmp_path, of_sheets(sheets, teacher=at(server)))
        assert (progress.kept, progress.rejected, progress.failed) == (SHEETS, 0, 0)
        assert server.requests == SHEETS
        for body in server.bodies:
            text = json.dumps([part for m in body["messages"] for part in m["content"] if part["type"] == "text"])
            assert "41" not in text.replace("sheet", "")
            pictures = [part for m in body["messages"] for part in m["content"] if part["type"] == "image_url"]
            assert len(pictures) >= 2
    traces = list(run.traces())
    assert not any(trace.provenance.scripted or trace.provenance.answer_revealed for trace in traces)
    assert all(trace.provenance.input_tokens > 0 and trace.provenance.replies for trace in traces)


def test_a_wrong_text_goes_back_with_its_reason(sheets: Path, tmp_path: Path) -> None:
    def wrong_at_first(schema: Mapping[str, Any], body: Mapping[str, Any]) -> Mapping[str, Any]:
        return said(schema, body, "17" if len(body["messages"]) == 1 else None)

    with TeacherServer(fill=wrong_at_first) as server:
        progress, run = run_all(tmp_path, of_sheets(sheets, teacher=at(server), limit=3))
        assert (progress.kept, server.requests) == (3, 6)
        assert "final answer is wrong" in json.dumps(server.bodies[-1]["messages"][-1])
    assert {trace.provenance.rewrites for trace in run.traces()} == {1}


def test_a_text_that_stays_wrong_is_kept_as_rejected(sheets: Path, tmp_path: Path) -> None:
    with TeacherServer(fill=lambda schema, body: said(schema, body, "17")) as server:
        progress, run = run_all(tmp_path, of_sheets(sheets, teacher=at(server), limit=2))
        assert (progress.kept, progress.rejected, server.requests) == (0, 2, 6)
    assert [verdict.reason for verdict in next(run.traces()).verdicts if not verdict.ok] == ["wrong"]


def test_a_form_that_is_never_filled_is_a_failure(sheets: Path, tmp_path: Path) -> None:
    with TeacherServer(fill=lambda schema, body: {"answer": "4100"}) as server:
        progress, run = run_all(tmp_path, of_sheets(sheets, teacher=at(server), limit=2))
    assert progress.reasons == {"write: bad_form": 2}
    assert "overview" in next(run.failures()).detail


def test_a_dead_key_ends_the_run_at_once(sheets: Path, tmp_path: Path) -> None:
    with TeacherServer("wrong_key") as server:
        with pytest.raises(UsageError, match="OPENAI_API_KEY"):
            run_all(tmp_path, of_sheets(sheets, teacher=at(server, in_flight=2)))
        assert server.requests <= 2


def test_a_dead_endpoint_stops_the_run_early(sheets: Path, tmp_path: Path) -> None:
    with TeacherServer("down") as server:
        progress, run = run_all(tmp_path, of_sheets(sheets, teacher=at(server), stop_after=3))
    assert "teacher: server_error" in progress.stopped
    assert len(list(run.failures())) == 3


@pytest.mark.parametrize("box", [[0, 0, 10, 10], None])
def test_the_teacher_locates_and_verifies(sheets: Path, tmp_path: Path, box: list[int] | None) -> None:
    """Without annotation and print, a box is asked for, and taken only when its part alone answers the question."""

    def eyes(schema: Mapping[str, Any], body: Mapping[str, Any]) -> Mapping[str, Any]:
        text = json.dumps(body["messages"])
        sheet = int(text.split("Which order is on sheet ")[1].split("?")[0])
        if "found" in schema["properties"]:
            top = round((180 + 90 * sheet) / 1.5)
            return {"found": True, "box": box or [620, top, 760, top + 15], "label": "the order number"}
        if "answerable" in schema["properties"]:
            return {"answerable": box is None, "answer": str(4100 + sheet) if box is None else ""}
        return said(schema, body)

    source = {"boxes": None, "box_order": None, "box_unit": None, "box_frame": None}
    changes = {"source": source, "locate": {"order": ["annotation", "teacher"]}, "limit": 4, "mix": {"single": 1}}
    with TeacherServer(fill=eyes) as server:
        progress, run = run_all(tmp_path, of_sheets(sheets, teacher=at(server), **changes))
        if box is None:
            assert (progress.kept, server.requests) == (4, 12)
            assert {region.said_by for trace in run.traces() for region in trace.regions} == {"teacher"}
            assert all(len(trace.provenance.replies) == 3 for trace in run.traces())
        else:
            assert progress.reasons == {"locate: not_verified": 4}
            assert server.requests == 4 * 3, "two boxes asked for; the same part is not paid for twice"


# ---------------------------------------------------------------------------------------------- kills and rivals

SCRIPT = "import sys, dataforge.cli; sys.argv[0] = 'dataforge'; dataforge.cli.main()"


def command(path: Path, runs: Path, server: TeacherServer) -> list[str]:
    flags = ["--manifest", str(path), "--runs", str(runs), "--teacher", "tiny-vision", "--base-url", server.url]
    return [sys.executable, "-c", SCRIPT, "synth", *flags]


def write_manifest(folder: Path, sheets: Path) -> Path:
    chosen = of_sheets(sheets).model_dump(mode="json", by_alias=True, exclude={"prompts", "limit"})
    path = folder / "sheets.yaml"
    path.write_text(json.dumps(chosen))  # JSON is YAML
    return path


def test_kill_minus_nine_again_and_again_equals_an_unbroken_run(sheets: Path, tmp_path: Path) -> None:
    path = write_manifest(tmp_path, sheets)
    with TeacherServer(fill=said, delay_s=0.15) as server:
        whole = subprocess.run(command(path, tmp_path / "whole", server), capture_output=True, text=True)
        assert whole.returncode == 0, whole.stderr
        asked = server.requests
        server.bodies.clear()
        for kill_after in (1, 4, 7):
            process = subprocess.Popen(command(path, tmp_path / "torn", server), stdout=subprocess.DEVNULL)
            deadline = time.monotonic() + 30
            while server.requests < kill_after and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
        last = subprocess.run(command(path, tmp_path / "torn", server), capture_output=True, text=True)
        assert last.returncode == 0, last.stderr
        texts = [json.dumps(body["messages"]) for body in server.bodies]
    one, other = (next((tmp_path / name).glob("sheets-*")) for name in ("whole", "torn"))
    assert (one / "traces.jsonl").read_bytes() == (other / "traces.jsonl").read_bytes()
    assert (one / "report.json").read_bytes() == (other / "report.json").read_bytes()
    again = len(texts) - len(set(texts))
    assert len(set(texts)) == asked == SHEETS
    assert again <= 3 * 16, "only calls in flight at a kill may be asked again"


def test_a_paid_reply_is_never_asked_for_again(sheets: Path, tmp_path: Path) -> None:
    """The run folder is lost, the replies are not."""
    import shutil

    with TeacherServer(fill=said) as server:
        first = run_all(tmp_path, of_sheets(sheets, teacher=at(server)))[1]
        before, asked = bytes_of(first), server.requests
        shutil.rmtree(first.folder)
        second = run_all(tmp_path, of_sheets(sheets, teacher=at(server)))[1]
        assert server.requests == asked
    assert bytes_of(second) == before


def test_a_second_process_on_the_folder_is_refused(sheets: Path, tmp_path: Path) -> None:
    path = write_manifest(tmp_path, sheets)
    with TeacherServer("slow", fill=said) as server:
        first = subprocess.Popen(command(path, tmp_path / "runs", server), stdout=subprocess.DEVNULL)
        while not server.requests:
            time.sleep(0.02)
        second = subprocess.run(command(path, tmp_path / "runs", server), capture_output=True, text=True)
        assert second.returncode == 2
        assert "another process" in second.stderr
        assert first.wait(timeout=60) == 0


def test_control_c_keeps_what_is_finished(sheets: Path, tmp_path: Path) -> None:
    path = write_manifest(tmp_path, sheets)
    with TeacherServer("slow", fill=said) as server:
        argv = [*command(path, tmp_path / "runs", server), "--workers", "1"]
        process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        while not server.requests:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "interrupted" in errors
        assert "Traceback" not in errors
        assert subprocess.run(argv, capture_output=True).returncode == 0
    folder = next((tmp_path / "runs").glob("sheets-*"))
    assert len((folder / "traces.jsonl").read_text().splitlines()) == SHEETS


def test_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    for content, kept in [(b'{"id":1}\n{"id', b'{"id":1}\n'), (b'{"id', b""), (b"", b""), (b"a\nb\n", b"a\nb\n")]:
        path.write_bytes(content)
        cut_torn_line(path)
        assert path.read_bytes() == kept
    path.write_bytes(b"x\n" + b"y" * 200_000)
    cut_torn_line(path)
    assert path.read_bytes() == b"x\n"


# ---------------------------------------------------------------------------------------------- made again


def test_failures_of_the_endpoint_are_made_again_and_the_lines_end_in_order(sheets: Path, tmp_path: Path) -> None:
    """Down for some, spoiled for others: the next command makes the former, and only --retry the latter."""
    with TeacherServer(fill=said) as server:
        whole = run_all(tmp_path / "whole", of_sheets(sheets, teacher=at(server)))[1]

    def two_spoiled(schema: Mapping[str, Any], body: Mapping[str, Any]) -> Mapping[str, Any]:
        spoiled = any(f"Which order is on sheet {number}?" in json.dumps(body["messages"]) for number in (2, 5))
        return {"answer": "1"} if spoiled else said(schema, body)

    with TeacherServer(fill=two_spoiled) as server:
        chosen = of_sheets(sheets, teacher=at(server), stop_after=100)
        server.behave.add("down")
        progress, run = run_all(tmp_path / "torn", chosen)
        assert progress.reasons == {"teacher: server_error": SHEETS}
        server.behave.clear()
        progress = run_all(tmp_path / "torn", chosen)[0]
        assert progress.retried == SHEETS
        assert progress.reasons == {"write: bad_form": 2}
        assert progress.kept == SHEETS - 2
        progress = run_all(tmp_path / "torn", chosen)[0]
        assert (progress.read, progress.retried) == (0, 0), "a spoiled example is not made again by itself"
        with Run.start(tmp_path / "torn", chosen) as same, pytest.raises(UsageError, match="there are bad_form"):
            synth(same, retry=["bad_from"])
    with TeacherServer(fill=said) as server:
        (tmp_path / "torn" / "replies.sqlite").unlink()  # else the same useless replies come again
        with Run.start(tmp_path / "torn", of_sheets(sheets, teacher=at(server), stop_after=100)) as run:
            progress = synth(run, retry=["bad_form"])
        assert (progress.kept, server.requests) == (2, 2)
    assert run.traces_path.read_bytes() == whole.traces_path.read_bytes()
    assert run.failed_path.read_bytes() == b""
    assert not (run.folder / ".unordered").exists()


def test_killed_while_failures_are_made_again_nothing_is_lost(sheets: Path, tmp_path: Path) -> None:
    path = write_manifest(tmp_path, sheets)
    teacher = {"name": "openai_api", "model": "tiny-vision", "retries": 0}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"teacher": teacher}))
    with TeacherServer(fill=said, delay_s=0.1) as server:
        subprocess.run(command(path, tmp_path / "whole", server), capture_output=True, check=True)
        server.behave.add("down")
        flags = ["--limit", "6"]
        assert subprocess.run([*command(path, tmp_path / "torn", server), *flags], capture_output=True).returncode == 1
        server.behave.clear()
        server.bodies.clear()
        for kill_after in (1, 3):
            process = subprocess.Popen(command(path, tmp_path / "torn", server), stdout=subprocess.DEVNULL)
            deadline = time.monotonic() + 30
            while server.requests < kill_after and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
        subprocess.run(command(path, tmp_path / "torn", server), capture_output=True, check=True)
    one, other = (next((tmp_path / name).glob("sheets-*")) for name in ("whole", "torn"))
    assert (one / "traces.jsonl").read_bytes() == (other / "traces.jsonl").read_bytes()
    assert not (other / "failed.jsonl").read_bytes()


def test_lines_are_sorted_whole_or_not_at_all(sheets: Path, tmp_path: Path) -> None:
    """A kill between the two files, lines that the source no longer has, a repeated id, and a gap."""
    with Run.start(tmp_path, of_sheets(sheets)) as run:
        for name in "dbae":
            run.append(Failure(id=name, stage="s", reason="r"))
        run.append(Failure(id="b", stage="read", reason="repeated_id"))
        run.append(Failure(id="z", stage="s", reason="r"))
        before = run.failed_path.read_bytes()
        run.sort("abcdeb")
        assert run.failed_path.read_bytes() == before, "nothing says that it is out of order"
        run.disorder()
        run.sort("abcdeb")
        assert [(one.id, one.reason) for one in run.failures()] == [
            *((name, "r") for name in "abde"),
            ("b", "repeated_id"),
            ("z", "r"),
        ]
        assert (run.folder / ".unordered").exists(), "c is missing, and will be written after what follows it"
        run.append(Failure(id="c", stage="s", reason="r"))
        run.sort("abcdeb")
        assert "".join(one.id for one in run.failures()) == "abcdebz"


# ---------------------------------------------------------------------------------------------- spoiled rows


def test_every_row_ends_as_one_line(sheets: Path, tmp_path: Path) -> None:
    """Missing picture, no answer, broken JSON, a repeated id: each is counted with its reason, nothing is lost."""
    good = (sheets / "table.jsonl").read_text().splitlines()[:3]
    gone = json.dumps(json.loads(good[0]) | {"id": "gone", "image": "gone.jpg"})
    unanswered = json.dumps(json.loads(good[0]) | {"id": "unanswered", "answer": ""})
    outside = json.dumps(json.loads(good[0]) | {"id": "outside", "box": [[0, 0, 9000, 9000]]})
    (tmp_path / "table.jsonl").write_text("\n".join([*good, gone, "{oops", unanswered, outside, good[1]]) + "\n")
    source = {"path": str(tmp_path / "table.jsonl")}
    progress, run = run_all(tmp_path / "runs", of_sheets(sheets, source=source))
    assert (progress.read, progress.kept, progress.failed) == (8, 3, 5)
    reasons = [failure.reason for failure in run.failures()]
    assert reasons[:2] == ["missing_media", "bad_json"]
    assert "duplicate_id" in reasons
    assert len(reasons) == 5
    again, same = run_all(tmp_path / "runs", of_sheets(sheets, source=source))
    assert (again.read, again.skipped) == (0, 8)
    assert [failure.reason for failure in same.failures()] == reasons


def test_a_worker_that_dies_or_hangs_costs_one_example(sheets: Path, tmp_path: Path) -> None:
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "crashing.py").write_text(
        "import os, signal\n"
        "from dataforge.sources.table import Table\n"
        "class Crashing(Table):\n"
        "    '''A table whose third picture takes the process down.'''\n"
        "    def example(self, row, store):\n"
        "        if row.id.endswith('s2'):\n"
        "            os.kill(os.getpid(), signal.SIGSEGV)\n"
        "        return super().example(row, store)\n"
    )
    sys.path.insert(0, str(tmp_path))
    os.environ["PYTHONPATH"] = str(tmp_path)
    try:
        progress, run = run_all(tmp_path / "runs", of_sheets(sheets, source={"name": "faults.crashing"}))
    finally:
        sys.path.remove(str(tmp_path))
        del os.environ["PYTHONPATH"]
    assert progress.reasons == {"worker: died": 1}
    assert progress.kept == SHEETS - 1
    assert [failure.id.endswith("s2") for failure in run.failures()] == [True]


def test_an_endless_source_needs_a_limit(tmp_path: Path) -> None:
    chosen = manifest.load(manifest.shipped("infographics")).model_copy(update={"limit": None})
    with Run.start(tmp_path, chosen) as run, pytest.raises(UsageError, match="--limit"):
        synth(run)


def test_records_of_a_run_are_told_apart(drawn: Run) -> None:
    assert all(isinstance(trace, Trace) for trace in drawn.traces())
    assert all(isinstance(failure, Failure) for failure in drawn.failures())
    assert plugins.build("source", drawn.manifest.source).endless
