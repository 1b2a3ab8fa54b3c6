"""A server around vLLM's AsyncLLM that samples turns from ids and pictures, and loads new weights when told to.

    CUDA_VISIBLE_DEVICES=4 python -m training.vllm_worker --model checkpoints/sft/student --port 8100

It takes vLLM's own options beside its own; what sampling for RL depends on is set here. The learner's precision is the
server's too: bfloat16 beside a learner on GPUs, `--dtype float32` beside one on CPUs.
"""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from vllm import SamplingParams


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
            told = f"weights {self.version} are loaded, {asked['version']} asked"
            return web.json_response({"error": told}, status=409)
        prompt: dict[str, Any] = {"prompt_token_ids": asked["ids"]}
        if asked["pictures"]:
            prompt["multi_modal_data"] = {"image": [_picture(one) for one in asked["pictures"]]}
        made: Any = None
        async for output in self.engine.generate(prompt, parameters(asked), str(next(self._names))):
            made = output.outputs[0]
        scores = [found[one].logprob for one, found in zip(made.token_ids, made.logprobs, strict=True)]
        return web.json_response({"ids": list(made.token_ids), "logprobs": scores})

    async def load(self, request: web.Request) -> web.Response:
        """Take the weights in a folder; what was computed with the old ones is dropped. Answers what it is."""
        asked = await request.json()
        await self.engine.collective_rpc("reload_weights", kwargs={"weights_path": asked["folder"]})
        await self.engine.reset_prefix_cache()
        await self.engine.reset_mm_cache()
        await self.engine.reset_encoder_cache()
        self.version = asked["version"]
        model = self.engine.model_config
        precision = str(model.dtype).removeprefix("torch.")
        return web.json_response({"version": self.version, "precision": precision, "tokens": model.max_model_len})


def _picture(png: str) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")


def parameters(asked: dict[str, Any]) -> SamplingParams:
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


@web.middleware
async def told(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    """What vLLM refuses (a conversation beyond --max-model-len, say) reaches the other side in its own words."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception as error:
        return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=500)


def application(engine: Any) -> web.Application:
    """The server's two routes."""
    worker = Worker(engine)
    app = web.Application(client_max_size=256 * 1024 * 1024, middlewares=[told])
    app.add_routes([web.post("/sample", worker.sample), web.post("/load", worker.load)])
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from vllm.v1.engine.async_llm import AsyncLLM

    parser = AsyncEngineArgs.add_cli_args(FlexibleArgumentParser(description=(__doc__ or "").split("\n")[0]))
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 where the learner is on another machine")
    parser.add_argument("--port", type=int, default=8100)
    parser.set_defaults(
        logprobs_mode="processed_logprobs",
        limit_mm_per_prompt={"video": 0},  # frames come as images
        mm_processor_kwargs={"do_resize": False},
    )
    chosen = parser.parse_args(arguments)

    async def served() -> web.Application:
        return application(AsyncLLM.from_engine_args(AsyncEngineArgs.from_cli_args(chosen)))

    web.run_app(served(), host=chosen.host, port=chosen.port)


if __name__ == "__main__":
    main()
