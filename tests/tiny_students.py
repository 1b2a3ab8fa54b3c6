"""Tiny students, drawn questions and scripted turns: what the tests of rollouts and RL share."""

import asyncio
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from dataforge import plugins
from dataforge.media import MediaStore
from dataforge.operations.zoom_in import ZoomIn
from dataforge.records import Example, Limits, Student
from dataforge.sources.miniature import Miniature
from training import tiny
from training.encoding import Codec
from training.engine import Request, Sampled
from training.rollout import Budget, Rollout, Setting, begin, play

PATCHES: dict[tiny.Family, int] = {"qwen2_5_vl": 28, "qwen3_vl": 32}
SIZE = tiny.Size(hidden=64, layers=2, heads=2, vision_hidden=32, vision_layers=2, vision_heads=2, vocabulary=512)


def build(folder: Path, family: tiny.Family = "qwen3_vl") -> Codec:
    """A tiny student's checkpoint in the folder, and its codec."""
    side = 9 * PATCHES[family] ** 2
    student = Student(patch=PATCHES[family], min_pixels=side, max_pixels=side)
    operation = ZoomIn(min_side=16, min_pixels=side, max_pixels=side)
    return Codec.load(str(tiny.build(folder, family, size=SIZE)), student, [operation])


def load(folder: Path) -> Any:
    from transformers import AutoModelForImageTextToText

    loader: Any = AutoModelForImageTextToText
    return loader.from_pretrained(folder)


def questions(store: MediaStore, count: int) -> list[Example]:
    source = Miniature()
    return [source.example(row, store) for row in islice(source.read(), count)]


def setting(codec: Codec, store: MediaStore, **budget: int) -> Setting:
    room = {"turns": 4, "turn_tokens": 200, "tokens": 2000, "answer_tokens": 32} | budget
    limits = Limits(operations=2, images=3, image_tokens=64)
    return Setting(codec, limits, Budget(**room), store, plugins.build("check", "answer"))


class Says:
    """An engine that says given texts, each ended as a student ends its turn, or cut off where it is too long."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)

    async def sample(self, request: Request) -> Sampled:
        codec = request.encoding.codec
        ids = [*codec.encode(self.texts.pop(0)), codec.end_id]
        kept = ids[: request.most]
        return Sampled(kept, [-0.5] * len(kept), "end" if kept == ids else "length")

    def release(self, session: str) -> None:
        pass

    def refresh(self) -> None:
        pass


def call(box: Sequence[int], image: int = 1, name: str = "zoom_in") -> str:
    arguments = f'{{"bbox_2d": {list(box)}, "target_image": {image}}}'
    return f'Look.\n<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def said(example: Example, where: Setting, *texts: str) -> Rollout:
    """The rollout of a student that says these texts."""
    return asyncio.run(play(begin(example, where), Says(texts), where, policy=3, seed=7))
