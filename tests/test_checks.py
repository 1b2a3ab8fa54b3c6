"""Every reason code of every check, with the trace that trips it; a good trace passes them all."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dataforge import chat, plugins
from dataforge.compose import compose
from dataforge.episode import Episode, used
from dataforge.errors import ExampleError
from dataforge.geometry import Box
from dataforge.manifest import Compose
from dataforge.media import MediaStore, to_jpeg
from dataforge.operations.zoom_in import ZoomIn
from dataforge.plugins import AskingCheck, Check, Kit, SetCheck
from dataforge.records import Call, Example, Kind, Limits, Observation, Provenance, Region, Step, Student, Trace
from dataforge.write import slots, steps

TEXTS = {
    "overview": "A tall infographic on museums, with charts above and small print below.",
    "look_1": "The figure should stand in the print at the foot, so I zoom in there.",
    "seen_1": "This is a list of halls and not what I need; I look elsewhere.",
    "look_2": "The table further up is the next place to look, so I zoom in on it.",
    "seen_2": "Only opening hours are given here. The search goes on.",
    "look_3": "What is left is the row of tiles, so I zoom in on that.",
    "reading": "The line says 4,715 visitors, so that is the number asked for.",
    "answer": "4,715",
}


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit(MediaStore(tmp_path_factory.mktemp("media")))


@pytest.fixture(scope="module")
def make(kit: Kit) -> Callable[[Kind], Trace]:
    media = kit.store.add_bytes(to_jpeg(Image.effect_noise((1400, 2000), 70).convert("RGB")), ".jpg")
    evidence = Region(box=Box(700, 1500, 800, 1514), label="the line on visitors", text_px=10)
    others = tuple(Region(box=Box(x, y, x + 100, y + 14)) for x in (60, 1100) for y in (100, 700, 1200, 1900))
    example = Example(
        id="e",
        group="g",
        source="test",
        question="How many visitors came?",
        answers=("4,715", "4715"),
        answer_type="number",
        media=(media,),
        evidence=(evidence,),
        context=others,
    )

    @cache
    def made(kind: Kind) -> Trace:
        """The trace of that kind, made once: it is frozen, and each test breaks a copy."""
        episode = Episode(example, kit.store, [ZoomIn()], Student(), Limits())
        draft = compose(example, (evidence,), episode, Compose(), {kind: 1.0}, 0)
        filled, answer = steps(draft, {name: TEXTS[name] for name in slots(draft)})
        provenance = Provenance(version="0", manifest="0", operations=used([ZoomIn()]))
        return Trace(
            id="e",
            example=draft.example,
            views=draft.views,
            regions=draft.regions,
            steps=filled,
            answer=answer,
            kind=kind,
            provenance=provenance,
        )

    return made


ALONE = [
    name
    for name in plugins.names("check")
    if not issubclass(plugins.find("check", name), (AskingCheck, SetCheck))  # theirs are in test_model_checks and so on
]
"""Checks that judge a trace from itself alone."""


def check(name: str) -> Check:
    return plugins.build("check", name)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["single", "recrop_once", "recrop_twice", "zoom_further"])
@pytest.mark.parametrize("name", ALONE)
def test_a_good_trace_passes(make: Callable[[Kind], Trace], kit: Kit, kind: Kind, name: str) -> None:
    verdict = check(name).judge(make(kind), kit)
    assert verdict.ok, verdict
    assert verdict.reason == ""


# ---------------------------------------------------------------------------------------------- broken traces


def with_step(trace: Trace, index: int, **changes: object) -> Trace:
    steps = list(trace.steps)
    steps[index] = steps[index].model_copy(update=changes)
    return trace.model_copy(update={"steps": tuple(steps)})


def with_example(trace: Trace, **changes: object) -> Trace:
    return trace.model_copy(update={"example": trace.example.model_copy(update=changes)})


def with_region(trace: Trace, box: Box) -> Trace:
    return trace.model_copy(update={"regions": (trace.regions[0].model_copy(update={"box": box}),)})


def with_view_box(trace: Trace, index: int, box: Box) -> Trace:
    seen = trace.steps[index].observation
    assert seen is not None
    views = (seen.views[0].model_copy(update={"box": box}),)
    return with_step(trace, index, observation=seen.model_copy(update={"views": views}))


def with_view_size(trace: Trace, index: int, width: int, height: int) -> Trace:
    seen = trace.steps[index].observation
    assert seen is not None
    views = (seen.views[0].model_copy(update={"width": width, "height": height}),)
    return with_step(trace, index, observation=seen.model_copy(update={"views": views}))


def with_print(trace: Trace, text_px: float | None) -> Trace:
    return trace.model_copy(update={"regions": (trace.regions[0].model_copy(update={"text_px": text_px}),)})


def with_answer(trace: Trace, answer: str) -> Trace:
    return trace.model_copy(update={"answer": answer})


def choice(trace: Trace, thought: str) -> Trace:
    changed = with_example(trace, answer_type="choice", answers=("B",), choices=("Rome", "Oslo", "Turin"))
    return with_step(changed, 0, thought=thought)


def with_hash(trace: Trace, sha256: str) -> Trace:
    return trace.model_copy(update={"views": (trace.views[0].model_copy(update={"sha256": sha256}),)})


def with_operation(trace: Trace, name: str) -> Trace:
    use = trace.provenance.operations[0].model_copy(update={"name": name})
    return trace.model_copy(update={"provenance": trace.provenance.model_copy(update={"operations": (use,)})})


def without_media(trace: Trace) -> Trace:
    return with_example(trace, media=(trace.example.media[0].model_copy(update={"sha256": "0" * 64}),))


FAILED = Observation(text="Error: no", error="too_small")
CALL = Call(name="zoom_in", arguments={"bbox_2d": [0, 0, 300, 300], "target_image": 1})

BROKEN: list[tuple[str, str, Kind, Callable[[Trace], Trace]]] = [
    ("well_formed", "no_steps", "single", lambda t: t.model_copy(update={"steps": ()})),
    ("well_formed", "no_answer", "single", lambda t: with_answer(t, "  ")),
    ("well_formed", "answer_not_last", "single", lambda t: t.model_copy(update={"steps": t.steps[:1]})),
    ("well_formed", "answer_not_last", "recrop_once", lambda t: with_step(t, 0, role="answer")),
    ("well_formed", "call_without_observation", "single", lambda t: with_step(t, 0, observation=None)),
    ("well_formed", "call_without_observation", "single", lambda t: with_step(t, 0, call=None)),
    ("well_formed", "failed_call", "single", lambda t: with_step(with_step(t, 0, observation=FAILED), 0)),
    ("well_formed", "views_not_numbered", "single", lambda t: t.model_copy(update={"views": t.views * 2})),
    ("well_formed", "empty_thought", "single", lambda t: with_step(t, 0, thought=" ")),
    ("well_formed", "kind_mismatch", "single", lambda t: t.model_copy(update={"kind": "recrop_once"})),
    ("well_formed", "kind_mismatch", "single", lambda t: t.model_copy(update={"kind": "direct"})),
    ("well_formed", "marker", "single", lambda t: with_example(t, question="What does <image> show?")),
    ("well_formed", "unreadable", "single", lambda t: with_step(t, 1, thought="<tool_call>")),
    ("well_formed", "too_many_choices", "single", lambda t: with_example(t, choices=tuple(map(str, range(40))))),
    ("grounded", "no_evidence", "single", lambda t: t.model_copy(update={"regions": ()})),
    ("grounded", "no_look", "recrop_once", lambda t: with_step(t, 1, role="mistake")),
    ("grounded", "misses_evidence", "single", lambda t: with_region(t, Box(0, 0, 50, 14))),
    ("grounded", "misses_evidence", "single", lambda t: with_view_box(t, 0, Box(700, 1500, 780, 1514))),
    ("grounded", "mistake_shows_evidence", "recrop_once", lambda t: with_view_box(t, 0, Box(790, 1400, 990, 1600))),
    ("grounded", "mistake_misses_evidence", "zoom_further", lambda t: with_view_box(t, 0, Box(0, 0, 1400, 900))),
    ("grounded", "mistake_not_too_large", "zoom_further", lambda t: with_view_box(t, 0, Box(690, 1490, 810, 1524))),
    ("answer", "no_key", "single", lambda t: with_example(t, answers=())),
    ("answer", "wrong", "single", lambda t: with_answer(t, "4,716")),
    ("answer", "wrong", "single", lambda t: with_answer(t, "4,715 or 4,716")),
    ("no_leak", "answer_before_evidence", "single", lambda t: with_step(t, 0, thought="It will say 4,715.")),
    ("no_leak", "answer_before_evidence", "recrop_once", lambda t: with_step(t, 0, thought="Perhaps 4715 came.")),
    ("no_leak", "answer_before_evidence", "recrop_once", lambda t: with_step(t, 1, thought="So it's 4 715, I see.")),
    ("no_leak", "answer_before_evidence", "single", lambda t: choice(t, "The option Oslo looks right.")),
    ("no_leak", "answer_in_other_words", "single", lambda t: with_step(t, 0, thought="It says 4.715 thousand, maybe.")),
    ("no_leak", "answer_in_other_words", "recrop_once", lambda t: with_step(t, 1, thought="So 4715.0 people came.")),
    ("legible", "too_small", "single", lambda t: with_view_size(t, 0, 56, 28)),
    ("legible", "too_small", "recrop_once", lambda t: with_view_size(with_print(t, None), 1, 56, 28)),
    ("legible", "zoom_not_needed", "single", lambda t: with_print(t, 24)),
    ("legible", "zoom_not_needed", "single", lambda t: with_region(with_print(t, None), Box(0, 0, 900, 900))),
    ("legible", "needs_a_look", "single", lambda t: t.model_copy(update={"kind": "direct"})),
    ("no_leak", "annotation_talk", "single", lambda t: with_step(t, 1, thought="The cropped image says 4,715.")),
    ("no_leak", "annotation_talk", "single", lambda t: with_step(t, 0, thought="The bounding box is at the foot.")),
    ("no_leak", "coordinates", "single", lambda t: with_step(t, 0, thought="I zoom to [10, 20, 300, 400].")),
    ("replay", "views", "single", lambda t: t.model_copy(update={"views": ()})),
    ("replay", "geometry", "single", lambda t: with_view_box(t, 0, Box(0, 0, 140, 140))),
    ("replay", "pixels", "single", lambda t: with_hash(t, "f")),
    ("replay", "observation", "single", lambda t: with_step(t, 0, call=CALL.model_copy(update={"name": "zoom"}))),
    ("replay", "unknown_operation", "single", lambda t: with_operation(t, "enhance")),
    ("replay", "missing_media", "single", without_media),
]


@pytest.mark.parametrize(("name", "reason", "kind", "spoil"), BROKEN, ids=[f"{b[0]}-{b[1]}" for b in BROKEN])
def test_a_broken_trace_is_proven_bad(
    make: Callable[[Kind], Trace], kit: Kit, name: str, reason: str, kind: Kind, spoil: Callable[[Trace], Trace]
) -> None:
    verdict = check(name).judge(spoil(make(kind)), kit)
    assert (verdict.ok, verdict.reason) == (False, reason), verdict


def test_changed_media_is_caught(make: Callable[[Kind], Trace], kit: Kit, tmp_path: Path) -> None:
    """One byte of the stored picture flipped, or the file cut short."""
    trace = make("single")
    content = bytearray(kit.store.path(trace.example.media[0]).read_bytes())
    content[len(content) // 2] ^= 1
    store = MediaStore(tmp_path)
    path = store.path(trace.example.media[0])
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert check("replay").judge(trace, Kit(store)).reason == "media_changed"


def test_a_picture_that_cannot_be_opened_is_caught(make: Callable[[Kind], Trace], tmp_path: Path) -> None:
    """The stored file has the recorded hash, and is no picture."""
    trace, content = make("single"), b"\xff\xd8\xff no picture at all"
    media = trace.example.media[0].model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
    store = MediaStore(tmp_path)
    store.path(media).parent.mkdir(parents=True)
    store.path(media).write_bytes(content)
    assert check("replay").judge(with_example(trace, media=(media,)), Kit(store)).reason == "media_unreadable"


def test_every_reason_has_its_trace() -> None:
    """A reason code that no test trips is a claim that no one has seen."""
    tripped = {(name, reason) for name, reason, _, _ in BROKEN}
    beside = {("replay", "media_changed"), ("replay", "media_unreadable")}  # the two tests above
    beside |= {("grounded", "no_zoom")}  # of videos: test_video_traces
    listed = {(name, reason) for name in ALONE for reason in check(name).reasons}
    assert listed - tripped == beside


def test_what_the_question_names_cannot_leak(make: Callable[[Kind], Trace], kit: Kit) -> None:
    trace = with_example(make("single"), question="Did 4,715 or 3,200 visitors come?")
    spoken = with_step(trace, 0, thought="I must see whether it was 4,715 or 3,200.")
    assert check("no_leak").judge(spoken, kit).ok
    assert check("no_leak").judge(choice(make("single"), "It is Rome, Oslo or Turin."), kit).ok


@pytest.mark.parametrize(
    ("answer", "thought", "leaks"),
    [
        ("12%", "About twelve percent of them, I guess.", True),
        ("12%", "There are 12 rows.", False),
        ("2", "There are two places to compare.", False),
        ("5 km", "It must be five kilometres.", True),
        ("5 km", "I see five roads.", False),
        ("$1.2 million", "It cost 1,200,000 dollars.", True),
        ("1200000", "Perhaps 1.2 million.", True),
        ("1990", "The chart begins in 1991.", False),
        ("50 kg", "The figure should be 50 km.", False),
        ("May 2014 and June 2015", "Around 2014.", False),
    ],
)
def test_a_number_leaks_in_other_words(
    make: Callable[[Kind], Trace], kit: Kit, answer: str, thought: str, leaks: bool
) -> None:
    trace = with_step(with_example(make("single"), answers=(answer,)), 0, thought=thought)
    assert check("no_leak").judge(trace, kit).ok is not leaks
    named = with_example(trace, question=f"Is it more than {answer}?")
    assert check("no_leak").judge(named, kit).ok, "what the question names can't leak"


def test_legible_knows_full_resolution_and_what_a_model_has_solved(make: Callable[[Kind], Trace], kit: Kit) -> None:
    """A view in full resolution can't be bettered; a question that was solved from the whole view needs no look."""
    tiny = with_print(make("single"), 2)
    seen = tiny.steps[0].observation
    assert seen is not None
    box = seen.views[0].box
    assert check("legible").judge(with_view_size(tiny, 0, round(box.width), round(box.height)), kit).ok
    solved = tiny.provenance.model_copy(update={"solved": (3, 4)})
    assert check("legible").judge(tiny.model_copy(update={"kind": "direct", "provenance": solved}), kit).ok


def test_no_complaint_tells_a_teacher_the_key(make: Callable[[Kind], Trace], kit: Kit) -> None:
    for name, _, kind, spoil in BROKEN:
        if name in ("answer", "grounded"):
            trace = spoil(make(kind))
            complaint = check(name).complaint(check(name).judge(trace, kit))
            assert "4,715" not in complaint
            assert "4715" not in complaint


def test_a_step_may_carry_only_known_roles() -> None:
    with pytest.raises(ValueError, match="role"):
        Step(thought="x", role="guess")  # type: ignore[arg-type]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    thought=st.text(st.sampled_from(list("ab .\n<>\\{}[]()|boxed_toolcal")) | st.characters(), min_size=1, max_size=30),
    answer=st.text(st.sampled_from(list("4 a\\{}<$%_,")) | st.characters(), min_size=1, max_size=8),
    argument=st.one_of(st.integers(), st.floats(), st.text(max_size=4), st.lists(st.floats(), max_size=4), st.none()),
)
def test_what_is_called_plain_reads_back(
    make: Callable[[Kind], Trace], kit: Kit, thought: str, answer: str, argument: object
) -> None:
    """The short cut says what rendering would have said."""
    call = CALL.model_copy(update={"arguments": {"target_image": argument}})
    trace = with_answer(with_step(with_step(make("single"), 0, call=call), 1, thought=thought), answer)
    if thought.strip() and answer.strip():
        try:
            chat.turns(trace, (), trace.provenance.student, system=None)
            reads_back = True
        except ExampleError:
            reads_back = False
        assert check("well_formed").judge(trace, kit).ok == reads_back
