"""The benchmarks' sources: published layouts, keys that don't give themselves away, spoiled rows that are said."""

import base64
import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dataforge import plugins
from dataforge.answers.metrics import score
from dataforge.episode import replay
from dataforge.errors import UsageError
from dataforge.evaluate import board, plan
from dataforge.media import MediaStore
from dataforge.plugins import Row
from dataforge.records import Example, Failure
from dataforge.sources.vstar import inline
from tests import eyes
from tests.servers import TeacherServer


def read(store: MediaStore, **spec: Any) -> tuple[list[Example], list[Failure]]:
    """All that a source has: its examples, and its failures."""
    source = plugins.build("source", spec)
    items = list(source.read())
    return (
        [source.example(item, store) for item in items if isinstance(item, Row)],
        [item for item in items if isinstance(item, Failure)],
    )


def right(example: Example) -> bool:
    """The key is among the options, and a letter says it."""
    place = example.choices.index(example.answers[0])
    return score("ABCDEF"[place], example.answers, example.answer_type, example.choices).ok


def jpeg(colour: str, size: tuple[int, int] = (120, 90)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, "JPEG")
    return content.getvalue()


# ------------------------------------------------------------------------------------------------ V*Bench


def test_vstar_files_come_shuffled_with_their_boxes(store: MediaStore, tmp_path: Path) -> None:
    folder = eyes.draw_vstar(tmp_path / "V", 24)
    found, failed = read(store, name="vstar", path=str(folder))
    assert (len(found), failed) == (24, [])
    assert all(right(example) for example in found)
    places = Counter(example.choices.index(example.answers[0]) for example in found)
    assert set(places) == {0, 1, 2, 3}
    assert Counter(example.category for example in found) == {"direct_attributes": 12, "relative_position": 12}
    first = json.loads((folder / "direct_attributes" / "sa_0.json").read_text())
    x, y, width, height = first["bbox"][0]
    assert list(found[0].evidence[0].box) == [x, y, x + width, y + height]
    assert found[0].evidence[0].label == "square"
    assert [example.choices for example in read(store, name="vstar", path=str(folder))[0]] == [
        example.choices for example in found
    ]
    other = read(store, name="vstar", path=str(folder), seed=1)[0]
    assert [example.choices for example in other] != [example.choices for example in found]


def test_vstar_in_circular_order_has_the_key_once_at_every_letter(store: MediaStore, tmp_path: Path) -> None:
    folder = eyes.draw_vstar(tmp_path / "V", 3)
    found, _ = read(store, name="vstar", path=str(folder), orders="circular")
    assert len({example.id for example in found}) == 12
    for start in range(0, 12, 4):
        turned = found[start : start + 4]
        assert len({example.group for example in turned}) == 1
        assert {example.choices.index(example.answers[0]) for example in turned} == {0, 1, 2, 3}
        assert all(right(example) for example in turned)


@pytest.mark.parametrize(
    ("text", "question", "options"),
    [
        (
            "What is the color of the cap?\n(A) red\n(B) dark blue\nAnswer with the option's letter from the given "
            "choices directly.",
            "What is the color of the cap?",
            ("red", "dark blue"),
        ),
        ("Is it left of (B)? (A) left (as seen) (B) right (C) both", "Is it left of (B)?", ()),
        ("Where? (A) near (B) far", "Where?", ("near", "far")),
        ("No options here", "No options here", ()),
    ],
)
def test_options_inside_a_text(text: str, question: str, options: tuple[str, ...]) -> None:
    found = inline(text)
    assert found[0] == question
    assert not options or found[1] == options


def test_vstar_on_the_hub_has_its_key_as_a_letter(store: MediaStore, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    text = "What is the color of the {}?\n(A) red\n(B) blue\n(C) green\n(D) white\nAnswer with the option's letter."
    rows = [
        {
            "image": {"bytes": jpeg("red"), "path": None},
            "text": text.format(name),
            "label": label,
            "category": "direct_attributes",
            "question_id": str(number),
        }
        for number, (name, label) in enumerate([("cap", "B"), ("bag", "D"), ("shoe", "E")])
    ]
    path = tmp_path / "test.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    found, failed = read(store, name="vstar", hub=str(path))
    assert [example.answers for example in found] == [("blue",), ("white",)]
    assert all(right(example) for example in found)
    assert [failure.reason for failure in failed] == ["bad_row"]


def test_a_folder_that_is_no_vstar_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="direct_attributes"):
        list(plugins.build("source", {"name": "vstar", "path": str(tmp_path)}).read())


def test_the_demo_photos_of_vstar_pass_through(samples: Path, store: MediaStore, tmp_path: Path) -> None:
    folder = tmp_path / "V" / "direct_attributes"
    folder.mkdir(parents=True)
    asked = [json.loads(line) for line in (samples / "vstar_demo" / "questions.jsonl").read_text().splitlines()]
    for number, one in enumerate(asked):
        (folder / f"{number}.JPG").symlink_to(samples / "vstar_demo" / one["image"])
        row = {"question": one["question"], "options": ["SeaLion", "Bear"], "bbox": [], "target_object": []}
        (folder / f"{number}.json").write_text(json.dumps(row))
    found, failed = read(store, name="vstar", path=str(tmp_path / "V"))
    assert (len(found), failed) == (2, [])
    assert all(example.media[0].width * example.media[0].height > 10_000_000 for example in found)


# ------------------------------------------------------------------------------------------------ HR-Bench


def hrbench(folder: Path, size: str = "4k") -> Path:
    """Two questions in four orders each, as the TSV has them; a ninth row is spoiled."""
    options = ["red", "blue", "green", "white"]
    with (folder / f"hr_bench_{size}.tsv").open("w", newline="") as lines:
        writer = csv.writer(lines, delimiter="\t")
        writer.writerow(["index", "question", "A", "B", "C", "D", "answer", "category", "cycle_category", "image"])
        for number in range(9):
            turn, colour = number % 4, options[number // 4 % 2]
            turned = options[turn:] + options[:turn]
            key = "ABCD"[turned.index(colour)] if number < 8 else "E"
            picture = base64.b64encode(jpeg(colour)).decode()
            kind = ["single", "cross"][number // 4 % 2]
            writer.writerow([number, f"What color is thing {number // 4}?", *turned, key, kind, turn, picture])
    return folder


def test_hrbench_rows_of_one_picture_are_one_group(store: MediaStore, tmp_path: Path) -> None:
    found, failed = read(store, name="hrbench", path=str(hrbench(tmp_path)), size="4k")
    assert (len(found), [failure.reason for failure in failed]) == (8, ["bad_row"])
    assert all(right(example) for example in found)
    assert len({example.group for example in found}) == 2
    assert Counter(example.category for example in found) == {"single": 4, "cross": 4}
    assert {example.choices.index(example.answers[0]) for example in found[:4]} == {0, 1, 2, 3}
    with pytest.raises(UsageError, match=r"hr_bench_8k\.parquet"):
        read(store, name="hrbench", path=str(tmp_path), size="8k")


# ------------------------------------------------------------------------------------------------ TallyQA


def test_tallyqa_asks_the_complex_questions_of_the_test_split(store: MediaStore, tmp_path: Path) -> None:
    (tmp_path / "VG_100K_2").mkdir()
    (tmp_path / "VG_100K_2" / "7.jpg").write_bytes(jpeg("white"))
    row = {"data_source": "amt", "image": "VG_100K_2/7.jpg", "image_id": 7, "question": "How many dogs lie down?"}
    rows = [
        row | {"answer": 3, "issimple": False, "question_id": 1},
        row | {"answer": 5, "issimple": True, "question_id": 2},
        row | {"answer": "many", "issimple": False, "question_id": 3},
        row | {"answer": 1, "issimple": False, "question_id": 4, "image": "../../etc/passwd"},
    ]
    (tmp_path / "test.json").write_text(json.dumps(rows))
    manifest = plan.load(plan.files("tallyqa")[0], tmp_path, {})
    assert isinstance(manifest.source, dict)
    found, failed = read(store, **manifest.source)
    assert [(example.id, example.answers) for example in found] == [("tallyqa-test-1", ("3",))]
    assert [failure.reason for failure in failed] == ["bad_row", "bad_row"]
    assert score("three", found[0].answers, found[0].answer_type).ok
    assert not score("3 or 4", found[0].answers, found[0].answer_type).ok


# ------------------------------------------------------------------------------------------------ manifests


@pytest.mark.parametrize("name", plan.shipped())
def test_every_shipped_benchmark_loads(name: str, tmp_path: Path) -> None:
    found = plan.load(plan.files(name)[-1], tmp_path, {})
    assert found.evaluate is not None
    assert found.name == name
    assert set(found.prompts) == {"guideline", "guideline_plain", "student"}


def test_a_benchmarks_name_may_stand_for_several(tmp_path: Path) -> None:
    assert [path.stem for path in plan.files("hrbench")] == ["hrbench_4k", "hrbench_8k"]
    with pytest.raises(UsageError, match="there are hrbench_4k"):
        plan.files("vistar")
    (tmp_path / "mine.yaml").write_text("name: mine\nsource: infographics\n")
    with pytest.raises(UsageError, match="a part `evaluate`"):
        plan.load(tmp_path / "mine.yaml", None, {})


def test_infographicvqa_reads_the_validation_files(samples: Path, store: MediaStore) -> None:
    manifest = plan.load(plan.files("infographicvqa")[0], samples / "infographicvqa_layout", {})
    assert isinstance(manifest.source, dict)
    found, _ = read(store, **manifest.source)
    assert len(found) == 22
    assert {example.answer_type for example in found} == {"text"}


def glance(body: dict[str, Any]) -> dict[str, Any]:
    """A model that looks at the lower half of the page and then says what stands on many receipts."""
    if len(eyes.pictures_of(body)) > 1 or not eyes.offers(body):
        return {"content": r"It may be this. \boxed{SDN BHD}"}
    width, height = eyes.pictures_of(body)[0].size
    box = [0, height // 2, width, height]
    call = json.dumps({"name": "zoom_in", "arguments": {"bbox_2d": box, "target_image": 1}})
    return {"content": f"I look at the lower half.\n<tool_call>\n{call}\n</tool_call>"}


def test_real_pages_are_played_and_scored_by_anls(samples: Path, tmp_path: Path) -> None:
    manifest = plan.load(plan.files("infographicvqa")[0], samples / "infographicvqa_layout", {"workers": 1, "limit": 7})
    with TeacherServer(say=glance) as server:
        model = plan.Model("m", {"name": "openai_api", "model": "tiny-vision", "base_url": server.url})
        run = eyes.play(plan.arms(manifest, model, ("with",))[0], tmp_path)
    row = board.board([run]).rows[0]
    assert (row.score.n, row.failed, row.rapr.mean, row.metric) == (7, 0, 1.0, "ANLS")
    assert row.groups < 7
    values = [trace.verdicts[0].score for trace in run.traces()]
    assert row.score.mean == pytest.approx(sum(value or 0.0 for value in values) / 7)
    assert not [found for trace in run.traces() for found in replay(trace, run.store)]


def test_arms_differ_in_the_arm_alone(tmp_path: Path) -> None:
    benchmark = plan.load(plan.files("vstar")[0], tmp_path, {})
    model = plan.Model("m", {"name": "openai_api", "model": "m"})
    one, two, three, four = plan.arms(benchmark, model, ("without", "with", "blank", "elsewhere"))
    shapes = [made.shape() for made in (one, two, three, four)]
    assert len({made.digest() for made in (one, two, three, four)}) == 4
    for shape in shapes:
        del shape["evaluate"]["arm"]
    assert all(shape == shapes[0] for shape in shapes)
    assert len({plan.protocol(made) for made in (one, two, three, four)}) == 1
    capped = benchmark.model_copy(update={"student": benchmark.student.model_copy(update={"max_pixels": 500_000})})
    assert plan.protocol(capped) != plan.protocol(one)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", "Qwen2.5-VL-7B-Instruct"),
        ("a b:c/", "a-b-c"),
        ("///", "model"),
        ("x" * 99, "x" * 48),
    ],
)
def test_a_models_name_in_a_folders(name: str, slug: str) -> None:
    assert plan.slug(name) == slug


# ------------------------------------------------------------------------------------------------ MVBench


@pytest.fixture
def mvbench(samples: Path, tmp_path: Path) -> Path:
    """Real clips in MVBench's layout: good ones, one that is no video, one on a part of a whole video."""
    clips = tmp_path / "video"
    (clips / "perception" / "videos").mkdir(parents=True)
    (clips / "star" / "Charades_v1_480").mkdir(parents=True)
    for name in ("bottle-detection.mp4", "sample_audio_only.mp4"):
        (clips / "perception" / "videos" / name).symlink_to(samples / "videos" / name)
    (clips / "star" / "Charades_v1_480" / "nasa_13013.mp4").symlink_to(samples / "videos" / "nasa_13013.mp4")
    row = {"question": "How many bottles pass?", "candidates": ["2", "3", "4"], "answer": "3"}
    tasks = {
        "action_count": [
            row | {"video": "bottle-detection.mp4"},
            row | {"video": "sample_audio_only.mp4"},
            row | {"video": "bottle-detection.mp4", "answer": "7"},
            row | {"video": "nowhere.mp4"},
        ],
        "action_sequence": [row | {"video": "nasa_13013.mp4", "start": 1.0, "end": 2.0}],
    }
    (tmp_path / "json").mkdir()
    for task, rows in tasks.items():
        (tmp_path / "json" / f"{task}.json").write_text(json.dumps(rows))
    return tmp_path


def frames(body: dict[str, Any]) -> dict[str, Any]:
    """A model that asks for two frames and then answers."""
    if len(eyes.pictures_of(body)) > 16 or "select_frames" not in json.dumps(body["messages"][0]):
        return {"content": r"I see three. \boxed{B}"}
    call = json.dumps({"name": "select_frames", "arguments": {"target_frames": [3, 9]}})
    return {"content": f"I look closer.\n<tool_call>\n{call}\n</tool_call>"}


def test_mvbench_shows_sixteen_frames_and_gives_those_asked_for_larger(mvbench: Path, tmp_path: Path) -> None:
    manifest = plan.load(plan.files("mvbench")[0], mvbench, {"workers": 1})
    with TeacherServer(say=frames) as server:
        model = plan.Model("m", {"name": "openai_api", "model": "tiny-vision", "base_url": server.url})
        runs = [eyes.play(one, tmp_path / "runs") for one in plan.arms(manifest, model, ("with", "blank", "elsewhere"))]
    for run in runs:
        assert Counter(failure.reason for failure in run.failures()) == {
            "no_video": 1,
            "bad_row": 1,
            "missing_media": 1,
            "not_cut": 1,
        }
        (trace,) = run.traces()
        assert (trace.ok, trace.example.category, len(trace.views)) == (True, "action_count", 16)
        assert not list(replay(trace, run.store))
    shown = [next(run.traces()).looks[0].observation for run in runs]
    asked = {view.number: view for view in next(runs[0].traces()).views}
    assert shown[0] is not None
    assert [view.time_s for view in shown[0].views] == [asked[3].time_s, asked[9].time_s]
    assert shown[0].views[0].width > asked[3].width
    assert shown[1] is not None
    assert all(view.blank for view in shown[1].views)
    assert shown[2] is not None
    assert not {view.time_s for view in shown[2].views} & {asked[3].time_s, asked[9].time_s}
