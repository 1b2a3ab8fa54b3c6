"""The page: the list on the left, one trace on the right, made here as a whole so that it reads without JavaScript.

Everything is built as elements, so text from data stays text. The script only saves a full load when a link is
followed, and adds the keys.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode
from xml.etree.ElementTree import Element

from dataforge.marks import Mark
from dataforge.records import Provenance, Trace
from dataforge.report.elements import Child, el, to_html
from dataforge.report.exhibits import exhibit
from dataforge.report.pictures import Pictures
from dataforge.view.index import Facets, Progress
from dataforge.view.lines import Entry
from dataforge.view.query import MARKED, Query

PAGE = 50
"""Entries in one page of the list."""
VERDICT_SIGNS = {"kept": "✓", "rejected": "✗", "failed": "∅"}
MARK_SIGNS = {"keep": "✓ keep", "drop": "✗ drop", "none": ""}
KEYS = {
    "j, k": "next, previous trace",
    "/": "search",
    "1": "mark keep",
    "2": "mark drop",
    "0": "take the mark back",
    "n": "write a note; Enter saves it, Escape leaves it",
    "?": "this help",
}


@dataclass
class Listing:
    """A page of the list: what was asked, what stands at which place."""

    query: Query
    found: int
    at: int
    entries: Sequence[Entry]
    facets: Facets
    progress: Progress
    marks: Mapping[str, Mark] = field(default_factory=dict)

    @property
    def first(self) -> int:
        return self.at // PAGE * PAGE

    def address(self, at: int) -> str:
        return self.query.address(at=at)


def page(name: str, listing: Listing, shown: Element) -> str:
    """The whole page as HTML."""
    busy = {} if listing.progress.finished else {"data_reading": "yes"}
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", f"{name}: dataforge view"),
        el("link", rel="stylesheet", href="/report.css"),
        el("link", rel="stylesheet", href="/view.css"),
        el("script", src="/view.js", defer=""),
    )
    body = el("body", _top(name, listing), _list(listing), el("main", shown, id="trace"), _help(), **busy)
    return "<!doctype html>\n" + to_html(el("html", head, body, lang="en"))


def _top(name: str, listing: Listing) -> Element:
    counts = [
        el("a", el("b", f"{count:,}"), f" {verdict}", href=Query(verdict=verdict).address(), class_=verdict)
        for verdict, count in sorted(
            listing.facets.values("verdict"), key=lambda one: list(VERDICT_SIGNS).index(one[0])
        )
    ]
    progress, done = listing.progress, 1.0
    if not progress.finished and progress.bytes_all:
        done = min(progress.bytes_done / progress.bytes_all, 1.0)
    reading = f"reading the run: {progress.entries:,} lines, {done:.0%}" if not progress.finished else progress.error
    return el(
        "header",
        el("h1", el("a", name, href="/")),
        el("p", *counts, class_="counts"),
        el("p", reading, id="progress", class_="error" if progress.error else "dim", role="status"),
        el("button", "Keys ?", type="button", id="keys"),
        id="top",
    )


# --------------------------------------------------------------------------------------------------------- the list


def _list(listing: Listing) -> Element:
    query, first = listing.query, listing.first
    last = min(first + PAGE, listing.found)
    found = f"{first + 1:,}–{last:,} of {listing.found:,}" if listing.found else "nothing fits"
    entries = [_row(listing, at, entry) for at, entry in enumerate(listing.entries, start=first)]
    before = el("a", "‹ before", href=listing.address(first - PAGE)) if first else el("span", "‹ before")
    after = el("a", "after ›", href=listing.address(last)) if last < listing.found else el("span", "after ›")
    return el(
        "aside",
        _filters(query, listing.facets),
        el("nav", before, el("span", found, class_="found"), after, class_="pager", aria_label="Pages of the list"),
        el("ol", *entries, class_="entries", start=first + 1),
        id="list",
    )


def _filters(query: Query, facets: Facets) -> Element:
    fields = [
        el(
            "input",
            type="search",
            name="words",
            value=query.words,
            placeholder="Search question, answer, thoughts",
            aria_label="Search question, answer, thoughts",
            id="search",
        )
    ]
    for name in ("verdict", "kind", "reason", "source"):
        options = [(value, f"{value.replace('_', ' ')} ({count:,})") for value, count in facets.values(name)]
        fields.append(_select(name, getattr(query, name), options))
    fields.append(_select("mark", query.mark, list(MARKED.items())))
    clear = el("a", "clear", href="/") if query != Query() else None
    buttons = el("div", el("button", "Filter", type="submit"), clear, class_="buttons")
    return el("form", *fields, buttons, method="get", action="/", id="filters")


def _select(name: str, chosen: str, options: list[tuple[str, str]]) -> Element:
    known = [value for value, _ in options]
    options = [("", f"any {name}"), *options] + ([(chosen, chosen)] if chosen and chosen not in known else [])
    made = [el("option", text, value=value, **({"selected": ""} if value == chosen else {})) for value, text in options]
    return el("select", *made, name=name, aria_label=name, class_="set" if chosen else "")


def _row(listing: Listing, at: int, entry: Entry) -> Element:
    mark = listing.marks.get(entry.id)
    signs: list[Child] = []
    if mark and mark.mark != "none":
        signs.append(el("span", MARK_SIGNS[mark.mark], class_=f"mark-{mark.mark}"))
    if mark and mark.note:
        signs.append(el("span", "✎", title=mark.note))
    what = entry.reasons[0] if entry.reasons and entry.verdict != "kept" else entry.verdict
    link = el(
        "a",
        el("span", f"{VERDICT_SIGNS[entry.verdict]} ", el("code", entry.id), *signs, class_="name"),
        el("span", entry.question or "(no detail)", class_="asked", dir="auto"),
        el("span", " · ".join(filter(None, (entry.kind.replace("_", " "), what))), class_="dim"),
        href=listing.address(at),
        **({"aria_current": "true"} if at == listing.at else {}),
    )
    return el("li", link, class_=entry.verdict)


# -------------------------------------------------------------------------------------------------------- the trace


def shown_trace(listing: Listing, entry: Entry, trace: Trace, pictures: Pictures, token: str) -> Element:
    """The trace with its marks: what stands on the right of the page."""
    mark = listing.marks.get(trace.id)
    return el(
        "div",
        el(
            "div",
            _walk(listing, el("a", "JSON", href="/trace?" + urlencode({"id": trace.id}), target="_blank")),
            _marking(listing, trace.id, mark or Mark(id=trace.id, mark="none"), token),
            class_="tools",
        ),
        exhibit(listing.at + 1, trace, pictures, entry.verdict == "kept"),
        _made(trace.provenance),
    )


def shown_text(listing: Listing, title: str, *parts: Child) -> Element:
    """Something else than a trace on the right: a failed row, a line that can't be read, or nothing."""
    return el(
        "div", el("div", _walk(listing), class_="tools"), el("article", el("h3", title), *parts, class_="sample plain")
    )


def shown_failure(listing: Listing, entry: Entry, detail: str) -> Element:
    reason = ", ".join(entry.reasons)
    note = "This row became no trace: there is nothing to mark." if entry.verdict == "failed" else ""
    detail = el("p", detail, dir="auto", class_="detail") if detail else None  # type: ignore[assignment]
    return shown_text(listing, entry.id, el("p", reason, class_="error"), detail, el("p", note, class_="dim"))


def _walk(listing: Listing, *more: Child) -> Element:
    at, last = listing.at, listing.found - 1
    before = el("a", "‹ previous", href=listing.address(at - 1), rel="prev") if at > 0 else el("span", "‹ previous")
    after = el("a", "next ›", href=listing.address(at + 1), rel="next") if at < last else el("span", "next ›")
    place = el("span", f"{at + 1:,} of {listing.found:,}") if listing.found else None
    return el("nav", before, place, after, *more, class_="walk", aria_label="Traces")


def _marking(listing: Listing, trace_id: str, mark: Mark, token: str) -> Element:
    """One form: whatever button is pressed, the note goes along. The first one is what Enter in the note presses."""
    hidden = {"token": token, "id": trace_id, "back": listing.address(listing.at)}
    buttons = [
        el(
            "button",
            text,
            name="mark",
            value=value,
            data_key=key,
            class_=f"mark-{value}",
            aria_pressed="true" if mark.mark == value and value != "none" else "false",
            type="submit",
        )
        for key, value, text in (("1", "keep", "✓ Keep"), ("2", "drop", "✗ Drop"), ("0", "none", "No mark"))
    ]
    return el(
        "form",
        el("button", "Save note", name="mark", value=mark.mark, class_="save", type="submit"),
        *(el("input", type="hidden", name=name, value=value) for name, value in hidden.items()),
        *buttons,
        el("input", name="note", value=mark.note, placeholder="Note", aria_label="Note", id="note", maxlength="4000"),
        method="post",
        action="/mark",
        class_="marking",
        autocomplete="off",
    )


def _made(made: Provenance) -> Element:
    rows = {
        "teacher": made.teacher + (", thoughts written by rule from the annotation" if made.scripted else ""),
        "told the answer": "yes" if made.answer_revealed else "no",
        "rewrites": str(made.rewrites),
        "tokens": f"{made.input_tokens:,} in, {made.output_tokens:,} out",
        "cost": f"${made.cost_usd:.4f}",
        "kinds drawn before": ", ".join(made.unfit),
        "operations": ", ".join(f"{one.name} {one.options or ''}".strip() for one in made.operations),
        "prompts": ", ".join(f"{name} {mark[:12]}" for name, mark in made.prompts.items()),
        "manifest": made.manifest,
        "seed": str(made.seed),
        "version": f"dataforge {made.version}, Pillow {made.pillow}",
    }
    pairs = [part for name, value in rows.items() if value for part in (el("dt", name), el("dd", value, dir="auto"))]
    return el("details", el("summary", "How it was made"), el("dl", *pairs), class_="card made")


def _help() -> Element:
    rows = [part for keys, what in KEYS.items() for part in (el("dt", el("kbd", keys)), el("dd", what))]
    close = el("form", el("button", "Close", type="submit"), method="dialog")
    return el("dialog", el("h2", "Keys"), el("dl", *rows), close, id="help")
