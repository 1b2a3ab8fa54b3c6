"""The loopback endpoint that benchmarks/teacher.py measures against: raw asyncio, so that it is never the bottleneck.

    python benchmarks/loopback.py --delay-s 0.2 --cpu 1

It prints its address and serves `/v1/chat/completions` until it is ended: each request is read whole, waits, and gets
the same kind of reply with usage. `--rate 50` allows that many a second from a bucket of as many, and refuses the rest
at once with 429 and Retry-After: 1; `--faults 0.1` spoils that share of requests at random (429, 500, reset, bad JSON).
GET /stats gives what it saw; POST /reset starts the counts anew. With `--log FILE` each request leaves its time and a
digest there.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

TEXT = "The chart shows rows of bars with labels; the one that is asked for stands third from the top."
PERIOD = 4096


class Seen:
    """What the endpoint saw since the last reset."""

    def __init__(self) -> None:
        self.requests = self.answered = self.refused = self.spoiled = 0
        self.in_flight = self.peak = self.connections = 0
        self.first = self.last = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "window_s": self.last - self.first}


class Endpoint:
    """Options and counts that all connections share."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.delay_s: float = given.delay_s
        self.rate: float = given.rate
        self.faults: float = given.faults
        self.log = given.log.open("a", buffering=1) if given.log else None
        self.seen = Seen()
        self.chance = random.Random(given.seed)
        self._level, self._filled = self.rate, time.monotonic()

    def allowed(self) -> bool:
        if not self.rate:
            return True
        now = time.monotonic()
        self._level = min(self.rate, self._level + (now - self._filled) * self.rate)
        self._filled = now
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def fault(self) -> str:
        return self.chance.choice(["429", "500", "reset", "json"]) if self.chance.random() < self.faults else ""


class Connection(asyncio.Protocol):
    """One keep-alive connection; a client sends its next request after the reply."""

    endpoint: Endpoint

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.parts: list[bytes] = []
        self.got = 0
        self.wanted = -1
        self.head = b""
        self.endpoint.seen.connections += 1

    def data_received(self, data: bytes) -> None:
        self.parts.append(data)
        self.got += len(data)
        if self.wanted < 0:
            whole = b"".join(self.parts)
            end = whole.find(b"\r\n\r\n")
            if end < 0:
                return
            self.head = whole[:end].lower()
            at = self.head.find(b"content-length:")
            length = int(self.head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            self.wanted = end + 4 + length
            self.parts = [whole]
        if self.got >= self.wanted:
            whole = b"".join(self.parts)
            body = whole[len(self.head) + 4 : self.wanted]
            self.parts, self.got, self.wanted = [], 0, -1
            self.asked(body)

    def asked(self, body: bytes) -> None:
        seen = self.endpoint.seen
        if b"/chat/completions" not in self.head.split(b"\r\n", 1)[0]:
            self.other()
            return
        now = time.monotonic()
        seen.first = seen.first or now
        seen.requests += 1
        if self.endpoint.log:
            self.endpoint.log.write(f"{now:.4f} {hashlib.sha256(body).hexdigest()[:16]}\n")
        if not self.endpoint.allowed():
            seen.refused += 1
            self.send(429, {"error": {"message": "Slow down", "code": "rate_limit_exceeded"}}, b"retry-after: 1\r\n")
            return
        seen.in_flight += 1
        seen.peak = max(seen.peak, seen.in_flight)
        asyncio.get_running_loop().call_later(self.endpoint.delay_s, self.reply, body)

    def other(self) -> None:
        """Statistics, the list of models, health."""
        if self.head.startswith(b"get /stats"):
            self.send(200, self.endpoint.seen.as_dict())
        elif self.head.startswith(b"post /reset"):
            self.endpoint.seen = Seen()
            self.send(200, {})
        else:
            self.send(200, {"object": "list", "data": [{"id": "tiny-vision", "object": "model"}]})

    def reply(self, body: bytes) -> None:
        seen = self.endpoint.seen
        seen.in_flight -= 1
        fault = self.endpoint.fault()
        if fault:
            seen.spoiled += 1
        else:
            seen.answered += 1
        seen.last = time.monotonic()
        if fault == "reset":
            self.transport.abort()
        elif fault == "429":
            self.send(429, {"error": {"message": "Busy", "code": "rate_limit_exceeded"}})
        elif fault == "500":
            self.send(500, {"error": {"message": "Out of order"}})
        else:
            self.send(200, completion(body, "{oops" if fault == "json" else text_for(body)))

    def send(self, status: int, value: Any, more: bytes = b"") -> None:
        if self.transport.is_closing():
            return
        content = json.dumps(value).encode()
        head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % (status, len(content))
        self.transport.write(head + more + b"\r\n" + content)
        if b"connection: close" in self.head:
            self.transport.close()


def text_for(body: bytes) -> str:
    """A value for each slot that the request's schema names, the same for the same request; plain text without one."""
    at = body.rfind(b'"required":')
    if at < 0:
        return TEXT
    names = json.loads(body[at + 11 : body.index(b"]", at) + 1])
    texts = {"answer": "42", "reading": "The third row of the part that is shown says 42, so that is the answer."}
    return json.dumps({name: texts.get(name, TEXT) for name in names})


def completion(body: bytes, text: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "tiny-vision",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": len(body) // 100, "completion_tokens": 100, "total_tokens": len(body) // 100 + 100},
    }


async def serve(given: argparse.Namespace) -> None:
    bound = type("Bound", (Connection,), {"endpoint": Endpoint(given)})
    server = await asyncio.get_running_loop().create_server(bound, "127.0.0.1", given.port, backlog=PERIOD)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay-s", type=float, default=0.2)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cpu", type=int)
    given = parser.parse_args()
    if given.cpu is not None:
        os.sched_setaffinity(0, {given.cpu})
    try:
        import uvloop

        uvloop.run(serve(given))
    except ImportError:
        asyncio.run(serve(given))


if __name__ == "__main__":
    main()
