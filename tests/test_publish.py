"""Publishing into a folder: what is loaded is what was recorded, can be proven, and comes back as a run."""

import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dataforge import publish
from dataforge.episode import Episode, used
from dataforge.errors import UsageError
from dataforge.filter import sift
from dataforge.manifest import Push, parse
from dataforge.marks import Mark, write_mark
from dataforge.media import to_jpeg
from dataforge.operations.select_frames import SelectFrames
from dataforge.publish import features
from dataforge.publish.choosing import Entry, choose
from dataforge.publish.exporting import export
from dataforge.publish.places import Folder, entries
from dataforge.publish.record import RECORD, public_manifest, read_record
from dataforge.publish.shards import GROUP_BYTES, ShardWriter, weigh
from dataforge.publish.splits import Splits
from dataforge.records import Call, Example, Limits, Overview, Provenance, Step, Student, Trace, to_line
from dataforge.runs import Run
from tests import drawn_run

CHECKS = ("well_formed", "answer", "grounded", "replay")
TERMS = Push(splits={"train": 0.5, "validation": 0.5}, quality=80)


def filtered(folder: Path) -> Run:
    run = drawn_run.make(folder)
    sift(run, CHECKS)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return filtered(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def made(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of two splits: the drawn run has two pictures."""
    folder = tmp_path_factory.mktemp("set") / "drawn"
    publish.push([run], TERMS, Folder(folder))
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "drawn"))


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): weigh(path).sha256 for path in files}


def rows(folder: Path, config: str) -> list[dict[str, Any]]:
    paths = sorted((folder / "data" / config).glob("*.parquet"))
    return [row for path in paths for row in pyarrow.parquet.read_table(path).to_pylist()]


# ------------------------------------------------------------------------------------------------------ what is loaded


def test_the_set_loads_with_one_line_and_its_pictures_are_those_of_the_traces(made: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    loaded = load_dataset(str(made), cache_dir=str(tmp_path))
    assert set(loaded) == {"train", "validation"}
    for row in [row for split in loaded.values() for row in split]:
        shown = [part for message in row["messages"] for part in message["content"] if part["type"] == "image"]
        views = json.loads(row["trace"])["views"]
        assert len(shown) == len(row["images"]) >= 1
        assert row["images"][0].size == (views[0]["width"], views[0]["height"])
        assert [step["learn"] for step in row["steps"]][-1] == "both"
        assert row["answer"] == "42"
    queries = load_dataset(str(made), "queries", cache_dir=str(tmp_path))
    asked = {row["id"]: (row["kept"], row["reason"]) for split in queries.values() for row in split}
    assert asked["poster-1"] == (True, "")
    assert asked["poster-6"] == (False, "answer: wrong")
    media = load_dataset(str(made), "media", cache_dir=str(tmp_path))
    assert {row["image"].size for split in media.values() for row in split} == {drawn_run.SIZE}


def test_no_picture_is_in_two_splits_and_no_cell_names_a_path_of_this_machine(made: Path) -> None:
    of_split: dict[str, set[str]] = {}
    for path in sorted(made.glob("data/*/*.parquet")):
        for row in pyarrow.parquet.read_table(path).to_pylist():
            names = [row["sha256"]] if "sha256" in row else [one["sha256"] for one in row["media"]]
            of_split.setdefault(path.name.partition("-")[0], set()).update(names)
            for cell in [*(row.get("images") or []), *([row["image"]] if row.get("image") else [])]:
                assert "/" not in cell["path"]
                assert cell["bytes"]
    assert not of_split["train"] & of_split["validation"]


def test_nothing_of_this_machine_is_published(made: Path, run: Run) -> None:
    for path in made.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(run.folder).encode() not in content, path
            assert str(made.parent).encode() not in content, path


def test_the_same_run_gives_the_same_bytes(made: Path, run: Run, tmp_path: Path) -> None:
    publish.push([run], TERMS, Folder(tmp_path / "drawn"))
    assert hashes(tmp_path / "drawn") == hashes(made)


def test_how_it_is_published_does_not_change_what_a_run_is() -> None:
    plain = drawn_run.manifest()
    assert parse({"name": "drawn", "source": "infographics", "push": {"quality": 50}}, "") != plain
    for push in ({}, {"quality": 50, "to": "hub:me/x", "splits": {"all": 1}}):
        told = {
            "name": "drawn",
            "source": "infographics",
            "teacher": {"name": "openai_api", "model": "m"},
            "push": push,
        }
        assert parse(told, "").digest() == plain.digest()
    with pytest.raises(UsageError, match="share must be above 0"):
        parse({"name": "x", "source": "infographics", "push": {"splits": {"train": 0}}}, "here")


# ----------------------------------------------------------------------------------------------------------- the proof


def test_a_set_proves_itself(made: Path) -> None:
    findings = publish.verify(made)
    assert findings.ok, findings.told
    assert (findings.traces, findings.replayed, findings.queries, findings.media) == (6, 6, 7, 2)


def test_every_kind_of_tampering_is_found_although_the_hashes_of_files_are_put_right(copy: Path) -> None:
    def another_answer(row: dict[str, Any]) -> None:
        row["answer"] = "43"

    def another_thought(row: dict[str, Any]) -> None:
        row["messages"][-1]["content"][0]["text"] = "I made this up. \\boxed{42}"

    def another_image(row: dict[str, Any]) -> None:
        size = Image.open(io.BytesIO(row["images"][0]["bytes"])).size
        row["images"][0]["bytes"] = to_jpeg(Image.new("RGB", size, "#fdf6e3"), 80)

    def an_image_less(row: dict[str, Any]) -> None:
        row["images"].pop()

    def another_box(row: dict[str, Any]) -> None:
        trace = json.loads(row["trace"])
        trace["steps"][0]["call"]["arguments"]["bbox_2d"][0] += 40
        row["trace"] = json.dumps(trace)

    def broken(row: dict[str, Any]) -> None:
        row["trace"] = row["trace"][:-10]

    changes: dict[str, Callable[[dict[str, Any]], None]] = {
        "poster-0": another_image,
        "poster-1": another_answer,
        "poster-2": another_thought,
        "poster-3": an_image_less,
        "poster-4": another_box,
        "poster-5": broken,
    }
    rewrite(copy, "traces", changes)
    rewrite(copy, "queries", {"poster-5": lambda row: row.update(answers=["9"]), "poster-6": another_image})
    findings = publish.verify(copy)
    told = "\n".join(findings.told)
    for name, expected in {
        "poster-0": "image 1 isn't what the trace shows",
        "poster-1": "answer isn't what its record says",
        "poster-2": "messages isn't what its record says",
        "poster-3": "instead of 4",
        "poster-5": "Invalid JSON",
        "poster-5: answers": "isn't what its record says",
        "poster-6": "its pictures aren't the question's",
    }.items():
        assert [line for line in findings.told if name in line and expected in line], (name, told)
    assert sum(count for what, count in findings.faults.items() if what.startswith("replay: ")) == 1


def test_changed_sources_files_and_counts_are_found(copy: Path, tmp_path: Path) -> None:
    spoiled = rows(copy, "media")[0]["sha256"]
    rewrite(copy, "media", {spoiled: lambda row: row["image"].update(bytes=row["image"]["bytes"] + b"x")}, "sha256")
    findings = publish.verify(copy)
    assert findings.faults["media: media_changed"] == 1
    assert [line for line in findings.told if "missing_media" in line]

    record = read_record(copy)
    path = next(iter(record.files))
    (copy / path).write_bytes((copy / path).read_bytes() + b" ")
    (copy / "data" / "traces" / "extra-00000.parquet").write_bytes(b"")
    assert set(publish.verify(copy).faults) == {"file_changed", "unknown_file"}
    (copy / path).unlink()
    assert "missing_file" in publish.verify(copy).faults
    with pytest.raises(UsageError, match=r"no dataforge\.json"):
        publish.verify(tmp_path)


def test_a_picture_in_two_splits_and_an_id_that_comes_twice_are_found(copy: Path) -> None:
    train, other = (copy / "data" / "traces" / f"{split}-00000.parquet" for split in ("train", "validation"))
    table = pyarrow.parquet.read_table(train)
    both = pyarrow.concat_tables([pyarrow.parquet.read_table(other), table.slice(0, 1)])
    pyarrow.parquet.write_table(both, other)
    put_right(copy)
    findings = publish.verify(copy)
    assert findings.faults["repeated_id"] == 1
    assert findings.faults["torn_group"] >= 1
    assert findings.faults["count"] >= 1


def rewrite(folder: Path, config: str, changes: dict[str, Callable[[dict[str, Any]], None]], key: str = "id") -> None:
    """Change rows by their key, and let the record speak of the new files."""
    left = dict(changes)
    for path in sorted((folder / "data" / config).glob("*.parquet")):
        table = pyarrow.parquet.read_table(path)
        held = table.to_pylist()
        for row in held:
            if row[key] in left:
                left.pop(row[key])(row)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(held, schema=table.schema), path)
    assert not left
    put_right(folder)


def put_right(folder: Path) -> None:
    record = read_record(folder)
    files = {path: weigh(folder / path, shard.rows) for path, shard in record.files.items()}
    (folder / RECORD).write_text(to_line(record.model_copy(update={"files": files})))


# ------------------------------------------------------------------------------------------------------ what is refused


def test_what_is_not_filtered_or_may_not_be_passed_on_is_refused(tmp_path: Path) -> None:
    run = drawn_run.make(tmp_path / "runs")
    with pytest.raises(UsageError, match="isn't filtered: dataforge filter drawn-"):
        publish.push([run], TERMS, Folder(tmp_path / "set"))
    pushed = publish.push([run], TERMS, Folder(tmp_path / "set"), force=True)
    assert pushed.record.forced
    assert "**Unfiltered**" in (tmp_path / "set" / "README.md").read_text()
    assert not (tmp_path / "set" / ".key").exists()
    with pytest.raises(UsageError, match="holds a set already: give --append to add to it, or --replace"):
        publish.push([run], TERMS, Folder(tmp_path / "set"), force=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="holds something else"):
        publish.push([run], TERMS, Folder(tmp_path / "other"), force=True)


def test_pictures_that_may_not_be_passed_on_stay_here(run: Run, tmp_path: Path) -> None:
    source = {"name": "infographics", "path": "/data/InfographicVQA"}
    private = Run(run.folder, run.manifest.model_copy(update={"source": source}))
    for terms in (TERMS, TERMS.model_copy(update={"pictures": "views"})):
        with pytest.raises(UsageError, match="may not be passed on: give --reference-only"):
            publish.push([private], terms, Folder(tmp_path / "set"), force=True)
    publish.push([private], TERMS.model_copy(update={"pictures": "none"}), Folder(tmp_path / "set"))
    assert not list((tmp_path / "set").rglob("*.jpg"))
    assert not (tmp_path / "set" / "data" / "media").exists()
    assert {len(row["images"]) for row in rows(tmp_path / "set", "traces")} == {0}
    plain = publish.verify(tmp_path / "set")
    assert (plain.ok, plain.replayed) == (True, 0)
    proven = publish.verify(tmp_path / "set", originals=run.store.folder)
    assert (proven.ok, proven.replayed) == (True, 6)


def test_a_trace_that_does_not_replay_stays_out_or_the_card_says_so(run: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.folder, tmp_path / run.folder.name))
    lines = (folder / "kept.jsonl").read_text().splitlines()
    entry = json.loads(lines[1])
    entry["steps"][0]["observation"]["views"][0]["sha256"] = "0" * 64
    (folder / "kept.jsonl").write_text("\n".join([lines[0], json.dumps(entry), *lines[2:]]) + "\n")
    spoiled = Run.open(folder)
    record = publish.push([spoiled], TERMS, Folder(tmp_path / "set")).record
    assert record.left_out == {"replay: pixels": 1}
    assert "poster-1" not in {row["id"] for row in rows(tmp_path / "set", "traces")}
    assert publish.verify(tmp_path / "set").ok
    record = publish.push([spoiled], TERMS, Folder(tmp_path / "forced"), force=True).record
    assert record.unverified == {"replay: pixels": 1}
    assert "**Unverified**" in (tmp_path / "forced" / "README.md").read_text()
    assert publish.verify(tmp_path / "forced").faults == {"replay: pixels": 1}


def test_a_persons_word_holds(run: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.folder, tmp_path / run.folder.name))
    write_mark(folder, Mark(id="poster-1", mark="drop"))
    write_mark(folder, Mark(id="poster-7", mark="keep"))
    publish.push([Run.open(folder)], TERMS, Folder(tmp_path / "set"))
    assert {row["id"] for row in rows(tmp_path / "set", "traces")} == {f"poster-{n}" for n in (0, 2, 3, 4, 5, 7)}
    assert "poster-1" not in {row["id"] for row in rows(tmp_path / "set", "queries")}


# ------------------------------------------------------------------------------------ several runs, and more of it


def test_several_runs_go_out_with_their_shares(run: Run, tmp_path: Path) -> None:
    other = renamed(run, tmp_path, "other", range(4))
    terms = TERMS.model_copy(update={"shares": {"drawn": 0.25, "other": 0.75}})
    parts = choose([run, other], terms, seed=0)
    assert [part.taken for part in parts] == [1, 4]  # 0.25 of what 4 / 0.75 allows
    assert parts[0].left_out == {"over_its_share": 5}
    again = choose([run, other], terms, seed=0)
    assert [part.fates for part in again] == [part.fates for part in parts]
    with pytest.raises(UsageError, match="none is for drawn"):
        choose([run, other], TERMS.model_copy(update={"shares": {"other": 1}}), seed=0)
    record = publish.push([run, other], terms, Folder(tmp_path / "set")).record
    assert [(part.name, part.taken, part.share) for part in record.runs] == [
        (run.folder.name, 1, 0.25),
        (other.folder.name, 4, 0.75),
    ]
    assert publish.verify(tmp_path / "set").ok
    back = publish.pull(tmp_path / "set", tmp_path / "back")
    assert [trace.id for trace in back.traces()][1:] == [f"other-{n}" for n in range(4)]


def test_more_is_added_without_tearing_a_group_or_repeating_an_id(copy: Path, run: Run, tmp_path: Path) -> None:
    more = renamed(run, tmp_path, "more", range(6))
    before = {row["id"]: row["group"] for row in rows(copy, "traces")}
    pushed = publish.push([more, run], TERMS, Folder(copy), "append")
    assert pushed.record.left_out == {"repeated_id": 6}
    assert len(rows(copy, "traces")) == 12
    assert len(rows(copy, "media")) == 2  # the pictures were there already
    assert publish.verify(copy).ok
    assert before.items() <= {row["id"]: row["group"] for row in rows(copy, "traces")}.items()
    assert (copy / "data" / "traces" / "train-00001.parquet").exists()
    there = Folder(copy).look()
    assert there is not None
    held, media = entries(Folder(copy), there)
    assert len(media) == 2
    assert sum(entry.trace for entry in held) == 12
    with pytest.raises(UsageError, match="other pictures, encoding, quality or splits"):
        publish.push([more], TERMS.model_copy(update={"quality": 60}), Folder(copy), "append")
    with pytest.raises(UsageError, match="that the set doesn't hold already"):
        publish.push([more], TERMS, Folder(copy), "append")
    publish.push([run], TERMS, Folder(copy), "replace")
    assert len(rows(copy, "traces")) == 6
    assert not (copy / "data" / "traces" / "train-00001.parquet").exists()


def renamed(run: Run, folder: Path, name: str, which: range) -> Run:
    """A run of that manifest name whose traces have other ids on the same pictures."""
    copied = Path(shutil.copytree(run.folder, folder / f"{name}-000000"))
    (copied / "rejected.jsonl").write_text("")
    for file in ("kept.jsonl", "traces.jsonl"):
        lines = (run.folder / "kept.jsonl").read_text().replace("poster-", f"{name}-").splitlines(keepends=True)
        (copied / file).write_text("".join(lines[number] for number in which))
    (copied / "failed.jsonl").write_text("")
    return Run(copied, run.manifest.model_copy(update={"name": name}))


def test_a_pulled_set_is_the_run_again(made: Path, run: Run, tmp_path: Path) -> None:
    back = publish.pull(made, tmp_path / "runs")
    assert (back.folder / "kept.jsonl").read_bytes() == (run.folder / "kept.jsonl").read_bytes()
    assert back.folder.name == run.folder.name
    opened = Run.open(back.folder)
    assert sift(opened, CHECKS).kept == 6
    with pytest.raises(UsageError, match="is there already"):
        publish.pull(made, tmp_path / "runs")
    again = publish.push([opened], TERMS, Folder(tmp_path / "again")).record
    shards = [path for path in again.files if "queries" not in path and "media" not in path]
    assert len(rows(tmp_path / "again", "traces")) == 6
    assert shards


def test_a_set_with_a_hostile_name_in_its_media_leaves_nothing_outside(copy: Path, tmp_path: Path) -> None:
    first = rows(copy, "media")[0]["sha256"]
    rewrite(copy, "media", {first: lambda row: row.update(suffix="/../../../../evil.png")}, "sha256")
    assert publish.verify(copy).faults["media: bad_row"] == 1
    with pytest.raises(UsageError, match="fetch the set again"):
        publish.pull(copy, tmp_path / "runs")
    assert not list(tmp_path.rglob("evil*"))


def test_a_video_goes_out_as_frames_beside_its_file_and_comes_back(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from tests import clips

    with Run.start(tmp_path / "runs", drawn_run.manifest("clips")) as run:
        media = run.store.add_video(clips.write(tmp_path / "clip.mp4", 40), "CC0", "clip")
        asked = {"question": "Which number?", "answers": ("7",), "source": "clips", "media": (media,)}
        example = Example(id="clip", group="clip", **asked)
        operation, student = SelectFrames(max_pixels=28 * 28 * 64), Student(video=Overview(frames=4))
        episode = Episode(example, run.store, [operation], student, Limits())
        call = Call(name="select_frames", arguments={"target_frames": [2, 3]})
        look = Step(thought="Closer.", call=call, observation=episode.act(call))
        made = Provenance(version="0", manifest="0", operations=used([operation]), student=student)
        steps = (look, Step(thought="It is 7.", role="answer"))
        told = {"steps": steps, "answer": "7", "kind": "single", "provenance": made}
        run.append(Trace(id="clip", example=example, views=episode.opening, **told))
    sift(run, ("well_formed", "replay"))
    publish.push([run], TERMS, Folder(tmp_path / "set"))
    row, source = rows(tmp_path / "set", "traces")[0], rows(tmp_path / "set", "media")[0]
    assert len(row["images"]) == 6
    assert source["image"] is None
    assert weigh(run.store.path(media)).sha256 == source["sha256"] == hashlib.sha256(source["video"]).hexdigest()
    findings = publish.verify(tmp_path / "set")
    assert (findings.ok, findings.replayed) == (True, 1), findings.told
    back = publish.pull(tmp_path / "set", tmp_path / "back")
    assert (back.folder / "kept.jsonl").read_bytes() == (run.folder / "kept.jsonl").read_bytes()
    asked_of = export(back, "pixel_reasoner_rl", tmp_path / "rl")
    (query,) = pyarrow.parquet.read_table(asked_of.file).to_pylist()
    assert (len(query["image"]), query["is_video"]) == (4, True)
    told_as = json.loads(export(back, "pixel_reasoner_sft", tmp_path / "sft").file.read_text())[0]["message_list"]
    assert len(told_as[1]["content"][1]["video"]) == 4


# ---------------------------------------------------------------------------------------------------- the parts


def test_a_manifest_is_published_without_paths_and_addresses() -> None:
    told = {
        "name": "x",
        "source": {"name": "visual_cot", "path": "/home/me/secret/cot.jsonl", "images": "../pictures"},
        "teacher": {"name": "openai_api", "model": "org/model", "base_url": "http://10.0.0.7:8000/v1", "key_env": "K"},
        "filter": [
            {"name": "necessary", "teacher": {"name": "openai_api", "model": "m", "base_url": "http://inside/"}}
        ],
    }
    public = json.dumps(public_manifest(parse(told, "here")))
    for secret in ("secret", "/home", "..", "10.0.0.7", "inside", "key_env"):
        assert secret not in public
    assert "org/model" in public
    assert parse(json.loads(public), "published").source == {
        "name": "visual_cot",
        "path": "cot.jsonl",
        "images": "pictures",
    }


pictures = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("stuvwxyz"), pictures), min_size=1, max_size=12), st.randoms(), st.data())
def test_what_hangs_together_is_never_torn_whatever_the_order(lines: list[Any], random: Any, data: Any) -> None:
    def assigned(order: list[Any], before: list[Entry] = []) -> dict[str, str | None]:  # noqa: B006
        splits = Splits({"train": 0.6, "validation": 0.3, "test": 0.1}, seed=3)
        for entry in before:
            splits.tie(entry.source, entry.group, entry.pictures, entry.split)
        for group, shown in order:
            splits.tie("s", group, shown)
        return {group: splits.of("s", group) for group, _ in order}

    splits = assigned(lines)
    of_picture: dict[str, set[str | None]] = {}
    for group, shown in lines:
        for one in shown:
            of_picture.setdefault(one, set()).add(splits[group])
    assert all(len(found) == 1 for found in of_picture.values())
    shuffled = list(lines)
    random.shuffle(shuffled)
    assert assigned(shuffled) == splits
    part = lines[: data.draw(st.integers(0, len(lines)))]
    earlier = assigned(part) if part else {}
    before = [Entry("", "s", group, tuple(shown), str(earlier[group]), True) for group, shown in part]
    later = assigned(lines, before)
    assert {group: later[group] for group in earlier if later[group]}.items() <= earlier.items()


def test_row_groups_are_cut_by_bytes(tmp_path: Path) -> None:
    row = dict.fromkeys(features.schema("media", "tagged").names)
    writer = ShardWriter(tmp_path, "data/media/train", features.schema("media", "tagged"), 50_000_000)
    for number in range(20):
        writer.write({**row, "sha256": str(number), "image": {"bytes": bytes(6_000_000), "path": f"{number}.jpg"}})
    writer.close()
    assert [shard.rows for shard in writer.shards.values()] == [12, 8]
    for path in writer.shards:
        file = pyarrow.parquet.ParquetFile(tmp_path / path)
        for group in range(file.num_row_groups):
            assert file.metadata.row_group(group).total_byte_size <= GROUP_BYTES + 6_100_000
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_card_says_what_the_hub_and_people_ask(made: Path) -> None:
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(made / "README.md")
    assert card.data.license == "cc0-1.0"
    configs = {config["config_name"]: config for config in card.data["configs"]}
    assert configs["traces"]["default"] is True
    assert {one["config_name"] for one in card.data["dataset_info"]} == {"traces", "queries", "media"}
    text = card.text
    for part in ("Scripted thoughts", "answer: wrong", "locate: not_found", "bibtex", "dataforge verify", "CC0"):
        assert part in text
    assert "<script>" not in text
    for path in re.findall(r"\]\(((?:plots|samples)/[^)]+)\)", text):
        Image.open(made / path).verify()
    for name in ("kinds", "evidence", "rejected"):
        assert f"plots/{name}.png" in text


def test_a_foreign_record_leads_nowhere_else(copy: Path, tmp_path: Path) -> None:
    record = json.loads((copy / RECORD).read_text())
    for change in (
        {"files": {"data/traces/../../../../etc/passwd": next(iter(record["files"].values()))}},
        {"runs": [record["runs"][0] | {"name": "../../away"}]},
    ):
        (copy / RECORD).write_text(json.dumps(record | change))
        for command in (publish.verify, lambda folder: publish.pull(folder, tmp_path / "runs")):
            with pytest.raises(UsageError, match=r"dataforge\.json, field (files|runs)"):
                command(copy)
