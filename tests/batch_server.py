"""A server that follows OpenAI's published Batch API on loopback: files, batches, and chat completions beside them.

    with BatchServer(answer=said, expire=0.5) as server:
        ... server.url, server.paid, server.created

A batch is worked on when it has been looked at `polls` times. Faults are set per server: `expire` (a share of the lines
of the first batch is never reached), `fail` (a share of the lines ends in a 500), `spoil` (reasons by custom_id's
turn), `busy` (creations refused with 429 first), `lost` (creations that succeed but whose reply is lost), `full` (a
batch that fails first because the queue is full), `refuse` (a batch that fails validation), `dead_key` (every call is
refused with 401), `away` (uploads are answered with 503), `too_large` and `too_long` (a line ends in a 400 while its
first picture is larger than so many base64 characters), `old_limit` (a line with max_tokens ends in a 400).
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.servers import Fill, completion, schema_of

MOST_LINES, MOST_BYTES = 50_000, 200_000_000


class BatchServer:
    """A server on a free loopback port; `paid` has the custom_id of each line that was answered, in order."""

    def __init__(
        self,
        fill: Fill,
        polls: int = 1,
        usage: Callable[[Mapping[str, Any]], tuple[int, int]] | None = None,
        **faults: Any,
    ) -> None:
        known = {"expire", "fail", "length", "busy", "lost", "full", "refuse", "cancel"}
        assert set(faults) <= known | {"dead_key", "away", "too_large", "too_long", "old_limit"}, faults
        self.fill, self.polls, self.faults = fill, polls, dict(faults)
        self.usage = usage or (lambda body: (1000, 100))
        self.files: dict[str, bytes] = {}
        self.batches: list[dict[str, Any]] = []
        self.paid: list[str] = []
        self.direct: list[dict[str, Any]] = []
        self.seen: list[dict[str, Any]] = []
        self.spent_tokens = self.asked = 0
        self.lock = threading.Lock()
        handler = type("Bound", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def created(self) -> int:
        return len(self.batches)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    # ------------------------------------------------------------------ files and batches

    def take(self, name: str) -> int:
        """How many of a fault are left; one is used up."""
        left = int(self.faults.get(name, 0))
        if left:
            self.faults[name] = left - 1
        return left

    def add_file(self, content: bytes) -> dict[str, Any]:
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return {
            "id": name,
            "object": "file",
            "bytes": len(content),
            "created_at": 1,
            "filename": "part.jsonl",
            "purpose": "batch",
            "status": "processed",
        }

    def create(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        assert asked["endpoint"] == "/v1/chat/completions"
        assert asked["completion_window"] == "24h"
        lines = self.files[asked["input_file_id"]].splitlines()
        made = {
            "id": f"batch_{len(self.batches)}",
            "object": "batch",
            "endpoint": asked["endpoint"],
            "errors": None,
            "input_file_id": asked["input_file_id"],
            "completion_window": "24h",
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": int(time.time()),
            "metadata": asked.get("metadata"),
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
        }
        self.batches.append(made | {"looked": 0})
        return made

    def look(self, batch: dict[str, Any]) -> None:
        """What a batch does while nobody looks."""
        batch["looked"] += 1
        if batch["status"] == "validating":
            complaint = self._complaint(batch)
            if complaint:
                batch["status"] = "failed"
                batch["errors"] = {"object": "list", "data": [complaint]}
                return
            batch["status"] = "in_progress"
        elif batch["status"] == "in_progress" and batch["looked"] > self.polls:
            self._work(batch)

    def _complaint(self, batch: dict[str, Any]) -> dict[str, Any] | None:
        content = self.files[batch["input_file_id"]]
        lines = content.splitlines()
        keys = [json.loads(line)["custom_id"] for line in lines]
        if self.take("full"):
            return {"code": "token_limit_exceeded", "message": "Enqueued token limit reached", "line": None}
        if self.take("refuse"):
            return {"code": "invalid_model", "message": "The model does not exist", "line": 1}
        if len(lines) > MOST_LINES or len(content) > MOST_BYTES or len(set(keys)) < len(keys):
            return {"code": "invalid_file", "message": "too large, or a custom_id twice", "line": None}
        return None

    def _work(self, batch: dict[str, Any]) -> None:
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        reached = round(len(lines) * (1 - self.faults.pop("expire", 0)))
        cancelled = self.take("cancel")
        reached = len(lines) // 2 if cancelled else reached
        failing = round(reached * self.faults.pop("fail", 0))
        too_long = round(reached * self.faults.get("length", 0))
        good, bad = [], []
        for number, line in enumerate(lines):
            assert line["method"] == "POST"
            out: dict[str, Any] = {"id": f"batch_req_{number}", "custom_id": line["custom_id"], "error": None}
            if number >= reached:
                expired = {"code": "batch_expired", "message": "This request could not be executed in time."}
                bad.append(out | {"response": None, "error": expired})
            elif refused := self._refused(line["body"], number < failing):
                status, message = refused
                body = {"error": {"message": message, "type": "server_error", "code": None}}
                bad.append(out | {"response": {"status_code": status, "request_id": "r", "body": body}})
            else:
                self.seen.append(line["body"])
                body = self.reply(line["body"], ("length",) if number < failing + too_long else ())
                good.append(out | {"response": {"status_code": 200, "request_id": "r", "body": body}})
                self.paid.append(line["custom_id"])
        good.reverse()  # the order of the output is not that of the input
        for name, rows in (("output_file_id", good), ("error_file_id", bad)):
            if rows and not (cancelled and name == "error_file_id"):
                batch[name] = self.add_file("".join(json.dumps(row) + "\n" for row in rows).encode())["id"]
        batch["status"] = "cancelled" if cancelled else "expired" if reached < len(lines) else "completed"
        batch["request_counts"] = {"total": len(lines), "completed": len(good), "failed": len(bad)}

    def _refused(self, body: Mapping[str, Any], failing: bool) -> tuple[int, str] | None:
        """Status and message of a line that gets no completion."""
        urls = [part["image_url"]["url"] for part in body["messages"][0]["content"] if part["type"] == "image_url"]
        if failing:
            return 500, "The server had an error"
        if "old_limit" in self.faults and "max_tokens" in body:
            return 400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        if len(urls[0]) > self.faults.get("too_large", len(urls[0])):
            return 400, "Image is too large: at most so many bytes"
        if len(urls[0]) > self.faults.get("too_long", len(urls[0])):
            return 400, "This model's maximum context length is 8192 tokens"
        return None

    def reply(self, body: Mapping[str, Any], behave: tuple[str, ...] = ()) -> dict[str, Any]:
        schema = schema_of(body)
        text = json.dumps(self.fill(schema, body)) if schema else "yes"
        made = completion(body, text, behave)
        into, out = self.usage(body)
        self.spent_tokens += into + out
        made["usage"] = {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out}
        return made


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: BatchServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        with self.owner.lock:
            self._get(urlsplit(self.path).path.removeprefix("/v1/").split("/"))

    def _get(self, path: list[str]) -> None:
        owner = self.owner
        if path[0] == "files":
            if path[1] not in owner.files:
                self._send(404, {"error": {"message": "No such File", "code": "not_found"}})
            else:
                self._send_bytes(200, owner.files[path[1]], "application/octet-stream")
        elif path == ["batches"]:
            asked = parse_qs(urlsplit(self.path).query)
            names = [batch["id"] for batch in reversed(owner.batches)]
            start = names.index(asked["after"][0]) + 1 if "after" in asked else 0
            page = list(reversed(owner.batches))[start : start + 2]  # small pages, so that they are turned
            more = start + 2 < len(names)
            self._send(
                200,
                {
                    "object": "list",
                    "data": page,
                    "has_more": more,
                    "first_id": page[0]["id"] if page else None,
                    "last_id": page[-1]["id"] if page else None,
                },
            )
        elif path[0] == "batches":
            batch = next(one for one in owner.batches if one["id"] == path[1])
            owner.look(batch)
            self._send(200, batch)
        else:
            self._send(200, {"object": "list", "data": []})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"])) if "content-length" in self.headers else None
        content = self._chunked() if content is None else content
        with self.owner.lock:
            self._post(self.path.removeprefix("/v1/"), content)

    def _chunked(self) -> bytes:
        blocks = []
        while size := int(self.rfile.readline(), 16):
            blocks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(blocks)

    def _post(self, path: str, content: bytes) -> None:
        owner = self.owner
        owner.asked += 1
        if owner.faults.get("dead_key"):
            self._send(401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}})
        elif path == "files" and owner.faults.get("away"):
            self._send(503, {"error": {"message": "Service unavailable"}})
        elif path == "files":
            form = _form(self.headers["content-type"], content)
            assert form["purpose"] == b"batch"
            self._send(200, owner.add_file(form["file"]))
        elif path == "chat/completions":
            owner.direct.append(json.loads(content))
            self._send(200, owner.reply(json.loads(content)))
        elif owner.take("busy"):
            self._send(429, {"error": {"message": "Slow down", "code": "rate_limit_exceeded"}}, {"retry-after": "0"})
        else:
            made = owner.create(json.loads(content))
            if owner.take("lost"):
                self.close_connection = True
                return
            self._send(200, made)

    def do_DELETE(self) -> None:
        name = self.path.rpartition("/")[2]
        self.owner.files.pop(name, None)
        self._send(200, {"id": name, "object": "file", "deleted": True})

    def _send(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(value).encode(), "application/json", headers)

    def _send_bytes(self, status: int, content: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _form(kind: str, content: bytes) -> dict[str, bytes]:
    """The fields of a multipart form."""
    message = BytesParser(policy=HTTP).parsebytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + content)
    return {
        str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True) or b""  # type: ignore[misc]
        for part in message.iter_parts()  # type: ignore[attr-defined]
    }
