"""Two steps of TRL's GRPOTrainer with our environment and reward, on a tiny Qwen3-VL; run by a python with TRL."""

import json
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen3_template

from dataforge.media import MediaStore
from dataforge.records import Limits
from tests.tiny_students import build, load, questions
from training.adapters.trl import environment, reward, rows


class Processor(Qwen3VLProcessor):
    """Without torchvision there is no video processor."""

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        return super().check_argument_for_proper_class(argument_name, argument) if argument is not None else None


def main(folder: Path) -> None:
    codec, store = build(folder / "student"), MediaStore(folder / "media")
    codec.tokenizer.response_template = qwen3_template
    template = codec.tokenizer.chat_template
    trainer = GRPOTrainer(
        model=load(folder / "student"),
        reward_funcs=reward({"name": "curiosity"}, group=4),
        args=GRPOConfig(
            output_dir=str(folder / "out"),
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=8,
            num_generations=4,
            max_steps=2,
            max_completion_length=24,
            report_to="none",
            save_strategy="no",
            beta=0.0,
        ),
        train_dataset=Dataset.from_list(rows(questions(store, 4), store, codec)),
        processing_class=Processor(codec.image_processor, codec.tokenizer, None, chat_template=template),
        environment_factory=environment(store, codec, Limits()),
    )
    trainer.train()
    logged = [one for one in trainer.state.log_history if "rewards/curiosity/mean" in one]
    print(json.dumps({"steps": trainer.state.global_step, "logged": len(logged)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
