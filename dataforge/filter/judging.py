"""A batch of stored lines through the checks that judge a trace alone, and the form in which verdicts travel.

Lines go to worker processes as they lie in the file and packed verdicts come back: a trace is parsed once, where it is
judged. A batch goes as one job through the checks of text and geometry; what passes them goes line by line, home to
the worker that has its picture, through the checks that open pictures.

A line's verdicts travel between phases as one JSON list on one line of a spool file, and end in the trace's line.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dataforge import plugins
from dataforge.errors import ExampleError
from dataforge.filter.verdicts import VerdictCache, pack, trace_key, unpack
from dataforge.manifest import Spec
from dataforge.media import MediaStore
from dataforge.plugins import Check, Kit
from dataforge.records import Trace, Verdict, parse_line, to_line
from dataforge.workers import Workers


class Line(NamedTuple):
    """A stored trace as it lies in traces.jsonl."""

    number: int
    text: bytes

    def trace(self) -> Trace:
        return parse_line(self.text.decode("utf-8"), Trace, f"traces.jsonl line {self.number}")


def passed(verdicts: str) -> bool:
    """Whether a spooled line holds no failed verdict; inside a JSON string the quotes would be escaped."""
    return '"ok":false' not in verdicts


def extended(verdicts: str, *more: str) -> str:
    """A spooled line with further verdicts at its end."""
    inside = verdicts.rstrip("\n")[1:-1]
    return "[" + ",".join([*([inside] if inside else []), *more]) + "]\n"


def with_verdicts(line: Line, verdicts: str) -> bytes:
    """The stored line with these verdicts in the place of its own: the bytes that `to_line` would give.

    Quotes in JSON strings are escaped, so the two seams can only be keys; where either is not unique (an argument of
    that name, a line from elsewhere) the line is parsed and written anew.
    """
    head, seam, rest = line.text.partition(b',"verdicts":[')
    _, end, tail = rest.partition(b'],"provenance":{')
    if seam and end and b',"verdicts":[' not in rest and b'],"provenance":{' not in tail:
        return b"".join((head, b',"verdicts":', verdicts.encode(), b',"provenance":{', tail))
    judged = tuple(Verdict.model_validate(verdict) for verdict in json.loads(verdicts))
    return to_line(line.trace().model_copy(update={"verdicts": judged})).encode()


@dataclass(frozen=True)
class Jury:
    """The checks that judge a trace alone, those that open pictures last, and what they have said before."""

    checks: Sequence[Check]
    numbers: Sequence[int]
    cache: VerdictCache
    judged: Counter[str]
    """Verdicts reached anew, by check."""

    def places(self, opens_pictures: bool) -> list[int]:
        return [place for place, check in enumerate(self.checks) if check.opens_pictures == opens_pictures]

    def specs(self) -> list[Spec]:
        """What a worker builds the same checks from."""
        return [{"name": check.name, **check.model_dump(mode="json")} for check in self.checks]


class Batch:
    """Some lines on their way through the jury."""

    def __init__(self, lines: Sequence[Line], jury: Jury, workers: Workers) -> None:
        self.lines = lines
        self.jury = jury
        self.workers = workers
        self.keys = [trace_key(line.text) for line in lines]
        stored = jury.cache.get(self.keys)
        self.known = [{place: held[n] for place, n in enumerate(jury.numbers) if n in held} for held in stored]
        """For each line the packed verdicts, by the place of their check."""
        self.faults: dict[int, str] = {}
        """Why a line could not be judged at all; not remembered."""

    async def verdicts(self) -> list[str]:
        """Each line's verdicts as they are spooled."""
        text, pictures = self.jury.places(False), self.jury.places(True)
        await self._judge(range(len(self.lines)), text)
        left = [at for at in range(len(self.lines)) if self._passes(at, text)] if pictures else []
        await asyncio.gather(*(self._judge([at], pictures) for at in left))
        return [self._told(at, [*text, *(pictures if at in left else [])]) for at in range(len(self.lines))]

    def _passes(self, at: int, places: Sequence[int]) -> bool:
        return at not in self.faults and all(passed(self.known[at][place]) for place in places)

    async def _judge(self, which: Sequence[int], places: Sequence[int]) -> None:
        """Have the checks at these places judge these lines, as far as that isn't known."""
        missing = {at: [place for place in places if place not in self.known[at]] for at in which}
        missing = {at: wanted for at, wanted in missing.items() if wanted}
        if not missing:
            return
        job = [(*self.lines[at], wanted) for at, wanted in missing.items()]
        try:
            told = await self.workers.run(self._home(list(missing)), judge_at_bench, job)
        except ExampleError as error:
            if len(missing) > 1:  # one of them took the worker down: each goes alone, and that one costs itself
                for at in missing:
                    await self._judge([at], places)
                return
            fault = Verdict(check="filter", ok=False, reason=error.reason, detail=error.detail)
            self.faults[next(iter(missing))] = pack(fault)
            return
        rows = []
        for (at, wanted), texts in zip(missing.items(), told, strict=True):
            for place, text in zip(wanted, texts, strict=True):
                self.known[at][place] = text
                rows.append((self.keys[at], self.jury.numbers[place], text))
                self.jury.judged[self.jury.checks[place].name] += 1
        self.jury.cache.put(rows)

    def _home(self, which: Sequence[int]) -> str:
        """Whose worker takes the job: a lone trace goes where its picture has been decoded."""
        first = self.lines[which[0]]
        if len(which) == 1:
            with contextlib.suppress(ValueError, LookupError, TypeError):  # the worker says what is wrong with the line
                return str(json.loads(first.text)["example"]["group"])
        return f"line {first.number}"

    def _told(self, at: int, places: Sequence[int]) -> str:
        checks = self.jury.checks
        told = [unpack(self.known[at][place], checks[place]) for place in places if place in self.known[at]]
        return extended("[]", *told, *([self.faults[at]] if at in self.faults else []))


_checks: list[Check] = []
_kit: Kit


def set_up_bench(checks: list[Spec], media: Path) -> None:
    global _kit
    _checks.extend(plugins.build("check", spec) for spec in checks)
    _kit = Kit(MediaStore(media))


def judge_at_bench(lines: list[tuple[int, bytes, list[int]]]) -> list[list[str]]:
    """For each (line number, line, places of checks): the packed verdicts."""
    told = []
    for number, text, places in lines:
        trace = Line(number, text).trace()
        told.append([pack(_checks[place].judge(trace, _kit)) for place in places])
    return told
