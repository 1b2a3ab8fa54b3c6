"""A server around vLLM's AsyncLLM that samples turns from ids and pictures, and loads new weights when told to.

    CUDA_VISIBLE_DEVICES=4 python -m training.vllm_worker --model checkpoints/sft/student --port 8100

Written against vLLM 0.33: `AsyncLLM.generate` with a TokensPrompt, log-probabilities of what was sampled from
(`logprobs_mode="processed_logprobs"`), `reload_weights` through `collective_rpc`. It hasn't been run where this was
written, which has no GPU: `VllmEngine` has been tested against the same protocol with another model behind it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import itertools
from typing import Any

from aiohttp import web

PICTURES = 16
"""Of one conversation, at most."""


class Worker:
    """One AsyncLLM, and the version of the weights that it has."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.version = 0
        self._names = itertools.count()

    async def sample(self, request: web.Request) -> web.Response:
        """A turn: sampled ids, and the log-probability of each under what it was sampled from."""
        asked = await request.json()
        if asked["version"] != self.version:
            return web.json_response(
                {"error": f"weights {self.version} are loaded, {asked['version']} asked"}, status=409
            )
        prompt: dict[str, Any] = {"prompt_token_ids": asked["ids"]}
        if asked["pictures"]:
            prompt["multi_modal_data"] = {"image": [_picture(one) for one in asked["pictures"]]}
        made: Any = None
        async for output in self.engine.generate(prompt, parameters(asked), str(next(self._names))):
            made = output.outputs[0]
        scores = [found[one].logprob for one, found in zip(made.token_ids, made.logprobs, strict=True)]
        return web.json_response({"ids": list(made.token_ids), "logprobs": scores})

    async def load(self, request: web.Request) -> web.Response:
        """Take the weights in a folder; what was computed with the old ones is dropped."""
        asked = await request.json()
        await self.engine.collective_rpc("reload_weights", kwargs={"weights_path": asked["folder"]})
        await self.engine.reset_prefix_cache()
        await self.engine.reset_mm_cache()
        self.version = asked["version"]
        return web.json_response({"version": self.version})


def _picture(png: str) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")


def parameters(asked: dict[str, Any]) -> Any:
    """Sampling from the whole distribution, as the learner scores it: no top-p, no top-k, no penalty."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=asked["temperature"],
        top_p=1.0,
        top_k=0,
        max_tokens=asked["most"],
        seed=asked["seed"],
        stop_token_ids=[asked["end"]],
        ignore_eos=True,
        logit_bias=dict.fromkeys(asked["never"], -100.0),
        logprobs=0,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def application(engine: Any) -> web.Application:
    """The server's two routes."""
    worker = Worker(engine)
    app = web.Application(client_max_size=256 * 1024 * 1024)
    app.add_routes([web.post("/sample", worker.sample), web.post("/load", worker.load)])
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--tensor-parallel-size", type=int, default=1)
    parser.add_argument("--max-model-len", type=int, default=16384)
    parser.add_argument("--gpu-memory-utilization", type=float, default=0.85)
    chosen = parser.parse_args()
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    arguments = AsyncEngineArgs(
        model=chosen.model,
        tensor_parallel_size=chosen.tensor_parallel_size,
        max_model_len=chosen.max_model_len,
        gpu_memory_utilization=chosen.gpu_memory_utilization,
        limit_mm_per_prompt={"image": PICTURES},
        logprobs_mode="processed_logprobs",
        mm_processor_kwargs={"do_resize": False},
    )

    async def served() -> web.Application:
        return application(AsyncLLM.from_engine_args(arguments))

    web.run_app(served(), port=chosen.port)


if __name__ == "__main__":
    asyncio.set_event_loop(asyncio.new_event_loop())
    main()
