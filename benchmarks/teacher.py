"""The teacher's figures: speed, memory, limits, faults and kills, beside its rivals in one run.

    .venv/bin/python benchmarks/teacher.py                        all but the peers, about a quarter of an hour
    .venv/bin/python benchmarks/teacher.py speed --repeat 1       one section, once: two to three minutes
    .venv/bin/python benchmarks/teacher.py peers limits --peer datatrove=/venvs/dt --peer curator=/venvs/cu --repeat 1

A loopback endpoint with 200 ms latency (benchmarks/loopback.py) has a core of its own, each client another. Clients
take turns within a repetition. `window` is first arrival to last reply, as the endpoint saw it; CPU and memory are of
the client's whole process tree as far as it was waited for; `ms a call` is the CPU between a small and a large number
of calls, start-up left out. `ours` is the whole path behind cut pictures: request, reply, parse, four checks, reply
cache, ledger, trace. There are 50 times as many calls as go at once, but with the peers at 256 at once 10 times as
many, since two of them hold all rows with their pictures in memory (0.7 MB a row and more). Peers need environments
of their own (pins: datatrove[io]==0.10.1 httpx aiofiles aiosqlite xxhash; bespokelabs-curator==0.1.31;
data-designer==0.9.6 data-designer-config==0.9.6 data-designer-engine==0.9.6; distilabel[openai,vision]==1.5.3
requests).
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
CONSOLE = Console(width=150)
CORES = sorted(os.sched_getaffinity(0))
CLIENT, SERVER = CORES[0], CORES[-1]
DELAY_S = 0.2
ROUNDS, FEW_ROUNDS = 50, 10
"""Calls, in times of those in flight; and the smaller number that start-up is told by."""
PEER_ROUNDS, FEW_PEER_ROUNDS = {64: 50, 256: 10}, 2


class Endpoint:
    """A fresh endpoint in its own process."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, str(HERE / "loopback.py"), "--delay-s", str(DELAY_S), "--cpu", str(SERVER), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.url = self._process.stdout.readline().strip()

    def stats(self) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url.removesuffix("/v1") + "/stats", timeout=30) as reply:
            found: dict[str, Any] = json.loads(reply.read())
        return found

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()


@contextlib.contextmanager
def endpoint(*options: str) -> Iterator[Endpoint]:
    served = Endpoint(*options)
    try:
        yield served
    finally:
        served.end()


def start(client: str, url: str, most: int, calls: int, folder: Path, peers: dict[str, Path]) -> subprocess.Popen[str]:
    python, script = (peers[client] / "bin/python", "peers") if client in peers else (Path(sys.executable), "clients")
    command = [str(python), str(HERE / f"teacher_{script}.py"), client, url, str(most), str(calls), str(folder)]
    environment = os.environ | {"OPENAI_API_KEY": "sk-benchmark", "PYTHONPATH": ""}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=folder,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, {CLIENT}),
    )


def run(client: str, most: int, calls: int, base: Path, peers: dict[str, Path], *options: str) -> dict[str, Any]:
    """One client against a fresh endpoint, in a fresh folder: what it said, what the endpoint saw, what it cost."""
    folder = base / f"{client}-{most}-{calls}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with endpoint(*options) as served:
        began = time.perf_counter()
        process = start(client, served.url, most, calls, folder, peers)
        assert process.stdout
        lines = [line for line in process.stdout if line.startswith("{")]
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        found = json.loads(lines[-1]) if lines else {"failed": True}
        found |= served.stats() | {"process_s": time.perf_counter() - began, "cpu_s": used.ru_utime + used.ru_stime}
    found["disk_kb"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1000
    shutil.rmtree(folder, ignore_errors=True)
    return found | {"load": os.getloadavg()[0], "all_calls": calls}


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left")
    for column in columns:
        made.add_column(column, justify="left" if column == columns[0] else "right")
    return made


# ---------------------------------------------------------------------------------------------- speed


def speed(base: Path, repeat: int, rounds: int, at: list[int]) -> None:
    """dataforge between the floor and the SDK."""
    for most in at:
        race(["bare", "ours", "sdk-aiohttp", "sdk"], most, (min(FEW_ROUNDS, rounds // 2), rounds), base, {}, repeat)


def against_peers(base: Path, peers: dict[str, Path], repeat: int, at: list[int]) -> None:
    """dataforge beside the engines that somebody would use instead."""
    for most in at:
        race(["bare", "ours", *peers], most, (FEW_PEER_ROUNDS, PEER_ROUNDS.get(most, 10)), base, peers, repeat)


def race(
    clients: list[str], most: int, rounds: tuple[int, int], base: Path, peers: dict[str, Path], repeat: int
) -> None:
    """Window, CPU, memory and disk of each client with so many calls at once, the clients in turns."""
    few, many = (number * most for number in rounds)
    found: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(list)
    for _ in range(repeat):
        for client in clients:
            found[client].append((run(client, most, few, base, peers), run(client, most, many, base, peers)))
    title = f"{most} in flight, {many:,} calls, ideal {most / DELAY_S:,.0f} calls/s; median of {repeat}"
    shown = table(title, "client", "calls/s", "of bare", "window s", "process s", "CPU ms a call", "RSS MB",
                  "disk kB a call", "peak", "conn.", "load")  # fmt: skip
    floors = [many_["answered"] / many_["window_s"] for _, many_ in found["bare"]]
    for client in clients:
        ends = [many_ for _, many_ in found[client] if many_["answered"] >= many]
        if not ends:
            shown.add_row(client, "failed", *[""] * 9)
            continue
        rates = [end["answered"] / end["window_s"] for end in ends]
        cpu = [1000 * (b["cpu_s"] - a["cpu_s"]) / (many - few) for a, b in found[client]]
        shown.add_row(
            client,
            f"{statistics.median(rates):,.0f}",
            f"{statistics.median(rate / floor for rate, floor in zip(rates, floors, strict=False)):.2f}",
            f"{statistics.median(end['window_s'] for end in ends):.2f}",
            f"{statistics.median(end['process_s'] for end in ends):.1f}",
            f"{statistics.median(cpu):.2f}",
            f"{max(end['rss_mb'] for end in ends):.0f}",
            f"{ends[0]['disk_kb'] / many:.1f}",
            f"{ends[0]['peak']}",
            f"{ends[0]['connections']}",
            f"{max(end['load'] for end in ends):.1f}",
        )
    CONSOLE.print(shown)


# ---------------------------------------------------------------------------------------------- limits, faults, memory


def limits(base: Path, peers: dict[str, Path], repeat: int) -> None:
    """50 requests a second from a bucket of 50, refused with Retry-After: 1."""
    shown = table("50 requests/s allowed, Retry-After: 1; 300 calls, 64 in flight; floor 5.0 s", "client",
                  "window s", "of the floor", "requests", "refused", "share", "answered")  # fmt: skip
    for _ in range(repeat):
        for client in ("ours", "sdk", *peers):
            end = run(client, 64, 300, base, peers, "--rate", "50")
            share = end["refused"] / max(1, end["requests"])
            shown.add_row(client, f"{end['window_s']:.2f}", f"{end['window_s'] / 5:.2f}", str(end["requests"]),
                          str(end["refused"]), f"{share:.1%}", str(end["answered"]))  # fmt: skip
    CONSOLE.print(shown)


def faults(base: Path, repeat: int, rounds: int) -> None:
    """A tenth of random faults (429, 500, reset, bad JSON) against none, in turns."""
    shown = table("10 % random faults, 64 in flight", "run", "examples/s", "of faultless", "kept", "rejected", "failed",
                  "faults", "requests")  # fmt: skip
    calls = rounds * 64
    for turn in range(repeat):
        whole = run("ours", 64, calls, base, {})
        spoiled = run("ours", 64, calls, base, {}, "--faults", "0.1", "--seed", str(turn))
        for name, end in (("faultless", whole), ("faults", spoiled)):
            rate, floor = calls / end["window_s"], calls / whole["window_s"]
            failed = sum(end["reasons"].values())
            assert end["kept"] + end["rejected"] + failed == calls, end
            shown.add_row(name, f"{rate:,.0f}", f"{rate / floor:.2f}", str(end["kept"]), str(end["rejected"]),
                          f"{failed} {end['reasons'] or ''}", str(end["spoiled"]), str(end["requests"]))  # fmt: skip
    CONSOLE.print(shown)


def memory(base: Path) -> None:
    """Peak memory at 256 in flight, from few calls to many."""
    shown = table("ours, 256 in flight", "calls", "peak RSS MB", "disk kB a call", "window s")
    for calls in (1000, 5000, 20_000):
        end = run("ours", 256, calls, base, {})
        shown.add_row(f"{calls:,}", f"{end['rss_mb']:.0f}", f"{end['disk_kb'] / calls:.1f}", f"{end['window_s']:.1f}")
    CONSOLE.print(shown)


# ---------------------------------------------------------------------------------------------- kills


def kills(base: Path, times: int = 20, every_s: float = 3.0) -> None:
    """kill -9 again and again: the union against one unbroken run, and what was asked twice."""
    log, most = base / "requests.txt", 64
    calls = int(times * every_s * most / DELAY_S * 0.65)
    whole, torn = base / "whole", base / "torn"
    for folder in (whole, torn):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    log.unlink(missing_ok=True)
    killed: list[float] = []
    with endpoint() as served:
        start("ours", served.url, most, calls, whole, {}).wait()
    with endpoint("--log", str(log)) as served:
        while True:
            process = start("ours", served.url, most, calls, torn, {})
            try:
                process.wait(timeout=every_s if len(killed) < times else None)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                killed.append(time.monotonic())
                process.wait()
    equal = _traces(whole) == _traces(torn)
    seen: dict[str, list[float]] = defaultdict(list)
    for line in log.read_text().splitlines():
        at, digest = line.split()
        seen[digest].append(float(at))
    repeats = [at for times_ in seen.values() for at in times_[:-1]]
    # in flight at a kill: it had arrived less than the latency and a moment for the reply's way to disk before it
    # (it is said how long before, since on a busy machine that moment is a long one)
    # and what the dead client had just put on the wire is read by the endpoint a moment after it
    before = [min((kill - at for kill in killed if kill >= at - 0.15), default=float("inf")) for at in repeats]
    unexplained = [ago for ago in before if ago > DELAY_S + 0.15]
    shown = table(f"kill -9 every {every_s:g} s, {calls:,} calls, {most} in flight", "", "")
    for name, value in {
        "kills": len(killed),
        "traces equal to the unbroken run's, byte for byte": equal,
        "different requests seen": len(seen),
        "seen again, in flight at a kill": len(repeats) - len(unexplained),
        "seen again, arrived longer before": len(unexplained),
        "the longest of all, in ms before its kill": round(1000 * max(before, default=0.0)),
    }.items():
        shown.add_row(name, f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
    CONSOLE.print(shown)


def _traces(folder: Path) -> list[bytes]:
    """The lines, without what names the endpoint's port."""
    (path,) = folder.glob("runs/bench-*/traces.jsonl")
    return path.read_bytes().splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sections = ["speed", "limits", "faults", "memory", "kills"]
    parser.add_argument("sections", nargs="*", default=sections, help=", ".join([*sections, "peers"]))
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=VENV")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="calls, in times of those in flight")
    parser.add_argument("--at", action="append", type=int, help="calls at once; repeatable; 64 and 256 if none")
    given = parser.parse_args()
    at: list[int] = given.at or [64, 256]
    peers = {name: Path(venv).absolute() for name, _, venv in (peer.partition("=") for peer in given.peer)}
    if CLIENT == SERVER:
        CONSOLE.print("[yellow]one core alone: client and endpoint share it, and no figure means much[/]")
    sys.path.insert(0, str(HERE))
    from teacher_clients import pictures

    with tempfile.TemporaryDirectory() as made:
        base = Path(made)
        pictures(base)
        for section in given.sections:
            if section == "speed":
                speed(base, given.repeat, given.rounds, at)
            elif section == "peers":
                against_peers(base, peers, given.repeat, at)
            elif section == "limits":
                limits(base, peers, given.repeat)
            elif section == "faults":
                faults(base, given.repeat, given.rounds)
            elif section == "memory":
                memory(base)
            else:
                kills(base)


if __name__ == "__main__":
    main()
