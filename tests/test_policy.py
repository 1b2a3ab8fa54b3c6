"""A tiny real student, evaluated in this process and over HTTP."""

import asyncio
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
    pytest.skip("needs torch and transformers", allow_module_level=True)

from dataforge import chat
from dataforge.ask.request import Message, Reply, Request
from dataforge.errors import ExampleError, UsageError
from dataforge.evaluate import board, plan
from dataforge.evaluate.bench import Bench, encoded
from dataforge.evaluate.player import said
from dataforge.manifest import Arm, Manifest
from dataforge.media import MediaStore, decode, fingerprint
from dataforge.plugins import Row, build
from dataforge.runs import Run
from tests import eyes, zoomer
from tests.servers import TeacherServer
from tests.test_cli import call
from training import policy, tiny
from training.encoding import SYSTEM, Codec
from training.render import pictures, render

SMALL: dict[str, Any] = {
    "student": {"max_pixels": 50_176},
    "operations": [{"name": "zoom_in", "min_pixels": 25_088, "max_pixels": 50_176}],
}
SETTINGS = {"temperature": 0.0, "max_tokens": 80}


class Student(NamedTuple):
    folder: Path
    data: Path


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Student:
    home = tmp_path_factory.mktemp("student")
    data = eyes.draw_vstar(home / "V", 4)
    manifest = plan.load(plan.files("vstar")[0], data, SMALL)
    return Student(zoomer.teach(home / "zoomer", manifest, MediaStore(home / "media")), data)


def local(student: Student, arms: tuple[Arm, ...] = ("with",), folder: Path | None = None) -> list[Manifest]:
    spec = policy.spec(folder or student.folder, "zoomer", SETTINGS)
    benchmark = plan.load(plan.files("vstar")[0], student.data, SMALL | {"workers": 1, "teacher": spec})
    return plan.arms(benchmark, plan.Model("zoomer", spec), arms)


def played(student: Student, runs: Path, arm: Arm) -> Run:
    return eyes.play(local(student, (arm,))[0], runs)


def test_a_students_looks_are_run_and_counted(student: Student, tmp_path: Path) -> None:
    runs = [played(student, tmp_path, arm) for arm in ("with", "without", "blank")]
    rows = {row.arm: row for row in board.board(runs).rows}
    assert (rows["with"].rapr.mean, rows["with"].looks, rows["with"].error_rate) == (1.0, 1.0, 0.0)
    assert (rows["without"].looks, rows["without"].unanswered + rows["with"].unanswered) == (
        0.0,
        rows["without"].unanswered,
    )
    assert rows["with"].output_tokens > 20
    for trace in runs[0].traces():
        assert [step.call for step in trace.steps] == [zoomer.LOOK, None]
        assert (trace.answer, trace.steps[0].thought) == ("B", "I zoom in.")
        assert trace.provenance.teacher == "policy zoomer"


def test_over_http_a_student_does_what_it_does_in_process(student: Student, tmp_path: Path) -> None:
    here = played(student, tmp_path / "here", "with")
    with TeacherServer(say=zoomer.served(student.folder)) as server:
        spec = {"name": "openai_api", "model": "zoomer", "base_url": server.url, **SETTINGS}
        benchmark = plan.load(plan.files("vstar")[0], student.data, SMALL | {"workers": 1, "teacher": spec})
        there = eyes.play(plan.arms(benchmark, plan.Model("zoomer", spec), ("with",))[0], tmp_path / "there")
    pairs = list(zip(here.traces(), there.traces(), strict=True))
    assert len(pairs) == 4
    for one, other in pairs:
        assert (one.steps, one.answer, one.views) == (other.steps, other.answer, other.views)


def test_the_engine_says_what_transformers_generate_says(student: Student, tmp_path: Path) -> None:
    """For a picture that it was never shown, so that nothing is known by heart."""
    bench = Bench(local(student, ("without",))[0], tmp_path / "media")
    rows = [row for row in bench.source.read() if isinstance(row, Row)]
    opened = [bench.open(row) for row in rows]
    asked = [
        Request("play", (Message("user", (f"Image {at}:", one.pictures[0], "What is it, and where?")),), {})
        for at, one in enumerate(opened)
    ]
    model = build("teacher", local(student)[0].teacher)

    async def scene() -> list[Reply]:
        async with model.session():
            return list(await asyncio.gather(*(model.ask(request) for request in asked)))

    replies = asyncio.run(scene())
    say = zoomer.served(student.folder)
    for request, reply in zip(asked, replies, strict=True):
        parts = list(request.messages[0].parts)
        content = [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image_url", "image_url": {"url": "data:image/png;base64," + part.base64.decode()}}
            for part in parts
        ]
        assert say({"messages": [{"role": "user", "content": content}], "max_tokens": 80}) == reply.text
        assert reply.output_tokens > 0


@pytest.mark.parametrize("calls", ["tagged", "native"])
def test_a_model_reads_what_training_has_it_read(student: Student, tmp_path: Path, calls: str) -> None:
    folder = student.folder if calls == "tagged" else tiny.build(tmp_path / "three", "qwen3_vl", size=zoomer.SIZE)
    laid = policy.dialect(folder) | {"calls": calls, "min_pixels": 16_384, "max_pixels": 65_536}
    manifest = plan.load(plan.files("vstar")[0], student.data, SMALL | {"student": laid})
    operations = [build("operation", spec) for spec in manifest.operations]
    store = MediaStore(tmp_path / "media")
    trace = zoomer.lessons(manifest, store)[0]
    trained_on = render(trace, Codec.load(str(folder), manifest.student, operations))
    shown = [encoded(picture, lossless=True) for picture in pictures(trace, store)]
    messages = [
        said(turn, shown)._replace(call=turn.call, **({"call_id": "call_1"} if turn.call else {}))
        for turn in chat.turns(trace, operations, manifest.student, system=SYSTEM)
    ]
    codec = policy.codec_of(folder)
    codec.tools = chat.tool_schemas(operations, manifest.student) if calls == "native" else None
    read, _ = policy.encoded(messages[:-1], codec)
    assert read.ids == trained_on.ids[: len(read)]
    assert trained_on.learn[len(read)]
    assert not trained_on.learn[len(read) - 1]


def test_a_template_that_tells_of_no_tools_is_refused(student: Student) -> None:
    native = plan.load(plan.files("vstar")[0], student.data, SMALL)
    operations = [build("operation", spec) for spec in native.operations]
    tools = tuple(chat.tool_schemas(operations, native.student))
    model = build("teacher", local(student)[0].teacher)

    async def scene() -> None:
        async with model.session():
            await model.ask(Request("play", (Message("user", ("Where?",)),), {}, tools=tools))

    with pytest.raises(UsageError, match="--calls tagged"):
        asyncio.run(scene())


def test_a_local_model_gets_the_views_own_pixels(student: Student, tmp_path: Path) -> None:
    bench = Bench(local(student)[0], tmp_path / "media")
    opened = bench.open(next(row for row in bench.source.read() if isinstance(row, Row)))
    assert fingerprint(decode(opened.pictures[0].jpeg)) == opened.views[0].sha256
    shown = Request("play", (Message("user", (opened.pictures[0],)),), {})
    tokens = opened.views[0].width * opened.views[0].height // 28**2
    assert 0 <= build("teacher", local(student)[0].teacher).forecast(shown)[0] - tokens < 20


def test_a_student_is_known_by_its_weights_and_not_by_its_place(student: Student, tmp_path: Path) -> None:
    moved, trained = tmp_path / "moved", tmp_path / "trained"
    shutil.copytree(student.folder, moved)
    shutil.copytree(student.folder, trained)
    weights = trained / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    here = local(student)[0]
    assert local(student, folder=moved)[0].digest() == here.digest()
    assert local(student, folder=trained)[0].digest() != here.digest()
    spec = here.teacher
    assert isinstance(spec, dict)
    other = build("teacher", spec | {"path": str(trained)})
    with pytest.raises(UsageError, match="no longer holds the weights"):
        asyncio.run(other.check())


def test_two_students_of_one_name_are_told_apart_on_the_command_line(student: Student, tmp_path: Path) -> None:
    for place in ("one", "two"):
        shutil.copytree(student.folder, tmp_path / place / "student")
    flags = ("--benchmark", "vstar", "--path", student.data, "--arm", "with", "--dry-run", "--json")
    found = call("eval", *flags, "--local", "one/student", "--local", "two/student", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert [plan["model"] for plan in json.loads(found.stdout)] == ["policy one-student", "policy two-student"]
    assert json.loads(found.stdout)[0]["cost_usd"] == 0


def test_a_folder_without_a_model_and_a_conversation_without_room_are_refused(student: Student, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no checkpoint"):
        policy.spec(tmp_path, "nobody", SETTINGS)
    spec = local(student)[0].teacher
    assert isinstance(spec, dict)
    model = build("teacher", spec | {"context": 8})

    async def scene() -> None:
        async with model.session():
            await model.ask(Request("play", (Message("user", ("word " * 50,)),), {}))

    with pytest.raises(ExampleError, match="context_too_long"):
        asyncio.run(scene())
    assert policy.dialect(student.folder) == {"patch": 28}
