"""vLLM as an engine: the student is served by `training.vllm_worker` in processes of their own, on GPUs of their own.

What goes over the wire are token ids with one placeholder for each picture, and the pictures; back come the sampled ids
with their log-probabilities. Nothing is tokenised again, and no image ids are sent expanded: vLLM expands them itself,
and the parity gate sees whether it did so as the learner does. Before the first turn and after each update the weights,
adapters added in, are written to a folder that all sides see (memory, on one machine), and each server loads them.

    accelerate launch --num_processes 4 -m dataforge.cli train rl ... --set 'vllm=[http://localhost:8100]'
"""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataforge.errors import UsageError
from training.engine import Request, Sampled
from training.passes import core_of, unsampled
from training.students import plain_weights

if TYPE_CHECKING:
    from accelerate import Accelerator
    from PIL import Image

    from training.encoding import Codec
    from training.shared import SharedLikelihood

TIMEOUT_S = 3600
AT_ONCE = 256
"""Turns that a server is asked for at once, about as many as vLLM samples side by side: more only take sockets."""


class VllmEngine:
    """Samples at servers, by turns; each conversation stays with one, where its beginning is cached."""

    def __init__(
        self,
        addresses: Sequence[str],
        codec: Codec,
        learner: SharedLikelihood,
        accelerator: Accelerator,
        tokens: int,
        shared: Path | None = None,
    ) -> None:
        """`learner` is as `accelerator` has prepared it; `tokens` are a conversation's at most; `shared` is a folder
        that the servers see too."""
        self.addresses = list(addresses)
        self.codec = codec
        self.learner = learner
        self.accelerator = accelerator
        self.tokens = tokens
        self.shared = shared or Path("/dev/shm" if Path("/dev/shm").is_dir() else tempfile.gettempdir())
        self.version = 0
        likelihood: Any = accelerator.unwrap_model(learner)
        self._student = likelihood.student
        self._temperature: float = likelihood.temperature
        self._never = unsampled(self._student, codec)
        self._turns = itertools.cycle(range(len(self.addresses)))
        self._homes: dict[str, int] = {}
        self._pngs: dict[str, str] = {}
        self._door: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None

    async def sample(self, request: Request) -> Sampled:
        """The next turn of a conversation; UsageError where its server doesn't answer as it should."""
        if request.lure is not None:
            raise UsageError("forced_look isn't sampled by vLLM: leave it out, or sample in process")
        address = self.addresses[self._homes.setdefault(request.session, next(self._turns))]
        encoding = request.encoding
        body = {
            "ids": compact(encoding.ids, [self.codec.grid(view) for view in encoding.views], self.codec.image_id),
            "pictures": [self._png(view.sha256, request.pictures[view.sha256]) for view in encoding.views],
            "most": request.most,
            "temperature": self._temperature,
            "seed": request.seed % 2**31,
            "end": self.codec.end_id,
            "never": self._never,
            "version": self.version,
        }
        async with self._at_once():
            made = await post(address, "sample", body)
        ids, logprobs = made["ids"], made["logprobs"]
        if len(ids) != len(logprobs) or not ids:
            raise UsageError(f"{address} gave {len(ids)} ids and {len(logprobs)} log-probabilities")
        return Sampled(ids, logprobs, "end" if ids[-1] == self.codec.end_id else "length")

    def _at_once(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        if self._door is None or self._door[0] is not loop:
            self._door = loop, asyncio.Semaphore(AT_ONCE * len(self.addresses))
        return self._door[1]

    def _png(self, sha256: str, picture: Image.Image) -> str:
        """A view as PNG, encoded once: its pixels must arrive as they are."""
        if sha256 not in self._pngs:
            buffer = io.BytesIO()
            picture.save(buffer, "PNG", compress_level=1)
            self._pngs[sha256] = base64.b64encode(buffer.getvalue()).decode()
        return self._pngs[sha256]

    def release(self, session: str) -> None:
        self._homes.pop(session, None)

    def refresh(self) -> None:
        """Send the learner's weights to all servers; they drop what they computed with the old ones.

        UsageError where a server isn't there, or isn't one that can sample for this learner.
        """
        self._pngs.clear()
        self.version += 1
        weights = self.accelerator.get_state_dict(self.learner)
        if self.accelerator.is_main_process:
            own = {name.removeprefix("student."): weight for name, weight in weights.items()}
            with tempfile.TemporaryDirectory(prefix="dataforge-weights-", dir=self.shared) as folder:
                core_of(self._student).save_pretrained(folder, state_dict=plain_weights(self._student, own))
                asyncio.run(self._load(folder))
        self.accelerator.wait_for_everyone()

    async def _load(self, folder: str) -> None:
        body = {"folder": folder, "version": self.version}
        loaded = await asyncio.gather(*(post(address, "load", body) for address in self.addresses))
        for address, told in zip(self.addresses, loaded, strict=True):
            if told["tokens"] < self.tokens:
                raise UsageError(
                    f"{address} takes {told['tokens']} tokens, a rollout may have {self.tokens}: "
                    f"start it with --max-model-len {self.tokens}"
                )
            if self.accelerator.mixed_precision == "no" and told["precision"] != "float32":
                raise UsageError(
                    f"{address} samples in {told['precision']}, and the learner computes in float32: "
                    "start it with --dtype float32"
                )


async def post(address: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a worker answers; UsageError where there is none, or in its words where it refuses."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as wire,
            wire.post(f"{address.rstrip('/')}/{what}", json=body) as reply,
        ):
            text, status = await reply.text(), reply.status
    except (aiohttp.ClientError, TimeoutError) as error:
        raise UsageError(f"no vLLM worker at {address} ({error}): start python -m training.vllm_worker") from None
    try:
        told: dict[str, Any] = json.loads(text)
    except ValueError:
        told = {"error": f"{status} {' '.join(text.split())[:200]}"}
    if status != 200 or "error" in told:
        raise UsageError(f"{address} refused to {what}: {told.get('error', status)}")
    return told


def compact(ids: Sequence[int], grids: Sequence[tuple[int, int]], image_id: int) -> list[int]:
    """The ids with one placeholder for each picture, as vLLM takes them; ValueError where they don't fit the grids."""
    sizes = iter(rows * columns for rows, columns in grids)
    found: list[int] = []
    skip = 0
    for one in ids:
        if skip:
            if one != image_id:
                raise ValueError("a picture has fewer placeholders than its view has tokens")
            skip -= 1
            continue
        found.append(one)
        if one == image_id:
            size = next(sizes, None)
            if size is None:
                raise ValueError("there are more placeholders than pictures")
            skip = size - 1
    if skip or next(sizes, None) is not None:
        raise ValueError("there are fewer placeholders than the pictures have tokens")
    return found
