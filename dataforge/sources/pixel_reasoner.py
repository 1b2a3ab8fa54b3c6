"""Pixel Reasoner's released sets: the questions of a release.json (instruction tuning) or release.parquet (RL).

A release.json has no key, only what its traces answer: its questions come without accepted answers, unless `answers`
names a release.parquet that has them under the same qid. Videos lie there as folders of frames, which are no video
files: their rows fail with the reason `video_frames`. The whole traces are read by `dataforge import`.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from dataforge import reading
from dataforge.errors import ExampleError
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.records import AnswerType, Example, Failure


class PixelReasoner(Source):
    """Questions of Pixel Reasoner's release.json or release.parquet, with the pictures unpacked beside it."""

    path: Path = Field(description="release.json or release.parquet")
    images: Path | None = Field(
        default=None, description="folder that the pictures' paths start in; default: the file's"
    )
    answers: Path | None = Field(default=None, description="a release.parquet with the keys of a release.json")
    answer_type: AnswerType = Field(default="text", description="of the keys")
    start: int = Field(default=0, ge=0, description="first row read")
    count: int | None = Field(default=None, ge=1, description="rows read; default: to the end")

    @property
    def licence(self) -> str:
        return "of the data set that the picture is from; questions Apache-2.0 (Pixel Reasoner)"

    def read(self) -> Iterator[Row | Failure]:
        return reading.rows(self.path.stem, reading.table(self.path), self._row, self.start, self.count)

    def _row(self, number: int, entry: dict[str, Any]) -> Row:
        identity = reading.text(entry, "qid")
        told = _of_messages(entry) if "message_list" in entry else _of_columns(entry)
        keys = told["answers"] or self._keys.get(identity, ())
        name = reading.relative(told["picture"], "image")
        content = {**told, "answers": keys, "picture": (self.images or self.path.parent) / name, "origin": name}
        return Row(identity, name, content)

    @cached_property
    def _keys(self) -> dict[str, tuple[str, ...]]:
        if self.answers is None:
            return {}
        entries = (entry for entry in reading.table(self.answers) if isinstance(entry, dict))
        return {str(entry.get("qid")): unboxed(entry.get("answer")) for entry in entries}

    def example(self, row: Row, store: MediaStore) -> Example:
        found = row.content
        media = store.add_file(found["picture"], self.licence, f"Pixel-Reasoner/{found['origin']}")
        return self.asked(row, media, answer_type=self.answer_type)


def _of_messages(entry: dict[str, Any]) -> dict[str, Any]:
    messages = entry["message_list"]
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        raise ExampleError("read", "bad_row", "message_list is no list of messages")
    asked = next((one for one in messages if one.get("role") == "user"), None)
    parts = content_of(asked) if asked else []
    question = "\n".join(part["text"] for part in parts if part.get("text"))
    pictures = [part["image"] for part in parts if part.get("image")]
    if any(part.get("video") for part in parts):
        raise ExampleError("read", "video_frames", "a video is there as a folder of frames")
    if len(pictures) != 1 or not isinstance(pictures[0], str) or not question.strip():
        raise ExampleError("read", "bad_row", f"a question on one picture was expected, and {len(pictures)} are there")
    return {"question": question.strip(), "answers": (), "picture": pictures[0], "messages": messages}


def _of_columns(entry: dict[str, Any]) -> dict[str, Any]:
    if entry.get("is_video"):
        raise ExampleError("read", "video_frames", "a video is there as a folder of frames")
    pictures = reading.texts(entry.get("image"), "image")
    if len(pictures) != 1:
        raise ExampleError("read", "bad_row", f"a question on one picture was expected, and {len(pictures)} are there")
    question = reading.text(entry, "question").replace("<image>", "").strip()
    return {"question": question, "answers": unboxed(entry.get("answer")), "picture": pictures[0], "messages": None}


def content_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A message's parts; keys that other parts have are null after a way through parquet."""
    content = message.get("content")
    if isinstance(content, str):
        return [{"text": content}]
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def unboxed(value: Any) -> tuple[str, ...]:
    r"""Answers, of which some stand in \boxed{} there."""
    return tuple(
        one.removeprefix("\\boxed{").removesuffix("}") if one.startswith("\\boxed{") else one
        for one in reading.texts(value, "answer")
    )
