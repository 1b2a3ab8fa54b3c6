"""The pace: how many calls at once, how many a minute, which endpoint, and for how long none."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dataforge.ask import lane as lanes
from dataforge.ask.lane import Bucket, Lane
from dataforge.ask.pace import Pace, Place
from dataforge.ask.request import Setback
from dataforge.errors import ExampleError, UsageError


def played(lane: Lane, seconds: float, took_s: Callable[[Lane], float], start: float = 0.0) -> list[float]:
    """Calls sent as fast as the lane allows, each answered after `took_s`, in simulated time; when they were sent."""
    now, due, sent = start, list[tuple[float, float]](), list[float]()
    while now < start + seconds:
        while due and due[0][0] <= now:
            at, since = due.pop(0)
            lane.answered(now, at - since)
        if lane.wait_s(now) <= 0:
            lane.enter(now)
            sent.append(now)
            due.append((now + took_s(lane), now))
            due.sort()
        else:
            now += 0.001
    for at, since in due:
        lane.answered(at, at - since)
    return sent


def test_it_starts_modest_and_doubles_to_what_is_allowed() -> None:
    lane = Lane(0, 256)
    sent = played(lane, 0.45, lambda _: 0.2)
    assert sum(at < 0.2 for at in sent) == 1, "the first call goes alone"
    assert lanes.START < lane.allowed <= 4 * lanes.START
    played(lane, 1.5, lambda _: 0.2, start=0.45)
    assert lane.allowed == 256


def test_a_slow_model_is_not_waited_for_with_one_call() -> None:
    sent = played(Lane(0, 256), 3.0, lambda _: 30.0)
    assert sum(at < lanes.ALONE_S for at in sent) == 1
    assert len(sent) == lanes.START


def test_a_round_has_twice_the_calls_of_the_one_before() -> None:
    sent = played(Lane(0, 1024), 1.2, lambda _: 0.2)
    rounds = [sum(0.2 * number <= at < 0.2 * (number + 1) for at in sent) for number in range(6)]
    assert rounds == pytest.approx([1, 32, 64, 128, 256, 512], rel=0.05)


def test_it_stops_growing_where_replies_only_get_slower() -> None:
    lane = Lane(0, 1024)
    # a server that answers 400 a second: beyond 80 calls at once each of them waits longer
    played(lane, 20.0, lambda lane: max(0.2, lane.in_flight / 400))
    assert 80 <= lane.allowed <= 320


def test_it_does_not_grow_unused() -> None:
    lane = Lane(0, 1024)
    for number in range(2000):
        lane.enter(number)
        lane.answered(number + 0.2, 0.2)
    assert lane.allowed == lanes.START


def test_a_refusal_makes_fewer_and_time_makes_more_again() -> None:
    lane = Lane(0, 256)
    played(lane, 2.0, lambda _: 0.2)
    for _ in range(10):  # of one moment: one step down, not ten
        lane.enter(2.0)
    for _ in range(10):
        lane.refused(2.0, 2.0, 1.0)
    assert lane.allowed == int(256 * lanes.FEWER)
    assert lane.wait_s(2.5) == pytest.approx(0.5)
    played(lane, 10.0, lambda _: 0.2, start=3.0)
    assert lane.allowed > 240


def test_a_refusal_in_a_crowd_of_replies_is_no_limit() -> None:
    lane = Lane(0, 64)
    played(lane, 2.0, lambda _: 0.2)
    for number in range(1000):
        lane.enter(2.0 + number)
        if number % 40:
            lane.answered(2.2 + number, 0.2)
        else:
            lane.refused(2.2 + number, 2.0 + number, None)
    assert lane.allowed == 64
    assert lane.pause_until < 1000


def test_the_rate_of_a_server_is_learned_from_two_refusals() -> None:
    lane, level, filled, now = Lane(0, 64), 50.0, 0.0, 0.0
    accepted = refused = 0
    due: list[tuple[float, float]] = []
    while accepted < 600:
        while due and due[0][0] <= now:
            at, since = due.pop(0)
            lane.answered(now, at - since)
        if lane.wait_s(now) <= 0:
            lane.enter(now)
            level, filled = min(50.0, level + 50 * (now - filled)), now
            if level >= 1:
                level, accepted = level - 1, accepted + 1
                due.append((now + 0.2, now))
            else:
                refused += 1
                lane.refused(now, now, 1.0)
        else:
            now += 0.001
    assert refused < 30
    assert now < 1.1 * (600 - 50) / 50


@pytest.mark.parametrize("wait_s", [None, 0.0, 1.0])
def test_refusals_without_end_do_not_make_it_ask_faster(wait_s: float | None) -> None:
    lane, now, sent = Lane(0, 64), 0.0, 0
    while now < 120:
        if (wait := lane.wait_s(now)) <= 0:
            lane.enter(now)
            lane.refused(now + 0.001, now, wait_s or None)
            sent += 1
        now += max(0.002, wait)
    assert sent < 400


def test_days_do_not_overflow_anything() -> None:
    lane = Lane(0, 64)
    for at in (0.0, 10.0, 20.0):
        lane.enter(at)
        lane.refused(at, at, 1.0)
        lane.wait_s(at + 1.5)
    assert lane.wait_s(1e6) == 0
    for number in range(5000):
        lane.enter(1e6)
        (lane.failed if number % 2 else lambda now, since: lane.refused(now, since, None))(1e6, 1e6)
    assert lane.pause_until <= 1e6 + lanes.LONGEST_ASIDE_S


def test_a_bucket_never_gives_more_in_a_minute() -> None:
    bucket, now, taken = Bucket(120, 0.0), 0.0, list[float]()
    while now < 180:
        if bucket.wait_s(1, now) <= 1e-9:
            bucket.take(1)
            taken.append(now)
        now += 0.01
    assert max(sum(start <= at < start + 60 for at in taken) for start in range(121)) <= 120
    assert len(taken) > 340


def test_a_call_larger_than_a_bucket_goes_when_it_is_full_and_is_worked_off() -> None:
    bucket = Bucket(600, 0.0)
    assert bucket.wait_s(1000, 0.0) == 0
    bucket.take(1000)
    assert bucket.wait_s(1, 0.0) > 60


# ------------------------------------------------------------------------------------------ on a loop


def run(scene: Awaitable[Any]) -> Any:
    async def timed() -> Any:
        return await asyncio.wait_for(scene, 20)

    return asyncio.run(timed())


def test_tokens_are_corrected_by_the_usage() -> None:
    async def scene() -> float:
        pace = Pace(1, 8, tokens_per_minute=60_000)
        place = await pace.enter(100.0)
        pace.done(place, 2000)  # as much as two seconds may take
        started = time.monotonic()
        pace.done(await pace.enter(500.0), 500)
        return time.monotonic() - started

    assert 1.0 < run(scene()) < 2.5


def test_places_are_given_in_order_and_never_too_many() -> None:
    async def scene() -> list[int]:
        pace, order = Pace(1, 3), list[int]()

        async def call(number: int) -> None:
            place = await pace.enter()
            order.append(number)
            assert pace.in_flight <= 3
            await asyncio.sleep(0.005)
            pace.done(place, 0)

        await asyncio.gather(*(call(number) for number in range(30)))
        assert pace.in_flight == 0
        return order

    assert run(scene()) == list(range(30))


def test_a_cancelled_call_gives_its_place_back() -> None:
    async def scene() -> int:
        pace = Pace(1, 1)
        first = await pace.enter()
        waiting = [asyncio.create_task(pace.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        pace.done(first, 0)  # the place goes to the second, which is cancelled before it knows
        waiting[1].cancel()
        place = await waiting[2]
        pace.done(place, 0)
        return pace.in_flight

    assert run(scene()) == 0


def test_the_least_loaded_endpoint_is_asked_and_a_failed_one_not_again_at_once() -> None:
    async def scene() -> None:
        pace = Pace(3, 30)
        for first in [await pace.enter() for _ in range(3)]:
            pace.done(first, 0)
        places = [await pace.enter() for _ in range(6)]
        assert [place.lane.number for place in places] == [0, 1, 2, 0, 1, 2]
        pace.set_back(places[1], Setback("unreachable"))
        again = await pace.enter(after=1)
        assert again.lane.number != 1

    run(scene())


def test_a_failing_endpoint_is_set_aside_and_tried_again() -> None:
    async def scene() -> tuple[list[int], list[int]]:
        pace = Pace(2, 8)
        asked: list[int] = []

        async def call(dead: bool) -> None:
            place: Place = await pace.enter()
            asked.append(place.lane.number)
            await asyncio.sleep(0.002)
            if dead and place.lane.number == 1:
                pace.set_back(place, Setback("unreachable"))
            else:
                pace.done(place, 0)

        await asyncio.gather(*(call(True) for _ in range(200)))
        first = list(asked)
        asked.clear()
        await asyncio.sleep(1.05)
        await asyncio.gather(*(call(False) for _ in range(200)))
        return first, asked

    first, later = run(scene())
    assert first.count(1) <= lanes.AILING + 4
    assert later.count(1) > 50


def test_when_nothing_answers_those_who_wait_are_told() -> None:
    async def scene() -> list[Any]:
        pace = Pace(1, 4, patience=1)

        async def call() -> None:
            place = await pace.enter()
            pace.set_back(place, Setback("unreachable", "no route"))

        return await asyncio.gather(*(call() for _ in range(50)), return_exceptions=True)

    started = time.monotonic()
    ends = run(scene())
    assert time.monotonic() - started < 20, "one second of patience for all, not for each"
    told = [end for end in ends if isinstance(end, ExampleError)]
    assert {error.reason for error in told} == {"unreachable"}
    assert len(told) >= 40


def test_a_pause_of_hours_ends_the_run() -> None:
    async def scene() -> None:
        pace = Pace(1, 4)
        pace.set_back(await pace.enter(), Setback("rate_limited", "daily limit", 7200.0, busy=True))

    with pytest.raises(UsageError, match=r"120 minutes.*daily limit.*run again"):
        run(scene())
