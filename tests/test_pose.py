"""Questions posed by the teacher: what is refused and why, the masks, and the whole path over HTTP."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from dataforge import manifest, plugins
from dataforge.errors import ExampleError, UsageError
from dataforge.filter import sift
from dataforge.geometry import Box
from dataforge.media import MediaStore
from dataforge.plugins import Row
from dataforge.pose import chosen, others, posed
from dataforge.reading.rle import decoded, unpacked
from dataforge.records import Example, Media, Region, Scene, Trace
from dataforge.runs import Run
from dataforge.synth import Progress, synth
from dataforge.synth.estimate import estimate
from tests.coco import annotation, packed, runs_of, sa1b_folder
from tests.servers import TeacherServer

# ------------------------------------------------------------------------------------------------- masks

PYCOCOTOOLS = [
    # size, counts, area, box (left, top, width, height) as pycocotools 2.0.11 made them
    ((35, 33), "Z?o0400000000000000000000000b6", 403, (14, 0, 13, 31)),
    ((43, 10), "h0c0h0000e8", 57, (0, 24, 3, 19)),
    ((48, 61), "dQ1c0m00000000\\b1", 95, (22, 20, 5, 19)),
]


@pytest.mark.parametrize(("size", "counts", "area", "box"), PYCOCOTOOLS)
def test_packed_masks_are_read_as_pycocotools_reads_them(
    size: tuple[int, int], counts: str, area: int, box: tuple[int, int, int, int]
) -> None:
    mask = decoded({"size": list(size), "counts": counts})
    left, top, width, height = box
    assert (mask.height, mask.width, mask.area) == (*size, area)
    assert mask.box == Box(left, top, left + width, top + height)
    assert packed(mask.runs) == counts
    assert decoded({"size": list(size), "counts": list(mask.runs)}) == mask, "the unpacked form is the same mask"


def test_every_mask_of_a_real_file_is_read(samples: Path) -> None:
    frames = json.loads((samples / "sa_v" / "sav_000001_manual.json").read_text())["masklet"]
    masks = [decoded(one) for frame in frames for one in frame]
    assert len(masks) == 605
    assert [packed(mask.runs) for mask in masks] == [one["counts"] for frame in frames for one in frame]
    assert sum(mask.box is not None for mask in masks) > 300


@given(st.integers(1, 12), st.integers(1, 12), st.data())
@settings(max_examples=60, deadline=None)
def test_any_mask_survives_the_round_trip(width: int, height: int, data: st.DataObject) -> None:
    cells = data.draw(st.binary(min_size=width * height, max_size=width * height))
    image = Image.frombytes("L", (width, height), cells).point(lambda value: 255 * (value > 127))
    mask = decoded({"size": [height, width], "counts": packed(runs_of(image))})
    assert mask.cut(Box(0, 0, width, height)).tobytes() == image.tobytes()
    assert mask.box == (Box(*map(float, found)) if (found := image.getbbox()) else None)
    part = Box(width // 2, height // 3, width, height)
    if part.width and part.height:
        corners = tuple(int(side) for side in part)
        assert mask.cut(part).tobytes() == image.crop(corners).tobytes()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "broken",
    [
        None,
        {},
        {"size": [4, 4]},
        {"size": [4], "counts": [16]},
        {"size": [0, 4], "counts": []},
        {"size": [4, 4.0], "counts": [16]},
        {"size": [10**6, 10**6], "counts": [10**12]},
        {"size": [4, 4], "counts": [15]},
        {"size": [4, 4], "counts": [20, -4]},
        {"size": [4, 4], "counts": [True] * 16},
        {"size": [4, 4], "counts": ["16"]},
        {"size": [4, 4], "counts": "@"},  # ends inside a number
        {"size": [4, 4], "counts": "\x10"},
        {"size": [4, 4], "counts": "oooooooooooooooo0"},
        {"size": [4, 4], "counts": "é0"},
    ],
)
def test_a_mask_that_does_not_fill_its_picture_is_refused(broken: Any) -> None:
    with pytest.raises(ExampleError) as caught:
        decoded(broken)
    assert caught.value.reason == "bad_mask"


@given(st.text(alphabet=[chr(code) for code in range(40, 120)], max_size=30))
def test_no_string_breaks_the_decoder(counts: str) -> None:
    with suppress(ExampleError):
        assert all(isinstance(run, int) for run in unpacked(counts))


# ------------------------------------------------------------------------------------------------- places


def sa1b(folder: Path, **options: Any) -> Any:
    return plugins.build("source", {"name": "sa1b", "path": str(folder), **options})


def test_places_are_small_things_unlike_all_others(tmp_path: Path, store: MediaStore) -> None:
    """A field of equal windows, one red ball, one large wall, one broken mask: only the ball is worth a question."""
    image = Image.new("RGB", (800, 600), "#889977")
    pen = ImageDraw.Draw(image)
    boxes = [Box(60 + 110 * n, 60, 120 + 110 * n, 120) for n in range(6)]
    for box in boxes:
        pen.rectangle((box.x1, box.y1, box.x2 - 1, box.y2 - 1), "#333a44")
    ball, wall = Box(400, 300, 460, 360), Box(0, 420, 800, 600)
    pen.ellipse((400, 300, 459, 359), "red")
    pen.rectangle((0, 420, 799, 599), "#664433")
    round_mask = Image.new("L", (60, 60))
    ImageDraw.Draw(round_mask).ellipse((0, 0, 59, 59), 255)
    full = [(Image.new("L", (int(b.width), int(b.height)), 255), b) for b in (*boxes, wall)]
    found = [annotation(n, mask, at, image.size) for n, (mask, at) in enumerate([*full, (round_mask, ball)])]
    elsewhere = annotation(50, round_mask, Box(20, 200, 80, 260), image.size) | {"bbox": [500, 500, 59, 59]}
    broken = [elsewhere, {"segmentation": {"size": [1, 1], "counts": "0"}, "bbox": "no"}, "text", {}]
    image.save(tmp_path / "sa_7.jpg", quality=95)
    (tmp_path / "sa_7.json").write_text(json.dumps({"annotations": [*found, *broken]}))
    scene = example_of(sa1b(tmp_path, most_area=0.02), store)
    assert [tuple(place.box) for place in scene.places] == [(400, 300, 460, 360)]
    assert {tuple(map(int, other.box)) for other in scene.context} == {tuple(map(int, b)) for b in (*boxes, wall)}


def example_of(source: Any, store: MediaStore, number: int = 0) -> Any:
    return source.example(list(source.read())[number], store)


def test_an_annotation_file_that_cannot_be_read_costs_its_picture_alone(tmp_path: Path, store: MediaStore) -> None:
    (tmp_path / "sa_1.json").write_text("{broken")
    (tmp_path / "sa_2.json").write_text('{"annotations": []}')
    rows = list(sa1b(tmp_path).read())
    for row, reason in zip(rows, ["bad_annotation", "missing_media"], strict=True):
        with pytest.raises(ExampleError) as caught:
            sa1b(tmp_path).example(row, store)
        assert caught.value.reason == reason
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no sa_"):
        list(sa1b(tmp_path / "empty").read())
    with pytest.raises(UsageError, match="not a folder"):
        list(sa1b(tmp_path / "sa_1.json").read())


def test_masks_of_a_drawn_scene_give_its_things(tmp_path: Path, store: MediaStore) -> None:
    drawn = sa1b_folder(tmp_path, [3])["sa_3"]
    scene = example_of(sa1b(tmp_path), store)
    things = {tuple(map(int, one.box)) for one in drawn.things}
    assert {tuple(map(int, place.box)) for place in scene.places} <= things
    assert 2 * len(scene.places) >= len(things)
    assert (scene.group, scene.media[0].licence) == ("sa1b/sa_3", sa1b(tmp_path).licence)


# ------------------------------------------------------------------------------------------------- replies


def a_scene(places: int = 2) -> Scene:
    media = Media(sha256="0" * 64, suffix=".jpg", width=2000, height=1000)
    regions = tuple(Region(box=Box(100 + 300 * n, 100, 200 + 300 * n, 180)) for n in range(places))
    return Scene(id="s", group="s", source="photos", media=(media,), places=regions)


def reason_of(make: Any) -> str:
    with pytest.raises(ExampleError) as caught:
        make()
    assert caught.value.stage == "pose"
    return caught.value.reason


def test_which_place_was_chosen() -> None:
    scene = a_scene()
    rich = {"rich": True, "why": "", "place": 2, "box": []}
    assert chosen(rich, scene, [0, 1], 0.05) == (scene.places[1], 1)
    own, index = chosen(rich | {"place": 0, "box": [500, 500, 550, 600]}, scene, [0], 0.05)
    assert (own.box, own.said_by, index) == (Box(1000, 500, 1100, 600), "teacher", None)
    for bent, reason in [
        (None, "bad_reply"),
        ({"rich": "yes"}, "bad_reply"),
        ({"rich": False, "why": "a wall"}, "not_rich"),
        (rich | {"place": 2, "box": []}, "no_place"),  # the second was tried before
        (rich | {"place": 0, "box": [500, 500, 400, 600]}, "no_place"),
        (rich | {"place": 0, "box": [0, 0, 1001, 5]}, "no_place"),
        (rich | {"place": 0, "box": [1, 1, 2, 2]}, "no_place"),
        (rich | {"place": True, "box": []}, "no_place"),
        (rich | {"place": 0, "box": [0, 0, 900, 900]}, "too_large"),
    ]:
        assert reason_of(lambda bent=bent: chosen(bent, scene, [0], 0.05)) == reason


GOOD = {
    "valid": True,
    "why": "",
    "question": "What colour is the cup on the sill?",
    "choices": ["A. red", "b) blue", "green", "white"],
    "key": "b.",
    "target": "the cup on the sill",
    "subject": "colour",
}


def test_a_question_becomes_an_example_whose_key_has_moved() -> None:
    scene = a_scene()
    example = posed(GOOD, scene, scene.places[0], 0)
    assert set(example.choices) == {"red", "blue", "green", "white"}, "letters of the teacher's are taken off"
    assert example.choices["ABCD".index(example.answers[0])] == "blue"
    assert (example.evidence[0].label, example.evidence[0].box) == (GOOD["target"], scene.places[0].box)
    assert [place.box for place in example.context] == [scene.places[1].box]


@pytest.mark.parametrize(
    ("bent", "reason"),
    [
        ({"valid": False}, "place_refused"),
        ({"question": " "}, "bad_question"),
        ({"choices": ["red", "blue", "green"]}, "bad_question"),
        ({"choices": ["red", "Red", "green", "blue"]}, "bad_question"),
        ({"choices": "red, blue"}, "bad_question"),
        ({"key": "E"}, "bad_question"),
        ({"key": "blue"}, "bad_question"),
        ({"subject": "mood"}, "bad_question"),
        ({"target": ""}, "bad_question"),
        ({"question": "What colour is the cup? " * 20}, "bad_question"),
        ({"question": "What colour is the cup in the cropped image?"}, "names_the_crop"),
        ({"question": "What colour is the cup in the second picture?"}, "names_the_crop"),
        ({"question": "What is at [10, 20] in the bounding box?"}, "names_the_crop"),
        ({"target": "the cup in this part"}, "names_the_crop"),
        ({"question": "What colour is the blue cup?"}, "tells_the_answer"),
        ({"target": "the blue cup"}, "tells_the_answer"),
    ],
)
def test_a_question_that_is_no_use_is_refused_with_its_reason(bent: dict[str, Any], reason: str) -> None:
    scene = a_scene()
    assert reason_of(lambda: posed(GOOD | bent, scene, scene.places[0], 0)) == reason
    assert reason_of(lambda: posed(None, scene, scene.places[0], 0)) == "bad_reply"


def test_all_choices_in_the_question_tell_nothing() -> None:
    scene = a_scene()
    asked = {"question": "Is the cup on the sill red, blue, green or white?"}
    assert posed(GOOD | asked, scene, scene.places[0], 0).question == asked["question"]


def test_no_letter_is_the_key_more_often_than_chance() -> None:
    scene = a_scene()
    keys = Counter(
        posed(GOOD, scene.model_copy(update={"id": f"s{n}"}), scene.places[0], 0).answers[0] for n in range(400)
    )
    assert set(keys) == set("ABCD")
    assert all(70 <= count <= 130 for count in keys.values()), keys
    again = posed(GOOD, scene, scene.places[0], 0)
    assert again == posed(GOOD, scene, scene.places[0], 0)
    assert {posed(GOOD, scene, scene.places[0], seed).answers for seed in range(20)} != {again.answers}


def test_other_places_leave_out_the_one_that_is_meant() -> None:
    scene = a_scene()
    listed = [[50, 100, 100, 180], [400, 400, 500, 500], "no", [1, 2], [0, 0, 1, 1]]
    found = others({"places": listed}, scene, scene.places[0], 4)
    assert [tuple(place.box) for place in found] == [(800, 400, 1000, 500), (0, 0, 2, 1)]
    assert reason_of(lambda: others({"places": "none"}, scene, scene.places[0], 4)) == "bad_reply"


# ------------------------------------------------------------------------------------------------- the whole path


def run_all(runs: Path, name: str, changes: dict[str, Any], path: Path | None = None) -> tuple[Progress, Run]:
    teacher = changes.pop("teacher", None)
    chosen_manifest = manifest.load(manifest.shipped(name), {"workers": 2} | changes, path, teacher)
    with Run.start(runs, chosen_manifest) as run:
        return synth(run), run


def at(server: TeacherServer) -> dict[str, Any]:
    return {"name": "openai_api", "model": "tiny-vision", "base_url": server.url, "retries": 0}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Progress, Run]:
    return run_all(tmp_path_factory.mktemp("drawn"), "photos", {"limit": 5})


def test_drawn_scenes_become_traces_offline(drawn: tuple[Progress, Run]) -> None:
    progress, run = drawn
    traces = list(run.traces())
    assert progress.kept + progress.rejected + progress.failed == 5
    assert len(traces) >= 4
    assert sift(run, run.manifest.filter).kept == len(traces)
    for trace in traces:
        assert trace.provenance.posed
        assert trace.provenance.scripted
        assert {"choose", "pose", "others", "necessary"} <= set(trace.provenance.prompts)
        assert trace.example.media[0].licence == "Apache-2.0"
        assert len(trace.example.choices) == 4


def test_a_teacher_without_eyes_cannot_pose_on_real_photos(tmp_path: Path) -> None:
    Image.effect_noise((300, 200), 60).save(tmp_path / "a.jpg")
    progress, _ = run_all(tmp_path / "runs", "photos", {"limit": None}, tmp_path)
    assert progress.reasons == Counter({"pose: cannot_see": 1})


Say = Mapping[str, Any]


class Asker:
    """Answers as a teacher with eyes that has seen what each test says."""

    def __init__(self, **bent: Any) -> None:
        self.bent = bent
        self.asked: Counter[str] = Counter()

    def __call__(self, schema: Say, body: Say) -> dict[str, Any]:
        wanted, text = set(schema["properties"]), json.dumps(body["messages"])
        if "rich" in wanted:
            left = 400 + 100 * self.asked["choose"]
            return self._told("choose", {"rich": True, "why": "busy", "place": 0, "box": [left, 400, left + 80, 480]})
        if "subject" in wanted:
            return self._told("pose", GOOD | {"choices": ["red", "blue", "green", "white"], "key": "B"})
        if "places" in wanted:
            return self._told("others", {"places": [[700, 700, 750, 750]]})
        letter = re.findall(r"([A-D])\. blue", text)[-1]
        if "answerable" in wanted:
            return self._told("verify", {"answerable": True, "answer": letter})
        if wanted == {"answer"}:
            return self._told("answer", {"answer": ""})
        slots = {name: f"Thoughts on {name.replace('_', ' ')}, as they come." for name in wanted}
        return slots | {"answer": letter}

    def _told(self, purpose: str, usual: dict[str, Any]) -> dict[str, Any]:
        number = self.asked[purpose]
        self.asked[purpose] += 1
        bent = self.bent.get(purpose, {})
        return usual | (bent(number) if callable(bent) else bent)


def nth(**by_number: dict[str, Any]) -> Any:
    """Another reply for the call of that number, counted from 0."""
    return lambda number: by_number.get(f"n{number}", {})


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.effect_noise((1500, 1200), 70).convert("RGB").save(folder / "square.jpg")
    return folder


ALONE = {"n1": {"answerable": False, "answer": ""}, "n3": {"answerable": False, "answer": ""}}
"""The other place does not answer: verify is asked of the place, then of the other one."""


@pytest.mark.parametrize(
    ("bent", "reason"),
    [
        ({"choose": {"rich": False, "why": "grey"}}, "not_rich"),
        ({"choose": {"box": []}}, "no_place"),
        ({"choose": {"box": [0, 0, 999, 999]}}, "too_large"),
        ({"pose": {"valid": False}}, "place_refused"),
        ({"pose": {"question": "What colour is this region?"}}, "names_the_crop"),
        ({"verify": {"answerable": False, "answer": ""}}, "not_answered_from_crop"),
        ({"verify": {"answer": "no letter"}}, "not_answered_from_crop"),
        ({"answer": {"answer": "blue"}}, "answered_from_whole"),
        ({"verify": nth(n1={"answer": "red"}, n3={"answer": "red"})}, "ambiguous"),
        ({}, "told_elsewhere"),
    ],
)
def test_each_refusal_has_its_reason_and_its_costs(
    photo: Path, tmp_path: Path, bent: dict[str, Any], reason: str
) -> None:
    asker = Asker(**bent)
    with TeacherServer(fill=asker) as server:
        _, run = run_all(tmp_path / "runs", "photos", {"limit": None, "teacher": at(server)}, photo)
    (failure,) = run.failures()
    assert (failure.stage, failure.reason) == ("pose", reason)
    assert asker.asked["choose"] == (1 if reason == "not_rich" else 2), "another place is tried, once"
    # a question that is put a second time comes from the cache, and counts for the row all the same
    assert failure.input_tokens >= 1000 * sum(asker.asked.values()), "what was paid in vain is counted"


def test_a_photo_gets_a_question_over_http_and_no_call_is_paid_twice(photo: Path, tmp_path: Path) -> None:
    asker = Asker(verify=nth(**ALONE))
    with TeacherServer(fill=asker) as server:
        changes = {"limit": None, "seed": 4}
        progress, run = run_all(tmp_path / "runs", "photos", changes | {"teacher": at(server)}, photo)
        (trace,) = run.traces()
        assert (progress.kept, progress.failed) == (1, 0)
        first, asked = run.traces_path.read_bytes(), server.requests
        run.traces_path.unlink()
        _, again = run_all(tmp_path / "runs", "photos", changes | {"teacher": at(server)}, photo)
        assert again.traces_path.read_bytes() == first
        assert server.requests == asked, "every reply came from the cache"
    assert asker.asked == Counter(choose=1, pose=1, verify=2, answer=3, others=1)
    check(trace, 1 + 1 + 2 + 3 + 1 + 1)
    assert trace.regions[0].said_by == "teacher"
    assert tuple(trace.regions[0].box) == (600, 480, 720, 576)


def check(trace: Trace, calls: int) -> None:
    example: Example = trace.example
    assert trace.provenance.posed
    assert not trace.provenance.answer_revealed
    assert (len(trace.provenance.replies), trace.provenance.input_tokens) == (calls, 1000 * calls)
    assert example.choices["ABCD".index(example.answers[0])] == "blue"
    assert trace.ok, trace.verdicts


def test_sa1b_places_are_offered_and_a_second_one_is_tried(tmp_path: Path) -> None:
    drawn = sa1b_folder(tmp_path / "sa1b", [5])["sa_5"]
    refused = {"valid": False, "why": "blurred"}
    asker = Asker(
        choose=nth(n0={"place": 1, "box": []}, n1={"place": 2, "box": []}),
        pose=nth(n0=refused),
        verify=nth(n1={"answerable": False, "answer": ""}),
    )
    with TeacherServer(fill=asker) as server:
        _, run = run_all(tmp_path / "runs", "sa1b", {"teacher": at(server)}, tmp_path / "sa1b")
        first = json.dumps(server.bodies[0]["messages"])
    assert not list(run.failures())
    (trace,) = run.traces()
    check(trace, 2 + 2 + 2 + 3 + 1 + 1)
    places = [tuple(map(int, one.box)) for one in drawn.things]
    assert tuple(map(int, trace.regions[0].box)) in places
    assert trace.regions[0].said_by == "annotation"
    assert first.count('image_url": {') == 1 + min(6, len(places)), "the whole and each place, enlarged"


def test_the_estimate_counts_the_calls_of_posing(photo: Path) -> None:
    teacher = {"name": "openai_api", "model": "gpt-4.1-mini"}
    found = estimate(manifest.load(manifest.shipped("photos"), {"limit": None}, photo, teacher))
    assert (found.rows, found.sampled, found.calls) == (1, 1, 1 + 4 + 3)
    assert found.sample_failures == {"pose: left to the teacher": 1}
    assert found.input_tokens is not None
    assert found.input_tokens > 8 * 300


def test_what_poses_is_in_the_digest_only_where_it_is_used() -> None:
    photos = manifest.load(manifest.shipped("photos"))
    drawn = manifest.load(manifest.shipped("infographics"))
    bent = {"pose": {"samples": 5}}
    assert manifest.load(manifest.shipped("photos"), bent).digest() != photos.digest()
    assert manifest.load(manifest.shipped("infographics"), bent).digest() == drawn.digest()
    other = photos.model_copy(update={"prompts": photos.prompts | {"choose": "Choose $places $hint"}})
    assert other.digest() != photos.digest()


def test_photos_of_a_folder_come_by_name_and_odd_files_are_left(
    tmp_path: Path, samples: Path, store: MediaStore
) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/2.JPG", "a.png", "notes.txt"):
        (tmp_path / name).write_bytes((samples / "natural_images" / "truck.jpg").read_bytes())
    source = plugins.build("source", {"name": "photos", "path": str(tmp_path), "licence": "CC0"})
    rows = [row for row in source.read() if isinstance(row, Row)]
    assert [row.id for row in rows] == ["photos-a.png", "photos-b/2.JPG"]
    scene = source.example(rows[1], store)
    assert isinstance(scene, Scene)
    assert (scene.media[0].licence, source.redistributable) == ("CC0", False)
    assert str(tmp_path) not in scene.model_dump_json()
