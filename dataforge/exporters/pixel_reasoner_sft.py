"""Pixel Reasoner's own release.json: what its instruction-tuning code reads.

A list of `{qid, message_list}`; content items are keyed by what they are, without a type. The question's turn has its
text first and the media second, for their code looks for a video there. Their trainer learns the last two turns of the
student, whatever else there is.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from dataforge.plugins import Exporter
from dataforge.records import BoxUnit
from dataforge.transcript import Said, Transcript

LEARNED = 2


class PixelReasonerSft(Exporter):
    """`release.json` and pictures, as Pixel Reasoner's instruction tuning reads them (`sft_tooltrainer.py`)."""

    box_unit: BoxUnit | None = Field(default="0..1", description="of boxes in calls; theirs are 0..1")
    tools: dict[str, str] = Field(default={"zoom_in": "crop_image"}, description="names of operations there")

    file: ClassVar[str] = "release.json"

    def rows(self, told: Transcript) -> Iterator[dict[str, Any]]:
        names = [self.path(picture.name) for picture in told.pictures]
        first, *rest = told.turns
        shown = [names[index] for index in first.pictures]
        media: list[dict[str, Any]] = [{"video": shown}] if told.is_video else [{"image": name} for name in shown]
        messages = [{"role": "system", "content": [{"text": told.system}]}] if told.system else []
        messages.append({"role": "user", "content": [{"text": first.pieces[-1].text}, *media]})
        messages += [self._message(turn, names) for turn in rest]
        yield {"qid": told.trace.id, "message_list": messages}

    def _message(self, turn: Said, names: list[str]) -> dict[str, Any]:
        if turn.role == "assistant":
            return {"role": "assistant", "content": [{"text": turn.written()}]}
        shown = [{"image": names[index]} for index in turn.pictures]
        return {"role": "user", "content": [{"text": turn.text()}, *shown]}

    def fault(self, row: Mapping[str, Any]) -> str:
        messages = [one for one in row["message_list"] if one["role"] != "system"]
        roles = [message["role"] for message in messages]
        if roles != ["user", "assistant"] * (len(roles) // 2):
            return f"roles do not alternate: {roles}"
        if "text" not in messages[0]["content"][0] or not {"image", "video"} & set(messages[0]["content"][1]):
            return "the question's turn isn't text first and media second"
        if "\\boxed{" not in messages[-1]["content"][0]["text"]:
            return "no boxed answer at the end"
        if any("<tool_call>" not in message["content"][0]["text"] for message in messages[1:-1:2]):
            return "a student's turn before the last holds no call"
        return ""

    @property
    def lost(self) -> str:
        return "their trainer learns the last two student turns of each, deliberate mistakes among them"

    def carries(self, told: Transcript) -> bool:
        flags = [turn.learn for turn in told.turns if turn.role == "assistant"]
        return all(flag == "none" for flag in flags[:-LEARNED]) and all(flag == "both" for flag in flags[-LEARNED:])
