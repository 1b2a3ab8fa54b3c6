"""The page lists, finds and shows a run, keeps marks, turns away whoever it isn't meant for, and works in a browser."""

import http.client
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

import pytest

from dataforge.errors import UsageError
from dataforge.marks import MARKS_FILE, Mark, read_marks, write_mark
from dataforge.records import Failure
from dataforge.runs import Run, append_line, write_lines
from dataforge.view.index import Index
from dataforge.view.query import Query
from dataforge.view.server import FORM_BYTES, Server
from tests import browser, drawn_run

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)> ${body} & \u202e\x00'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_run.make(tmp_path_factory.mktemp("runs")).folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Run:
    """A copy of the drawn run that a test may spoil."""
    return Run.open(shutil.copytree(made, tmp_path / made.name))


class Visitor:
    """What a browser would send, or something else."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.host = f"127.0.0.1:{server.server_port}"

    def ask(
        self, path: str, method: str = "GET", body: str = "", **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=20)
        connection.putrequest(method, path, skip_host=True)
        sent = {"Host": self.host, "Content-Length": str(len(body.encode()))} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders(body.encode())
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    def page(self, path: str = "/", status: int = 200) -> "Page":
        answer, content = self.ask(path)
        assert answer.status == status, content[:500]
        return Page(content.decode())

    def mark(self, trace_id: str, mark: str = "drop", note: str = "", **headers: str) -> http.client.HTTPResponse:
        form = {"token": self.server.viewed.token, "id": trace_id, "mark": mark, "note": note, "back": "/?at=1"}
        return self.ask("/mark", "POST", urlencode(form), **({"Origin": f"http://{self.host}"} | headers))[0]


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.text = html, ""
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def listed(self) -> list[str]:
        return re.findall(r'class="name">. <code>([^<]*)</code>', self.html)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def visitor(run: Run) -> Iterator[Visitor]:
    with serving(run) as visitor:
        yield visitor


class serving:
    def __init__(self, run: Run) -> None:
        self.server = Server(run)

    def __enter__(self) -> Visitor:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.server.viewed.index().wait(10**9, 20)
        return Visitor(self.server)

    def __exit__(self, *exception: object) -> None:
        self.server.shutdown()
        self.server.server_close()


# ------------------------------------------------------------------------------------------- listing and finding


def test_the_first_page_lists_everything_and_shows_the_first(visitor: Visitor) -> None:
    page = visitor.page()
    assert page.listed() == [f"poster-{number}" for number in (*range(8), 8, 9, 10)]
    assert "1–11 of 11" in page.text
    assert page.all("article")
    assert "42 <b>bees</b>" in page.text, "the choices of the first trace"


@pytest.mark.parametrize(
    ("query", "listed"),
    [
        ("kind=compare", ["poster-5"]),
        ("verdict=rejected", ["poster-6", "poster-7"]),
        ("verdict=failed", ["poster-8", "poster-9", "poster-10"]),
        ("reason=answer%3A+wrong", ["poster-6"]),
        ("reason=answer", []),
        ("source=drawn&verdict=rejected&kind=single&reason=no_leak%3A+coordinates", ["poster-7"]),
        ("source=other", []),
        ("words=ALERT%28", ["poster-1", "poster-6", "poster-7"]),
        ("words=forty-TWO&kind=compare", ["poster-5"]),
        ("words=where+recover+says", ["poster-2", "poster-3", "poster-4"]),
        ("words=%25", []),
        ("words=like+%3Ci%3Ebees", ["poster-8"]),
        ("words=%27%29+OR+1%3D1+--", []),
        ("mark=keep", []),
    ],
)
def test_filters_and_search(visitor: Visitor, query: str, listed: list[str]) -> None:
    assert visitor.page(f"/?{query}").listed() == listed


def test_search_folds_case_beyond_ascii(run: Run) -> None:
    trace = next(run.traces())
    example = trace.example.model_copy(update={"question": "Wie heißt die STRASSE in ÅRHUS?"})
    append_line(run.traces_path, trace.model_copy(update={"id": "straße", "example": example}))
    with serving(run) as visitor:
        assert visitor.page("/?" + urlencode({"words": "straße in århus"})).listed() == ["straße"]


def test_pages_of_the_list_and_ways_between_traces(run: Run) -> None:
    trace = next(run.traces())
    for number in range(120):
        append_line(run.traces_path, trace.model_copy(update={"id": f"more-{number:03}"}))
    with serving(run) as visitor:
        page = visitor.page("/?words=more-&at=99")
        assert page.listed() == [f"more-{number:03}" for number in range(50, 100)]
        assert "51–100 of 120" in page.text
        links = {link.get("rel"): link["href"] for link in page.all("a") if link.get("rel")}
        assert visitor.page(str(links["next"])).listed()[0] == "more-100"
        assert visitor.page(str(links["prev"])).listed()[-1] == "more-099"
        assert visitor.page("/?words=more-&at=99999999").listed()[-1] == "more-119"
        assert visitor.page("/?id=more-077&words=more-").listed()[0] == "more-050"
        for odd in ("-1", "x", "1e9", "٣", "9" * 50):
            assert visitor.page("/?" + urlencode({"at": odd})).listed()[0] == "poster-0"


def test_failures_say_why(visitor: Visitor) -> None:
    page = visitor.page("/?verdict=failed")
    assert "locate: not_found" in page.text
    assert "no words like <i>bees</i>" in page.text
    assert "nothing to mark" in page.text


def test_filters_files_are_listed_where_they_hold(run: Run) -> None:
    traces = list(run.traces())
    write_lines(run.folder / "kept.jsonl", [traces[6]])
    write_lines(run.folder / "rejected.jsonl", [traces[7], *traces[:6]])
    with serving(run) as visitor:
        assert visitor.page("/?verdict=kept").listed() == ["poster-6"]
        badges = re.findall(r'class="badge (\w+)"', visitor.page("/?verdict=kept").html)
        assert badges == ["kept"], "a mark outdid the verdict that stands in the line"


def test_a_line_that_cannot_be_read_is_listed(run: Run) -> None:
    with run.traces_path.open("a") as lines:
        lines.write('{"id": "broken"}\n{"torn')
    with serving(run) as visitor:
        page = visitor.page("/?" + urlencode({"reason": "view: unreadable_line"}))
        assert len(page.listed()) == 1
        assert "field example: Field required" in page.text


def test_an_empty_run_has_a_page(tmp_path: Path) -> None:
    with Run.start(tmp_path, drawn_run.manifest()) as run, serving(run) as visitor:
        assert "holds no traces yet" in visitor.page().text


# ----------------------------------------------------------------------------------------------------- the trace


def test_a_trace_shows_looks_roles_and_what_is_learned(visitor: Visitor) -> None:
    page = visitor.page("/?id=poster-4")
    marks = [one["class"] for one in page.all("g")]
    assert marks.count("mark mistake") == 1
    assert marks.count("mark look") == 2, "on the whole picture, and on the view that it was cut from"
    assert "thought · learned" in page.text
    assert "call · masked" in page.text
    sources = [str(one["src"]) for one in page.all("img")] + [str(one["href"]) for one in page.all("image")]
    assert len(sources) == 3
    for source in sources:
        answer, content = visitor.ask(source)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert content.startswith(b"\xff\xd8\xff")
    for link in (one["href"] for one in page.all("a") if str(one.get("href")).startswith("/full")):
        assert visitor.ask(str(link))[1].startswith(b"\xff\xd8\xff")


def test_a_trace_is_given_as_json(visitor: Visitor) -> None:
    answer, content = visitor.ask("/trace?id=poster-3")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert json.loads(content)["kind"] == "recrop_twice"


def test_missing_and_changed_pictures_are_said(run: Run) -> None:
    trace = next(trace for trace in run.traces() if trace.id == "poster-1")
    step = trace.steps[0]
    view = step.observation.views[0].model_copy(update={"sha256": "0" * 64})  # type: ignore[union-attr]
    observation = step.observation.model_copy(update={"views": (view,)})  # type: ignore[union-attr]
    changed = trace.model_copy(update={"steps": (step.model_copy(update={"observation": observation}), trace.steps[1])})
    write_lines(run.traces_path, [changed])
    with serving(run) as visitor:
        assert "not the pixels that were recorded" in visitor.page().text
        shutil.rmtree(run.store.folder)
    with serving(run) as visitor:
        assert "no picture: missing media" in visitor.page().text
        assert visitor.ask("/full?id=poster-1&media=0")[0].status == 404


def test_hostile_text_stays_text(run: Run) -> None:
    trace = next(run.traces())
    example = trace.example.model_copy(update={"question": HOSTILE, "answers": (HOSTILE,), "source": HOSTILE})
    verdict = drawn_run.BAD.model_copy(update={"reason": HOSTILE, "detail": HOSTILE})
    step = trace.steps[-1].model_copy(update={"thought": HOSTILE})
    changes = {"id": HOSTILE, "example": example, "steps": (step,), "answer": HOSTILE, "verdicts": (verdict,)}
    write_lines(run.traces_path, [trace.model_copy(update=changes)])
    write_lines(run.failed_path, [Failure(id=HOSTILE, stage=HOSTILE, reason=HOSTILE, detail=HOSTILE)])
    write_mark(run.folder, Mark(id=HOSTILE, mark="keep", note=HOSTILE))
    with serving(run) as visitor:
        for path in ("/", "/?at=1", "/?" + urlencode({"words": HOSTILE, "kind": HOSTILE})):
            page = visitor.page(path)
            assert [one.get("src") for one in page.all("script")] == ["/view.js"]
            assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
            assert all(str(one["src"]).startswith("/picture/") for one in page.all("img"))
        assert HOSTILE.replace("\x00", "�") in visitor.page().text.replace("\x00", "�")


# --------------------------------------------------------------------------------------------- who is turned away


@pytest.mark.parametrize(
    "path",
    [
        "/media/../../etc/passwd",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/picture/../../../../etc/passwd",
        "/picture/..%2f..%2f..%2fetc%2fpasswd",
        "/picture/%2e%2e%2fmanifest.json",
        "/picture//etc/passwd",
        "/picture/" + "0" * 64 + ".jpg",
        "/manifest.json",
        "/traces.jsonl",
        "/view.py",
        "/full?id=../../../etc/passwd&media=0",
        "/full?id=poster-1&media=../../etc/passwd",
        "/full?id=poster-1&media=-1",
        "/full?id=poster-1&view=99",
        "/full?id=poster-8&media=0",
        "/trace?id=nothing",
        "/?id=nothing",
        "/mark",
        "/nothing",
    ],
)
def test_no_other_page(visitor: Visitor, path: str) -> None:
    answer, content = visitor.ask(path)
    assert answer.status == 404
    assert b"root:" not in content


def test_a_trace_cannot_lead_out_of_the_runs_media(run: Run, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    trace = list(run.traces())[1]
    media = trace.example.media[0].model_copy(update={"suffix": "/../../../../secret.png"})
    example = trace.example.model_copy(update={"media": (media,)})
    write_lines(run.traces_path, [trace.model_copy(update={"example": example})])
    with serving(run) as visitor:
        visitor.page()
        answer, content = visitor.ask("/full?id=poster-1&media=0")
        assert answer.status != 200
        assert b"secret" not in content


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "0.0.0.0:{port}", ""]
)
def test_other_hosts_are_refused(visitor: Visitor, host: str) -> None:
    answer, content = visitor.ask("/", Host=host.format(port=visitor.server.server_port))
    assert answer.status == 421
    assert b"poster" not in content


def test_localhost_is_this_host(visitor: Visitor) -> None:
    assert visitor.ask("/", Host=f"localhost:{visitor.server.server_port}")[0].status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1"])
def test_other_origins_are_refused(visitor: Visitor, run: Run, origin: str) -> None:
    origin = origin.format(port=visitor.server.server_port)
    assert visitor.mark("poster-1", Origin=origin).status == 403
    assert visitor.ask("/", Origin=origin)[0].status == 403
    assert not (run.folder / MARKS_FILE).exists()


def test_what_another_site_embeds_is_refused(visitor: Visitor) -> None:
    assert visitor.ask("/view.js", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0].status == 403
    assert visitor.ask("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0].status == 200
    answer, _ = visitor.ask("/")
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


def test_a_mark_needs_origin_token_and_a_trace(visitor: Visitor, run: Run) -> None:
    ours = f"http://{visitor.host}"
    form = {"id": "poster-1", "mark": "drop", "note": ""}
    token = {"token": visitor.server.viewed.token}
    statuses = [
        visitor.ask("/mark", "POST", urlencode(form | token))[0].status,
        visitor.ask("/mark", "POST", urlencode(form), Origin=ours)[0].status,
        visitor.ask("/mark", "POST", urlencode(form | {"token": "é"}), Origin=ours)[0].status,
        visitor.ask("/other", "POST", urlencode(form | token), Origin=ours)[0].status,
        visitor.mark("nothing").status,
        visitor.mark("poster-8").status,
        visitor.mark("poster-1", "burn").status,
        visitor.mark("poster-1", note="x" * 5000).status,
        visitor.mark("poster-1", note="x" * FORM_BYTES).status,
        visitor.ask("/mark", "POST", Content_Length="x", Origin=ours)[0].status,
    ]
    assert statuses == [403, 403, 403, 404, 404, 404, 400, 400, 413, 413]
    assert not (run.folder / MARKS_FILE).exists()


def test_nothing_in_the_way_back_gets_into_a_header(visitor: Visitor) -> None:
    form = {"token": visitor.server.viewed.token, "id": "poster-1", "mark": "keep", "note": ""}
    for back in ("//evil.example/?at=1", "/?at=1\r\nX-Bad: 1", "/?words=%0d%0aX-Bad:1&at=1"):
        body = urlencode(form | {"back": back})
        answer, _ = visitor.ask("/mark", "POST", body, Origin=f"http://{visitor.host}")
        assert answer.status == 303
        assert answer.headers["Location"].startswith("/?")
        assert "X-Bad" not in answer.headers


def test_only_loopback_listens(visitor: Visitor) -> None:
    assert visitor.server.server_address[0] == "127.0.0.1"


# ------------------------------------------------------------------------------------------------------ the marks


def test_marks_are_kept_over_a_restart_and_a_torn_line(run: Run) -> None:
    with serving(run) as visitor:
        assert visitor.mark("poster-1", "drop", "blurred & <b>small</b>").status == 303
        assert visitor.mark("poster-2", "keep").status == 303
        assert visitor.mark("poster-3", "none", "look again").status == 303
        assert visitor.mark("poster-2", "drop").status == 303
    with (run.folder / MARKS_FILE).open("a") as lines:
        lines.write('{"id":"poster-4","ma')
    assert read_marks(run.folder).keys() == {"poster-1", "poster-2", "poster-3"}
    with serving(run) as visitor:
        assert visitor.page("/?mark=drop").listed() == ["poster-1", "poster-2"]
        assert visitor.page("/?mark=note").listed() == ["poster-1", "poster-3"]
        assert visitor.mark("poster-5", "keep").status == 303
        assert visitor.mark("poster-1", "none").status == 303
        assert visitor.page("/?mark=keep").listed() == ["poster-5"]
        assert "poster-1" in visitor.page("/?mark=unmarked").listed()
        assert "poster-2" not in visitor.page("/?mark=unmarked").listed()
        page = visitor.page("/?id=poster-5")
        pressed = [one["value"] for one in page.all("button") if one.get("aria-pressed") == "true"]
        assert pressed == ["keep"]
    assert read_marks(run.folder) == {
        "poster-2": Mark(id="poster-2", mark="drop"),
        "poster-3": Mark(id="poster-3", mark="none", note="look again"),
        "poster-5": Mark(id="poster-5", mark="keep"),
    }
    assert (run.folder / MARKS_FILE).read_text().count("\n") == 6, "nothing is overwritten"


def test_a_broken_line_of_marks_is_named(run: Run) -> None:
    (run.folder / MARKS_FILE).write_text('{"id":"a","mark":"burn"}\n')
    with pytest.raises(UsageError, match=r"marks\.jsonl line 1, field mark"):
        read_marks(run.folder)


def test_many_marks_at_once_are_all_kept(visitor: Visitor, run: Run) -> None:
    jobs = [
        threading.Thread(target=visitor.mark, args=(f"poster-{number % 8}", "drop", f"note {number}" * 50))
        for number in range(40)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert (run.folder / MARKS_FILE).read_text().count("\n") == 40
    assert len(read_marks(run.folder)) == 8


# ------------------------------------------------------------------------------------------------------ the index


def test_a_finished_index_is_used_again_until_the_run_changes(run: Run) -> None:
    with serving(run) as visitor:
        assert len(visitor.page().listed()) == 11
    again = Index(run)
    assert again.progress.finished
    assert len(again.rows(Query())) == 11
    assert dict(again.facets.values("verdict")) == {"kept": 6, "rejected": 2, "failed": 3}
    again.close()
    append_line(run.failed_path, Failure(id="poster-11", stage="locate", reason="not_found"))
    assert not Index(run).progress.finished


def test_an_index_that_is_broken_is_made_again(run: Run) -> None:
    (run.folder / ".view.sqlite").write_bytes(b"not a database" * 100)
    with serving(run) as visitor:
        assert len(visitor.page().listed()) == 11
    assert sqlite3.connect(run.folder / ".view.sqlite").execute("SELECT count(*) FROM entries").fetchone() == (11,)


def test_a_run_that_grows_is_read_again(run: Run) -> None:
    with serving(run) as visitor:
        assert len(visitor.page().listed()) == 11
        append_line(run.failed_path, Failure(id="poster-11", stage="locate", reason="not_found"))
        until = time.monotonic() + 20
        while len(visitor.page().listed()) == 11:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_folder_that_cannot_be_written_is_viewed_all_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *asked: False)  # root may write anywhere
    with serving(run) as visitor:
        assert len(visitor.page().listed()) == 11
    assert not list(run.folder.glob(".view*"))


def test_filters_files_that_lack_traces_are_not_used_however_young(run: Run) -> None:
    write_lines(run.folder / "kept.jsonl", list(run.traces())[:3])
    write_lines(run.folder / "rejected.jsonl", [])
    with serving(run) as visitor:
        page = visitor.page()
        assert len(page.listed()) == 11
        assert "6 kept" in page.text
        assert len(visitor.page("/?verdict=rejected").listed()) == 2


def test_what_a_killed_server_left_is_cleared_away(run: Run) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = [run.folder / f".view-{gone.pid}.sqlite", run.folder / f".view-{os.getppid()}.sqlite"]
    for path in left:
        path.touch()
    with serving(run) as visitor:
        visitor.page()
    assert [path.exists() for path in left] == [False, True]


def test_a_taken_port_is_said(run: Run) -> None:
    with serving(run) as visitor, pytest.raises(UsageError, match="choose another with --port"):
        Server(run, visitor.server.server_port)


def test_an_interrupt_ends_it_cleanly(run: Run) -> None:
    code = (
        "import sys; from pathlib import Path; from dataforge import view; from dataforge.runs import Run\n"
        "view.serve(Run.open(Path(sys.argv[1])), 0, lambda address: print(address, flush=True))\n"
        "print('ended')"
    )
    command = [sys.executable, "-c", code, str(run.folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (out, err, process.returncode) == ("ended\n", "", 0)
    assert not list(run.folder.glob(".view-*"))


# ---------------------------------------------------------------------------------------------- in a real browser


@pytest.fixture(scope="module")
def tab() -> Iterator[browser.Tab]:
    with browser.tab() as tab:
        yield tab


def selected(name: str) -> str:
    return f"document.querySelector('#list [aria-current] code')?.textContent === '{name}'"


def test_keys_walk_mark_note_and_search(visitor: Visitor, run: Run, tab: browser.Tab) -> None:
    tab.messages.clear()
    tab.open(visitor.server.address)
    tab.press("j")
    tab.wait(selected("poster-1"))
    tab.press("j")
    tab.wait(selected("poster-2"))
    tab.press("k")
    tab.wait(selected("poster-1"))
    assert tab.evaluate("location.search") == "?at=1"
    tab.press("2")
    tab.wait("document.querySelector('button[data-key=\"2\"]').ariaPressed === 'true'")
    tab.press("n")
    tab.type("too <b>small</b>")
    tab.press("Enter")
    tab.wait("document.querySelector('#note').value === 'too <b>small</b>' && document.activeElement.id !== 'note'")
    assert read_marks(run.folder) == {"poster-1": Mark(id="poster-1", mark="drop", note="too <b>small</b>")}
    tab.press("?")
    tab.wait("document.querySelector('#help').open")
    tab.press("Escape")
    tab.wait("!document.querySelector('#help').open")
    tab.press("0")
    tab.wait("document.querySelector('button[data-key=\"2\"]').ariaPressed === 'false'")
    tab.press("/")
    tab.type("where recover")
    tab.press("Enter")
    tab.wait("document.querySelectorAll('.entries li').length === 3")
    assert tab.complaints() == []


def test_pictures_and_boxes_are_really_drawn(visitor: Visitor, tab: browser.Tab) -> None:
    tab.messages.clear()
    tab.open(visitor.server.address + "?id=poster-4")
    tab.wait("[...document.images].every(image => image.complete && image.naturalWidth > 50)")
    over = tab.evaluate(
        "(() => { const on = document.querySelector('.framed .mark.look .line').getBoundingClientRect();"
        " const of = document.querySelector('.framed img').getBoundingClientRect();"
        " return [on.left - of.left, on.top - of.top, on.width, on.height].map((v, i) =>"
        " v / (i % 2 ? of.height : of.width)) })()"
    )
    left, top, right, bottom = drawn_run.LARGE
    x1, y1, x2, y2 = drawn_run.RIGHT
    expected = [(x1 - left) / (right - left), (y1 - top) / (bottom - top)]
    expected += [(x2 - x1) / (right - left), (y2 - y1) / (bottom - top)]
    assert over == pytest.approx(expected, abs=0.03), "the zoom of the zoom lies on its parent where it was cut"
    assert tab.complaints() == []


def test_hostile_text_runs_nothing_in_a_browser(run: Run, tab: browser.Tab) -> None:
    trace = next(run.traces())
    step = trace.steps[-1].model_copy(update={"thought": HOSTILE})
    example = trace.example.model_copy(update={"question": HOSTILE})
    write_lines(run.traces_path, [trace.model_copy(update={"id": HOSTILE, "example": example, "steps": (step,)})])
    with serving(run) as visitor:
        tab.messages.clear()
        tab.open(visitor.server.address)
        assert tab.evaluate("document.querySelectorAll('#trace script, #trace img[onerror]').length") == 0
        assert "<script>alert(1)" in tab.evaluate("document.querySelector('.question').textContent")
        assert tab.complaints() == []
