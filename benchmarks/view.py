"""The view of a large run: how long a person waits, and what the server takes.

    .venv/bin/python benchmarks/view.py                a run of 100,000 traces, about two minutes on two cores
    .venv/bin/python benchmarks/view.py 10000 --keep   a smaller one; its folder is left behind

A few drawn infographics become traces by the scripted teacher; their lines are written again and again with new ids, as
filter leaves them (traces, kept, rejected), so what is read is as large as a real run. The server is a process of its
own, asked over HTTP; "first" counts from the start of that process, imports included.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

from rich.console import Console
from rich.table import Table

from dataforge import manifest
from dataforge.records import Verdict, to_line
from dataforge.runs import Run
from dataforge.synth import synth

CONSOLE = Console()
EXAMPLES = 16
WRONG = Verdict(check="answer", ok=False, reason="wrong", detail="'1' is not '2'", score=0.0)
REJECTED_EVERY = 12
FIRST_PAGE_S, MEMORY_MB = 1.0, 300
SERVE = """
import sys
from pathlib import Path
from dataforge import view
from dataforge.runs import Run
view.serve(Run.open(Path(sys.argv[1])), 0, lambda address: print(address, flush=True))
"""


def large_run(runs: Path, count: int) -> Path:
    """A run folder with so many traces, of which one in REJECTED_EVERY is rejected."""
    chosen = manifest.load(manifest.shipped("infographics"), {"limit": EXAMPLES})
    with Run.start(runs, chosen) as run:
        synth(run)
        traces = list(run.traces())
    names = ("traces.jsonl", "kept.jsonl", "rejected.jsonl")
    lines = {
        False: [to_line(trace) for trace in traces],
        True: [to_line(trace.model_copy(update={"verdicts": (*trace.verdicts, WRONG)})) for trace in traces],
    }
    whole, kept, rejected = ((run.folder / name).open("w", encoding="utf-8") for name in names)
    with whole, kept, rejected:
        for number in range(count):
            old = json.dumps(traces[number % len(traces)].id)
            bad = number % REJECTED_EVERY == 0
            new = json.dumps(f"trace-{number:06}")
            line = lines[bad][number % len(traces)].replace(old, new)
            whole.write(lines[False][number % len(traces)].replace(old, new))
            (rejected if bad else kept).write(line)
    return run.folder


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Its address, its process, and when it was started."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process.pid, began
    finally:
        process.terminate()
        process.wait()


def get(address: str) -> str:
    with urlopen(address) as answer:
        text: str = answer.read().decode()
    return text


def memory_mb(process: int) -> tuple[float, float]:
    """Resident now, and at its highest."""
    status = (Path("/proc") / str(process) / "status").read_text().splitlines()
    kb = {line.split(":")[0]: int(line.split()[1]) for line in status if line.startswith(("VmRSS", "VmHWM"))}
    return kb["VmRSS"] / 1024, kb["VmHWM"] / 1024


def seconds(address: str, holds: str) -> float:
    began = time.perf_counter()
    assert holds in get(address), f"{address} shows no {holds!r}"
    return time.perf_counter() - began


def measure(folder: Path, count: int) -> Table:
    shown = Table("what", "seconds", title=f"view of {count:,} traces", title_justify="left")
    shown.columns[1].justify = "right"
    with server(folder) as (address, process, began):
        page = get(address)
        first = time.perf_counter() - began
        assert 'class="name"' in page, "the first page lists traces"
        assert "/picture/" in page, "and shows one"
        shown.add_row(f"first page, nothing indexed (at most {FIRST_PAGE_S:g})", f"{first:.2f}")
        while "data-reading" in get(address):
            time.sleep(0.25)
        shown.add_row("all indexed, in the background", f"{time.perf_counter() - began:.1f}")
        asked = {
            "page in the middle": ({"at": count // 2}, f"{count // 2 + 1:,} of {count:,}"),
            "the next trace": ({"at": count // 2 + 1}, f"{count // 2 + 2:,} of {count:,}"),
            "kind": ({"kind": "zoom_further"}, "zoom further"),
            "reason": ({"reason": "answer: wrong"}, "answer: wrong"),
            "search, rare": ({"words": f"trace-{count - 7:06}"}, f"trace-{count - 7:06}"),
            "search, found in most": ({"words": "the"}, 'class="name"'),
            "search, nothing": ({"words": "no such words at all"}, "nothing fits"),
        }
        for name, (query, holds) in asked.items():
            shown.add_row(name, f"{seconds(address + '?' + urlencode(query), holds):.2f}")
        for at in range(0, count, max(count // 40, 1)):
            get(f"{address}?at={at}")
        now, most = memory_mb(process)
    with server(folder) as (address, _, began):
        get(address)
        shown.add_row("first page, opened again", f"{time.perf_counter() - began:.2f}")
    shown.add_section()
    shown.add_row("server memory, MB", f"{now:.0f}")
    shown.add_row(f"server memory at its highest, MB (at most {MEMORY_MB})", f"{most:.0f}")
    shown.add_row("lines read, MB", f"{sum(path.stat().st_size for path in folder.glob('*.jsonl')) / 1e6:.0f}")
    shown.add_row("index, MB", f"{(folder / '.view.sqlite').stat().st_size / 1e6:.0f}")
    return shown


def main() -> None:
    counts = [int(argument) for argument in sys.argv[1:] if argument.isdigit()] or [100_000]
    for count in counts:
        runs = Path(tempfile.mkdtemp())
        try:
            folder = large_run(runs, count)
            CONSOLE.print(measure(folder, count))
            if "--keep" in sys.argv:
                CONSOLE.print(str(folder))
        finally:
            if "--keep" not in sys.argv:
                shutil.rmtree(runs)


if __name__ == "__main__":
    main()
