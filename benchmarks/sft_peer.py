"""TRL's SFTTrainer on what benchmarks/sft.py made: run by an interpreter that has trl, in an environment of its own.

    python benchmarks/sft_peer.py FOLDER

reads FOLDER/task.json, trains, and writes FOLDER/trl.json. Nothing of dataforge is imported.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

BEGAN = time.perf_counter()

import torch  # noqa: E402
from datasets import Dataset, Features, Image, List, Value  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForImageTextToText,
    AutoTokenizer,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessorPil,
    TrainerCallback,
)
from trl import SFTConfig, SFTTrainer  # noqa: E402


class WithoutVideo(Qwen2_5_VLProcessor):
    """Qwen's processor where torchvision isn't installed: its video part is None."""

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        return type(argument) if argument is None else super().check_argument_for_proper_class(argument_name, argument)


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.ends.append(time.perf_counter())


def main(folder: Path) -> None:
    task = json.loads((folder / "task.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(task["student"])
    tokenizer.chat_template = task["template"]
    pictures = Qwen2VLImageProcessorPil.from_pretrained(task["student"])
    processor = WithoutVideo(pictures, tokenizer, None, chat_template=task["template"])
    model = AutoModelForImageTextToText.from_pretrained(task["student"], dtype=torch.float32)
    model.model.visual.requires_grad_(False)
    part = {"type": Value("string"), "text": Value("string")}
    features = Features({"messages": List({"role": Value("string"), "content": List(part)}), "images": List(Image())})
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    data = Dataset.from_list(rows, features=features)
    config = SFTConfig(
        output_dir=str(folder / "trl"),
        learning_rate=task["learning_rate"],
        num_train_epochs=task["epochs"],
        per_device_train_batch_size=task["device_batch"],
        gradient_accumulation_steps=task["batch"] // task["device_batch"],
        gradient_checkpointing=False,
        bf16=task["bf16"],
        assistant_only_loss=True,
        max_length=None,
        warmup_steps=0.1,
        lr_scheduler_type="cosine",
        weight_decay=0.0,
        dataloader_num_workers=task["workers"],
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=True,
    )
    clock = Clock()
    trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=processor, callbacks=[clock])
    every = [trainer.data_collator([data[at]]) for at in range(len(data))]
    tokens = sum(int(batch["attention_mask"].sum()) for batch in every)
    learned = sum(int((batch["labels"] != -100).sum()) for batch in every)
    counted = time.perf_counter()
    trainer.train()
    clock.ends = [end - counted for end in clock.ends]
    cuda = torch.cuda.is_available()
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    told = {"tokens": tokens, "learned": learned, "ends": clock.ends, "peak": peak, "losses": losses}
    (folder / "trl.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
