"""Plain OpenAI chat messages, JSONL: with native tool calls, and `weight` where a turn isn't to be learned.

Results are a tool message with the text and a user message with the pictures, for tool messages hold none.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from dataforge.dialect import arguments_json
from dataforge.plugins import Exporter
from dataforge.transcript import Said, Transcript


class Openai(Exporter):
    """`train.jsonl` of OpenAI messages and tools, as chat endpoints and fine-tuning take them."""

    pictures: Literal["inline", "files"] = Field(default="inline", description="data URLs, or paths of files beside")

    file: ClassVar[str] = "train.jsonl"

    def rows(self, told: Transcript) -> Iterator[dict[str, Any]]:
        urls = [self._url(picture.name, picture.content) for picture in told.pictures]
        messages: list[dict[str, Any]] = []
        for number, turn in enumerate(told.turns):
            messages += _messages(turn, number, urls)
        yield {"messages": messages, "tools": told.tools}

    def _url(self, name: str, content: bytes) -> str:
        if self.pictures == "files":
            return self.path(name)
        return f"data:image/jpeg;base64,{b64encode(content).decode('ascii')}"

    def fault(self, row: Mapping[str, Any]) -> str:
        open_calls: list[str] = []
        for message in row["messages"]:
            if message["role"] == "tool":
                if message["tool_call_id"] not in open_calls:
                    return "a result that answers no call"
                open_calls.remove(message["tool_call_id"])
            elif open_calls:
                return f"a {message['role']} message before the result of {open_calls[0]}"
            open_calls += [call["id"] for call in message.get("tool_calls", ())]
            if message["role"] != "user" and any(part["type"] == "image_url" for part in _parts(message)):
                return f"an image in a {message['role']} message"
        return "" if row["messages"][-1]["role"] == "assistant" else "the last message isn't the student's"

    @property
    def lost(self) -> str:
        return "`weight` is of whole turns: a turn of which a part is to be learned has weight 0"

    def carries(self, told: Transcript) -> bool:
        return all(turn.learn in ("both", "none") for turn in told.turns if turn.role == "assistant")


def _parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return content if isinstance(content, list) else []


def _messages(turn: Said, number: int, urls: list[str]) -> Iterator[dict[str, Any]]:
    if turn.role == "assistant":
        message: dict[str, Any] = {"role": "assistant", "content": turn.text()}
        if turn.call:
            function = {"name": turn.call.name, "arguments": arguments_json(turn.call)}
            message["tool_calls"] = [{"id": f"call_{number}", "type": "function", "function": function}]
        yield message | ({} if turn.learn == "both" else {"weight": 0})
        return
    parts = [
        {"type": "text", "text": piece.text}
        if piece.picture is None
        else {"type": "image_url", "image_url": {"url": urls[piece.picture]}}
        for piece in turn.pieces
    ]
    if turn.role == "result" and turn.to_call:
        yield {"role": "tool", "tool_call_id": f"call_{number - 1}", "content": turn.text()}
    if turn.role == "user" or turn.pictures or not turn.to_call:
        yield {"role": "user", "content": parts}
