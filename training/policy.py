"""A local model in the teacher's place: a checkpoint's folder, asked as an endpoint is asked, in this process.

So an evaluation of a student takes the very path that one of a paid model takes: pace, cache, budget, resume. What is
its own: pictures arrive without loss, so the model sees the views that the episode cut; texts become ids by the
encoding that SFT and RL use; turns are sampled by RL's engine, many conversations in one batch. A reply is known by the
hash of the weights and not by their folder: a student that has been trained on is another one.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr

from dataforge.ask.request import Message, Picture, Reply, Request
from dataforge.chat import ChatTurn, Part
from dataforge.errors import ExampleError, UsageError
from dataforge.geometry import Box
from dataforge.media import decode
from dataforge.plugins import Teacher
from dataforge.records import Student, View

if TYPE_CHECKING:
    from PIL import Image

    from training.encoding import Codec, Encoding
    from training.engine import LocalEngine

REMEMBERED = 32
"""Turns after which the engine forgets what it has read and seen, which else grows with every question."""
SHAPING = ("*.safetensors", "*config.json", "tokenizer*", "vocab.json", "merges.txt", "*.jinja", "chat_template.json")
"""Files of a checkpoint that shape what it says."""


class Policy(Teacher):
    """A transformers checkpoint of the Qwen-VL family, run in this process."""

    beside_the_digest: ClassVar[frozenset[str]] = Teacher.beside_the_digest | {"path", "device", "precision"}
    lossless: ClassVar[bool] = True

    path: Path = Field(description="the checkpoint's folder")
    model: str = Field(description="what it is called in traces and tables")
    weights: str = Field(description="hash of the checkpoint's files, as `fingerprint` gives it")
    in_flight: int = Field(default=8, gt=0, le=1024, description="conversations in a batch")
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=2048, gt=0, description="of one turn")
    context: int = Field(default=32768, gt=0, description="tokens of a conversation, images included")
    device: str | None = Field(default=None, description="such as cuda or cpu; a GPU where there is one")
    precision: Literal["auto", "bf16", "fp32"] = Field(default="auto", description="auto: bf16 on a GPU")

    _engine: LocalEngine | None = PrivateAttr(default=None)
    _codec: Codec | None = PrivateAttr(default=None)
    _turns: itertools.count[int] = PrivateAttr(default_factory=itertools.count)
    _asking: int = PrivateAttr(default=0)

    @property
    def title(self) -> str:
        return f"policy {self.model}"

    def price(self, input_tokens: int, output_tokens: int, batch: bool = False) -> float | None:
        return 0.0

    def forecast(self, request: Request) -> tuple[int, int]:
        return super().forecast(request)[0], self.max_tokens

    async def check(self) -> str:
        """One line on the checkpoint; UsageError where it is none, or not the one that was named."""
        if fingerprint(self.path) != self.weights:
            raise UsageError(f"{self.path} no longer holds the weights that were named: start another run")
        return f"{self.path} holds {self.model}"

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Teacher]:
        """Holds the loaded model; UsageError where its folder holds none that can be run."""
        from training.engine import LocalEngine

        self._codec = codec_of(self.path)
        self._engine = LocalEngine(load(self.path, self.device, self.precision), self._codec, None, self.temperature)
        try:
            yield self
        finally:
            self._engine = self._codec = None

    async def ask(self, request: Request) -> Reply:
        """The model's next turn; `finish` is `cut_off` where it found no end.

        ExampleError("teacher", reason) for a conversation that leaves no room, or that its template can't hold.
        """
        from training import engine as sampling

        assert self._engine is not None, "ask in a session"
        assert self._codec is not None
        codec = copy.copy(self._codec)
        codec.tools = [dict(tool) for tool in request.tools] or None
        _refuse_untold(codec)
        encoding, pictures = await asyncio.to_thread(encoded, request.messages, codec)
        read = len(encoding)
        if (most := min(self.max_tokens, self.context - read)) < 1:
            raise ExampleError("teacher", "context_too_long", f"{read} of {self.context} tokens")
        number = next(self._turns)
        wanted = sampling.Request(f"turn {number}", encoding, pictures, most, _seed(request))
        self._asking += 1
        try:
            sampled = await self._engine.sample(wanted)
        finally:
            self._asking -= 1
            self._engine.release(wanted.session)
        if number % REMEMBERED == 0 or not self._asking:
            self._engine.refresh()
            self._engine.sight.forget()
        text = codec.decode(sampled.ids)
        finish = "stop" if sampled.stop == "end" else "cut_off"
        return Reply(text, self.model, read, len(sampled.ids), 0.0, finish if text.strip() else "empty_reply")


def encoded(messages: Sequence[Message], codec: Codec) -> tuple[Encoding, Mapping[str, Image.Image]]:
    """A conversation as the model reads it, up to where it speaks, and its pictures by hash."""
    turns: list[ChatTurn] = []
    views: list[View] = []
    pictures: dict[str, Image.Image] = {}
    for message in messages:
        parts = []
        for part in message.parts:
            if isinstance(part, Picture):
                picture = decode(part.jpeg)
                width, height = picture.size
                shown = Box(0, 0, width, height)
                views.append(View(number=len(views) + 1, width=width, height=height, sha256=part.sha256, box=shown))
                pictures[part.sha256] = picture
                parts.append(Part(view=len(views)))
            else:
                parts.append(Part(part.strip() if message.role == "assistant" else part))
        step = int(message.call_id.removeprefix("call_")) - 1 if message.call_id else None
        turns.append(ChatTurn(message.role, tuple(parts), step, message.call))
    try:
        encoding = codec.start(turns, views)
        encoding.ask()
    except UsageError as error:  # a turn of the model's own that its template would rewrite
        raise ExampleError("teacher", "bad_request", str(error)) from None
    return encoding, pictures


def _refuse_untold(codec: Codec) -> None:
    """UsageError where the checkpoint's template leaves the tools out, as Qwen2.5-VL's does."""
    if codec.tools:
        told = codec.text([{"role": "user", "content": "?"}])
        if not all(json.dumps(tool["function"]["name"]) in told for tool in codec.tools):
            raise UsageError("the checkpoint's chat template tells the model of no tools: use --calls tagged")


def _seed(request: Request) -> int:
    """A seed that goes with what is asked alone, for a temperature above 0."""
    said = [part if isinstance(part, str) else part.sha256 for message in request.messages for part in message.parts]
    return int.from_bytes(hashlib.sha256(repr((request.sample, said)).encode()).digest()[:6], "big")


# ------------------------------------------------------------------------------------------------------ the checkpoint


def spec(folder: Path, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The teacher of a manifest for this checkpoint, called so; UsageError where the folder holds none."""
    known = {key: value for key, value in settings.items() if key in Policy.model_fields and value is not None}
    return {"name": "training.policy", "path": str(folder), "model": name, "weights": fingerprint(folder), **known}


def dialect(folder: Path) -> dict[str, int]:
    """What of a manifest's student follows from the checkpoint: the square that costs one token."""
    return {"patch": codec_of(folder).student.patch}


def codec_of(folder: Path) -> Codec:
    """How the checkpoint reads, whatever operations are offered: those stand in the conversation's own texts."""
    from transformers import Qwen2VLImageProcessorPil

    from training.encoding import Codec, files_of

    try:
        processor: Any = Qwen2VLImageProcessorPil.from_pretrained(files_of(str(folder)))
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} has no image processor: {' '.join(str(error).split())[:200]}") from None
    sizes = {"min_pixels": processor.size["shortest_edge"], "max_pixels": processor.size["longest_edge"]}
    student = Student(patch=processor.patch_size * processor.merge_size, **sizes)
    return Codec.load(str(folder), student, ())


def load(folder: Path, device: str | None, precision: Literal["auto", "bf16", "fp32"]) -> Any:
    """The model, ready to be asked; UsageError where its weights can't be read."""
    import torch
    from transformers import AutoModelForImageTextToText

    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    short = precision == "bf16" or (precision == "auto" and where != "cpu")
    try:
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.bfloat16 if short else torch.float32)
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} holds no weights that can be read: {' '.join(str(error).split())[:200]}") from None
    return model.to(torch.device(where)).eval()  # type: ignore[arg-type]


def fingerprint(folder: Path) -> str:
    """16 hex digits of all files that shape what the checkpoint says; UsageError where there are none."""
    paths = sorted(path for pattern in SHAPING for path in folder.glob(pattern))
    if not any(path.suffix == ".safetensors" for path in paths):
        raise UsageError(f"{folder} is no checkpoint: it has no *.safetensors")
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as content:
            digest.update(path.name.encode() + b"\0" + hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]
