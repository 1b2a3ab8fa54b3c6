"""A run through the Batch API: half the price, an answer within a day, round by round.

`synth` runs as ever, but whoever asks is given a reply from the cache or has to wait: what is not there yet is gathered
as a line of a file (`Gathering`), and when all rows have been seen, the files are sealed and submitted as batches
(`Batches`). Their replies go into the cache, and the rows that wait are run again: a trace that takes four replies
takes four rounds. Rows are written as they are finished, and sorted at the end. The teacher is asked nothing outside a
batch. A dead key ends the run when the first file is sent; lines that show how the server wants to be asked are
gathered again in that form, and those that are too much for it once more with smaller pictures. Several servers share
the parts.

In the run folder's `batches/` each part has its lines (`0001-<digest>.jsonl`), their keys (`.keys`), both deleted when
it is merged, and its state (`.json`), written before the next step is taken. A kill between any two steps costs no
money: a part is created under a mark of its own and found by it (`batch_api`); replies are merged by `custom_id`, the
request's key, and merging twice is merging once. Lines that ended in an error are kept in `errors.jsonl`.
"""

import asyncio
import json
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from dataforge.ask.asking import Counts
from dataforge.ask.batch_api import BatchApi, Standing, connected
from dataforge.ask.budget import Purse, Spend
from dataforge.ask.faults import Asked as Server
from dataforge.ask.faults import TooMuch, failure
from dataforge.ask.replies import Asked, ReplyCache
from dataforge.ask.request import TRANSIENT, Reply
from dataforge.ask.transport import Answer
from dataforge.ask.wire import SMALLER
from dataforge.errors import ExampleError, UsageError
from dataforge.runs import append_text, cut_torn_line, make_folder, write_whole, writing
from dataforge.teachers.openai_api import Habit, OpenaiApi

LINE_TRIES = 3
"""For a line that expired, or met a fault of the server."""
POLL_S, LONGEST_POLL_S = 1.0, 60.0
WAITS = ("token_limit_exceeded", "rate_limit")
"""Errors of a batch that was turned away for what else is queued: it is created again later."""


class Part(BaseModel):
    """The state of one file of requests, on disk before the next step is taken."""

    name: str
    lines: int
    most: tuple[int, int, float]
    address: str
    habit: Habit
    file: str = ""
    batch: str = ""
    merged: bool = False


class Error(BaseModel):
    """What became of a line that got no reply of use, and what that has cost.

    `smaller` says that the request is to be made once more, with its pictures at half the size.
    """

    key: str
    reason: str
    detail: str = ""
    usage: tuple[int, int, float] = (0, 0, 0.0)
    smaller: bool = False


class Line(NamedTuple):
    """What is remembered of a request on its way: its input tokens as estimated, and what the cache keeps of it."""

    estimated: int
    asked: Asked


class Batches:
    """The parts of one run: sealed, submitted, awaited, merged. `errors` has the requests that get no reply."""

    def __init__(
        self, folder: Path, run: str, teacher: OpenaiApi, cache: ReplyCache, purse: Purse, forget: Collection[str] = ()
    ) -> None:
        self.folder = folder
        self.teacher = teacher
        self.cache = cache
        self.purse = purse
        self.counts = Counts()
        self.errors: dict[str, Error] = {}
        self._run = run
        self._tries: dict[str, int] = {}
        self._apis: dict[str, BatchApi] = {}
        self._stack = AsyncExitStack()
        make_folder(folder)
        self._read_errors(TRANSIENT | set(forget))
        self.parts = self._read_parts()

    # ------------------------------------------------------------------ what lies on disk

    def _read_parts(self) -> list[Part]:
        parts = [Part.model_validate_json(path.read_bytes()) for path in sorted(self.folder.glob("[0-9]*.json"))]
        open_parts = {part.name for part in parts if not part.merged}
        for path in (*self.folder.glob("*.jsonl"), *self.folder.glob("*.keys")):
            if path != self._errors_path and path.stem not in open_parts:
                path.unlink()  # never sealed, or merged
        for part in parts:
            if part.name not in self.purse.ledger.parts:
                self.purse.ledger.state(part.name, Spend(*part.most))
        return parts

    @property
    def _errors_path(self) -> Path:
        return self.folder / "errors.jsonl"

    def _read_errors(self, forget: Collection[str]) -> None:
        """Errors of earlier invocations, less those that are to be tried again."""
        cut_torn_line(self._errors_path)
        if not self._errors_path.exists():
            return
        with self._errors_path.open("rb") as lines:
            errors = [Error.model_validate_json(line) for line in lines]
        kept = [error for error in errors if error.reason not in forget]
        if len(kept) < len(errors):
            write_whole(self._errors_path, "".join(error.model_dump_json() + "\n" for error in kept))
        self.errors = {error.key: error for error in kept}

    def _save(self, part: Part) -> None:
        write_whole(self.folder / f"{part.name}.json", part.model_dump_json(indent=1) + "\n")

    def _file(self, part: Part, kind: str) -> Path:
        return self.folder / f"{part.name}.{kind}"

    def seal(self, digest: str, count: int, most: Spend) -> None:
        """Take the gathered lines as the next part."""
        addresses = self.teacher.addresses()
        part = Part(
            name=f"{len(self.parts) + 1:04}-{digest[:12]}",
            lines=count,
            most=tuple(most),
            address=addresses[len(self.parts) % len(addresses)],
            habit=self.teacher.habit,
        )
        for kind in ("keys", "jsonl"):
            with writing(self.folder):
                (self.folder / f"open.{kind}").replace(self._file(part, kind))
        self._save(part)
        self.purse.ledger.state(part.name, most)
        self.parts.append(part)

    # ------------------------------------------------------------------ submit, wait, merge

    async def settle(self, tell: Callable[[str], None]) -> None:
        """Submit the open parts, wait for them, and merge them; `tell` is given a line of text while waiting.

        UsageError when the server refuses a batch, or when somebody has cancelled one.
        """
        if all(part.merged for part in self.parts):
            return
        async with self._stack:
            poll_s = POLL_S
            while open_parts := [part for part in self.parts if not part.merged]:
                standings = [await self._advance(part) for part in open_parts]
                if any(part.merged for part in open_parts):
                    continue
                done = sum(one.done for one in standings if one)
                lines = sum(part.lines for part in open_parts)
                self.counts.in_flight = lines - done
                states = {
                    one.status.replace("_", " ") if one else "waiting for the server's queue" for one in standings
                }
                tell(f"batch {', '.join(sorted(states))}: {done:,} of {lines:,} answered")
                await asyncio.sleep(poll_s)
                poll_s = min(LONGEST_POLL_S, poll_s * 1.5)
        self._apis.clear()
        self.counts.in_flight = 0

    async def _api(self, address: str) -> BatchApi:
        if address not in self._apis:
            self._apis[address] = await self._stack.enter_async_context(connected(self._server(address)))
        return self._apis[address]

    def _server(self, address: str) -> Server:
        teacher = self.teacher
        return Server(address, teacher.model, teacher.key_env, teacher.key(), teacher.temperature)

    async def _advance(self, part: Part) -> Standing | None:
        """One step further with one part; None where the server has no room for it yet."""
        if not part.file:
            await self._upload(part)
        api = await self._api(part.address)
        if not part.batch:
            part.batch = (await api.create(part.file, f"{self._run}/{part.name}")).id
            self._save(part)
        standing = await api.standing(part.batch)
        if standing.running:
            return standing
        if standing.status == "failed":
            said = "; ".join(standing.errors)
            part.file = part.batch = ""
            self._save(part)
            if any(word in said for word in WAITS):
                return None
            raise UsageError(f"the batch {standing.id} was refused: {said[:500]}")
        await self._merge(api, part, standing)
        if standing.status == "cancelled":
            raise UsageError(f"the batch {standing.id} was cancelled: the same command submits what it left out")
        return standing

    async def _upload(self, part: Part) -> None:
        """Send a part's file up, to the next server where one takes none; after that the part stays there."""
        addresses = [part.address, *(other for other in self.teacher.addresses() if other != part.address)]
        for left, address in zip(reversed(range(len(addresses))), addresses, strict=True):
            try:
                part.file = await (await self._api(address)).upload(self._file(part, "jsonl"))
            except UsageError:
                if not left:
                    raise
                continue
            part.address = address
            self._save(part)
            return

    async def _merge(self, api: BatchApi, part: Part, standing: Standing) -> None:
        """Put a batch's replies into the cache and its errors into their file; safe to do again after a kill."""
        sent = self._sent(part)
        left, spent = set(sent), Spend()
        for number, file in enumerate(standing.files):
            path = self._file(part, f"{number}.out")
            await api.download(file, path)
            with path.open("rb") as lines:
                for line in lines:
                    key, cost = self._take(json.loads(line), part, sent)
                    left.discard(key)
                    spent = spent.plus(cost)
            path.unlink()
        for key in left:
            self._passing(key, "expired", f"the batch {standing.id} is {standing.status}")
        part.merged = True
        self._save(part)
        self.purse.ledger.state(part.name, spent)
        for kind in ("jsonl", "keys"):
            self._file(part, kind).unlink(missing_ok=True)
        await api.forget(part.file)

    def _sent(self, part: Part) -> dict[str, Line]:
        """The requests of a part, by key."""
        with self._file(part, "keys").open(encoding="utf-8") as lines:
            return {key: Line(estimated, Asked(*asked)) for key, estimated, *asked in map(json.loads, lines)}

    def _take(self, line: dict[str, Any], part: Part, sent: dict[str, Line]) -> tuple[str, Spend]:
        """One line of output: a reply for the cache, or an error; its key, and what it has cost."""
        key = str(line.get("custom_id"))
        response, error = line.get("response") or {}, line.get("error") or {}
        if key not in sent:
            return key, Spend()
        if error.get("code") == "batch_expired":
            self._passing(key, "expired", str(error.get("message", "")))
            return key, Spend()
        status, content = int(response.get("status_code") or 500), response.get("body") or {"error": error}
        try:
            reply = self._read(Answer(status, {}, json.dumps(content).encode()), part)
        except ExampleError as failed:
            self._failed(key, failed, bool(sent[key].asked.pictures))
            return key, Spend()
        if reply is None:
            return key, Spend()
        return key, self._keep(key, reply, sent[key])

    def _read(self, answer: Answer, part: Part) -> Reply | None:
        """The reply in a line's response, or None where the request is to be gathered in another form.

        ExampleError when it is no reply, UsageError when no request will have one.
        """
        if answer.status != 200:
            if self.teacher.learn(answer, part.habit):
                return None
            raise failure(answer, self._server(part.address))
        reply = self.teacher.read(answer.content())
        cost = self.teacher.price(reply.input_tokens, reply.output_tokens, batch=True) or 0.0
        return reply._replace(cost_usd=cost)

    def _keep(self, key: str, reply: Reply, line: Line) -> Spend:
        """Put a reply where it belongs; what it has cost."""
        usage = Spend(reply.input_tokens, reply.output_tokens, reply.cost_usd)
        shrunk = key in self.errors and self.errors[key].smaller
        if reply.input_tokens:
            self.purse.learn(line.estimated, reply.input_tokens)
        if reply.finish == "stop":
            self.cache.put(key, line.asked, reply._replace(scale=SMALLER if shrunk else 1.0))
        else:
            self._note(Error(key=key, reason=reply.finish, detail=reply.text[:200], usage=usage))
        self.counts.calls += 1
        self.counts.input_tokens += reply.input_tokens
        self.counts.output_tokens += reply.output_tokens
        self.counts.cost_usd += reply.cost_usd
        return usage

    def _failed(self, key: str, error: ExampleError, pictures: bool) -> None:
        """Remember what became of a line: it is gathered again, or with smaller pictures, or never."""
        shrunk = key in self.errors and self.errors[key].smaller
        if error.reason in TRANSIENT:
            self._passing(key, error.reason, error.detail)
        else:
            again = isinstance(error, TooMuch) and pictures and not shrunk
            self._note(Error(key=key, reason=error.reason, detail=error.detail, smaller=again))

    def _passing(self, key: str, reason: str, detail: str) -> None:
        """An error that says nothing about the request: it is gathered again, a bounded number of times."""
        self._tries[key] = self._tries.get(key, 0) + 1
        if self._tries[key] >= LINE_TRIES:
            self._note(Error(key=key, reason=reason, detail=detail))

    def _note(self, error: Error) -> None:
        self.errors[error.key] = error
        self.counts.failed += not error.smaller
        append_text(self._errors_path, error.model_dump_json() + "\n")
