"""verl's RL parquet: a prompt with its picture in full resolution, the truth for the reward, and the tool's set-up.

A picture is its bytes alone: bytes and path together are refused there.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from dataforge.plugins import Exporter
from dataforge.records import to_line
from dataforge.transcript import Transcript

PLACEHOLDER = "<image>"


class VerlRl(Exporter):
    """`train.parquet` with prompts, truths and embedded pictures, for verl's `rl_dataset`."""

    agent: str = Field(default="tool_agent", description="agent_name: the loop that runs the calls; ours is dataforge")

    file: ClassVar[str] = "train.parquet"
    embeds: ClassVar[bool] = True
    shows_sources: ClassVar[bool] = True
    once_a_question: ClassVar[bool] = True

    def rows(self, told: Transcript) -> Iterator[dict[str, Any]]:
        example = told.trace.example
        question = PLACEHOLDER * len(told.sources) + "\n" + told.turns[0].pieces[-1].text.strip()
        prompt = [{"role": "system", "content": told.system}] if told.system else []
        names = [str(tool["function"]["name"]) for tool in told.tools]  # type: ignore[index]
        yield {
            "data_source": f"dataforge/{example.source}",
            "agent_name": self.agent,
            "prompt": [*prompt, {"role": "user", "content": question}],
            "images": [{"bytes": picture.content} for picture in told.sources],
            "ability": "visual_reasoning",
            "reward_model": {"style": "rule", "ground_truth": next(iter(example.answers), "")},
            "extra_info": {
                "split": example.split,
                "index": example.id,
                "question": told.question,
                "answers": list(example.answers),
                "answer_type": example.answer_type,
                "example": to_line(example),
                "need_tools_kwargs": bool(names),
                "tools_kwargs": {name: {"create_kwargs": {"ground_truth": example.answers[0]}} for name in names},
            },
        }

    def fault(self, row: Mapping[str, Any]) -> str:
        count = sum(message["content"].count(PLACEHOLDER) for message in row["prompt"])
        if count != len(row["images"]):
            return f"{count} placeholders for {len(row['images'])} images"
        return "" if row["reward_model"]["ground_truth"] else "no answer to reward"
