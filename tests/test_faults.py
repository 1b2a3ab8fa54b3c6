"""Every fault of a real endpoint over real HTTP: retried, repaired, recorded with its reason, or the end of the run."""

import asyncio
import email.utils
import io
import json
import os
import ssl
import subprocess
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dataforge.ask import lane
from dataforge.ask.asking import Asking
from dataforge.ask.faults import Asked, by_status, clean, duration, hold_s, wait_s
from dataforge.ask.replies import ReplyCache
from dataforge.ask.request import Message, Picture, Reply, Request, Setback
from dataforge.ask.tolerant import parse_object
from dataforge.ask.transport import _proxy, encode
from dataforge.errors import ExampleError, UsageError
from dataforge.media import to_jpeg
from dataforge.teachers.openai_api import OpenaiApi
from tests.servers import MODEL, SMALL_PICTURE, TeacherServer

KEY = "sk-very-secret-98765"
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
NOISE = to_jpeg(Image.effect_noise((500, 400), 60).convert("RGB"))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def request(text: str = "What is it?") -> Request:
    return Request("write", (Message("user", (text, Picture(NOISE, "a" * 64))),), SCHEMA)


def teacher_at(*urls: str, **options: Any) -> OpenaiApi:
    return OpenaiApi(**{"model": MODEL, "base_url": urls if len(urls) > 1 else urls[0], "timeout_s": 5.0, **options})


def ask_all(teacher: OpenaiApi, count: int = 1, cache: ReplyCache | None = None) -> tuple[list[Any], Asking]:
    """What becomes of that many different requests asked together, and who asked them."""

    async def scene() -> tuple[list[Any], Asking]:
        async with teacher.session():
            asking = Asking(teacher, cache)
            asked = (asking.ask(request(f"What is {number}?")) for number in range(count))
            return await asyncio.gather(*asked, return_exceptions=True), asking

    return asyncio.run(scene())


# ------------------------------------------------------------------------------------------ over HTTP


@pytest.mark.parametrize(
    ("faults", "at_least_s"),
    [
        (["busy"], 0.15),
        (["busy_seconds"], 0.95),
        (["busy_ms"], 0.28),
        (["busy_date"], 0.9),
        (["busy_headers"], 0.38),
        (["down"], 0.15),
        (["bad_gateway"], 0.15),
        (["unavailable"], 0.15),
        (["overloaded"], 0.15),
        (["reset"], 0.15),
        (["truncated"], 0.15),
        (["not_json"], 0.15),
        (["html"], 0.15),
        (["error_200"], 0.15),
        (["reset", "down", "busy", "truncated"], 1.0),
    ],
)
def test_what_passes_is_waited_for_and_asked_again(faults: list[str], at_least_s: float) -> None:
    with TeacherServer(first=faults) as server:
        (reply,), asking = ask_all(teacher_at(server.url))
    assert isinstance(reply, Reply), reply
    assert server.requests == len(faults) + 1
    assert at_least_s <= server.times[-1] - server.times[0] <= 20
    assert (asking.counts.calls, asking.counts.failed, asking.counts.in_flight) == (len(faults) + 1, 0, 0)
    assert asking.counts.input_tokens == 1000


@pytest.mark.parametrize("fault", ["slow_first_byte", "trickle"])
def test_what_takes_too_long_is_asked_again(fault: str) -> None:
    with TeacherServer(first=[fault]) as server:
        (reply,), _ = ask_all(teacher_at(server.url, timeout_s=0.25))
    assert isinstance(reply, Reply), reply
    assert server.requests == 2


def test_a_slow_first_byte_within_the_time_is_no_fault() -> None:
    with TeacherServer("slow_first_byte") as server:
        (reply,), _ = ask_all(teacher_at(server.url))
    assert isinstance(reply, Reply)
    assert server.requests == 1


def test_one_layer_retries() -> None:
    with TeacherServer("down") as server:
        (error,), _ = ask_all(teacher_at(server.url, retries=2))
    assert (error.reason, server.requests) == ("server_error", 3)
    first, second = (later - earlier for earlier, later in pairwise(server.times))
    assert second > first


@pytest.mark.parametrize(("fault", "reason"), [("too_long", "context_too_long"), ("too_large", "image_too_large")])
def test_too_much_is_asked_once_more_with_smaller_pictures(fault: str, reason: str, tmp_path: Path) -> None:
    assert len(Picture(NOISE, "").base64) > SMALL_PICTURE
    with TeacherServer(fault) as server, ReplyCache(tmp_path / "r.sqlite") as cache:
        (reply,), _ = ask_all(teacher_at(server.url), cache=cache)
        assert isinstance(reply, Reply), (reason, reply)
        assert reply.scale == 0.5
        sent = server.bodies[-1]["messages"][0]["content"][1]["image_url"]["url"].partition("base64,")[2]
        assert (again := ask_all(teacher_at(server.url), cache=cache)[0][0]).scale == 0.5, "the cache knows it too"
        assert again.text == reply.text
        assert server.requests == 2
    import base64

    assert Image.open(io.BytesIO(base64.b64decode(sent))).size == (250, 200)


def test_what_is_too_long_for_ever_spoils_one_example() -> None:
    with TeacherServer("too_long_for_ever") as server:
        (error,), _ = ask_all(teacher_at(server.url))
    assert (error.stage, error.reason, server.requests) == ("teacher", "context_too_long", 2)


def test_json_that_breaks_the_schema_is_a_slip_once_the_server_has_kept_to_it() -> None:
    async def scene(teacher: OpenaiApi) -> list[Reply]:
        async with teacher.session():
            asking = Asking(teacher)
            return [await asking.ask(request(text)) for text in ("a", "b", "c")]

    with TeacherServer() as server:
        teacher = teacher_at(server.url)
        server.first.extend(["fenced", "other_keys"])
        replies = asyncio.run(scene(teacher))
    assert {body["response_format"]["type"] for body in server.bodies} == {"json_schema"}
    assert [set(parse_object(reply.text) or {}) for reply in replies] == [{"answer"}, {"thought"}, {"answer"}]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("wrong_key", "was refused"),
        ("no_model", "no model"),
        ("no_money", "run out of money"),
        ("moved", "lacks its /v1"),
        ("busy_for_hours", "120 minutes"),
    ],
)
def test_a_dead_account_costs_one_call(fault: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "ALONE_S", 60.0)  # for a machine that is busy elsewhere
    with TeacherServer(fault) as server:
        ends, _ = ask_all(teacher_at(server.url), count=500)
    assert all(isinstance(end, UsageError) and says in str(end) for end in ends), ends[0]
    assert server.requests == 1


def test_a_pause_holds_for_all_calls_to_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "ALONE_S", 60.0)
    with TeacherServer(first=["busy_seconds"], delay_s=0.02) as server:
        ends, _ = ask_all(teacher_at(server.url), count=100)
    assert all(isinstance(end, Reply) for end in ends)
    start = server.times[0]
    # what had been sent before the refusal came is all that the server sees within the second
    assert sum(start + 0.1 < at < start + 0.95 for at in server.times) == 0
    assert server.requests == 101


def test_a_call_that_waits_gives_its_place_to_others() -> None:
    with TeacherServer(first=["down"]) as server:
        ends, _ = ask_all(teacher_at(server.url, in_flight=1), count=5)
    assert all(isinstance(end, Reply) for end in ends)
    asked = [json.dumps(body["messages"])[:80] for body in server.bodies]
    assert asked[0] == asked[-1], "the others went first"


# ------------------------------------------------------------------------------------------ several endpoints


def test_several_endpoints_share_the_work() -> None:
    with TeacherServer(delay_s=0.02) as one, TeacherServer(delay_s=0.02) as two, TeacherServer(delay_s=0.1) as slow:
        ends, _ = ask_all(teacher_at(one.url, two.url, slow.url, in_flight=12), count=120)
    assert all(isinstance(end, Reply) for end in ends)
    assert min(one.requests, two.requests) > 30
    assert 4 <= slow.requests < min(one.requests, two.requests)


def test_a_dead_endpoint_is_set_aside_and_the_others_do_its_work() -> None:
    with TeacherServer(delay_s=0.01) as alive, TeacherServer("down") as dead:
        ends, _ = ask_all(teacher_at("http://127.0.0.1:9/v1", alive.url, dead.url), count=200)
    assert all(isinstance(end, Reply) for end in ends)
    assert alive.requests == 200
    assert dead.requests < 40


def test_an_endpoint_that_comes_back_is_used_again() -> None:
    async def scene(teacher: OpenaiApi, server: TeacherServer) -> list[Reply]:
        async with teacher.session():
            asking = Asking(teacher)
            first = await asyncio.gather(*(asking.ask(request(f"first {number}")) for number in range(30)))
            server.behave.clear()
            await asyncio.sleep(1.2)
            later = await asyncio.gather(*(asking.ask(request(f"later {number}")) for number in range(60)))
            return [*first, *later]

    with TeacherServer(delay_s=0.02) as alive, TeacherServer("unavailable", delay_s=0.02) as back:
        replies = asyncio.run(scene(teacher_at(alive.url, back.url, in_flight=8), back))
    assert len(replies) == 90
    assert sum("later" in json.dumps(body["messages"]) for body in back.bodies) > 10


# ------------------------------------------------------------------------------------------ what a server means


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12", 12), ("1.5", 1.5), ("20ms", 0.02), ("1s", 1), ("6m0s", 360), ("1h2m3s", 3723), ("2d", 172800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "1x", "-3", "1s later", "s"])
def test_what_is_no_duration(text: str) -> None:
    assert duration(text) is None


def test_how_long_a_server_wants_to_be_left_alone() -> None:
    assert wait_s({}) is None
    assert wait_s({"retry-after": "7"}) == 7
    assert wait_s({"retry-after-ms": "250", "retry-after": "7"}) == 0.25
    assert wait_s({"retry-after": email.utils.formatdate(time.time() + 30, usegmt=True)}) == pytest.approx(30, abs=1.5)
    assert wait_s({"retry-after": email.utils.formatdate(time.time() - 30, usegmt=True)}) == 0
    assert wait_s({"retry-after": "soon"}) is None
    used_up = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}
    assert wait_s(used_up) == 360
    assert wait_s(used_up | {"x-ratelimit-remaining-tokens": "9"}) is None
    assert hold_s({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "60s"}) == 60
    whole = {"x-ratelimit-limit-requests": "600", "x-ratelimit-reset-requests": "60s"}
    assert hold_s(whole | {"x-ratelimit-remaining-requests": "0"}) == pytest.approx(0.1)
    assert hold_s(whole | {"x-ratelimit-remaining-requests": "1"}) == 0


ASKED = Asked("http://there/v1", "m", "OPENAI_API_KEY", KEY, 0.7)


@pytest.mark.parametrize(
    ("status", "said", "kind", "reason"),
    [
        (429, "rate_limit_exceeded: slow down", Setback, "rate_limited"),
        (429, "insufficient_quota: You exceeded your current quota", UsageError, ""),
        (402, "Insufficient credits", UsageError, ""),
        (400, "This model's maximum context length is 4096 tokens. However,", ExampleError, "context_too_long"),
        (400, "the request exceeds the available context size, try increasing it", ExampleError, "context_too_long"),
        (400, "The input (9000 tokens) is longer than the model's context length", ExampleError, "context_too_long"),
        (400, "prompt is too long: 210000 tokens > 200000 maximum", ExampleError, "context_too_long"),
        (400, "image exceeds 5 MB maximum: 6291456 bytes", ExampleError, "image_too_large"),
        (400, "The image is too large", ExampleError, "image_too_large"),
        (413, "", ExampleError, "image_too_large"),
        (400, "Your request was flagged by our content policy", ExampleError, "refused"),
        (400, "unknown parameter detail", ExampleError, "bad_request"),
        (401, "no", UsageError, ""),
        (404, "no", UsageError, ""),
        (308, "", UsageError, ""),
        (408, "", Setback, "timeout"),
        (409, "", Setback, "server_error"),
        (500, "", Setback, "server_error"),
        (503, "", Setback, "server_error"),
        (529, "", Setback, "server_error"),
    ],
)  # fmt: skip
def test_what_a_status_means(status: int, said: str, kind: type[Exception], reason: str) -> None:
    error = by_status(status, said, said, ASKED)
    assert isinstance(error, kind)
    assert getattr(error, "reason", "") == reason
    assert not (kind is ExampleError and isinstance(error, Setback))
    if isinstance(error, Setback):
        assert error.busy == (status in (429, 503, 529))


def test_the_key_is_cut_out_of_what_a_server_says() -> None:
    assert clean(f"bad key\n {KEY}!", KEY) == "bad key ***!"
    assert clean("x" * 500, KEY) == "x" * 200 + "..."


# ------------------------------------------------------------------------------------------ transport


def test_a_body_is_the_json_it_would_be_with_the_pictures_in_it() -> None:
    teacher = teacher_at("http://localhost:1/v1")
    text = 'quotes " \\ and ünïcode \ud83d 🙂 and {"url":""}'
    asked = Request(
        "write", (Message("user", (text, Picture(b"\xff\xd8one", "1"), "then", Picture(b"two", "2"))),), SCHEMA
    )
    sent = json.loads(encode(teacher.body(asked)))
    content = sent["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url", "text", "image_url"]
    assert content[0]["text"] == text
    assert content[1]["image_url"] == {"url": "data:image/jpeg;base64,/9hvbmU=", "detail": "high"}
    assert content[3]["image_url"]["url"].endswith("dHdv")


def test_proxies_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    assert _proxy("https://api.openai.com/v1") is None
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1,.corp")
    assert _proxy("https://api.openai.com/v1") == "http://proxy:3128"
    assert _proxy("http://api.openai.com/v1") is None
    assert _proxy("https://vllm.corp/v1") is None
    assert _proxy("https://localhost:8000/v1") is None


def test_a_proxy_is_asked_in_the_servers_place(monkeypatch: pytest.MonkeyPatch) -> None:
    with TeacherServer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        (reply,), _ = ask_all(teacher_at("http://nowhere.invalid/v1"))
    assert isinstance(reply, Reply)
    assert proxy.requests == 1


def test_a_ca_of_ones_own_is_trusted_when_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -days 2 -subj /CN=localhost"
        " -addext subjectAltName=DNS:localhost,IP:127.0.0.1".split(),
        cwd=tmp_path,
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("openssl can't make a certificate here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    with TeacherServer(tls=context) as server:
        ends, _ = ask_all(teacher_at(server.url))
        assert isinstance(ends[0], UsageError)
        assert "SSL_CERT_FILE" in str(ends[0])
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "c.pem"))
        (reply,), _ = ask_all(teacher_at(server.url))
        assert isinstance(reply, Reply)


# ------------------------------------------------------------------------------------------ a crowd of faults


def test_a_tenth_of_random_faults_leaves_no_gap() -> None:
    faults = ["", "busy", "down", "reset", "not_json", "unavailable", "truncated"]
    first = [faults[1 + (number // 10) % 6] if number % 10 == 3 else "no_usage" for number in range(400)]
    with TeacherServer(first=first, delay_s=0.01) as server:
        ends, asking = ask_all(teacher_at(server.url, in_flight=32), count=400)
    assert all(isinstance(end, Reply) for end in ends)
    assert asking.counts.failed == 0
    assert 430 <= server.requests <= 460


def test_every_call_ends_with_a_true_reason_where_faults_last() -> None:
    reasons: Mapping[str, str] = {"down": "server_error", "reset": "unreachable", "not_json": "bad_reply"}
    for fault, reason in reasons.items():
        with TeacherServer(fault) as server:
            ends, asking = ask_all(teacher_at(server.url, retries=1), count=30)
        assert {getattr(end, "reason", end) for end in ends} == {reason}
        assert asking.counts.failed == 30
