"""Contaminated: what models are later measured on stays out of what they learn from."""

from collections.abc import Iterator
from functools import lru_cache
from typing import ClassVar

from pydantic import Field

from dataforge.alike import fingerprints
from dataforge.alike.fingerprints import Fingerprint
from dataforge.alike.likeness import NEAR_BITS, Likenesses, Pictures
from dataforge.alike.wording import Questions, telling
from dataforge.errors import ExampleError
from dataforge.plugins import Kit, SetCheck
from dataforge.records import Trace, Verdict


class Contaminated(SetCheck):
    """No picture is near-same to one of an evaluation set, and no telling question either.

    A near-same picture alone is enough, whatever is asked of it. A question alone counts when it says what it is
    about in at least `telling_words` different words: "What is the title?" is asked of half the world's pictures.
    Videos count as pictures do. A set is a folder of pictures and videos, a table, hub:repo@split, or a file that
    `dataforge fingerprint` made of one.
    """

    sets: tuple[str, ...] = Field(min_length=1, description="evaluation sets: folders, tables, files, hub:repo@split")
    near_bits: int = Field(default=NEAR_BITS, ge=0, le=64, description="of 256, in which near-same pictures may differ")
    near_words: float = Field(default=0.8, gt=0.5, le=1, description="share of words in common of near-same questions")
    telling_words: int = Field(default=6, ge=1, description="least such words of a question that counts alone")

    reasons: ClassVar[tuple[str, ...]] = (
        "image_in_evaluation_set",
        "question_in_evaluation_set",
        "unreadable_picture",
    )

    def sift(self, traces: Iterator[Trace], kit: Kit) -> Iterator[Verdict]:
        known = Likenesses(kit.store.folder.parent)
        index = _Index(self.near_bits, self.near_words)
        for name in self.sets:
            for one in fingerprints.complete(name, known):
                index.add(one, name)
        for trace in traces:
            try:
                found = fingerprints.of_example(trace.example, trace.id, kit.store, known)
            except ExampleError as error:
                yield self.failed("unreadable_picture", str(error))
            else:
                yield self._verdict(trace, found, index)

    def _verdict(self, trace: Trace, found: Fingerprint, index: "_Index") -> Verdict:
        for one in found.pictures:
            if near := index.find_picture(one):
                detail = f"{near.nearness:.0f} of 256 bits from {index.picture_names[near.number]}"
                return self.failed("image_in_evaluation_set", detail, near.nearness)
        if telling(trace.example.question) >= self.telling_words:
            for same in index.questions.find(found.question)[:1]:
                detail = f"{same.nearness:.0%} the words of {index.question_names[same.number]}"
                return self.failed("question_in_evaluation_set", detail, same.nearness)
        return self.passed()


class _Index:
    """All evaluation sets as one, with a name for each thing in them."""

    def __init__(self, near_bits: int, near_words: float) -> None:
        self.pictures = Pictures(near_bits)
        self.questions = Questions(near_words)
        # most runs ask several questions of a picture, one after the other
        self.find_picture = lru_cache(maxsize=256)(self.pictures.find)
        self.picture_names: list[str] = []
        self.question_names: list[str] = []

    def add(self, one: Fingerprint, name: str) -> None:
        told = f"{one.id} of {fingerprints.title(name)}"
        for picture in one.pictures:
            if self.pictures.add(picture) == len(self.picture_names):
                self.picture_names.append(told)
        if one.question:
            self.questions.add(one.question)
            self.question_names.append(told)
