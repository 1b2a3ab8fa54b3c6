"""The verdict cache: what checks have said of a run's traces, in `verdicts.sqlite` beside them.

A verdict is kept under the digest of the trace's stored line and a key of everything else that it follows from: the
check's name and options, for a model's verdict who was asked with which prompt, and the code. So a second filter
judges nothing anew, a changed option judges that check alone, and a changed line is judged by all. What is kept can
always be computed again: delete the file, and it is (do so where pictures in the media folder have been touched).

A verdict is committed with its batch before the next one is written; a kill costs at most the batches under way. A
trace takes one row for each check, of a few dozen bytes.
"""

import functools
import hashlib
import json
import sqlite3
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import PIL

from dataforge import __version__
from dataforge.errors import UsageError
from dataforge.plugins import AskingCheck, Check, Teacher
from dataforge.prompts import Prompt
from dataforge.records import Verdict

T = TypeVar("T")

WAIT_S = 30
"""How long a write waits for a reader's lock."""

TABLES = """
CREATE TABLE IF NOT EXISTS checks (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS verdicts (
    trace BLOB NOT NULL, number INTEGER NOT NULL, verdict TEXT NOT NULL, PRIMARY KEY (trace, number)
) WITHOUT ROWID;
"""


def trace_key(line: bytes) -> bytes:
    """Digest of a stored line."""
    return hashlib.blake2b(line, digest_size=16).digest()


def check_key(check: Check, teacher: Teacher | None = None, prompt: Callable[[str], Prompt] | None = None) -> str:
    """Digest of what a check's verdict follows from beside the trace, less what its thresholds lay over it."""
    options: dict[str, Any] = check.model_dump(mode="json")
    asked: dict[str, Any] = {}
    if isinstance(check, AskingCheck):
        for name in (*check.thresholds, "teacher"):
            del options[name]
        asked["teacher"] = teacher and [teacher.name, teacher.identity()]
        asked["prompts"] = {name: prompt(name).fingerprint for name in check.prompts} if prompt else {}
    code = [__version__, PIL.__version__, _fingerprint_of_package(), _fingerprint_of(type(check).__module__)]
    text = json.dumps([check.name, options, asked, code], sort_keys=True, default=dict)
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _fingerprint_of_package() -> str:
    """Of the modules and operations that checks stand on: metrics, geometry, the dialects and so on."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(
        path for folder in (".", "operations", "answers", "alike") for path in package.joinpath(folder).glob("*.py")
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@functools.cache
def _fingerprint_of(module: str) -> str:
    path = getattr(sys.modules.get(module), "__file__", None)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""


def pack(verdict: Verdict) -> str:
    """A verdict as stored: its JSON, or nothing for a bare pass, which most are."""
    if verdict.ok and verdict.score is None and not verdict.detail:
        return ""
    return json.dumps(verdict.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"))


def unpack(text: str, check: Check) -> str:
    """A packed verdict's JSON, as it stands in a trace's line."""
    return text or _bare_pass(check.name)


@functools.cache
def _bare_pass(name: str) -> str:
    return f'{{"check":{json.dumps(name)},"ok":true,"reason":"","score":null,"detail":""}}'


class VerdictCache:
    """Packed verdicts by trace and check, in one file; UsageError when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = self._guarded(self._open)

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.executescript(TABLES)
        except BaseException:
            db.close()
            raise
        return db

    def number(self, key: str) -> int:
        """The short number under which a check's verdicts are kept."""

        def take() -> int:
            self._db.execute("INSERT OR IGNORE INTO checks (key) VALUES (?)", (key,))
            (number,) = self._db.execute("SELECT number FROM checks WHERE key = ?", (key,)).fetchone()
            return int(number)

        return self._guarded(take)

    def get(self, traces: Sequence[bytes]) -> list[dict[int, str]]:
        """For each trace all packed verdicts on it, by their check's number."""
        marks = ",".join("?" * len(traces))
        query = f"SELECT trace, number, verdict FROM verdicts WHERE trace IN ({marks})"
        held: dict[bytes, dict[int, str]] = {trace: {} for trace in traces}
        for trace, number, verdict in self._guarded(lambda: self._db.execute(query, traces).fetchall()):
            held[trace][number] = verdict
        return [held[trace] for trace in traces]

    def put(self, rows: Iterable[tuple[bytes, int, str]]) -> None:
        """Keep packed verdicts by (trace, number), all or none; committed on return."""

        def write() -> None:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?)", rows)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

        self._guarded(write)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except sqlite3.Error as error:
            fix = "free some space" if "full" in str(error) else "delete it, and the verdicts are made anew"
            raise UsageError(f"{self.path} cannot be used ({error}): {fix}") from None
