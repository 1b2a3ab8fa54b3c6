"""The vLLM engine over real HTTP, with a stand-in for AsyncLLM behind the worker's own routes: a tiny student.

What is checked is what goes over the wire, and what is made of it; `test_vllm_real` runs vLLM itself.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from aiohttp import web

from dataforge.errors import UsageError
from dataforge.media import MediaStore, fingerprint
from dataforge.recipe import Lora
from tests.tiny_students import build, load, questions, setting
from training import vllm_worker
from training.encoding import Codec, Encoding
from training.engine import LocalEngine, Request
from training.passes import core_of, unsampled
from training.rollout import begin, group
from training.shared import Conversation, SharedLikelihood, tree
from training.students import plain_weights, with_adapters
from training.vllm_engine import VllmEngine, compact


class AsyncLLM:
    """What the worker asks of vLLM's AsyncLLM, answered by a tiny student in this process."""

    def __init__(self, codec: Codec, folder: Path) -> None:
        self.codec, self.student, self.calls = codec, load(folder), list[Any]()
        self.model_config = SimpleNamespace(dtype=torch.float32, max_model_len=4000)

    async def generate(self, prompt: dict[str, Any], asked: Any, name: str) -> AsyncIterator[Any]:
        pictures = prompt.get("multi_modal_data", {}).get("image", [])
        self.calls.append((prompt, asked))
        encoding = Encoding(self.codec)
        views = [one for one in self.known if one.sha256 in {fingerprint(picture) for picture in pictures}]
        encoding._take(list(prompt["prompt_token_ids"]), views)
        shown = {fingerprint(picture): picture for picture in pictures}
        engine = LocalEngine(self.student, self.codec, temperature=asked.temperature)
        made = await engine.sample(Request(name, encoding, shown, asked.max_tokens, asked.seed))
        scores = [{one: SimpleNamespace(logprob=score)} for one, score in zip(made.ids, made.logprobs, strict=True)]
        yield SimpleNamespace(outputs=[SimpleNamespace(token_ids=made.ids, logprobs=scores)])

    async def collective_rpc(self, what: str, kwargs: dict[str, str]) -> None:
        assert what == "reload_weights"
        self.student = load(Path(kwargs["weights_path"]))

    async def reset_prefix_cache(self) -> None:
        self.calls.append("prefix")

    async def reset_mm_cache(self) -> None:
        self.calls.append("pictures")

    async def reset_encoder_cache(self) -> None:
        self.calls.append("features")

    known: tuple[Any, ...] = ()


@pytest.fixture(autouse=True)
def parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's SamplingParams as a plain record: the package isn't there."""
    monkeypatch.setitem(__import__("sys").modules, "vllm", SimpleNamespace(SamplingParams=SimpleNamespace))
    kinds = SimpleNamespace(RequestOutputKind=SimpleNamespace(FINAL_ONLY=2))
    monkeypatch.setitem(__import__("sys").modules, "vllm.sampling_params", kinds)


@contextmanager
def served(engine: Any) -> Iterator[str]:
    """The worker's application on a port of its own, in a thread."""
    loop, ready, address = asyncio.new_event_loop(), threading.Event(), list[str]()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(vllm_worker.application(engine))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        ready.set()
        return runner

    runner = list[web.AppRunner]()

    def serve() -> None:
        runner.append(loop.run_until_complete(start()))
        loop.run_forever()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield address[0]
    finally:
        asyncio.run_coroutine_threadsafe(runner[0].cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def test_turns_come_over_the_wire_as_the_learner_scores_them(tmp_path: Path, store: MediaStore) -> None:
    folder = tmp_path / "student"
    codec = build(folder)
    where = setting(codec, store, turn_tokens=6)
    start = begin(questions(store, 1)[0], where)
    far = AsyncLLM(codec, folder)
    far.known = start.episode.opening
    student = load(folder)
    with served(far) as address:
        engine = VllmEngine([address], codec, SharedLikelihood(student, codec), Accelerator(cpu=True), 2000, tmp_path)
        engine.refresh()
        far.calls.clear()
        found = asyncio.run(group(start, 3, engine, where, policy=0, seed=1))
        made = [Conversation.of(one.trace.id, one.encoding, one.pictures) for one in found]
        scores = SharedLikelihood(student, codec)(tree(made, codec))
        told = [score for one in found for score in one.tokens.logprobs]
        assert torch.tensor(told) == pytest.approx(scores.detach(), abs=1e-4)
        prompt, asked = far.calls[0]
        assert prompt["prompt_token_ids"].count(codec.image_id) == 1  # never sent expanded
        assert (asked.top_p, asked.top_k, asked.stop_token_ids) == (1.0, 0, [codec.end_id])
        assert list(asked.logit_bias) == unsampled(student, codec)
        assert len(asked.logit_bias) > len(codec.vision_ids)  # rows of the head that stand for no token
        with torch.no_grad():  # an update: the servers must follow
            student.lm_head.weight.add_(torch.randn_like(student.lm_head.weight))
        engine.refresh()
        assert far.calls[-3:] == ["prefix", "pictures", "features"]
        found = asyncio.run(group(start, 2, engine, where, policy=1, seed=2))
        made = [Conversation.of(one.trace.id, one.encoding, one.pictures) for one in found]
        scores = SharedLikelihood(student, codec)(tree(made, codec))
        told = [score for one in found for score in one.tokens.logprobs]
        assert torch.tensor(told) == pytest.approx(scores.detach(), abs=1e-4)
        far.model_config.dtype = torch.bfloat16
        with pytest.raises(UsageError, match=r"samples in bfloat16, .* in float32: start it with --dtype float32"):
            engine.refresh()
        far.model_config.max_model_len = 1000
        with pytest.raises(UsageError, match=r"1000 tokens, .* may have 2000: start it with --max-model-len 2000"):
            engine.refresh()
        far.known = ()  # a picture without a view: whatever goes wrong there is told here
        with pytest.raises(UsageError, match="refused to sample: UsageError: the template shows 1 images"):
            asyncio.run(group(start, 1, engine, where, policy=2, seed=3))
        engine.version = 7  # a server that missed an update is found out
        with pytest.raises(UsageError, match="weights 4 are loaded, 7 asked"):
            asyncio.run(group(start, 1, engine, where, policy=2, seed=3))
    with pytest.raises(UsageError, match=r"no vLLM worker at .*start python -m training.vllm_worker"):
        asyncio.run(group(start, 1, engine, where, policy=2, seed=3))


def test_placeholders_are_sent_one_a_picture() -> None:
    assert compact([1, 9, 9, 9, 9, 2, 9, 9, 3], [(2, 2), (1, 2)], image_id=9) == [1, 9, 2, 9, 3]
    for ids, grids in (([9, 9, 1], [(2, 2)]), ([9, 9], [(2, 2)]), ([9], []), ([1], [(1, 1)])):
        with pytest.raises(ValueError, match="placeholders"):
            compact(ids, grids, image_id=9)


def test_adapters_are_added_into_the_weights_that_are_sent(tmp_path: Path) -> None:
    build(tmp_path / "student")
    student = with_adapters(load(tmp_path / "student"), Lora(rank=4))
    with torch.no_grad():
        for name, weight in student.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn_like(weight))
    before = {name: weight.clone() for name, weight in student.state_dict().items()}
    core_of(student).save_pretrained(tmp_path / "sent", state_dict=plain_weights(student, student.state_dict()))
    assert all(bool((weight == before[name]).all()) for name, weight in student.state_dict().items())
    sent, merged = load(tmp_path / "sent").state_dict(), student.merge_and_unload().state_dict()
    assert sent.keys() == merged.keys()
    assert all(torch.allclose(sent[name], merged[name], atol=1e-5) for name in sent)
