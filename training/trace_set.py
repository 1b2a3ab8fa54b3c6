"""The traces to train on: found by name, as a set that knows what it holds, any one of them by its place in the file.

The set is kept.jsonl where the run has been filtered, else what the checks of `validate` passed. Traces stay on disk;
what is held of each is where its line begins.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dataforge import plugins
from dataforge.errors import UsageError
from dataforge.media import MediaStore
from dataforge.plugins import Operation
from dataforge.records import Student, Trace, Used, parse_line
from dataforge.runs import Run, find_run
from training.recut import fits, recut


@dataclass(frozen=True)
class TraceSet:
    """Traces of one student, by place."""

    path: Path
    media: Path
    student: Student
    used: tuple[Used, ...]
    """Every operation that a trace of the set was made with: the student is always told of all of them."""
    starts: tuple[int, ...]
    """Where each trace's line begins, in bytes."""
    left_out: Counter[str]
    """Reasons for which lines of the file are not in the set."""
    digest: str
    """Of the file's bytes."""
    made_for: Student
    """Where it isn't `student`, the traces are cut anew."""

    def for_student(self, changes: dict[str, Any]) -> TraceSet:
        """The same traces for the student that differs in these values; UsageError for one that isn't known."""
        try:
            student = Student.model_validate(self.student.model_dump() | changes)
        except ValidationError as error:
            raise UsageError(f"recipe: student: {plugins.explain(error, Student)}") from None
        return replace(self, student=student)

    def __len__(self) -> int:
        return len(self.starts)

    def trace(self, place: int) -> Trace:
        """The trace at a place of the set; ExampleError where it can't be cut for the student."""
        with self.path.open("rb") as lines:
            lines.seek(self.starts[place])
            trace = parse_line(lines.readline().decode("utf-8"), Trace, self.path.name)
        return self.cut(trace)

    def cut(self, trace: Trace) -> Trace:
        """A trace of the run as this set's student sees it; ExampleError as `recut`."""
        return trace if fits(self.made_for, self.student) else recut(trace, self.store, self.student)

    @cached_property
    def operations(self) -> list[Operation]:
        return [plugins.build("operation", {"name": used.name, **used.options}) for used in self.used]

    @cached_property
    def store(self) -> MediaStore:
        return MediaStore(self.media)


def find(what: str, runs: Path) -> Run:
    """The run that a name stands for: a run's folder or name, a published set, or a Pixel Reasoner release.

    A set, `hub:ORG/NAME` or its folder, and a release.json become run folders the first time, but not under a launcher
    of several processes; UsageError where it is none of these.
    """
    from dataforge import publish
    from dataforge.publish.record import RECORD, read_record, runs_name

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # processes that run side by side would all unpack it
        return Run.open(find_run(runs, what))
    if what.endswith(".json"):
        from dataforge.publish import importing

        return importing.import_release(Path(what), None, None, importing.Terms(), runs, lambda done: None).run
    if not (what.startswith("hub:") or (Path(what) / RECORD).is_file()):
        return Run.open(find_run(runs, what))
    folder = publish.find_place(what).fetch()
    record = read_record(folder)
    pulled = runs / runs_name(record.title, [run.name for run in record.runs])
    return Run.open(pulled) if (pulled / "manifest.json").is_file() else publish.pull(folder, runs)


def open_set(run: Run) -> TraceSet:
    """The traces of a run to train on; UsageError where a line doesn't fit the schema, or none is left."""
    filtered = run.folder / "kept.jsonl"
    path = filtered if filtered.exists() else run.traces_path
    if not path.exists():
        raise UsageError(f"{run.folder} holds no traces: run synth first")
    starts, used, left_out = list[int](), dict[str, Used](), Counter[str]()
    digest = hashlib.sha256()
    with path.open("rb") as lines:
        at = 0
        for number, line in enumerate(lines, start=1):
            digest.update(line)
            trace = parse_line(line.decode("utf-8", "replace"), Trace, f"{path} line {number}")
            if trace.ok:
                starts.append(at)
                used |= {one.name: one for one in trace.provenance.operations if one.name not in used}
            else:
                left_out["rejected"] += 1
            at += len(line)
    if not starts:
        raise UsageError(f"{path} holds no trace that its checks keep")
    operations = tuple(used[name] for name in sorted(used))
    student = run.manifest.student
    return TraceSet(
        path, run.store.folder, student, operations, tuple(starts), left_out, digest.hexdigest()[:12], student
    )
