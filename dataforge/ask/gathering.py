"""Stands where `Asking` does in a run through the Batch API: what is not in the cache is gathered for the next batch.

Lines go to disk as they come, with their pictures, so memory does not grow with a batch. Under a budget each line holds
back the most that it can cost, and gathering ends with the first that doesn't fit. While nobody knows what the model
counts, a batch under a budget is a small one.
"""

import asyncio
import hashlib
import json
from typing import BinaryIO

from dataforge.ask.batch import Batches
from dataforge.ask.budget import NotYet, Spend
from dataforge.ask.replies import request_key, summarise
from dataforge.ask.request import Reply, Request
from dataforge.ask.transport import encode
from dataforge.ask.wire import smaller
from dataforge.errors import ExampleError
from dataforge.runs import writing

MOST_LINES = 50_000
MOST_BYTES = 190_000_000
"""Of a part: the API's limits are 50,000 lines and 200 MB."""
TRIAL_LINES = 10
"""Of the first batch under a budget, where no reply has told yet what the model counts."""


class Pending(NotYet):
    """The reply will come with a batch."""


class Gathering:
    """Stands where `Asking` does: gives what the cache has, and gathers the rest for the next batch."""

    def __init__(self, batches: Batches) -> None:
        self.teacher = batches.teacher
        self.batches = batches
        self._gathered: set[str] = set()
        self._clear()

    def _clear(self) -> None:
        self._lines: BinaryIO | None = None
        self._keys: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._most = Spend()
        self._count = self._bytes = 0

    async def ask(self, request: Request) -> Reply:
        """The reply where it is known; Pending where it comes with the next batch, BudgetReached where it doesn't fit.

        ExampleError("teacher", reason) where an earlier batch has ended in an error.
        """
        key = request_key(self.teacher, request)
        purse = self.batches.purse
        if (reply := self.batches.cache.get(key)) is not None:
            if reply.input_tokens and reply.scale == 1 and not purse.knows(self.teacher):
                purse.learn(self.teacher.forecast(request)[0], reply.input_tokens)
            return reply
        if (error := self.batches.errors.get(key)) is not None:
            if not error.smaller:
                raise ExampleError("teacher", error.reason, error.detail, error.usage)
            request = await asyncio.to_thread(smaller, request)
        if not (purse.budget and not purse.knows(self.teacher) and self._count >= TRIAL_LINES):
            self._gather(key, request)
        raise Pending

    def _gather(self, key: str, request: Request) -> None:
        if key in self._gathered:
            return
        body = encode(self.teacher.body(request))
        line = b'{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":%s}\n' % (key.encode(), body)
        if len(line) > MOST_BYTES:
            raise ExampleError("teacher", "image_too_large", f"{len(line):,} bytes don't fit into a batch")
        most = self.batches.purse.most(request)
        self.batches.purse.hold(most)
        if self._count >= MOST_LINES or self._bytes + len(line) > MOST_BYTES:
            self.seal()
        with writing(self.batches.folder):
            self._lines = self._lines or (self.batches.folder / "open.jsonl").open("wb")
            self._keys = self._keys or (self.batches.folder / "open.keys").open("wb")
            self._lines.write(line)
            estimated, _ = self.teacher.forecast(request)
            self._keys.write(json.dumps([key, estimated, *summarise(self.teacher, request)]).encode() + b"\n")
        self._digest.update(line)
        self._most = self._most.plus(most)
        self._count += 1
        self._bytes += len(line)
        self._gathered.add(key)

    def seal(self) -> bool:
        """Close what was gathered as a part of the next batch; False where nothing was."""
        if self._lines is None or self._keys is None:
            return False
        with writing(self.batches.folder):
            self._lines.close()
            self._keys.close()
        self.batches.purse.release(self._most)
        self.batches.seal(self._digest.hexdigest(), self._count, self._most)
        self._clear()
        return True

    def next_round(self) -> bool:
        """Seal what this round has gathered; False when there was nothing, so that no further round is needed."""
        sealed, self._gathered = self.seal() or bool(self._gathered), set()
        return sealed
