"""Where a set goes: a folder, or a data set repository of the Hub.

Both say what lies there already, and take a finished set whole: a folder is put in place at the end, the Hub gets one
commit. The Hub is spoken to by `huggingface_hub`, which finds the token by itself; here it is never held, and what an
error says is told without it.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from dataforge.errors import UsageError
from dataforge.publish.choosing import Entry
from dataforge.publish.record import RECORD, Published, place, read_record
from dataforge.runs import make_folder, writing

AGAIN = "run the same command again"
UPLOAD_AGAIN = f"{AGAIN}; what has been uploaded isn't sent twice"
PARTS = ("data", "plots", "samples")
"""Folders of a set; nothing else is ever deleted."""


@dataclass(frozen=True)
class There:
    """What lies at a place: a set, or other things, or nothing."""

    record: Published | None
    empty: bool
    public: bool = False
    commit: str = ""


class Place(Protocol):
    """Where a set can be put and fetched from."""

    title: str
    loads: str
    """What people give to load_dataset."""

    def look(self) -> There | None:
        """What is there; None where the place itself isn't."""

    def open(self, path: str, there: There) -> IO[bytes]:
        """A file of the set that is there."""

    def put(self, built: Path, record: Published, there: There | None, public: bool, replace: bool) -> str:
        """Put a built set there, and say where it is to be seen."""

    def fetch(self) -> Path:
        """A folder of this machine that holds the set."""


def find_place(text: str) -> Place:
    """hub:ORG/NAME, at a revision with @REVISION, or a folder."""
    if not text.startswith("hub:"):
        return Folder(Path(text))
    found = re.fullmatch(r"hub:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", text)
    if not found:
        raise UsageError(f"{text!r} names no data set of the Hub: write hub:ORG/NAME, or hub:ORG/NAME@REVISION")
    return Hub(found[1], found[2])


def entries(where: Place, there: There) -> tuple[list[Entry], list[str]]:
    """What the set at a place holds: its traces and questions, and the hashes of its media; read column by column."""
    import pyarrow.parquet

    held, media = list[Entry](), list[str]()
    for path in there.record.files if there.record else ():
        config, split, _ = place(path)
        columns = ["sha256"] if config == "media" else ["id", "source", "group", "media"]
        with where.open(path, there) as content, pyarrow.parquet.ParquetFile(content) as file:
            read = file.read(columns=columns).to_pylist()
        if config == "media":
            media += [row["sha256"] for row in read]
            continue
        for row in read:
            pictures = tuple(one["sha256"] for one in row["media"])
            held.append(Entry(row["id"], row["source"], row["group"], pictures, split, config == "traces"))
    return held, media


class Folder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.title = str(path)
        self.loads = f"./{path.resolve().name}"  # where it lies here is nobody's business

    def look(self) -> There | None:
        if not self.path.exists():
            return None
        if not self.path.is_dir():
            raise UsageError(f"{self.path} is a file: name a folder, or hub:ORG/NAME")
        known = (self.path / RECORD).exists()
        return There(read_record(self.path) if known else None, empty=not any(self.path.iterdir()))

    def open(self, path: str, there: There) -> IO[bytes]:
        return (self.path / path).open("rb")

    def put(self, built: Path, record: Published, there: There | None, public: bool, replace: bool) -> str:
        make_folder(self.path, "--to")
        with writing(self.path, "--to"):
            if replace:
                for part in PARTS:
                    shutil.rmtree(self.path / part, ignore_errors=True)
            files = [path.relative_to(built) for path in sorted(built.rglob("[!.]*")) if path.is_file()]
            # the record last: until it lies there, the old one speaks of the old files
            for name in sorted(files, key=lambda name: name.as_posix() == RECORD):
                target = self.path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                _move(built / name, target)
            shutil.rmtree(built, ignore_errors=True)
        return str(self.path)

    def fetch(self) -> Path:
        return self.path


def _move(source: Path, target: Path) -> None:
    """Move a file, over file systems too; whole or not at all."""
    try:
        os.replace(source, target)
    except OSError:
        temporary = target.with_name(f".{target.name}.tmp")
        shutil.copyfile(source, temporary)
        os.replace(temporary, target)
        source.unlink()


class Hub:
    """A data set repository of the Hub, or of what HF_ENDPOINT names."""

    def __init__(self, repo: str, revision: str | None = None) -> None:
        from huggingface_hub import HfApi
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        self.repo = repo
        self.revision = revision
        self.title = f"hub:{repo}"
        self.loads = repo
        self._api = HfApi(library_name="dataforge")

    def look(self) -> There | None:
        from huggingface_hub.errors import RepositoryNotFoundError

        with _spoken_to(self.repo):
            try:
                found = self._api.dataset_info(self.repo, revision=self.revision)
            except RepositoryNotFoundError as error:
                if error.response.status_code == 404 or _has_token():
                    return None
                raise
            files = {sibling.rfilename for sibling in found.siblings or ()}
            record = None
            if RECORD in files:
                local = self._api.hf_hub_download(self.repo, RECORD, repo_type="dataset", revision=found.sha)
                record = read_record(Path(local).parent)
        return There(record, files <= {".gitattributes"}, public=not found.private, commit=found.sha or "")

    def open(self, path: str, there: There) -> IO[bytes]:
        from huggingface_hub import HfFileSystem

        with _spoken_to(self.repo):
            opened: Any = HfFileSystem().open(f"datasets/{self.repo}@{there.commit}/{path}", "rb")
        return opened  # type: ignore[no-any-return]

    def put(self, built: Path, record: Published, there: There | None, public: bool, replace: bool) -> str:
        """One commit, then a tag of it. What an earlier try has uploaded the Hub knows by hash: it isn't sent again."""
        with _spoken_to(self.repo, UPLOAD_AGAIN):
            if there is None:
                self._api.create_repo(self.repo, repo_type="dataset", private=not public)
                if not public and not self._api.dataset_info(self.repo).private:
                    raise UsageError(f"{self.title} was made public: make it private there, or give --public")
            commit = there.commit if there else ""
            if there is None or there.record != record:
                commit = self._api.upload_folder(
                    repo_id=self.repo,
                    repo_type="dataset",
                    folder_path=built,
                    ignore_patterns=[".*"],
                    delete_patterns=[f"{part}/*" for part in PARTS] if replace else None,
                    parent_commit=commit or None,
                    commit_message=f"dataforge push: {record.tag}",
                ).oid
            self._api.create_tag(self.repo, repo_type="dataset", tag=record.tag, revision=commit, exist_ok=True)
        return f"{self._api.endpoint}/datasets/{self.repo}"

    def fetch(self) -> Path:
        with _spoken_to(self.repo):
            found = self._api.snapshot_download(
                self.repo, repo_type="dataset", revision=self.revision, allow_patterns=["data/*", RECORD]
            )
        return Path(found)


def _has_token() -> bool:
    from huggingface_hub import get_token

    return bool(get_token())


@contextlib.contextmanager
def _spoken_to(repo: str, again: str = AGAIN) -> Iterator[None]:
    """What the Hub says, in a line for the person, with what to do."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, LocalTokenNotFoundError

    try:
        yield
    except LocalTokenNotFoundError:
        raise UsageError("no token for the Hub: set HF_TOKEN, or run `hf auth login`") from None
    except Exception as error:
        # an upload in a thread comes wrapped, with what really happened as its cause
        found = error.__cause__ if isinstance(error, RuntimeError) else error
        if isinstance(found, HfHubHTTPError):
            raise UsageError(_advice(repo, found.response.status_code, found.server_message or "", again)) from None
        # httpx, or httpx2 in later versions of the client: neither is a dependency of ours
        away = (ConnectionError, TimeoutError, LocalEntryNotFoundError)  # the last: not reached, and nothing kept here
        if isinstance(found, away) or type(found).__module__.startswith("httpx"):
            raise UsageError(f"hub:{repo}: the Hub can't be reached ({type(found).__name__}): {again}") from None
        raise


def _advice(repo: str, status: int, message: str, again: str) -> str:
    advice = {
        401: "the token is missing or isn't accepted: set HF_TOKEN, or run `hf auth login`",
        403: f"the token may not do that: it needs write access to {repo.partition('/')[0]}",
        404: "no such data set or revision, or the token may not see it",
        409: "it was changed by somebody else meanwhile: run the same command again",
        412: "it was changed by somebody else meanwhile: run the same command again",
        429: f"too many requests: {again}",
    }
    what = advice.get(status, f"the Hub failed: {again}" if status >= 500 else "the Hub refused")
    said = " ".join(_without_token(message).split())[:200]
    return f"hub:{repo}: {status}, {what}" + (f" ({said})" if said else "")


def _without_token(text: str) -> str:
    from huggingface_hub import get_token

    token = get_token()
    return text.replace(token, "***") if token else text
