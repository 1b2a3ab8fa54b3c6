"""Duplicate: the same question on the same picture teaches once."""

from array import array
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from dataforge.alike import fingerprints
from dataforge.alike.fingerprints import Fingerprint
from dataforge.alike.likeness import NEAR_BITS, Likenesses, Near, Pictures
from dataforge.alike.wording import Questions
from dataforge.errors import ExampleError, UsageError
from dataforge.plugins import Kit, SetCheck
from dataforge.records import Trace, Verdict


class Duplicate(SetCheck):
    """No trace asks a near-same question of a near-same picture as one before it, in this run or in earlier sets.

    The first stays. Questions of the same words are the same; of nearly the same words only where an accepted answer
    is the same or one side's are unknown, since one word ("men", "women") can make another question of it.
    """

    against: tuple[str, ...] = Field(
        default=(), description="earlier sets: run folders, fingerprint files, hub:repo@split"
    )
    near_bits: int = Field(default=NEAR_BITS, ge=0, le=64, description="of 256, in which near-same pictures may differ")
    near_words: float = Field(default=0.6, ge=0.5, le=1, description="share of words in common of near-same questions")

    reasons: ClassVar[tuple[str, ...]] = ("same_question", "unreadable_picture")

    def sift(self, traces: Iterator[Trace], kit: Kit) -> Iterator[Verdict]:
        known = Likenesses(kit.store.folder.parent)
        seen = _Seen(self.near_bits, self.near_words)
        for name in self.against:
            for one in fingerprints.complete(name, known):
                if not (one.pictures and one.question):
                    raise UsageError(f"set {name}: {one.id} is no question on a picture: give a run or a table of them")
                seen.add(one, f"{one.id} of {fingerprints.title(name)}")
        for trace in traces:
            try:
                found = fingerprints.of_example(trace.example, trace.id, kit.store, known)
            except ExampleError as error:
                yield self.failed("unreadable_picture", str(error))
                continue
            if same := seen.find(found):
                detail = f"{same.nearness:.0%} the words of {seen.names[same.number]}, on its picture"
                yield self.failed("same_question", detail, same.nearness)
            else:
                seen.add(found, trace.id)
                yield self.passed()


class _Seen:
    """What has been let through: questions by the number of their picture."""

    def __init__(self, near_bits: int, near_words: float) -> None:
        self.names: list[str] = []
        self._pictures = Pictures(near_bits)
        self._questions = Questions(near_words)
        self._answers: list[array[int]] = []

    def add(self, one: Fingerprint, name: str) -> None:
        """Remember a question on each of its pictures; a near-same picture goes by the earlier one's number."""
        for picture in one.pictures:
            self._questions.add(one.question, self._pictures.place(picture))
            self.names.append(name)
            self._answers.append(array("I", one.answers))

    def find(self, one: Fingerprint) -> Near | None:
        """The nearest question that is the same one; its number is that of its name."""
        for picture in one.pictures:
            for same in self._questions.find(one.question, self._pictures.place(picture)):
                if same.nearness == 1 or self._agree(one, same.number):
                    return same
        return None

    def _agree(self, one: Fingerprint, number: int) -> bool:
        theirs = self._answers[number]
        return not (one.answers and theirs) or not set(one.answers).isdisjoint(theirs)
