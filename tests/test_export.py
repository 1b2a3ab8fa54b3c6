"""Exports are counted as their trainers count them, say what the trace says, and come back where we can read them."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from dataforge import plugins
from dataforge.chat import Turn
from dataforge.cli import app
from dataforge.dialect import read
from dataforge.episode import stage
from dataforge.errors import ExampleError, UsageError
from dataforge.filter import sift
from dataforge.geometry import Box
from dataforge.operations.zoom_in import ZoomIn
from dataforge.plugins import Exporter
from dataforge.publish.exporting import Exported, export
from dataforge.publish.importing import Terms, import_release
from dataforge.records import Call, Limits, Observation, Step, Student, Trace, View
from dataforge.runs import Run
from dataforge.transcript import shrunk, transcribe
from dataforge.workspace import Workspace
from tests import drawn_run

LAYOUTS = plugins.names("exporter")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = drawn_run.make(tmp_path_factory.mktemp("runs"))
    sift(made, ("well_formed", "answer", "grounded", "replay"))
    return made


@pytest.fixture(scope="module")
def exported(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Exported, list[Any]]]:
    """An export of the run in a layout with its default options, made once."""
    folder, made = tmp_path_factory.mktemp("exports"), dict[str, tuple[Exported, list[Any]]]()

    def layout(name: str) -> tuple[Exported, list[Any]]:
        if name not in made:
            done = export(run, name, folder / name)
            made[name] = (done, rows_of(done.file))
        return made[name]

    return layout


def rows_of(file: Path) -> list[Any]:
    if file.suffix == ".parquet":
        return list(pyarrow.parquet.read_table(file).to_pylist())
    text = file.read_text(encoding="utf-8")
    return list(json.loads(text)) if file.suffix == ".json" else [json.loads(line) for line in text.splitlines()]


def kept(run: Run) -> list[Trace]:
    return [trace for trace in run.traces() if trace.id not in ("poster-6", "poster-7")]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_row_on_disk_is_counted_right_and_its_pictures_are_there(layout: str, exported: Any, run: Run) -> None:
    done, rows = exported(layout)
    assert (done.traces, done.rows, len(rows), done.left_out) == (6, 6, 6, {})
    exporter: Exporter = plugins.build("exporter", layout)
    for row in rows:
        assert exporter.fault(row) == ""
    paths = re.findall(r"images/\w+\.\w+", json.dumps(rows, default=str))
    for path in paths:
        Image.open(done.folder / path).verify()
    views = sum(len(trace.all_views) for trace in kept(run))
    assert len(paths) == (6 if layout == "pixel_reasoner_rl" else views if "images" in paths[:1] or paths else 0)


@pytest.mark.parametrize("layout", ["pixel_reasoner_sft", "trl", "llama_factory", "ms_swift", "verl_sft", "openai"])
def test_a_row_says_what_the_trace_says(layout: str, exported: Any, run: Run) -> None:
    rows = exported(layout)[1]
    for trace, row in zip(kept(run), rows, strict=True):
        said = student_turns(layout, row)
        assert [turn.thought for turn in said] == [step.thought for step in trace.steps]
        assert said[-1].answer == "42"
        name = "crop_image" if layout.startswith("pixel_reasoner") else "zoom_in"
        calls = [turn.call for turn in said if turn.call]
        assert [call.name for call in calls] == [name] * len(trace.looks)
        for call, step in zip(calls, trace.looks, strict=True):
            assert step.call
            target = trace.all_views[step.call.arguments["target_image"] - 1]
            sides = (target.width, target.height) * 2 if name == "crop_image" else (1,) * 4
            written = [edge * side for edge, side in zip(call.arguments["bbox_2d"], sides, strict=True)]
            assert written == pytest.approx(step.call.arguments["bbox_2d"], abs=0.2)


def student_turns(layout: str, row: dict[str, Any]) -> list[Turn]:
    """What the student says in a row, read by the code that reads students."""
    if layout == "llama_factory":
        return [read(turn["value"]) for turn in row["conversations"] if turn["from"] == "gpt"]
    if layout == "ms_swift":
        turns: list[Turn] = []
        for message in row["messages"]:
            if message["role"] == "assistant":
                turns.append(read(message["content"]))
            elif message["role"] == "tool_call":
                turns[-1] = Turn(turns[-1].thought, call=Call(**json.loads(message["content"])))
        return turns
    messages = row["message_list"] if "message_list" in row else row["messages"]
    found = [message for message in messages if message["role"] == "assistant"]
    if layout == "openai":
        calls = [message.get("tool_calls") for message in found]
        texts = [read(message["content"]) for message in found]
        made = [call and call[0]["function"] for call in calls]
        return [
            Turn(turn.thought, call=Call(name=call["name"], arguments=json.loads(call["arguments"]))) if call else turn
            for turn, call in zip(texts, made, strict=True)
        ]
    contents = [message["content"] for message in found]
    return [read(content if isinstance(content, str) else content[0]["text"]) for content in contents]


def test_flags_are_carried_where_there_is_a_place_and_their_loss_is_counted(exported: Any, run: Run) -> None:
    mistaken = sum(any(step.learn != "both" for step in trace.steps) for trace in kept(run))
    assert mistaken == 3
    lost = {layout: exported(layout)[0].flags_lost for layout in LAYOUTS}
    # Pixel Reasoner's trainer learns the last two turns: not what a trace without or with two right looks says, nor a
    # mistake's thought
    assert lost == {
        "pixel_reasoner_sft": 4,
        "pixel_reasoner_rl": 0,
        "trl": 3,
        "llama_factory": 3,
        "ms_swift": 0,
        "verl_sft": 3,
        "verl_rl": 0,
        "openai": 3,
    }
    for layout, count in lost.items():
        assert bool(plugins.build("exporter", layout).lost) == bool(count)
    for trace, row in zip(kept(run), exported("ms_swift")[1], strict=True):
        losses = [message["loss"] for message in row["messages"] if "loss" in message]
        wanted = [
            learned
            for step in trace.steps
            for learned in [step.learn in ("both", "thought"), *([step.learn in ("both", "call")] if step.call else [])]
        ]
        assert losses == wanted
    for trace, row in zip(kept(run), exported("openai")[1], strict=True):
        weights = [message.get("weight", 1) for message in row["messages"] if message["role"] == "assistant"]
        assert weights == [int(step.learn == "both") for step in trace.steps]


def test_by_turn_a_row_learns_one_turn_and_shows_what_came_before(run: Run, tmp_path: Path) -> None:
    done = export(run, {"name": "trl", "by_turn": True}, tmp_path / "trl")
    rows = rows_of(done.file)
    learned = sum(step.learn == "both" for trace in kept(run) for step in trace.steps)
    assert done.rows == len(rows) == learned
    for row in rows:
        assert len(row["completion"]) == 1
        shown = [part for message in row["prompt"] for part in message["content"] if part["type"] == "image"]
        assert len(shown) == len(row["images"])
    assert done.flags_lost == 3  # a mistake's thought without its call can't be a completion


def test_a_rule_that_is_broken_is_found() -> None:
    """Each layout's rule, against the trap that its trainer sets."""
    text = {"type": "text", "text": "x"}
    user, gpt = {"from": "human", "value": "<image>"}, {"from": "gpt", "value": "y"}
    message = {"role": "user", "content": [text, {"type": "image", "text": None}]}
    said = {"role": "assistant", "content": "y"}
    first = {"role": "user", "content": [{"image": "a"}, {"text": "x"}]}
    broken: list[tuple[str, dict[str, Any], str]] = [
        ("llama_factory", {"conversations": [user, user, gpt, gpt], "images": ["a", "b"]}, "would be dropped"),
        ("llama_factory", {"conversations": [user, gpt, user], "images": ["a", "b"]}, "would be dropped"),
        ("llama_factory", {"conversations": [user, gpt], "images": []}, "1 placeholders for 0 images"),
        ("trl", {"messages": [message, {"role": "assistant", "content": [text]}], "images": []}, "1 placeholders"),
        ("trl", {"messages": [message], "images": [b""]}, "isn't the student's"),
        ("verl_sft", {"messages": [{"role": "user", "content": "<image>"}, said], "images": []}, "1 placeholders"),
        ("verl_sft", {"messages": [said, said], "images": []}, "do not alternate"),
        ("verl_rl", {"prompt": [{"content": "x"}], "images": [{}], "reward_model": {}}, "0 placeholders for 1"),
        ("ms_swift", {"messages": [{"role": "user", "content": ""}, said], "images": ["a"]}, "0 placeholders for 1"),
        ("openai", {"messages": [{"role": "tool", "tool_call_id": "a", "content": ""}]}, "answers no call"),
        ("pixel_reasoner_rl", {"image": ["a", "b"], "is_video": False, "answer": ["x"]}, "2 pictures"),
        ("pixel_reasoner_sft", {"message_list": [first, said]}, "isn't text first and media second"),
    ]
    for layout, row, complaint in broken:
        assert complaint in plugins.build("exporter", layout).fault(row), layout


def test_llama_factory_gets_its_entry_and_verl_its_bytes(exported: Any) -> None:
    entry = json.loads((exported("llama_factory")[0].folder / "dataset_info.json").read_text())["dataforge"]
    assert entry["formatting"] == "sharegpt"
    assert set(entry["columns"].values()) <= set(exported("llama_factory")[1][0])
    for layout in ("verl_sft", "verl_rl"):
        for row in exported(layout)[1]:
            for image in row["images"]:
                assert set(image) == {"bytes"}
                Image.open(io.BytesIO(image["bytes"])).verify()
    asked = exported("verl_rl")[1][0]
    assert asked["extra_info"]["tools_kwargs"]["zoom_in"]["create_kwargs"]["ground_truth"] == "42"
    assert exported("pixel_reasoner_rl")[1][0]["answer"] == ["42", "forty-two"]


@given(st.data())
def test_a_box_is_written_so_that_another_padding_shows_the_same(data: st.DataObject) -> None:
    padding = data.draw(st.sampled_from([0.0, 0.05, 0.1]))
    whole = View(number=1, width=1008, height=2016, sha256="", box=Box(0, 0, 1500, 3000))
    x1, y1 = data.draw(st.integers(0, 1400)), data.draw(st.integers(0, 2900))
    x2, y2 = data.draw(st.integers(x1 + 40, 1500)), data.draw(st.integers(y1 + 40, 3000))
    cut = whole.model_copy(update={"number": 2, "box": Box(x1, y1, x2, y2)})
    box = None
    with contextlib.suppress(ExampleError):
        box = shrunk(cut, whole, padding)
    if box is None:  # no box at all grows into so small a cut
        least = min((x2 - x1) / 1500, (y2 - y1) / 3000)
        assert least <= 2 * padding + 0.002
        return
    workspace = Workspace.__new__(Workspace)
    workspace.views, workspace.student, workspace.limits = [whole], Student(), Limits()
    again = ZoomIn(padding=padding).cut_box(workspace, box, 1)
    assert all(abs(ours - theirs) <= 1 for ours, theirs in zip(again, cut.box, strict=True))


def test_looks_that_another_padding_cannot_show_stay_out(run: Run, tmp_path: Path) -> None:
    done = export(run, {"name": "pixel_reasoner_sft", "padding": 0.1}, tmp_path / "a")
    assert done.left_out["export: padding"] + done.traces == 6
    assert done.left_out["export: padding"] > 0
    with pytest.raises(UsageError, match="isn't an empty folder"):
        export(run, "trl", tmp_path / "a")
    with pytest.raises(UsageError, match="did you mean 'llama_factory'"):
        export(run, "llamafactory", tmp_path / "b")
    with pytest.raises(UsageError, match="unknown option 'unit'"):
        export(run, {"name": "trl", "unit": 3}, tmp_path / "b")


def test_settings_change_the_words_of_calls_and_of_the_tools_that_are_told(run: Run, tmp_path: Path) -> None:
    spec = {"name": "ms_swift", "box_unit": "0..1000", "tools": {"zoom_in": "image_zoom"}, "root": "/data/x"}
    rows = rows_of(export(run, spec, tmp_path / "swift").file)
    told = json.loads(rows[1]["tools"])[0]["function"]
    assert told["name"] == "image_zoom"
    assert "thousandths" in told["parameters"]["properties"]["bbox_2d"]["description"]
    call = next(json.loads(m["content"]) for m in rows[1]["messages"] if m["role"] == "tool_call")
    assert call["name"] == "image_zoom"
    assert max(call["arguments"]["bbox_2d"]) <= 1000
    assert rows[1]["images"][0].startswith("/data/x/images/")


def test_a_failed_call_and_one_that_could_not_be_read_are_told_as_such(run: Run) -> None:
    trace = next(one for one in run.traces() if one.id == "poster-1")
    episode = stage(trace, run.store)
    outside = Call(name="zoom_in", arguments={"bbox_2d": [0, 0, 9000, 9000], "target_image": 1})
    failed = Step(thought="Out there.", call=outside, observation=episode.act(outside), role="mistake", learn="none")
    garbled = Step(thought="<tool_call>{", observation=Observation(text="Error: bad.", error="malformed_call"))
    broken = trace.model_copy(update={"steps": (failed, garbled, *trace.steps)})
    told = transcribe(broken, {}, None, None)
    for layout in ("openai", "ms_swift", "trl", "llama_factory", "verl_sft"):
        exporter: Exporter = plugins.build("exporter", layout)
        shots = tuple(told.pictures) or tuple(type("S", (), {"name": "a.jpg", "content": b""})() for _ in range(2))
        for row in exporter.rows(told._replace(pictures=shots)):
            assert exporter.fault(row) == "", layout
    assert [turn.learn for turn in told.turns if turn.role == "assistant"] == ["none", "both", "both", "both"]


def test_a_release_comes_back_as_traces_that_can_be_filtered(exported: Any, run: Run, tmp_path: Path) -> None:
    release = exported("pixel_reasoner_sft")[0].file
    answers = exported("pixel_reasoner_rl")[0].file
    made = import_release(release, None, answers, Terms("0..1", 0.0), tmp_path, lambda done: None)
    assert (made.traces, made.failed) == (6, {})
    assert made.crops == made.alike == sum(len(trace.looks) for trace in kept(run))
    by_id = {trace.id: trace for trace in made.run.traces()}
    for trace in kept(run):
        back = by_id[trace.id]
        assert [step.thought for step in back.steps] == [step.thought for step in trace.steps]
        assert [step.call is None for step in back.steps] == [step.call is None for step in trace.steps]
        assert back.answer == "42"
        assert back.example.answers == ("42", "forty-two")
        if trace.kind != "compare":  # two looks at two places: nothing in a release says that neither is a mistake
            assert (back.kind, [step.learn for step in back.steps]) == (trace.kind, [s.learn for s in trace.steps])
    assert sift(Run.open(made.run.folder), ("well_formed", "answer", "replay")).kept == 6
    again = import_release(release, None, answers, Terms("0..1", 0.0), tmp_path, lambda done: None)
    assert again.traces == 0  # it goes on where it stood


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "openai"])
def test_the_trainers_own_code_loads_the_export(layout: str, exported: Any, tmp_path: Path) -> None:
    """By the script that README names; skipped where that trainer isn't installed."""
    script = Path(__file__).parents[1] / "benchmarks" / "trainers.py"
    command = [sys.executable, str(script), layout, str(exported(layout)[0].folder)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HOME": str(tmp_path)})
    if done.returncode == 3:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"{layout}: 6 rows" in done.stdout


def test_the_commands_say_what_they_did(run: Run, tmp_path: Path) -> None:
    def ask(*command: str) -> tuple[int, str, str]:
        said = CliRunner().invoke(app, command)
        return said.exit_code, said.stdout, said.stderr if said.exception is None else str(said.exception)

    out, runs = tmp_path / "pr", tmp_path / "runs"
    asked = ("pixel_reasoner_sft", str(run.folder), "--out", str(out), "--set", "quality=95", "--json")
    code, told, _ = ask("export", *asked, "--dry-run")
    assert (code, json.loads(told)["rows"], out.exists()) == (0, 6, False)
    code, told, _ = ask("export", *asked)
    assert (code, json.loads(told)["rows"], json.loads(told)["flags_lost"]) == (0, 6, 4)
    code, _, complaint = ask("export", "trl", str(run.folder), "--out", str(tmp_path / "x"), "--set", "by_turn")
    assert "write NAME=VALUE" in complaint
    code, told, _ = ask(
        "import", "pixel-reasoner", str(out / "release.json"), "--padding", "0", "--runs", str(runs), "--json"
    )
    assert (code, json.loads(told)["kept"]) == (0, 6)
    code, _, complaint = ask("import", "pixel-reasoner", str(out / "release.json"), "--box-unit", "inches")
    assert "one of pixels, 0..1, 0..1000" in complaint
    code, _, complaint = ask("import", "llava", str(out / "release.json"))
    assert "there is pixel-reasoner" in complaint


def test_what_a_release_gets_wrong_is_counted_by_reason(exported: Any, tmp_path: Path) -> None:
    release = exported("pixel_reasoner_sft")[0]
    rows = rows_of(release.file)
    good, question = rows[1], rows[1]["message_list"][1]

    def changed(name: str, messages: list[Any]) -> dict[str, Any]:
        return {"qid": name, "message_list": [good["message_list"][0], *messages]}

    rest = good["message_list"][2:]
    video = {"role": "user", "content": [{"text": "x", "image": None, "video": None}, {"video": ["f1.jpg", "f2.jpg"]}]}
    away = {"role": "user", "content": [question["content"][0], {"image": "../../etc/passwd"}]}
    gone = {"role": "user", "content": [question["content"][0], {"image": "images/none.jpg"}]}
    other = {"role": "assistant", "content": [{"text": '<tool_call>{"name": "rotate", "arguments": {}}</tool_call>'}]}
    broken = {"role": "assistant", "content": [{"text": "<tool_call>{</tool_call>"}]}
    nulls = {
        "role": "user",
        "content": [
            {"text": question["content"][0]["text"], "image": None, "video": None},
            {"image": question["content"][1]["image"], "text": None, "video": None},
        ],
    }
    records = [
        changed("nulls", [nulls, *rest]),
        changed("video", [video, *rest]),
        changed("away", [away, *rest]),
        changed("gone", [gone, *rest]),
        changed("other", [question, other, *rest[1:]]),
        changed("broken", [question, broken, *rest[1:]]),
        changed("open", [question, *rest[:-1]]),
        {"qid": "none", "message_list": "x"},
        {"message_list": []},
    ]
    file = release.folder / "odd.json"
    file.write_text(json.dumps(records))
    made = import_release(file, release.folder, None, Terms("0..1", 0.0), tmp_path, lambda done: None)
    file.unlink()
    assert made.traces == 1
    assert made.failed == {
        "read: video_frames": 1,
        "read: bad_row": 3,
        "media: missing_media": 1,
        "import: unknown_operation": 1,
        "import: unreadable": 1,
        "import: no_answer": 1,
    }
    with pytest.raises(UsageError, match="is no file"):
        import_release(tmp_path / "none.json", None, None, Terms(), tmp_path, lambda done: None)
