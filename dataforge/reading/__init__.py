"""Reading rows: what the sources share between a file and an Example.

A table, whatever its format, comes as a stream of *entries*: plain dicts in file order, or the ExampleError that says
why one could not be read. `rows` turns the stream into Rows and Failures one for one, so that what was read equals what
became of it. A file that can't be read at all is a UsageError; one broken line is not.
"""

import base64
import codecs
import csv
import hashlib
import itertools
import json
import math
import os.path
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeAlias

from dataforge.errors import ExampleError, UsageError
from dataforge.media import MediaStore
from dataforge.plugins import Row
from dataforge.records import Failure, Media

Entry: TypeAlias = dict[str, Any] | ExampleError

FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")

SIGNATURES = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"RIFF", ".webp"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
)


def rows(
    name: str,
    entries: Iterator[Entry],
    make: Callable[[int, dict[str, Any]], Row],
    start: int = 0,
    count: int | None = None,
) -> Iterator[Row | Failure]:
    """Entries `start` to `start + count` as Rows, each spoiled one as a Failure with its place in the file.

    `make(number, entry)` raises ExampleError for an entry that is no use. Numbers count from 0 over all entries.
    """
    seen: set[str] = set()
    stop = None if count is None else start + count
    for number, entry in itertools.islice(enumerate(entries), start, stop):
        try:
            if isinstance(entry, ExampleError):
                raise entry
            row = make(number, entry)
            if row.id in seen:
                # a run knows what is finished by id: a second one would vanish from the counts
                raise ExampleError("read", "duplicate_id", row.id)
        except ExampleError as error:
            detail = error.detail.encode("utf-8", "backslashreplace").decode()
            yield Failure(id=f"{name}-row-{number}", stage=error.stage, reason=error.reason, detail=detail)
        else:
            seen.add(row.id)
            yield row


def drawn_rows(name: str, each: int, start: int = 0, count: int | None = None) -> Iterator[Row]:
    """Rows `start` to `start + count` of what is drawn, `each` questions a drawing; without `count` they never end.

    A row's content is the number of its question; its group, `name` and the number of the drawing, is its seed.
    """
    for number in itertools.islice(itertools.count(start), count):
        drawing, question = divmod(number, each)
        group = f"{name}-{drawing:06d}"
        yield Row(f"{group}-{question}", group, question)


def seed_of(group: str) -> int:
    """A drawing's own seed: the group names split, seed and number, so no two splits share a drawing."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8])


# ---------------------------------------------------------------------------------------------- files and the Hub


def table(path: Path, inside: str = "") -> Iterator[Entry]:
    """The entries of a JSONL, JSON, CSV, TSV or parquet file; UsageError when it can't be read.

    All but JSON are streamed. `inside` is the dotted path of the list in a JSON file that is not a list itself.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"{path}: a table ends in one of {', '.join(FORMATS)}")
    try:
        if suffix == ".json":
            yield from _json(path, inside)
        elif suffix == ".parquet":
            yield from _parquet(path)
        elif suffix in (".csv", ".tsv"):
            # a broken byte becomes a lone surrogate, which `text` refuses: one row lost and counted
            with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
                yield from _csv(lines, "," if suffix == ".csv" else "\t")
        else:
            with path.open("rb") as lines:
                yield from _jsonl(lines)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None


def _jsonl(lines: IO[bytes]) -> Iterator[Entry]:
    for number, line in enumerate(lines, start=1):
        content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if not content.strip():
            continue
        try:
            yield _object(json.loads(content.decode("utf-8")), f"line {number}")
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", None) or str(error)
            yield ExampleError("read", "bad_json", f"line {number}: {reason}")


def _object(content: Any, where: str) -> Entry:
    if isinstance(content, dict):
        return content
    return ExampleError("read", "bad_row", f"{where}: {type(content).__name__}, not an object")


def _json(path: Path, inside: str) -> Iterator[Entry]:
    content = load_json(path)
    found = at(content, inside) if inside else content
    if not isinstance(found, list):
        raise UsageError(f"{path}: {inside or 'the file'} is {type(found).__name__}, not a list of rows")
    for number, item in enumerate(found, start=1):
        yield _object(item, f"item {number}")


def _csv(lines: IO[str], delimiter: str) -> Iterator[Entry]:
    # a picture in base64 is far over the 128 KB that csv allows a cell
    csv.field_size_limit(2**31 - 1)
    # strict, or one open quote swallows the rest of the file into one cell
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
    while True:
        try:
            entry = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield ExampleError("read", "bad_csv", f"line {reader.line_num}: {error}")
            continue
        if None in entry:
            yield ExampleError("read", "bad_row", f"line {reader.line_num}: more cells than columns")
        else:
            yield dict(entry)


def _parquet(path: Path) -> Iterator[Entry]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=32):
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise UsageError(f"{path}: {str(error).splitlines()[0]}") from None


def load_json(path: Path) -> Any:
    """The content of a whole JSON file; UsageError names the file when it can't be read."""
    try:
        return json.loads(path.read_bytes().removeprefix(codecs.BOM_UTF8).decode("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from None


def hub(name: str, split: str) -> Iterator[Entry]:
    """The entries of a Hub data set `repo` or `repo:config`, streamed, its pictures as {bytes, path}.

    A folder or a file on this machine may stand for the repository. UsageError when it can't be reached.
    """
    if os.path.isfile(name):
        yield from table(Path(name))
        return
    local = os.path.isdir(name)
    repository, _, config = (name, "", "") if local else name.partition(":")
    with _distant(f"{name} split {split}"):
        import datasets

        found = datasets.load_dataset(repository, config or None, split=split, streaming=True)
        yield from found.decode(False) if found.features else found


@contextmanager
def _distant(what: str) -> Iterator[None]:
    """Between here and the Hub nearly anything is raised; to the person it's all one: it can't be read."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"{what} needs {error.name}: pip install {error.name}") from None
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise UsageError(f"{what}: {lines[0]}") from None


# --------------------------------------------------------------------------------------------------------- fields


def at(entry: Any, field: str) -> Any:
    """The value of a field, by its name or by a dotted path into nested ones; None when it isn't there."""
    if isinstance(entry, dict) and field in entry:
        return entry[field]
    for part in field.split("."):
        if isinstance(entry, dict):
            entry = entry.get(part)
        elif isinstance(entry, list) and part.isdecimal() and int(part) < len(entry):
            entry = entry[int(part)]
        else:
            return None
    return entry


def text(entry: dict[str, Any], field: str) -> str:
    """A field that must hold words or a number, stripped; ExampleError("read", "bad_row") names it otherwise."""
    value = _words(at(entry, field), field)
    if not value:
        raise ExampleError("read", "bad_row", f"{field} is missing")
    return value


def texts(value: Any, field: str) -> tuple[str, ...]:
    """One string or a list of them, less the blank ones; repeats stay, since VQA accuracy counts votes."""
    items = value if isinstance(value, (list, tuple)) else [value]
    return tuple(words for words in (_words(item, field) for item in items) if words)


def answers(value: Any, field: str) -> tuple[str, ...]:
    """As `texts`, and ExampleError("read", "no_answer") when there is none."""
    found = texts(value, field)
    if not found:
        raise ExampleError("read", "no_answer", f"{field} is empty")
    return found


def _words(value: Any, field: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ExampleError("read", "bad_row", f"{field} is {type(value).__name__}, not words")
    words = str(value).strip()
    try:
        words.encode("utf-8")
    except UnicodeEncodeError:
        raise ExampleError("read", "bad_row", f"{field} is not valid Unicode") from None
    return words


# ------------------------------------------------------------------------------------------------------- pictures


def relative(name: str, field: str) -> str:
    """A file name that stays inside its folder; ExampleError("read", "bad_row") for one that climbs out."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ExampleError("read", "bad_row", f"{field} {name!r} leads out of its folder")
    return name


def pick(folders: Sequence[Path], name: str) -> Path:
    """The file in the first folder that has it; its path in the first folder when none has."""
    paths = [folder / name for folder in folders]
    # os.path.isfile answers False for a name that no file can have, where Path.is_file raises
    return next((path for path in paths if os.path.isfile(path)), paths[0])


def put(store: MediaStore, picture: Path | bytes, licence: str, origin: str) -> Media:
    """A picture, as a file or as encoded bytes, into the store."""
    if isinstance(picture, Path):
        return store.add_file(picture, licence, origin)
    return store.add_bytes(picture, suffix(picture), licence, origin)


def encoded(value: Any, field: str) -> bytes:
    """A picture out of a cell: its bytes, {bytes, path} as the Hub has it, or base64, with or without a data: head."""
    value = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(value, str):
        try:
            value = base64.b64decode(value.partition("base64,")[2] or value, validate=True)
        except ValueError:
            raise ExampleError("read", "bad_row", f"{field} is not base64") from None
    if not isinstance(value, bytes) or not value:
        raise ExampleError("read", "bad_row", f"{field} holds no bytes")
    return value


def suffix(content: bytes) -> str:
    """The file name ending of an encoded picture, by its first bytes; ".bin" where they say nothing."""
    return next((ending for start, ending in SIGNATURES if content.startswith(start)), ".bin")


def fingerprint(content: bytes) -> str:
    """Sixteen hex digits that group the questions on one picture when it has no name."""
    return hashlib.sha256(content).hexdigest()[:16]
