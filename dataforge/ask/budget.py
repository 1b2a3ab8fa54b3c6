"""The budget of a run: a hard cap in dollars or tokens that counts calls in flight.

Before a call the most that it can cost is held back; when its reply is there, the real cost is booked instead. A call
that does not fit waits for those in flight to be settled, and when none is in flight and it still does not fit, the
budget is reached: nothing more is asked, and the run ends cleanly. How a model counts pictures is known only from its
first reply, so under a cap the first call goes alone, and estimates are corrected by the largest ratio seen.

What a run has paid is kept in its folder (`spent.jsonl`), the amount held back before the call and the correction
after it: a kill -9 leaves the larger figure, never a smaller one. So the cap holds over all invocations of a run. A
reply from the cache costs nothing. A call that ended without a word on its usage (time-out, connection lost, a body
cut short) may have been charged, so it stays booked in full.
"""

import asyncio
import json
import math
import os
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple, Self

from dataforge.ask.request import Reply, Request, Setback
from dataforge.errors import ExampleError, UsageError
from dataforge.plugins import Teacher
from dataforge.runs import cut_torn_line, write_whole, writing

AMOUNT = re.compile(
    r"\$?(?P<number>\d+(?:\.\d+)?)[-_ ]?(?P<scale>[kmb]?)[-_ ]?(?P<unit>usd|dollars?|tok|tokens?)?", re.I
)
SCALES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
MARGIN = 1.1
"""Over the largest ratio of real to estimated input tokens that has been seen."""
LONGEST_LEDGER = 10_000
"""Lines; a longer one is summed up when it is opened."""


class Budget(NamedTuple):
    """A cap: dollars or tokens (input and output together)."""

    usd: float | None = None
    tokens: int | None = None

    def __str__(self) -> str:
        return f"${self.usd:,.2f}" if self.usd is not None else f"{self.tokens:,} tokens"


def parse_budget(text: str) -> Budget:
    """`20`, `20usd` or `$20` are dollars, `500ktok` and `5M-tokens` are tokens; UsageError for anything else."""
    found = AMOUNT.fullmatch(text.strip())
    unit = (found["unit"] or "").lower() if found else ""
    if not found or float(found["number"]) <= 0 or (found["scale"] and not unit):
        raise UsageError(f"no budget {text!r}: give dollars, such as 20 or 20usd, or tokens, such as 500ktok or 5Mtok")
    amount = float(found["number"]) * SCALES[found["scale"].lower()]
    return Budget(tokens=round(amount)) if unit.startswith("tok") else Budget(usd=amount)


def manifest_budget(value: str | float | None) -> Budget | None:
    """The cap in a manifest's field; UsageError where it can't be read."""
    return None if value is None else parse_budget(str(value))


class Spend(NamedTuple):
    """Tokens, and US dollars where a price is known (else 0)."""

    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0

    def plus(self, other: "Spend") -> "Spend":
        return Spend(*(one + two for one, two in zip(self, other, strict=True)))  # type: ignore[arg-type]

    def minus(self, other: "Spend") -> "Spend":
        return Spend(*(one - two for one, two in zip(self, other, strict=True)))  # type: ignore[arg-type]


NOTHING = Spend()


class NotYet(Exception):
    """An example has to wait: its next call is not answered, or not paid for. It is no failure and leaves no line."""


class BudgetReached(NotYet):
    """The next call does not fit into what is left; the message says how much that is."""


class Ledger:
    """What a run has paid, in a file that only grows; a line is a correction to the sum, or the state of a batch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sum = NOTHING
        self.parts: dict[str, Spend] = {}
        cut_torn_line(path)
        lines = self._read()
        if lines > LONGEST_LEDGER:
            kept = [_line(self.sum), *(_line(spend, part) for part, spend in self.parts.items())]
            write_whole(path, "".join(kept))
        with writing(path):
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def _read(self) -> int:
        if not self.path.exists():
            return 0
        number = 0
        with self.path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    entry = json.loads(line)
                    spend = Spend(int(entry["in"]), int(entry["out"]), float(entry["usd"]))
                except (ValueError, KeyError, TypeError):
                    raise UsageError(
                        f"{self.path} line {number} is broken: without it the budget can't be kept"
                    ) from None
                if "part" in entry:
                    self.parts[entry["part"]] = spend
                else:
                    self.sum = self.sum.plus(spend)
        return number

    @property
    def total(self) -> Spend:
        """All that has been paid, or may have been."""
        total = self.sum
        for spend in self.parts.values():
            total = total.plus(spend)
        return total

    def add(self, spend: Spend) -> None:
        """Correct the sum; on disk when it returns."""
        self.sum = self.sum.plus(spend)
        with writing(self.path):
            os.write(self._file, _line(spend).encode())

    def state(self, part: str, spend: Spend) -> None:
        """Say what one part of a batch costs: first the most that it can, later what it did."""
        self.parts[part] = spend
        with writing(self.path):
            os.write(self._file, _line(spend, part).encode())

    def close(self) -> None:
        os.close(self._file)


def _line(spend: Spend, part: str = "") -> str:
    entry = {"in": spend.input_tokens, "out": spend.output_tokens, "usd": round(spend.usd, 9)}
    return json.dumps(entry | ({"part": part} if part else {})) + "\n"


class Purse:
    """Pays a run's calls out of its budget, those of its teacher and of others beside it. One event loop; closed by
    the run.
    """

    def __init__(self, teacher: Teacher, ledger: Ledger, budget: Budget | None = None) -> None:
        self.teacher = teacher
        self.ledger = ledger
        self.budget = budget
        self.reached = ""
        self._in_flight: Counter[str] = Counter()
        self._held = NOTHING
        self._ratios: dict[str, float] = {}
        """Largest ratio of real to estimated input tokens, by the teacher's title."""
        self._settled = asyncio.Event()
        self.admit(teacher)

    @classmethod
    def open(cls, teacher: Teacher, folder: Path, budget: Budget | None = None) -> Self:
        """The purse of a run folder, with what its earlier invocations have paid."""
        return cls(teacher, Ledger(folder / "spent.jsonl"), budget)

    def close(self) -> None:
        self.ledger.close()

    def admit(self, teacher: Teacher) -> None:
        """UsageError where this teacher's calls can't be paid out of the budget, since nobody knows their price."""
        if self.budget and self.budget.usd is not None and teacher.price(0, 0) is None:
            raise UsageError(
                f"no price is known for {teacher.title}, so no budget in dollars can be kept: set the teacher's "
                "input_usd and output_usd in the manifest, or give a budget in tokens, such as --budget 5Mtok"
            )

    def knows(self, teacher: Teacher) -> bool:
        """Whether it has been seen what this teacher's server counts."""
        return teacher.title in self._ratios

    @property
    def spent(self) -> Spend:
        """By this run so far, calls in flight at the most that they can cost."""
        return self.ledger.total

    def most(self, request: Request) -> Spend:
        """The most that a request can cost in a batch: input as estimated and corrected, output at the limit."""
        return self._most(self.teacher, *self.teacher.forecast(request), batch=True)

    def _most(self, teacher: Teacher, estimated: int, most_output: int, batch: bool = False) -> Spend:
        tokens = math.ceil(estimated * MARGIN * max(1.0, self._ratios.get(teacher.title, 1.0)))
        if not self.knows(teacher):
            # the first call is made twice where the server ignores the form that it's asked for
            tokens, most_output = 2 * tokens, most_output if batch else 2 * most_output
        return Spend(tokens, most_output, teacher.price(tokens, most_output, batch) or 0.0)

    def reopen(self) -> None:
        """Try again what did not fit: calls that were held back in full have been settled for less."""
        self.reached = ""

    async def pay(
        self, request: Request, ask: Callable[[Request], Awaitable[Reply]], teacher: Teacher | None = None
    ) -> Reply:
        """Ask a teacher, the run's if no other, within the budget; BudgetReached, before anything is sent, when there
        is not enough left.
        """
        teacher = teacher or self.teacher
        estimated, most_output = teacher.forecast(request)
        most = await self._hold(teacher, estimated, most_output)
        self.ledger.add(most)
        self._in_flight[teacher.title] += 1
        spent = most  # where nothing is known: a kill, an interrupt, a connection that broke
        try:
            reply = await ask(request)
            if reply.input_tokens or reply.output_tokens:
                spent = Spend(reply.input_tokens, reply.output_tokens, reply.cost_usd)
                self.learn(estimated, reply.input_tokens, teacher)
            return reply
        except Setback as setback:
            spent = most if setback.charged else NOTHING
            raise
        except ExampleError as error:
            # a reply that makes no sense has been charged; one that was refused has not
            spent = most if error.reason == "bad_reply" else NOTHING
            raise
        except UsageError:
            spent = NOTHING
            raise
        finally:
            self._in_flight[teacher.title] -= 1
            if spent != most:
                self.ledger.add(spent.minus(most))
            self._settled.set()
            self._settled = asyncio.Event()

    def hold(self, most: Spend) -> None:
        """Hold back the most that a request of a batch can cost, until `release`; BudgetReached when it doesn't fit."""
        if self.reached or not self._fits(most):
            raise self._end()
        self._held = self._held.plus(most)

    def release(self, most: Spend) -> None:
        """Give back what `hold` took: it has been booked, or given up."""
        self._held = self._held.minus(most)

    def learn(self, estimated: int, input_tokens: int, teacher: Teacher | None = None) -> None:
        """Correct the estimates by what a server counted."""
        title = (teacher or self.teacher).title
        self._ratios[title] = max(self._ratios.get(title, 0.0), input_tokens / max(1, estimated))

    async def _hold(self, teacher: Teacher, estimated: int, most_output: int) -> Spend:
        """Wait until the call fits beside those in flight; what is known of the model may change meanwhile."""
        while True:
            most = self._most(teacher, estimated, most_output)
            if not self.reached and self._fits(most) and not self._goes_alone(teacher):
                return most
            if self.reached or not self._in_flight.total():
                raise self._end()
            await self._settled.wait()

    def _goes_alone(self, teacher: Teacher) -> bool:
        """Under a cap nothing is asked beside a model's first call: nobody knows yet what it counts."""
        return self.budget is not None and not self.knows(teacher) and self._in_flight[teacher.title] > 0

    def _fits(self, most: Spend) -> bool:
        if self.budget is None:
            return True
        total = self.spent.plus(self._held).plus(most)
        if self.budget.usd is not None:
            return total.usd <= self.budget.usd + 1e-9
        return total.input_tokens + total.output_tokens <= (self.budget.tokens or 0)

    def _end(self) -> BudgetReached:
        if not self.reached:
            spent = self.spent
            paid = f"${spent.usd:,.4f}" if self.budget and self.budget.usd is not None else ""
            paid = paid or f"{spent.input_tokens + spent.output_tokens:,} tokens"
            self.reached = f"budget reached: {paid} of {self.budget} are spent, and the next call may not fit"
        return BudgetReached(self.reached)
