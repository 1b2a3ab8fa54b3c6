"""ms-swift: its agent layout, JSONL of messages with tool_call and tool_response turns.

A message may say that it isn't to be learned, so the flags are carried whole: a thought and its call are two messages
there, each with its own.
"""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from dataforge.plugins import Exporter
from dataforge.transcript import Said, Transcript

PLACEHOLDER = "<image>"


class MsSwift(Exporter):
    """`train.jsonl` and pictures for ms-swift; absolute paths (`root`) are advised there."""

    file: ClassVar[str] = "train.jsonl"

    def rows(self, told: Transcript) -> Iterator[dict[str, Any]]:
        messages = [message for turn in told.turns for message in _messages(turn)]
        images = [self.path(picture.name) for picture in told.pictures]
        yield {"messages": messages, "images": images, "tools": json.dumps(told.tools, ensure_ascii=False)}

    def fault(self, row: Mapping[str, Any]) -> str:
        roles = [message["role"] for message in row["messages"]]
        count = sum(message["content"].count(PLACEHOLDER) for message in row["messages"])
        if count != len(row["images"]):
            return f"{count} placeholders for {len(row['images'])} images"
        for before, after in itertools.pairwise(roles):
            if (before == "tool_call") != (after == "tool_response"):
                return f"{after} after {before}"
        json.loads(row["tools"])
        for message in row["messages"]:
            if message["role"] in ("tool_call", "tool_response"):
                json.loads(message["content"])
        return "" if roles[0] == "user" and roles[-1] == "assistant" else f"from {roles[0]} to {roles[-1]}"


def _messages(turn: Said) -> Iterator[dict[str, Any]]:
    if turn.role == "user" or not turn.to_call:
        yield {"role": "user", "content": turn.text(PLACEHOLDER)}
    elif turn.role == "result":
        status = "error" if turn.error else "success"
        told = {"text": turn.text(), "images": PLACEHOLDER * len(turn.pictures), "status": status}
        yield {"role": "tool_response", "content": json.dumps(told, ensure_ascii=False)}
    else:
        if turn.text():
            yield {"role": "assistant", "content": turn.text(), "loss": turn.learn in ("both", "thought")}
        if turn.call:
            call = {"name": turn.call.name, "arguments": turn.call.arguments}
            learned = turn.learn in ("both", "call")
            yield {"role": "tool_call", "content": json.dumps(call, ensure_ascii=False), "loss": learned}
