"""Rollouts: the student works on a question, turn by turn, through the same episode and words as everywhere else.

What it samples is stored as sampled and never encoded again; what comes back is appended by `encoding`. A rollout's
trace holds all that happened, so it can be played again: `replay` feeds the stored ids to the same code and gets the
same trace, bit for bit. A call that can't be honoured becomes a sentence that the student reads, as in synthesis; so
does one whose result would leave no room for an answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import PIL
from pydantic import BaseModel, ConfigDict, Field

from dataforge import __version__, chat
from dataforge.dialect import Turn, clean, parse_turn
from dataforge.episode import Episode, used
from dataforge.errors import ExampleError
from dataforge.media import MediaStore
from dataforge.plugins import Check, Kit
from dataforge.records import Example, Limits, Observation, Provenance, Step, Tokens, Trace
from training.engine import Engine, Lure, Request, Sampled

if TYPE_CHECKING:
    from PIL import Image

    from training.encoding import Codec, Encoding

Ended = Literal["answer", "turns", "length", "room"]


class Budget(BaseModel):
    """How long a rollout may get."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    turns: int = Field(default=6, ge=1, description="of the student's, the answer's included")
    turn_tokens: int = Field(default=2048, ge=1, description="sampled in one turn, at most")
    tokens: int = Field(default=12288, ge=1, description="of the whole conversation, images included")
    answer_tokens: int = Field(default=256, ge=1, description="room that a result must leave for the answer")


@dataclass(frozen=True)
class Setting:
    """What the rollouts of a run share."""

    codec: Codec
    limits: Limits
    budget: Budget
    store: MediaStore
    answer: Check
    """Decides correctness."""
    lure: Lure | None = None
    """For the first turn of a rollout, where a share of them is made to look."""
    manifest: str = ""
    """Digest for the provenance."""


class Rollout(NamedTuple):
    """A finished rollout: its trace, the conversation as read and sampled, and the pixels of its views by hash."""

    trace: Trace
    encoding: Encoding
    pictures: Mapping[str, Image.Image]

    @property
    def tokens(self) -> Tokens:
        assert self.trace.tokens is not None
        return self.trace.tokens


class Start(NamedTuple):
    """A question before its first turn, from which each rollout of its group forks."""

    example: Example
    episode: Episode
    encoding: Encoding


def begin(example: Example, setting: Setting) -> Start:
    """Show the question; ExampleError where its picture can't be opened or its opening leaves no room to answer."""
    codec = setting.codec
    episode = Episode(example, setting.store, codec.operations, codec.student, setting.limits)
    encoding = codec.opening(example, episode.opening)
    encoding.ask()
    if len(encoding) + setting.budget.answer_tokens > setting.budget.tokens:
        raise ExampleError("rollout", "no_room", f"the question alone takes {len(encoding)} tokens")
    return Start(example, episode, encoding)


async def group(start: Start, count: int, engine: Engine, setting: Setting, policy: int, seed: int) -> list[Rollout]:
    """`count` rollouts of one question, each at its own pace."""
    plays = [
        play(start, engine, setting, policy, seed_of(seed, policy, start.example.id, at), at) for at in range(count)
    ]
    return list(await asyncio.gather(*plays))


def seed_of(*parts: int | str) -> int:
    """A seed that goes with these parts alone."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big")


async def play(start: Start, engine: Engine, setting: Setting, policy: int, seed: int, at: int = 0) -> Rollout:
    """One rollout: turns are sampled, calls are run, until there is an answer or no room for one."""
    name = f"{start.example.id}-u{policy}-{at}"
    player = Player(start, setting, name)
    try:
        while player.ended is None:
            request = player.request(seed_of(seed, len(player.steps)))
            player.hear(await engine.sample(request))
    finally:
        engine.release(name)
    return player.finish(policy, seed)


class Player:
    """A rollout under way: what has been said and shown so far."""

    def __init__(self, start: Start, setting: Setting, name: str) -> None:
        self.setting = setting
        self.name = name
        self.example = start.example
        self.episode = start.episode.fork()
        self.encoding = start.encoding.fork()
        self.steps: list[Step] = []
        self.spans: list[tuple[int, int]] = []
        self.logprobs: list[float] = []
        self.answer = ""
        self.ended: Ended | None = None

    @property
    def room(self) -> int:
        """Tokens that are left."""
        return self.setting.budget.tokens - len(self.encoding)

    @property
    def pictures(self) -> dict[str, Image.Image]:
        workspace = self.episode.workspace
        return {view.sha256: workspace.picture(view.number) for view in workspace.views}

    def request(self, seed: int) -> Request:
        most = min(self.setting.budget.turn_tokens, self.room)
        lure = None if self.steps else self.setting.lure
        return Request(self.name, self.encoding, self.pictures, most, seed, lure)

    def hear(self, sampled: Sampled) -> None:
        """Take a turn in: an answer ends the rollout, a call is run and its result appended."""
        codec = self.setting.codec
        span = self.encoding.sampled(sampled.ids, len(self.steps))
        self.spans.append((span.start, span.end))
        self.logprobs += sampled.logprobs
        text = codec.decode(sampled.ids)
        if sampled.stop == "length":
            self.steps.append(Step(thought=clean(text)))
            self.ended = "length"
            return
        turn = _tamed(parse_turn(text, codec.operations, self.episode.workspace.views, codec.student), text)
        if turn.answer is not None:
            self.steps.append(Step(thought=turn.thought, role="answer"))
            self.answer, self.ended = turn.answer, "answer"
            return
        self._result(turn, text)
        if self.ended is None and len(self.steps) >= self.setting.budget.turns:
            self.ended = "turns"

    def _result(self, turn: Turn, text: str) -> None:
        """Run what the turn calls, and append what comes back; a result without room for an answer is refused."""
        before = self.episode.fork()
        observation = self.episode.act(turn.call) if turn.call else turn.error
        assert observation is not None
        step = Step(thought=turn.thought, call=turn.call, observation=observation)
        room = self.setting.budget.answer_tokens
        grown = self._grown(step, room)
        if grown is None:
            self.episode = before
            sentence = "Error: The result would not fit into the room that is left. Answer now."
            step = Step(thought=clean(text), observation=Observation(text=sentence, error="no_room"))
            grown = self._grown(step, room // 2)
        if grown is None:
            step = Step(thought=clean(text))
            self.ended = "room"
        else:
            self.encoding = grown
        self.steps.append(step)

    def _grown(self, step: Step, room: int) -> Encoding | None:
        """The conversation with a step's result and the header of the next turn, if it leaves that much room."""
        grown = self.encoding.fork()
        for result in chat.result_turns(step, len(self.steps), self.setting.codec.student):
            grown.append(result, self.episode.workspace.views)
        grown.ask()
        return grown if len(grown) + room <= self.setting.budget.tokens else None

    def finish(self, policy: int, seed: int) -> Rollout:
        """The rollout with its trace, which says whether the answer is right."""
        assert self.ended is not None
        codec, setting = self.setting.codec, self.setting
        tokens = Tokens(
            ids=tuple(self.encoding.ids),
            spans=tuple(self.spans),
            logprobs=tuple(self.logprobs),
            policy=policy,
            seed=seed,
            ended=self.ended,
        )
        trace = Trace(
            id=self.name,
            example=self.example,
            views=self.episode.opening,
            regions=self.example.evidence,
            steps=tuple(self.steps),
            answer=self.answer,
            kind="rollout",
            provenance=Provenance(
                version=__version__,
                manifest=setting.manifest,
                operations=used(codec.operations),
                student=codec.student,
                limits=setting.limits,
                teacher="student",
                seed=seed,
                pillow=PIL.__version__,
            ),
            tokens=tokens,
        )
        verdict = setting.answer.judge(trace, Kit(setting.store))
        return Rollout(trace.model_copy(update={"verdicts": (verdict,)}), self.encoding, self.pictures)


_MARKER = re.compile(r"<\|\w+\|>|</?(?:tool_call|tool_response|tools)>|<(?:image|video|audio)>")


def _tamed(turn: Turn, text: str) -> Turn:
    """The turn, unless what it calls would put a marker of the template into the sentence that comes back."""
    if turn.call is None or not _MARKER.search(f"{turn.call.name} {' '.join(turn.call.arguments)}"):
        return turn
    sentence = "Error: The call cannot be read: its names hold a marker. Write one JSON object."
    return Turn(clean(text), error=Observation(text=sentence, error="malformed_call"))


def right(trace: Trace) -> bool:
    """The `answer` check's verdict."""
    return any(verdict.check == "answer" and verdict.ok for verdict in trace.verdicts)


def whole(trace: Trace) -> bool:
    """The rollout came to an answer of its own: it wasn't cut off, and didn't go on too long."""
    return trace.tokens is not None and trace.tokens.ended == "answer"


# ------------------------------------------------------------------------------------------------------------ replay


class Recorded:
    """An engine that says again what a trace's student said."""

    def __init__(self, tokens: Tokens) -> None:
        scores = iter(tokens.logprobs)
        self._turns = [
            (tokens.ids[start:end], [next(scores) for _ in range(start, end)]) for start, end in tokens.spans
        ]

    async def sample(self, request: Request) -> Sampled:
        ids, logprobs = self._turns.pop(0)
        ended = ids[-1:] == (request.encoding.codec.end_id,)
        return Sampled(list(ids), logprobs, "end" if ended else "length")

    def release(self, session: str) -> None:
        pass

    def refresh(self) -> None:
        pass


def replay(trace: Trace, setting: Setting) -> Rollout:
    """The rollout played again from its stored ids: the same trace, unless something has changed.

    What the trace says of its worth (reward, advantage) is taken over.
    """
    tokens = trace.tokens
    assert tokens is not None, f"{trace.id} is no rollout"
    start = begin(trace.example, setting)
    at = int(trace.id.rpartition("-")[2])
    made = asyncio.run(play(start, Recorded(tokens), setting, tokens.policy, tokens.seed, at))
    worth = {name: getattr(tokens, name) for name in ("correct", "bonus", "penalty", "advantage")}
    again = made.trace.model_copy(update={"tokens": made.tokens.model_copy(update=worth)})
    return made._replace(trace=again)


def differences(recorded: Trace, again: Trace) -> list[str]:
    """Where a replay departs from the record; empty when it is the same, bit for bit."""
    found = []
    if recorded.tokens and again.tokens and recorded.tokens != again.tokens:
        pairs = zip(recorded.tokens.ids, again.tokens.ids, strict=False)
        first = next((at for at, (old, new) in enumerate(pairs) if old != new), None)
        where = f"token {first}" if first is not None else "spans, log-probabilities or length"
        found.append(f"{where} of {recorded.id} is not what was recorded")
    for old, new in zip(recorded.all_views, again.all_views, strict=False):
        if old != new:
            found.append(f"image {old.number} of {recorded.id} is not what was recorded")
            break
    if not found and recorded != again:
        found.append(f"{recorded.id} is not what was recorded")
    return found
