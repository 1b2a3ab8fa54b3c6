"""Near-same questions: their words as hashes, and an index that finds one among a hundred thousand.

A question is the set of its words and of its pairs of neighbouring words; two are as near as the share that they have
in common (Jaccard). MinHash with bands finds candidates, the sets themselves decide.
"""

import math
import random
import re
import unicodedata
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from dataforge.alike.likeness import NONE, Buckets, Near

QUESTION_HASH = "words2"
"""Named in every file of hashes: another way to hash gets another name."""
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
"""A word, or one sign of a script that writes none apart."""
OPTIONS = re.compile(r"\s\(?A[.)]\s.*", re.DOTALL)
COMMON = frozenset(
    "a an the this that these those it its they their there what which who whom whose when where why how is are was "
    "were be been do does did has have had can could will would may of in on at to for from by with as about between "
    "than and or not no yes many much more most less least any some all each other s t you i we he she his her "
    "image picture figure chart infographic photo document page shown given according based name please answer "
    "question".split()
)
"""Words that say little about which question it is."""
BANDS, BUCKET_BITS = 20, 18


def words(text: str) -> list[str]:
    """The words of a question, folded, numbers ungrouped, without the options of a choice."""
    plain = OPTIONS.sub("", unicodedata.normalize("NFKC", text)).casefold()
    return WORD.findall(re.sub(r"(?<=\d),(?=\d{3}\b)", "", plain))


def telling(text: str) -> int:
    """How many different words of a question say what it is about."""
    return len(set(words(text)) - COMMON)


def shingles(text: str) -> tuple[int, ...]:
    """The hashes of a question's words and pairs of neighbouring words, sorted, 32 bits each."""
    found = words(text) or [text.strip()]
    pairs = map(" ".join, pairwise(found))
    return tuple(sorted({zlib.crc32(one.encode()) for one in (*found, *pairs)}))


def answer_hashes(answers: Iterable[str]) -> tuple[int, ...]:
    """The hashes of accepted answers, however they are written."""
    return tuple(sorted({zlib.crc32(" ".join(WORD.findall(answer.casefold())).encode()) for answer in answers}))


class Questions:
    """Finds near-same questions, all over or within one place (such as a picture's number).

    Two with a share s in common become candidates with a chance of 1 - (1 - s**rows)**20: at least 0.99 where s is
    `least`, and the more seldom the farther below it s lies.
    """

    def __init__(self, least: float) -> None:
        import numpy

        draw = random.Random(QUESTION_HASH)
        self._least = least
        self._rows = max(1, int(math.log(1 - 0.01 ** (1 / BANDS), least))) if least < 1 else 8
        factors = [draw.getrandbits(64) | 1 for _ in range(BANDS * self._rows)]
        self._factors = numpy.array(factors, dtype=numpy.uint64)[:, None]
        self._offsets = numpy.array([draw.getrandbits(64) for _ in factors], dtype=numpy.uint64)[:, None]
        self._buckets = Buckets(BANDS, BUCKET_BITS)
        self._sets: list[array[int]] = []
        self._places = array("i")

    def __len__(self) -> int:
        return len(self._sets)

    def add(self, question: Sequence[int], place: int = 0) -> int:
        """Take a question in, by its shingles; its number."""
        self._buckets.add(self._keys(question, place))
        self._sets.append(array("I", question))
        self._places.append(place)
        return len(self._sets) - 1

    def find(self, question: Sequence[int], place: int = 0) -> list[Near]:
        """The questions of that place with at least `least` in common, nearest first, then in their order."""
        candidates = set()
        for heads, links, key in zip(
            self._buckets.heads, self._buckets.links, self._keys(question, place), strict=True
        ):
            entry = heads[key]
            while entry != NONE:
                candidates.add(entry)
                entry = links[entry]
        own, found = set(question), []
        for number in candidates:
            other = self._sets[number]
            # the sizes alone say how much can be in common at most
            if self._places[number] == place and self._least <= len(other) / len(own) <= 1 / self._least:
                both = len(own.intersection(other))
                if (share := both / (len(own) + len(other) - both)) >= self._least:
                    found.append(Near(number, share))
        return sorted(found, key=lambda one: (-one.nearness, one.number))

    def _keys(self, question: Sequence[int], place: int) -> Iterator[int]:
        import numpy

        # products run over 64 bits, which is what mixes them
        mixed = self._factors * numpy.array(question, dtype=numpy.uint64)[None, :] + self._offsets
        least = mixed.min(axis=1).tolist()
        for band in range(BANDS):
            rows = least[self._rows * band : self._rows * (band + 1)]
            yield hash((place, band, *rows)) & (1 << BUCKET_BITS) - 1
