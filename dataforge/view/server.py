"""The server of the page: on the loopback address only, for one person and one run.

Any page in the person's browser can send requests to this port, so a request is answered only when it was meant for
this server by name (a foreign name that resolves to 127.0.0.1 is turned away), nothing is readable from another origin,
and a mark is written only with the token that this server's own page holds.
"""

import contextlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from urllib.parse import parse_qsl, urlsplit
from xml.etree.ElementTree import Element

from pydantic import ValidationError

from dataforge.errors import UsageError
from dataforge.marks import MARKS_FILE, Mark, read_marks, write_mark
from dataforge.records import Failure, Trace, parse_line
from dataforge.runs import Run
from dataforge.view import pages
from dataforge.view.index import Index, position
from dataforge.view.lines import FAILED, FILES, Entry, stamp
from dataforge.view.pages import PAGE, Listing
from dataforge.view.pictures import ServedPictures
from dataforge.view.query import Query

LOOPBACK = "127.0.0.1"
FORM_BYTES = 64 * 1024
WAIT_S = 0.5
"""How long the first page waits for the first traces to be read."""
AGAIN = 10
"""A run that changes is read again after this many times what the last reading took: it may be growing all the time."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
ASSETS = {
    "/view.css": ("dataforge.view", "view.css", "text/css"),
    "/view.js": ("dataforge.view", "view.js", "text/javascript"),
    "/report.css": ("dataforge.report", "report.css", "text/css"),
}


@dataclass
class Answer:
    """What goes back to the browser."""

    content: bytes
    kind: str = "text/html; charset=utf-8"
    status: int = HTTPStatus.OK
    location: str = ""
    lasting: bool = False


def refusal(status: int, sentence: str) -> Answer:
    return Answer(f"{sentence}\n".encode("utf-8", "replace"), "text/plain; charset=utf-8", status)


class Viewed:
    """A run as it is looked at: its index, marks and pictures. Any thread may ask."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.token = secrets.token_urlsafe(24)
        self.pictures = ServedPictures(run.store)
        self._lock = threading.Lock()
        self._index = Index(run)
        self._index.begin()
        self._looked = time.monotonic()
        self._marks: dict[str, Mark] = {}
        self._marks_stamp = (0, 0)

    def index(self, changed: bool = False) -> Index:
        """The index, begun anew when the run's files are others than those that were read."""
        with self._lock:
            old = self._index
            due = changed or time.monotonic() > self._looked + AGAIN * old.progress.took_s
            if old.progress.finished and due:
                self._looked = time.monotonic()
                if old.stamp != stamp(self.run.folder):
                    self._index = Index(self.run)
                    self._index.begin()
                    old.close()
            return self._index

    def marks(self) -> dict[str, Mark]:
        """The marks as they lie in the run folder now."""
        path = self.run.folder / MARKS_FILE
        with self._lock:
            now = (path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else (0, 0)
            if now != self._marks_stamp:
                self._marks, self._marks_stamp = read_marks(self.run.folder), now
            return self._marks

    def mark(self, mark: Mark) -> None:
        with self._lock:
            write_mark(self.run.folder, mark)

    def close(self) -> None:
        self._index.close()

    # ------------------------------------------------------------------------------------------------------- pages

    def page(self, asked: dict[str, str]) -> Answer:
        """The list that was asked for, and the trace that stands at the place `at`, or has the `id`."""
        index, marks, query = self.index(), self.marks(), Query.read(asked)
        index.wait(PAGE, WAIT_S)
        rows = index.rows(query, query.marked(marks))
        at = min(_number(asked.get("at", "")), max(len(rows) - 1, 0))
        if "id" in asked:
            entry = index.find(asked["id"])
            found = position(rows, entry.row) if entry else None
            if found is None:
                return refusal(HTTPStatus.NOT_FOUND, f"no trace {asked['id']!r} in this list")
            at = found
        first = at // PAGE * PAGE
        entries = index.entries(rows[first : first + PAGE])
        listing = Listing(query, len(rows), at, entries, index.facets, index.progress, marks)
        with index.aside():
            return Answer(pages.page(self.run.folder.name, listing, self._shown(index, listing)).encode())

    def _shown(self, index: Index, listing: Listing) -> Element:
        if not listing.entries:
            empty = "No trace fits." if listing.query != Query() else "This run holds no traces yet."
            return pages.shown_text(listing, empty if index.progress.finished else "Reading the run …")
        entry = listing.entries[listing.at - listing.first]
        try:
            line = self._line(index, entry)
            if entry.place.file == FAILED:
                return pages.shown_failure(listing, entry, parse_line(line, Failure, entry.id).detail)
            trace = parse_line(line, Trace, f"{FILES[entry.place.file]} at byte {entry.place.offset}")
            return pages.shown_trace(listing, entry, trace, self.pictures, self.token)
        except UsageError as error:
            return pages.shown_failure(listing, entry, str(error))

    def _line(self, index: Index, entry: Entry) -> str:
        line = index.line(entry).decode("utf-8", "replace")
        if entry.id not in line and index.stamp != stamp(self.run.folder):
            self.index(changed=True)
            raise UsageError("the run has changed: it is being read again; load this page anew")
        return line

    def trace(self, trace_id: str) -> Trace | None:
        """A stored trace by its id; UsageError where its line doesn't fit."""
        index = self.index()
        entry = index.find(trace_id)
        if entry is None or entry.place.file == FAILED:
            return None
        return parse_line(self._line(index, entry), Trace, trace_id)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    server: "Server"
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, make: Callable[[], Answer]) -> None:
        try:
            answer = self._refused() or make()
        except UsageError as error:
            answer = refusal(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        except Exception as error:  # whatever a stored line makes go wrong, the next page must still be answered
            answer = refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}")
        self._send(answer)

    def _refused(self) -> Answer | None:
        """Turn away what was not meant for this server, or comes from another site's page."""
        names = {f"{LOOPBACK}:{self.server.server_port}", f"localhost:{self.server.server_port}"}
        if self.headers.get_all("Host") is None or self.headers["Host"] not in names:
            return refusal(HTTPStatus.MISDIRECTED_REQUEST, "this server answers to 127.0.0.1 and localhost only")
        origin = self.headers["Origin"]
        if origin not in {f"http://{name}" for name in names} and (origin is not None or self.command == "POST"):
            return refusal(HTTPStatus.FORBIDDEN, "requests from other origins are refused")
        elsewhere = self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none")
        if elsewhere and self.headers.get("Sec-Fetch-Mode") != "navigate":
            return refusal(HTTPStatus.FORBIDDEN, "requests from other sites are refused")
        return None

    def _get(self) -> Answer:
        split = urlsplit(self.path)
        asked = dict(parse_qsl(split.query, keep_blank_values=True, max_num_fields=20))
        viewed, path = self.server.viewed, split.path
        if path == "/":
            return viewed.page(asked)
        if path in ASSETS:
            package, name, kind = ASSETS[path]
            return Answer(files(package).joinpath(name).read_bytes(), f"{kind}; charset=utf-8")
        if path.startswith("/picture/"):
            jpeg = viewed.pictures.jpeg(path.removeprefix("/picture/").removesuffix(".jpg"))
            return (
                Answer(jpeg, "image/jpeg", lasting=True) if jpeg else refusal(HTTPStatus.NOT_FOUND, "no such picture")
            )
        trace = viewed.trace(asked.get("id", "")) if path in ("/full", "/trace") else None
        if trace and path == "/trace":
            return Answer(trace.model_dump_json(indent=1).encode(), "application/json; charset=utf-8")
        full = viewed.pictures.full(trace, asked.get("media", ""), asked.get("view", "")) if trace else None
        return Answer(full, "image/jpeg") if full else refusal(HTTPStatus.NOT_FOUND, "there is no such page")

    def _post(self) -> Answer:
        size = self.headers.get("Content-Length", "")
        if not size.isdigit() or int(size) > FORM_BYTES:
            self.close_connection = True  # what was sent is not read
            return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a form of at most {FORM_BYTES} bytes, please")
        content = self.rfile.read(int(size)).decode("utf-8", "replace")
        form = dict(parse_qsl(content, keep_blank_values=True, max_num_fields=20))
        viewed = self.server.viewed
        if not secrets.compare_digest(form.get("token", "").encode(), viewed.token.encode()):
            return refusal(HTTPStatus.FORBIDDEN, "the page is of an earlier server: load it anew")
        if self.path != "/mark" or viewed.trace(form.get("id", "")) is None:
            return refusal(HTTPStatus.NOT_FOUND, "there is no such trace to mark")
        try:
            mark = Mark.model_validate({key: form.get(key, "") for key in ("id", "mark", "note")})
        except ValidationError:
            return refusal(HTTPStatus.BAD_REQUEST, "a mark is keep, drop or none, with a note of 4,000 characters")
        viewed.mark(mark)
        back = dict(parse_qsl(urlsplit(form.get("back", "")).query))
        return Answer(
            b"", status=HTTPStatus.SEE_OTHER, location=Query.read(back).address(at=_number(back.get("at", "")))
        )

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.content)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "same-origin")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cache-Control", "private, max-age=86400" if answer.lasting else "no-store")
        if answer.location:
            self.send_header("Location", answer.location)
        if answer.status >= HTTPStatus.BAD_REQUEST and self.command == "POST":
            self.close_connection = True  # what was sent may not have been read
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *arguments: object) -> None:
        """The library is silent."""


class Server(ThreadingHTTPServer):
    """The run's page on a loopback port, from 0 for any that is free."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, run: Run, port: int = 0) -> None:
        self.viewed = Viewed(run)
        try:
            super().__init__((LOOPBACK, port), Exchange)  # closes what is open when the port is taken
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"can't listen on port {port}: {reason}; choose another with --port") from None

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.server_port}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that went away is no news."""

    def server_close(self) -> None:
        super().server_close()
        self.viewed.close()


def serve(run: Run, port: int, ready: Callable[[str], None]) -> None:
    """Serve the run's page until interrupted; `ready` is told the address. UsageError when the port is taken."""
    with contextlib.suppress(KeyboardInterrupt), Server(run, port) as server:
        ready(server.address)
        server.serve_forever(poll_interval=0.2)
