"""A small server that speaks OpenAI's chat completions on loopback, and misbehaves as told.

    with TeacherServer("reject_json_schema") as server:
        ... server.url, server.requests, server.bodies

By default each property of the schema that a request asks for (as a setting, or quoted in the prompt) is filled with
fixed text, the same for the same request. `fill` answers instead where texts must make sense. As a script it serves in
a process of its own, prints its address, and writes one line per request to a file:

    python tests/servers.py --behave slow --log requests.txt
"""

import argparse
import email.utils
import hashlib
import json
import socket
import ssl
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

MODEL = "tiny-vision"
SLOW_S = 0.5

Fill = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]]
"""(schema, request body) -> the object to reply with."""

BEHAVIOURS = {
    "reject_json_schema": "400 for json_schema, as servers without it do",
    "reject_json_schema_500": "500 for json_schema, as llama.cpp's Python server does",
    "reject_any_form": "400 for every response_format",
    "ignore_schema": "takes response_format and replies in prose unless the prompt holds the schema",
    "fenced": "JSON in a fence with prose around it",
    "thinking": "a thinking block before the JSON",
    "refusal": "the model refuses",
    "content_filter": "finish_reason content_filter",
    "moderation": "403 from a gateway's moderation",
    "length": "finish_reason length",
    "empty": "no content",
    "no_usage": "a reply without usage",
    "no_choices": "200 with an error in the body",
    "html": "200 with a web page",
    "truncated": "a body that ends in the middle",
    "not_json": "a JSON content type with something else in it",
    "surrogate": "half of a surrogate pair in the text",
    "wrong_key": "401 that quotes the key",
    "no_model": "404",
    "no_money": "429 insufficient_quota",
    "rate_limited": "429 for ever",
    "bad_request": "400 that quotes the key",
    "down": "500 for ever",
    "new_limit": "400 for max_tokens, as reasoning models do",
    "no_temperature": "400 for any temperature",
    "slow": f"{SLOW_S} s before each reply",
    "busy": "429 without a word on when to come again",
    "busy_seconds": "429 with Retry-After: 1",
    "busy_ms": "429 with retry-after-ms: 300",
    "busy_date": "429 with Retry-After as a date two seconds from now",
    "busy_headers": "429 with x-ratelimit headers that name 400 ms",
    "busy_for_hours": "429 with Retry-After: 7200",
    "bad_gateway": "502",
    "unavailable": "503",
    "overloaded": "529",
    "reset": "the connection is reset after the request",
    "slow_first_byte": f"{SLOW_S} s of silence, then a reply",
    "trickle": "a head at once, and then nothing for a while",
    "other_keys": "JSON that breaks the schema",
    "error_200": "200 with a rate limit error in the body, as gateways send it",
    "too_long": "400 context_length_exceeded for pictures that are not small",
    "too_long_for_ever": "400 context_length_exceeded whatever is sent",
    "too_large": "413 for pictures that are not small",
    "moved": "301 to another place",
}

SMALL_PICTURE = 40_000
"""Characters of base64 that pass as a small picture."""


class TeacherServer:
    """A server on a free loopback port; everything it was asked is in `bodies`."""

    def __init__(
        self,
        *behave: str,
        first: Iterable[str] = (),
        fill: Fill | None = None,
        say: Callable[[Mapping[str, Any]], str | dict[str, Any]] = lambda body: "A fine picture, I would say.",
        delay_s: float = 0.0,
        log: Path | None = None,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.first = deque(first)
        assert {*behave, *self.first} <= set(BEHAVIOURS), behave
        self.behave = set(behave)
        self.times: list[float] = []
        self.fill = fill or fixed_text
        self.say = say  # where no form is asked for; a text, or a whole message
        self.delay_s = SLOW_S if "slow" in behave else delay_s
        self.log = log
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), type("Bound", (_Handler,), {"owner": self}))
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def requests(self) -> int:
        """Chat completions asked for so far, refused ones included."""
        return len(self.bodies)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.02)

    def came_in(self, body: dict[str, Any], key: str) -> None:
        with self._lock:
            self.bodies.append(body)
            self.times.append(time.monotonic())
            self.keys.append(key)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            if self.log:
                with self.log.open("a") as lines:
                    lines.write(digest(body) + "\n")

    def behaviour(self) -> set[str]:
        """For this request: the next one of `first`, then for ever `behave`."""
        with self._lock:
            return {self.first.popleft()} if self.first else self.behave

    def went_out(self) -> None:
        with self._lock:
            self._at_once -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # with the default of 5 the kernel drops the sixth connection at once, and its client tries again a second later
    request_queue_size = 256


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: TeacherServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if refused := _refused({}, self._key(), self.owner.behave & {"wrong_key"}):
            self._send(*refused)
        elif "no_choices" in self.owner.behave:
            self._send(404, {"error": {"message": "not here"}})
        else:
            self._send(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.owner.came_in(body, self._key())
        try:
            time.sleep(self.owner.delay_s)
            self._answer(body, self.owner.behaviour())
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client was killed or ran out of patience, as some tests want it to
        finally:
            self.owner.went_out()

    def _key(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    def _answer(self, body: dict[str, Any], behave: set[str]) -> None:
        if "slow_first_byte" in behave:
            time.sleep(SLOW_S)
        if refused := _refused(body, self._key(), behave):
            self._send(*refused, headers=_busy_headers(behave))
        elif "reset" in behave:
            # no farewell: with linger 0 the kernel answers with RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif "moved" in behave:
            self._send_bytes(301, b"", "text/html", headers={"location": "http://127.0.0.1:1/v1"})
        elif "trickle" in behave:
            self._send_bytes(200, b'{"id', "application/json", length=500)
            time.sleep(SLOW_S)
        elif "error_200" in behave:
            self._send(200, {"error": {"message": "Rate limited upstream", "code": 429}})
        elif "other_keys" in behave:
            self._send(200, completion(body, '{"thought": 1}'))
        elif "html" in behave:
            self._send_bytes(200, b"<html>Welcome</html>", "text/html")
        elif "not_json" in behave:
            self._send_bytes(200, b"{oops", "application/json")
        elif "truncated" in behave:
            whole = json.dumps(completion(body, "x" * 500, behave)).encode()
            self._send_bytes(200, whole[:-200], "application/json", length=len(whole))
        elif "no_choices" in behave:
            self._send(200, {"error": {"message": "upstream is gone", "code": 502}})
        else:
            self._send(200, completion(body, self._text(body, behave), behave))

    def _text(self, body: dict[str, Any], behave: set[str]) -> str | dict[str, Any]:
        schema = schema_of(body, prompt_only="ignore_schema" in behave)
        if schema is None:
            return self.owner.say(body)
        text = json.dumps(self.owner.fill(schema, body))
        if "fenced" in behave:
            return f"Here you are:\n```json\n{text}\n```\nAnything else?"
        return f"<think>Is it {{this}}?</think>{text}" if "thinking" in behave else text

    def _send(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(value).encode(), "application/json", headers=headers)

    def _send_bytes(
        self,
        status: int,
        content: bytes,
        kind: str,
        length: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(length or len(content)))
        self.end_headers()
        self.wfile.write(content)
        if length:
            self.close_connection = True


def _refused(body: dict[str, Any], key: str, behave: set[str]) -> tuple[int, dict[str, Any]] | None:
    """The status and error body of a request that these behaviours refuse."""
    form = body.get("response_format", {}).get("type")
    cases: list[tuple[str, bool, int, str, str]] = [
        ("wrong_key", True, 401, f"Incorrect API key provided: {key}", "invalid_api_key"),
        ("no_model", True, 404, "The model does not exist", "model_not_found"),
        ("no_money", True, 429, "You exceeded your current quota", "insufficient_quota"),
        ("rate_limited", True, 429, "Slow down", "rate_limit_exceeded"),
        ("bad_request", True, 400, f"Unknown value from {key}", "bad_value"),
        ("moderation", True, 403, "Your input was flagged", "403"),
        ("down", True, 500, "Out of order", "internal"),
        ("busy", True, 429, "Slow down", "rate_limit_exceeded"),
        ("busy_seconds", True, 429, "Slow down", "rate_limit_exceeded"),
        ("busy_ms", True, 429, "Slow down", "rate_limit_exceeded"),
        ("busy_date", True, 429, "Slow down", "rate_limit_exceeded"),
        ("busy_headers", True, 429, "Slow down", "rate_limit_exceeded"),
        ("busy_for_hours", True, 429, "Daily limit reached", "rate_limit_exceeded"),
        ("bad_gateway", True, 502, "Bad gateway", "502"),
        ("unavailable", True, 503, "Service unavailable", "503"),
        ("overloaded", True, 529, "Overloaded", "overloaded_error"),
        ("too_long", not _small(body), 400, "maximum context length is 4096 tokens", "context_length_exceeded"),
        ("too_long_for_ever", True, 400, "maximum context length is 4096 tokens", "context_length_exceeded"),
        ("too_large", not _small(body), 413, "Request Entity Too Large", "413"),
        ("reject_json_schema", form == "json_schema", 400, "response_format: json_schema is unknown", "bad"),
        ("reject_json_schema_500", form == "json_schema", 500, "cannot make a grammar", "internal"),
        ("reject_any_form", form is not None, 400, "unexpected field response_format", "bad"),
        ("new_limit", "max_tokens" in body, 400, "Use 'max_completion_tokens' instead", "unsupported_parameter"),
        ("no_temperature", "temperature" in body, 400, "'temperature' is not supported here", "unsupported_value"),
    ]
    for behaviour, applies, status, message, code in cases:
        if behaviour in behave and applies:
            return status, {"error": {"message": message, "type": "error", "code": code}}
    return None


def _small(body: Mapping[str, Any]) -> bool:
    """Whether all pictures are small."""
    parts = [part for message in body.get("messages", []) for part in message["content"] if isinstance(part, dict)]
    return all(len(part["image_url"]["url"]) < SMALL_PICTURE for part in parts if part["type"] == "image_url")


def _busy_headers(behave: set[str]) -> dict[str, str]:
    if "busy_date" in behave:
        return {"retry-after": email.utils.formatdate(time.time() + 2, usegmt=True)}
    quota = {"limit-requests": "10", "remaining-requests": "0", "reset-requests": "4s"}
    return {
        "busy_seconds": {"retry-after": "1"},
        "busy_ms": {"retry-after-ms": "300"},
        "busy_headers": {f"x-ratelimit-{name}": value for name, value in quota.items()},
        "busy_for_hours": {"retry-after": "7200"},
    }.get(next(iter(behave), ""), {})


def completion(body: Mapping[str, Any], said: str | dict[str, Any], behave: Iterable[str] = ()) -> dict[str, Any]:
    """A chat completion with that text or message, bent by the behaviours."""
    message: dict[str, Any] = {"role": "assistant", **({"content": said} if isinstance(said, str) else said)}
    text = message.get("content") or ""
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    if "refusal" in behave:
        message = {"role": "assistant", "content": None, "refusal": "I can't help with that."}
    if "content_filter" in behave:
        message["content"], finish = "", "content_filter"
    if "length" in behave:
        message["content"], finish = text[: len(text) // 2], "length"
    if "empty" in behave:
        message["content"] = None
    if "surrogate" in behave:
        message["content"] = text.replace("The ", "The \ud83d", 1)
    made = {
        "id": "chatcmpl-" + digest(body),
        "object": "chat.completion",
        "created": 1700000000,
        "model": f"{body['model']}-2026",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
    }
    if "no_usage" in behave:
        del made["usage"]
    return made


def schema_of(body: Mapping[str, Any], prompt_only: bool = False) -> dict[str, Any] | None:
    """The schema that a request asks for, as a setting or quoted at the end of its last message."""
    form = body.get("response_format", {})
    if form.get("type") == "json_schema" and not prompt_only:
        wanted: dict[str, Any] = form["json_schema"]["schema"]
        return wanted
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else next(p["text"] for p in reversed(content) if p["type"] == "text")
    _, found, quoted = text.rpartition("JSON schema:\n")
    return json.loads(quoted) if found else None


def fixed_text(schema: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """Every property filled by its type and name, the same for the same request."""
    return {name: _value(name, kind, digest(body)) for name, kind in schema["properties"].items()}


def _value(name: str, kind: Mapping[str, Any], seed: str) -> Any:
    if "enum" in kind:
        return kind["enum"][0]
    values: dict[str, Any] = {"number": 0.5, "integer": 1, "boolean": True, "null": None}
    if kind.get("type") == "array":
        return [_value(name, kind.get("items", {}), seed) for _ in range(kind.get("minItems", 1))]
    if kind.get("type") == "object":
        return {inner: _value(inner, of, seed) for inner, of in kind.get("properties", {}).items()}
    return values.get(
        kind.get("type", "string"), f"The {name.replace('_', ' ')} of request {seed[:6]} is plain to see."
    )


def digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--behave", nargs="*", default=[], choices=sorted(BEHAVIOURS))
    parser.add_argument("--delay-s", type=float, default=0.0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    server = TeacherServer(*given.behave, delay_s=given.delay_s, log=given.log, port=given.port)
    sys.stdout.write(server.url + "\n")
    sys.stdout.flush()
    server.serve()


if __name__ == "__main__":
    main()
