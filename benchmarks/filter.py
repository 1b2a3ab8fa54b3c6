"""The filter's figures, side by side in one run.

    .venv/bin/python benchmarks/filter.py                 all three tables, some minutes on two cores
    .venv/bin/python benchmarks/filter.py cheap faults    only these

cheap   checks of text and geometry on 10,000 stored traces of a real scripted run: traces/s, first pass and with all
        known
replay  CPU of replaying a run's traces against decoding and cutting the same pictures with bare Pillow calls
faults  good traces, each broken in one known way: how many are caught, and for the right reason
"""

import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import plants
from main_job import tree_memory  # beside this file, as is plants
from PIL import Image
from rich.console import Console
from rich.table import Table

from dataforge import manifest, plugins
from dataforge.checks.faithful import Faithful, claimed_sight
from dataforge.filter import sift
from dataforge.media import REDUCING_GAP, MediaStore
from dataforge.plugins import Check, Kit
from dataforge.records import Trace
from dataforge.runs import Run
from dataforge.synth import synth

CONSOLE = Console()
TRACES = 10_000
GOOD, CLIPS = 300, 60
"""Traces of posters and of clips that faults are planted in."""
CHEAP = ("well_formed", "grounded", "answer", "no_leak", "legible")


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left")
    for column in columns:
        made.add_column(column, justify="left" if column == columns[0] else "right")
    return made


@contextmanager
def drawn(count: int = GOOD, source: str = "infographics") -> Iterator[Run]:
    """A real run of the scripted teacher in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = manifest.load(manifest.shipped(source), {"limit": count})
        with Run.start(Path(folder), chosen) as run:
            CONSOLE.print(f"drawing {count} traces", style="dim")
            synth(run)
            yield run


# ---------------------------------------------------------------------------------------------- cheap checks


def cheap(run: Run) -> None:
    """Wall time of a whole filter pass, workers' start and the writing of its files included."""
    stored = run.traces_path.read_bytes()
    lines = stored.splitlines(True)
    with run.traces_path.open("wb") as many:
        for number in range(TRACES):
            line = lines[number % len(lines)]
            many.write(line.replace(b'"id":"', b'"id":"%d-' % (number // len(lines)), 1))
    columns = ("pass", "wall s", "traces/s", "CPU s, all processes", "traces/s on 2 free cores", "verdicts")
    shown = table(f"{TRACES:,} stored traces, {', '.join(CHEAP)}", *columns)
    for name in ("first", "all known"):
        began = time.perf_counter()
        with spent_cpu() as spent:
            sifted = sift(run, CHEAP)
        wall = time.perf_counter() - began
        assert (sifted.kept, sifted.rejected) == (TRACES, 0), sifted.reasons
        cells = (f"{wall:.2f}", f"{TRACES / wall:,.0f}", f"{spent[0]:.2f}", f"{2 * TRACES / spent[0]:,.0f}")
        shown.add_row(name, *cells, f"{sum(sifted.judged.values()):,}")
    CONSOLE.print(shown)
    run.traces_path.write_bytes(stored)


@contextmanager
def spent_cpu() -> Iterator[list[float]]:
    """CPU seconds that this process and all under it spend meanwhile: what a machine with others on it can't bend.

    Looked at ten times a second, for workers are gone at the end.
    """
    over = threading.Event()
    before = tree_memory(os.getpid())[1]
    spent = [0.0]

    def watch() -> None:
        while not over.wait(0.1):
            spent[0] = max(spent[0], tree_memory(os.getpid())[1] - before)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield spent
    finally:
        spent[0] = max(spent[0], tree_memory(os.getpid())[1] - before)
        over.set()
        watching.join()


# ---------------------------------------------------------------------------------------------- replay


def bare(traces: list[Trace], store: MediaStore) -> None:
    """What no replay can do without: each picture decoded once, each view cut."""
    path, image = Path(), Image.new("RGB", (1, 1))
    for trace in traces:
        for view in trace.all_views:
            wanted = store.path(trace.example.media[view.media])
            if wanted != path:
                path, image = wanted, Image.open(wanted).convert("RGB")
            part = image.crop(tuple(map(int, view.box)))
            part.resize((view.width, view.height), Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)


def replayed(traces: list[Trace], store: MediaStore) -> None:
    check, kit = plugins.build("check", "replay"), Kit(store)
    for trace in traces:
        assert check.judge(trace, kit).ok


def replay(run: Run, rounds: int = 5) -> None:
    """CPU in one process, in turns, so that the ratio holds when the machine's speed drifts."""
    traces = list(run.traces())[:60]
    times: dict[str, list[float]] = {"decoding and cutting alone": [], "replay": []}
    for turn in range(rounds + 1):
        for name, job in zip(times, (bare, replayed), strict=True):
            store = MediaStore(run.store.folder)
            began = time.process_time()
            job(traces, store)
            if turn:  # the first round warms the disk cache
                times[name].append(time.process_time() - began)
    shown = table(f"replay of {len(traces)} traces", "way", "CPU ms a trace", "ratio")
    floor = min(times["decoding and cutting alone"])
    for name, taken in times.items():
        shown.add_row(name, f"{1000 * min(taken) / len(traces):.1f}", f"{min(taken) / floor:.2f}")
    CONSOLE.print(shown)


# ---------------------------------------------------------------------------------------------- planted faults

Planted = list[tuple[str, plants.Plant, str, str]]


def faults(run: Run) -> None:
    """Each fault planted in every trace that can bear it; caught means rejected by the named check and reason."""
    traces = list(run.traces())
    planted: Planted = [
        ("wrong box", plants.wrong_box, "grounded", "misses_evidence"),
        ("look cut short", plants.cut_short, "grounded", "misses_evidence"),
        ("mistake shows the evidence", plants.mistake_shows, "grounded", "mistake_shows_evidence"),
        ("too-large look isn't", plants.not_too_large, "grounded", "mistake_not_too_large"),
        ("shown too small", plants.blurred, "legible", "too_small"),
        ("no zoom was needed", plants.plain_to_see, "legible", "zoom_not_needed"),
        ("call moved", plants.shifted_call, "replay", "observation|geometry"),
        ("view moved by a pixel", plants.other_target, "replay", "geometry"),
        ("padding changed", plants.other_padding, "replay", "observation|geometry"),
        ("pixel hash changed", plants.other_pixels, "replay", "pixels"),
        ("image swapped", plants.swapped_image(traces), "replay", "observation|geometry|pixels"),
        ("step lost", plants.lost_step, "well_formed", "views_not_numbered"),
        ("wrong answer", plants.wrong_answer, "answer", "wrong"),
        ("answer leaked", plants.leak, "no_leak", "answer_before_evidence"),
        ("number leaked in other words", plants.leak_in_words, "no_leak", "answer_in_other_words"),
        ("talk of annotations", plants.annotation_talk, "no_leak", "annotation_talk"),
        ("coordinates", plants.coordinates, "no_leak", "coordinates"),
        ("chat marker", plants.marker, "well_formed", "marker"),
        ("sight claimed in a wrong look", plants.claimed, "faithful", "claims_to_see"),
    ]
    _show_faults("good traces", run, planted, (*CHEAP, "faithful"))
    with drawn(CLIPS, "rendered_video") as clips:
        in_time: Planted = [
            ("frame shifted by one", plants.next_frame, "replay", "geometry"),
            ("frames of another moment", plants.other_moment, "grounded", "misses_evidence"),
        ]
        _show_faults("good traces of clips", clips, in_time, (*CHEAP, "replay"))


def _show_faults(what: str, run: Run, planted: Planted, checks: tuple[str, ...]) -> None:
    traces = list(run.traces())
    kit = Kit(MediaStore(run.store.folder, keep=8))
    shown = table(f"faults planted in {len(traces)} {what}", "fault", "check: reason", "planted", "caught", "share")
    for name, plant, check, reason in planted:
        broken = [made for trace in traces if (made := plant(trace))]
        told = Counter(_reason(check, made, kit) for made in broken)
        caught = sum(told[one] for one in reason.split("|"))
        share = f"{caught / len(broken):.1%}" if broken else "-"
        shown.add_row(name, f"{check}: {reason}", str(len(broken)), str(caught), share)
        if caught < len(broken):
            CONSOLE.print(f"{name}: {dict(told)}", style="dim")
    false_alarms = sum(bool(_reason(check, trace, kit)) for trace in traces for check in checks)
    shown.add_row("none (good traces)", "any", str(len(traces)), str(false_alarms), f"{false_alarms / len(traces):.1%}")
    CONSOLE.print(shown)


def _reason(name: str, trace: Trace, kit: Kit) -> str:
    check: Check = plugins.build("check", name)
    if isinstance(check, Faithful):  # its plain part; the other takes a model
        return "claims_to_see" if claimed_sight(trace) else ""
    return check.judge(trace, kit).reason


def main() -> None:
    tables = {"cheap": cheap, "replay": replay, "faults": faults}
    with drawn() as run:
        for name in sys.argv[1:] or tables:
            tables[name](run)


if __name__ == "__main__":
    main()
