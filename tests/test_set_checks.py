"""Checks of a whole set: each reason tripped, what stays and what goes, order, draws, missing sets."""

import base64
import csv
import json
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from dataforge import plugins
from dataforge.alike import fingerprints
from dataforge.alike.fingerprints import Header
from dataforge.alike.likeness import CACHE, PICTURE_HASH, Likenesses
from dataforge.errors import UsageError
from dataforge.media import MediaStore, decode, to_jpeg
from dataforge.plugins import Kit, SetCheck
from dataforge.records import Example, Failure, Kind, Media, Provenance, Step, Trace, Verdict
from dataforge.runs import Run
from tests.drawn_run import make

THINGS = "visitors cats museums boats trees nurses bakers lamps rivers schools farms bridges owls trains clocks".split()


def picture(number: int) -> Image.Image:
    """A drawn picture, unlike that of any other number."""
    rng = random.Random(number)
    image = Image.new("RGB", (160, 220), "#f4efe4")
    pen = ImageDraw.Draw(image)
    for _ in range(14):
        x, y = rng.randrange(150), rng.randrange(210)
        pen.rectangle((x, y, x + rng.randrange(8, 70), y + rng.randrange(8, 70)), fill=rng.choice(COLOURS))
    return image


COLOURS = ["#222244", "#c03030", "#30a050", "#e0c030", "#f8f8ff", "#806090"]


def copy_of(image: Image.Image) -> bytes:
    """Other bytes of nearly the same picture."""
    width, height = image.size
    return to_jpeg(image.crop((1, 1, width - 1, height - 1)).resize((width * 3 // 4, height * 3 // 4)), 50)


@pytest.fixture
def kit(store: MediaStore) -> Kit:
    return Kit(store)


def trace(
    name: str,
    media: Media,
    question: str = "How many visitors came?",
    answer: str = "42",
    kind: Kind = "single",
    source: str = "drawn",
    answers: tuple[str, ...] | None = None,
) -> Trace:
    accepted = (answer,) if answers is None else answers
    example = Example(id=name, group="g", source=source, question=question, answers=accepted, media=(media,))
    steps = (Step(thought="It says so.", role="answer"),)
    provenance = Provenance(version="0", manifest="0")
    return Trace(id=name, example=example, views=(), steps=steps, answer=answer, kind=kind, provenance=provenance)


def put(kit: Kit, content: bytes | Image.Image, origin: str = "") -> Media:
    encoded = content if isinstance(content, bytes) else to_jpeg(content, 95)
    return kit.store.add_bytes(encoded, ".jpg", origin=origin)


def sift(name: str, traces: Iterable[Trace], kit: Kit, **options: Any) -> list[Verdict]:
    check: SetCheck = plugins.build("check", {"name": name, **options})
    verdicts = list(check.sift(iter(traces), kit))
    assert all(verdict.ok or verdict.reason in check.reasons for verdict in verdicts)
    return verdicts


def reasons(verdicts: Iterable[Verdict]) -> list[str]:
    return [verdict.reason for verdict in verdicts]


# ---------------------------------------------------------------------------------------------- duplicate


def test_the_same_question_on_the_same_picture_stays_once(kit: Kit) -> None:
    original = put(kit, picture(1))
    again = put(kit, copy_of(picture(1)))
    other = put(kit, picture(2))
    verdicts = sift(
        "duplicate",
        [
            trace("first", original),
            trace("other-picture", other),
            trace("same", original, "How many visitors came??", "forty-two"),
            trace("copy", again, "how many  VISITORS came"),
            trace("another-question", original, "Which year had the fewest cats?", "1999"),
        ],
        kit,
    )
    assert reasons(verdicts) == ["", "", "same_question", "same_question", ""]
    assert verdicts[2].detail == "100% the words of first, on its picture"


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("What percentage of the men in Kenya said that they smoke?", "20%", ""),
        ("What percentage of women in all of Kenya said that they smoke?", "31%", "same_question"),
        ("What percentage of the women in Kenya said that they do smoke?", "12%", ""),
        ("Who smokes?", "31%", ""),
    ],
)
def test_other_words_make_it_the_same_question_only_with_the_same_answer(
    kit: Kit, question: str, answer: str, reason: str
) -> None:
    media = put(kit, picture(1))
    first = trace("first", media, "What percentage of the women in Kenya said that they smoke?", "31%")
    assert reasons(sift("duplicate", [first, trace("second", media, question, answer)], kit)) == ["", reason]


def test_answers_that_are_not_known_do_not_tell_questions_apart(kit: Kit) -> None:
    media = put(kit, picture(1))
    first = trace("first", media, "How many owls and how many cats were counted there in 1990?", answers=())
    second = trace("second", media, "How many owls and how many dogs were counted there in 1990?", "7")
    assert reasons(sift("duplicate", [first, second], kit)) == ["", "same_question"]


def test_what_was_rejected_rejects_no_other(kit: Kit) -> None:
    """The third is near the second, which is gone, and not near the first."""
    media = put(kit, picture(1))
    words = "one two three four five six seven eight nine ten eleven twelve".split()
    texts = [" ".join(words), " ".join([*words[:-2], "x", "y"]), " ".join([*words[:-4], "v", "w", "x", "y"])]
    traces = [trace(f"t{number}", media, text) for number, text in enumerate(texts)]
    assert reasons(sift("duplicate", traces, kit)) == ["", "same_question", ""]
    assert reasons(sift("duplicate", traces[1:], kit)) == ["", "same_question"]


def test_thresholds_are_options(kit: Kit) -> None:
    traces = [trace("first", put(kit, picture(1))), trace("copy", put(kit, copy_of(picture(1))))]
    assert reasons(sift("duplicate", traces, kit)) == ["", "same_question"]
    assert reasons(sift("duplicate", traces, kit, near_bits=0)) == ["", ""]
    with pytest.raises(UsageError, match="near_bits"):
        plugins.build("check", {"name": "duplicate", "near_bits": 200})


def test_an_earlier_run_counts_by_folder_and_by_fingerprints(tmp_path: Path) -> None:
    earlier = make(tmp_path / "runs").folder
    out = tmp_path / "earlier.jsonl"
    header = fingerprints.make(str(earlier), out)
    assert (header.questions, header.pictures, header.unreadable) == (8, 2, 0)
    with Run.open(earlier) as run:
        traces = list(run.traces())
        kit = Kit(run.store)
        asked_again = traces[1].model_copy(update={"id": "new"})
        fresh = trace("fresh", put(kit, picture(5)))
        for spec in (str(earlier), str(out)):
            verdicts = sift("duplicate", [fresh, asked_again], kit, against=[spec])
            assert reasons(verdicts) == ["", "same_question"]
            assert f"poster-1 of {Path(spec).name}" in verdicts[1].detail


def test_an_earlier_set_without_questions_on_pictures_is_refused(kit: Kit, tmp_path: Path) -> None:
    folder = eval_folder(tmp_path / "eval", [1])
    with pytest.raises(UsageError, match="no question on a picture"):
        sift("duplicate", [], kit, against=[str(folder)])


def test_planted_duplicates_among_hundreds_are_found_and_no_other(kit: Kit, tmp_path: Path) -> None:
    rng = random.Random(3)
    originals = [picture(number) for number in range(150)]
    media = [put(kit, image) for image in originals]
    traces, planted = [], set()
    for number in range(300):
        things = rng.sample(THINGS, 2)
        question = f"How many {things[0]} and {things[1]} were counted in part {number} of the town?"
        traces.append(trace(f"t{number}", media[number // 2], question, str(number)))
    for number in rng.sample(range(300), 60):
        one = traces[number]
        changed = one.example.question.replace("were counted", "had been counted").replace("?", " in all?")
        copied = put(kit, copy_of(originals[number // 2]))
        planted.add(f"planted-{number}")
        traces.append(trace(f"planted-{number}", copied, changed, one.answer))
    verdicts = sift("duplicate", traces, kit)
    rejected = {one.id: verdict for one, verdict in zip(traces, verdicts, strict=True) if not verdict.ok}
    assert rejected.keys() == planted
    for name, verdict in rejected.items():
        assert f"words of t{name.removeprefix('planted-')}," in verdict.detail


def test_the_order_decides_who_is_first_and_nothing_else(kit: Kit) -> None:
    media = put(kit, picture(1))
    traces = [trace(f"t{number}", media) for number in range(5)]
    for shuffled in (traces, traces[::-1]):
        verdicts = sift("duplicate", shuffled, kit)
        assert reasons(verdicts) == ["", *["same_question"] * 4]
        assert verdicts == sift("duplicate", shuffled, kit)


def test_a_second_filter_opens_no_picture(kit: Kit, tmp_path: Path) -> None:
    media = put(kit, picture(1))
    first = sift("duplicate", [trace("a", media), trace("b", media)], kit)
    assert (tmp_path / CACHE).is_file()
    kit.store.path(media).unlink()
    assert sift("duplicate", [trace("a", media), trace("b", media)], Kit(MediaStore(kit.store.folder))) == first


@pytest.mark.parametrize("name", ["duplicate", "contaminated"])
def test_a_trace_that_cannot_be_compared_is_rejected(kit: Kit, tmp_path: Path, name: str) -> None:
    options = {"sets": [str(eval_folder(tmp_path / "eval", [9]))]} if name == "contaminated" else {}
    media = put(kit, picture(1))
    kit.store.path(media).unlink()
    (verdict,) = sift(name, [trace("a", media)], Kit(MediaStore(kit.store.folder)), **options)
    assert verdict.reason == "unreadable_picture"
    assert "missing_media" in verdict.detail


# ---------------------------------------------------------------------------------------------- contaminated

LONG = "What percentage of adults in Kenya owned a smartphone by December 2012?"


def eval_folder(folder: Path, numbers: list[int]) -> Path:
    (folder / "deep").mkdir(parents=True)
    for number in numbers:
        picture(number).save(folder / "deep" / f"{number}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_picture_of_an_evaluation_set_is_enough(kit: Kit, tmp_path: Path) -> None:
    folder = eval_folder(tmp_path / "vstar", [1, 2, 3])
    traces = [trace("own", put(kit, picture(7))), trace("theirs", put(kit, copy_of(picture(2))), "Unheard of?")]
    verdicts = sift("contaminated", traces, kit, sets=[str(folder)])
    assert reasons(verdicts) == ["", "image_in_evaluation_set"]
    assert verdicts[1].detail.endswith("of 256 bits from deep/2.png of vstar")


def test_a_telling_question_is_enough_and_a_general_one_is_not(kit: Kit, tmp_path: Path) -> None:
    folder = eval_folder(tmp_path / "infovqa", [1])
    rows = [{"question": LONG}, {"question": "What is the title?"}, {"question": "What is the colour of the car?"}]
    (folder / "val.json").write_text(json.dumps({"dataset": "x", "data": rows}))
    media = put(kit, picture(7))
    near = "By December 2012, what percentage of adults in Kenya owned a smartphone?"
    far = "What percentage of girls in Ghana carried a telephone by December 2012?"
    asked = [LONG, near, far, "What is the title?", "What is the colour of the car?"]
    traces = [trace(f"t{number}", media, question) for number, question in enumerate(asked)]
    verdicts = sift("contaminated", traces, kit, sets=[str(folder)])
    assert reasons(verdicts) == [*["question_in_evaluation_set"] * 2, "", "", ""]
    assert "100% the words of val.json row 0 of infovqa" in verdicts[0].detail
    strict = sift("contaminated", traces, kit, sets=[str(folder)], telling_words=1)
    assert reasons(strict) == [*["question_in_evaluation_set"] * 2, "", *["question_in_evaluation_set"] * 2]


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def hr_bench(path: Path) -> Path:
    """As HR-Bench lays it out: a table with the picture in base64."""
    with path.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, ["index", "question", "A", "B", "answer", "image"], delimiter="\t")
        writer.writeheader()
        image = base64.b64encode(to_jpeg(picture(1))).decode()
        writer.writerow({"index": 0, "question": LONG, "A": "1", "B": "2", "answer": "A", "image": image})
    return path


def vstar_hub(folder: Path) -> str:
    """As V*Bench lies on the Hub: the options inside the question, the picture as {bytes, path}."""
    row = {"text": f"{LONG}\n(A) one\n(B) two", "image": {"bytes": to_jpeg(picture(1)), "path": "1.jpg"}, "label": "A"}
    parquet(folder / "data" / "test-00000-of-00001.parquet", [row])
    return f"hub:{folder}"


def vstar_files(folder: Path) -> Path:
    """As V*Bench's own files lie: a JSON beside each picture."""
    (folder / "direct_attributes").mkdir(parents=True)
    picture(1).save(folder / "direct_attributes" / "sa_1.jpg")
    content = {"target_object": ["car"], "bbox": [[1, 2, 3, 4]], "question": LONG, "options": ["a", "b"]}
    (folder / "direct_attributes" / "sa_1.json").write_text(json.dumps(content))
    return folder


def named_files(folder: Path) -> Path:
    (folder / "images").mkdir(parents=True)
    picture(1).save(folder / "images" / "one.png")
    path = folder / "val.jsonl"
    path.write_text(json.dumps({"question": LONG, "image": ["one.png"]}) + "\n")
    return path


def manifest_of(folder: Path) -> Path:
    path = folder / "mine.yaml"
    table = {"name": "table", "path": str(named_files(folder)), "image": "image.0", "answers": "question"}
    path.write_text(json.dumps({"name": "mine", "source": table | {"images": str(folder / "images")}}))
    return path


@pytest.mark.parametrize("layout", [hr_bench, vstar_hub, vstar_files, named_files, manifest_of])
@pytest.mark.parametrize("stored", [False, True], ids=["as it is", "as a file of hashes"])
def test_every_layout_of_an_evaluation_set(kit: Kit, tmp_path: Path, layout: Any, stored: bool) -> None:
    (tmp_path / "set").mkdir()
    spec = str(layout(tmp_path / "set" / ("hr.tsv" if layout is hr_bench else "")))
    if stored:
        header = fingerprints.make(spec, tmp_path / "set.hashes")
        assert (header.pictures, header.questions, header.unreadable) == (1, 1, 0)
        assert "/" not in header.set  # no folder of this machine
        spec = str(tmp_path / "set.hashes")
    traces = [
        trace("picture", put(kit, copy_of(picture(1)))),
        trace("question", put(kit, picture(7)), LONG),
        trace("own", put(kit, picture(8))),
    ]
    expected = ["image_in_evaluation_set", "question_in_evaluation_set", ""]
    assert reasons(sift("contaminated", traces, kit, sets=[spec])) == expected


def test_real_samples_against_their_own_folder(kit: Kit, samples: Path) -> None:
    folder = samples / "infographicvqa_layout"
    page = decode((folder / "images" / "X51007262315.jpg").read_bytes())
    photo = decode((samples / "vstar_demo" / "images" / "doll.JPG").read_bytes())
    traces = [
        trace("page", put(kit, page.resize((page.width // 2, page.height // 2)))),
        trace("photo", put(kit, photo.resize((800, 600)))),
    ]
    verdicts = sift("contaminated", traces, kit, sets=[str(folder)])
    assert reasons(verdicts) == ["image_in_evaluation_set", ""]
    assert "X51007262315.jpg" in verdicts[0].detail
    verdicts = sift("contaminated", traces, kit, sets=[str(folder), str(samples / "vstar_demo")])
    assert reasons(verdicts) == ["image_in_evaluation_set"] * 2


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nowhere", "no set 'nowhere'"),
        ("hub:{folder}/nothing-there@test", "nothing-there split test"),
        ("{folder}/empty", "holds no picture and no question"),
        ("{folder}/broken", r"broken\.jpg: not_a_picture.*dataforge fingerprint"),
        ("{folder}/film", r"one\.mp4: broken_video"),
        ("{folder}/table.jsonl", r"table\.jsonl row 0: missing_media"),
        ("{folder}/old.hashes", "another version"),
        ("{folder}/torn.hashes", r"torn\.hashes line 2"),
        ("{folder}/short.hashes", "holds 0 of its 1 questions"),
    ],
)
def test_a_set_that_cannot_be_compared_stops_the_filter(kit: Kit, tmp_path: Path, spec: str, said: str) -> None:
    for name in ("empty", "broken", "film"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "broken.jpg").write_text("no picture")
    (tmp_path / "film" / "one.mp4").write_bytes(b"film")
    (tmp_path / "table.jsonl").write_text('{"question": "a?", "image": "gone.jpg"}\n')
    header = Header(set="x", picture_hash="phash64", pictures=1, questions=1, unreadable=0)
    (tmp_path / "old.hashes").write_text(header.model_dump_json() + "\n")
    fine = header.model_copy(update={"picture_hash": PICTURE_HASH})
    (tmp_path / "short.hashes").write_text(fine.model_dump_json() + '\n{"id": "x"}\n')
    (tmp_path / "torn.hashes").write_text(fine.model_dump_json() + '\n{"id": "x", "pict')
    with pytest.raises(UsageError, match=said):
        sift("contaminated", [], kit, sets=[spec.format(folder=tmp_path)])


def test_no_set_at_all_is_refused() -> None:
    for spec in ({"name": "contaminated"}, {"name": "contaminated", "sets": []}):
        with pytest.raises(UsageError, match="sets"):
            plugins.build("check", spec)


def test_a_fingerprint_file_counts_what_it_leaves_out(tmp_path: Path, kit: Kit) -> None:
    folder = eval_folder(tmp_path / "eval", [1, 2])
    (folder / "broken.jpg").write_text("no picture")
    (folder / "table.json").write_text("{broken")
    (folder / "bare-name").write_bytes(to_jpeg(picture(3)))
    out = tmp_path / "eval.hashes"
    header = fingerprints.make(str(folder), out)
    assert header == Header.model_validate_json(out.read_text().splitlines()[0])
    assert (header.set, header.pictures, header.questions, header.unreadable) == ("eval", 3, 0, 2)
    assert header.first_unreadable.startswith("broken.jpg: not_a_picture")
    assert out.read_bytes() == (fingerprints.make(str(folder), out), out.read_bytes())[1]
    assert sorted(path.name for path in tmp_path.iterdir() if "hashes" in path.name) == ["eval.hashes"]
    (verdict,) = sift("contaminated", [trace("a", put(kit, picture(3)))], kit, sets=[str(out)])
    assert verdict.reason == "image_in_evaluation_set"


def test_a_set_of_nothing_makes_no_file(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    with pytest.raises(UsageError, match="no picture and no question"):
        fingerprints.make(str(tmp_path / "eval"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_hostile_samples_come_as_failures_and_nothing_else_breaks(samples: Path) -> None:
    found = list(fingerprints.read(str(samples / "nasty_images"), Likenesses()))
    assert any(isinstance(one, Failure) for one in found)
    assert any(not isinstance(one, Failure) for one in found)


# ---------------------------------------------------------------------------------------------- balanced


def many(count: int, media: list[Media], answers: list[str], kinds: list[Kind], seed: int = 0) -> list[Trace]:
    rng = random.Random(seed)
    return [
        trace(f"t{number}", rng.choice(media), answer=rng.choice(answers), kind=rng.choice(kinds))
        for number in range(count)
    ]


def bare(number: int) -> Media:
    return Media(sha256=f"{number:064x}", suffix=".jpg", width=10, height=10)


def kept(traces: list[Trace], verdicts: list[Verdict]) -> list[Trace]:
    return [one for one, verdict in zip(traces, verdicts, strict=True) if verdict.ok]


def test_a_picture_has_so_many_traces_and_no_more(kit: Kit) -> None:
    traces = [*many(100, [bare(1), bare(2)], ["a"], ["single"]), trace("rare", bare(3))]
    verdicts = sift("balanced", traces, kit, per_image=7)
    stays = kept(traces, verdicts)
    assert Counter(one.example.media[0].sha256 for one in stays) == {
        bare(1).sha256: 7,
        bare(2).sha256: 7,
        bare(3).sha256: 1,
    }
    said = Counter((verdict.reason, verdict.detail) for verdict in verdicts if not verdict.ok)
    first = sum(one.example.media[0] == bare(1) for one in traces)
    assert said["too_many_per_image", f"{first} traces of this image, at most 7 stay"] == first - 7


def test_an_answer_by_count_and_by_share(kit: Kit) -> None:
    traces = many(200, [bare(n) for n in range(100)], ["Yes", "yes ", "no"], ["single"])
    traces += [trace(f"own-{number}", bare(1000 + number), answer=str(number)) for number in range(40)]
    by_count = kept(traces, sift("balanced", traces, kit, per_answer=12, per_image=None))
    counts = Counter(one.answer.strip().lower() for one in by_count)
    assert (counts["yes"], counts["no"], len(counts)) == (12, 12, 42)
    verdicts = sift("balanced", traces, kit, per_answer=0.1, per_image=None)
    stays = kept(traces, verdicts)
    shares = Counter(one.answer.strip().lower() for one in stays)
    assert (shares["yes"], shares["no"], len(stays)) == (6, 6, 52)  # a tenth of 52, rounded up
    assert {verdict.detail.partition(",")[2] for verdict in verdicts if not verdict.ok} == {" at most 6 of 52 stay"}
    assert {verdict.reason for verdict in verdicts if not verdict.ok} == {"too_many_per_answer"}


def test_a_share_that_no_set_can_have_is_raised(kit: Kit) -> None:
    """Two answers can't each have a tenth: they get half each, rounded up."""
    traces = [trace(f"t{number}", bare(number), answer="no" if number % 4 else "yes") for number in range(100)]
    stays = kept(traces, sift("balanced", traces, kit, per_answer=0.1))
    assert Counter(one.answer for one in stays) == {"yes": 25, "no": 26}


def test_kinds_and_sources_by_share(kit: Kit) -> None:
    traces = [
        trace(f"t{number}", bare(number), kind="single" if number % 10 else "direct", source="a" if number % 3 else "b")
        for number in range(300)
    ]
    verdicts = sift("balanced", traces, kit, per_kind={"single": 0.7})
    stays = kept(traces, verdicts)
    assert Counter(one.kind for one in stays) == {"single": 73, "direct": 30}
    assert {verdict.reason for verdict in verdicts if not verdict.ok} == {"too_many_per_kind"}
    verdicts = sift("balanced", traces, kit, per_source={"a": 0.5})
    assert Counter(one.example.source for one in kept(traces, verdicts)) == {"a": 101, "b": 100}
    assert {verdict.reason for verdict in verdicts if not verdict.ok} == {"too_many_per_source"}
    mixed = kept(traces, sift("balanced", traces, kit, per_kind={"single": 0.7, "direct": 0.3}, per_source={"a": 0.5}))
    assert max(Counter(one.example.source for one in mixed)["a"] / len(mixed) - 0.5, 0) <= 1 / len(mixed)
    assert max(Counter(one.kind for one in mixed)["single"] / len(mixed) - 0.7, 0) <= 1 / len(mixed)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 23])
def test_small_sets_keep_something(kit: Kit, count: int) -> None:
    traces = many(count, [bare(1), bare(2)], ["a", "b", "c"], ["single", "direct", "compare"])
    caps = {"per_answer": 0.2, "per_kind": {"single": 0.3, "direct": 0.3, "compare": 0.4}, "per_image": 2}
    stays = kept(traces, sift("balanced", traces, kit, **caps))
    assert len(stays) >= min(count, 2)
    if count == 1:
        assert len(stays) == 1


def test_the_draw_is_by_seed_and_id_whatever_the_order(kit: Kit) -> None:
    traces = many(200, [bare(n) for n in range(8)], ["a", "b"], ["single", "direct"])
    caps: dict[str, Any] = {"per_image": 9, "per_answer": 0.5, "per_kind": {"single": 0.6}}

    def ids(order: list[Trace], **more: Any) -> set[str]:
        return {one.id for one in kept(order, sift("balanced", order, kit, **caps, **more))}

    shuffled = random.Random(1).sample(traces, len(traces))
    assert ids(traces) == ids(shuffled) == ids(traces[::-1])
    assert ids(traces, seed=1) != ids(traces)
    first_come = {one.id for one in traces[: len(ids(traces))]}
    assert ids(traces) != first_come


def test_without_a_cap_all_stay(kit: Kit) -> None:
    traces = many(50, [bare(1)], ["a"], ["single"])
    assert all(verdict.ok for verdict in sift("balanced", traces, kit, per_image=None))
    assert sum(verdict.ok for verdict in sift("balanced", traces, kit)) == 10


def test_verdicts_come_in_order_and_none_is_lost_in_a_chain(kit: Kit, tmp_path: Path) -> None:
    """As the filter runs them: each check over what the one before let through."""
    media = [put(kit, picture(number)) for number in range(6)]
    traces = [
        trace(f"t{number}", media[number % 6], f"How many {THINGS[number % 15]} came?", "1") for number in range(60)
    ]
    folder = eval_folder(tmp_path / "eval", [0])
    left: list[Trace] = traces
    for name, options in (
        ("duplicate", {}),
        ("contaminated", {"sets": [str(folder)]}),
        ("balanced", {"per_image": 2}),
    ):
        verdicts = sift(name, iter(left), kit, **options)
        assert len(verdicts) == len(left)
        left = kept(left, verdicts)
    assert Counter(one.example.media[0].sha256 for one in left) == {one.sha256: 2 for one in media[1:]}


# ---------------------------------------------------------------------------------------------- all of them


TELLING = "How many cats lived beside the old stone bridge in the spring of 1907?"
PLANTED: list[tuple[str, str, dict[str, Any]]] = [
    ("duplicate", "same_question", {}),
    ("duplicate", "unreadable_picture", {}),
    ("contaminated", "image_in_evaluation_set", {}),
    ("contaminated", "question_in_evaluation_set", {}),
    ("contaminated", "unreadable_picture", {}),
    ("balanced", "too_many_per_image", {"per_image": 1}),
    ("balanced", "too_many_per_answer", {"per_answer": 1}),
    ("balanced", "too_many_per_kind", {"per_kind": {"single": 0.3}}),
    ("balanced", "too_many_per_source", {"per_source": {"drawn": 0.3}}),
]


@pytest.mark.parametrize(("name", "reason", "options"), PLANTED, ids=[f"{p[0]}-{p[1]}" for p in PLANTED])
def test_a_trace_trips_each_reason(kit: Kit, tmp_path: Path, name: str, reason: str, options: dict[str, Any]) -> None:
    """The second of three traces is the bad one."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "one.jpg").write_bytes(copy_of(picture(1)))
    rows = {"question": TELLING, "answer": "7", "image": "one.jpg"}
    (tmp_path / "set" / "rows.jsonl").write_text(json.dumps(rows) + "\n")
    if name == "contaminated":
        options = {"sets": [str(tmp_path / "set" / "rows.jsonl")]}
    pictures = {"image_in_evaluation_set": 1, "same_question": 5, "too_many_per_image": 5}
    media = put(kit, picture(pictures.get(reason, 6)))
    if reason == "unreadable_picture":
        media = media.model_copy(update={"sha256": "0" * 64})
    bad = trace("bad", media, {"question_in_evaluation_set": TELLING}.get(reason, "How many visitors came?"))
    others = {"too_many_per_kind": {"kind": "direct"}, "too_many_per_source": {"source": "other"}}.get(reason, {})
    answer = "42" if reason == "too_many_per_answer" else "43"
    first, last = put(kit, picture(5)), put(kit, picture(7))
    traces = [trace("first", first), bad, trace("last", last, "Which boat is red?", answer, **others)]
    told = {one.id: verdict.reason for one, verdict in zip(traces, sift(name, traces, kit, **options), strict=True)}
    if name == "balanced":  # a draw decides which of them goes
        assert reason in told.values()
    else:
        assert told == {"first": "", "bad": reason, "last": ""}


def test_every_reason_has_its_trace() -> None:
    """A reason code that no test trips is a claim that no one has seen."""
    found = {name: plugins.find("check", name) for name in plugins.names("check")}
    of_the_set = {name: one for name, one in found.items() if issubclass(one, SetCheck)}
    listed = {(name, reason) for name, one in of_the_set.items() for reason in one.reasons}
    assert {(name, reason) for name, reason, _ in PLANTED} == listed
