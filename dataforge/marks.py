"""Marks: what a person said of single traces, kept in the run folder beside them.

`marks.jsonl` is only ever appended to, one whole line a mark, and the last line of an id holds: a kill loses at most
the mark that was just being written, and an older mind can be read back. No verdict is changed by a mark; filter and
push read the marks and act on them.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from dataforge.records import Record, read_lines
from dataforge.runs import append_line, cut_torn_line

MARKS_FILE = "marks.jsonl"
CHECK = "marked"
DROPPED = "dropped_by_hand"
"""The check and the reason code that a trace marked `drop` is rejected with."""

MarkValue = Literal["keep", "drop", "none"]


class Mark(Record):
    """A person's word on one trace: keep it whatever the verdicts say, drop it, or neither; and a note."""

    id: str = Field(min_length=1, description="of the trace")
    mark: MarkValue
    note: str = Field(default="", max_length=4000)


def read_marks(folder: Path) -> dict[str, Mark]:
    """The marks that hold, by trace id; UsageError where a line doesn't fit. A mark taken back is left out."""
    marks = {mark.id: mark for mark in read_lines(folder / MARKS_FILE, Mark)}
    return {trace_id: mark for trace_id, mark in marks.items() if mark.mark != "none" or mark.note}


def write_mark(folder: Path, mark: Mark) -> None:
    """Append one mark; a line that an earlier kill tore is cut off first, so that it can't spoil this one."""
    cut_torn_line(folder / MARKS_FILE)
    append_line(folder / MARKS_FILE, mark)
