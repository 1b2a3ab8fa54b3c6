"""Fingerprints: a set of pictures and questions as hashes alone, to keep its like out of training.

What a check is given may be a fingerprint file, a folder of pictures (with or without tables of questions in it), a
table, a run folder, a manifest, or a Hub data set: `read` turns each into the same stream. `make` writes that stream to
a file, so that a set is downloaded and decoded once, can be passed on where its pictures can't, and says in its first
line what it holds. Nothing is left out silently: what can't be read or compared comes as a Failure.
"""

import base64
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dataforge import manifest, plugins, reading
from dataforge.alike.likeness import PICTURE_HASH, VIDEO_HASH, Likeness, Likenesses
from dataforge.alike.wording import QUESTION_HASH, answer_hashes, shingles
from dataforge.errors import ExampleError, UsageError
from dataforge.media import MAX_BYTES, MediaStore
from dataforge.records import Example, Failure, Record, Scene, Trace, parse_line, read_lines, to_line
from dataforge.runs import make_folder, writing

PICTURES = frozenset(".jpg .jpeg .jpe .jfif .png .webp .gif .bmp .tif .tiff .avif .heic .heif .jp2 .ppm".split())
VIDEOS = frozenset(".mp4 .mkv .mov .avi .webm .m4v .mpg .mpeg .ts".split())
QUESTION_FIELDS = ("question", "text", "problem", "query", "instruction")
"""Columns that hold a question in the public sets; the first that a row has is taken."""
DEFAULT_SPLIT = "test"
BASE64_LEAST = 256
NOTHING = "nothing_to_compare"


class Fingerprint(Record):
    """One question with its pictures, a picture without a question, or a question without pictures."""

    id: str
    pictures: tuple[Likeness, ...] = ()
    question: tuple[int, ...] = Field(default=(), description="hashes of its words and pairs of words")
    answers: tuple[int, ...] = Field(default=(), description="hashes of the accepted answers, where known")


class Header(Record):
    """The first line of a fingerprint file."""

    fingerprints: Literal[1] = Field(default=1, description="version of the format")
    set: str
    picture_hash: str = PICTURE_HASH
    question_hash: str = QUESTION_HASH
    video_hash: str = Field(default="", description="'' in files of before videos had one: their bytes alone are known")
    pictures: int = Field(description="different ones")
    questions: int
    unreadable: int = Field(description="pictures and rows that could not be read, and are not in the file")
    first_unreadable: str = ""


def make(spec: str, out: Path) -> Header:
    """Write the fingerprints of a set to `out`, whole or not at all; its first line is the header returned.

    UsageError when the set can't be read or holds neither pictures nor questions.
    """
    body, whole = (out.with_name(f".{os.getpid()}-{out.name}.{part}") for part in ("body", "whole"))
    pictures: set[str] = set()
    questions, unreadable, first = 0, 0, ""
    make_folder(out.parent, "--out")
    try:
        with writing(out, "--out"), body.open("w", encoding="utf-8") as lines:
            for one in read(spec, Likenesses()):
                if isinstance(one, Failure):
                    unreadable, first = unreadable + 1, first or _told(one)
                else:
                    pictures.update(picture.sha256 for picture in one.pictures)
                    questions += bool(one.question)
                    lines.write(to_line(one))
        if not (pictures or questions):
            raise UsageError(f"set {spec} holds no picture and no question" + (f": {first}" if first else ""))
        header = Header(
            set=title(spec),
            video_hash=VIDEO_HASH,
            pictures=len(pictures),
            questions=questions,
            unreadable=unreadable,
            first_unreadable=first,
        )
        with writing(out, "--out"), whole.open("wb") as target, body.open("rb") as made:
            target.write(to_line(header).encode())
            shutil.copyfileobj(made, target)
        os.replace(whole, out)
    finally:
        body.unlink(missing_ok=True)
        whole.unlink(missing_ok=True)
    return header


def complete(spec: str, known: Likenesses) -> Iterator[Fingerprint]:
    """As `read`, for a check: UsageError at the first thing that can't be compared, or when there is nothing.

    A set with broken pictures is used by making a fingerprint file of it, which says how many they are.
    """
    empty = True
    for one in read(spec, known):
        if isinstance(one, Failure):
            raise UsageError(
                f"set {spec}: {_told(one)}. Mend it, or give the file that `dataforge fingerprint` makes of the set: "
                "that counts what it leaves out"
            )
        empty = False
        yield one
    if empty:
        raise UsageError(f"set {spec} holds no picture and no question: give another, or leave it out")


def _told(failure: Failure) -> str:
    return f"{failure.id}: {failure.reason}" + (f" ({failure.detail})" if failure.detail else "")


def title(spec: str) -> str:
    """A set's name, without the folders of this machine."""
    name = spec.removeprefix("hub:")
    return Path(name).resolve().name if os.path.exists(name) else spec


def read(spec: str, known: Likenesses) -> Iterator[Fingerprint | Failure]:
    """The fingerprints of a set, in a fixed order; a Failure for each thing in it that can't be compared.

    `spec` is a path, or `hub:repo`, `hub:repo:config`, `hub:repo@split`. UsageError when there is no such set.
    """
    if spec.startswith("hub:"):
        name, _, split = spec.removeprefix("hub:").partition("@")
        return _rows(reading.hub(name, split or DEFAULT_SPLIT), name, known, None)
    path = Path(spec)
    if path.is_dir():
        if (path / "manifest.json").is_file() and (path / "traces.jsonl").is_file():
            return _run(path, known)
        return _folder(path, known)
    if not path.is_file():
        known_forms = "a folder of pictures, a table, a run folder, a manifest, hub:repo@split"
        raise UsageError(f"no set {spec!r}: give {known_forms}, or a file made by `dataforge fingerprint`")
    if path.suffix.lower() in (".yaml", ".yml"):
        return _source(path, known)
    if _is_fingerprints(path):
        return _stored(path)
    return _rows(reading.table(path), path.name, known, path.parent)


def of_example(example: Example | Scene, name: str, store: MediaStore, known: Likenesses) -> Fingerprint:
    """The fingerprint of an example; ExampleError("media", reason) when a picture can't be opened."""
    pictures = tuple(known.of(media, store) for media in example.media)
    if isinstance(example, Scene):
        return Fingerprint(id=name, pictures=pictures)
    return Fingerprint(
        id=name, pictures=pictures, question=shingles(example.question), answers=answer_hashes(example.answers)
    )


# ------------------------------------------------------------------------------------------------- stored sets


def _is_fingerprints(path: Path) -> bool:
    with path.open("rb") as lines:
        return lines.read(16).startswith(b'{"fingerprints":')


def _stored(path: Path) -> Iterator[Fingerprint]:
    with path.open(encoding="utf-8") as lines:
        header = parse_line(lines.readline(), Header, f"{path.name} line 1")
        known = (header.picture_hash, header.question_hash, header.video_hash or VIDEO_HASH)
        if known != (PICTURE_HASH, QUESTION_HASH, VIDEO_HASH):
            raise UsageError(f"{path} was made by another version: run `dataforge fingerprint` again")
        questions = 0
        for number, line in enumerate(lines, start=2):
            one = parse_line(line, Fingerprint, f"{path.name} line {number}")
            questions += bool(one.question)
            yield one
    if questions != header.questions:
        raise UsageError(f"{path} holds {questions} of its {header.questions} questions: copy or make it again")


def _run(folder: Path, known: Likenesses) -> Iterator[Fingerprint | Failure]:
    """What a run kept; all its traces where it has not been filtered."""
    store = MediaStore(folder / "media")
    kept = folder / "kept.jsonl"
    for trace in read_lines(kept if kept.is_file() else folder / "traces.jsonl", Trace):
        try:
            yield of_example(trace.example, trace.id, store, known)
        except ExampleError as error:
            yield Failure(id=trace.id, stage=error.stage, reason=error.reason, detail=error.detail)


def _source(path: Path, known: Likenesses) -> Iterator[Fingerprint | Failure]:
    """What a manifest's source reads."""
    source: plugins.Source = plugins.build("source", manifest.load(path).source)
    if source.endless:
        raise UsageError(f"{path}: its source never ends: set its `count`")
    with tempfile.TemporaryDirectory() as folder:
        store = MediaStore(Path(folder))
        for row in source.read():
            try:
                yield row if isinstance(row, Failure) else of_example(source.example(row, store), row.id, store, known)
            except ExampleError as error:
                yield Failure(id=row.id, stage=error.stage, reason=error.reason, detail=error.detail)


# ------------------------------------------------------------------------------------------- folders and tables


def _folder(folder: Path, known: Likenesses) -> Iterator[Fingerprint | Failure]:
    """Every picture and video below a folder, and every question in the tables and JSON files between them."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        name, suffix = str(path.relative_to(folder)), path.suffix.lower()
        try:
            if suffix in VIDEOS:
                yield Fingerprint(id=name, pictures=(known.of_video(path),))
            elif suffix in reading.FORMATS:
                yield from _table(path, name, known)
            elif suffix in PICTURES or _starts_as_picture(path):
                yield Fingerprint(id=name, pictures=(_picture(_content(path), name, known),))
        except ExampleError as error:
            yield Failure(id=name, stage=error.stage, reason=error.reason, detail=error.detail)


def _table(path: Path, name: str, known: Likenesses) -> Iterator[Fingerprint | Failure]:
    """The rows of a table among pictures that have a picture or a question; in JSON they may lie at any depth."""
    entries: Iterator[reading.Entry]
    try:
        entries = _asking(reading.load_json(path)) if path.suffix.lower() == ".json" else reading.table(path)
        for one in _rows(entries, name, known, None):
            if not (isinstance(one, Failure) and one.reason == NOTHING):
                yield one
    except UsageError as error:
        yield Failure(id=name, stage="read", reason="bad_table", detail=str(error).removeprefix(f"{path}"))


def _asking(content: Any) -> Iterator[dict[str, Any]]:
    """The objects at any depth that have a question."""
    todo = [content]
    while todo:
        found = todo.pop()
        if isinstance(found, dict) and isinstance(found.get("question"), str):
            yield found
        elif isinstance(found, (dict, list)):
            todo.extend(reversed(list(found.values() if isinstance(found, dict) else found)))


def _rows(
    entries: Iterator[reading.Entry], name: str, known: Likenesses, base: Path | None
) -> Iterator[Fingerprint | Failure]:
    """Rows as fingerprints. Pictures named by file are looked for under `base`; without it the names are passed by."""
    for number, entry in enumerate(entries):
        here = f"{name} row {number}"
        try:
            if isinstance(entry, ExampleError):
                raise entry
            pictures = tuple(_picture(content, here, known) for content in _pictures(entry, base))
            asked = next((entry[field] for field in QUESTION_FIELDS if isinstance(entry.get(field), str)), "")
            if not (pictures or asked.strip()):
                raise ExampleError("read", NOTHING, f"no picture, and none of {', '.join(QUESTION_FIELDS)}")
            yield Fingerprint(id=here, pictures=pictures, question=shingles(asked) if asked.strip() else ())
        except ExampleError as error:
            yield Failure(id=here, stage=error.stage, reason=error.reason, detail=error.detail)


def _pictures(entry: dict[str, Any], base: Path | None) -> Iterator[bytes]:
    """The encoded pictures of a row: bytes, {bytes, path}, base64, or files under `base`; one or a list in a cell."""
    cells = [item for value in entry.values() for item in (value if isinstance(value, list) else [value])]
    for cell in cells:
        value = cell.get("bytes") or cell.get("path") if isinstance(cell, dict) else cell
        if isinstance(value, bytes):
            yield value
        elif isinstance(value, str) and Path(value[-8:]).suffix.lower() in PICTURES:
            if base is not None:
                inside = reading.relative(value, "picture")
                yield _content(reading.pick([base, base / "images"], inside))
        elif isinstance(value, str) and len(value) >= BASE64_LEAST and (content := _from_base64(value)):
            yield content


def _from_base64(text: str) -> bytes:
    """The picture in a string; nothing when it holds none."""
    coded = text.partition("base64,")[2] or text
    try:
        if reading.suffix(base64.b64decode(coded[:32], validate=True)) == ".bin":
            return b""
        return base64.b64decode(coded, validate=True)
    except ValueError:
        return b""


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ExampleError("media", "file_too_large", f"over {MAX_BYTES} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise ExampleError("media", "missing_media", path.name) from None
    except OSError as error:
        raise ExampleError("media", "unreadable_media", str(error.strerror)) from None


def _starts_as_picture(path: Path) -> bool:
    """A file without a picture's ending may be one: some sets have bare numbers for names."""
    with path.open("rb") as opened:
        return reading.suffix(opened.read(16)) != ".bin"


def _picture(content: bytes, name: str, known: Likenesses) -> Likeness:
    return known.of_bytes(content, hashlib.sha256(content).hexdigest(), name)
