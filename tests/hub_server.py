"""A stand-in of the Hugging Face Hub on loopback: data set repositories with commits, tags and LFS, over HTTP.

It speaks what the real `huggingface_hub` and `datasets` ask of the Hub (with Xet off), and can be told to fail: a
status, or a connection that is cut, on the calls that a pattern names. Everything is kept in memory, and every call is
noted, so that a test can see what was sent, and that a token never stands where it shouldn't.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN, READER = "hf_stand_in_writer", "hf_stand_in_reader"


@dataclass
class Commit:
    sha: str
    message: str
    files: dict[str, bytes]


@dataclass
class Repo:
    private: bool
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def at(self, revision: str) -> Commit | None:
        sha = self.head.sha if revision == "main" else self.tags.get(revision, revision)
        return next((commit for commit in self.commits if commit.sha == sha), None)

    def add(self, message: str, files: dict[str, bytes]) -> Commit:
        sha = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits.append(Commit(sha, message, files))
        return self.head


@dataclass
class Fault:
    """Answers calls that fit with a status (0: the connection is cut), so many times, after letting some pass."""

    call: str
    status: int = 0
    times: int = 1
    after: int = 0
    headers: dict[str, str] = field(default_factory=dict)


class HubServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.calls: list[str] = []
        self.put_bytes = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was cut off, or that hung up, is no news."""

    def fault(self, call: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if re.search(fault.call, call):
                    if fault.after:
                        fault.after -= 1
                    elif fault.times:
                        fault.times -= 1
                        return fault
        return None


@contextmanager
def hub() -> Iterator[HubServer]:
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    # ------------------------------------------------------------------ plumbing

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        call = f"{self.command} {path}"
        body = self._body()
        self.server.calls.append(call)
        if fault := self.server.fault(call):
            if not fault.status:
                self.close_connection = True
                self.connection.close()
                return
            self._send(fault.status, {"error": f"told to fail, {self.headers.get('Authorization')}"}, fault.headers)
            return
        for method, pattern, does in ROUTES:
            if self.command in method.split() and (found := re.fullmatch(pattern, path)):
                with self.server.lock:
                    does(self, body, **found.groupdict())
                return
        self._send(404, {"error": f"no {call}"})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, status: int, content: Any = b"", headers: dict[str, str] | None = None) -> None:
        told = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(told))} | (headers or {})
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(told)

    def _missing(self, code: str) -> None:
        self._send(404, {"error": code}, {"X-Error-Code": code})

    def _may(self, write: bool = False) -> bool:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in (TOKEN, READER):
            self._send(401, {"error": "Invalid username or password."})
            return False
        if write and token == READER:
            self._send(403, {"error": "you must use a write token"}, {"X-Error-Message": "you must use a write token"})
            return False
        return True

    def _repo(self, name: str) -> Repo | None:
        """The repository, where the caller may know of it."""
        repo = self.server.repos.get(name)
        signed = (self.headers.get("Authorization") or "").removeprefix("Bearer ") in (TOKEN, READER)
        if repo is None or (repo.private and not signed):
            self._missing("RepoNotFound") if signed else self._send(
                401, {"error": "Invalid username or password."}, {"X-Error-Code": "RepoNotFound"}
            )
            return None
        return repo

    # ------------------------------------------------------------------ what is asked of a hub

    def whoami(self, body: bytes) -> None:
        if self._may():
            self._send(200, {"name": "me", "type": "user", "orgs": []})

    def create(self, body: bytes) -> None:
        if not self._may(write=True):
            return
        asked = json.loads(body)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if name in self.server.repos:
            self._send(409, {"error": "You already created this dataset repo"})
            return
        self.server.repos[name] = repo = Repo(asked.get("visibility") == "private" or bool(asked.get("private")))
        repo.add("initial commit", {".gitattributes": b"*.parquet filter=lfs\n"})
        self._send(200, {"url": f"{self.server.url}/datasets/{name}", "name": name})

    def info(self, body: bytes, name: str, revision: str = "main") -> None:
        if (repo := self._repo(name)) is None:
            return
        if (commit := repo.at(revision)) is None:
            self._missing("RevisionNotFound")
            return
        files = [{"rfilename": path} for path in sorted(commit.files)]
        told = {"_id": "0", "id": name, "sha": commit.sha, "private": repo.private, "siblings": files, "tags": []}
        self._send(200, told | {"downloads": 0, "likes": 0, "gated": False, "disabled": False})

    def validate(self, body: bytes) -> None:
        asked = json.loads(body)
        bad = not asked["content"].startswith("---\n") or "license:" not in asked["content"]
        errors = [{"message": "no license"}] if bad else []
        self._send(400 if bad else 200, {"errors": errors, "warnings": []})

    def preupload(self, body: bytes, name: str, revision: str) -> None:
        if self._may(write=True) and (repo := self._repo(name)):
            files = []
            for asked in json.loads(body)["files"]:
                large = asked["path"].endswith((".parquet", ".jpg", ".png"))
                held = repo.head.files.get(asked["path"])
                oid = None if held is None else hashlib.sha1(b"blob %d\0" % len(held) + held).hexdigest()
                mode = "lfs" if large else "regular"
                files.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
            self._send(200, {"files": files})

    def batch(self, body: bytes, name: str) -> None:
        if not self._may(write=True):
            return
        objects = []
        for asked in json.loads(body)["objects"]:
            told = {"oid": asked["oid"], "size": asked["size"], "authenticated": True}
            if asked["oid"] not in self.server.blobs:
                there = {"href": f"{self.server.url}/lfs/{asked['oid']}", "header": {}}
                told["actions"] = {"upload": there, "verify": {"href": f"{self.server.url}/verify", "header": {}}}
            objects.append(told)
        self._send(200, {"transfer": "basic", "objects": objects}, {"Content-Type": "application/vnd.git-lfs+json"})

    def put(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self._send(400, {"error": "not these bytes"})
            return
        self.server.blobs[oid] = body
        self.server.put_bytes += len(body)
        self._send(200)

    def verify(self, body: bytes) -> None:
        asked = json.loads(body)
        here = len(self.server.blobs.get(asked["oid"], b"")) == asked["size"]
        self._send(200 if here else 404, {})

    def commit(self, body: bytes, name: str, revision: str) -> None:
        if not self._may(write=True) or (repo := self._repo(name)) is None:
            return
        lines = [json.loads(line) for line in body.splitlines()]
        files, header = dict(repo.head.files), lines[0]["value"]
        if header.get("parentCommit") not in (None, repo.head.sha):
            self._send(412, {"error": "A commit has happened since. Please refresh and try again."})
            return
        for line in lines[1:]:
            path = line["value"]["path"]
            if line["key"] == "file":
                files[path] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "lfsFile":
                files[path] = self.server.blobs[line["value"]["oid"]]
            elif line["key"] == "deletedFile":
                files.pop(path, None)
        made = repo.add(header["summary"], files)
        url = f"{self.server.url}/datasets/{name}/commit/{made.sha}"
        self._send(200, {"success": True, "commitOid": made.sha, "commitUrl": url, "hookOutput": ""})

    def tag(self, body: bytes, name: str, revision: str) -> None:
        if not self._may(write=True) or (repo := self._repo(name)) is None:
            return
        asked = json.loads(body)
        if asked["tag"] in repo.tags:
            self._send(409, {"error": "Tag reference exists already"})
            return
        commit = repo.at(revision)
        assert commit is not None
        repo.tags[asked["tag"]] = commit.sha
        self._send(200, {})

    def tree(self, body: bytes, name: str, revision: str, path: str = "") -> None:
        if (repo := self._repo(name)) is None:
            return
        commit = repo.at(revision)
        if commit is None:
            self._missing("RevisionNotFound")
            return
        deep = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() == "true"
        inside = {p: c for p, c in commit.files.items() if not path or p.startswith(f"{path}/")}
        if path and not inside:
            self._missing("EntryNotFound")
            return
        start = len(path) + 1 if path else 0
        names = {p if deep else p[:start] + p[start:].split("/")[0] for p in inside}
        self._send(200, [_entry(commit, one) for one in sorted(names)])

    def paths_info(self, body: bytes, name: str, revision: str) -> None:
        if (repo := self._repo(name)) is None:
            return
        commit = repo.at(revision)
        if commit is None:
            self._missing("RevisionNotFound")
            return
        found = parse_qs(body.decode())["paths"] if not body.startswith(b"{") else json.loads(body)["paths"]
        there = [p for p in found if p in commit.files or any(q.startswith(f"{p}/") for q in commit.files)]
        self._send(200, [_entry(commit, one) for one in there])

    def resolve(self, body: bytes, name: str, revision: str, path: str) -> None:
        if (repo := self._repo(name)) is None:
            return
        commit = repo.at(revision)
        if commit is None or path not in commit.files:
            self._missing("RevisionNotFound" if commit is None else "EntryNotFound")
            return
        content = commit.files[path]
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        told = {"X-Repo-Commit": commit.sha, "ETag": etag, "Accept-Ranges": "bytes", "X-Linked-Etag": etag}
        told |= {"Content-Type": "application/octet-stream", "X-Linked-Size": str(len(content))}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted:
            first, last = int(wanted[1]), min(int(wanted[2] or len(content) - 1), len(content) - 1)
            told["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            self._send(206, content[first : last + 1], told)
        else:
            self._send(200, content, told)


def _entry(commit: Commit, path: str) -> dict[str, Any]:
    if path not in commit.files:
        return {"type": "directory", "path": path, "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0}
    content = commit.files[path]
    sha256 = hashlib.sha256(content).hexdigest()
    told: dict[str, Any] = {"type": "file", "path": path, "oid": sha256[:40], "size": len(content)}
    if path.endswith(".parquet"):
        told["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
    return told


_API = r"/api/datasets/(?P<name>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>[^/]+)"
ROUTES: list[tuple[str, str, Any]] = [
    ("GET", r"/api/whoami-v2", Answer.whoami),
    ("POST", r"/api/repos/create", Answer.create),
    ("POST", r"/api/validate-yaml", Answer.validate),
    ("GET", _API, Answer.info),
    ("GET", rf"{_API}/revision/{_REVISION}", Answer.info),
    ("GET", rf"{_API}/tree/{_REVISION}", Answer.tree),
    ("GET", rf"{_API}/tree/{_REVISION}/(?P<path>.+)", Answer.tree),
    ("POST", rf"{_API}/paths-info/{_REVISION}", Answer.paths_info),
    ("POST", rf"{_API}/preupload/{_REVISION}", Answer.preupload),
    ("POST", rf"{_API}/commit/{_REVISION}", Answer.commit),
    ("POST", rf"{_API}/tag/{_REVISION}", Answer.tag),
    ("POST", r"/datasets/(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", Answer.batch),
    ("PUT", r"/lfs/(?P<oid>\w+)", Answer.put),
    ("POST", r"/verify", Answer.verify),
    ("GET HEAD", rf"/datasets/(?P<name>[^/]+/[^/]+)/resolve/{_REVISION}/(?P<path>.+)", Answer.resolve),
]
