"""Evaluations over HTTP: arms that differ in one thing, controls that tell, failings that count, runs that repeat."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dataforge import diff
from dataforge.ask.budget import Budget
from dataforge.episode import replay
from dataforge.errors import UsageError
from dataforge.evaluate import board, plan, tables
from dataforge.evaluate.bench import Bench
from dataforge.evaluate.estimate import estimate
from dataforge.evaluate.player import timings_path
from dataforge.filter import sift
from dataforge.manifest import Arm, Manifest
from dataforge.media import blank, fingerprint
from dataforge.plugins import Row
from dataforge.records import Trace, to_line
from dataforge.report.pictures import Pictures
from dataforge.runs import Run
from tests import eyes
from tests.servers import TeacherServer

ARMS: tuple[Arm, ...] = ("without", "with", "blank", "elsewhere")
COUNT = 8


class Played(NamedTuple):
    """Four arms of one model, and all that its server was asked."""

    data: Path
    runs: dict[Arm, Run]
    bodies: list[dict[str, Any]]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    home = tmp_path_factory.mktemp("played")
    data = eyes.draw_vstar(home / "VStarBench", COUNT)
    with TeacherServer(say=eyes.eyes) as server:
        found = {arm: eyes.play(one, home / "runs") for arm, one in zip(ARMS, manifests(data, server), strict=True)}
        yield Played(data, found, server.bodies)


def manifests(data: Path, server: TeacherServer) -> list[Manifest]:
    return eyes.planned(data, server.url, ARMS)


def one_arm(data: Path, url: str, runs: Path, **changes: Any) -> Run:
    """Only the arm with operations."""
    return eyes.play(eyes.planned(data, url, ["with"], **changes)[0], runs)


# ------------------------------------------------------------------------------------------------ what is measured


def test_operations_help_who_looks_and_no_look_elsewhere_does(played: Played) -> None:
    made = board.board(list(played.runs.values()))
    score = {row.arm: row.score.mean for row in made.rows}
    assert score["with"] == 1.0
    assert score["without"] == score["blank"] == score["elsewhere"] < 0.6
    gaps = {gap.over_arm: gap for gap in made.gaps}
    assert set(gaps) == {"without", "blank", "elsewhere"}
    for gap in gaps.values():
        assert gap.gain.low > 0
        assert (gap.gain.n, gap.gained, gap.lost) == (COUNT, round(COUNT * gap.gain.mean), 0)
    rows = {row.arm: row for row in made.rows}
    assert (rows["with"].rapr.mean, rows["without"].rapr.mean) == (1.0, 0.0)
    assert (rows["with"].saw_evidence, rows["blank"].saw_evidence, rows["elsewhere"].saw_evidence) == (1.0, 0.0, 0.0)
    assert rows["without"].with_look is None
    assert set(rows["with"].categories) == {"direct_attributes", "relative_position"}
    assert len({row.protocol for row in made.rows}) == 1
    assert not made.notes


def test_arms_share_pictures_questions_and_the_first_reply(played: Played) -> None:
    # first turns of the arms with operations are asked once: 8 without, 8 + 8 with, 8 + 8 second turns of the controls
    assert len(played.bodies) == 5 * COUNT
    first = [body for body in played.bodies if sum(one["role"] == "user" for one in body["messages"]) == 1]
    told = [body for body in first if eyes.offers(body)]
    plain = [body for body in first if not eyes.offers(body)]
    assert len(told) == len(plain) == COUNT
    for one, other in zip(sorted(map(asked, told)), sorted(map(asked, plain)), strict=True):
        assert one == other
    assert {body["temperature"] for body in played.bodies} == {0.0}


def asked(body: Mapping[str, Any]) -> str:
    """The question's message without the guideline."""
    parts = body["messages"][-1]["content"]
    return json.dumps([part if "image_url" in part else part["text"].split("\n\n")[0] for part in parts])


def test_the_models_words_go_back_without_what_it_wrote_after_a_call(played: Played) -> None:
    second = next(body for body in played.bodies if body["messages"][-2]["role"] == "assistant")
    said = second["messages"][-2]["content"]
    assert said.startswith("The square is too small")
    assert said.endswith("</tool_call>")
    assert "I am sure" not in said


# ------------------------------------------------------------------------------------------------ what is stored


def test_every_arm_replays_and_tampering_is_seen(played: Played) -> None:
    for arm, run in played.runs.items():
        kept = sift(run, ["answer", "replay"])
        assert kept.kept == sum(trace.ok for trace in run.traces())
        assert not any(reason.startswith("replay") for reason in kept.reasons)
        for trace in run.traces():
            assert not list(replay(trace, run.store))
            assert trace.provenance.control == {"blank": "blank", "elsewhere": "elsewhere"}.get(arm, "")
    run = played.runs["blank"]
    trace = next(run.traces())
    assert trace.looks[0].observation is not None
    view = trace.looks[0].observation.views[0]
    assert view.sha256 == fingerprint(blank((view.width, view.height)))
    assert Pictures(run.store).cut(trace.example, view).getcolors() == [(view.width * view.height, (128, 128, 128))]
    honest = trace.model_copy(update={"provenance": trace.provenance.model_copy(update={"control": ""})})
    assert {what for what, _ in replay(honest, run.store)} == {"geometry"}
    moved = next(played.runs["elsewhere"].traces())
    reseeded = moved.model_copy(update={"provenance": moved.provenance.model_copy(update={"seed": 1})})
    assert {what for what, _ in replay(reseeded, run.store)} == {"geometry"}


def test_a_worker_that_has_nothing_at_hand_shows_the_same(played: Played, tmp_path: Path) -> None:
    for arm in ("with", "elsewhere"):
        manifest = played.runs[arm].manifest
        fresh, busy = Bench(manifest, tmp_path / arm / "a"), Bench(manifest, tmp_path / arm / "b")
        rows = [item for item in busy.source.read() if isinstance(item, Row)]
        opened = {row.id: busy.open(row) for row in rows}
        for trace in played.runs[arm].traces():
            calls = [step.call for step in trace.steps if step.call] * 2  # two looks, where the model had one
            fresh.open(next(row for row in rows if row.id == trace.id))
            for place, call in enumerate(calls):
                fresh._at_hand.clear()
                before = tuple(calls[:place])
                assert fresh.act(trace.example, before, call) == busy.act(opened[trace.id].example, before, call)


def test_diff_meets_two_arms_question_by_question(played: Played) -> None:
    made = diff.compare(played.runs["without"], played.runs["with"])
    assert sum(flip.count for flip in made.flips) == sum(not trace.ok for trace in played.runs["without"].traces())


def test_equal_replies_make_equal_bytes_and_no_time_is_claimed_for_them(played: Played, tmp_path: Path) -> None:
    before = played.runs["with"]
    shutil.copy(before.folder.parent / "replies.sqlite", tmp_path / "replies.sqlite")
    # nobody answers there: all must come from the cache
    again = one_arm(played.data, "http://127.0.0.1:1/v1", tmp_path)
    assert again.traces_path.read_bytes() == before.traces_path.read_bytes()
    assert not timings_path(again).exists()
    times = [json.loads(line) for line in timings_path(before).read_text().splitlines()]
    assert {one["id"] for one in times} == {trace.id for trace in before.traces()}
    assert all(one["seconds"] > 0 and one["turns"] == 2 for one in times)


def test_a_torn_run_goes_on_and_ends_in_the_same_bytes(played: Played, tmp_path: Path) -> None:
    before = played.runs["with"]
    shutil.copytree(before.folder, tmp_path / before.folder.name)
    shutil.copy(before.folder.parent / "replies.sqlite", tmp_path / "replies.sqlite")
    torn = Run.open(tmp_path / before.folder.name)
    whole = torn.traces_path.read_bytes()
    torn.traces_path.write_bytes(whole[: len(whole) // 2])
    one_arm(played.data, "http://127.0.0.1:1/v1", tmp_path)
    assert torn.traces_path.read_bytes() == whole


def test_scores_are_counted_again_without_a_model(played: Played, tmp_path: Path) -> None:
    shutil.copytree(played.runs["with"].folder, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    traces = list(run.traces())
    wrong = [
        verdict.model_copy(update={"ok": False, "score": 0.0, "reason": "wrong"}) for verdict in traces[0].verdicts
    ]
    lines = [traces[0].model_copy(update={"verdicts": tuple(wrong)}), traces[1].model_copy(update={"answer": "Z"})]
    run.traces_path.write_text("".join(map(to_line, [*lines, *traces[2:]])))
    made = board.board([run])
    assert made.rows[0].score.mean == (COUNT - 1) / COUNT
    assert made.rows[0].rescored == 2
    assert "2 questions have another score today" in made.notes[0]


# ------------------------------------------------------------------------------------------------ native calls


def test_native_calls_are_answered_by_a_tool_message_and_score_the_same(played: Played, tmp_path: Path) -> None:
    with TeacherServer(say=eyes.eyes) as server:
        run = one_arm(played.data, server.url, tmp_path, student={"calls": "native"})
    row = board.board([run]).rows[0]
    assert (row.score.mean, row.rapr.mean, row.errors) == (1.0, 1.0, {})
    second = next(body for body in server.bodies if len(body["messages"]) > 2)
    roles = [message["role"] for message in second["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "user"]
    call, told, shown = second["messages"][2:]
    assert call["tool_calls"][0]["id"] == told["tool_call_id"]
    assert call["content"] == "The square is too small to be sure of. I zoom in on it."
    assert isinstance(told["content"], str)
    assert [part["type"] for part in shown["content"]] == ["text", "image_url"]
    assert second["tools"][0]["function"]["name"] == "zoom_in"
    assert {trace.ok for trace in run.traces()} == {True}
    assert not [found for trace in run.traces() for found in replay(trace, run.store)]


# ------------------------------------------------------------------------------------------------ failings


def failing(say: str) -> Any:
    """A model that says the same in every turn."""
    return lambda body: say


@pytest.mark.parametrize(
    ("say", "errors", "turns"),
    [
        ('<tool_call>{"name": "zoom_in", "arguments": {"bbox_2d": [5, 5, 5, 5], "target_image": 1}}</tool_call>', 3, 3),
        ('<tool_call>{"name": "fly", "arguments": {}}</tool_call>', 3, 3),
        ('<tool_call>{"name": "<|im_end|>", "arguments": {}}</tool_call>', 1, 1),
        ("<tool_call>{oops</tool_call>", 3, 3),
        ("I wonder.", 0, 3),
    ],
    ids=["empty box", "unknown operation", "a marker in a name", "malformed", "no answer"],
)
def test_what_the_model_cannot_do_is_wrong_and_counts(
    played: Played, tmp_path: Path, say: str, errors: int, turns: int
) -> None:
    settings = {"title": "V*", "turns": 3}
    with TeacherServer(say=failing(say)) as server:
        run = one_arm(played.data, server.url, tmp_path, limit=1, evaluate=settings)
    row = board.board([run]).rows[0]
    assert (row.score.mean, row.score.n, row.failed, row.unanswered) == (0.0, 1, 0, 1)
    assert sum(row.errors.values()) == errors
    assert row.error_rate == (1.0 if errors else None)
    assert server.requests == turns


@pytest.mark.parametrize("behaviour", ["length", "refusal", "content_filter", "empty"])
def test_a_turn_that_breaks_off_ends_the_episode_and_is_paid_for_once(
    played: Played, tmp_path: Path, behaviour: str
) -> None:
    with TeacherServer(behaviour, say=failing("I think and think and think. " * 9)) as server:
        run = one_arm(played.data, server.url, tmp_path, limit=2)
        first = server.requests
        shutil.rmtree(run.folder)
        again = one_arm(played.data, server.url, tmp_path, limit=2)
    row = board.board([run]).rows[0]
    assert (row.score.mean, row.score.n, row.unanswered, row.error_rate) == (0.0, 2, 2, None)
    assert first == server.requests == 2
    assert row.input_tokens > 0
    last = [trace.steps[-1].observation for trace in again.traces()]
    assert {seen.error for seen in last if seen} == {
        {"length": "cut_off", "empty": "empty_reply"}.get(behaviour, "refused")
    }


def test_an_answer_in_a_turn_that_was_cut_off_is_an_answer(played: Played, tmp_path: Path) -> None:
    with TeacherServer("length", say=failing("\\boxed{A}" + " and so on and on" * 9)) as server:
        run = one_arm(played.data, server.url, tmp_path, limit=1)
    assert [trace.answer for trace in run.traces()] == ["A"]


def test_what_says_nothing_about_the_model_stays_out_of_n_and_is_said(played: Played, tmp_path: Path) -> None:
    data = tmp_path / "VStarBench"
    shutil.copytree(played.data, data)
    (data / "direct_attributes" / "sa_0.jpg").write_bytes(b"\xff\xd8 broken")
    (data / "direct_attributes" / "sa_2.json").write_text("{oops")
    (data / "relative_position" / "sa_1.jpg").unlink()
    with TeacherServer(say=eyes.eyes) as server:
        run = one_arm(data, server.url, tmp_path / "runs")
    made = board.board([run])
    assert (made.rows[0].score.n, made.rows[0].failed, made.rows[0].score.mean) == (COUNT - 3, 3, 1.0)
    assert {failure.reason for failure in run.failures()} == {"not_a_picture", "bad_json", "missing_media"}
    assert str(tmp_path) not in run.failed_path.read_text()
    assert "3 questions could not be played" in made.notes[0]


def test_pictures_sent_below_the_stated_cap_are_said(played: Played, tmp_path: Path) -> None:
    with TeacherServer("too_large", say=eyes.eyes) as server:
        small = eyes.planned(played.data, server.url, ["without"], student={"max_pixels": 150_000}, limit=2)
        run = eyes.play(small[0], tmp_path)
    made = board.board([run])
    assert made.rows[0].smaller == made.rows[0].score.n == 2
    assert "2 questions were sent with pictures at half their size" in made.notes[0]


def test_an_endpoint_that_was_away_is_asked_again(played: Played, tmp_path: Path) -> None:
    with TeacherServer("down", say=eyes.eyes) as server:
        run = one_arm(played.data, server.url, tmp_path, limit=2)
    assert {failure.reason for failure in run.failures()} == {"server_error"}
    with TeacherServer(say=eyes.eyes) as server:
        run = one_arm(played.data, server.url, tmp_path, limit=2)
    assert len(list(run.traces())) == 2
    assert not list(run.failures())


# ------------------------------------------------------------------------------------------------ budget, plan, board


def test_a_budget_holds_over_all_arms_and_the_run_goes_on_with_a_higher_one(played: Played, tmp_path: Path) -> None:
    with TeacherServer(say=eyes.eyes) as server:
        ours = eyes.planned(played.data, server.url, ["without", "with"], teacher={"max_tokens": 200})
        eyes.play(ours[0], tmp_path)
        spent = COUNT * 1100
        rest = plan.left(Budget(tokens=spent + 12_000), tmp_path, [ours[0]])
        assert rest == Budget(tokens=12_000)
        stopped = eyes.play(ours[1], tmp_path, budget=rest)
        some = len(list(stopped.traces()))
        assert 0 < some < COUNT
        assert server.requests - COUNT <= 12_000 // 1100
        assert plan.left(Budget(tokens=spent), tmp_path, [ours[0]]) is None
        finished = eyes.play(ours[1], tmp_path)
    assert finished.traces_path.read_bytes() == played.runs["with"].traces_path.read_bytes().replace(
        played.runs["with"].manifest.digest().encode(), finished.manifest.digest().encode()
    )


def test_a_dry_run_asks_and_writes_nothing(played: Played, tmp_path: Path) -> None:
    ours = eyes.planned(played.data, "http://127.0.0.1:1/v1", ARMS)
    plans = {arm: estimate(one) for arm, one in zip(ARMS, ours, strict=True)}
    assert (plans["with"].questions, plans["with"].calls, plans["without"].calls) == (COUNT, 2 * COUNT, COUNT)
    assert plans["with"].input_tokens > 2 * plans["without"].input_tokens > 0
    assert plans["with"].cost_usd is None


def test_two_protocols_are_never_compared(played: Played, tmp_path: Path) -> None:
    with TeacherServer(say=eyes.eyes) as server:
        other = one_arm(played.data, server.url, tmp_path, student={"max_pixels": 400_000}, limit=3)
    made = board.board([played.runs["without"], other])
    assert not made.gaps
    assert "2 protocols" in made.notes[0]
    spoken = one_arm(played.data, server.url, tmp_path / "b", student={"box_unit": "0..1000"}, limit=1)
    assert plan.protocol(spoken.manifest) == plan.protocol(played.runs["with"].manifest)


def test_one_model_asked_in_two_ways_is_told_apart_and_its_arms_stay_together(played: Played, tmp_path: Path) -> None:
    with TeacherServer(say=eyes.eyes) as server:
        plans = eyes.planned(played.data, server.url, ("without", "with"), teacher={"temperature": 0.7}, limit=3)
        warm = [eyes.play(one, tmp_path) for one in plans]
    made = board.board([played.runs["without"], played.runs["with"], *warm])
    cold, hot = made.rows[0].model, made.rows[2].model
    assert [(row.model, row.arm) for row in made.rows] == [
        *((cold, arm) for arm in ("without", "with")),
        *((hot, arm) for arm in ("without", "with")),
    ]
    assert cold != hot
    assert {(gap.model, gap.arm, gap.over_model, gap.over_arm) for gap in made.gaps} == {
        (cold, "with", cold, "without"),
        (hot, "with", hot, "without"),
        (hot, "with", cold, "with"),
        (hot, "without", cold, "without"),
    }
    assert [gap.gain.n for gap in made.gaps if gap.over_model != gap.model] == [3, 3]
    assert "3 to 8 questions" in made.notes[0]


def test_a_run_without_a_played_question_is_said(played: Played, tmp_path: Path) -> None:
    with TeacherServer("bad_request") as server:
        bad = one_arm(played.data, server.url, tmp_path, limit=1)
    made = board.board([played.runs["with"], bad])
    assert made.notes == (f"{bad.folder.name}: no question has been played",)
    with pytest.raises(UsageError, match="no run of these has a played question"):
        board.board([bad])


def test_the_same_cells_in_terminal_and_markdown(played: Played) -> None:
    from rich.console import Console

    made = board.board(list(played.runs.values()))
    text = tables.markdown(made)
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(tables.render(made))
    shown = console.export_text()
    for cell in ("100.0 [67.6, 100.0]", "V*Bench: accuracy", "tiny-vision", "elsewhere", "evidence"):
        assert cell in text
        assert cell in shown
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")]
    assert all(width > 2 for width in widths)


def test_an_ordinary_run_is_no_evaluation(tmp_path: Path) -> None:
    from tests import drawn_run

    run = drawn_run.make(tmp_path)
    with pytest.raises(UsageError, match="is no evaluation"):
        board.board([run])


def test_traces_of_another_kind_still_read(played: Played) -> None:
    trace = next(played.runs["with"].traces())
    old = json.loads(to_line(trace))
    del old["views"][0]["blank"], old["provenance"]["control"], old["example"]["category"]
    assert Trace.model_validate(old).provenance.control == ""
