"""The run folder: everything a run leaves behind, written so that a kill at any moment loses nothing.

Lines are appended whole, in the source's order: to go on means to skip what is there. A line torn by a kill is cut off
when the folder is opened again. One process at a time holds the folder.

Where an example had to wait (its failure is made again, the budget was reached, its batch isn't back), later ones are
written before it. The file `.unordered` says so from before that happens until `sort` has put the lines into the
source's order, which makes them the lines of an unbroken run.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from dataforge.errors import UsageError
from dataforge.manifest import CHECK_PROMPTS, Manifest, parse
from dataforge.media import MediaStore
from dataforge.ordering import REPEATED, Shuffled
from dataforge.records import Failure, Record, Trace, read_lines, to_line


class Run:
    """An open run folder. Use as a context manager; `close` gives the folder free."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.store = MediaStore(folder / "media")
        self._lock: int | None = None
        self._fresh = False
        self._latest_before: str | None = None

    @property
    def traces_path(self) -> Path:
        return self.folder / "traces.jsonl"

    @property
    def failed_path(self) -> Path:
        return self.folder / "failed.jsonl"

    @classmethod
    def start(cls, runs: Path, manifest: Manifest) -> Self:
        """Make or continue the folder of this manifest under `runs`, and hold it."""
        digest = manifest.digest()
        run = cls(runs / f"{manifest.name}-{digest[:6]}", manifest)
        with writing(run.folder):
            run._fresh = not run.folder.exists()
        make_folder(run.folder)
        with writing(run.folder):
            run._hold()
            try:
                run._agree(digest)
                run._latest_before = latest_name(runs)
                point_latest(runs, run.folder)
            except BaseException:
                run.close()
                raise
        return run

    @classmethod
    def open(cls, folder: Path, hold: bool = False) -> Self:
        """An existing run folder, its manifest read from it; `hold` it to write."""
        path = folder / "manifest.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(f"{folder} is no run folder: it has no manifest.json") from None
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: {error}") from None
        content.pop("digest", None)
        run = cls(folder, parse(content, str(path)))
        if hold:
            with writing(folder):
                run._hold()
        return run

    def _hold(self) -> None:
        self._lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = None
            raise UsageError(
                f"{self.folder} is being written by another process: wait for it, or change --seed"
            ) from None
        for path in (self.traces_path, self.failed_path):
            cut_torn_line(path)

    def _agree(self, digest: str) -> None:
        """Write the manifest, or see that the one there shapes the same traces."""
        path = self.folder / "manifest.json"
        if path.exists():
            try:
                stored = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                raise UsageError(f"{path} is broken: move the folder away and run again") from None
            if stored.get("digest") != digest:
                changed = self._changed_keys(stored)
                raise UsageError(f"{self.folder} belongs to another manifest (differs in {changed}): use another name")
        content = self.manifest.model_dump(mode="json", by_alias=True) | {"digest": digest}
        write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def _changed_keys(self, stored: dict[str, Any]) -> str:
        ours = self.manifest.model_dump(mode="json", by_alias=True)
        return ", ".join(sorted(key for key in ours if stored.get(key) != ours[key])) or "a plug-in's defaults"

    def judge_by(self, manifest: Manifest) -> None:
        """Take another manifest's checks, with the prompts that they ask with, as the run's own from now on.

        They are beside the digest: what has been made stays what it is.
        """
        asking = {name: text for name, text in manifest.prompts.items() if name in CHECK_PROMPTS}
        changes = {"filter": manifest.filter, "prompts": self.manifest.prompts | asking}
        self.manifest = self.manifest.model_copy(update=changes)
        path = self.folder / "manifest.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        content |= self.manifest.model_dump(mode="json", by_alias=True, include=set(changes))
        write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def undo_start(self) -> None:
        """Take a folder that `start` made away again, and `latest` back, if nothing was finished or paid for in it."""
        made = (self.traces_path, self.failed_path, self.folder / "spent.jsonl", *self.folder.glob("batches/*"))
        if not self._fresh or any(path.exists() and path.stat().st_size for path in made):
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        runs = self.folder.parent
        if self._latest_before is not None and (runs / self._latest_before).is_dir():
            point_latest(runs, runs / self._latest_before)
        elif latest_name(runs) == self.folder.name:
            (runs / "latest").unlink()

    # ------------------------------------------------------------------ lines

    def append(self, record: Trace | Failure) -> None:
        """Add one finished example."""
        append_line(self.traces_path if isinstance(record, Trace) else self.failed_path, record)

    def traces(self) -> Iterator[Trace]:
        return read_lines(self.traces_path, Trace)

    def failures(self) -> Iterator[Failure]:
        return read_lines(self.failed_path, Failure)

    def finished(self) -> tuple[set[str], Counter[str]]:
        """Ids of the examples that are done; and of rows that repeat an id, how often each was turned away."""
        done, repeated = set[str](), Counter[str]()
        for path in (self.traces_path, self.failed_path):
            if path.exists():
                with path.open(encoding="utf-8") as lines:
                    for line in lines:
                        entry = json.loads(line)
                        if entry.get("reason") == REPEATED:
                            repeated[entry["id"]] += 1
                        else:
                            done.add(entry["id"])
        return done, repeated

    # ------------------------------------------------------------------ lines out of order

    @property
    def _unordered(self) -> Path:
        return self.folder / ".unordered"

    def disorder(self) -> None:
        """Say, before a line is written out of the source's order, that lines will have to be sorted."""
        with writing(self._unordered):
            self._unordered.touch()

    def drop_failures(self, wanted: Callable[[Failure], bool]) -> int:
        """Take these failures out, so that their examples are made again; returns how many."""
        dropped = sum(wanted(failure) for failure in self.failures())
        if dropped:
            self.disorder()
            write_lines(self.failed_path, (failure for failure in self.failures() if not wanted(failure)))
        return dropped

    def sort(self, ids: Iterable[str]) -> None:
        """Put the lines into the order of the source's ids, where they may not be in it.

        Each file is replaced whole or not at all, and holds the same lines before and after, so a kill costs nothing.
        Lines of examples that the source doesn't have go last. Only offsets are held in memory.
        """
        if not self._unordered.exists():
            return
        traces, failures = Shuffled(self.traces_path), Shuffled(self.failed_path)
        gaps, seen = False, set[str]()
        for name in ids:
            if not traces.left and not failures.left:
                break
            first = name not in seen
            seen.add(name)
            gaps |= not (first and traces.pick(name)) and not failures.pick(name, repeated=not first)
        for lines in (traces, failures):
            with writing(lines.path):
                lines.write()
        if not gaps:  # else what fills them will be written after lines that come later in the source
            self._unordered.unlink()


def append_line(path: Path, record: Record) -> None:
    """Append one record as one line, in one write."""
    append_text(path, to_line(record))


def append_text(path: Path, text: str) -> None:
    """Append a whole line, in one write."""
    with writing(path):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            line = text.encode()
            while line:  # a nearly full disk takes a part: what is left then raises
                line = line[os.write(handle, line) :]
        finally:
            os.close(handle)


def write_lines(path: Path, records: Iterable[Record]) -> int:
    """Replace a JSONL file by these records, whole or not at all; returns their number."""
    count = 0
    temporary = path.with_suffix(".tmp")
    with writing(path):
        with temporary.open("w", encoding="utf-8") as lines:
            for record in records:
                lines.write(to_line(record))
                count += 1
        os.replace(temporary, path)
    return count


def write_whole(path: Path, text: str, option: str = "--runs") -> None:
    """Replace a file, whole or not at all; the option is what names another place for it."""
    temporary = path.with_name(path.name + ".tmp")
    with writing(path, option):
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)


def cut_torn_line(path: Path) -> None:
    """Drop what follows the last newline: a line that a kill cut short."""
    if not path.exists():
        return
    with path.open("rb+") as lines:
        size = lines.seek(0, os.SEEK_END)
        end = size
        while end:
            start = max(0, end - 65536)
            lines.seek(start)
            block = lines.read(end - start)
            if (at := block.rfind(b"\n")) >= 0:
                end = start + at + 1
                break
            end = start
        if end < size:
            lines.truncate(end)


def point_latest(runs: Path, folder: Path) -> None:
    """Make runs/latest point to the folder."""
    temporary = runs / f".latest-{os.getpid()}"
    with contextlib.suppress(OSError):  # a file system without links does without `latest`
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name)
        os.replace(temporary, runs / "latest")


def latest_name(runs: Path) -> str | None:
    """The name of the folder that runs/latest points to; None where there is no such link."""
    link = runs / "latest"
    return os.readlink(link) if link.is_symlink() else None


def find_run(runs: Path, name: str) -> Path:
    """A run by folder, by name under `runs`, or `latest`."""
    for folder in (Path(name), runs / name):
        if (folder / "manifest.json").is_file():
            return folder.resolve()
    have = sorted(path.parent.name for path in runs.glob("*/manifest.json") if path.parent.name != "latest")
    raise UsageError(f"no run {name!r} in {runs}: " + (f"there are {', '.join(have)}" if have else "run synth first"))


def make_folder(path: Path, option: str = "--runs") -> None:
    """Make a folder and those above it; UsageError, with the option that names another, where there can be none."""
    with writing(path, option):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:  # a part of /proc, say
            raise FileNotFoundError(error.errno, error.strerror, str(path)) from None


@contextlib.contextmanager
def writing(path: Path, option: str = "--runs") -> Iterator[None]:
    """Turn what the disk says of a path, or of what lies in it or beside it, into a line for the person."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UsageError(
                f"the disk with {path} is full: free some space and run again; all that is finished is kept"
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UsageError(f"no permission to write {path}: choose another folder with {option}") from None
        no_place = error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
        if no_place or (error.errno == errno.ENOENT and _is_near(error.filename, path)):
            raise UsageError(f"{path}: {error.strerror}; choose another folder with {option}") from None
        raise


def _is_near(name: object, path: Path) -> bool:
    """Whether a file is the path, in it or beside it: a file that is missing elsewhere is a bug of ours."""
    return isinstance(name, str) and Path(name).parent in (path, path.parent)
