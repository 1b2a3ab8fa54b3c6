"""Engines sample a student's turns: ids and pictures in; ids, log-probabilities and a stop reason out.

A rollout asks for its next turn whenever it is ready, and no other rollout waits for it. `LocalEngine` runs the
learner's own model in this process: a conversation's keys and values stay in its row between turns, the opening that a
group shares is read once, and each picture goes through the vision tower once. The rows that are ready take one token
in one pass; a row whose operation has come back reads the observation in the next.

Sampling is from the whole distribution, at one temperature, with one uniform number a token from the request's own
seed: what is sampled doesn't depend on who else is in the batch, and the log-probabilities are those of what was
sampled from. Tokens that stand for pixels are never sampled.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import torch

from training.passes import Feature, Sight, scores_of, speak, unsampled

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from training.encoding import Codec, Encoding

Stop = Literal["end", "length"]


class Lure(NamedTuple):
    """The first token of a turn is drawn from (1 - share) of the policy and `share` of this token.

    The log-probability that comes back is that of the mixture, so an importance ratio puts it right.
    """

    token: int
    share: float


class Request(NamedTuple):
    """A turn that is wanted: of which conversation, and how."""

    session: str
    """The conversation's own name: what has been read of it is kept under it."""
    encoding: Encoding
    """All of the conversation up to the turn, with its views."""
    pictures: Mapping[str, Image.Image]
    """The pixels of the views, by their hash."""
    most: int
    """Tokens of the turn, at most, its end included."""
    seed: int
    lure: Lure | None = None


class Sampled(NamedTuple):
    """A turn as it was sampled."""

    ids: list[int]
    logprobs: list[float]
    stop: Stop
    """`end`: the student ended its turn, and the last id says so. `length`: it was cut off."""


class Engine(Protocol):
    """Samples turns for many conversations at once."""

    async def sample(self, request: Request) -> Sampled:
        """The next turn of a conversation."""
        ...

    def release(self, session: str) -> None:
        """The conversation is over."""
        ...

    def refresh(self) -> None:
        """The learner's weights have changed: what was computed with the old ones is dropped, or the new are sent."""
        ...


class Ragged:
    """Keys and values of many conversations side by side, each with a length of its own.

    Before a pass `point` says which rows it is for and where in each the new tokens go; the layers' `update` then
    writes them there and returns the rows up to the longest.
    """

    def __init__(self) -> None:
        self.stores: list[list[Tensor]] = []
        """For each layer keys and values, [rows, heads, columns, width]"""
        self.rows = 0
        self.columns = 0

    def point(self, rows: Tensor, starts: Tensor, new: int) -> Tensor:
        """Prepare a pass of `new` tokens in each of these rows, from these columns on; returns what each may see."""
        self._at, self._wide = rows, int(starts.max()) + new
        self._into = starts[:, None] + torch.arange(new, device=starts.device)
        self._grow(int(rows.max()) + 1, self._wide)
        self._all = len(rows) == self.rows and bool((rows == torch.arange(self.rows, device=rows.device)).all())
        return torch.arange(self._wide, device=starts.device)[None, None, None] <= self._into[:, None, :, None]

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if layer_idx == len(self.stores):
            shape = (self.rows, keys.shape[1], self.columns, keys.shape[3])
            self.stores.append([keys.new_zeros(shape), values.new_zeros(shape)])
        for store, new in zip(self.stores[layer_idx], (keys, values), strict=True):
            store[self._at[:, None], :, self._into] = new.transpose(1, 2)
        kept = [store[:, :, : self._wide] for store in self.stores[layer_idx]]
        if not self._all:
            kept = [store.index_select(0, self._at) for store in kept]
        return kept[0], kept[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def read(self, row: int, length: int) -> list[list[Tensor]]:
        """A copy of what a row holds."""
        return [[store[row, :, :length].clone() for store in layer] for layer in self.stores]

    def write(self, row: int, content: Sequence[Sequence[Tensor]], length: int) -> None:
        """Put what `read` gave into a row."""
        self._grow(row + 1, length)
        for layer, given in zip(self.stores, content, strict=True):
            for store, new in zip(layer, given, strict=True):
                store[row, :, :length] = new

    def _grow(self, rows: int, columns: int) -> None:
        rows, columns = max(rows, self.rows), max(-(-columns // 128) * 128, self.columns)
        if (rows, columns) == (self.rows, self.columns):
            return
        for layer in self.stores:
            for at, store in enumerate(layer):
                layer[at] = store.new_zeros((rows, store.shape[1], columns, store.shape[3]))
                layer[at][: self.rows, :, : self.columns] = store
        self.rows, self.columns = rows, columns


@dataclass
class Row:
    """A conversation that has a place in the batch."""

    number: int
    fed: list[int] = field(default_factory=list)
    """Ids whose keys and values are kept."""
    views: int = 0
    """How many of its views are among them."""
    turn: Turn | None = None


@dataclass
class Turn:
    """A turn that is being sampled."""

    request: Request
    done: asyncio.Future[Sampled]
    rng: random.Random
    pending: list[int]
    """Ids to read before the next can be sampled."""
    positions: Tensor
    """int64 [3, pending]"""
    next_position: int
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class Opening(NamedTuple):
    """What has been read of an opening that a group shares."""

    kept: list[list[Tensor]]
    scores: Tensor


class LocalEngine:
    """Samples with the learner's own model, in this process."""

    def __init__(
        self,
        student: Any,
        codec: Codec,
        sight: Sight | None = None,
        temperature: float = 1.0,
        precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.student = student
        self.codec = codec
        self.sight = sight or Sight(student, codec)
        self.temperature = temperature
        """0 takes the likeliest token; its log-probability is then that at temperature 1."""
        self.counts: Counter[str] = Counter()
        self._precision = precision
        """Put around each pass: the learner's autocast, where it has one, so that both compute alike."""
        self._device = next(student.parameters()).device
        self._never = torch.tensor(unsampled(student, codec), device=self._device)
        self._cache = Ragged()
        self._rows: dict[str, Row] = {}
        self._free: list[int] = []
        self._openings: dict[tuple[Any, ...], Opening] = {}
        self._pump: asyncio.Task[None] | None = None

    async def sample(self, request: Request) -> Sampled:
        """The next turn of a conversation, of which only what is new is read."""
        row = self._rows.get(request.session)
        if row is None:
            row = self._rows[request.session] = Row(self._free.pop() if self._free else len(self._rows))
        ids = request.encoding.ids
        if ids[: len(row.fed)] != row.fed:
            raise ValueError(f"conversation {request.session} is not what it was when its last turn was sampled")
        positions = torch.from_numpy(request.encoding.positions()[:, len(row.fed) :])
        done: asyncio.Future[Sampled] = asyncio.get_running_loop().create_future()
        rng = random.Random(request.seed)
        row.turn = Turn(request, done, rng, ids[len(row.fed) :], positions, request.encoding.next_position)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._run())
        return await done

    def release(self, session: str) -> None:
        if row := self._rows.pop(session, None):
            self._free.append(row.number)

    def refresh(self) -> None:
        self._openings.clear()
        if not self._rows:
            self._cache, self._free = Ragged(), []
        if any(one.requires_grad for one in self._tower()):
            self.sight.forget()

    def _tower(self) -> Any:
        from training.passes import core_of

        return core_of(self.student).model.visual.parameters()

    # ------------------------------------------------------------------ one pass after the other

    async def _run(self) -> None:
        """Passes until no turn is wanted; whoever has got a turn may ask for the next between two of them."""
        training = self.student.training
        self.student.eval()
        try:
            while True:
                await asyncio.sleep(0)
                rows = [row for row in self._rows.values() if row.turn]
                if not rows:
                    return
                with torch.no_grad(), self._precision():
                    self._pass(rows)
        except BaseException as error:  # whoever waits must hear of it
            for row in self._rows.values():
                if row.turn and not row.turn.done.done():
                    row.turn.done.set_exception(error)
                row.turn = None
            if not isinstance(error, Exception):
                raise
        finally:
            self.student.train(training)

    def _pass(self, rows: list[Row]) -> None:
        """Read openings, then observations, then take a token in every row that has only one to read."""
        new = [row for row in rows if not row.fed]
        if new:
            self._open(new)
        longer = [row for row in rows if row.turn and row.fed and len(row.turn.pending) > 1]
        if longer:
            self._take(longer, self._read(longer))
        ready = [row for row in rows if row.turn and len(row.turn.pending) == 1 and row not in longer]
        if ready:
            self._take(ready, self._read(ready))

    def _open(self, rows: list[Row]) -> None:
        """Read each different opening once, and give every row that begins with it a copy."""
        keys = {row.number: self._key(row) for row in rows}
        first = {keys[row.number]: row for row in reversed(rows) if keys[row.number] not in self._openings}
        if first:
            scores = self._read(list(first.values()))
            for at, (key, row) in enumerate(first.items()):
                self._openings[key] = Opening(self._cache.read(row.number, len(row.fed)), scores[at])
        for row in rows:
            opening = self._openings[keys[row.number]]
            if not row.fed:
                assert row.turn is not None
                self._cache.write(row.number, opening.kept, len(row.turn.pending))
                row.fed, row.views = row.turn.pending, len(row.turn.request.encoding.views)
        self._take(rows, torch.stack([self._openings[keys[row.number]].scores for row in rows]))

    @staticmethod
    def _key(row: Row) -> tuple[Any, ...]:
        assert row.turn is not None
        encoding = row.turn.request.encoding
        return (tuple(view.sha256 for view in encoding.views), *encoding.ids)

    def _read(self, rows: list[Row]) -> Tensor:
        """Read the pending ids of these rows; log-probabilities [rows, vocabulary] of what comes next."""
        turns = [row.turn for row in rows if row.turn]
        lengths = [len(turn.pending) for turn in turns]
        ids = torch.full((len(rows), max(lengths)), self.codec.pad_id)
        positions = torch.zeros((3, *ids.shape), dtype=torch.int64)
        for at, (turn, length) in enumerate(zip(turns, lengths, strict=True)):
            ids[at, :length], positions[:, at, :length] = torch.tensor(turn.pending), turn.positions
        numbers = torch.tensor([row.number for row in rows], device=self._device)
        starts = torch.tensor([len(row.fed) for row in rows], device=self._device)
        mask = self._cache.point(numbers, starts, ids.shape[1])
        states = speak(
            self.student,
            ids.to(self._device),
            positions.to(self._device),
            mask,
            self._cache,
            self._features(rows),
            self.codec.image_id,
        )
        self.counts["passes"] += 1
        self.counts["tokens"] += sum(lengths)
        for row, turn in zip(rows, turns, strict=True):
            row.fed += turn.pending
            row.views = len(turn.request.encoding.views)
        last = torch.tensor(lengths, device=self._device) - 1
        return scores_of(self.student, states[torch.arange(len(rows)), last], self._never, self.temperature or 1.0)

    def _features(self, rows: list[Row]) -> list[Feature]:
        found: list[Feature] = []
        for row in rows:
            assert row.turn is not None
            if views := row.turn.request.encoding.views[row.views :]:
                found += self.sight.of(views, row.turn.request.pictures)
        return found

    def _take(self, rows: list[Row], scores: Tensor) -> None:
        """Sample one token in each of these rows."""
        turns = [row.turn for row in rows if row.turn]
        scores = self._lured(turns, scores)
        if self.temperature == 0:
            taken = scores.argmax(dim=-1)
        else:
            below = scores.double().exp().cumsum(dim=-1)
            drawn = torch.tensor([turn.rng.random() for turn in turns], dtype=torch.float64, device=self._device)
            taken = torch.searchsorted(below, (drawn * below[:, -1])[:, None]).squeeze(1)
        picked = scores.gather(1, taken[:, None]).squeeze(1)
        for row, turn, token, logprob in zip(rows, turns, taken.tolist(), picked.tolist(), strict=True):
            turn.ids.append(token)
            turn.logprobs.append(logprob)
            if token == self.codec.end_id or len(turn.ids) >= turn.request.most:
                row.turn = None
                stop: Stop = "end" if token == self.codec.end_id else "length"
                if not turn.done.done():
                    turn.done.set_result(Sampled(turn.ids, turn.logprobs, stop))
                continue
            turn.pending, turn.positions = [token], torch.full((3, 1), turn.next_position)
            turn.next_position += 1

    @staticmethod
    def _lured(turns: Sequence[Turn], scores: Tensor) -> Tensor:
        """The log-probabilities of the mixtures that the first tokens of some turns are drawn from."""
        for at, turn in enumerate(turns):
            lure = turn.request.lure
            if lure and not turn.ids:
                mixed = scores[at] + math.log1p(-lure.share)
                share = torch.tensor(math.log(lure.share), device=scores.device)
                mixed[lure.token] = torch.logaddexp(mixed[lure.token], share)
                scores = scores.index_copy(0, torch.tensor([at], device=scores.device), mixed[None])
        return scores
