"""The reply cache: what it keeps, what it survives, what it says when it can't be used."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dataforge.ask.asking import Asking
from dataforge.ask.replies import Asked, ReplyCache, reply_digest, request_key, summarise
from dataforge.ask.request import Message, Picture, Reply, Request
from dataforge.errors import ExampleError, UsageError
from dataforge.plugins import Teacher
from dataforge.teachers.openai_api import OpenaiApi

ASKED = Asked("openai_api m", "write", 1, 20)
REPLY = Reply("Zürich 🙂", "m-2026", 1000, 100, 0.0123, "stop")
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


def request(text: str = "What?", sha256: str = "a" * 64, **more: Any) -> Request:
    return Request("write", (Message("user", (text, Picture(b"\xff\xd8pixels", sha256))),), SCHEMA, **more)


def test_a_reply_comes_back_as_it_was_in_another_connection_too(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "replies.sqlite"
    with ReplyCache(path) as cache, ReplyCache(path) as other:
        assert cache.get("k") is None
        assert cache.put("k", ASKED, REPLY) == REPLY
        assert cache.get("k") == other.get("k") == REPLY
    with ReplyCache(path) as again:
        assert again.get("k") == REPLY


def test_the_first_reply_to_a_request_stays(tmp_path: Path) -> None:
    with ReplyCache(tmp_path / "r.sqlite") as cache:
        cache.put("k", ASKED, REPLY)
        assert cache.put("k", ASKED, REPLY._replace(text="later")) == REPLY


def test_the_key_holds_what_shapes_a_reply_and_nothing_else() -> None:
    teacher = OpenaiApi(model="m")
    key = request_key(teacher, request())
    assert len(key) == 64
    same = OpenaiApi(model="m", base_url="http://localhost:1/v1", key_env="OTHER", retries=0, in_flight=1, input_usd=9)
    assert request_key(same, request()) == key
    assert request_key(teacher, request(truth={"answer": "42"})) == key
    moved = Request("write", (Message("user", ("What?", Picture(b"other bytes", "a" * 64))),), SCHEMA)
    assert request_key(teacher, moved) == key
    others = [
        request_key(OpenaiApi(model="n"), request()),
        request_key(OpenaiApi(model="m", temperature=0), request()),
        request_key(teacher, request("Who?")),
        request_key(teacher, request(sha256="b" * 64)),
        request_key(teacher, Request("verify", request().messages, SCHEMA)),
        request_key(teacher, Request("write", request().messages, {})),
    ]
    assert len({key, *others}) == 7


def test_a_reply_digest_is_of_text_and_model() -> None:
    assert reply_digest(REPLY) == reply_digest(REPLY._replace(input_tokens=1))
    assert reply_digest(REPLY) != reply_digest(REPLY._replace(text="Zug"))
    assert len(reply_digest(REPLY)) == 16


def test_neither_pictures_nor_truth_nor_text_of_a_request_are_stored(tmp_path: Path) -> None:
    teacher = OpenaiApi(model="m")
    asked = request("Say PROMPTTEXT", truth={"answer": "TRUTHVALUE"})
    with ReplyCache(tmp_path / "r.sqlite") as cache:
        cache.put(request_key(teacher, asked), summarise(teacher, asked), REPLY)
    stored = (tmp_path / "r.sqlite").read_bytes()
    assert "Zürich".encode() in stored
    for word in (b"PROMPTTEXT", b"TRUTHVALUE", b"pixels"):
        assert word not in stored


def test_a_damaged_file_is_named_with_the_fix(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(UsageError, match=r"r\.sqlite.*damaged: move it away"):
        ReplyCache(path)


def test_a_table_of_another_version_is_refused(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "r.sqlite")
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(UsageError, match="another version"):
        ReplyCache(tmp_path / "r.sqlite")


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="File exists; choose another folder"):
        ReplyCache(tmp_path / "file" / "r.sqlite")
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(UsageError, match="choose another run folder"):
        ReplyCache(tmp_path / "folder.sqlite")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="make its folder writable"):
        ReplyCache(tmp_path / "r.sqlite")


def test_a_full_disk_is_said_and_what_was_stored_stays(tmp_path: Path) -> None:
    with ReplyCache(tmp_path / "r.sqlite") as cache:
        cache.put("k", ASKED, REPLY)
        cache._db.execute("PRAGMA max_page_count=8")  # sqlite's own way of being full
        with pytest.raises(UsageError, match="free some space"):
            cache.put("l", ASKED, REPLY._replace(text="x" * 100_000))
        assert cache.get("k") == REPLY


WRITER = """
import sys, pathlib
from dataforge.ask.request import Reply
from dataforge.ask.replies import Asked, ReplyCache
cache = ReplyCache(pathlib.Path(sys.argv[1]))
for number in range(100_000):
    cache.put(f"{sys.argv[2]}-{number}", Asked("t", "write", 0, 0), Reply("text " * 50, "m"))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_what_put_returned_from_survives_kill_9_of_several_writers(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    outputs = [tmp_path / f"{name}.txt" for name in "ab"]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), out.stem], stdout=out.open("w")) for out in outputs
    ]
    until = time.monotonic() + 20
    while time.monotonic() < until and not all(out.read_text().count("\n") > 200 for out in outputs):
        time.sleep(0.02)
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    with ReplyCache(path) as cache:
        for out in outputs:
            done = out.read_text().rpartition("\n")[0].split("\n")
            assert len(done) > 200
            assert all(cache.get(f"{out.stem}-{number}") for number in done)


def test_many_may_make_the_file_at_once(tmp_path: Path) -> None:
    def open_and_put(path: Path, barrier: threading.Barrier, name: str) -> None:
        barrier.wait()
        with ReplyCache(path) as cache:
            cache.put(name, ASKED, REPLY)

    for turn in range(20):
        path, barrier = tmp_path / f"{turn}.sqlite", threading.Barrier(6)
        with ThreadPoolExecutor(6) as pool:
            made = [pool.submit(open_and_put, path, barrier, str(number)) for number in range(6)]
        assert [future.result() for future in made] == [None] * 6
        with ReplyCache(path) as cache:
            assert all(cache.get(str(number)) for number in range(6))


# ------------------------------------------------------------------------------------------ asking


class Counting(Teacher):
    """A teacher that remembers what it was asked and says what its option says."""

    finish: str = "stop"
    fatal_from: int = 10**9
    asked: ClassVar[list[str]] = []
    at_once: ClassVar[list[int]] = [0, 0]

    async def ask(self, request: Request) -> Reply:
        text = str(request.messages[0].parts[0])
        self.asked.append(text)
        self.at_once[0] += 1
        self.at_once[1] = max(self.at_once)
        await asyncio.sleep(0.01)
        self.at_once[0] -= 1
        if len(self.asked) >= self.fatal_from:
            raise UsageError("the key is dead")
        if text == "spoiled":
            raise ExampleError("teacher", "timeout")
        return Reply(f"{text} {len(self.asked)}", "m", 10, 1, 0.5, self.finish)


@pytest.fixture(autouse=True)
def nothing_asked() -> None:
    Counting.asked.clear()
    Counting.at_once[:] = [0, 0]


def ask_all(asking: Asking, *texts: str) -> list[Any]:
    async def together() -> list[Any]:
        return await asyncio.gather(*(asking.ask(request(text)) for text in texts), return_exceptions=True)

    return asyncio.run(together())


def test_equal_requests_in_flight_are_one_call_and_later_ones_none(tmp_path: Path) -> None:
    with ReplyCache(tmp_path / "r.sqlite") as cache:
        asking = Asking(Counting(), cache)
        first = ask_all(asking, "a", "a", "b", "a")
        assert sorted(Counting.asked) == ["a", "b"]
        assert first[0] == first[1] == first[3]
        assert (asking.counts.calls, asking.counts.cached, asking.counts.in_flight) == (2, 2, 0)
        assert (asking.counts.input_tokens, asking.counts.output_tokens, asking.counts.cost_usd) == (20, 2, 1.0)
        later = Asking(Counting(), cache)
        assert ask_all(later, "b", "a") == [first[2], first[0]]
        assert (later.counts.calls, later.counts.cached, later.counts.cost_usd) == (0, 2, 0.0)


def test_no_more_calls_are_in_flight_than_the_teacher_allows() -> None:
    ask_all(Asking(Counting(in_flight=3)), *(str(number) for number in range(10)))
    assert Counting.at_once == [0, 3]


def test_a_spoiled_reply_is_counted_as_paid_but_not_kept(tmp_path: Path) -> None:
    with ReplyCache(tmp_path / "r.sqlite") as cache:
        asking = Asking(Counting(finish="cut_off"), cache)
        (error,) = ask_all(asking, "a")
        assert isinstance(error, ExampleError)
        assert (error.stage, error.reason) == ("teacher", "cut_off")
        assert (asking.counts.failed, asking.counts.cost_usd) == (1, 0.5)
        ask_all(asking, "a")
        assert Counting.asked == ["a", "a"]


def test_one_spoiled_example_does_not_stop_the_others() -> None:
    error, reply = ask_all(Asking(Counting()), "spoiled", "a")
    assert isinstance(error, ExampleError)
    assert isinstance(reply, Reply)


def test_a_dead_key_costs_no_more_than_the_calls_in_flight() -> None:
    asking = Asking(Counting(in_flight=4, fatal_from=1))
    errors = ask_all(asking, *(str(number) for number in range(500)))
    assert all(isinstance(error, UsageError) and str(error) == "the key is dead" for error in errors)
    assert len(Counting.asked) <= 4


def test_a_cancelled_request_leaves_its_place_to_an_equal_one() -> None:
    async def scene() -> Reply:
        asking = Asking(Counting())
        first = asyncio.create_task(asking.ask(request("a")))
        second = asyncio.create_task(asking.ask(request("a")))
        await asyncio.sleep(0.002)
        first.cancel()
        return await second

    assert asyncio.run(scene()).text == "a 2"


def test_a_full_disk_ends_the_asking(tmp_path: Path) -> None:
    with ReplyCache(tmp_path / "r.sqlite") as cache:
        asking = Asking(Counting(), cache)
        cache._db.execute("PRAGMA query_only=1")  # a write fails, as on a disk that became read-only
        errors = [*ask_all(asking, "a"), *ask_all(asking, "b")]
        assert all(isinstance(error, UsageError) and "writable" in str(error) for error in errors)
        assert Counting.asked == ["a"]


# ------------------------------------------------------------------------------------------ in groups


def test_many_replies_are_kept_while_another_process_holds_the_file_and_the_loop_goes_on(tmp_path: Path) -> None:
    async def scene(cache: ReplyCache) -> list[Reply]:
        other = sqlite3.connect(tmp_path / "r.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        keeping = asyncio.gather(
            *(cache.keep(str(number % 900), ASKED, REPLY._replace(input_tokens=number)) for number in range(1000))
        )
        for _ in range(20):
            await asyncio.sleep(0.01)  # a loop that waits for the file would never come here
            assert not keeping.done()
        other.execute("COMMIT")
        return await keeping

    with ReplyCache(tmp_path / "r.sqlite") as cache:
        kept = asyncio.run(scene(cache))
        assert [reply.input_tokens for reply in kept[:900]] == list(range(900))
        assert [reply.input_tokens for reply in kept[900:]] == list(range(100)), "the first one stays"
        assert cache.get("899") == kept[899]


def test_a_reply_whose_caller_is_cancelled_is_kept_all_the_same(tmp_path: Path) -> None:
    async def scene() -> None:
        with ReplyCache(tmp_path / "r.sqlite") as cache:
            keeping = [asyncio.create_task(cache.keep(str(number), ASKED, REPLY)) for number in range(5)]
            await asyncio.sleep(0)
            for task in keeping:
                task.cancel()

    asyncio.run(scene())
    with ReplyCache(tmp_path / "r.sqlite") as cache:
        assert all(cache.get(str(number)) for number in range(5))


def test_a_file_of_layout_one_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with ReplyCache(path) as cache:
        cache.put("k", ASKED, REPLY)
    db = sqlite3.connect(path)
    db.execute("ALTER TABLE replies DROP COLUMN scale")
    db.execute("PRAGMA user_version=1")
    db.commit()
    db.close()
    with ReplyCache(path) as cache:
        assert cache.get("k") == REPLY
        cache.put("l", ASKED, REPLY._replace(scale=0.5))
        assert cache.get("l") == REPLY._replace(scale=0.5)
