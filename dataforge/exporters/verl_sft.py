"""verl's multi-turn SFT parquet.

Its loader asserts that every picture is used, in order. Rows come to it through pandas, which fills every struct with
the keys of all the others, so all messages here have the same two.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from dataforge.plugins import Exporter
from dataforge.transcript import Transcript

if TYPE_CHECKING:
    from datasets import Features

PLACEHOLDER = "<image>"


class VerlSft(Exporter):
    """`train.parquet` with messages and embedded images, for verl's `multiturn_sft_dataset`."""

    file: ClassVar[str] = "train.parquet"
    embeds: ClassVar[bool] = True

    def rows(self, told: Transcript) -> Iterator[dict[str, Any]]:
        messages = [{"role": "system", "content": told.system}] if told.system else []
        for turn in told.turns:
            student = turn.role == "assistant"
            text = turn.written() if student else turn.text(PLACEHOLDER)
            messages.append({"role": "assistant" if student else "user", "content": text})
        yield {"messages": messages, "images": [{"bytes": picture.content} for picture in told.pictures]}

    def fault(self, row: Mapping[str, Any]) -> str:
        messages = [message for message in row["messages"] if message["role"] != "system"]
        if any(PLACEHOLDER in message["content"] for message in messages[1::2]):
            return "a placeholder in a student's turn"
        if [message["role"] for message in messages] != ["user", "assistant"] * (len(messages) // 2):
            return "turns do not alternate"
        count = sum(message["content"].count(PLACEHOLDER) for message in messages)
        return "" if count == len(row["images"]) else f"{count} placeholders for {len(row['images'])} images"

    @property
    def lost(self) -> str:
        return "verl learns every assistant turn, deliberate mistakes among them"

    def carries(self, told: Transcript) -> bool:
        return all(turn.learn == "both" for turn in told.turns if turn.role == "assistant")

    def features(self) -> "Features":
        from datasets import Features, List, Value

        text = Value("string")
        messages = List({"role": text, "content": text})
        return Features({"messages": messages, "images": List({"bytes": Value("binary")})})
