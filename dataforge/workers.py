"""Worker processes: where pictures are opened, drawn and cut.

Each worker is one process with its own queue. Jobs of one group go to the same worker, so a picture with several
questions is decoded once. A job that outlives its time, or takes its process down with it, costs that example alone:
the process is replaced, and the jobs that wait behind it go to the new one.
"""

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import sys
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from dataforge.errors import ExampleError

T = TypeVar("T")
Item = TypeVar("Item")

GROUPS_REMEMBERED = 4096
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
DRAWN_AT_ONCE, DRAW_S = 32, 0.02
"""Items drawn in one go: a thread's turn for each of them would cost more than most items."""


class Workers:
    """A fixed number of processes, each set up once by `setup(*arguments)`."""

    def __init__(self, count: int, timeout_s: float, setup: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self._timeout_s = timeout_s
        self._setup = setup
        self._arguments = arguments
        self._pools = [self._pool() for _ in range(count)]
        self._turns = [asyncio.Lock() for _ in range(count)]
        self._waiting = [0] * count
        self._homes: OrderedDict[str, int] = OrderedDict()

    def _pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([self._setup.__module__])  # imported once for all workers, and shared
        return ProcessPoolExecutor(1, context, _set_up, (self._setup, self._arguments))

    async def run(self, group: str, job: Callable[..., T], *arguments: Any) -> T:
        """Run a job in the group's worker; ExampleError("worker", "timed_out" | "died") when it fails there."""
        home = self._home(group)
        self._waiting[home] += 1
        try:
            async with self._turns[home]:
                return await self._run_here(home, job, arguments)
        finally:
            self._waiting[home] -= 1

    def _home(self, group: str) -> int:
        """The worker that had this group last, else the one with the shortest queue."""
        if group not in self._homes:
            self._homes[group] = min(range(len(self._pools)), key=lambda index: self._waiting[index])
            while len(self._homes) > GROUPS_REMEMBERED:
                self._homes.popitem(last=False)
        self._homes.move_to_end(group)
        return self._homes[group]

    async def _run_here(self, home: int, job: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        future = asyncio.wrap_future(self._pools[home].submit(job, *arguments))
        _leave_writing_to_the_worker(self._pools[home])
        try:
            return await asyncio.wait_for(future, self._timeout_s)
        except TimeoutError:
            self._replace(home)
            raise ExampleError("worker", "timed_out", f"after {self._timeout_s:.0f} s") from None
        except BrokenProcessPool:
            self._replace(home)
            raise ExampleError("worker", "died", "the process ended while it worked on this example") from None

    def _replace(self, home: int) -> None:
        old, self._pools[home] = self._pools[home], self._pool()
        _kill(old)

    def close(self) -> None:
        """End all processes at once."""
        # waited for: else the interpreter may end in the middle of a pool's farewells, with a traceback
        for pool in self._pools:
            _kill(pool, wait=True)


def _leave_writing_to_the_worker(pool: ProcessPoolExecutor) -> None:
    """Close our copy of the end that answers are written to, once the worker has its own.

    A worker that is killed in the middle of an answer then ends the reading; else its pool would wait for the rest for
    good, and so would whoever closes the pool.
    """
    answers: Any = pool._result_queue
    answers._writer.close()


def _kill(pool: ProcessPoolExecutor, wait: bool = False) -> None:
    for process in list((pool._processes or {}).values()):
        process.kill()
    pool.shutdown(wait=wait, cancel_futures=True)


def _set_up(setup: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Runs in a new worker: it leaves Ctrl-C to the main process, and goes when that is gone."""
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    give_memory_back()
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    setup(*arguments)


def give_memory_back() -> None:
    """Keep the memory of freed pictures from piling up.

    glibc raises its own threshold for memory that goes back to the system with each large block that is freed, up to
    32 MB; pictures of many sizes then tear holes into its heap. 240 drawn posters took 660 MB without this, 240 MB
    with it, and no more time.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL(None)
            libc.mallopt(M_MMAP_THRESHOLD, 1 << 20)
            libc.mallopt(M_TRIM_THRESHOLD, 1 << 20)


def default_count() -> int:
    """One worker a core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def in_order(
    items: Iterator[Item],
    job: Callable[[Item], Awaitable[T]],
    window: int,
    at_once: Callable[[], int] | None = None,
) -> AsyncGenerator[T, None]:
    """Run a job for each item, and yield the results in the items' order.

    At most `at_once()` jobs run, which may change from moment to moment, and the newest is at most `window` items ahead
    of the oldest that has not ended: so far the others go on when one is slow. Items are drawn in a thread, a few ahead
    of the work, so memory is bounded by what runs and not by the source. When a job raises, or the consumer stops, the
    jobs still under way are cancelled.
    """
    drawn: deque[Item] = deque()
    pending: deque[asyncio.Task[T]] = deque()
    running: set[asyncio.Task[T]] = set()
    ended, more = asyncio.Event(), True

    def end(task: asyncio.Task[T]) -> None:
        running.discard(task)
        ended.set()

    try:
        while True:
            ended.clear()
            while len(pending) < window and len(running) < (at_once() if at_once else window):
                if more and not drawn:
                    drawn.extend(await asyncio.to_thread(_draw, items))
                    more = bool(drawn)
                if not drawn:
                    break
                task: asyncio.Task[T] = asyncio.ensure_future(job(drawn.popleft()))
                task.add_done_callback(end)
                running.add(task)
                pending.append(task)
            if pending and pending[0].done():
                yield pending.popleft().result()
                await asyncio.sleep(0)  # the new jobs get a turn before the next result is dealt with
            elif pending:
                await ended.wait()
            elif not more:
                return
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


def _draw(items: Iterator[Item]) -> list[Item]:
    """A few items, fewer where they come slowly; none at the end."""
    drawn: list[Item] = []
    until = time.monotonic() + DRAW_S
    for item in items:
        drawn.append(item)
        if len(drawn) >= DRAWN_AT_ONCE or time.monotonic() > until:
            break
    return drawn
