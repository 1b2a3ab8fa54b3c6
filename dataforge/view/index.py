"""Index: what a page of a hundred thousand traces can be listed, filtered and searched by, without holding them.

One pass over the run's lines writes the few fields of each into an SQLite file in the run folder, with the place of the
line, so that a trace is read when it is looked at. The pass runs in a thread of its own and what it has done so far can
be asked for. A finished index is used again as long as the run's files are the same.
"""

import bisect
import contextlib
import itertools
import json
import os
import sqlite3
import tempfile
import threading
import time
from array import array
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dataforge.runs import Run
from dataforge.view.lines import FAILED, FILES, Entry, Place, are_judged, entries_of, seem_judged, stamp
from dataforge.view.query import Query, joined

FORMAT = 1
"""Raised when an index of the version before can no longer be used."""
FIRST_BATCH, BATCH = 60, 500
ASIDE_S = 0.5
"""The longest that one batch waits for a page."""
REMEMBERED = 8
"""Filtered lists that are held: eight bytes a trace each."""
INSERT = f"INSERT INTO entries VALUES ({','.join('?' * 11)})"
FIELDS = "row, file, offset, size, id, kind, source, verdict, reasons, answer_type, question"
SHAPE = """
CREATE TABLE entries (row INTEGER PRIMARY KEY, file INTEGER, offset INTEGER, size INTEGER, id TEXT, kind TEXT,
  source TEXT, verdict TEXT, reasons TEXT, answer_type TEXT, question TEXT);
CREATE TABLE texts (row INTEGER PRIMARY KEY, text TEXT);
CREATE TABLE state (stamp TEXT, facets TEXT);
"""


@dataclass
class Progress:
    """How far the pass has come."""

    bytes_done: int = 0
    bytes_all: int = 0
    entries: int = 0
    finished: bool = False
    took_s: float = 0.0
    error: str = ""


@dataclass
class Facets:
    """What there is to filter by, with counts."""

    counts: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def see(self, entry: Entry) -> None:
        for name in ("kind", "source", "verdict"):
            if value := getattr(entry, name):
                self.counts[name][value] += 1
        self.counts["reason"].update(entry.reasons)

    def values(self, name: str) -> list[tuple[str, int]]:
        return self.counts[name].copy().most_common()


class Index:
    """The index of a run's lines as they are now; `begin` reads them unless a finished index lies there."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.stamp = stamp(run.folder)
        # filter's two files hold the same traces again, so these two say about how much there is to read
        sizes = {name: size for name, _, size, _ in self.stamp}
        self.progress = Progress(bytes_all=sizes.get("traces.jsonl", 0) + sizes.get("failed.jsonl", 0))
        self.facets = Facets()
        self._lock = threading.Lock()
        self._lists: OrderedDict[tuple[object, ...], array[int]] = OrderedDict()
        self._traces = 0
        self._stop = threading.Event()
        self._free = threading.Event()
        self._free.set()
        self._thread: threading.Thread | None = None
        self._kept = run.folder / ".view.sqlite"
        self._path = self._kept
        self._reader = self._found() or self._empty()

    def _found(self) -> sqlite3.Connection | None:
        """The finished index in the run folder, if it is of these very files."""
        if not self._kept.exists():
            return None
        try:
            reader = sqlite3.connect(self._kept, check_same_thread=False)
            stored, facets = reader.execute("SELECT stamp, facets FROM state").fetchone()
            if stored != self._signature():
                return None
            for name, counts in json.loads(facets).items():
                self.facets.counts[name].update(counts)
            self.progress.entries = reader.execute("SELECT count(*) FROM entries").fetchone()[0]
        except (sqlite3.Error, TypeError, ValueError):
            return None  # broken or of another version: it is made again
        self.progress.finished = True
        return reader

    def _empty(self) -> sqlite3.Connection:
        self._path = _working_path(self.run.folder)
        self._path.unlink(missing_ok=True)
        connection = sqlite3.connect(self._path, check_same_thread=False, timeout=30)
        connection.executescript(SHAPE)
        return connection

    def _signature(self) -> str:
        return json.dumps([FORMAT, self.stamp])

    def begin(self) -> None:
        """Read the run in a thread, unless a finished index was found."""
        if not self.progress.finished:
            self._thread = threading.Thread(target=self._pass, name="index", daemon=True)
            self._thread.start()

    def wait(self, entries: int, timeout_s: float) -> None:
        """Wait until so many entries can be listed, or all that there are."""
        until = time.monotonic() + timeout_s
        while not self.progress.finished and self.progress.entries < entries and time.monotonic() < until:
            time.sleep(0.01)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """The pass stands aside, for a moment, while a page is made: a person waits for that."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def close(self) -> None:
        """Stop reading; an unfinished index is removed."""
        self._stop.set()
        if self._thread:
            self._thread.join()
        with self._lock:
            self._reader.close()
        if self._path != self._kept:
            self._path.unlink(missing_ok=True)
        if self._path.parent != self._kept.parent:
            self._path.parent.rmdir()

    # ---------------------------------------------------------------------------------------------------- the pass

    def _pass(self) -> None:
        began = time.monotonic()
        try:
            self._fill()
        except (OSError, sqlite3.Error) as error:
            self.progress.error = f"the index could not be made: {error}"
        self.progress.took_s = time.monotonic() - began
        self.progress.finished = not self._stop.is_set()

    def _fill(self) -> None:
        """Write entries in batches, each seen by readers as a whole; then give the file its lasting name."""
        with contextlib.closing(sqlite3.connect(self._path, timeout=30)) as writer:
            writer.execute("PRAGMA synchronous = OFF")  # a broken index is made again
            writer.execute("PRAGMA journal_mode = MEMORY")
            if seem_judged(self.run.folder):
                self._read(writer, True)
                if not are_judged(self.run, self._traces) and not self._stop.is_set():
                    self._clear(writer)
                    self._read(writer, False)
            else:
                self._read(writer, are_judged(self.run))
            if self._stop.is_set():
                return
            with writer:
                writer.execute("CREATE INDEX by_id ON entries (id)")
                writer.execute("INSERT INTO state VALUES (?, ?)", (self._signature(), json.dumps(self.facets.counts)))
        with contextlib.suppress(OSError):  # a folder that can't be written is indexed anew each time
            if self._path.parent == self._kept.parent:
                os.replace(self._path, self._kept)
                self._path = self._kept

    def _read(self, writer: sqlite3.Connection, judged: bool) -> None:
        for batch in _batches(entries_of(self.run, judged)):
            self._free.wait(ASIDE_S)
            if self._stop.is_set():
                return
            with writer:
                writer.executemany(INSERT, (_stored(entry) for entry, _ in batch))
                writer.executemany("INSERT INTO texts VALUES (?, ?)", ((entry.row, text) for entry, text in batch))
            self._count(batch)

    def _clear(self, writer: sqlite3.Connection) -> None:
        """Forget what was read: filter's files turned out to be older than the traces."""
        with self._lock, writer:
            writer.execute("DELETE FROM entries")
            writer.execute("DELETE FROM texts")
            self._lists.clear()
            self.facets = Facets()
            self._traces = self.progress.entries = self.progress.bytes_done = 0

    def _count(self, batch: Sequence[tuple[Entry, str]]) -> None:
        for entry, _ in batch:
            self.facets.see(entry)
            self.progress.bytes_done += entry.place.size
            self._traces += entry.place.file != FAILED
        self.progress.entries += len(batch)

    # ------------------------------------------------------------------------------------------------------- asking

    def rows(self, query: Query, marked: Collection[str] = ()) -> "array[int]":
        """The rows that a query asks for, in order; `marked` are the ids that its `mark` is about."""
        key = (query, tuple(marked) if query.mark else (), self.progress.entries)
        with self._lock:
            if key in self._lists:
                self._lists.move_to_end(key)
                return self._lists[key]
            where, values = query.conditions(marked)
            found = array("Q", (row for (row,) in self._reader.execute(f"SELECT row FROM entries {where}", values)))
            self._lists[key] = found
            while len(self._lists) > REMEMBERED:
                self._lists.popitem(last=False)
            return found

    def entries(self, rows: Sequence[int]) -> list[Entry]:
        """The entries in these rows."""
        asked = f"SELECT {FIELDS} FROM entries WHERE row IN (SELECT value FROM json_each(?)) ORDER BY row"
        with self._lock:
            found = self._reader.execute(asked, (json.dumps(list(rows)),)).fetchall()
        return [_entry(one) for one in found]

    def find(self, trace_id: str) -> Entry | None:
        """The first entry with that id."""
        with self._lock:
            asked = f"SELECT {FIELDS} FROM entries WHERE id = ? ORDER BY row LIMIT 1"
            found = self._reader.execute(asked, (trace_id,)).fetchone()
        return _entry(found) if found else None

    def line(self, entry: Entry) -> bytes:
        """The stored line of an entry; what lies at its place now, should the file have been replaced."""
        try:
            with (self.run.folder / FILES[entry.place.file]).open("rb") as lines:
                lines.seek(entry.place.offset)
                return lines.read(entry.place.size)
        except OSError:
            return b""


def position(rows: "array[int]", row: int) -> int | None:
    """Where a row stands in a list of rows."""
    at = bisect.bisect_left(rows, row)
    return at if at < len(rows) and rows[at] == row else None


def _entry(found: tuple[int, int, int, int, str, str, str, str, str, str, str]) -> Entry:
    row, file, offset, size, trace_id, kind, source, verdict, reasons, answer_type, question = found
    place, named = Place(file, offset, size), tuple(filter(None, reasons.split("\n")))
    return Entry(row, place, trace_id, kind, source, verdict, named, answer_type, question)


def _stored(entry: Entry) -> tuple[int | str, ...]:
    named = (entry.id, entry.kind, entry.source, entry.verdict, joined(entry.reasons), entry.answer_type)
    return (entry.row, *entry.place, *named, entry.question)


def _batches(entries: Iterator[tuple[Entry, str]]) -> Iterator[list[tuple[Entry, str]]]:
    """A small one first: the first page should not wait for a large one."""
    size = FIRST_BATCH
    while batch := list(itertools.islice(entries, size)):
        yield batch
        size = BATCH


def _working_path(folder: Path) -> Path:
    """Where an index is made: in the run folder, if that can be written."""
    if not os.access(folder, os.W_OK):
        return Path(tempfile.mkdtemp(prefix="dataforge-view-")) / "view.sqlite"
    for left in folder.glob(".view-*.sqlite"):  # of a server that was killed
        with contextlib.suppress(OSError, ValueError):
            if not _alive(int(left.stem.partition("-")[2])):
                left.unlink()
    return folder / f".view-{os.getpid()}.sqlite"


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
