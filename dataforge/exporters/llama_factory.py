"""LLaMA-Factory: sharegpt conversations, pictures beside them, and the entry for dataset_info.json.

Its loader drops a row silently when turns don't alternate, and its plug-in stops when the placeholders of all turns
aren't as many as the pictures. A thought with its call is one `gpt` turn in the raw form, and a result a `human` turn:
its own function_call and observation roles have no place for a thought beside a call.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from dataforge.plugins import Exporter
from dataforge.transcript import Transcript

PLACEHOLDER = "<image>"


class LlamaFactory(Exporter):
    """`dataforge.json` in sharegpt form with `dataset_info.json` and pictures, for LLaMA-Factory."""

    file: ClassVar[str] = "dataforge.json"

    def rows(self, told: Transcript) -> Iterator[dict[str, Any]]:
        turns = [
            {"from": "gpt", "value": turn.written()}
            if turn.role == "assistant"
            else {"from": "human", "value": turn.text(PLACEHOLDER)}
            for turn in told.turns
        ]
        images = [self.path(picture.name) for picture in told.pictures]
        yield {"conversations": turns, "system": told.system, "images": images}

    def fault(self, row: Mapping[str, Any]) -> str:
        turns = row["conversations"]
        wanted = ["human", "gpt"] * (len(turns) // 2)
        if [turn["from"] for turn in turns] != wanted:
            return "turns do not alternate, or are an odd number: the row would be dropped"
        count = sum(turn["value"].count(PLACEHOLDER) for turn in turns)
        return "" if count == len(row["images"]) else f"{count} placeholders for {len(row['images'])} images"

    @property
    def lost(self) -> str:
        return "LLaMA-Factory learns every gpt turn, or with mask_history the last alone"

    def carries(self, told: Transcript) -> bool:
        return all(turn.learn == "both" for turn in told.turns if turn.role == "assistant")

    def beside(self) -> Mapping[str, str]:
        columns = {"messages": "conversations", "images": "images", "system": "system"}
        entry = {"file_name": self.file, "formatting": "sharegpt", "columns": columns}
        return {"dataset_info.json": json.dumps({"dataforge": entry}, indent=1) + "\n"}
