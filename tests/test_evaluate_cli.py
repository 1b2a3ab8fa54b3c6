"""`dataforge eval` as a person meets it: a table, files, exit codes, one-line errors, nothing asked twice."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import eyes
from tests.servers import TeacherServer
from tests.test_cli import COMMAND, call, refused

COUNT = 5


class Home(NamedTuple):
    """A folder with an evaluation, made by the first command, and who was asked."""

    folder: Path
    server: TeacherServer
    asked: int
    first: subprocess.CompletedProcess[str]


def command(server: TeacherServer, *more: object) -> tuple[object, ...]:
    model = ("--model", "org/tiny-vision", "--base-url", server.url)
    return ("eval", "--benchmark", "vstar", "--path", "VStarBench", *model, "--workers", 1, *more)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("home")
    eyes.draw_vstar(folder / "VStarBench", COUNT)
    with TeacherServer(say=eyes.eyes) as server:
        first = call(*command(server), cwd=folder)
        yield Home(folder, server, server.requests, first)


def test_the_first_command_prints_both_arms_and_where_they_lie(home: Home) -> None:
    assert home.first.returncode == 0, home.first.stderr
    assert "V*Bench: accuracy" in home.first.stdout
    folders = [Path(line) for line in home.first.stdout.splitlines() if line.startswith("runs")]
    assert [folder.name.rsplit("-", 1)[0] for folder in folders] == [
        "vstar-tiny-vision-without",
        "vstar-tiny-vision-with",
    ]
    for folder in folders:
        assert (home.folder / folder / "traces.jsonl").read_text().count("\n") == COUNT
        assert (home.folder / folder / "report.html").is_file()
    assert home.asked == 3 * COUNT


def test_the_same_command_asks_nothing_again(home: Home) -> None:
    again = call(*command(home.server, "--json"), cwd=home.folder)
    assert again.returncode == 0
    board = json.loads(again.stdout)
    assert [(row["arm"], row["score"]["n"]) for row in board["rows"]] == [("without", COUNT), ("with", COUNT)]
    assert board["gaps"][0]["gain"]["low"] <= board["gaps"][0]["gain"]["mean"]
    assert home.server.requests == home.asked


def test_report_writes_board_and_plots_and_the_same_bytes_again(home: Home) -> None:
    wanted = {"board.json", "board.md", "scores.svg", "gaps.svg"}
    made = [call("eval", "report", "--out", out, "--markdown", cwd=home.folder) for out in ("one", "two")]
    assert [result.returncode for result in made] == [0, 0], made[0].stderr
    assert {path.name for path in (home.folder / "one").iterdir()} == wanted
    for name in wanted:
        assert (home.folder / "one" / name).read_bytes() == (home.folder / "two" / name).read_bytes()
    assert made[0].stdout == (home.folder / "one" / "board.md").read_text()
    assert json.loads((home.folder / "one" / "board.json").read_text())["rows"]
    assert "tiny-vision, with" in (home.folder / "one" / "scores.svg").read_text()


def test_a_dry_run_writes_nothing(home: Home) -> None:
    before = sorted(home.folder.rglob("*"))
    planned = call(*command(home.server, "--controls", "--seed", 5, "--dry-run", "--json"), cwd=home.folder)
    assert planned.returncode == 0
    assert [plan["arm"] for plan in json.loads(planned.stdout)] == ["without", "with", "blank", "elsewhere"]
    assert sorted(home.folder.rglob("*")) == before
    assert home.server.requests == home.asked


def test_a_long_name_stands_in_one_piece(home: Home) -> None:
    long = "organisation/" + "-".join(["a", *["very"] * 20, "long", "name", "of", "a", "model"])
    flags = ("--benchmark", "vstar", "--path", "VStarBench", "--model", long, "--base-url", home.server.url)
    planned = call("eval", *flags, "--dry-run", cwd=home.folder, COLUMNS="80")
    assert planned.returncode == 0, planned.stderr
    runs = {plan["run"] for plan in json.loads(call("eval", *flags, "--dry-run", "--json", cwd=home.folder).stdout)}
    assert len(runs) == 2
    assert runs | {long} <= set(planned.stdout.split())
    played = call("eval", *flags, "--limit", 1, "--runs", "long", cwd=home.folder, COLUMNS="80")
    assert played.returncode == 0, played.stderr
    assert long in played.stdout.split()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("eval",), ("--benchmark NAME", "vstar")),
        (("eval", "--benchmark", "vstar"), ("--model NAME", "--local DIR")),
        (("eval", "--benchmark", "vstr", "--model", "m"), ("no benchmark 'vstr'", "hrbench_4k")),
        (("eval", "--benchmark", "vstar", "--model", "m", "--arm", "wth"), ("no arm 'wth'", "elsewhere")),
        (("eval", "--benchmark", "vstar", "--base-url", "http://x/v1", "--local", "."), ("--base-url needs --model",)),
        (("eval", "--benchmark", "vstar", "--local", "."), ("no checkpoint", "safetensors")),
        (("eval", "--benchmark", "vstar", "--model", "m", "--calls", "loud"), ("student.calls", "loud")),
        (("eval", "--benchmark", "vstar", "--model", "m", "--temperature", "hot"), ("--temperature", "hot")),
        (("eval", "--benchmark", "vstar", "--model", "m", "--model", "m"), ("name each model once",)),
        (("eval", "report", "nothing"), ("no run 'nothing'",)),
        (("eval", "report", "--runs", "nowhere"), ("no evaluation in nowhere",)),
    ],
)
def test_a_wrong_flag_is_one_line_with_the_fix(home: Home, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    refused(call(*arguments, cwd=home.folder), *words)


def test_a_run_that_is_killed_goes_on_and_pays_for_little_twice(home: Home, tmp_path: Path) -> None:
    (tmp_path / "VStarBench").symlink_to(home.folder / "VStarBench")
    arm = ("--arm", "with", "--seed", 1)
    with TeacherServer(say=eyes.eyes, delay_s=0.15) as server:
        argv = [*COMMAND, *map(str, command(server, *arm))]
        process = subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while server.requests < COUNT + 1 and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        resumed = call(*command(server, *arm), cwd=tmp_path)
        assert resumed.returncode == 0, resumed.stderr
        assert server.requests <= 2 * COUNT + COUNT  # what was on the wire is asked again
        unbroken = call(*command(server, *arm, "--runs", "other"), cwd=tmp_path)
        assert unbroken.returncode == 0
    one, other = (next((tmp_path / runs).glob("vstar-*/traces.jsonl")).read_bytes() for runs in ("runs", "other"))
    assert one == other
