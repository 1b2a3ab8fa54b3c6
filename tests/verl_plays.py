"""verl 0.9.1 from our rows to its advantages, without its servers; run by a python with verl.

Rows are read by its RLHFDataset, the loop is made as its AgentLoopWorker makes one, scores come from its reward
manager, and advantages from its `compute_advantage`. The server alone is played: it says given texts.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
import verl
import yaml
from omegaconf import OmegaConf
from tensordict import TensorDict
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import DictConfigWrap, ToolListWrap
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
from verl.trainer.config.algorithm import AlgoConfig
from verl.trainer.ppo.ray_trainer import compute_advantage
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.utils.tokenizer import build_multimodal_processor_inputs
from verl.workers.rollout.replica import TokenOutput

import training.adapters.verl_loop
from tests.tiny_students import build, call
from training.adapters.verl import compute_score

LOOKS = [call((4, 4, 28, 28)), "Seen.\n\\boxed{42}"]
SAID = [LOOKS, ["Guessed.\n\\boxed{7}"], [call((28, 4, 4, 28)), "Seen.\n\\boxed{42}"], [call((4, 4, 28, 28))] * 9]
"""Looks and is right, guesses, calls in vain and is right, never answers."""


class Processor(Qwen3VLProcessor):
    """Without torchvision there is no video processor."""

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        return super().check_argument_for_proper_class(argument_name, argument) if argument is not None else None


class Client:
    """The server's side: says the next text, and sees that ids and pictures fit."""

    def __init__(self, codec: Any, texts: list[str]) -> None:
        self.codec, self.texts = codec, list(texts)

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any], image_data: list[Any]
    ) -> TokenOutput:
        before = [None, *prompt_ids]
        starts = [one == self.codec.image_id != last for last, one in zip(before, prompt_ids, strict=False)]
        assert sum(starts) == len(image_data)
        ids = [*self.codec.encode(self.texts.pop(0)), self.codec.end_id][: sampling_params["max_tokens"]]
        return TokenOutput(token_ids=ids, log_probs=[-0.5] * len(ids), extra_fields={"min_global_steps": 3})


def main(folder: Path, parquet: Path, manifest: Path) -> None:
    codec = build(folder / "student")
    processor = Processor(codec.image_processor, codec.tokenizer, None, chat_template=codec.tokenizer.chat_template)
    config = OmegaConf.create(
        {
            "actor_rollout_ref": {
                "model": {"path": str(folder / "student")},
                "rollout": {"prompt_length": 1500, "response_length": 900},
            },
            "data": {"filter_overlong_prompts": False, "cache_dir": str(folder / "cache")},
        }
    )
    rows = RLHFDataset([str(parquet)], codec.tokenizer, config.data, processor)
    row = rows[0]
    named = {"name": "dataforge", "_target_": "training.adapters.verl_loop.Looking", "manifest": str(manifest)}
    (folder / "dataforge.yaml").write_text(yaml.safe_dump([named]), encoding="utf-8")
    outputs = [asyncio.run(played(folder, config, codec, processor, texts, row)) for texts in SAID]
    for one in outputs:
        assert len(one.response_ids) == len(one.response_mask) == len(one.response_logprobs) <= 900
        pictures = one.multi_modal_data["images"]
        seen = build_multimodal_processor_inputs(processor, text=["<|image_pad|>" * len(pictures)], images=pictures)
        places = [*one.prompt_ids, *one.response_ids].count(codec.image_id)
        assert places == int(seen["image_grid_thw"].prod(dim=-1).sum()) // 4
        sampled = sum(one.response_mask)
        assert sampled == sum(score == -0.5 for score in one.response_logprobs)
    batch = scored(outputs, row, codec)
    config_of_algorithm = AlgoConfig(adv_estimator="dataforge_curiosity", norm_adv_by_std_in_grpo=False)
    done = compute_advantage(batch, "dataforge_curiosity", config=config_of_algorithm)
    first = [
        float(one[mask.bool()][0])
        for one, mask in zip(done.batch["advantages"], done.batch["response_mask"], strict=True)
    ]
    print(
        json.dumps(
            {
                "version": verl.__version__,
                "advantages": first,
                "images": [len(one.multi_modal_data["images"]) for one in outputs],
                "steps": [one.extra_fields["min_global_steps"] for one in outputs],
                "question": row["extra_info"]["question"],
            }
        )
    )


async def played(folder: Path, config: Any, codec: Any, processor: Any, texts: list[str], row: dict[str, Any]) -> Any:
    """One trajectory, by a loop that is made as verl's worker makes it."""
    loop = hydra.utils.instantiate(
        config=OmegaConf.load(folder / "dataforge.yaml")[0],
        trainer_config=DictConfigWrap(config=config),
        server_manager=Client(codec, texts),
        tokenizer=codec.tokenizer,
        processor=processor,
        hf_model_type="qwen3_vl",
        dataset_cls=RLHFDataset,
        data_config=DictConfigWrap(config.data),
        tools=ToolListWrap([]),
    )
    return await loop.run({"temperature": 1.0, "logprobs": True}, **{k: v for k, v in row.items() if k != "agent_name"})


def scored(outputs: list[Any], row: dict[str, Any], codec: Any) -> DataProto:
    """The trajectories as verl's batch, with the scores of its reward manager at their last tokens."""
    length = max(len(one.response_ids) for one in outputs)
    mask, rewards = torch.zeros(len(outputs), length), torch.zeros(len(outputs), length)
    for at, one in enumerate(outputs):
        mask[at, : len(one.response_mask)] = torch.tensor(one.response_mask, dtype=torch.float32)
        told = {
            "data_source": row["data_source"],
            "reward_model": row["reward_model"],
            "extra_info": dict(row["extra_info"]),
            "tool_extra_fields": one.extra_fields,
        }
        ids = torch.tensor([one.response_ids])
        item = DataProto(
            batch=TensorDict({"responses": ids, "attention_mask": torch.ones_like(ids)}, batch_size=1),
            non_tensor_batch={name: np.array([value], dtype=object) for name, value in told.items()},
        )
        score = asyncio.run(judged(item, codec))
        assert set(score["reward_extra_info"]) >= {"acc", "looked", "calls"}
        rewards[at, len(one.response_ids) - 1] = score["reward_score"]
    return DataProto(
        batch=TensorDict({"response_mask": mask, "token_level_rewards": rewards}, batch_size=len(outputs)),
        non_tensor_batch={"uid": np.array(["question"] * len(outputs), dtype=object)},
    )


async def judged(item: DataProto, codec: Any) -> dict[str, Any]:
    """What verl's reward manager, which keeps the running loop, says of a trajectory."""
    told: dict[str, Any] = await NaiveRewardManager(OmegaConf.create({}), codec.tokenizer, compute_score).run_single(
        item
    )
    return told


if __name__ == "__main__":
    assert training.adapters.verl_loop.KEY == "dataforge"
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
