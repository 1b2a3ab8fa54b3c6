"""Sample traces for the card: the first of each kind, with the whole picture and every look as small pictures."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from dataforge.errors import ExampleError
from dataforge.media import to_jpeg
from dataforge.publish.bench import shown
from dataforge.publish.choosing import Choice, stored
from dataforge.records import Step, Trace, parse_line

SAMPLES = 4
WHOLE, PART = (560, 560), (320, 320)
COLOURS = {"mistake": "#c0392b", "look": "#2f5d8a", "recover": "#1e8449"}


def pick(choices: Sequence[Choice]) -> list[tuple[Choice, Trace]]:
    """The first trace of each kind that is published, those with looks first."""
    found: dict[str, tuple[Choice, Trace]] = {}
    for choice in choices:
        for line, fate in zip(stored(choice.run), choice.fates, strict=True):
            if fate and fate.trace and line.entry["kind"] not in found:
                trace = parse_line(line.line.decode("utf-8"), Trace, line.entry["id"])
                found[trace.kind] = (choice, trace)
    return sorted(found.values(), key=lambda pair: not pair[1].looks)[:SAMPLES]


def write(choices: Sequence[Choice], folder: Path, pictures: bool) -> list[str]:
    """Markdown of the samples; their pictures go to `folder`/samples where they may be shown."""
    return [_sample(choice, trace, number, folder, pictures) for number, (choice, trace) in enumerate(pick(choices), 1)]


def _sample(choice: Choice, trace: Trace, number: int, folder: Path, pictures: bool) -> str:
    files = _draw(choice, trace, number, folder) if pictures else {}
    lines = [f"### {trace.kind.replace('_', ' ')}", "", f"> {_plain(trace.example.question)}", ""]
    if 0 in files:
        lines += [f"![the whole picture, with every look]({files[0]})", ""]
    for place, step in enumerate(trace.steps, start=1):
        lines += [f"{place}. *{step.role}*{_masked(step)}: {_plain(step.thought)}", ""]
        if place in files:
            lines += [f"   ![what came back]({files[place]})", ""]
    return "\n".join([*lines, f"**{_plain(trace.answer)}**", ""])


def _masked(step: Step) -> str:
    told = {"both": "", "thought": " (call not learned)", "call": " (thought not learned)", "none": " (not learned)"}
    return told[step.learn]


def _plain(text: str) -> str:
    """Text from data inside Markdown: no markup of its own, one line."""
    safe = " ".join(text.split()).replace("\\", "\\\\").replace("<", "&lt;")
    for mark in "`*_[]#|":
        safe = safe.replace(mark, "\\" + mark)
    return safe


def _draw(choice: Choice, trace: Trace, number: int, folder: Path) -> dict[int, str]:
    """Files by the step that they belong to, 0 for the opening view."""
    try:
        seen, fault = shown(trace, choice.run.store)
    except ExampleError:
        return {}
    if fault == "views" or not seen:
        return {}
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    whole = seen[0].copy()
    files = {}
    for place, step in enumerate(trace.steps, start=1):
        for view in step.observation.views if step.observation else ():
            if view.media == trace.views[0].media and view.frame == trace.views[0].frame:
                box = view.box.mapped(trace.views[0].box, type(view.box)(0, 0, *whole.size))
                ImageDraw.Draw(whole).rectangle(tuple(box), outline=COLOURS.get(step.role, "black"), width=6)
            files[place] = _save(seen[view.number - 1], PART, folder, f"samples/{number}-{place}.jpg")
    return {0: _save(whole, WHOLE, folder, f"samples/{number}.jpg"), **files}


def _save(picture: Image.Image, most: tuple[int, int], folder: Path, name: str) -> str:
    small = picture.copy()
    small.thumbnail(most)
    (folder / name).write_bytes(to_jpeg(small, 85))
    return name
