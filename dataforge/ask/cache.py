"""What lies in the reply cache of a folder of runs, and what may go.

A cached reply is the proof of a payment and makes runs repeatable, so nothing goes by itself. There is no clock in it:
replies are chosen by model, by purpose, or because no run in the folder has used them (a trace names the digests of its
replies). A run that isn't finished may still need what no trace names yet; that is said, not guessed.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from dataforge.ask.replies import reply_digest
from dataforge.ask.request import Reply
from dataforge.errors import UsageError
from dataforge.runs import Run


class Held(NamedTuple):
    """Replies of one teacher for one purpose; `first` and `last` are their places in the order of storing."""

    teacher: str
    purpose: str
    replies: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    first: int
    last: int


class Choice(NamedTuple):
    """Which replies are meant: all that fit every criterion that is set."""

    model: str | None = None
    purpose: str | None = None
    unused: bool = False

    def __bool__(self) -> bool:
        return bool(self.model or self.purpose or self.unused)


def held(path: Path) -> list[Held]:
    """The cache's content by teacher and purpose; UsageError where there is no cache."""
    with closing(_opened(path)) as db:
        rows = db.execute(
            "SELECT teacher, purpose, count(*), sum(input_tokens), sum(output_tokens), sum(cost_usd),"
            " min(number), max(number) FROM replies GROUP BY teacher, purpose ORDER BY min(number)"
        )
        return [Held(*row) for row in rows]


def size_bytes(path: Path) -> int:
    """On disk, with what is not yet merged into the file."""
    return sum(part.stat().st_size for part in path.parent.glob(path.name + "*"))


def prune(path: Path, choice: Choice, dry_run: bool = False) -> int:
    """Delete the chosen replies and give their space back; returns how many are, or would be, gone."""
    if not choice:
        raise UsageError("nothing is chosen to go: give --model, --purpose or --unused")
    used = _used(path.parent) if choice.unused else set()
    with closing(_opened(path)) as db:
        gone = [number for number, reply in _chosen(db, choice) if not choice.unused or reply not in used]
        if gone and not dry_run:
            _delete(db, path, gone)
    return len(gone)


def _delete(db: sqlite3.Connection, path: Path, numbers: list[int]) -> None:
    try:
        with db:
            db.executemany("DELETE FROM replies WHERE number = ?", [(number,) for number in numbers])
        db.execute("VACUUM")
    except sqlite3.Error as error:
        raise UsageError(f"the reply cache {path} cannot be pruned ({error}): is a run using it?") from None


def _chosen(db: sqlite3.Connection, choice: Choice) -> Iterator[tuple[int, str]]:
    """Number and digest of each reply that fits model and purpose. A model is named as asked for, or as it answered."""
    where, values = ["1"], list[Any]()
    if choice.model:
        where.append("(teacher = ? OR teacher LIKE ? OR model = ?)")
        values += [choice.model, f"% {choice.model}", choice.model]
    if choice.purpose:
        where.append("purpose = ?")
        values.append(choice.purpose)
    for number, model, text in db.execute(
        f"SELECT number, model, text FROM replies WHERE {' AND '.join(where)}", values
    ):
        yield number, reply_digest(Reply(text, model)) if choice.unused else ""


def _used(runs: Path) -> set[str]:
    """Digests of all replies that a trace in one of these runs names."""
    used = set[str]()
    for folder in sorted({manifest.parent.resolve() for manifest in runs.glob("*/manifest.json")}):
        for trace in Run.open(folder).traces():
            used.update(trace.provenance.replies)
    return used


def _opened(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise UsageError(f"no reply cache {path}: a run with a teacher that costs something makes one")
    try:
        db = sqlite3.connect(path, timeout=5)
        db.execute("SELECT number, teacher, purpose, model, text, cost_usd FROM replies LIMIT 1")
    except sqlite3.Error as error:
        raise UsageError(f"the reply cache {path} cannot be read ({error})") from None
    return db
