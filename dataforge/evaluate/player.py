"""One question is played: the model speaks, its calls are run, what they give goes back, until it answers.

The model reads the same words and sees the same pixels as a student in training: `chat` writes the opening and the
results, the episode runs the calls. Its own turns go back to it as it wrote them, up to the end of the call. What it
can't do is its own failing and never leaves the count: a call that can't be run is answered by a sentence, a turn that
was cut off or refused ends the episode without an answer, and so do too many turns. Only what says nothing about the
model (a picture that can't be opened, an endpoint that stays away) is a failure of the row.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import PIL

from dataforge import __version__, plugins
from dataforge.ask.asking import SECONDS, Asking
from dataforge.ask.budget import NotYet
from dataforge.ask.replies import reply_digest
from dataforge.ask.request import Message, Picture, Reply, Request
from dataforge.chat import ChatTurn, opening, parse_turn, result_turns, tool_schemas
from dataforge.dialect import CLOSE, Turn, read
from dataforge.episode import used
from dataforge.errors import ExampleError
from dataforge.evaluate.bench import Acted, Opened, at_bench, control, offered
from dataforge.plugins import Check, Kit, Row
from dataforge.prompts import find_prompt
from dataforge.records import Call, Example, Failure, Observation, Provenance, Record, Step, Trace, View
from dataforge.runs import Run, append_line
from dataforge.synth.maker import failure, judge
from dataforge.workers import Workers

PROMPTS = ("guideline", "guideline_plain", "student")
"""What a model reads beside the question; a run folder holds the texts it was made with."""


class Timing(Record):
    """One line of timings.jsonl: how long the model took. Beside the traces, for no two runs agree on it."""

    id: str
    seconds: float
    turns: int


@dataclass
class Game:
    """Where one episode stands."""

    example: Example
    views: list[View]
    pictures: list[Picture]
    chat: list[Message]
    steps: list[Step] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    answer: str = ""

    @property
    def calls(self) -> tuple[Call, ...]:
        return tuple(step.call for step in self.steps if step.call)


class Player:
    """Turns rows into traces of what the model does with them."""

    def __init__(self, run: Run, workers: Workers, asking: Asking) -> None:
        assert run.manifest.evaluate is not None
        self.run, self.manifest, self.settings = run, run.manifest, run.manifest.evaluate
        self.workers, self.asking = workers, asking
        self.student = self.manifest.student
        self.operations = offered(self.manifest)
        self.kit = Kit(run.store)
        self.checks: list[Check] = [plugins.build("check", spec) for spec in self.manifest.validate_]
        native = self.student.calls == "native" and self.operations
        self.tools = tuple(tool_schemas(self.operations, self.student)) if native else ()
        self._provenance = provenance(run, asking.teacher.title)

    async def make(self, row: Row | Failure) -> Trace | Failure | None:
        """The trace of a row, judged; the failure that it ended in; or None where it has to wait."""
        if isinstance(row, Failure):
            return row
        seconds: list[float] = []
        SECONDS.set(seconds)
        replies: list[Reply] = []
        try:
            opened: Opened = await self.workers.run(row.group, at_bench, "open", row)
            game = self._begin(opened, replies)
            while not await self._turn(game, row.group):
                pass
            trace = self._trace(game)
        except ExampleError as error:
            return failure(row.id, error, replies)
        except NotYet:
            return None
        if len(seconds) == len(replies):  # else some came from the cache, and nobody knows how long they took
            timing = Timing(id=row.id, seconds=round(sum(seconds), 3), turns=len(replies))
            append_line(timings_path(self.run), timing)
        return trace

    def _begin(self, opened: Opened, replies: list[Reply]) -> Game:
        beside, system = self.run.folder, self.settings.system
        turns = opening(opened.example, opened.views, self.operations, self.student, system=system, beside=beside)
        chat = [said(turn, opened.pictures) for turn in turns]
        return Game(opened.example, list(opened.views), list(opened.pictures), chat, replies=replies)

    async def _turn(self, game: Game, group: str) -> bool:
        """One turn of the model and what comes back; whether the episode has ended."""
        reply = await self.asking.ask(Request("play", tuple(game.chat), {}, tools=self.tools))
        game.replies.append(reply)
        turn = parse_turn(reply.text, self.operations, game.views, self.student)
        if turn.answer is not None:
            game.answer = turn.answer
            game.steps.append(Step(thought=turn.thought, role="answer"))
            return True
        broken_off = turn.call is None and reply.finish != "stop"  # what follows a call is dropped in any case
        if broken_off:
            turn = turn._replace(error=Observation(text="The turn ended without an answer.", error=reply.finish))
        acted = await self._act(game, turn, group)
        seen = acted.observation
        game.steps.append(Step(thought=turn.thought, call=turn.call, observation=seen))
        game.views += seen.views
        game.pictures += acted.pictures
        if broken_off or len(game.steps) >= self.settings.turns:
            return True
        try:
            results = result_turns(game.steps[-1], len(game.steps) - 1, self.student)
        except ExampleError:  # its call has a marker of chat templates in it, which no result may hold
            return True
        game.chat += [self._echo(reply.text, turn, len(game.steps)), *(said(one, game.pictures) for one in results)]
        return False

    async def _act(self, game: Game, turn: Turn, group: str) -> Acted:
        if turn.call is None:
            return Acted(turn.error or Observation(text=""), ())
        acted: Acted = await self.workers.run(group, at_bench, "act", game.example, game.calls, turn.call)
        return acted

    def _echo(self, text: str, turn: Turn, number: int) -> Message:
        """The model's turn as it reads it again: its own words, and nothing that it wrote after a call."""
        if turn.call is None:
            return Message("assistant", (text,))
        if self.student.calls == "native":
            return Message("assistant", (turn.thought,), read(text).call, f"call_{number}")
        before, closing, _ = text.partition(CLOSE)
        return Message("assistant", (before + (closing or CLOSE),))

    def _trace(self, game: Game) -> Trace:
        replies = game.replies
        made = self._provenance.model_copy(
            update={
                "replies": tuple(reply_digest(reply) for reply in replies),
                "smaller": sum(reply.scale < 1 for reply in replies),
                "input_tokens": sum(reply.input_tokens for reply in replies),
                "output_tokens": sum(reply.output_tokens for reply in replies),
                "cost_usd": round(sum(reply.cost_usd for reply in replies), 8),
            }
        )
        shown = len(game.views) - sum(len(step.observation.views) for step in game.steps if step.observation)
        trace = Trace(
            id=game.example.id,
            example=game.example,
            views=tuple(game.views[:shown]),
            regions=game.example.evidence,
            steps=tuple(game.steps),
            answer=game.answer,
            kind="rollout",
            provenance=made,
        )
        return trace.model_copy(update={"verdicts": tuple(judge(self.checks, trace, self.kit))})


def provenance(run: Run, model: str) -> Provenance:
    """What all traces of an evaluation share."""
    manifest, operations = run.manifest, offered(run.manifest)
    read_by_model = ("guideline", "student") if operations else ("guideline_plain",)
    return Provenance(
        version=__version__,
        manifest=manifest.digest(),
        prompts={name: find_prompt(name, run.folder).fingerprint for name in read_by_model},
        operations=used(operations),
        student=manifest.student,
        limits=manifest.limits,
        control=control(manifest),
        teacher=model,
        seed=manifest.seed,
        pillow=PIL.__version__,
    )


def timings_path(run: Run) -> Path:
    return run.folder / "timings.jsonl"


def said(turn: ChatTurn, pictures: Sequence[Picture]) -> Message:
    """A turn as a message to a model: texts that follow one another as one, views as their pictures."""
    parts: list[str | Picture] = []
    for view, group in itertools.groupby(turn.parts, key=lambda part: part.view):
        parts.append("".join(part.text for part in group) if view is None else pictures[view - 1])
    call_id = f"call_{(turn.step or 0) + 1}" if turn.role == "tool" else ""
    return Message(turn.role, tuple(parts), call_id=call_id)
