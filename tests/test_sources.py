"""Sources on small layouts written here, on the real samples, and on rows that are no use."""

import base64
import io
import itertools
import json
import pickle
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dataforge import plugins, reading
from dataforge.errors import ExampleError, UsageError
from dataforge.geometry import Box
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.reading import boxes
from dataforge.records import Example, Failure
from dataforge.sources.infographics import words_of


def picture(width: int = 40, height: int = 60, colour: str = "white", orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


def read(source: Source) -> tuple[list[Row], list[Failure]]:
    found = list(source.read())
    rows = [one for one in found if isinstance(one, Row)]
    failures = [one for one in found if isinstance(one, Failure)]
    assert len({one.id for one in found}) == len(found), "ids are unique"
    return rows, failures


def examples(source: Source, store: MediaStore) -> list[Example]:
    """All examples of a source; rows travel to the worker that makes them."""
    rows, failures = read(source)
    assert not failures
    return [source.example(pickle.loads(pickle.dumps(row)), store) for row in rows]


def spoiled(source: Source, store: MediaStore) -> str:
    """The reason why the first row becomes no example."""
    row = next(source.read())
    if isinstance(row, Failure):
        return row.reason
    with pytest.raises(ExampleError) as caught:
        source.example(row, store)
    return caught.value.reason


# ------------------------------------------------------------------------------------------------- infographics


def question(number: int, **other: Any) -> dict[str, Any]:
    row = {"questionId": number, "question": f"What is {number}?", "answers": ["one", "1"]}
    return row | {"image_local_name": f"{number}.png", "ocr_output_file": f"{number}.json"} | other


def line(text: str, left: float, top: float, width: float, height: float) -> dict[str, Any]:
    place = {"Left": left, "Top": top, "Width": width, "Height": height}
    return {"Text": text, "Geometry": {"BoundingBox": place}}


OCR = {
    "LINE": [line("one of many", 0.1, 0.1, 0.5, 0.05), line("Alone", 0.1, 0.3, 0.2, 0.05)],
    "WORD": [line("one", 0.1, 0.1, 0.1, 0.05), line("Alone", 0.1, 0.3, 0.2, 0.05)],
}


def layout(folder: Path, name: str, questions: list[Any], images: str = "images", ocr: str = "ocr") -> Path:
    """A small folder in InfographicVQA's layout."""
    for place in (folder / images, folder / ocr, (folder / name).parent):
        place.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps({"dataset_name": "infographicVQA", "data": questions}), encoding="utf-8")
    (folder / images / "1.png").write_bytes(picture())
    (folder / images / "2.png").write_bytes(picture(colour="red"))
    (folder / ocr / "1.json").write_text(json.dumps(OCR))
    (folder / ocr / "2.json").write_text("{broken")
    return folder


def infographics(**options: Any) -> Any:
    return plugins.build("source", {"name": "infographics", **options})


@pytest.mark.parametrize(
    ("name", "images", "ocr"),
    [
        ("infographicsVQA_val_v1.0_withQT.json", "images", "ocr"),
        ("infographicVQA_val_v1.0.json", "infographicsvqa_images", "infographicsvqa_ocr"),
        ("infographicsvqa_qas/infographicsVQA_val_v1.0.json", "val_images", "textract_ocr"),
        ("qas/infographicVQA_val_v2.json", ".", "."),
    ],
)
def test_infographics_layouts(tmp_path: Path, store: MediaStore, name: str, images: str, ocr: str) -> None:
    source = infographics(path=layout(tmp_path, name, [question(1), question(2)], images, ocr), split="val")
    one, two = examples(source, store)
    assert (one.id, one.group, one.split) == ("infographicvqa-1", "infographicvqa/1.png", "val")
    assert (one.question, one.answers, one.source) == ("What is 1?", ("one", "1"), "infographics")
    assert one.media[0].origin == "InfographicVQA/1.png"
    assert str(tmp_path) not in one.model_dump_json()
    assert [region.label for region in one.context] == ["one of many", "one", "Alone"]
    assert {region.said_by for region in one.context} == {"ocr"}
    assert one.context[0].box == pytest.approx((4, 6, 24, 9))
    assert one.context[0].text_px == pytest.approx(3)
    assert two.context == (), "broken OCR is no OCR"


def test_infographics_takes_the_newest_file_with_question_types(tmp_path: Path) -> None:
    layout(tmp_path, "infographicsVQA_val_v1.0.json", [question(1)])
    layout(tmp_path, "infographicsVQA_val_v1.0_withQT.json", [question(2)])
    assert read(infographics(path=tmp_path, split="val"))[0][0].id == "infographicvqa-2"
    layout(tmp_path, "infographicsVQA_val_v1.10.json", [question(3)])
    assert read(infographics(path=tmp_path, split="val"))[0][0].id == "infographicvqa-3"


def test_infographics_counts_every_row(tmp_path: Path, store: MediaStore) -> None:
    test = {key: value for key, value in question(1).items() if key != "answers"}
    unnamed = {key: value for key, value in question(7).items() if key != "questionId"}
    questions = [
        *(test, question(2, answers=[]), question(3, answers=None), question(4, answers=[" "])),
        *(unnamed, question(5, question=""), question(6, image_local_name="../../secret.png"), "text"),
        *(question(8, answers=[{"text": "x"}]), question(9, question="\ud800"), question(10), question(10)),
    ]
    rows, failures = read(
        infographics(path=layout(tmp_path, "infographicsVQA_test_v1.0.json", questions), split="test")
    )
    assert len(rows) == 1
    reasons = ["no_answer"] * 4 + ["bad_row"] * 6 + ["duplicate_id"]
    assert [failure.reason for failure in failures] == reasons
    assert {failure.stage for failure in failures} == {"read"}
    assert "questionId" in failures[4].detail
    assert "image_local_name" in failures[6].detail
    assert spoiled(infographics(path=tmp_path, split="test", start=10), store) == "missing_media"


def test_infographics_slice(tmp_path: Path) -> None:
    layout(tmp_path, "infographicsVQA_train_v1.0.json", [question(n) for n in range(10)])
    rows, _ = read(infographics(path=tmp_path, start=3, count=4))
    assert [row.id for row in rows] == [f"infographicvqa-{n}" for n in (3, 4, 5, 6)]


def test_infographics_without_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        next(infographics(path=tmp_path / "none").read())
    with pytest.raises(UsageError, match=r"infographicsVQA_train_v1\.0\.json .*no split at all"):
        next(infographics(path=tmp_path).read())
    layout(tmp_path, "infographicsVQA_val_v1.0.json", [])
    with pytest.raises(UsageError, match="there is val"):
        next(infographics(path=tmp_path).read())
    (tmp_path / "infographicsVQA_train_v1.0.json").write_text('{"data": [')
    with pytest.raises(UsageError, match=r"infographicsVQA_train_v1\.0\.json is not JSON"):
        next(infographics(path=tmp_path).read())
    (tmp_path / "infographicsVQA_train_v1.0.json").write_text('{"rows": []}')
    with pytest.raises(UsageError, match="no list of questions"):
        next(infographics(path=tmp_path).read())
    with pytest.raises(UsageError, match="not both"):
        infographics(path=tmp_path, hub="x/y")


def test_infographics_real_sample(samples: Path, store: MediaStore) -> None:
    found = examples(infographics(path=samples / "infographicvqa_layout", split="val"), store)
    assert len(found) == 22
    assert len({example.group for example in found}) == 6
    assert all(example.context for example in found)
    page = next(example for example in found if example.media[0].origin.endswith("single-page-1.png"))
    assert any(region.label == "Textractor Test" for region in page.context)
    assert any(region.label == "Textractor" for region in page.context)
    for example in found:
        bounds = Box(0, 0, example.media[0].width, example.media[0].height)
        assert all(bounds.contains(region.box) for region in example.context)


def test_words_of_survives_anything() -> None:
    up = line("upwards", 0, 0, 0.01, 0.2)
    broken = [None, 3, {}, {"Text": 3}, line("x", 0, 0, 0, 0), line("", 0, 0, 1, 1), line("far", 2, 2, 1, 1)]
    broken += [line("nan", float("nan"), 0, 1, 1), line("\ud800", 0, 0, 1, 1), {"Text": "a", "Geometry": None}]
    assert words_of({"LINE": broken, "WORD": 5}, 100, 100) == ()
    assert words_of([], 100, 100) == ()
    (region,) = words_of({"LINE": [up]}, 100, 100)
    assert region.text_px == pytest.approx(1), "print that runs upwards"
    (region,) = words_of({"LINE": [line("edge", -0.1, 0, 0.2, 1.2)]}, 100, 100)
    assert region.box == pytest.approx((0, 0, 10, 100))


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("whole_folder", [False, True])
def test_infographics_from_a_copy_of_the_hub(tmp_path: Path, store: MediaStore, whole_folder: bool) -> None:
    red = {"bytes": picture(colour="red"), "path": None}
    rows = [
        {"questionId": "1", "question": "Q?", "answers": ["a", "b"], "image": red, "ocr": json.dumps(OCR)},
        {"questionId": "2", "question": "R?", "answers": ["c"], "image": red, "ocr": None},
        {"questionId": "3", "question": "S?", "answers": None, "image": red, "ocr": None},
        {"questionId": "4", "question": "T?", "answers": ["d"], "image": None, "ocr": None},
    ]
    file = parquet(tmp_path / "validation-00000-of-00001.parquet", rows)
    source = infographics(hub=str(tmp_path if whole_folder else file), split="validation")
    rows_read, failures = read(source)
    assert [failure.reason for failure in failures] == ["no_answer", "bad_row"]
    one, two = (source.example(row, store) for row in rows_read)
    assert one.group == two.group
    assert one.answers == ("a", "b")
    assert [region.label for region in one.context] == ["one of many", "one", "Alone"]
    assert one.media[0].suffix == ".png"
    assert (one.media[0].width, one.media[0].height) == (40, 60)
    assert not source.redistributable


def test_hub_pictures_are_not_decoded(tmp_path: Path) -> None:
    """A column that declares itself a picture stays the bytes it was."""
    import datasets

    features = datasets.Features({"question": datasets.Value("string"), "image": datasets.Image()})
    rows = {"question": ["Q?"], "image": [{"bytes": picture(), "path": None}]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train-0.parquet")
    (entry,) = reading.hub(str(tmp_path), "train")
    assert isinstance(entry, dict)
    assert entry["image"]["bytes"] == picture()


def test_hub_that_is_not_there(tmp_path: Path) -> None:
    parquet(tmp_path / "validation-0.parquet", [{"a": 1}])
    with pytest.raises(UsageError, match="split train"):
        next(reading.hub(str(tmp_path), "train"))


# ------------------------------------------------------------------------------------------------ drawn posters


def test_posters_begin_at_once_and_never_end() -> None:
    began = time.process_time()
    rows = list(itertools.islice(infographics().read(), 5))
    assert time.process_time() - began < 5
    assert [row.id for row in rows][:2] == ["poster-train-0-000000-0", "poster-train-0-000001-0"]
    late = next(infographics(start=10**9).read())
    assert late.group == "poster-train-0-1000000000"
    assert infographics().endless
    assert not infographics(count=5).endless
    assert not infographics(hub="x/y").endless


def test_posters_slice_and_questions() -> None:
    rows, _ = read(infographics(per_poster=3, start=4, count=4, seed=7, split="val"))
    assert [row.id.removeprefix("poster-val-7-0000") for row in rows] == ["01-1", "01-2", "02-0", "02-1"]


def test_posters_are_examples(store: MediaStore, tmp_path: Path) -> None:
    source = infographics(per_poster=2, count=4)
    found = examples(source, store)
    assert [example.group for example in found] == [f"poster-train-0-{n:06d}" for n in (0, 0, 1, 1)]
    assert found[0].media == found[1].media != found[2].media
    assert found[0].question != found[1].question
    assert examples(source, MediaStore(tmp_path / "again")) == found
    for example in found:
        assert example.media[0].origin == example.group
        assert example.evidence
        assert example.context
        assert not set(example.evidence) & set(example.context)
        assert (example.answer_type == "choice") == bool(example.choices)
        assert "A." not in example.question
    assert (source.licence, source.redistributable) == ("Apache-2.0", True)
    assert found[0].media[0].licence == "Apache-2.0"


def test_posters_differ_by_seed_and_split(store: MediaStore) -> None:
    options = ({}, {"seed": 1}, {"split": "val"}, {"start": 1})
    shown = {examples(infographics(count=1, **option), store)[0].media[0].sha256 for option in options}
    assert len(shown) == 4


def test_posters_run_out_of_questions(store: MediaStore) -> None:
    assert spoiled(infographics(per_poster=1000, start=999), store) == "no_question"


# ------------------------------------------------------------------------------------------------- Visual-CoT


def cot(folder: Path, *rows: dict[str, Any] | str) -> Any:
    (folder / "images/gqa").mkdir(parents=True, exist_ok=True)
    (folder / "images/a.png").write_bytes(picture())
    (folder / "images/gqa/b.png").write_bytes(picture())
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "gqa_cot_train.jsonl").write_text("\n".join(lines))
    return plugins.build("source", {"name": "visual_cot", "path": folder / "gqa_cot_train.jsonl"})


def cot_row(**other: Any) -> dict[str, Any]:
    row = {"question": "Q?", "answer": "yes", "image": "a.png", "width": 40, "height": 60}
    return row | {"bboxs": [[1, 2, 30, 40]], "dataset": "gqa", "split": "train"} | other


def test_visual_cot(tmp_path: Path, store: MediaStore) -> None:
    several = [[0, 0, 41.5, 60], [5, 5, 6, 6]]
    source = cot(tmp_path, cot_row(), cot_row(image="b.png", bboxs=several), cot_row(bboxs=[], answer=3))
    one, two, three = examples(source, store)
    assert (one.id, one.group) == ("gqa_cot_train-0", "gqa/a.png")
    assert one.media[0].origin == "Visual-CoT/gqa/a.png"
    assert one.evidence[0].box == (1, 2, 30, 40)
    assert [region.box for region in two.evidence] == [(0, 0, 40, 60), (5, 5, 6, 6)]
    assert (three.evidence, three.answers) == ((), ("3",))
    assert not source.redistributable
    assert "Apache-2.0" in source.licence


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"width": 41}, "size_mismatch"),
        ({"width": 60, "height": 40}, "size_mismatch"),
        ({"width": None}, "bad_row"),
        ({"bboxs": [[0, 0, 43, 60]]}, "bad_box"),
        ({"bboxs": [[-3, 0, 43, 60]]}, "bad_box"),
        ({"bboxs": [[5, 5, 5, 9]]}, "bad_box"),
        ({"bboxs": [[9, 9, 5, 5]]}, "bad_box"),
        ({"bboxs": [[1, 2, 3]]}, "bad_box"),
        ({"bboxs": [[1, 2, 3, float("nan")]]}, "bad_box"),
        ({"bboxs": [["a", 2, 3, 4]]}, "bad_box"),
        ({"image": "none.png"}, "missing_media"),
        ({"image": "/etc/passwd"}, "bad_row"),
        ({"dataset": "../.."}, "bad_row"),
        ({"answer": ""}, "no_answer"),
        ({"question": None}, "bad_row"),
    ],
)
def test_visual_cot_rows_that_are_no_use(
    tmp_path: Path, store: MediaStore, change: dict[str, Any], reason: str
) -> None:
    assert spoiled(cot(tmp_path, cot_row(**change)), store) == reason


def test_visual_cot_real_sample(samples: Path, store: MediaStore) -> None:
    """Wrong boxes are inside their pages, so all sixty questions are read: the checks must find them."""
    path = samples / "sroie_visualcot/sroie_cot_train.jsonl"
    source = plugins.build("source", {"name": "visual_cot", "path": path})
    rows, failures = read(source)
    assert (len(rows), len(failures), len({row.group for row in rows})) == (60, 0, 15)
    page, small = (source.example(row, store) for row in (rows[0], rows[-1]))
    assert page.media[0].width * page.media[0].height > 30_000_000
    assert page.evidence[0].box == (1462, 915, 2933, 1014)
    assert small.evidence
    assert next(plugins.build("source", {"name": "visual_cot", "path": path, "start": 59}).read()) == rows[-1]


# ------------------------------------------------------------------------------------------------------ tables


def table(path: Path | None = None, **options: Any) -> Any:
    return plugins.build("source", {"name": "table", **({"path": path} if path else {}), **options})


ROW = {"question": "Which?", "answers": ["x", "x", "y"], "image": "a.png"}


def test_jsonl_with_broken_lines(tmp_path: Path, store: MediaStore) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    whole = json.dumps(ROW).encode()
    deep = b'{"question":' + b"[" * 100_000
    lines = [b"\xef\xbb\xbf" + whole, b"", whole[:-5], b"  ", b"[1]", b'"\xff"', deep, b'{"a": 1' + b"0" * 9000 + b"}"]
    lines.append(json.dumps(ROW | {"image": "\ud800.png"}).encode())
    lines.append(whole)
    for end in (b"\n", b"\r\n"):
        (tmp_path / "t.jsonl").write_bytes(end.join(lines))
        source = table(tmp_path / "t.jsonl")
        rows, failures = read(source)
        assert [row.id for row in rows] == ["t-0", "t-7"]
        reasons = ["bad_json", "bad_row", "bad_json", "bad_json", "bad_json", "bad_row"]
        assert [failure.reason for failure in failures] == reasons
        assert "line 3" in failures[0].detail
        assert "line 5" in failures[1].detail
    example = source.example(rows[0], store)
    assert (example.group, example.answers) == ("t/a.png", ("x", "x", "y"))
    assert example.media[0].origin == "t/a.png"
    assert str(tmp_path) not in example.model_dump_json()


def test_jsonl_is_not_read_ahead(tmp_path: Path) -> None:
    with (tmp_path / "long.jsonl").open("w") as file:
        file.writelines(json.dumps(ROW) + "\n" for _ in range(1000))
        file.truncate(2**34)
    began = time.process_time()
    assert len(read(table(tmp_path / "long.jsonl", count=10))[0]) == 10
    assert time.process_time() - began < 5


@pytest.mark.parametrize("form", ["json", "csv", "tsv", "parquet", "ndjson"])
def test_every_format_gives_the_same(tmp_path: Path, store: MediaStore, form: str) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/a.png").write_bytes(picture())
    rows = [
        {"q": f'Say "{n}", please\nnow', "a": json.dumps([n, "z"]), "file": "a.png", "at": "[1, 2, 3, 4]"}
        for n in (5, 6)
    ]
    path = tmp_path / f"t.{form}"
    if form == "json":
        path.write_text(json.dumps({"inner": {"data": rows}}))
    elif form == "parquet":
        parquet(path, rows)
    elif form == "ndjson":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        import csv

        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="," if form == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    columns = {"question": "q", "answers": "a", "answers_json": True, "image": "file", "boxes": "at"}
    source = table(
        path, images=tmp_path / "pages", box_order="xywh", box_unit="pixels", rows_in="inner.data", **columns
    )
    found = examples(source, store)
    assert [example.question for example in found] == ['Say "5", please\nnow', 'Say "6", please\nnow']
    assert found[0].answers == ("5", "z")
    assert found[0].evidence[0].box == (1, 2, 4, 6)


def test_csv_with_broken_rows(tmp_path: Path) -> None:
    content = b'question,answers,image\nQ,a,x.png\nQ,a,x.png,more\nQ,a\n"Q"x,a,x.png\nQ,\xff,x.png\nQ,a,"x.png\n'
    (tmp_path / "t.csv").write_bytes(content)
    rows, failures = read(table(tmp_path / "t.csv"))
    assert len(rows) == 1
    assert [failure.reason for failure in failures] == ["bad_row", "bad_row", "bad_csv", "bad_row", "bad_csv"]


def test_pictures_in_every_form(tmp_path: Path, store: MediaStore) -> None:
    content = picture()
    forms: list[Any] = [content, {"bytes": content, "path": "x"}, {"bytes": None, "path": "a.png"}]
    (tmp_path / "a.png").write_bytes(content)
    for number, form in enumerate(forms):
        path = parquet(tmp_path / f"{number}.parquet", [ROW | {"image": form}])
        (example,) = examples(table(path), store)
        assert example.media[0].suffix == ".png"
    text = base64.b64encode(content).decode()
    big = base64.b64encode(content + bytes(200_000)).decode()
    for value in (text, f"data:image/png;base64,{text}", big):
        (tmp_path / "t.csv").write_text(f'question,answers,image\nQ,a,"{value}"\n')
        (example,) = examples(table(tmp_path / "t.csv", image_text="base64"), store)
        assert (example.media[0].width, example.media[0].height) == (40, 60)
    (tmp_path / "t.csv").write_text("question,answers,image\nQ,a,a.png\n")
    assert spoiled(table(tmp_path / "t.csv", image_text="base64"), store) == "bad_row"


def test_where_file_names_may_lead(tmp_path: Path, store: MediaStore) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "in").mkdir()

    def written(name: str) -> Path:
        (tmp_path / "in/t.jsonl").write_text(json.dumps(ROW | {"image": name}))
        return tmp_path / "in/t.jsonl"

    absolute = str(tmp_path / "a.png")
    (example,) = examples(table(written(absolute)), store)
    assert (example.group, example.media[0].origin) == ("t/a.png", "t/a.png")
    assert spoiled(table(written(absolute), images=tmp_path), store) == "bad_row"
    assert spoiled(table(written("../a.png")), store) == "bad_row"
    assert spoiled(table(hub=str(written("a.png"))), store) == "bad_row"
    assert spoiled(table(written("x" * 300)), store) == "unreadable_media"


def test_nested_columns_ids_groups_and_choices(tmp_path: Path, store: MediaStore) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    row = {"extra_info": {"question": "Q?", "tags": [{"id": 9}]}, "answer": "B", "a.b": "kept", "images": ["a.png"]}
    (tmp_path / "t.jsonl").write_text(json.dumps(row | {"options": ["no", "yes"]}) + "\n")
    columns = {"question": "extra_info.question", "answers": "answer", "image": "images.0", "choices": "options"}
    source = table(tmp_path / "t.jsonl", id="extra_info.tags.0.id", group="a.b", answer_type="choice", **columns)
    (example,) = examples(source, store)
    assert (example.id, example.group, example.question) == ("t-9", "t/kept", "Q?")
    assert (example.choices, example.answers, example.answer_type) == (("no", "yes"), ("B",), "choice")
    missing = table(tmp_path / "t.jsonl", **columns | {"question": "extra_info.none"})
    assert spoiled(missing, store) == "bad_row"


def test_declared_boxes(tmp_path: Path, store: MediaStore) -> None:
    """The same place in every convention, on a picture that a camera stored lying on its side."""
    (tmp_path / "a.png").write_bytes(picture(60, 40, orientation=6))
    stored = {"xyxy": [10, 8, 30, 16], "xywh": [10, 8, 20, 8], "yxyx": [8, 10, 16, 30]}
    upright = {"xyxy": [24, 10, 32, 30], "xywh": [24, 10, 8, 20], "yxyx": [10, 24, 30, 32]}
    for frame, boxes_by_order, size in (("stored", stored, (60, 40)), ("upright", upright, (40, 60))):
        for order, box in boxes_by_order.items():
            for unit, full in (("pixels", None), ("0..1", 1), ("0..1000", 1000)):
                sides = tuple(reversed(size)) * 2 if order == "yxyx" else size * 2
                numbers = box if full is None else [n / side * full for n, side in zip(box, sides, strict=True)]
                (tmp_path / "t.jsonl").write_text(json.dumps(ROW | {"box": numbers}))
                source = table(tmp_path / "t.jsonl", boxes="box", box_order=order, box_unit=unit, box_frame=frame)
                (example,) = examples(source, store)
                assert example.evidence[0].box == pytest.approx((24, 10, 32, 30)), (frame, order, unit)


def test_table_options_that_are_no_use(tmp_path: Path) -> None:
    for options in ({}, {"path": "a", "hub": "b"}, {"path": "a.jsonl", "boxes": "b", "box_order": "xyxy"}):
        with pytest.raises(UsageError):
            table(**options)
    for name in ("none.jsonl", "none.json", "none.csv", "none.parquet", "t.xlsx"):
        with pytest.raises(UsageError, match=name):
            next(table(tmp_path / name).read())
    (tmp_path / "t.parquet").write_bytes(b"PAR1 but no")
    with pytest.raises(UsageError, match=r"t\.parquet"):
        next(table(tmp_path / "t.parquet").read())
    (tmp_path / "t.json").write_text('{"data": 5}')
    with pytest.raises(UsageError, match="not a list"):
        next(table(tmp_path / "t.json", rows_in="data").read())


def test_table_licence(tmp_path: Path) -> None:
    assert (table(tmp_path).licence, table(tmp_path).redistributable) == ("unknown", False)
    source = table(tmp_path, licence="CC BY 4.0", redistributable=True)
    assert (source.licence, source.redistributable) == ("CC BY 4.0", True)


def test_table_real_samples(samples: Path, store: MediaStore) -> None:
    """Annotations without pictures, questions without answers: all of it counted."""
    votes = table(samples / "textvqa_v01/TextVQA_with_url_val.json", rows_in="data", answer_type="vqa")
    rows, failures = read(votes)
    assert (len(rows), len(failures)) == (12, 0)
    assert Counter(rows[0].content["answers"])["11:28"] == 10
    assert spoiled(votes, store) == "missing_media"
    assert [failure.reason for failure in read(table(samples / "vstar_demo/questions.jsonl"))[1]] == ["no_answer"] * 2
    screens = samples / "screen_qa/short_answers/validation.json"
    assert len(read(table(screens, answers="ground_truth", image="image_id"))[0]) == len(
        json.loads(screens.read_text())
    )


# ------------------------------------------------------------------------------------------------------- boxes


@given(st.integers(1, 8), st.integers(0, 29), st.integers(0, 19), st.integers(1, 10), st.integers(1, 10))
def test_turned_agrees_with_the_pixels(orientation: int, x: int, y: int, width: int, height: int) -> None:
    from PIL import ImageOps

    box = Box(x, y, min(x + width, 30), min(y + height, 20))
    picture = Image.new("L", (30, 20))
    picture.paste(255, tuple(int(side) for side in box))
    picture.getexif()[274] = orientation
    upright = ImageOps.exif_transpose(picture)
    assert boxes.turned(box, orientation, 30, 20) == upright.getbbox()


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=3, max_size=5))
@hypothesis.example([0.0, 0.0, 4.5e-223, 4.5e-223])
def test_any_numbers_give_a_box_inside_or_a_reason(numbers: list[float]) -> None:
    for order in ("xyxy", "xywh", "yxyx"):
        for unit in ("pixels", "0..1", "0..1000"):
            with suppress(ExampleError):
                (listed,) = boxes.listed(numbers)
                box = boxes.placed(listed, boxes.Convention(order, unit), 100, 50)
                assert Box(0, 0, 100, 50).contains(box)
                assert box.area > 0
