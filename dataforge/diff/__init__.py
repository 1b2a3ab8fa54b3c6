"""Diff: what a changed prompt, teacher or threshold did, from two run folders alone.

The traces of both runs are met by id. Of the first run only the place of each line is held, and a line is read when its
fellow of the second run comes by, so two runs of any size are compared in the memory of a few traces and a table of
ids. Verdicts are those that hold (filter's where it has judged everything), and every change has examples with texts.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

from dataforge.diff.counting import Change, Counting, Diff, Flip, Outcome, Pair, Shift
from dataforge.diff.tables import render
from dataforge.errors import UsageError
from dataforge.records import Failure, Trace, parse_line
from dataforge.report import Report, judged_by
from dataforge.report.counting import Counting as Numbers
from dataforge.runs import Run

__all__ = ["Change", "Diff", "Flip", "Pair", "Shift", "compare", "render"]


class _Side:
    """The lines of one run, in order and by id. What is read is counted, so that no line is parsed twice."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.judged_by = judged_by(run)
        self._numbers, self._read = Numbers(), 0
        files = ("kept.jsonl", "rejected.jsonl") if self.judged_by == "filter" else ("traces.jsonl",)
        self.paths = [run.folder / name for name in (*files, "failed.jsonl") if (run.folder / name).exists()]

    def lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Index of the file, first byte, the line; a last one without its end was torn by a kill."""
        for number, path in enumerate(self.paths):
            offset = 0
            with path.open("rb") as lines:
                for line in lines:
                    if line.endswith(b"\n"):
                        yield number, offset, line
                    offset += len(line)

    def places(self) -> dict[str, tuple[int, int]]:
        """Where the line of each id lies."""
        return {_id(line, self.paths[number]): (number, offset) for number, offset, line in self.lines()}

    def read(self, number: int, line: bytes) -> tuple[Outcome, Trace | Failure]:
        """The record of a line, and how it ended."""
        path = self.paths[number]
        text = line.decode("utf-8", "replace")
        self._read += 1
        if path.name == "failed.jsonl":
            failure = parse_line(text, Failure, str(path))
            self._numbers.see_failure(failure)
            return "failed", failure
        trace = parse_line(text, Trace, str(path))
        kept = path.name == "kept.jsonl" or (path.name == "traces.jsonl" and trace.ok)
        self._numbers.see(trace, kept)
        return ("kept" if kept else "rejected"), trace

    def read_at(self, files: Sequence[BinaryIO], place: tuple[int, int]) -> tuple[Outcome, Trace | Failure]:
        """The record at a place, out of the opened paths."""
        number, offset = place
        files[number].seek(offset)
        return self.read(number, files[number].readline())

    def report(self) -> Report:
        """The run in numbers, when all of its lines have been read."""
        return self._numbers.report(self.run, self.judged_by, self._read)


def _id(line: bytes, path: Path) -> str:
    try:
        return str(from_json(line)["id"])
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path}: a line without an id") from None


def compare(run_a: Run, run_b: Run) -> Diff:
    """What differs between two runs; UsageError where a stored line doesn't fit."""
    a, b, counting = _Side(run_a), _Side(run_b), Counting()
    places = a.places()
    total_a, in_both, only_b = len(places), 0, 0
    with ExitStack() as stack:
        files: list[BinaryIO] = [stack.enter_context(path.open("rb")) for path in a.paths]
        for number, _, line in b.lines():
            theirs = b.read(number, line)
            place = places.pop(theirs[1].id, None)
            if place is None:
                only_b += 1
                continue
            in_both += 1
            counting.see(a.read_at(files, place), theirs)
        for place in places.values():  # counted in the first run's report
            a.read_at(files, place)
    return Diff(
        run_a=run_a.folder.name,
        run_b=run_b.folder.name,
        manifest=_changes(run_a, run_b),
        report_a=a.report(),
        report_b=b.report(),
        in_both=in_both,
        only_a=total_a - in_both,
        only_b=only_b,
        **counting.made(),
    )


def _changes(run_a: Run, run_b: Run) -> tuple[Change, ...]:
    """The keys in which the manifests differ, plug-ins' options by their own names."""
    a, b = (dict(_flat(run.manifest.model_dump(mode="json", by_alias=True))) for run in (run_a, run_b))
    keys = sorted(a.keys() | b.keys())
    return tuple(Change(key=key, a=a.get(key), b=b.get(key)) for key in keys if a.get(key) != b.get(key))


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Leaves by dotted key; a plug-in in a list goes by its name, since its place says nothing."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _flat(part, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        for number, part in enumerate(value):
            name = part.get("name", number) if isinstance(part, Mapping) else part
            yield from _flat(part, f"{key}.{name}")
    else:
        yield key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
