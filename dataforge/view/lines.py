"""Lines: a run's stored lines as the list shows them, each with the place where it lies.

Only the few fields that a list needs are taken out of a line, and a line that can't be read is listed as such: looking
is how people find out what is wrong with a run.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from dataforge.report import count_lines, judged_by
from dataforge.runs import Run

FILES = ("traces.jsonl", "kept.jsonl", "rejected.jsonl", "failed.jsonl")
TRACES, KEPT, REJECTED, FAILED = range(4)
QUESTION_SHOWN = 160
"""Characters of a question in the list."""

Stamp = tuple[tuple[str, int, int, int], ...]


class Place(NamedTuple):
    """Where a line lies: index into FILES, first byte, bytes."""

    file: int
    offset: int
    size: int


@dataclass(frozen=True)
class Entry:
    """One line of a run in the list: a trace, or a row that became none."""

    row: int
    place: Place
    id: str
    kind: str = ""
    source: str = ""
    verdict: str = "failed"
    reasons: tuple[str, ...] = ()
    answer_type: str = ""
    question: str = ""


def stamp(folder: Path) -> Stamp:
    """What tells the run's files now from those of another time: name, inode, bytes, time of change."""
    found = []
    for name in FILES:
        path = folder / name
        if path.exists():
            now = path.stat()
            found.append((name, now.st_ino, now.st_size, now.st_mtime_ns))
    return tuple(found)


def seem_judged(folder: Path) -> bool:
    """Whether filter's files are younger than the traces: a guess that costs no reading of all lines."""
    traces, kept = folder / FILES[TRACES], folder / FILES[KEPT]
    return kept.exists() and traces.exists() and kept.stat().st_mtime_ns >= traces.stat().st_mtime_ns


def are_judged(run: Run, entries: int | None = None) -> bool:
    """Whether filter has judged every stored trace; `entries` of its files, where they have been counted."""
    if entries is None:
        return judged_by(run) == "filter"
    return entries == count_lines(run.traces_path)


def entries_of(run: Run, judged: bool) -> Iterator[tuple[Entry, str]]:
    """Every line of the run with its text to search in: traces, out of filter's files if `judged`, then failures."""
    row = itertools.count()
    for file in (KEPT, REJECTED, FAILED) if judged else (TRACES, FAILED):
        for place, line in _lines(run.folder / FILES[file], file):
            yield _entry(next(row), place, line)


def _lines(path: Path, file: int) -> Iterator[tuple[Place, bytes]]:
    """The whole lines of a file; a last one without its end is still being written, or torn."""
    if not path.exists():
        return
    offset = 0
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield Place(file, offset, len(line)), line
            offset += len(line)


def _entry(row: int, place: Place, line: bytes) -> tuple[Entry, str]:
    try:
        content = from_json(line)
        return _failure(row, place, content) if place.file == FAILED else _trace(row, place, content)
    except (ValueError, KeyError, TypeError, AttributeError):
        name = f"{FILES[place.file]} at byte {place.offset}"
        return Entry(row, place, name, reasons=("view: unreadable_line",)), name.casefold()


def _failure(row: int, place: Place, content: dict[str, str]) -> tuple[Entry, str]:
    reason = f"{content['stage']}: {content['reason']}"
    entry = Entry(row, place, str(content["id"]), reasons=(reason,), question=content["detail"][:QUESTION_SHOWN])
    return entry, "\n".join((entry.id, reason, content["detail"])).casefold()


def _trace(row: int, place: Place, content: dict[str, Any]) -> tuple[Entry, str]:
    example = content["example"]
    reasons = tuple(f"{one['check']}: {one['reason']}" for one in content["verdicts"] if not one["ok"])
    kept = not reasons if place.file == TRACES else place.file == KEPT
    entry = Entry(
        row,
        place,
        str(content["id"]),
        str(content["kind"]),
        str(example["source"]),
        "kept" if kept else "rejected",
        reasons,
        str(example["answer_type"]),
        example["question"][:QUESTION_SHOWN],
    )
    said = [step["thought"] for step in content["steps"]]
    parts = [entry.id, example["question"], *example["answers"], *example["choices"], content["answer"], *said]
    return entry, "\n".join(parts).casefold()
