"""Results in order: how many jobs run, how far they may run ahead, and what happens when one fails."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from dataforge.errors import ExampleError
from dataforge.workers import DRAW_S, DRAWN_AT_ONCE, Workers, in_order


class Numbers:
    """Counts how many have been drawn."""

    def __init__(self, count: int) -> None:
        self.drawn = 0
        self._count = count

    def __iter__(self) -> Iterator[int]:
        for number in range(self._count):
            self.drawn += 1
            yield number


def test_a_slow_one_at_the_head_holds_nobody_up_within_the_window() -> None:
    async def scene() -> tuple[list[int], int, int]:
        running = most = begun = before = 0
        slow = asyncio.Event()

        async def job(number: int) -> int:
            nonlocal running, most, begun, before
            running, begun = running + 1, begun + 1
            most = max(most, running)
            if number == 0:
                await slow.wait()
                before = begun
            elif number == 40:
                slow.set()
            await asyncio.sleep(0.001)
            running -= 1
            return number

        numbers = Numbers(100)
        async with aclosing(in_order(iter(numbers), job, 50, lambda: 8)) as results:
            return [result async for result in results], most, before

    results, most, before = asyncio.run(scene())
    assert results == list(range(100))
    assert most == 8
    assert 41 <= before <= 50


def test_nothing_runs_further_ahead_than_the_window_and_little_is_drawn() -> None:
    async def scene() -> tuple[int, int]:
        begun = 0
        numbers = Numbers(10_000)

        async def job(number: int) -> int:
            nonlocal begun
            begun += 1
            await asyncio.sleep(60 if number == 0 else 0)
            return number

        async def consume() -> None:
            async with aclosing(in_order(iter(numbers), job, 50, lambda: 8)) as results:
                async for _ in results:
                    raise AssertionError("the head never ends")

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(consume(), 0.5)
        return begun, numbers.drawn

    begun, drawn = asyncio.run(scene())
    assert begun == 50
    assert drawn <= 50 + DRAWN_AT_ONCE


def test_the_number_at_once_may_change() -> None:
    async def scene() -> list[int]:
        running, limit, seen = 0, 2, []

        async def job(number: int) -> int:
            nonlocal running, limit
            running += 1
            seen.append(running)
            await asyncio.sleep(0.001)
            running -= 1
            if number == 20:
                limit = 10
            return number

        async with aclosing(in_order(iter(range(100)), job, 40, lambda: limit)) as results:
            assert [result async for result in results] == list(range(100))
        return seen

    seen = asyncio.run(scene())
    assert max(seen[:20]) == 2
    assert max(seen) == 10


def test_items_that_come_slowly_are_worked_on_as_they_come() -> None:
    worked = [threading.Event() for _ in range(5)]

    def slow() -> Iterator[int]:
        for number in range(5):
            time.sleep(2 * DRAW_S)
            yield number
            assert worked[number].wait(30), "the next comes when this one is done"

    async def scene() -> list[int]:
        async def job(number: int) -> int:
            worked[number].set()
            return number

        async with aclosing(in_order(slow(), job, 50)) as results:
            return [number async for number in results]

    assert asyncio.run(scene()) == [0, 1, 2, 3, 4]


def test_a_job_that_raises_ends_all() -> None:
    async def scene() -> None:
        async def job(number: int) -> int:
            if number == 3:
                raise RuntimeError("a bug")
            await asyncio.sleep(0 if number < 3 else 60)
            return number

        async with aclosing(in_order(iter(range(100)), job, 10)) as results:
            assert [await anext(results) for _ in range(3)] == [0, 1, 2]
            await anext(results)

    began = time.monotonic()
    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(scene())
    assert time.monotonic() - began < 30


def nothing() -> None:
    """What a worker of these tests is set up by."""


def dies_in_mid_answer() -> bytes:
    """A worker's end of the pipe gives half of what it is to write, then the process is killed."""
    whole: Any = Connection._send

    def half(self: Any, buffer: Any, *others: Any) -> None:
        whole(self, buffer[: len(buffer) // 2], *others)
        os.kill(os.getpid(), signal.SIGKILL)

    Connection._send = half  # type: ignore[method-assign]
    return b"x" * 100_000


async def one_dies_and_the_next_answers() -> None:
    workers = Workers(1, 60, nothing, ())
    try:
        with pytest.raises(ExampleError, match="died"):
            await workers.run("a", dies_in_mid_answer)
        assert await workers.run("a", len, "four") == 4
    finally:
        workers.close()


def test_a_worker_killed_in_mid_answer_holds_nobody_up() -> None:
    code = "import asyncio; from tests.test_workers import *; asyncio.run(one_dies_and_the_next_answers())"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50, cwd=Path(__file__).parents[1])
