"""Text-space traces: a base model answers the plain question from the whole view, and its own right words are kept.

Pixel Reasoner mixes such traces in (2,000 of its 7,500) so that a student learns when no look is needed. Which
questions those are is decided by asking: a number of samples is drawn, and where too few of them are right a look is
needed after all, and another kind is drawn for the example.
"""

import asyncio
import re
from collections.abc import Sequence

from dataforge.answers.metrics import score
from dataforge.ask.asking import Asking
from dataforge.ask.request import Message, Picture, Reply, Request
from dataforge.chat import opening
from dataforge.compose import Draft
from dataforge.dialect import read
from dataforge.errors import ExampleError
from dataforge.manifest import Direct
from dataforge.records import Example, Step, Student

THINKING_TAG = re.compile(r"</?think(?:ing)?>")


def request(draft: Draft, pictures: Sequence[Picture], student: Student, sample: int) -> Request:
    """The plain question as the student would read it without operations, for free text in reply."""
    parts: list[str | Picture] = []
    for turn in opening(draft.example, draft.views, (), student, system=None):
        parts += [part.text if part.view is None else pictures[part.view - 1] for part in turn.parts]
    return Request("answer", (Message("user", tuple(parts)),), {}, sample=sample)


async def samples(
    draft: Draft, pictures: Sequence[Picture], student: Student, settings: Direct, asking: Asking
) -> list[Reply]:
    """What the base model says, sample by sample; one that it refuses or breaks off is left out.

    ExampleError("teacher", reason) where all of them fail.
    """
    asked = [asking.ask(request(draft, pictures, student, number)) for number in range(settings.samples)]
    told = await asyncio.gather(*asked, return_exceptions=True)
    replies = [reply for reply in told if isinstance(reply, Reply)]
    faults = [fault for fault in told if isinstance(fault, BaseException)]
    for fault in faults:
        if not replies or not isinstance(fault, ExampleError):
            raise fault
    return replies


def right_ones(replies: Sequence[Reply], example: Example) -> list[tuple[Step, str]]:
    """The right samples as the one step of a trace, and its answer."""
    found = []
    for reply in replies:
        turn = read(THINKING_TAG.sub("", reply.text))
        if turn.answer and turn.thought.strip() and _right(turn.answer, example):
            found.append((Step(thought=turn.thought, role="answer"), turn.answer))
    return found


def _right(answer: str, example: Example) -> bool:
    return bool(example.answers) and score(answer, example.answers, example.answer_type, example.choices).ok
