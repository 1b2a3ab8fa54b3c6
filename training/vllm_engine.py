"""vLLM as an engine: the student is served by `training.vllm_worker` in processes of their own, on GPUs of their own.

What goes over the wire are token ids with one placeholder for each picture, and the pictures; back come the sampled ids
with their log-probabilities. Nothing is tokenised again, and no image ids are sent expanded: vLLM expands them itself,
and the parity gate sees whether it did so as the learner does. After an update the weights are written to a folder that
all sides see (memory, on one machine), and each server loads them before it samples again.

    accelerate launch --num_processes 4 -m dataforge.cli train rl ... --set 'vllm=[http://localhost:8100]'
"""

from __future__ import annotations

import base64
import io
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataforge.errors import UsageError
from training.engine import Request, Sampled

if TYPE_CHECKING:
    import aiohttp
    from PIL import Image

    from training.encoding import Codec

TIMEOUT_S = 3600


class VllmEngine:
    """Samples at servers, by turns; each conversation stays with one, where its beginning is cached."""

    def __init__(
        self,
        addresses: Sequence[str],
        codec: Codec,
        student: Any,
        temperature: float = 1.0,
        accelerator: Any = None,
        shared: Path | None = None,
    ) -> None:
        self.addresses = list(addresses)
        self.codec = codec
        self.student = student
        self.temperature = temperature
        self.accelerator = accelerator
        self.shared = shared or Path("/dev/shm" if Path("/dev/shm").is_dir() else tempfile.gettempdir())
        self.version = 0
        self._turns = itertools.cycle(range(len(self.addresses)))
        self._homes: dict[str, int] = {}
        self._pngs: dict[str, str] = {}

    async def sample(self, request: Request) -> Sampled:
        """The next turn of a conversation; UsageError where its server doesn't answer as it should."""
        import aiohttp

        if request.lure is not None:
            raise UsageError("forced_look isn't sampled by vLLM: leave it out, or sample in process")
        home = self._homes.setdefault(request.session, next(self._turns))
        encoding = request.encoding
        body = {
            "ids": compact(encoding.ids, [self.codec.grid(view) for view in encoding.views], self.codec.image_id),
            "pictures": [self._png(view.sha256, request.pictures[view.sha256]) for view in encoding.views],
            "most": request.most,
            "temperature": self.temperature,
            "seed": request.seed % 2**31,
            "end": self.codec.end_id,
            "never": list(self.codec.vision_ids),
            "version": self.version,
        }
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as wire:
            made = await self._post(wire, self.addresses[home], "sample", body)
        ids, logprobs = made["ids"], made["logprobs"]
        if len(ids) != len(logprobs) or not ids:
            raise UsageError(f"{self.addresses[home]} gave {len(ids)} ids and {len(logprobs)} log-probabilities")
        return Sampled(ids, logprobs, "end" if ids[-1] == self.codec.end_id else "length")

    @staticmethod
    async def _post(wire: aiohttp.ClientSession, address: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
        import aiohttp

        try:
            async with wire.post(f"{address.rstrip('/')}/{what}", json=body) as reply:
                told: dict[str, Any] = await reply.json()
                if reply.status != 200:
                    raise UsageError(f"{address} refused to {what}: {told.get('error', reply.status)}")
                return told
        except aiohttp.ClientError as error:
            raise UsageError(f"no vLLM worker at {address} ({error}): start python -m training.vllm_worker") from None

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
        """Send the learner's weights to all servers; they drop what they computed with the old ones."""
        import asyncio

        self._pngs.clear()
        self.version += 1
        folder = self.shared / "dataforge-weights"
        main = self.accelerator is None or self.accelerator.is_main_process
        weights = self.accelerator.get_state_dict(self.student) if self.accelerator is not None else None
        if main:
            self.student.save_pretrained(folder, state_dict=weights)
            asyncio.run(self._load(folder))
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()

    async def _load(self, folder: Path) -> None:
        import asyncio

        import aiohttp

        body = {"folder": str(folder), "version": self.version}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as wire:
            await asyncio.gather(*(self._post(wire, address, "load", body) for address in self.addresses))


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
