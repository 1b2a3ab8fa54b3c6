"""Prices, token estimates, and the cap that no run goes over."""

import asyncio
import io
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dataforge.ask.asking import Asking
from dataforge.ask.budget import Budget, BudgetReached, Ledger, Purse, Spend, parse_budget
from dataforge.ask.prices import Pictures, find_price
from dataforge.ask.request import Message, Picture, Reply, Request, Setback
from dataforge.ask.tokens import jpeg_size, picture_tokens
from dataforge.errors import ExampleError, UsageError
from dataforge.runs import Run
from dataforge.synth import synth
from dataforge.teachers.openai_api import OpenaiApi
from tests.servers import TeacherServer
from tests.test_synth import SHEETS, at, bytes_of, of_sheets, said, sheets

__all__ = ["sheets"]

# ---------------------------------------------------------------------------------------------- prices and tokens


def test_a_price_is_by_exact_name_or_dated_snapshot_and_never_guessed() -> None:
    price = find_price("gpt-4.1-mini")
    assert price is not None
    assert price.checked.year >= 2026
    assert price.cost(1_000_000, 1_000_000) == pytest.approx(2.0)
    assert price.cost(1_000_000, 1_000_000, batch=True) == pytest.approx(1.0)
    assert find_price("gpt-4.1-mini-2025-04-14") == price
    assert find_price("Qwen/Qwen2.5-VL-72B-Instruct") is find_price("gpt-4.1-mini-fast") is None


def test_the_manifest_wins_over_the_list() -> None:
    assert OpenaiApi(model="gpt-4.1-mini", input_usd=9.0).price(10**6, 10**6) == 9.0
    assert OpenaiApi(model="mine", input_usd=2.0, output_usd=4.0).price(10**6, 10**6, batch=True) == 3.0
    assert OpenaiApi(model="mine").price(10**6, 10**6) is None


@pytest.mark.parametrize(
    ("size", "pictures", "tokens"),
    [
        ((1024, 1024), Pictures(base=85, tile=170), 765),  # OpenAI's own two examples
        ((2048, 4096), Pictures(base=85, tile=170), 1105),
        ((1024, 1024), Pictures(patch=32, most=1536, times=1.62), math.ceil(1024 * 1.62)),
        ((9000, 9000), Pictures(patch=32, most=1536, times=1.62), math.ceil(1536 * 1.62)),
        ((280, 560), Pictures(), 200),
    ],
)
def test_pictures_are_counted_as_their_maker_says(size: tuple[int, int], pictures: Pictures, tokens: int) -> None:
    assert picture_tokens(*size, pictures) == tokens


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"comment": b"x" * 300}, {"exif": b"Exif\0\0" + b"y" * 99}]
)
def test_a_jpegs_size_is_read_from_its_header(options: dict[str, Any]) -> None:
    content = io.BytesIO()
    Image.new("RGB", (123, 45)).save(content, "JPEG", **options)
    assert jpeg_size(content.getvalue()) == (123, 45)
    assert jpeg_size(content.getvalue()[:20]) is None
    assert jpeg_size(b"\x89PNG") is None


# ---------------------------------------------------------------------------------------------- the syntax


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("20", Budget(usd=20)),
        ("$0.5", Budget(usd=0.5)),
        ("20usd", Budget(usd=20)),
        ("1.5kusd", Budget(usd=1500)),
        ("500k-tokens", Budget(tokens=500_000)),
        ("5Mtok", Budget(tokens=5_000_000)),
        ("900tok", Budget(tokens=900)),
    ],
)
def test_a_budget_is_dollars_or_tokens(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "0", "-3", "20k", "many", "5 Mt", "20eur", "1e3"])
def test_what_is_no_budget_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(UsageError, match=r"20usd.*5Mtok"):
        parse_budget(text)


def test_dollars_need_a_price(sheets: Path, tmp_path: Path) -> None:
    teacher = {"name": "openai_api", "model": "mine", "base_url": "http://127.0.0.1:1/v1"}
    refused = pytest.raises(UsageError, match=r"no price is known.*input_usd.*5Mtok")
    with Run.start(tmp_path, of_sheets(sheets, teacher=teacher)) as run, refused:
        synth(run, budget=Budget(usd=1))


# ---------------------------------------------------------------------------------------------- the cap


class Costly(OpenaiApi):
    """Answers in this process, charges what a script says, and fails as it says."""

    def __init__(self, calls: list[tuple[int, int, str]], **options: Any) -> None:
        super().__init__(model="mine", input_usd=1.0, output_usd=10.0, max_tokens=100, **options)
        self._calls = iter(calls)
        self._charged = 0.0
        self._running = 0

    async def ask(self, request: Request) -> Reply:
        into, out, fate = next(self._calls)
        await asyncio.sleep(random.random() / 500)
        if fate == "refused":
            raise ExampleError("teacher", "bad_request")
        cost = self.price(into, out) or 0.0
        self._charged += cost
        if fate == "lost":
            raise Setback("timeout", charged=True)
        return Reply("x", "mine", into, out, cost)


def request(number: int) -> Request:
    return Request("write", (Message("user", (f"question {number} " + "x" * 500,)),), {})


fates = st.sampled_from(["fine"] * 6 + ["refused", "lost"])
calls = st.lists(st.tuples(st.integers(1, 150), st.integers(1, 100), fates), min_size=40, max_size=40)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=calls, cap=st.floats(0.0005, 0.02), cut=st.integers(0, 40))
def test_no_spend_goes_over_the_cap(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[int, int, str]], cap: float, cut: int
) -> None:
    """Whatever is charged, lost or refused, at once and over two invocations: the sum stays under the cap."""
    path = tmp_path_factory.mktemp("ledger") / "spent.jsonl"

    async def invocation(numbers: range) -> float:
        teacher = Costly(calls[numbers.start : numbers.stop])
        purse = Purse(teacher, Ledger(path), Budget(usd=cap))
        asked = [purse.pay(request(number), teacher.ask) for number in numbers]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        unpaid = [one for one in outcomes if isinstance(one, BudgetReached)]
        assert len(unpaid) == 0 or purse.reached
        assert all(isinstance(one, (Reply, ExampleError, BudgetReached)) for one in outcomes)
        assert purse.spent.usd >= teacher._charged - 1e-9
        purse.close()
        return teacher._charged

    charged = asyncio.run(invocation(range(cut)))
    charged += asyncio.run(invocation(range(cut, 40)))
    assert charged <= cap + 1e-9
    ledger = Ledger(path)
    assert charged - 1e-6 <= ledger.total.usd <= cap + 1e-6


def test_a_call_that_does_not_fit_waits_for_those_in_flight(tmp_path: Path) -> None:
    """A call holds back 0.0012 dollars and takes 0.00011: under 0.003 two go at once, and all ten are paid."""

    async def run() -> tuple[int, str]:
        teacher = Costly([(10, 10, "fine")] * 10)
        purse = Purse(teacher, Ledger(tmp_path / "spent.jsonl"), Budget(usd=0.003))
        replies = await asyncio.gather(*(purse.pay(request(n), teacher.ask) for n in range(10)))
        return len(replies), purse.reached

    assert asyncio.run(run()) == (10, "")


def test_a_kill_leaves_the_larger_figure(tmp_path: Path) -> None:
    path = tmp_path / "spent.jsonl"
    ledger = Ledger(path)
    ledger.add(Spend(1000, 100, 0.01))
    ledger.add(Spend(500, 100, 0.01))
    ledger.add(Spend(-200, -60, -0.006))
    ledger.state("0001-ab", Spend(9000, 900, 0.5))
    ledger.state("0001-ab", Spend(7000, 300, 0.2))
    ledger.close()
    whole = path.read_bytes()
    assert Ledger(path).total == pytest.approx(Spend(8300, 440, 0.214))
    path.write_bytes(whole + b'{"in": -900')
    assert Ledger(path).total == pytest.approx(Spend(8300, 440, 0.214))
    path.write_bytes(b"oops\n" + whole)
    with pytest.raises(UsageError, match="line 1 is broken"):
        Ledger(path)


def test_a_long_ledger_is_summed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataforge.ask.budget.LONGEST_LEDGER", 5)
    path = tmp_path / "spent.jsonl"
    ledger = Ledger(path)
    ledger.state("part", Spend(1, 1, 1.0))
    for _ in range(9):
        ledger.add(Spend(10, 1, 0.25))
    ledger.close()
    assert Ledger(path).total == Ledger(path).total == Spend(91, 10, 3.25)
    assert len(path.read_text().splitlines()) == 2


def test_estimates_are_corrected_by_what_the_first_reply_counts(tmp_path: Path) -> None:
    """A model that counts thirty times what was estimated: one call goes alone, then few enough fit."""

    async def run() -> tuple[float, int, int]:
        teacher = Costly([(5000, 10, "fine")] * 50)
        purse = Purse(teacher, Ledger(tmp_path / "spent.jsonl"), Budget(usd=0.02))
        outcomes = await asyncio.gather(
            *(purse.pay(request(n), teacher.ask) for n in range(50)), return_exceptions=True
        )
        replies = sum(isinstance(one, Reply) for one in outcomes)
        return teacher._charged, replies, sum(isinstance(one, BudgetReached) for one in outcomes)

    charged, replies, unpaid = asyncio.run(run())
    assert charged <= 0.02
    assert (replies, unpaid) == (3, 47)


# ---------------------------------------------------------------------------------------------- a run under a cap


def test_a_run_ends_at_its_budget_and_goes_on_with_a_higher_one(sheets: Path, tmp_path: Path) -> None:
    """1,000 tokens in and 100 out a call at 1 and 10 dollars a million: 0.002 dollars each."""
    prices = {"input_usd": 1.0, "output_usd": 10.0, "max_tokens": 200}
    with TeacherServer(fill=said, delay_s=0.02) as server:
        chosen = of_sheets(sheets, teacher=at(server, **prices))
        with Run.start(tmp_path / "a", chosen) as run:
            progress = synth(run, budget=Budget(usd=0.0125))
            assert "budget reached: $0.0" in progress.stopped
            assert 0 < server.requests * 0.002 <= 0.0125
            assert progress.kept == server.requests, "everything paid for is kept"
            first = server.requests
        with Run.start(tmp_path / "a", chosen) as run:
            still = synth(run, budget=Budget(usd=0.0125))
            assert (still.read, server.requests) == (0, first), "what was spent before counts"
        with Run.start(tmp_path / "a", chosen) as run:
            more = synth(run, budget=Budget(usd=1))
            assert (more.kept, more.stopped) == (SHEETS - first, "")
            assert server.requests == SHEETS
        with Run.start(tmp_path / "b", chosen) as whole:
            synth(whole)
    assert bytes_of(run) == bytes_of(whole)
    spent = Ledger(run.folder / "spent.jsonl").total
    assert spent == pytest.approx(Spend(SHEETS * 1000, SHEETS * 100, SHEETS * 0.002))


def test_what_the_cache_has_costs_nothing(sheets: Path, tmp_path: Path) -> None:
    import shutil

    with TeacherServer(fill=said) as server:
        chosen = of_sheets(sheets, teacher=at(server, input_usd=1.0, output_usd=10.0))
        with Run.start(tmp_path, chosen) as run:
            synth(run)
        shutil.rmtree(run.folder)
        with Run.start(tmp_path, chosen) as run:
            progress = synth(run, budget=Budget(tokens=1))
    assert (progress.kept, progress.stopped) == (SHEETS, "")


def test_what_failed_examples_have_cost_is_not_lost(sheets: Path, tmp_path: Path) -> None:
    from dataforge import report

    with TeacherServer("length", fill=said) as server:
        chosen = of_sheets(sheets, teacher=at(server, input_usd=1.0, output_usd=10.0), limit=2)
        with Run.start(tmp_path / "a", chosen) as run:
            synth(run)
            made = report.write(run)
    assert made.failures == {"teacher: cut_off": 2}
    assert (made.lost_tokens, made.input_tokens, made.output_tokens) == (2200, 2000, 200)
    assert made.cost_usd == made.lost_usd == pytest.approx(0.004)
    with TeacherServer(fill=lambda schema, body: {"answer": "4100"}) as server:
        chosen = of_sheets(sheets, teacher=at(server), limit=1)
        with Run.start(tmp_path / "b", chosen) as run:
            synth(run)
            made = report.write(run)
    assert made.failures == {"write: bad_form": 1}
    assert made.lost_tokens == server.requests * 1100 > 3000
    assert made.cost_usd is None, "no price is known"
    assert "no price" in (run.folder / "report.html").read_text()


def test_asking_stores_nothing_when_the_budget_is_reached(tmp_path: Path) -> None:
    async def run() -> None:
        teacher = Costly([(10, 10, "fine")])
        purse = Purse(teacher, Ledger(tmp_path / "spent.jsonl"), Budget(usd=0.0001))
        asking = Asking(teacher, None, purse)
        with pytest.raises(BudgetReached):
            await asking.ask(request(1))
        assert asking.counts.calls == 0

    asyncio.run(run())


def test_a_picture_is_estimated_from_its_size() -> None:
    content = io.BytesIO()
    Image.new("RGB", (1024, 1024)).save(content, "JPEG")
    picture = Picture(content.getvalue(), "0" * 64)
    one = Request("write", (Message("user", ("hello", picture)),), {})
    tokens, most = OpenaiApi(model="gpt-4o", max_tokens=77).forecast(one)
    assert 765 < tokens < 800
    assert most == 77
