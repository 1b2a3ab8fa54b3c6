"""Looks are what their role says, measured on what was really cut, for every kind, unit and padding."""

import random
from collections import Counter

import pytest
from PIL import Image

from dataforge import plugins
from dataforge.checks.grounded import Grounded
from dataforge.compose import Draft, compose
from dataforge.episode import Episode
from dataforge.errors import ExampleError
from dataforge.geometry import Box
from dataforge.manifest import PAPER_MIX, Compose
from dataforge.media import MediaStore, to_jpeg
from dataforge.operations.zoom_in import ZoomIn
from dataforge.plugins import Kit
from dataforge.records import Example, Kind, Limits, Provenance, Region, Student, Trace

ALL: dict[Kind, float] = PAPER_MIX | {"compare": 1.0, "direct": 1.0}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MediaStore:
    return MediaStore(tmp_path_factory.mktemp("media"), keep=16)


@pytest.fixture(scope="module")
def examples(store: MediaStore) -> list[Example]:
    source = plugins.build("source", {"name": "infographics", "count": 10})
    return [source.example(row, store) for row in source.read()]


def draft(
    example: Example,
    store: MediaStore,
    mix: dict[Kind, float],
    seed: int = 0,
    student: Student | None = None,
    padding: float = 0.0,
) -> Draft:
    episode = Episode(example, store, [ZoomIn(padding=padding)], student or Student(), Limits())
    return compose(example, example.evidence, episode, Compose(), mix, seed)


def as_trace(draft: Draft) -> Trace:
    from dataforge.write import slots, steps

    made, answer = steps(draft, {name: name for name in slots(draft)})
    return Trace(
        id=draft.example.id,
        example=draft.example,
        views=draft.views,
        regions=draft.regions,
        steps=made,
        answer=answer,
        kind=draft.kind,
        provenance=Provenance(version="0", manifest="0"),
    )


@pytest.mark.parametrize("student", [Student(), Student(box_unit="0..1000"), Student(box_unit="0..1")], ids=str)
@pytest.mark.parametrize("padding", [0.0, 0.1])
def test_every_kind_is_grounded(examples: list[Example], store: MediaStore, student: Student, padding: float) -> None:
    """With Pixel Reasoner's padding too: a wrong look is wrong after it has been widened."""
    made = Counter[str]()
    for example in examples[:4]:
        for kind in ALL:
            try:
                done = draft(example, store, {kind: 1.0}, 3, student, padding)
            except ExampleError:
                continue
            made[done.kind] += 1
            verdict = Grounded().judge(as_trace(done), Kit(store))
            assert verdict.ok, (example.id, kind, verdict)
    assert {"single", "recrop_once", "zoom_further"} <= set(made) or padding


def test_same_seed_same_looks_and_another_seed_others(examples: list[Example], store: MediaStore) -> None:
    once, again, other = (draft(examples[0], store, ALL, seed) for seed in (5, 5, 6))
    assert once == again
    assert once != other


def test_shares_follow_the_mix(store: MediaStore) -> None:
    """Drawn over many ids on a picture that fits every kind of look, the paper's shares come out."""
    picture = Image.effect_noise((900, 1200), 60).convert("RGB")
    media = store.add_bytes(to_jpeg(picture), ".jpg")
    places = [Region(box=Box(x, y, x + 60, y + 10), text_px=5) for x in (60, 400, 700) for y in (90, 600, 1100)]
    kinds = Counter[str]()
    for number in range(240):
        example = Example(
            id=f"e{number}",
            group="g",
            source="test",
            question="?",
            answers=("1",),
            media=(media,),
            evidence=(places[number % 9],),
            context=tuple(places),
        )
        student = Student(max_pixels=200 * 28 * 28)
        kinds[draft(example, store, PAPER_MIX, student=student).kind] += 1
    for kind, share in PAPER_MIX.items():
        assert abs(kinds[kind] / 240 - share) < 0.1, kinds


def test_wrong_looks_are_plausible(examples: list[Example], store: MediaStore) -> None:
    """A wrong look shows an annotated place, not a random corner."""
    looks = 0
    for example in examples:
        for seed in range(3):
            try:
                done = draft(example, store, {"recrop_twice": 1.0}, seed)
            except ExampleError:
                continue
            wrong = [look for look in done.looks if look.role == "mistake"]
            assert len(wrong) == 2
            for look in wrong:
                looks += 1
                shown = look.observation.views[0].box
                assert max(shown.coverage(other.box) for other in example.context) > 0.9
    assert looks > 10


def test_without_annotation_wrong_looks_go_where_something_is_drawn(examples: list[Example], store: MediaStore) -> None:
    example = examples[0].model_copy(update={"context": ()})
    for seed in range(5):
        done = draft(example, store, {"recrop_once": 1.0}, seed)
        view = done.looks[0].observation.views[0]
        picture = store.open(example.media[0]).crop(tuple(int(side) for side in view.box))
        assert len(set(picture.resize((64, 64)).tobytes())) > 4
        assert Grounded().judge(as_trace(done), Kit(store)).ok


def test_right_looks_vary_and_hold_the_evidence_with_air(examples: list[Example], store: MediaStore) -> None:
    example = examples[0]
    boxes = {draft(example, store, {"single": 1.0}, seed).looks[0].observation.views[0].box for seed in range(12)}
    assert len(boxes) == 12
    assert all(box.contains(region.box) for box in boxes for region in example.evidence)
    assert all(box.area > sum(region.box.area for region in example.evidence) for box in boxes)


def test_what_can_be_read_in_the_whole_view_needs_no_look(store: MediaStore, examples: list[Example]) -> None:
    large = examples[0].evidence[0].model_copy(update={"text_px": 400.0})
    example = examples[0].model_copy(update={"evidence": (large,)})
    assert draft(example, store, ALL).kind == "direct"
    with pytest.raises(ExampleError, match="no_kind_fits"):
        draft(example, store, PAPER_MIX)


def test_two_far_places_are_compared(store: MediaStore, examples: list[Example]) -> None:
    media = examples[0].media[0]
    far = (
        Region(box=Box(10, 10, 200, 24), label="the first", text_px=9),
        Region(box=Box(media.width - 300, media.height - 60, media.width - 20, media.height - 40), text_px=9),
    )
    example = examples[0].model_copy(update={"evidence": far})
    done = draft(example, store, ALL)
    assert done.kind == "compare"
    assert [look.role for look in done.looks] == ["look", "look"]
    for region, look in zip(far, done.looks, strict=True):
        assert look.observation.views[0].box.contains(region.box)


def test_a_wrong_look_never_shows_the_answer_in_print(store: MediaStore, examples: list[Example]) -> None:
    """A second place where the answer stands is as telling as the evidence."""
    rng = random.Random(1)
    example = examples[0]
    key = example.answers[0] if len(example.answers[0]) >= 3 else "12345"
    example = example.model_copy(update={"answers": (key,)})
    places = rng.sample(list(example.context), min(8, len(example.context)))
    telling = [place.model_copy(update={"label": f"total {key}", "said_by": "ocr"}) for place in places]
    example = example.model_copy(update={"context": (*example.context, *telling)})
    for seed in range(6):
        done = draft(example, store, {"recrop_once": 1.0}, seed)
        shown = done.looks[0].observation.views[0].box
        assert not any(shown.overlaps(place.box) for place in telling)
