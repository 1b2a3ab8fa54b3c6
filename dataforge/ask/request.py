"""A question to a model, and what comes of it: the words that a run, its teacher and what stands between them share."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

from dataforge.errors import ExampleError
from dataforge.records import Call


@dataclass(frozen=True)
class Picture:
    """An encoded picture in a request."""

    jpeg: bytes
    sha256: str

    @cached_property
    def base64(self) -> bytes:
        """The picture as text, made once however often it is sent."""
        return b64encode(self.jpeg)


class Message(NamedTuple):
    """One chat message to a teacher; its parts in order.

    `call` is what an assistant has called through the API's own form; a message of role `tool` answers it by `call_id`.
    """

    role: Literal["system", "user", "assistant", "tool"]
    parts: tuple[str | Picture, ...]
    call: Call | None = None
    call_id: str = ""


Purpose = Literal["write", "locate", "verify", "answer", "judge", "choose", "pose", "others", "play"]


@dataclass(frozen=True)
class Request:
    """One question to a teacher.

    `schema` is the JSON schema of the reply (an object of strings, numbers, arrays). `truth` is what a teacher that
    writes from the annotation may read; it is never sent anywhere. Requests that differ in `sample` alone are drawn
    anew from the same model, and kept apart. `endpoint` is which of the teacher's endpoints to ask. `tools` are the
    functions that the model may call in the API's own form; a call comes back in the reply's text, in tags. With the
    purpose `play` the model's own failings (cut off, refused, empty) are replies too.
    """

    purpose: Purpose
    messages: tuple[Message, ...]
    schema: Mapping[str, Any]
    truth: Mapping[str, Any] = field(default_factory=dict)
    sample: int = 0
    endpoint: int = 0
    tools: tuple[Mapping[str, Any], ...] = ()


class Reply(NamedTuple):
    """A teacher's reply: its text, who wrote it, and what it used.

    `scale` is below 1 where the pictures had to be sent smaller than they were asked about; `hold_s` is for how long
    the endpoint will take no further request.
    """

    text: str
    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    finish: str = "stop"
    scale: float = 1.0
    hold_s: float = 0.0


class Setback(ExampleError):
    """One attempt to ask a teacher came to nothing, and another may succeed: it is made again, later or elsewhere.

    `wait_s` is how long the server wants to be left alone, if it says so; `busy` that it has refused for load, so that
    all calls to it slow down; `charged` that it may have made, and charged, a reply that did not arrive.
    """

    def __init__(
        self,
        reason: str,
        detail: str = "",
        wait_s: float | None = None,
        busy: bool = False,
        charged: bool = False,
    ) -> None:
        super().__init__("teacher", reason, detail)
        self.wait_s = wait_s
        self.busy = busy
        self.charged = charged
        self.endpoint: int | None = None


TRANSIENT = frozenset({"rate_limited", "timeout", "unreachable", "server_error", "expired"})
"""Reasons of failures that say nothing about the example: it is made again when its run goes on."""

MOST_OUTPUT = 4096
"""Tokens of a reply, where a teacher doesn't say what its limit is."""


class Ask(Protocol):
    """Asks a teacher; the reply comes from the cache where it has been paid for."""

    async def __call__(self, request: Request) -> Reply: ...
