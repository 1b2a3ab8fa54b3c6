"""Our vLLM engine and worker with vLLM itself: skipped where no Python at hand has it.

    DATAFORGE_VLLM=/path/to/a/python/with/vllm pytest tests/test_vllm_real.py

The worker runs in that Python (else in this one), on a GPU or with a CPU build of vLLM; the learner runs here.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from accelerate import Accelerator
from typer.testing import CliRunner

from dataforge.cli import app
from dataforge.errors import UsageError
from dataforge.media import MediaStore
from dataforge.recipe import Rl
from tests.test_rl import MANIFEST, ROOT, SMALL, Coin, manifest, numbers
from tests.tiny_students import PATCHES, build, call, load, questions, said, setting
from training import parity, rl, tiny
from training.encoding import Codec
from training.engine import Request
from training.questions import Questions
from training.rollout import Rollout, begin, group
from training.shared import Conversation, SharedLikelihood, tree
from training.vllm_engine import VllmEngine

PYTHON = os.environ.get("DATAFORGE_VLLM") or (sys.executable if find_spec("vllm") else "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="set DATAFORGE_VLLM to a Python that has vllm")
MOST = 3000
"""Tokens that the server takes."""


class Served(NamedTuple):
    """A worker that serves a tiny student."""

    folder: Path
    codec: Codec
    address: str


@pytest.fixture(scope="module", params=list(PATCHES))
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    family: tiny.Family = request.param
    folder = tmp_path_factory.mktemp(family)
    codec = build(folder, family)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--model", str(folder), "--port", str(port), "--max-model-len", str(MOST), "--dtype", "float32"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    command = [PYTHON, "-m", "training.vllm_worker", *options, "--enforce-eager", "--gpu-memory-utilization", "0.3"]
    log = folder / "worker.log"
    with log.open("w") as told:
        worker = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT, env=environment)
    try:
        _await(worker, port, log)
        yield Served(folder, codec, f"http://127.0.0.1:{port}")
    finally:
        worker.terminate()
        worker.wait(60)


def _await(worker: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    until = time.monotonic() + 600
    while time.monotonic() < until and worker.poll() is None:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(1)
    raise AssertionError(f"no worker:\n{log.read_text()[-3000:]}")


def engine(served: Served, student: Any, tokens: int = 2000) -> tuple[VllmEngine, Any]:
    accelerator = Accelerator(cpu=True)
    learner = accelerator.prepare(SharedLikelihood(student, served.codec))
    return VllmEngine([served.address], served.codec, learner, accelerator, tokens), learner


def apart(found: Sequence[Rollout], learner: Any, codec: Codec) -> float:
    """The gate's largest difference between what was sampled and what the learner makes of it."""
    made = [Conversation.of(one.trace.id, one.encoding, one.pictures) for one in found]
    parity.check([one.trace for one in found], made, codec)
    with torch.no_grad():
        scores = learner(tree(made, codec)).tolist()
    return parity.compare([one.trace for one in found], scores, most=100).most


def test_turns_are_those_of_the_learner_before_and_after_an_update(served: Served, store: MediaStore) -> None:
    student = load(served.folder)
    far, learner = engine(served, student)
    where = setting(served.codec, store, turn_tokens=700, tokens=1500)
    start = begin(questions(store, 1)[0], where)
    far.refresh()
    first = asyncio.run(group(start, 4, far, where, policy=0, seed=1))
    assert apart(first, learner, served.codec) < 1e-4
    again = asyncio.run(group(start, 4, far, where, policy=0, seed=1))
    assert [one.tokens.ids for one in again] == [one.tokens.ids for one in first]  # drawn by their own seeds alone
    assert len({one.tokens.ids for one in first}) == 4
    with torch.no_grad():
        for weight in student.parameters():  # the tower's among them: pictures must be seen anew
            weight.add_(0.05 * torch.randn_like(weight))
    assert apart(first, learner, served.codec) > 0.1
    far.refresh()
    then = asyncio.run(group(start, 4, far, where, policy=1, seed=1))
    assert apart(then, learner, served.codec) < 1e-4


def test_a_conversation_with_several_pictures_is_expanded_as_the_learner_does(
    served: Served, store: MediaStore
) -> None:
    far, learner = engine(served, load(served.folder))
    far.refresh()
    where = setting(served.codec, store, turns=2, turn_tokens=700)
    asked = questions(store, 1)[0]
    one = said(asked, where, call([11, 11, 21, 21]), call([5, 5, 30, 30]))
    encoding = one.encoding.fork()
    assert len(encoding.views) == 3
    made = asyncio.run(far.sample(Request("here", encoding, one.pictures, 40, 3)))
    encoding.sampled(made.ids, 2)
    conversation = Conversation.of("here", encoding, one.pictures)
    with torch.no_grad():
        scores = learner(tree([conversation], served.codec))[-len(made.ids) :]
    assert torch.tensor(made.logprobs) == pytest.approx(scores, abs=1e-4)


def test_stop_reasons_and_limits(served: Served, store: MediaStore) -> None:
    codec = served.codec
    far, _ = engine(served, load(served.folder))
    far.refresh()
    where = setting(codec, store)
    start = begin(questions(store, 1)[0], where)
    encoding, picture = start.encoding, start.episode.workspace.picture(1)
    pictures = {encoding.views[0].sha256: picture}

    async def many(most: int) -> list[Any]:
        asked = (Request(f"{most}-{seed}", encoding, pictures, most, seed) for seed in range(6))
        return list(await asyncio.gather(*map(far.sample, asked)))

    cut = asyncio.run(many(5))
    assert all(len(one.ids) == 5 or one.stop == "end" for one in cut)
    long = asyncio.run(many(1500))  # a random student ends a turn once in 500 tokens
    ended = [one for one in long if one.stop == "end"]
    assert ended
    assert all(one.ids.count(codec.end_id) == 1 and one.ids[-1] == codec.end_id for one in ended)
    assert all(len(one.ids) == 1500 for one in long if one.stop == "length")
    assert not any(set(one.ids) & {*codec.vision_ids} or max(one.ids) >= len(codec.tokenizer) for one in long)
    encoding._take([codec.encode("a")[0]] * MOST, ())
    with pytest.raises(UsageError, match=rf"refused to sample: .*{MOST}"):
        asyncio.run(many(5))
    small, _ = engine(served, load(served.folder), tokens=MOST + 1)
    with pytest.raises(UsageError, match=f"start it with --max-model-len {MOST + 1}"):
        small.refresh()


def test_training_with_adapters_and_the_command(served: Served, tmp_path: Path) -> None:
    if served.codec.student.patch != PATCHES["qwen3_vl"]:
        pytest.skip("the manifest is for a Qwen3-VL")
    store = MediaStore(tmp_path / "media")
    recipe = Rl(**(SMALL | {"vllm": [served.address], "lora": {"rank": 4}, "learning_rate": 3e-2}))
    training = Coin(rl.prepare(str(served.folder), manifest(), Questions(questions(store, 8), store), recipe), tmp_path)
    training.run()
    lines = numbers(tmp_path)
    assert len(lines) == 4
    assert all(line["gradient_norm"] > 0 and line["parity/most"] < 1e-4 for line in lines)
    adapters = [weight for name, weight in training.learner.named_parameters() if "lora_B" in name]
    assert max(float(weight.detach().abs().max()) for weight in adapters) > 1e-2  # they moved, and the server with them
    changes = [f"--set={key}={value}" for key, value in (SMALL | {"steps": 2}).items()]
    out = tmp_path / "command"
    command = ["train", "rl", "-m", str(MANIFEST), "--student", str(served.folder), "--out", str(out), "-n", "8"]
    done = CliRunner().invoke(app, [*command, *changes, f"--set=vllm=[{served.address}]"], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    assert [line["parity/most"] < 1e-4 for line in numbers(out)] == [True, True]
    assert (out / "student" / "model.safetensors").exists()
