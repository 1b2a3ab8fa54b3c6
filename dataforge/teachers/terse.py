"""A teacher of few words, for students that are too small to learn prose: it writes a word or two into each slot.

Like `scripted` it works offline from the annotation, sees no picture, and its traces say so.
"""

import json
from typing import ClassVar

from dataforge.ask.request import Reply, Request
from dataforge.errors import ExampleError
from dataforge.plugins import Teacher

WORDS = {"overview": "Look.", "look": "Zoom.", "seen": "Wrong.", "reading": "Seen."}


class Terse(Teacher):
    """Writes a word or two a thought from the annotation, offline: traces for tiny students."""

    cached: ClassVar[bool] = False
    sees: ClassVar[bool] = False

    def price(self, input_tokens: int, output_tokens: int, batch: bool = False) -> float:
        return 0.0

    async def ask(self, request: Request) -> Reply:
        """The slots of the schema filled; ExampleError for a request that takes eyes, or an example without answer."""
        if request.purpose != "write":
            raise ExampleError("teacher", "cannot_see", f"{self.name} has no eyes to {request.purpose} with")
        answer = request.truth.get("answer")
        if not answer:
            raise ExampleError("teacher", "no_answer", f"{self.name} writes from the answer, and none is known")
        filled = {slot: WORDS.get(slot.partition("_")[0], answer) for slot in request.schema["properties"]}
        return Reply(json.dumps(filled), self.name)
