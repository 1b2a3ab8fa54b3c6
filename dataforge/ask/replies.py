"""The reply cache: what teachers have answered, in one sqlite file that all runs share.

A reply costs money and differs from call to call, so it is committed before anyone acts on it, and from then on it
*is* the answer to its request: a killed run asks nothing twice, and the same manifest gives the same bytes. The key is
a digest of what shapes a reply (the teacher's options, the messages with pictures named by hash, the schema). Neither
pictures nor keys nor the annotation's truth are stored. Several processes may share the file: it is in WAL mode, and
the first reply stored for a key stays.

Writing is done in groups and in a thread: what comes in while one group is written is the next one, so a slow disk
makes groups larger and never holds up the calls in flight.
"""

import asyncio
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from dataforge.ask.request import Message, Picture, Reply, Request
from dataforge.errors import UsageError
from dataforge.plugins import Teacher
from dataforge.runs import make_folder

T = TypeVar("T")

LAYOUT = 2
"""Of the table below; stored as the file's user_version."""

GATHER_S = 0.005
"""How long a group gathers before it is written."""

WAIT_S = 30
"""How long a write waits for another process's write."""

TABLE = """
CREATE TABLE IF NOT EXISTS replies (
    number        INTEGER PRIMARY KEY,
    key           TEXT NOT NULL UNIQUE,
    teacher       TEXT NOT NULL,
    purpose       TEXT NOT NULL,
    pictures      INTEGER NOT NULL,
    characters    INTEGER NOT NULL,
    model         TEXT NOT NULL,
    text          TEXT NOT NULL,
    finish        TEXT NOT NULL,
    input_tokens  INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_usd      REAL NOT NULL,
    scale         REAL NOT NULL DEFAULT 1
)
"""

COLUMNS = ("text", "model", "input_tokens", "output_tokens", "cost_usd", "finish", "scale")
"""Of a reply, in the order of its fields."""


class Asked(NamedTuple):
    """What the cache keeps of a request, for people who look into it: who was asked what kind of thing, how long."""

    teacher: str
    purpose: str
    pictures: int
    characters: int


def summarise(teacher: Teacher, request: Request) -> Asked:
    """The request in four words, without its text."""
    parts = [part for message in request.messages for part in message.parts]
    return Asked(
        teacher=teacher.title,
        purpose=request.purpose,
        pictures=sum(isinstance(part, Picture) for part in parts),
        characters=sum(len(part) for part in parts if isinstance(part, str)),
    )


def request_key(teacher: Teacher, request: Request) -> str:
    """64 hex digits that are equal when the same teacher is asked the same thing."""
    messages = [_asked(message) for message in request.messages]
    asked: dict[str, Any] = {
        "teacher": teacher.name,
        "options": teacher.identity(),
        "purpose": request.purpose,
        "messages": messages,
        "schema": request.schema,
    }
    # left out where there is none, so that the keys of all replies stored before they were known still hold
    if request.sample:
        asked["sample"] = request.sample
    if request.tools:
        asked["tools"] = request.tools
    return _digest(asked)


def _asked(message: Message) -> list[Any]:
    parts = [{"sha256": part.sha256} if isinstance(part, Picture) else part for part in message.parts]
    call = [{"call": message.call.model_dump(mode="json")}] if message.call else []
    return [message.role, *parts, *call, *([{"call_id": message.call_id}] if message.call_id else [])]


def reply_digest(reply: Reply) -> str:
    """16 hex digits of a reply's text and model, for a trace's provenance."""
    return _digest([reply.model, reply.text])[:16]


def _digest(value: Mapping[str, Any] | list[str]) -> str:
    # ascii, so that even half a surrogate pair in a text has bytes to hash
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class _Kept(NamedTuple):
    """A reply on its way into the file."""

    key: str
    asked: Asked
    reply: Reply
    stored: asyncio.Future[Reply]


def _add_scale(db: sqlite3.Connection) -> None:
    """Layout 1 had no scale; another process may just have added it."""
    try:
        db.execute("ALTER TABLE replies ADD COLUMN scale REAL NOT NULL DEFAULT 1")
    except sqlite3.OperationalError as error:
        if "duplicate column" not in str(error):
            raise


class ReplyCache:
    """Replies by request key, in one file; UsageError when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        make_folder(path.parent)
        self._queue: list[_Kept] = []
        self._group: list[_Kept] = []
        self._writer: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._db = self._guarded(self._open_in_turn)

    def _open_in_turn(self) -> sqlite3.Connection:
        """Opened when nobody else is just making it: a switch to WAL does not wait for a lock as writes do."""
        until = time.monotonic() + WAIT_S
        while True:
            try:
                return self._open()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def _open(self) -> sqlite3.Connection:
        # used from the thread that writes too, one at a time
        db = sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
        try:
            # WAL and NORMAL: a commit survives kill -9 at 60 microseconds each; a power cut may lose the last few
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            (layout,) = db.execute("PRAGMA user_version").fetchone()
            if layout not in (0, 1, LAYOUT):
                raise UsageError(f"{self.path} was written by another version of dataforge: move it away")
            db.execute(TABLE)
            if layout == 1:
                _add_scale(db)
            db.execute("SELECT number, key, scale FROM replies LIMIT 1")
            db.execute(f"PRAGMA user_version={LAYOUT}")
        except BaseException:
            db.close()
            raise
        return db

    def get(self, key: str) -> Reply | None:
        """The reply stored for the key, or None."""

        def read() -> Any:
            with self._lock:
                return self._db.execute(f"SELECT {', '.join(COLUMNS)} FROM replies WHERE key = ?", (key,)).fetchone()

        row = self._guarded(read)
        return None if row is None else Reply(*row)

    def put(self, key: str, asked: Asked, reply: Reply) -> Reply:
        """Store a reply, committed on return; what comes back is the reply that the key has from now on.

        It is another one where another process was faster: the first stays, so that all runs agree.
        """
        return self._put_all([(key, asked, reply)])[0]

    async def keep(self, key: str, asked: Asked, reply: Reply) -> Reply:
        """`put`, for many at once: committed on return, in a group with others and off the event loop.

        A reply whose caller is cancelled meanwhile is stored all the same.
        """
        stored: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._queue.append(_Kept(key, asked, reply, stored))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_groups())
        return await stored

    async def _write_groups(self) -> None:
        while self._queue:
            await asyncio.sleep(GATHER_S)
            group = self._group = self._queue
            self._queue = []
            if not group:
                return  # closed meanwhile
            try:
                replies = await asyncio.to_thread(self._put_all, [kept[:3] for kept in group])
            except UsageError as error:
                outcomes: Sequence[Reply | UsageError] = [error] * len(group)
            else:
                outcomes = replies
            self._group = []
            for kept, outcome in zip(group, outcomes, strict=True):
                if kept.stored.done():
                    continue  # cancelled
                if isinstance(outcome, UsageError):
                    kept.stored.set_exception(outcome)
                else:
                    kept.stored.set_result(outcome)

    def _put_all(self, group: Sequence[tuple[str, Asked, Reply]]) -> list[Reply]:
        """Store replies in one transaction; what each key has from then on."""
        rows = [(key, *asked, *reply[: len(COLUMNS)]) for key, asked, reply in group]
        holes = ", ".join("?" * len(rows[0]))
        columns = f"key, teacher, purpose, pictures, characters, {', '.join(COLUMNS)}"

        def write() -> int:
            with self._lock:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    new = self._db.executemany(f"INSERT OR IGNORE INTO replies ({columns}) VALUES ({holes})", rows)
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
                return new.rowcount

        if self._guarded(write) == len(group):
            return [reply for _, _, reply in group]
        return [self.get(key) or reply for key, _, reply in group]

    def close(self) -> None:
        """Close the file; what `keep` has taken and not yet written is written first."""
        try:
            # the group under way too, whose thread may not have begun; a reply that is there already stays
            if left := [kept[:3] for kept in (*self._group, *self._queue)]:
                self._put_all(left)
            self._queue = []
        finally:
            with self._lock:
                self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except sqlite3.Error as error:
            raise UsageError(_complaint(self.path, str(error))) from None


FIXES = (
    ("not a database", "it is damaged: move it away, and its replies are asked again"),
    ("malformed", "it is damaged: move it away, and its replies are asked again"),
    ("no such column", "it was written by another version of dataforge: move it away"),
    ("full", "free some space and run again; replies stored so far are kept"),
    ("locked", f"another process has held it for {WAIT_S} s: wait for it or end it"),
    ("locking protocol", "its file system cannot lock: put the run folder on a local disk"),
    ("readonly", "make it and its folder writable, or choose another run folder"),
    ("unable to open", "make its folder writable, or choose another run folder"),
    ("disk i/o", "check the disk's space and limits, or put the run folder on another local disk"),
)
"""What sqlite says, and what a person can do about it."""


def _complaint(path: Path, said: str) -> str:
    fix = next((fix for words, fix in FIXES if words in said.lower()), "move it away or choose another run folder")
    return f"the reply cache {path} cannot be used ({said}): {fix}"
