"""Runs through the Batch API, over HTTP, against a server that follows the published one and misbehaves as told."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dataforge import manifest
from dataforge.ask import batch, batch_api, gathering
from dataforge.ask.budget import Budget
from dataforge.errors import UsageError
from dataforge.runs import Run
from dataforge.synth import Progress, synth
from tests.batch_server import BatchServer
from tests.test_pose import Asker
from tests.test_synth import SCRIPT, SHEETS, of_sheets, said, sheets, write_manifest

__all__ = ["sheets"]


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server on loopback needs no minutes between two looks; the constants are this test's only change."""
    monkeypatch.setattr(batch, "POLL_S", 0.02)
    monkeypatch.setattr(batch, "LONGEST_POLL_S", 0.1)
    return


def at(server: BatchServer, **options: Any) -> dict[str, Any]:
    prices = {"input_usd": 1.0, "output_usd": 4.0}
    return {"name": "openai_api", "model": "tiny-vision", "base_url": server.url} | prices | options


def run_batch(runs: Path, server: BatchServer, sheets: Path, **how: Any) -> tuple[Progress, Run]:
    changes = how.pop("changes", {})
    with Run.start(runs, of_sheets(sheets, teacher=at(server), **changes)) as run:
        return synth(run, batch=True, **how), run


def stories(run: Run) -> list[dict[str, Any]]:
    """The stored traces as written, less what they have paid."""
    lines = [json.loads(line) for line in run.traces_path.read_text().splitlines()]
    return [line | {"provenance": line["provenance"] | {"cost_usd": 0}} for line in lines]


def test_a_batch_costs_half_and_gives_the_traces_of_a_plain_run(sheets: Path, tmp_path: Path) -> None:
    with BatchServer(said) as server:
        progress, run = run_batch(tmp_path / "batch", server, sheets)
        assert (progress.kept, progress.failed, progress.stopped) == (SHEETS, 0, "")
        assert (server.created, len(server.paid)) == (1, SHEETS)
        assert not server.direct, "nothing is asked at the full price"
        assert len(server.files) == 1, "the input, which has the pictures, is deleted from the server"
        for body in server.seen:
            urls = [part["image_url"]["url"] for part in body["messages"][0]["content"] if part["type"] == "image_url"]
            assert len(urls) >= 2
            assert all(url.startswith("data:image/jpeg;base64,") for url in urls)
        with Run.start(tmp_path / "plain", of_sheets(sheets, teacher=at(server))) as plain:
            synth(plain)
    costs = [trace.provenance.cost_usd for trace in run.traces()]
    assert costs == pytest.approx([0.0007] * SHEETS)
    assert stories(run) == stories(plain)
    assert {path.suffix for path in (run.folder / "batches").iterdir()} == {".json"}


def test_rounds_go_on_until_nothing_waits(sheets: Path, tmp_path: Path) -> None:
    def wrong_at_first(schema: Mapping[str, Any], body: Mapping[str, Any]) -> Mapping[str, Any]:
        return said(schema, body, "17" if len(body["messages"]) == 1 else None)

    with BatchServer(wrong_at_first) as server:
        progress, run = run_batch(tmp_path, server, sheets)
    assert (progress.kept, server.created) == (SHEETS, 2)
    assert {trace.provenance.rewrites for trace in run.traces()} == {1}
    assert not (run.folder / ".unordered").exists()


def test_lines_that_expired_or_failed_are_asked_again(sheets: Path, tmp_path: Path) -> None:
    with BatchServer(said, expire=0.5, fail=0.5) as server:
        progress, run = run_batch(tmp_path, server, sheets)
    assert (progress.kept, progress.failed) == (SHEETS, 0)
    assert server.created == 2
    assert len(server.paid) == len(set(server.paid)) == SHEETS
    with BatchServer(said) as other:
        plain = run_batch(tmp_path / "unbroken", other, sheets)[1]
    assert stories(run) == stories(plain)


def test_a_line_of_no_use_is_a_failure_with_its_cost(sheets: Path, tmp_path: Path) -> None:
    with BatchServer(said, length=1.0) as server:
        progress, run = run_batch(tmp_path, server, sheets)
        assert progress.reasons == {"teacher: cut_off": SHEETS}
        assert {failure.output_tokens for failure in run.failures()} == {100}
        assert {failure.cost_usd for failure in run.failures()} == {0.0007}
        again = run_batch(tmp_path, server, sheets)[0]
        assert (again.read, server.created) == (0, 1)
        server.faults["length"] = 0
        retried, run = run_batch(tmp_path, server, sheets, retry=["cut_off"])
    assert (retried.kept, retried.retried) == (SHEETS, SHEETS)
    assert len(list(run.traces())) == SHEETS


@pytest.mark.parametrize("fault", ["busy", "lost", "full"])
def test_creating_is_patient_and_never_done_twice(sheets: Path, tmp_path: Path, fault: str) -> None:
    with BatchServer(said, **{fault: 1}) as server:
        progress, _ = run_batch(tmp_path, server, sheets)
    assert progress.kept == SHEETS
    assert len(server.paid) == len(set(server.paid)) == SHEETS
    assert server.created == (2 if fault == "full" else 1)


def test_a_refused_batch_and_a_cancelled_one_are_told_in_one_line(sheets: Path, tmp_path: Path) -> None:
    with BatchServer(said, refuse=1) as server:
        with pytest.raises(UsageError, match="refused: invalid_model"):
            run_batch(tmp_path / "a", server, sheets)
        progress = run_batch(tmp_path / "a", server, sheets)[0]
        assert progress.kept + progress.skipped == SHEETS
    with BatchServer(said, cancel=1) as server:
        with pytest.raises(UsageError, match="cancelled: the same command submits"):
            run_batch(tmp_path / "b", server, sheets)
        run = run_batch(tmp_path / "b", server, sheets)[1]
        assert len(list(run.traces())) == SHEETS
        assert len(server.paid) == len(set(server.paid)), "what the cancelled batch had done is kept"


def test_parts_keep_to_the_limits(sheets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MOST_LINES", 4)
    with BatchServer(said) as server:
        progress, _ = run_batch(tmp_path, server, sheets)
    assert (progress.kept, server.created) == (SHEETS, -(-SHEETS // 4))
    assert {one["request_counts"]["total"] for one in server.batches} == {4, SHEETS % 4}


def test_several_servers_share_the_parts(sheets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MOST_LINES", 2)
    with BatchServer(said) as one, BatchServer(said) as two:
        changes = {"teacher": at(one, base_url=[one.url, two.url])}
        with Run.start(tmp_path / "a", of_sheets(sheets, **changes)) as run:
            progress = synth(run, batch=True)
        assert progress.kept == SHEETS
        assert abs(one.created - two.created) <= 1
        assert len(one.paid) + len(two.paid) == len({*one.paid, *two.paid}) == SHEETS


def test_a_server_that_takes_no_file_leaves_its_parts_to_the_others(
    sheets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "MOST_LINES", 4)
    monkeypatch.setattr(batch_api, "TRIES", 1)
    with BatchServer(said, away=True) as one, BatchServer(said) as two:
        with Run.start(tmp_path, of_sheets(sheets, teacher=at(one, base_url=[one.url, two.url]))) as run:
            progress = synth(run, batch=True)
        assert (progress.kept, one.created, len(two.paid)) == (SHEETS, 0, SHEETS)


def test_a_dead_key_costs_one_call(sheets: Path, tmp_path: Path) -> None:
    with BatchServer(said, dead_key=True) as server:
        with pytest.raises(UsageError, match="the key in OPENAI_API_KEY was refused"):
            run_batch(tmp_path, server, sheets)
        assert server.asked == 1


@pytest.mark.parametrize(("fault", "reason"), [("too_large", "image_too_large"), ("too_long", "context_too_long")])
def test_what_is_too_much_is_gathered_once_more_with_smaller_pictures(
    sheets: Path, tmp_path: Path, fault: str, reason: str
) -> None:
    with BatchServer(said) as server:
        run_batch(tmp_path / "plain", server, sheets)
        sizes = sorted(len(body["messages"][0]["content"][2]["image_url"]["url"]) for body in server.seen)
    with BatchServer(said, **{fault: sizes[0] - 1}) as server:
        progress, run = run_batch(tmp_path / "shrunk", server, sheets)
        assert (progress.kept, server.created) == (SHEETS, 2)
        assert {trace.provenance.smaller for trace in run.traces()} == {1}
    with BatchServer(said, **{fault: 1}) as server:
        progress, _ = run_batch(tmp_path / "never", server, sheets)
        assert progress.reasons == {f"teacher: {reason}": SHEETS}
        assert server.created == 2, "once more, and no further"


def test_how_a_server_wants_to_be_asked_is_learned_from_its_errors(sheets: Path, tmp_path: Path) -> None:
    with BatchServer(said, old_limit=True) as server:
        progress, _ = run_batch(tmp_path, server, sheets)
    assert (progress.kept, server.created, len(server.paid)) == (SHEETS, 2, SHEETS)


def test_only_the_openai_teacher_takes_batches(sheets: Path, tmp_path: Path) -> None:
    with Run.start(tmp_path, of_sheets(sheets)) as run, pytest.raises(UsageError, match="scripted takes no batches"):
        synth(run, batch=True)


def test_a_budget_holds_over_batches(sheets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "TRIAL_LINES", 2)
    with BatchServer(said) as server:
        progress, _ = run_batch(tmp_path, server, sheets, budget=Budget(tokens=14_000))
        assert "budget reached" in progress.stopped
        assert 0 < progress.kept < SHEETS
        assert server.batches[0]["request_counts"]["total"] <= 2, "a few lines, until it is known what the model counts"
        assert server.spent_tokens <= 14_000
        more, run = run_batch(tmp_path, server, sheets, budget=Budget(tokens=100_000))
    assert more.kept + progress.kept == SHEETS
    assert server.spent_tokens == SHEETS * 1100, "nothing is paid for twice"
    with BatchServer(said) as other:
        whole = run_batch(tmp_path / "unbroken", other, sheets)[1]
    ids = [trace.id for trace in whole.traces()]
    assert [trace.id for trace in run.traces()] == ids


def command(path: Path, runs: Path, server: BatchServer) -> list[str]:
    fast = f"import dataforge.ask.batch as b; b.POLL_S, b.LONGEST_POLL_S = 0.1, 0.1; {SCRIPT}"
    flags = ["--manifest", str(path), "--runs", str(runs), "--teacher", "tiny-vision", "--base-url", server.url]
    return [sys.executable, "-c", fast, "synth", *flags, "--batch"]


def test_kill_minus_nine_between_any_two_steps_pays_nothing_twice(sheets: Path, tmp_path: Path) -> None:
    path = write_manifest(tmp_path, sheets)
    env = os.environ | {"PYTHONUNBUFFERED": "1"}

    def kill_when(reached: Any) -> None:
        process = subprocess.Popen(command(path, tmp_path / "runs", server), stdout=subprocess.DEVNULL, env=env)
        deadline = time.monotonic() + 60
        while not reached() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()

    with BatchServer(said, polls=3) as server:
        kill_when(lambda: len(server.files) == 1)  # just uploaded
        kill_when(lambda: server.created == 1)  # just created
        kill_when(lambda: server.batches[0]["looked"] >= 2)  # while it waits
        kill_when(lambda: server.batches[0]["status"] == "completed")  # before, or while, it is merged
        last = subprocess.run(command(path, tmp_path / "runs", server), capture_output=True, text=True, env=env)
        assert last.returncode == 0, last.stderr
        assert len(server.paid) == len(set(server.paid)) == SHEETS
        assert server.created == 1
    folder = next((tmp_path / "runs").glob("sheets-*"))
    ids = [json.loads(line)["id"] for line in (folder / "traces.jsonl").read_text().splitlines()]
    assert len(ids) == len(set(ids)) == SHEETS


def test_questions_are_posed_round_by_round(tmp_path: Path) -> None:
    """Choose, pose, verify, ask of the whole, look for others, verify those, write: a round each for both photos."""
    for name in ("a", "b"):
        Image.effect_noise((700, 500), 60 + ord(name)).save(tmp_path / f"{name}.jpg")
    asker = Asker(verify=lambda number: {"answerable": number < 2})
    with BatchServer(asker) as server:
        changes = {"limit": None, "workers": 1}
        chosen = manifest.load(manifest.shipped("photos"), changes, tmp_path, at(server))
        with Run.start(tmp_path / "runs", chosen) as run:
            progress = synth(run, batch=True)
    assert (progress.kept, progress.failed) == (2, 0), list(run.failures())
    assert server.created == 7
    assert asker.asked == {"choose": 2, "pose": 2, "verify": 4, "answer": 6, "others": 2}
