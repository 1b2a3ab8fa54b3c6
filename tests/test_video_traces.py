"""Traces on videos: operations, replay, kinds measured in time, checks that catch a shifted frame, sources, a run."""

import asyncio
import csv
import io
import json
import pickle
import shutil
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dataforge import manifest, plugins
from dataforge.ask.request import Picture, Reply, Request
from dataforge.checks.grounded import Grounded
from dataforge.checks.legible import Legible
from dataforge.checks.necessary import Necessary, rates
from dataforge.checks.replay import Replay
from dataforge.compose import Draft, compose
from dataforge.episode import Episode, used
from dataforge.errors import ExampleError
from dataforge.filter import sift
from dataforge.geometry import Box
from dataforge.locate import said_stretch
from dataforge.manifest import Compose
from dataforge.media import MediaStore
from dataforge.operations.select_frames import SelectFrames
from dataforge.operations.select_moments import SelectMoments
from dataforge.operations.zoom_in import ZoomIn
from dataforge.plugins import Kit
from dataforge.records import (
    Call,
    Example,
    Failure,
    Kind,
    Limits,
    Observation,
    Overview,
    Provenance,
    Region,
    Student,
    Trace,
    View,
    to_line,
)
from dataforge.runs import Run
from dataforge.sources.star import Star
from dataforge.staged import ask, film, plot
from dataforge.staged.plot import COLOURS, FLOOR
from dataforge.synth import synth
from dataforge.write import request, slots, steps
from tests import clips
from tests.servers import TeacherServer

OPERATIONS = [SelectFrames(), SelectMoments(), ZoomIn()]
MIX: dict[Kind, float] = {"single": 0.9, "reselect": 0.1, "frames_then_zoom": 1, "compare": 1, "direct": 1}
LIMITS = Limits(images=48)
WIDTH, HEIGHT = 960, 480


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MediaStore:
    return MediaStore(tmp_path_factory.mktemp("media"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds at ten frames a second, each with its number as bars."""
    return clips.write(tmp_path_factory.mktemp("clip") / "bars.mp4", count=120, rate=10, size=(WIDTH, HEIGHT))


def place(span: tuple[float, float], box: Box | None = None, text_px: float | None = None) -> Region:
    return Region(box=box or Box(0, 0, WIDTH, HEIGHT), span_s=span, label="the moment", text_px=text_px)


def example(store: MediaStore, clip: Path, *evidence: Region, name: str = "e") -> Example:
    return Example(
        id=name,
        group="bars",
        source="drawn",
        question="What happens?",
        answers=("this",),
        media=(store.add_video(clip),),
        evidence=evidence,
    )


def episode(asked: Example, store: MediaStore, limits: Limits = LIMITS) -> Episode:
    return Episode(asked, store, OPERATIONS, Student(), limits)


def trace_of(draft: Draft) -> Trace:
    made, answer = steps(draft, {name: name for name in slots(draft)})
    return Trace(
        id=draft.example.id,
        example=draft.example,
        views=draft.views,
        regions=draft.regions,
        steps=made,
        answer=answer,
        kind=draft.kind,
        provenance=Provenance(version="0", manifest="0", operations=used(OPERATIONS), limits=LIMITS),
    )


def draw(asked: Example, store: MediaStore, mix: dict[Kind, float] | None = None, seed: int = 0) -> Draft:
    return compose(asked, asked.evidence, episode(asked, store), Compose(), mix or MIX, seed)


# ----------------------------------------------------------------------------------------------------- operations


def test_a_video_is_first_shown_as_numbered_frames_with_their_times(store: MediaStore, clip: Path) -> None:
    opened = episode(example(store, clip), store)
    assert [view.number for view in opened.opening] == list(range(1, 17))
    for view in opened.opening:
        assert view.moment == (view.frame, pytest.approx((view.frame or 0) / 10))
        assert clips.number(opened.workspace.picture(view.number)) == view.frame
        assert view.width * view.height <= Overview().max_pixels


def test_frames_are_selected_by_number_and_come_larger(store: MediaStore, clip: Path) -> None:
    opened = episode(example(store, clip), store)
    seen = opened.act(Call(name="select_frames", arguments={"target_frames": [5, 2]}))
    assert [view.moment for view in seen.views] == [opened.opening[4].moment, opened.opening[1].moment]
    assert [view.number for view in seen.views] == [17, 18]
    assert seen.text.startswith(f"Image 17 ({seen.views[0].width}x{seen.views[0].height} pixels, at 3.")
    assert seen.views[0].width > opened.opening[0].width
    assert [clips.number(opened.workspace.picture(view.number)) for view in seen.views] == [
        view.frame for view in seen.views
    ]
    part = opened.act(Call(name="zoom_in", arguments={"bbox_2d": [0, 0, 90, 90], "target_image": 17}))
    assert part.views[0].moment == seen.views[0].moment
    # a number of a part names its frame
    assert opened.act(Call(name="select_frames", arguments={"target_frames": [19]})).views[0].box.width == WIDTH


def test_moments_lie_between_the_frames_of_the_overview(store: MediaStore, clip: Path) -> None:
    opened = episode(example(store, clip), store)
    seen = opened.act(Call(name="select_moments", arguments={"start_s": 1.2, "end_s": 1.6, "count": 4}))
    assert [view.frame for view in seen.views] == [12, 13, 14, 15]
    assert [clips.number(opened.workspace.picture(view.number)) for view in seen.views] == [12, 13, 14, 15]
    few = opened.act(Call(name="select_moments", arguments={"start_s": 1.21, "end_s": 1.39, "count": 8}))
    assert [view.frame for view in few.views] == [12, 13]


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("select_frames", {"target_frames": []}, "no_frames"),
        ("select_frames", {"target_frames": [0]}, "unknown_image"),
        ("select_frames", {"target_frames": [-1]}, "unknown_image"),
        ("select_frames", {"target_frames": [17]}, "unknown_image"),
        ("select_frames", {"target_frames": [3, 3]}, "repeated_frame"),
        ("select_frames", {"target_frames": list(range(1, 10))}, "too_many_frames"),
        ("select_frames", {"target_frames": 3}, "bad_arguments"),
        ("select_frames", {"target_frames": [1.5]}, "bad_arguments"),
        ("select_frames", {"target_frames": [True]}, "bad_arguments"),
        ("select_frames", {"target_frames": ["first"]}, "bad_arguments"),
        ("select_frames", {}, "bad_arguments"),
        ("select_frames", {"frames": [1]}, "bad_arguments"),
        ("select_moments", {"start_s": 2, "end_s": 1, "count": 2}, "reversed_stretch"),
        ("select_moments", {"start_s": -1, "end_s": 1, "count": 2}, "out_of_range"),
        ("select_moments", {"start_s": 1, "end_s": 99, "count": 2}, "out_of_range"),
        ("select_moments", {"start_s": float("nan"), "end_s": 1, "count": 2}, "not_finite"),
        ("select_moments", {"start_s": 1, "end_s": 2, "count": 0}, "no_frames"),
        ("select_moments", {"start_s": 1, "end_s": 2, "count": 9}, "too_many_frames"),
        ("select_moments", {"start_s": 1, "end_s": 2, "count": 2.5}, "bad_arguments"),
    ],
)
def test_a_senseless_selection_is_answered_with_a_sentence(
    name: str, arguments: dict[str, object], reason: str, store: MediaStore, clip: Path
) -> None:
    opened = episode(example(store, clip), store)
    seen = opened.act(Call(name=name, arguments=arguments))
    assert seen.error == reason
    assert seen.text.startswith("Error: ")
    assert seen.text.endswith(".")
    assert len(opened.workspace.views) == 16
    assert opened.ran == 0


def test_a_picture_has_no_frames_and_no_moments(store: MediaStore) -> None:
    media = store.add_bytes(picture(), ".png")
    opened = episode(Example(id="p", group="p", source="x", question="?", answers=("1",), media=(media,)), store)
    selected = opened.act(Call(name="select_frames", arguments={"target_frames": [1]}))
    between = opened.act(Call(name="select_moments", arguments={"start_s": 0, "end_s": 1, "count": 1}))
    assert (selected.error, between.error) == ("not_a_frame", "no_video")


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (300, 200), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def test_too_many_frames_for_the_limits_fail_the_example(store: MediaStore, clip: Path) -> None:
    with pytest.raises(ExampleError) as caught:
        episode(example(store, clip), store, Limits(images=12))
    assert (caught.value.stage, caught.value.reason) == ("show", "too_many_images")
    # a selection that is refused half way leaves nothing behind
    opened = episode(example(store, clip), store, Limits(images=18))
    assert opened.act(Call(name="select_frames", arguments={"target_frames": [1, 2, 3]})).error == "too_many_images"
    assert len(opened.workspace.views) == 16


# ---------------------------------------------------------------------------------------------------------- kinds


def shows(observation: Observation, region: Region) -> bool:
    return any(region.there_at(view.time_s) and view.box.contains(region.box) for view in observation.views)


def test_single_and_reselect_are_right_and_wrong_in_time(store: MediaStore, clip: Path) -> None:
    for seed in range(6):
        region = place((3.0 + seed / 2, 4.6 + seed / 2))
        asked = example(store, clip, region, name=f"e{seed}")
        single = draw(asked, store, {"single": 1}, seed)
        assert [look.call.name for look in single.looks] == ["select_frames"]
        assert shows(single.looks[0].observation, region)
        wrong, right = draw(asked, store, {"reselect": 1}, seed).looks
        assert (wrong.role, right.role) == ("mistake", "recover")
        assert not any(region.there_at(view.time_s) for view in wrong.observation.views)
        assert shows(right.observation, region)


def test_what_the_overview_has_no_frame_of_is_looked_for_by_time(store: MediaStore, clip: Path) -> None:
    for seed in range(6):
        opened = episode(example(store, clip), store).opening
        between = (opened[5].time_s or 0) + 0.1, (opened[6].time_s or 0) - 0.1
        asked = example(store, clip, place(between), name=f"e{seed}")
        draft = draw(asked, store, {"single": 1}, seed)
        assert [look.call.name for look in draft.looks] == ["select_moments"]
        assert shows(draft.looks[0].observation, asked.evidence[0])


def test_small_print_takes_frames_and_then_a_zoom(store: MediaStore, clip: Path) -> None:
    region = place((5.0, 6.5), Box(700, 300, 790, 318), text_px=9)
    asked = example(store, clip, region)
    draft = draw(asked, store)
    assert draft.kind == "frames_then_zoom"
    assert [look.call.name for look in draft.looks] == ["select_frames", "zoom_in"]
    zoomed = draft.looks[1].observation.views[0]
    assert region.there_at(zoomed.time_s)
    assert zoomed.box.contains(region.box)
    assert draw(asked, store, {"frames_then_zoom": 1}) == draw(asked, store, {"frames_then_zoom": 1})


def test_large_print_needs_no_look_and_far_moments_need_several(store: MediaStore, clip: Path) -> None:
    large = example(store, clip, place((5.0, 6.5), Box(100, 300, 800, 400), text_px=80))
    assert draw(large, store).kind == "direct"
    opened = episode(example(store, clip), store).opening
    short = [((opened[at].time_s or 0) + 0.2, (opened[at].time_s or 0) + 0.4) for at in (1, 13)]
    far = example(store, clip, *(place(span) for span in short))
    draft = draw(far, store)
    assert draft.kind == "compare"
    assert [shows(look.observation, region) for look, region in zip(draft.looks, far.evidence, strict=True)] == [
        True,
        True,
    ]


def test_shares_are_the_papers(store: MediaStore, clip: Path) -> None:
    kinds = Counter(draw(example(store, clip, place((4, 6)), name=f"e{n}"), store, MIX).kind for n in range(60))
    assert set(kinds) == {"single", "reselect"}
    assert 1 <= kinds["reselect"] <= 15


# --------------------------------------------------------------------------------------------------------- checks


def some_traces(store: MediaStore, clip: Path) -> list[Trace]:
    small = place((5.0, 6.5), Box(700, 300, 790, 318), text_px=9)
    return [
        trace_of(draw(example(store, clip, place((4, 6))), store, {"single": 1})),
        trace_of(draw(example(store, clip, place((4, 6))), store, {"reselect": 1})),
        trace_of(draw(example(store, clip, place((4.05, 4.35))), store, {"single": 1})),
        trace_of(draw(example(store, clip, small), store)),
    ]


def test_what_was_composed_passes_and_replays(store: MediaStore, clip: Path) -> None:
    kit = Kit(store)
    for trace in some_traces(store, clip):
        for check in (Grounded(), Legible(), Replay(), plugins.build("check", "well_formed")):
            assert check.judge(trace, kit).ok, (trace.kind, check.name, check.judge(trace, kit))
        assert Trace.model_validate_json(trace.model_dump_json()) == trace


def shifted(trace: Trace, frames: int) -> Trace:
    """The trace as if its last look showed frames so many further on; the pixels stay those of the right ones."""
    at = max(number for number, step in enumerate(trace.steps) if step.observation)
    observation = trace.steps[at].observation
    assert observation is not None
    views = tuple(
        view.model_copy(update={"frame": (view.frame or 0) + frames, "time_s": (view.time_s or 0) + frames / 10})
        for view in observation.views
    )
    step = trace.steps[at].model_copy(update={"observation": observation.model_copy(update={"views": views})})
    return trace.model_copy(update={"steps": (*trace.steps[:at], step, *trace.steps[at + 1 :])})


def test_a_shifted_frame_is_caught(store: MediaStore, clip: Path) -> None:
    kit = Kit(store)
    for trace in some_traces(store, clip):
        one_on = Replay().judge(shifted(trace, 1), kit)
        assert (one_on.ok, one_on.reason) == (False, "geometry")
        far_on = Grounded().judge(shifted(trace, 40), kit)
        assert (far_on.ok, far_on.reason) == (False, "misses_evidence")


def test_pixels_of_another_frame_are_caught(store: MediaStore, clip: Path) -> None:
    trace = some_traces(store, clip)[0]
    observation = trace.steps[0].observation
    assert observation is not None
    first, *rest = observation.views
    swapped = (first.model_copy(update={"sha256": rest[0].sha256}), *rest)
    step = trace.steps[0].model_copy(update={"observation": observation.model_copy(update={"views": swapped})})
    verdict = Replay().judge(trace.model_copy(update={"steps": (step, *trace.steps[1:])}), Kit(store))
    assert verdict.reason == "pixels"


def test_a_wrong_look_at_the_right_time_is_caught_whatever_its_numbers(store: MediaStore, clip: Path) -> None:
    trace = some_traces(store, clip)[1]
    wider = trace.regions[0].model_copy(update={"span_s": (0.0, 11.9)})
    verdict = Grounded().judge(trace.model_copy(update={"regions": (wider,)}), Kit(store))
    assert verdict.reason == "mistake_shows_evidence"


def test_a_selection_without_its_zoom_is_caught(store: MediaStore, clip: Path) -> None:
    trace = some_traces(store, clip)[3]
    without = trace.model_copy(update={"steps": (trace.steps[0], trace.steps[2])})
    assert Grounded().judge(without, Kit(store)).reason == "no_zoom"
    region = trace.regions[0].model_copy(update={"text_px": 120.0, "box": Box(600, 200, 900, 340)})
    verdict = Legible().judge(trace.model_copy(update={"regions": (region,)}), Kit(store))
    assert verdict.reason == "zoom_not_needed"


class Model:
    """Answers from what it is shown: always, or only where the frames are large, or small ones in order."""

    def __init__(self, knows: str) -> None:
        self.knows = knows
        self.asked: list[int] = []

    async def __call__(self, asked: Request) -> Reply:
        sizes = [
            Image.open(io.BytesIO(part.jpeg)).width for part in asked.messages[0].parts if isinstance(part, Picture)
        ]
        self.asked.append(len(sizes))
        right = {"evidence": sizes[0] > 500, "nothing": False, "all": True}[self.knows]
        return Reply(json.dumps({"answer": "this" if right else ""}), "model")


@pytest.mark.parametrize(
    ("knows", "reason"),
    [("evidence", ""), ("nothing", "not_answered_from_evidence"), ("all", "answered_blind")],
)
def test_necessary_has_its_controls(knows: str, reason: str, store: MediaStore, clip: Path) -> None:
    model = Model(knows)
    trace = some_traces(store, clip)[0]
    verdict = asyncio.run(Necessary(samples=1).examine(trace, Kit(store, ask=model)))
    assert verdict.reason == reason
    told = rates(verdict.detail)
    assert (told.whole, told.evidence, told.blank, told.shuffled) == {
        "evidence": (0, 1, 0, 1),
        "nothing": (0, 0, 0, 0),
        "all": (1, 1, 1, 1),
    }[knows]
    assert sorted(model.asked) == [8, 8, 16, 16], "evidence and its frames shuffled; the overview, and grey instead"
    assert Necessary().again(verdict).reason == reason


@pytest.fixture(scope="module")
def looked_wrong(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of one trace on a rendered clip that looks at the wrong moment first."""
    changes = {"limit": 1, "workers": 1, "mix": {"reselect": 1}}
    loaded = manifest.load(manifest.shipped("rendered_video"), changes)
    with Run.start(tmp_path_factory.mktemp("runs"), loaded) as run:
        assert synth(run).kept == 1
        (trace,) = run.traces()
    assert [step.role for step in trace.steps] == ["mistake", "recover", "answer"]
    return run


def sifted(run: Run, check: str, server: TeacherServer, folder: Path, thoughts: Mapping[int, str]) -> tuple[str, str]:
    """The reason and the detail of a check's verdict over HTTP, with some of the trace's thoughts changed."""
    shutil.copytree(run.folder, folder / run.folder.name)
    with Run.open(folder / run.folder.name) as own:
        (trace,) = own.traces()
        told = [
            step.model_copy(update={"thought": thoughts.get(number, step.thought)})
            for number, step in enumerate(trace.steps)
        ]
        own.traces_path.write_text(to_line(trace.model_copy(update={"steps": tuple(told)})))
        sift(own, [{"name": check, "teacher": {"name": "openai_api", "model": "m", "base_url": server.url}}])
        lines = [line for name in ("kept", "rejected") for line in (own.folder / f"{name}.jsonl").open()]
    (judged,) = (Trace.model_validate_json(line) for line in lines)
    (verdict,) = (verdict for verdict in judged.verdicts if verdict.check == check)
    assert verdict.ok is not bool(verdict.reason)
    return verdict.reason, verdict.detail


def pictures_in(body: Mapping[str, Any]) -> int:
    return json.dumps(body).count("data:image/jpeg;base64,")


@pytest.mark.parametrize("reason", ["", "low_score"])
def test_a_judge_sees_every_frame_with_its_time(reason: str, looked_wrong: Run, tmp_path: Path) -> None:
    """It scores by what it reads: a thought that denies what was seen is dishonest."""
    (trace,) = looked_wrong.traces()

    def judge(schema: Mapping[str, Any], body: Mapping[str, Any]) -> Mapping[str, Any]:
        lied = "I saw nothing of this" in json.dumps(body)
        return {"grounding": 5, "honesty": 2 if lied else 5, "reasoning": 4, "language": 4, "why": "-"}

    thoughts = {2: "I saw nothing of this, and still I know."} if reason else {}
    with TeacherServer(fill=judge) as server:
        assert sifted(looked_wrong, "judged", server, tmp_path, thoughts)[0] == reason
        (body,) = server.bodies
    assert pictures_in(body) == len(trace.all_views) > 16
    told = [part.get("text", "") for part in body["messages"][0]["content"]]
    times = [f"At {view.time_s:.2f} s:" for view in trace.all_views]
    assert [text for text in told if text.startswith("At ")] == times
    assert "Frames of the video:" in told
    assert sum("wrong on purpose" in text for text in told if text.startswith("Look ")) == 1


def test_what_a_thought_reads_off_frames_must_stand_in_one_of_them(looked_wrong: Run, tmp_path: Path) -> None:
    (trace,) = looked_wrong.traces()
    seen = trace.steps[1].observation
    assert seen is not None
    claim = {2: 'The sign says "Quibbleworth 9917" in these frames.'}
    for there, reason in ((False, "not_in_view"), (True, "")):
        with TeacherServer(fill=lambda schema, body, there=there: {"found": [there]}) as server:
            found = sifted(looked_wrong, "faithful", server, tmp_path / str(there), claim)
            assert found[0] == reason
            assert there or "'Quibbleworth 9917'" in found[1]
            (body,) = server.bodies
        assert pictures_in(body) == len(seen.views), "the frames of the last look, and no others"
        assert "1. Quibbleworth 9917" in json.dumps(body)


def test_a_claim_to_see_the_moment_in_the_wrong_frames_is_caught(looked_wrong: Run, tmp_path: Path) -> None:
    with TeacherServer(fill=lambda schema, body: {"found": [True]}) as server:
        lie = {1: "Here it is: this shows what I was looking for. Once more."}
        reason, detail = sifted(looked_wrong, "faithful", server, tmp_path / "lie", lie)
        assert (reason, detail[:26]) == ("claims_to_see", "step 2, after a wrong look")
        doubt = {1: "This isn't what I was looking for, so I look at other frames."}
        assert sifted(looked_wrong, "faithful", server, tmp_path / "doubt", doubt)[0] == ""


# -------------------------------------------------------------------------------------------------------- sources


def star_clips(folder: Path, names: dict[str, float], seconds: int) -> None:
    for name, rate in names.items():
        exact = Fraction(round(rate * 1000), 1000)
        clips.write(
            folder / name, count=int(seconds * rate), rate=exact, options={"preset": "ultrafast"}, size=(480, 272)
        )


def test_star_reads_the_authors_site(samples: Path, tmp_path: Path, store: MediaStore) -> None:
    star_clips(tmp_path, {"0TXYV.mp4": 29.452, "G2AMK.mp4": 15.025}, 29)
    for name in ("sel_v2.json", "sel_examples.json", "selected_teaser_chain_dict.json"):
        source = Star(path=samples / "star" / name, videos=tmp_path)
        found: list[Example] = []
        for row in source.read():
            assert not isinstance(row, Failure), row
            if row.group in ("star/0TXYV", "star/G2AMK"):
                found.append(source.example(row, store))
        assert found
        for one in found:
            assert one.answers[0] in "ABCD"
            assert len(one.choices) == 4
            (window,) = one.evidence
            assert window.span_s is not None
            assert window.span_s[1] <= 29
        if name == "sel_v2.json":
            (asked,) = (one for one in found if one.id == "star-Interaction_T1_2132")
            assert (asked.choices[3], asked.answers) == ("The door.", ("D",))
            assert asked.evidence[0].span_s == (22.1, 27.9)
            assert {"the person", "the door"} <= {thing.label for thing in asked.context}


def test_star_key_frames_are_the_frames_of_their_number(samples: Path, tmp_path: Path, store: MediaStore) -> None:
    """frame = int(t * fps) + 1: key frame 402 is the 402nd of the video, whatever its rate."""
    star_clips(tmp_path, {"G2AMK.mp4": 15.025}, 29)
    source = Star(path=samples / "star" / "sel_v2.json", videos=tmp_path)
    rows = {row.id: row for row in source.read() if not isinstance(row, Failure)}
    asked = source.example(rows["star-Interaction_T1_2132"], store)
    last = max(asked.context, key=lambda thing: thing.span_s or (0, 0)).span_s
    assert last is not None
    (frame,) = store.frames_at(asked.media[0], [last[1]])
    assert frame.number == 402 - 1
    assert clips.number(store.open(asked.media[0], frame.time_s)) == 401


def released(folder: Path) -> Path:
    """A few questions in the released layout, on a clip of bars at 30 frames a second."""
    star_clips(folder / "Charades_v1_480", {"AB12C.mp4": 30}, 12)
    situation = {
        "rel_pairs": [["o000", "o006"]],
        "rel_labels": ["r002"],
        "actions": ["a051"],
        "bbox": [[10, 10, 60, 80], [100, 20, 150, 60]],
        "bbox_labels": ["o000", "o015"],
    }
    null = situation | {"bbox": [None, [104, 22, 154, 62]]}
    question = {
        "question_id": "Interaction_T1_1",
        "video_id": "AB12C",
        "start": 3.0,
        "end": 6.0,
        "question": "Which object was opened by the person?",
        "answer": "The box.",
        "question_program": [],
        "choices": [
            {"choice_id": at, "choice": choice, "choice_program": []}
            for at, choice in enumerate(["The door.", "The box.", "The bag.", "The book."])
        ],
        "situations": {"000100": situation, "000130": null, "000200": situation},
    }
    late = question | {"question_id": "Interaction_T1_2", "start": 40.0, "end": 50.0}
    odd = question | {"question_id": "Interaction_T1_3", "answer": "The lamp."}
    backwards = question | {"question_id": "Interaction_T1_4", "start": 6.0, "end": 3.0}
    lost = question | {"question_id": "Interaction_T1_5", "video_id": "ZZZZZ"}
    rows = [question, late, odd, backwards, lost, "nonsense"]
    (folder / "STAR_val.json").write_text(json.dumps(rows))
    (folder / "video_fps").write_bytes(pickle.dumps({"AB12C.mp4": 30.0}))
    return folder


def test_star_reads_the_release(tmp_path: Path, store: MediaStore) -> None:
    (tmp_path / "Charades_v1_480").mkdir()
    source = Star(path=released(tmp_path), split="val")
    rows = list(source.read())
    assert [row.reason for row in rows if isinstance(row, Failure)] == ["answer_not_a_choice", "bad_span", "bad_row"]
    good, late, lost = (row for row in rows if not isinstance(row, Failure))
    asked = source.example(good, store)
    assert asked.answers == ("B",)
    assert asked.evidence[0].span_s == (3.0, 6.0)
    between = next(thing for thing in asked.context if thing.label == "the box")
    assert between.box == Box(100, 20, 154, 62), "the union of two key frames a second apart"
    for row, reason in ((late, "span_outside"), (lost, "missing_media")):
        with pytest.raises(ExampleError) as caught:
            source.example(row, store)
        assert caught.value.reason == reason
    boxed = Star(path=tmp_path, split="val", evidence="box").example(good, store)
    assert [(region.label, region.box) for region in boxed.evidence] == [("the box", Box(100, 20, 154, 62))]


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("called",))


def test_a_pickle_with_a_class_in_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "STAR_val.json").write_text("[]")
    (tmp_path / "video_fps").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(plugins.UsageError, match="plain values"):
        list(Star(path=tmp_path, split="val").read())
    assert capsys.readouterr().out == ""


def test_nextgqa_reads_its_release(samples: Path, tmp_path: Path, store: MediaStore) -> None:
    folder = tmp_path / "nextgqa"
    (folder / "videos").mkdir(parents=True)
    for name in ("val.csv", "gsub_val.json"):
        (folder / name).write_bytes((samples / "nextgqa" / name).read_bytes())
    clips.write(folder / "videos" / "2435100235.mp4", count=640, rate=10, options={"preset": "ultrafast"})
    source = plugins.build("source", {"name": "nextgqa", "path": str(folder)})
    rows = list(source.read())
    with (folder / "val.csv").open(encoding="utf-8") as lines:
        assert len(rows) == len(list(csv.DictReader(lines))) == 54
    assert not [row for row in rows if isinstance(row, Failure)]
    found = [source.example(row, store) for row in rows if row.group == "nextgqa/2435100235"]
    sells = next(one for one in found if one.id.endswith("-7"))
    assert (sells.answers, sells.choices[2]) == (("C",), "show him the watch")
    assert sells.evidence[0].span_s == (50.5, 57.5), "the longest of its stretches"
    assert len(sells.context) == 4
    wrong, _ = draw(sells, store, {"reselect": 1}).looks
    spans = [region.span_s for region in (*sells.evidence, *sells.context) if region.span_s]
    assert not any(a <= (view.time_s or 0) <= b for view in wrong.observation.views for a, b in spans)
    with pytest.raises(ExampleError) as caught:
        source.example(next(row for row in rows if row.group != "nextgqa/2435100235"), store)
    assert caught.value.reason == "missing_media"


def test_a_rendered_clip_shows_what_its_truth_says(store: MediaStore) -> None:
    source = plugins.build("source", {"name": "rendered_video", "count": 4})
    rows = list(source.read())
    asked = [source.example(row, store) for row in rows]
    media = asked[0].media[0]
    assert {one.media for one in asked} == {(media,)}
    assert media.frames == round((media.span_s or (0, 0))[1] * 15) + 1
    seeds = [seed for seed in range(40) if any(event.act == "change" for event in plot(seed).events)]
    made = plot(seeds[0])
    store.folder.mkdir(exist_ok=True)
    path = store.folder / "film.mp4"
    path.write_bytes(film(made))
    assert film(made) == path.read_bytes(), "the same bytes for the same plot"
    media = store.add_video(path)
    card = next(question for question in ask(made) if question.answer == made.card.text).evidence[0]
    for event in made.events:
        if event.act == "change":
            inside, after = (sum(event.span_s) / 2, event.span_s[1] + 0.2)
            point = (event.thing.x, FLOOR - event.thing.size // 2)
            for time, colour in ((inside, event.colour), (after, event.thing.colour)):
                (frame,) = store.frames_at(media, [time])
                seen = store.open(media, frame.time_s).getpixel(point)
                assert isinstance(seen, tuple)
                assert max(abs(one - other) for one, other in zip(seen, COLOURS[colour], strict=True)) < 40
    assert card.span_s is not None
    for time, there in ((sum(card.span_s) / 2, True), (card.span_s[1] + 0.2, False), (card.span_s[0] - 0.2, False)):
        (frame,) = store.frames_at(media, [time])
        corner = store.open(media, frame.time_s).getpixel((int(card.box.x1) - 8, int(card.box.y1) - 6))
        assert isinstance(corner, tuple)
        assert (min(corner) > 240) is there


def test_every_rendered_clip_has_four_questions_with_one_answer_each() -> None:
    forms: Counter[str] = Counter()
    for seed in range(60):
        asked = ask(plot(seed))
        assert len(asked) >= 4
        assert ask(plot(seed)) == asked
        for question in asked:
            forms[question.text.split(" ")[0] + question.answer_type] += 1
            assert all(region.span_s and 0 <= region.span_s[0] < region.span_s[1] for region in question.evidence)
            assert all(region.box.x1 >= 0 and region.box.x2 <= 1280 for region in question.evidence)
    assert len(forms) >= 5


# -------------------------------------------------------------------------------------------------- teacher, and a run


def test_the_teacher_sees_the_frames_with_their_times(store: MediaStore, clip: Path) -> None:
    loaded = manifest.load(manifest.shipped("rendered_video"))
    draft = draw(example(store, clip, place((5.0, 6.5), Box(700, 300, 790, 318), text_px=9)), store)
    views = [*draft.views, *(view for look in draft.looks for view in look.observation.views)]
    asked = request(draft, [Picture(b"", str(view.number)) for view in views], loaded)
    parts = asked.messages[0].parts
    captions = [parts[at - 1] for at, part in enumerate(parts) if isinstance(part, Picture)]
    assert captions[0] == f"Overview, frame 1, at {views[0].time_s:.2f} s:"
    assert captions[16] == f"Look 1, at {views[16].time_s:.2f} s:"
    assert captions[-1] == f"Look 2, a part of the frame at {views[-1].time_s:.2f} s:"
    assert "the video" in str(parts[0])
    assert "write_video" in loaded.shape()["prompts"]
    assert "write_video" not in manifest.load(manifest.shipped("infographics")).shape()["prompts"]


def test_a_stretch_that_a_teacher_names_becomes_evidence_in_time(store: MediaStore, clip: Path) -> None:
    asked = example(store, clip)
    views: tuple[View, ...] = episode(asked, store).opening
    region = said_stretch({"found": True, "first": 4, "last": 6, "label": "a jump"}, asked, views)
    assert region is not None
    assert region.span_s == (views[3].time_s, views[5].time_s)
    for reply in (
        None,
        {"found": False, "first": 4, "last": 6},
        {"found": True, "first": 6, "last": 4},
        {"found": True, "first": 4, "last": 17},
        {"found": True, "first": True, "last": 4},
        {"found": True, "first": "4", "last": "6"},
    ):
        assert said_stretch(reply, asked, views) is None


def test_a_run_of_rendered_clips_is_whole_and_the_same_again(tmp_path: Path) -> None:
    made = []
    for name, workers in (("one", 1), ("two", 2)):
        loaded = manifest.load(manifest.shipped("rendered_video"), {"limit": 4, "workers": workers})
        with Run.start(tmp_path / name, loaded) as run:
            progress = synth(run)
            traces = list(run.traces())
            assert progress.read == progress.kept == len(traces) == 4
            for trace in traces:
                assert Replay().judge(trace, Kit(MediaStore(run.store.folder))).ok
            made.append(run.traces_path.read_bytes())
    assert made[0] == made[1]


def test_a_teacher_over_http_finds_the_moment_in_the_frames_and_writes(tmp_path: Path) -> None:
    """It names frames of the overview, is tried on these alone, and then sees every view with its time."""
    (tmp_path / "star" / "Charades_v1_480").mkdir(parents=True)
    home = released(tmp_path / "star")
    spoken = {"found": True, "first": 5, "last": 7, "label": "a box being opened", "answerable": True, "answer": "B"}

    def fill(schema: Mapping[str, Any], body: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            key: spoken.get(key, f"Here I consider the {key.replace('_', ' ')} with care.")
            for key in schema["properties"]
        }

    with TeacherServer(fill=fill) as server:
        changes = {"limit": 1, "workers": 1, "locate": {"order": ["teacher"]}}
        changes["source"] = {"name": "star", "split": "val"}
        teacher = {"name": "openai_api", "model": "m", "base_url": server.url}
        loaded = manifest.load(manifest.shipped("star"), changes, source_path=home, teacher=teacher)
        with Run.start(tmp_path / "runs", loaded) as run:
            progress = synth(run)
            (trace,) = run.traces()
        assert progress.kept == 1, progress.reasons
        bodies = [json.dumps(body) for body in server.bodies]
    located, verified, written = (body.count("data:image/jpeg;base64,") for body in bodies)
    assert located == 16
    assert 1 <= verified <= 8
    assert written == len(trace.all_views)
    assert "Image 5 (" in bodies[0]
    assert "Overview, frame 5, at 3." in bodies[2]
    (region,) = trace.regions
    assert (region.said_by, region.span_s) == ("teacher", (trace.views[4].time_s, trace.views[6].time_s))
    assert trace.kind in ("single", "reselect")
    assert not trace.provenance.scripted
