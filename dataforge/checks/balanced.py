"""Balanced: no picture, answer, kind or source fills the set."""

import hashlib
import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from dataforge.plugins import Kit, SetCheck
from dataforge.records import Kind, Trace, Verdict

Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
STAYS = -1


class Balanced(SetCheck):
    """At most so many traces of a picture, of an answer, of a kind, of a source; a draw decides which stay.

    A share is of the traces that stay, rounded up. Where the shares of all answers, kinds or sources that there are
    don't add up to the whole, they are raised alike until they do. Kinds and sources that aren't named have no cap. The
    draw is by seed and trace id alone: the same traces in another order are balanced alike.
    """

    per_image: Count | None = Field(default=10, description="traces of one picture; null for no cap")
    per_answer: Count | Share | None = Field(default=None, description="traces of one answer: a number, or a share")
    per_kind: dict[Kind, Share] = Field(default={}, description="share of each kind at most")
    per_source: dict[str, Share] = Field(default={}, description="share of each source at most")
    seed: int = 0

    reasons: ClassVar[tuple[str, ...]] = (
        "too_many_per_image",
        "too_many_per_answer",
        "too_many_per_source",
        "too_many_per_kind",
    )

    def sift(self, traces: Iterator[Trace], kit: Kit) -> Iterator[Verdict]:
        """As in SetCheck; all traces are read before the first verdict, a few numbers kept of each."""
        draws = array("Q")
        caps = self._caps()
        for trace in traces:
            draws.append(int.from_bytes(hashlib.blake2b(f"{self.seed}:{trace.id}".encode(), digest_size=8).digest()))
            for cap in caps:
                cap.add(trace)
        order = sorted(range(len(draws)), key=draws.__getitem__)
        hit, stay = _most(order, caps)
        limits = [cap.limits(stay) for cap in caps]
        for index, number in enumerate(hit):
            if number == STAYS:
                yield self.passed()
                continue
            cap, group = caps[number], caps[number].groups[index]
            whole = "" if cap.count else f" of {stay}"
            detail = f"{cap.sizes[group]} traces of this {cap.what}, at most {limits[number][group]:.0f}{whole} stay"
            yield self.failed(f"too_many_per_{cap.what}", detail)

    def _caps(self) -> list["_Cap"]:
        """The caps that are set, narrowest first."""
        caps = []
        if self.per_image:
            caps.append(_Cap("image", lambda trace: trace.example.media[0].sha256, self.per_image))
        if isinstance(self.per_answer, int):
            caps.append(_Cap("answer", _answer, self.per_answer))
        elif share := self.per_answer:
            caps.append(_Cap("answer", _answer, shares=defaultdict(lambda: share)))
        if self.per_source:
            caps.append(_Cap("source", lambda trace: trace.example.source, shares=self.per_source))
        if self.per_kind:
            caps.append(_Cap("kind", lambda trace: trace.kind, shares=self.per_kind))
        return caps


def _answer(trace: Trace) -> str:
    return " ".join(trace.answer.casefold().split())


class _Cap:
    """One cap: the group of every trace, and how many of a group may stay, by `count` or `shares` of named groups."""

    def __init__(
        self, what: str, group: Callable[[Trace], str], count: int = 0, shares: Mapping[Any, float] | None = None
    ) -> None:
        self.what = what
        self.count = count
        self.groups = array("i")
        self.sizes: Counter[int] = Counter()
        self._group = group
        self._named = shares
        self._shares: dict[int, float] = {}
        self._numbers: dict[bytes, int] = {}

    def add(self, trace: Trace) -> None:
        name = self._group(trace)
        key = hashlib.blake2b(name.encode(), digest_size=8).digest()
        number = self._numbers.setdefault(key, len(self._numbers))
        if number not in self.sizes and self._named is not None:
            with suppress(KeyError):
                self._shares[number] = self._named[name]
        self.groups.append(number)
        self.sizes[number] += 1

    def limits(self, stay: int) -> list[float]:
        """How many of each group may stay, where `stay` traces do in all."""
        if self.count:
            return [self.count] * len(self.sizes)
        every_one_is_capped = len(self._shares) == len(self.sizes)
        raised = max(1.0, 1 / sum(self._shares.values())) if self._shares and every_one_is_capped else 1.0
        shares = (self._shares.get(group) for group in range(len(self.sizes)))
        # a hair less, or 0.3 of 10 is a little over 3 and gets rounded up to 4
        return [math.inf if share is None else math.ceil(share * raised * stay - 1e-9) for share in shares]


class _Balance(NamedTuple):
    """Which cap threw out each trace (STAYS where none did), and the number that shares were taken of."""

    hit: "array[int]"
    stay: int


def _most(order: list[int], caps: list[_Cap]) -> _Balance:
    """The fullest balance: a cap in shares depends on how many stay, and that on the caps, so it is searched for."""
    if all(cap.count for cap in caps):
        return _Balance(_let_in(order, caps, len(order)), len(order))
    fits, too_many = min(1, len(order)), len(order) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if _let_in(order, caps, middle).count(STAYS) >= middle:
            fits = middle
        else:
            too_many = middle
    return _Balance(_let_in(order, caps, fits), fits)


def _let_in(order: list[int], caps: list[_Cap], stay: int) -> "array[int]":
    """Let the traces in, in the drawn order, until a cap is reached, as if `stay` stayed; the cap that each has hit."""
    limits = [cap.limits(stay) for cap in caps]
    counts: list[Counter[int]] = [Counter() for _ in caps]
    hit = array("i", [STAYS]) * len(order)
    for index in order:
        groups = [cap.groups[index] for cap in caps]
        for number, group in enumerate(groups):
            if counts[number][group] >= limits[number][group]:
                hit[index] = number
                break
        else:
            for number, group in enumerate(groups):
                counts[number][group] += 1
    return hit
