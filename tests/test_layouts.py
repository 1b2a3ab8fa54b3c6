"""TextVQA, DocVQA, ChartQA, TallyQA and V*-like folders: small ones in the official layout, and the real samples."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dataforge import plugins
from dataforge.errors import UsageError
from dataforge.media import MediaStore
from dataforge.sources.chartqa import typed
from tests.test_pages import read


def build(name: str, **options: Any) -> Any:
    return plugins.build("source", {"name": name, **{key: str(value) for key, value in options.items()}})


def picture(path: Path, size: tuple[int, int] = (200, 100)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "white").save(path)


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


# ------------------------------------------------------------------------------------------------- TextVQA


def test_textvqa(tmp_path: Path, store: MediaStore) -> None:
    asked = {"question_id": 1, "question": "What does it say?", "image_id": "a1", "answers": ["stop"] * 9 + ["go"]}
    rows = [asked, asked | {"question_id": 2, "image_id": "gone"}, asked | {"question_id": 3, "answers": []}]
    write(tmp_path / "TextVQA_0.5.1_train.json", {"data": [*rows, "junk"]})
    write(tmp_path / "TextVQA_0.5.1_val.json", {"data": []})
    place = {"top_left_x": 0.1, "top_left_y": 0.2, "width": 0.3, "height": 0.4, "rotation": 0.0}
    words = [{"word": "STOP", "bounding_box": place}, {"word": "tilted", "bounding_box": place | {"rotation": 40}}, {}]
    outside = {"word": "far", "bounding_box": place | {"top_left_x": 0.9}}
    ocr = [{"image_id": "a1", "ocr_info": [*words, outside]}]
    write(tmp_path / "TextVQA_Rosetta_OCR_v0.2_train.json", {"data": ocr})
    picture(tmp_path / "train_images" / "a1.jpg")
    (one,), reasons = read(build("textvqa", path=tmp_path), store)
    assert (one.id, one.group, one.answer_type) == ("textvqa-train-1", "textvqa/a1", "vqa")
    assert one.answers == ("stop",) * 9 + ("go",), "every annotator counts"
    assert [(word.label, tuple(map(round, word.box)), word.said_by) for word in one.context] == [
        ("STOP", (20, 20, 80, 60), "ocr")
    ]
    assert reasons == {"missing_media": 1, "no_answer": 1, "bad_row": 1}
    with pytest.raises(UsageError, match=r"no TextVQA_0.5.1_test.json .* there is train, val"):
        read(build("textvqa", path=tmp_path, split="test"), store)


def test_the_early_release_of_textvqa(samples: Path, tmp_path: Path, store: MediaStore) -> None:
    file = samples / "textvqa_v01" / "TextVQA_with_url_val.json"
    (tmp_path / file.name).write_bytes(file.read_bytes())
    rows = json.loads(file.read_text())["data"]
    picture(tmp_path / rows[1]["image"])
    source = build("textvqa", path=tmp_path, split="val")
    found, reasons = read(source, store)
    assert len(found) + reasons["missing_media"] == len(rows) == 12
    assert found[0].answers == tuple(rows[1]["answers"]), "junk and repeats stay: the metric votes"
    assert not source.redistributable


# ------------------------------------------------------------------------------------------------- DocVQA


def test_docvqa(tmp_path: Path, store: MediaStore) -> None:
    asked = {"questionId": 5, "question": "Who signed?", "image": "documents/ab_1.png", "answers": ["T. S. Jay"]}
    write(tmp_path / "val_v1.0.json", {"data": [asked | {"question": "older"}]})
    rows = [
        asked,
        asked | {"questionId": 6, "image": "documents/gone_1.png"},
        asked | {"questionId": 7, "image": "../x"},
    ]
    write(tmp_path / "val_v1.0_withQT.json", {"data": rows})
    picture(tmp_path / "documents" / "ab_1.png", (400, 200))
    corners = [20, 40, 120, 38, 120, 60, 20, 62]
    line = {
        "boundingBox": corners,
        "text": "T. S. Jay",
        "words": [{"boundingBox": corners, "text": "Jay"}, {"text": 1}],
    }
    page = {"page": 1, "width": 200, "height": 100, "lines": [line, {"boundingBox": [1], "text": "no box"}]}
    write(tmp_path / "ocr_results" / "ab_1.json", {"recognitionResults": [page]})
    (one,), reasons = read(build("docvqa", path=tmp_path, split="val"), store)
    assert (one.id, one.question, one.answers) == ("docvqa-val-5", "Who signed?", ("T. S. Jay",))
    assert [(word.label, tuple(word.box)) for word in one.context] == [
        ("T. S. Jay", (40, 76, 240, 124)),
        ("Jay", (40, 76, 240, 124)),
    ]
    assert reasons == {"missing_media": 1, "bad_row": 1}


# ------------------------------------------------------------------------------------------------- ChartQA


@pytest.mark.parametrize(
    ("label", "answers", "kind"),
    [
        ("0.72", ("0.72", "72%"), "number"),
        ("44538", ("44538",), "number"),
        ("2.125", ("2.125",), "number"),
        ("$1,200", ("$1,200",), "number"),
        ("12%", ("12%",), "number"),
        ("[4, 9]", ("4, 9",), "list"),
        ("[Madagascar, Central Europe]", ("Madagascar, Central Europe",), "list"),
        ("[unclosed", ("[unclosed",), "text"),
        ("70+ years old", ("70+ years old",), "text"),
        ("Not too much/not at all", ("Not too much/not at all",), "text"),
    ],
)
def test_labels_of_chartqa(label: str, answers: tuple[str, ...], kind: str) -> None:
    assert typed(label) == (answers, kind)


@pytest.mark.parametrize("below", [".", "ChartQA Dataset"])
def test_chartqa(tmp_path: Path, store: MediaStore, below: str) -> None:
    folder = tmp_path / below / "train"
    human = [
        {"imgname": "1.png", "query": "Highest bar?", "label": "0.5"},
        {"imgname": "9.png", "query": "?", "label": "x"},
    ]
    write(folder / "train_human.json", human)
    write(
        folder / "train_augmented.json", [{"imgname": "1.png", "query": "Which year?", "label": "2018"}, {"query": 1}]
    )
    picture(folder / "png" / "1.png")
    found, reasons = read(build("chartqa", path=tmp_path), store)
    assert [(one.id, one.answers, one.answer_type) for one in found] == [
        ("chartqa-train-human-0", ("0.5", "50%"), "number"),
        ("chartqa-train-augmented-0", ("2018",), "number"),
    ]
    assert reasons == {"missing_media": 1, "bad_row": 1}
    part = plugins.build("source", {"name": "chartqa", "path": str(tmp_path), "parts": ["augmented"], "count": 1})
    assert [one.id for one in read(part, store)[0]] == ["chartqa-train-augmented-0"]
    with pytest.raises(UsageError, match=r"no test_human\.json or test_augmented\.json"):
        read(build("chartqa", path=tmp_path, split="test"), store)


# ------------------------------------------------------------------------------------------------- TallyQA


def test_tallyqa(tmp_path: Path, store: MediaStore) -> None:
    asked = {
        "answer": 4,
        "image": "VG_100K_2/1.jpg",
        "question": "How many lights?",
        "question_id": 3,
        "issimple": True,
    }
    hard = asked | {"question_id": 4, "issimple": False}
    bent = [asked | {"question_id": 5, "answer": "4"}, asked | {"question_id": 6, "answer": True}]
    write(tmp_path / "train.json", [asked, hard, *bent, asked | {"question_id": 7, "image": "VG_100K/2.jpg"}])
    picture(tmp_path / "images" / "VG_100K_2" / "1.jpg")
    found, reasons = read(build("tallyqa", path=tmp_path), store)
    assert [(one.id, one.answers, one.answer_type) for one in found] == [
        ("tallyqa-train-3", ("4",), "number"),
        ("tallyqa-train-4", ("4",), "number"),
    ]
    assert reasons == {"bad_row": 2, "missing_media": 1}
    hard_only = plugins.build("source", {"name": "tallyqa", "path": str(tmp_path), "simple": False})
    assert [one.id for one in read(hard_only, store)[0]] == ["tallyqa-train-4"]
    with pytest.raises(UsageError, match="there is train"):
        read(build("tallyqa", path=tmp_path, split="val"), store)


# ------------------------------------------------------------------------------------------------- V*-like


def test_vstar_train(tmp_path: Path, store: MediaStore) -> None:
    made = {
        "target_object": ["boat", "flag"],
        "bbox": [[10, 20, 8, 6], [50, 60, 5, 5]],
        "question": "Is the boat left of the flag?",
        "options": ["Yes, it is.", "No.", "They are one.", "No boat."],
    }
    for number in range(12):
        write(tmp_path / "relative" / f"sa_{number}.json", made)
        picture(tmp_path / "relative" / f"sa_{number}.jpg")
    write(tmp_path / "relative" / "sa_90.json", made | {"options": ["one"]})
    write(tmp_path / "relative" / "sa_91.json", made | {"bbox": [[190, 90, 50, 50]]})
    picture(tmp_path / "relative" / "sa_91.jpg")
    write(tmp_path / "relative" / "sa_92.json", made)
    (tmp_path / "relative" / "sa_93.json").write_text("{")
    found, reasons = read(build("vstar_train", path=tmp_path), store)
    assert reasons == {"bad_row": 1, "bad_box": 1, "missing_media": 1, "bad_json": 1}
    assert [(region.label, tuple(region.box)) for region in found[0].evidence] == [
        ("boat", (10, 20, 18, 26)),
        ("flag", (50, 60, 55, 65)),
    ]
    keys = Counter(one.answers[0] for one in found)
    assert set(keys) == {"Yes, it is."}
    places = {one.choices.index("Yes, it is.") for one in found}
    assert len(places) >= 3, "the right option is not always at the same place"
    other = plugins.build("source", {"name": "vstar_train", "path": str(tmp_path), "seed": 1})
    assert [one.choices for one in read(other, store)[0]] != [one.choices for one in found]


# ------------------------------------------------------------------------------------------------- all of them


def test_every_source_states_its_licence_and_what_may_be_passed_on(tmp_path: Path) -> None:
    """What is drawn here may be published; what others have made only where the person says so."""
    (tmp_path / "dataset.csv").touch()
    for name in plugins.names("source"):
        of = {"of": [{"name": "photos", "share": 1}]} if name == "mixed" else {}
        try:
            source, drawn = plugins.build("source", {"name": name, **of}), True
        except UsageError:  # it needs to be told where its data lie
            source, drawn = build(name, path=tmp_path / "x.jsonl" if name == "table" else tmp_path), False
        declared = name in ("table", "vstar_train")
        assert source.licence == "unknown" if declared else len(source.licence) > 5
        assert source.redistributable == drawn, name


def test_a_picture_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.json", [{"answer": 1, "image": "../../etc/x.jpg", "question": "?", "question_id": 1}])
    (failure,) = build("tallyqa", path=tmp_path).read()
    assert failure.reason == "bad_row"
