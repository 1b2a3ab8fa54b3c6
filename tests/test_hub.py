"""Pushing to the Hub and pulling from it: the real clients against a stand-in on loopback, with faults on the wire.

The clients read HF_ENDPOINT when they are imported, so commands run in a process of their own, which stays for all
tests of this file.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dataforge.filter import sift
from dataforge.runs import Run
from tests import drawn_run
from tests.hub_server import READER, TOKEN, Fault, HubServer, hub

SESSION = """
import contextlib, io, json, os, sys
from dataforge.cli import main
for line in sys.stdin:
    asked = json.loads(line)
    os.environ.update(asked.get("environment", {}))
    said, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(err):
        try:
            if "code" in asked:
                exec(asked["code"])
            else:
                sys.argv = ["dataforge", *asked["command"]]
                import dataforge.cli.screen as screen
                screen.out.file, screen.err.file = said, err
                main()
        except SystemExit as end:
            code = end.code or 0
    print(json.dumps([code, said.getvalue(), err.getvalue()]), file=sys.__stdout__, flush=True)
"""


class Said(NamedTuple):
    code: int
    out: str
    err: str


class Session:
    """A process with the Hub's clients in it, pointed to the stand-in."""

    def __init__(self, server: HubServer, home: Path) -> None:
        self.server = server
        self.home = home
        environment = {
            **os.environ,
            "HF_ENDPOINT": server.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", SESSION], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, *command: str, **more: Any) -> Said:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"command": command, "environment": {"HF_TOKEN": TOKEN}} | more) + "\n")
        self.process.stdin.flush()
        said = Said(*json.loads(self.process.stdout.readline()))
        assert TOKEN not in said.out + said.err
        assert "Traceback" not in said.err
        return said


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = drawn_run.make(tmp_path_factory.mktemp("runs"))
    sift(made, ("well_formed", "answer", "grounded", "replay"))
    return made


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with hub() as server:
        made = Session(server, tmp_path_factory.mktemp("hf"))
        yield made
        assert made.process.stdin
        made.process.stdin.close()
        made.process.wait(10)


@pytest.fixture(autouse=True)
def quiet(session: Session) -> Iterator[None]:
    session.server.faults.clear()
    session.server.calls.clear()
    yield
    session.server.faults.clear()


def test_a_set_goes_to_the_hub_loads_with_one_line_is_proven_and_comes_back(
    session: Session, run: Run, tmp_path: Path
) -> None:
    server = session.server
    dry = session("push", str(run.folder), "--to", "hub:me/drawn", "--dry-run")
    assert "a dry run" in dry.err
    assert "data/media/" in dry.out
    assert not server.repos

    said = session("push", str(run.folder), "--to", "hub:me/drawn", "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    repo = server.repos["me/drawn"]
    assert repo.private
    assert repo.tags == {told["tag"]: repo.head.sha}
    assert told["tag"].startswith(run.folder.name)
    assert {"README.md", "dataforge.json"} <= set(repo.head.files)
    assert not [path for path in repo.head.files if ".key" in path]
    assert not [path for path, content in repo.head.files.items() if TOKEN.encode() in content]

    code = (
        "from datasets import load_dataset\n"
        "traces, queries = load_dataset('me/drawn'), load_dataset('me/drawn', 'queries', streaming=True)\n"
        "rows = [row for split in traces.values() for row in split]\n"
        "streamed = [row for split in queries.values() for row in split]\n"
        "print(len(rows), len(streamed), rows[0]['images'][0].size, streamed[0]['images'][0].size)"
    )
    assert session(code=code).out.strip() == "6 7 (644 , 1540) (644 , 1540)".replace(" ,", ",")

    assert session("verify", "hub:me/drawn").code == 0
    back = session("pull", f"hub:me/drawn@{told['tag']}", "--runs", str(tmp_path / "back"))
    assert back.code == 0, back.err
    pulled = tmp_path / "back" / run.folder.name
    assert (pulled / "kept.jsonl").read_bytes() == (run.folder / "kept.jsonl").read_bytes()

    # once more: nothing is sent, and nothing is said to be new
    commits, put = len(repo.commits), server.put_bytes
    again = session("push", str(run.folder), "--to", "hub:me/drawn", "--json")
    assert json.loads(again.out)["already"] is True
    assert (len(repo.commits), server.put_bytes) == (commits, put)


def test_a_public_repository_is_noticed_and_a_foreign_one_is_not_overwritten(session: Session, run: Run) -> None:
    from tests.hub_server import Repo

    repo = session.server.repos["me/open"] = Repo(private=False)
    repo.add("initial", {".gitattributes": b""})
    said = session("push", str(run.folder), "--to", "hub:me/open")
    assert (said.code, "is public: --public says that you mean it" in said.err) == (2, True)
    assert len(repo.commits) == 1
    repo = session.server.repos["me/theirs"] = Repo(private=True)
    repo.add("initial", {"thesis.tex": b"x"})
    said = session("push", str(run.folder), "--to", "hub:me/theirs")
    assert (said.code, "holds something else" in said.err) == (2, True)
    assert repo.head.files == {"thesis.tex": b"x"}
    assert session("push", str(run.folder), "--to", "hub:me").code == 2


@pytest.mark.parametrize(
    ("token", "fault", "advice"),
    [
        ("hf_wrong_token", None, "401, the token is missing or isn't accepted"),
        (READER, None, "403, the token may not do that: it needs write access to me"),
        (TOKEN, Fault("POST .*/create", 403), "403, the token may not do that"),
        (TOKEN, Fault("POST .*/commit/main", 409, times=9), "409, it was changed by somebody else meanwhile"),
    ],
)
def test_what_the_hub_refuses_is_one_line_with_the_fix(
    session: Session, run: Run, token: str, fault: Fault | None, advice: str
) -> None:
    session.server.faults += [fault] if fault else []
    said = session("push", str(run.folder), "--to", "hub:me/refused", environment={"HF_TOKEN": token})
    assert said.code == 2
    assert advice in said.err
    assert token not in said.err
    assert len(said.err.strip().splitlines()) == 1
    session.server.repos.pop("me/refused", None)


def test_what_the_wire_does_is_survived(session: Session, run: Run) -> None:
    server = session.server
    server.blobs.clear()
    server.faults += [
        Fault("PUT /lfs", 500),
        Fault("PUT /lfs", 0, after=2),
        Fault("POST .*/preupload", 429, headers={"Retry-After": "0"}),
        Fault("POST .*/commit/main", 0),
        Fault("POST .*/tag/", 503),
    ]
    tries = [session("push", str(run.folder), "--to", "hub:me/shaky")]
    while tries[-1].code and len(tries) < 4:
        tries.append(session("push", str(run.folder), "--to", "hub:me/shaky"))
    assert tries[-1].code == 0
    assert all("run the same command again" in said.err for said in tries[:-1])
    assert len(server.repos["me/shaky"].tags) == 1
    assert not [fault for fault in server.faults if fault.times]
    assert session("verify", "hub:me/shaky").code == 0


def test_an_upload_that_dies_half_way_goes_on_where_it_stood(session: Session, run: Run, tmp_path: Path) -> None:
    server = session.server
    folder = Path(shutil.copytree(run.folder, tmp_path / "drawn-111111"))
    server.blobs.clear()
    server.faults.append(Fault("PUT /lfs", 507, times=1000, after=3))  # a status that the client doesn't retry
    said = session("push", str(folder), "--to", "hub:me/half")
    assert said.code == 2
    assert "507, the Hub failed: run the same command again" in said.err
    assert len(server.repos["me/half"].commits) == 1  # nothing half done is to be seen
    arrived = set(server.blobs)
    assert arrived
    built = (folder / "push" / "me--half" / "dataforge.json").stat().st_mtime_ns
    server.faults.clear()
    server.calls.clear()
    said = session("push", str(folder), "--to", "hub:me/half")
    assert said.code == 0, said.err
    sent = {call.rpartition("/")[2] for call in server.calls if call.startswith("PUT")}
    assert sent
    assert not sent & arrived
    assert (folder / "push" / "me--half" / "dataforge.json").stat().st_mtime_ns == built  # not built again
    assert session("verify", "hub:me/half").code == 0


def test_more_is_added_to_what_is_on_the_hub(session: Session, run: Run, tmp_path: Path) -> None:
    session("push", str(run.folder), "--to", "hub:me/grows")
    repo = session.server.repos["me/grows"]
    more = Path(shutil.copytree(run.folder, tmp_path / "more-000000"))
    for file in ("kept.jsonl", "traces.jsonl"):
        (more / file).write_text((run.folder / "kept.jsonl").read_text().replace("poster-", "more-"))
    for file in ("rejected.jsonl", "failed.jsonl"):
        (more / file).write_text("")
    said = session("push", str(more), "--to", "hub:me/grows")
    assert "holds a set already: give --append to add to it, or --replace" in said.err
    before = dict(repo.head.files)
    said = session("push", str(more), "--to", "hub:me/grows", "--append", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["rows"] == {"traces": 12, "queries": 13, "media": 2}
    shards = {path: content for path, content in before.items() if path.endswith(".parquet")}
    assert shards.items() <= repo.head.files.items()
    assert session("verify", "hub:me/grows").code == 0
    assert len(repo.tags) == 2
    said = session("push", str(run.folder), "--to", "hub:me/grows", "--replace")
    assert said.code == 0, said.err
    assert shards.keys() == {path for path in repo.head.files if path.endswith(".parquet")}


def test_the_token_is_nowhere(session: Session, run: Run) -> None:
    for folder in (run.folder, session.home):
        for path in folder.rglob("*"):
            if path.is_file():
                assert TOKEN.encode() not in path.read_bytes(), path
