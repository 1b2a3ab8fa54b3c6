"""TRL: conversational rows with pictures, for SFTTrainer.

Content is typed parts, for a plain string would put all pictures before the first turn. Calls stay in tags in the text
and results in user turns: TRL fills no picture of a tool message. Set `max_length=None` there, or picture tokens are
cut. TRL has one flag for all student turns, not one each; with `by_turn` every learned turn becomes a row of its own,
prompt and completion, and the flags hold.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from dataforge.plugins import Exporter
from dataforge.transcript import Said, Transcript

if TYPE_CHECKING:
    from datasets import Features


class Trl(Exporter):
    """`train.parquet` with messages and images for TRL's SFTTrainer."""

    by_turn: bool = Field(default=False, description="a row for each student turn that is wholly learned")

    file: ClassVar[str] = "train.parquet"
    embeds: ClassVar[bool] = True

    def rows(self, told: Transcript) -> Iterator[dict[str, Any]]:
        images = [{"bytes": picture.content, "path": picture.name} for picture in told.pictures]
        messages = [_message("system", [_text(told.system)])] if told.system else []
        shown = 0
        for turn in told.turns:
            message = _turn(turn)
            if self.by_turn and turn.role == "assistant" and turn.learn == "both":
                yield {"prompt": list(messages), "completion": [message], "images": images[:shown]}
            messages.append(message)
            shown += len(turn.pictures)
        if not self.by_turn:
            yield {"messages": messages, "images": images}

    def fault(self, row: Mapping[str, Any]) -> str:
        messages = row["messages"] if "messages" in row else [*row["prompt"], *row["completion"]]
        count = sum(part["type"] == "image" for message in messages for part in message["content"])
        if count != len(row["images"]):
            return f"{count} placeholders for {len(row['images'])} images"
        return "" if messages[-1]["role"] == "assistant" else "the last turn isn't the student's"

    @property
    def lost(self) -> str:
        if self.by_turn:
            return "a thought whose call isn't to be learned can't be a row, and is left out"
        return "TRL learns every student turn of a row, mistakes among them; by_turn=true keeps most flags"

    def carries(self, told: Transcript) -> bool:
        flags = {turn.learn for turn in told.turns if turn.role == "assistant"}
        return flags <= ({"both", "none"} if self.by_turn else {"both"})

    def features(self) -> "Features":
        from datasets import Features, Image, List, Value

        text = Value("string")
        messages = List({"role": text, "content": List({"type": text, "text": text})})
        named = {"prompt": messages, "completion": messages} if self.by_turn else {"messages": messages}
        return Features({**named, "images": List(Image())})


def _turn(turn: Said) -> dict[str, Any]:
    if turn.role == "assistant":
        return _message("assistant", [_text(turn.written())])
    shown = {"type": "image", "text": None}
    return _message("user", [_text(piece.text) if piece.picture is None else shown for piece in turn.pieces])


def _message(role: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"role": role, "content": content}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
