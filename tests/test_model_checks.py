"""Checks that ask a model, over HTTP: every reason with the trace that trips it; and text-space traces."""

import base64
import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dataforge import plugins
from dataforge.answers.metrics import score
from dataforge.ask.budget import Budget, Ledger
from dataforge.checks.faithful import claimed_sight, readings, stands_in
from dataforge.checks.necessary import rates, rotated
from dataforge.errors import UsageError
from dataforge.filter import Sifted, sift
from dataforge.locate import tesseract
from dataforge.manifest import load, parse, shipped
from dataforge.plugins import AskingCheck
from dataforge.records import Example, Media, Trace, Verdict, to_line
from dataforge.runs import Run
from dataforge.synth import synth
from tests import drawn_run
from tests.servers import TeacherServer
from tests.test_synth import at, of_sheets, run_all, said, sheets  # noqa: F401

WHOLE = (644, 1540)
Fill = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return drawn_run.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    """A run of its own of drawn pictures: poster-0 is direct, poster-1 single, 2 and 3 look at wrong places first."""
    shutil.copytree(made.folder, tmp_path / made.folder.name)
    return Run.open(tmp_path / made.folder.name)


def change(run: Run, name: str, edit: Callable[[Trace], Trace]) -> None:
    traces = [edit(trace) if trace.id == name else trace for trace in run.traces()]
    run.traces_path.write_text("".join(map(to_line, traces)))


def only(run: Run, *names: str) -> None:
    run.traces_path.write_text("".join(to_line(trace) for trace in run.traces() if trace.id in names))


def with_thought(index: int, thought: str) -> Callable[[Trace], Trace]:
    def edit(trace: Trace) -> Trace:
        steps = list(trace.steps)
        steps[index] = steps[index].model_copy(update={"thought": thought})
        return trace.model_copy(update={"steps": tuple(steps)})

    return edit


def asked(name: str, server: TeacherServer, **options: Any) -> dict[str, Any]:
    return {"name": name, "teacher": at(server), **options}


def verdicts(run: Run, check: str) -> dict[str, Verdict]:
    """The check's verdicts by trace, from both files of a filter."""
    lines = [line for name in ("kept", "rejected") for line in (run.folder / f"{name}.jsonl").read_text().splitlines()]
    traces = [Trace.model_validate_json(line) for line in lines]
    return {trace.id: verdict for trace in traces for verdict in trace.verdicts if verdict.check == check}


def sizes(body: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Of the pictures in a request."""
    parts = [
        part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]
    ]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size for url in urls]


def text_of(body: Mapping[str, Any]) -> str:
    content = body["messages"][0]["content"]
    return (
        content if isinstance(content, str) else "\n".join(part["text"] for part in content if part["type"] == "text")
    )


def sees_whole(body: Mapping[str, Any]) -> bool:
    return sizes(body) == [WHOLE]


# ---------------------------------------------------------------------------------------------- necessary


def eyes(whole: str, evidence: str) -> Fill:
    return lambda schema, body: {"answer": whole if sees_whole(body) else evidence}


@pytest.mark.parametrize(
    ("whole", "evidence", "name", "reason"),
    [
        ("", "42", "poster-1", ""),
        ("17", "42", "poster-2", ""),
        ("", "42", "poster-5", ""),
        ("42", "42", "poster-1", "answered_from_whole"),
        ("", "", "poster-1", "not_answered_from_evidence"),
        ("42", "", "poster-0", ""),
        ("", "42", "poster-0", "needs_a_look"),
    ],
)
def test_necessary_asks_both_sides_with_the_same_words(
    run: Run, whole: str, evidence: str, name: str, reason: str
) -> None:
    only(run, name)
    with TeacherServer(fill=eyes(whole, evidence)) as server:
        sift(run, [asked("necessary", server)])
        direct = name == "poster-0"
        assert server.requests == (3 if direct else 6)
        assert sum(map(sees_whole, server.bodies)) == 3
        assert len({text_of(body) for body in server.bodies}) == 1, "nothing hints at which side it is"
    verdict = verdicts(run, "necessary")[name]
    assert (verdict.ok, verdict.reason) == (not reason, reason), verdict
    told = rates(verdict.detail)
    assert told.whole == (whole == "42")
    assert told.evidence == (None if direct else float(evidence == "42"))
    assert verdict.score == pytest.approx(told.whole if direct else (told.evidence or 0) - (told.whole or 0))


def test_a_question_on_two_places_shows_both(run: Run) -> None:
    only(run, "poster-5")
    with TeacherServer(fill=eyes("", "42")) as server:
        sift(run, [asked("necessary", server, samples=1)])
        assert sorted(len(sizes(body)) for body in server.bodies) == [1, 2]


def test_options_move_so_that_one_letter_is_no_luck() -> None:
    media = Media(sha256="0" * 64, suffix=".png", width=1, height=1)
    example = Example(
        id="e", group="g", source="s", question="?", answers=("B",), answer_type="choice", media=(media,),
        choices=("Rome", "Oslo", "Turin"),
    )  # fmt: skip
    moved = [rotated(example, by) for by in range(3)]
    assert [one.answers for one in moved] == [("B",), ("A",), ("C",)]
    for one in moved:
        assert one.choices[ord(one.answers[0]) - ord("A")] == "Oslo"
        assert score("Oslo", one.answers, "choice", one.choices).ok
    assert sum(score("A", one.answers, "choice", one.choices).ok for one in moved) == 1
    assert rotated(example.model_copy(update={"answers": ("Oslo",)}), 1).answers == ("Oslo",)


def test_samples_are_asked_apart_and_kept(run: Run) -> None:
    """Three equal questions are three calls; a second filter, even without its verdicts, pays for none."""
    with TeacherServer(fill=eyes("", "42")) as server:
        sift(run, [asked("necessary", server)])
        before, told = server.requests, (run.folder / "kept.jsonl").read_bytes()
        (run.folder / "verdicts.sqlite").unlink()
        sift(run, [asked("necessary", server)])
        assert server.requests == before > 0
    assert (run.folder / "kept.jsonl").read_bytes() == told


# ---------------------------------------------------------------------------------------------- judged


def scores(**low: int) -> Fill:
    return lambda schema, body: {"grounding": 5, "honesty": 5, "reasoning": 5, "language": 4, "why": "-"} | low


@pytest.mark.parametrize(
    ("low", "options", "reason", "detail"),
    [
        ({}, {}, "", "language 4"),
        ({"grounding": 2}, {}, "low_score", "grounding 2"),
        ({"reasoning": 3, "honesty": 3, "grounding": 3}, {"least_average": 3.5}, "low_score", "grounding 3"),
        ({"reasoning": 3, "honesty": 3, "grounding": 3}, {"least_average": 3}, "", "grounding 3"),
        ({"language": 6}, {}, "no_reply", "bad_form"),
        ({"honesty": True}, {}, "no_reply", "bad_form"),
    ],
)
def test_judged_takes_the_rubric_by_its_thresholds(
    run: Run, low: dict[str, int], options: dict[str, Any], reason: str, detail: str
) -> None:
    only(run, "poster-2")
    with TeacherServer(fill=scores(**low)) as server:
        sift(run, [asked("judged", server, **options)])
        assert len(sizes(server.bodies[0])) == 3
        assert "wrong on purpose" in text_of(server.bodies[0])
    verdict = verdicts(run, "judged")["poster-2"]
    assert (verdict.ok, verdict.reason) == (not reason, reason)
    assert detail in verdict.detail


def test_a_rubric_beside_the_manifest_is_used(run: Run) -> None:
    only(run, "poster-1")
    run.manifest = run.manifest.model_copy(update={"prompts": {"judge": "My own rubric. $question $answer"}})
    with TeacherServer(fill=scores()) as server:
        sift(run, [asked("judged", server)])
        assert "My own rubric." in text_of(server.bodies[0])
        again = run.manifest.model_copy(update={"prompts": {"judge": "Another rubric. $question $answer"}})
        run.manifest = again
        assert sift(run, [asked("judged", server)]).judged == {"judged": 1}, "a changed rubric judges anew"
        assert server.requests == 2


@pytest.mark.parametrize("fault", ["refusal", "length", "down", "not_json"])
@pytest.mark.parametrize("name", ["necessary", "judged"])
def test_no_reply_is_a_reason_and_is_not_remembered(run: Run, name: str, fault: str) -> None:
    only(run, "poster-1")
    with TeacherServer(fault) as server:
        sifted = sift(run, [asked(name, server)])
    assert sifted.reasons == {f"{name}: no_reply": 1}
    assert sifted.judged == {}
    fill: Fill = eyes("", "42") if name == "necessary" else scores()
    with TeacherServer(fill=fill) as server:
        assert sift(run, [asked(name, server)]).kept == 1


@pytest.mark.parametrize(
    ("name", "fill", "strict", "reason"),
    [
        ("necessary", eyes("", "42"), {"least_evidence": 1.0, "most_whole": 0.0}, ""),
        ("necessary", eyes("42", "42"), {"most_whole": 1.0}, "answered_from_whole"),
        ("judged", scores(), {"least": 5}, ""),
    ],
)
def test_a_changed_threshold_asks_no_model(
    run: Run, name: str, fill: Fill, strict: dict[str, Any], reason: str
) -> None:
    """The server is gone, and the replies are too: what was measured is enough."""
    only(run, "poster-1")
    with TeacherServer(fill=fill) as server:
        first = sift(run, [asked(name, server)])
        loose = sift(run, [asked(name, server)])
    (run.folder.parent / "replies.sqlite").unlink()
    changed = sift(run, [asked(name, server, **strict)])
    back = sift(run, [asked(name, server)])
    assert set(first.reasons) == {f"{name}: {reason}" for reason in [reason] if reason} == set(back.reasons)
    assert first.judged == {name: 1}
    assert loose.judged == changed.judged == back.judged == {}
    if name == "judged" or reason:
        assert changed.kept != first.kept


# ---------------------------------------------------------------------------------------------- faithful


@pytest.mark.parametrize(
    ("thought", "claims"),
    [
        ("Here it says what I need: 40 or so. Another look.", True),
        ("This is the right place. I zoom in again.", True),
        ("I can see the row of the bees here. I zoom in.", True),
        ("I have found the answer.", True),
        ("This isn't what I need, so I look elsewhere.", False),
        ("This shows owls. The row of the bees should be further down, so I zoom in there.", False),
        ("Only owls are listed here. What I need must stand lower.", False),
        ("I want to see the row of the bees, and zoom in.", False),
    ],
)
def test_a_claim_to_see_the_evidence_in_a_wrong_look(run: Run, thought: str, claims: bool) -> None:
    only(run, "poster-2")

    def edit(trace: Trace) -> Trace:
        labelled = trace.regions[0].model_copy(update={"label": "the row of the bees"})
        return with_thought(1, thought)(trace.model_copy(update={"regions": (labelled,)}))

    change(run, "poster-2", edit)
    blind = run.manifest.model_copy(update={"teacher": "scripted"})
    run.manifest = blind
    sifted = sift(run, ["faithful"])  # the plain part needs no model
    assert sifted.reasons == ({"faithful: claims_to_see": 1} if claims else {})


def test_what_is_read_off_a_view_must_stand_there(run: Run) -> None:
    only(run, "poster-1")
    change(run, "poster-1", with_thought(1, 'It says "bees 42" and 9,917, as Professor Brandauer states.'))
    asks = list(readings(next(run.traces())))
    assert [claim.words for claim in asks] == ["bees 42", "9,917", "Professor Brandauer"]

    def judge(schema: Mapping[str, Any], body: Mapping[str, Any]) -> Mapping[str, Any]:
        claims = [line for line in text_of(body).splitlines() if line[:2] in ("1.", "2.", "3.")]
        return {"found": ["bees" in claim for claim in claims]}

    with TeacherServer(fill=judge) as server:
        assert sift(run, [asked("faithful", server)]).reasons == {"faithful: not_in_view": 1}
        verdict = verdicts(run, "faithful")["poster-1"]
        assert "'9,917', 'Professor Brandauer'" in verdict.detail
        change(run, "poster-1", with_thought(1, 'It says "bees 42" here.'))
        assert sift(run, [asked("faithful", server)]).kept == 1
        if tesseract(Image.new("RGB", (60, 20), "white")) is not None and shutil.which("tesseract"):
            assert server.requests == 1, "what Tesseract reads needs no model"


def test_what_ocr_has_read_there_needs_no_model(run: Run) -> None:
    only(run, "poster-1")
    change(run, "poster-1", with_thought(1, 'It says "ninety owls" here.'))

    def by_ocr(trace: Trace) -> Trace:
        read = trace.regions[0].model_copy(update={"label": "ninety owls", "said_by": "ocr"})
        return trace.model_copy(update={"regions": (read,)})

    with TeacherServer(fill=lambda schema, body: {"found": [False]}) as server:
        assert sift(run, [asked("faithful", server)]).reasons == {"faithful: not_in_view": 1}
        assert server.requests == 1
        change(run, "poster-1", by_ocr)
        assert sift(run, [asked("faithful", server)]).kept == 1
        assert server.requests == 1


def test_ocr_alone_decides_where_it_is_told_to(run: Run) -> None:
    only(run, "poster-1")
    change(run, "poster-1", with_thought(1, 'It says "bees 42" here, and 9,917.'))
    run.manifest = run.manifest.model_copy(update={"teacher": "scripted"})
    assert sift(run, ["faithful"]).kept == 1, "without a model what Tesseract misses proves nothing"
    alone = [{"name": "faithful", "ocr_decides": True}]
    if shutil.which("tesseract") is None:
        with pytest.raises(UsageError, match="needs Tesseract"):
            sift(run, alone)
        return
    assert sift(run, alone).reasons == {"faithful: not_in_view": 1}
    assert "'9,917'" in verdicts(run, "faithful")["poster-1"].detail
    change(run, "poster-1", with_thought(1, 'It says "bees 42" here.'))
    assert sift(run, alone).kept == 1


def test_a_judge_that_miscounts_is_no_reply(run: Run) -> None:
    only(run, "poster-1")
    change(run, "poster-1", with_thought(1, "It reads 9,917 here."))
    with TeacherServer(fill=lambda schema, body: {"found": [True, True]}) as server:
        assert sift(run, [asked("faithful", server)]).reasons == {"faithful: no_reply": 1}
        assert server.requests == 2


def test_numbers_are_the_same_however_written() -> None:
    assert stands_in("4,715", "in all 4 715 people")
    assert stands_in("4.7 thousand", "4,700 people")
    assert stands_in("Oslo", "the city of OSLO, Norway")
    assert not stands_in("4,715", "14,715 or 4,7150")


def test_no_scripted_trace_is_called_unfaithful(tmp_path: Path) -> None:
    with Run.start(tmp_path, load(shipped("infographics"), {"limit": 24, "seed": 5})) as drawn:
        synth(drawn)
        assert [claimed_sight(trace) for trace in drawn.traces()] == [None] * 24
        assert sift(drawn, ["no_leak", "legible", "faithful"]).rejected == 0


# ---------------------------------------------------------------------------------------------- all of them


CLAIMS, READS = "This is the right place, and the answer stands here.", "It reads 9,917 here."
PLANTED: list[tuple[str, str, str, str, Fill]] = [
    ("necessary", "answered_from_whole", "poster-1", "", eyes("42", "42")),
    ("necessary", "not_answered_from_evidence", "poster-1", "", eyes("", "")),
    ("necessary", "needs_a_look", "poster-0", "", eyes("", "42")),
    ("necessary", "no_reply", "poster-1", "", lambda schema, body: {"answer": 42}),
    ("judged", "low_score", "poster-2", "", scores(honesty=1)),
    ("judged", "no_reply", "poster-2", "", scores(honesty=6)),
    ("faithful", "claims_to_see", "poster-2", CLAIMS, scores()),
    ("faithful", "not_in_view", "poster-2", READS, lambda schema, body: {"found": [False]}),
    ("faithful", "no_reply", "poster-2", READS, scores()),
]
"""Check, reason, trace, what its second thought says instead, and what the model says."""


@pytest.mark.parametrize(
    ("check", "reason", "name", "thought", "fill"), PLANTED, ids=[f"{p[0]}-{p[1]}" for p in PLANTED]
)
def test_a_trace_trips_each_reason(run: Run, check: str, reason: str, name: str, thought: str, fill: Fill) -> None:
    only(run, name)
    if thought:
        change(run, name, with_thought(1, thought))
    with TeacherServer(fill=fill) as server:
        assert sift(run, [asked(check, server)]).reasons == {f"{check}: {reason}": 1}


def test_every_reason_has_its_trace() -> None:
    """A reason code that no test trips is a claim that no one has seen."""
    found = {name: plugins.find("check", name) for name in plugins.names("check")}
    asking = {name: one for name, one in found.items() if issubclass(one, AskingCheck)}
    listed = {(name, reason) for name, one in asking.items() for reason in one.reasons}
    of_videos = {("necessary", "answered_blind")}  # test_video_traces
    assert {(check, reason) for check, reason, *_ in PLANTED} == listed - of_videos


def test_a_budget_holds_for_the_filter_too(run: Run) -> None:
    """A question is 1,000 tokens in and 100 out; the run's traces have been paid from the same purse."""
    with TeacherServer(fill=eyes("", "42")) as server:
        checks = [asked("necessary", server, samples=1)]
        with pytest.raises(UsageError, match=r"budget reached.* of 12,000 tokens .*a higher one goes on"):
            sift(run, checks, budget=Budget(tokens=12_000))
        assert 0 < server.requests * 1100 <= 12_000
        assert not (run.folder / "kept.jsonl").exists()
        before = server.requests
        sift(run, checks, budget=Budget(tokens=10**6))
        assert len({json.dumps(body) for body in server.bodies}) == server.requests > before, "nothing is paid twice"
    assert Ledger(run.folder / "spent.jsonl").total.input_tokens == 1000 * server.requests


@pytest.mark.parametrize("name", ["necessary", "judged"])
def test_a_teacher_without_eyes_is_refused_by_name(run: Run, name: str) -> None:
    run.manifest = run.manifest.model_copy(update={"teacher": "scripted"})
    with pytest.raises(UsageError, match=f"check {name} asks a model.*scripted.*openai_api"):
        sift(run, [name])


def test_a_check_that_asks_is_no_check_for_synth() -> None:
    with pytest.raises(UsageError, match="put it under filter"):
        parse({"name": "x", "source": "infographics", "validate": ["judged"]}, "here")
    assert issubclass(plugins.find("check", "judged"), AskingCheck)


def test_the_first_no_saves_the_second_question(run: Run) -> None:
    """Two asking checks: what the first rejects isn't paid for twice, and one teacher is shared."""

    def both(schema: Mapping[str, Any], body: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"answer": "42"} if "answer" in schema["properties"] else scores()(schema, body)

    only(run, "poster-0", "poster-1")
    with TeacherServer(fill=both) as server:
        checks = [asked("necessary", server, samples=1), asked("judged", server)]
        sifted: Sifted = sift(run, checks)
        judged = sum("grounding" in text_of(body) for body in server.bodies)
    assert sifted.reasons == {"necessary: answered_from_whole": 1}
    assert judged == 1


# ---------------------------------------------------------------------------------------------- text-space traces


def solver(right: Callable[[int], bool]) -> Callable[[Mapping[str, Any]], str]:
    """A base model that solves a sheet or not, in free text."""

    def say(body: Mapping[str, Any]) -> str:
        sheet = int(text_of(body).split("Which order is on sheet ")[1].split("?")[0])
        number = 4100 + sheet if right(sheet) else 17
        return f"The sheet is small print, but one order stands out.\nSo that must be it.\n\\boxed{{{number}}}"

    return say


DIRECT = {"mix": {"single": 0.5, "direct": 0.5}}


def test_text_space_traces_are_a_base_models_own_words(sheets: Path, tmp_path: Path) -> None:  # noqa: F811
    with TeacherServer(fill=said, say=solver(lambda sheet: sheet % 2 == 0)) as server:
        direct = {"teacher": {**at(server), "model": "base-vision"}, "samples": 3}
        chosen = of_sheets(sheets, teacher=at(server), direct=direct, mix={"single": 0.001, "direct": 1})
        progress, run = run_all(tmp_path, chosen)
        plain = [body for body in server.bodies if body["model"] == "base-vision"]
        assert len(plain) == 30
        assert all("response_format" not in body and len(sizes(body)) == 1 for body in plain)
        assert "zoom_in" not in json.dumps(plain)
        assert sift(run, run.manifest.filter).rejected == 0
    assert (progress.kept, progress.failed) == (10, 0)
    traces = {trace.id: trace for trace in run.traces()}
    for number in range(10):
        trace = next(one for name, one in traces.items() if name.endswith(f"s{number}"))
        made = trace.provenance
        if number % 2:
            assert (trace.kind, made.unfit, made.solved) == ("single", ("direct",), None)
            assert "tiny-vision" in made.teacher
            assert len(made.replies) == 4, "what failed was paid for as well"
        else:
            assert (trace.kind, made.unfit, made.solved) == ("direct", (), (3, 3))
            assert made.teacher == "openai_api base-vision"
            assert not made.answer_revealed
            assert [step.role for step in trace.steps] == ["answer"]
            assert "boxed" not in trace.steps[0].thought
            assert trace.answer == str(4100 + number)
            assert set(made.prompts) == {"guideline_plain"}


def test_the_share_of_direct_is_the_manifests(sheets: Path, tmp_path: Path) -> None:  # noqa: F811
    with TeacherServer(fill=said, say=solver(lambda sheet: True)) as server:
        chosen = of_sheets(sheets, teacher=at(server), direct={"teacher": at(server)}, **DIRECT)
        run = run_all(tmp_path / "a", chosen)[1]
        kinds = [trace.kind for trace in run.traces()]
        assert 2 <= kinds.count("direct") <= 8
        assert set(kinds) == {"single", "direct"}
        again = run_all(tmp_path / "b", chosen)[1]
        assert again.traces_path.read_bytes() == run.traces_path.read_bytes()


def test_too_few_right_samples_are_luck(sheets: Path, tmp_path: Path) -> None:  # noqa: F811
    """One right answer in four is no proof that the whole view is enough."""
    turns: dict[str, int] = {}

    def lucky(body: Mapping[str, Any]) -> str:
        turns[text_of(body)] = turns.get(text_of(body), 0) + 1
        return solver(lambda sheet: turns[text_of(body)] == 1)(body)

    with TeacherServer(fill=said, say=lucky) as server:
        chosen = of_sheets(sheets, teacher=at(server), direct={"teacher": at(server)}, limit=3, mix={"direct": 1})
        progress = run_all(tmp_path, chosen)[0]
    assert progress.reasons == {"compose: no_kind_fits": 3}


def test_a_base_model_without_eyes_is_refused() -> None:
    with pytest.raises(UsageError, match="can't see"):
        parse({"name": "x", "source": "infographics", "direct": {"teacher": "scripted"}}, "here")


def test_without_direct_the_digest_is_what_it_was(sheets: Path) -> None:  # noqa: F811
    chosen = of_sheets(sheets)
    assert "direct" not in chosen.shape()
    assert chosen.model_copy(update={"prompts": chosen.prompts | {"judge": "other"}}).digest() == chosen.digest()
