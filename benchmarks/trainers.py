"""Exports loaded by the trainers' own code: `PYTHON benchmarks/trainers.py LAYOUT FOLDER`.

To be run with an interpreter in which that trainer is installed, which needn't know dataforge; where the trainer isn't
there, it says so and ends with 3. What is called is the trainer's loader, converter and counting, and for TRL two steps
of its SFTTrainer on a tiny LLaVA made here.

    dataforge export trl --out exports/trl && PYTHON benchmarks/trainers.py trl exports/trl
"""

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

NEEDS = {
    "trl": "trl",
    "llama_factory": "llamafactory.data.converter",
    "ms_swift": "swift.dataset.preprocessor.core",
    "verl_sft": "verl.utils.dataset.multiturn_sft_dataset",
    "verl_rl": "verl.utils.dataset.rl_dataset",
    "pixel_reasoner_sft": "datasets",
    "pixel_reasoner_rl": "datasets",
}


def trl(folder: Path) -> str:
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    rows = load_dataset("parquet", data_files=str(folder / "train.parquet"), split="train")
    model, processor = tiny_llava([json.dumps(row.get("messages") or row["prompt"]) for row in rows])
    where = folder.parent / f"{folder.name}-trained"
    terms = SFTConfig(
        output_dir=str(where),
        max_length=None,
        max_steps=2,
        per_device_train_batch_size=2,
        report_to="none",
        use_cpu=True,
        bf16=False,
        logging_steps=1,
        save_strategy="no",
    )
    trainer = SFTTrainer(model=model, args=terms, train_dataset=rows, processing_class=processor)
    trainer.train()
    losses = [round(one["loss"], 3) for one in trainer.state.log_history if "loss" in one]
    batch = trainer.data_collator([trainer.train_dataset[0]])
    learned = int((batch["labels"] != -100).sum())
    images, patches = len(rows[0]["images"]), int((batch["input_ids"] == model.config.image_token_index).sum())
    assert patches == images * 16, f"{patches} picture tokens for {images} pictures of 16"
    return f"{len(rows)} rows; losses of two steps {losses}; first row: {images} pictures, {learned} tokens learned"


def tiny_llava(texts: list[str]) -> tuple[Any, Any]:
    """A LLaVA with 0.2 M weights, and a real processor whose vocabulary was made from these texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    special = ["<pad>", "<eos>", "<image>"]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learner = trainers.BpeTrainer(vocab_size=2000, special_tokens=special, initial_alphabet=alphabet)
    made.train_from_iterator(texts, learner)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<eos>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    parts = "{% for p in m.content %}{% if p.type == 'image' %}<image>{% else %}{{ p.text }}{% endif %}{% endfor %}"
    template = (
        "{% for m in messages %}{{ m.role }}: "
        + ("{% if m.content is string %}{{ m.content }}{% else %}" + parts + "{% endif %}")
        + "{% if m.role == 'assistant' %}<eos>{% endif %}\n{% endfor %}"
        + "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    pictures = CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    processor = LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=template,
        image_token="<image>",
        num_additional_image_tokens=1,
    )
    tower = CLIPVisionConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
    )
    words = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16384,
    )
    config = LlavaConfig(
        vision_config=tower,
        text_config=words,
        vision_feature_layer=-1,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return LlavaForConditionalGeneration(config), processor


def llama_factory(folder: Path) -> str:
    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.mm_plugin import get_mm_plugin
    from llamafactory.data.parser import get_dataset_list

    (entry,) = get_dataset_list(["dataforge"], str(folder))
    convert = get_dataset_converter(entry.formatting, entry, SimpleNamespace(media_dir=str(folder)))
    plugin = get_mm_plugin("llava", image_token="<image>")
    rows = json.loads((folder / entry.dataset_name).read_text())
    pictures = 0
    for row in rows:
        made = convert(row)
        assert all((made["_prompt"], made["_response"])), f"dropped: {row['conversations'][0]}"
        assert all(Path(image).is_file() for image in made["_images"])
        plugin._validate_messages(made["_prompt"] + made["_response"], made["_images"], [], [])
        pictures += len(made["_images"])
    return f"{len(rows)} rows converted, none dropped; {pictures} pictures found and counted by its mm_plugin"


def ms_swift(folder: Path) -> str:
    from datasets import load_dataset
    from swift.dataset.preprocessor.core import AutoPreprocessor

    rows = load_dataset("json", data_files=str(folder / "train.jsonl"), split="train")
    made = AutoPreprocessor()(rows, strict=True, load_from_cache_file=False)
    assert len(made) == len(rows)
    losses = [message["loss"] for row in made for message in row["messages"] if message.get("loss") is not None]
    assert all(Path(folder / image["path"]).is_file() for row in made for image in row["images"])
    assert all(isinstance(tool, dict) for row in made for tool in row["tools"])
    masked = f"{losses.count(False)} of {len(losses)} turns kept from the loss"
    return f"{len(made)} rows through AutoPreprocessor(strict); {masked}"


def verl_sft(folder: Path) -> str:
    from omegaconf import OmegaConf
    from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset

    processor = tiny_processor(folder)
    terms = OmegaConf.create(
        {"max_length": 30000, "truncation": "error", "ignore_input_ids_mismatch": True, "image_patch_size": 14}
    )
    rows = MultiTurnSFTDataset(str(folder / "train.parquet"), processor.tokenizer, terms, processor)
    assert all(isinstance(message["content"], str) for messages in rows.messages for message in messages)
    if importlib.util.find_spec("qwen_vl_utils") is None:  # needs torchvision, which has no build for every machine
        return f"{len(rows)} rows read by MultiTurnSFTDataset; pictures not opened, for qwen_vl_utils isn't here"
    learned = [int(rows[number]["loss_mask"].sum()) for number in range(len(rows))]
    assert all(learned)
    return f"{len(rows)} rows through MultiTurnSFTDataset; tokens learned {min(learned)} to {max(learned)}"


def verl_rl(folder: Path) -> str:
    from omegaconf import OmegaConf
    from verl.utils.dataset.rl_dataset import RLHFDataset

    processor = tiny_processor(folder)
    terms = OmegaConf.create({"filter_overlong_prompts": False, "cache_dir": str(folder.parent / "verl-cache")})
    rows = RLHFDataset(str(folder / "train.parquet"), processor.tokenizer, terms, processor)
    for number in range(len(rows)):
        row = rows[number]
        shown = [part for message in row["raw_prompt"] for part in message["content"] if isinstance(part, dict)]
        assert sum(part["type"] == "image" for part in shown) == 1
        assert row["tools_kwargs"]
        assert row["reward_model"]["ground_truth"]
    return f"{len(rows)} rows through RLHFDataset, each with a picture, tools_kwargs and a truth"


def tiny_processor(folder: Path) -> Any:
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(folder / "train.parquet").to_pylist()
    processor = tiny_llava([json.dumps(row.get("messages") or row["prompt"]) for row in rows])[1]
    # verl asks every image processor for its patch, and the tokenizer for the template
    processor.image_processor.patch_size = 14
    processor.tokenizer.chat_template = processor.chat_template
    return processor


def pixel_reasoner_sft(folder: Path) -> str:
    """Their trainer is a script for GPUs: its reading rules, on what `datasets` makes of the file."""
    from datasets import load_dataset

    rows = load_dataset("json", data_files=str(folder / "release.json"), split="train")
    for row in rows:
        messages = [message for message in row["message_list"] if message["role"] != "system"]
        assert messages[0]["content"][0]["text"]
        assert not messages[0]["content"][0].get("image")
        assert (folder / messages[0]["content"][1]["image"]).is_file()
        assert [message["role"] for message in messages] == ["user", "assistant"] * (len(messages) // 2)
    return f"{len(rows)} rows; absent keys are null, text first and media second"


def pixel_reasoner_rl(folder: Path) -> str:
    from datasets import load_dataset

    rows = load_dataset("parquet", data_files=str(folder / "release.parquet"), split="train")
    assert all((folder / image).is_file() for row in rows for image in row["image"])
    return f"{len(rows)} rows; columns {', '.join(rows.column_names)}"


def main() -> int:
    if len(sys.argv) != 3 or sys.argv[1] not in NEEDS:
        print(f"usage: {Path(sys.argv[0]).name} {'|'.join(NEEDS)} FOLDER")
        return 2
    layout, folder = sys.argv[1], Path(sys.argv[2])
    try:
        importlib.import_module(NEEDS[layout])
    except ImportError as error:
        print(f"{layout}: not installed here ({error})")
        return 3
    print(f"{layout}: {globals()[layout](folder)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
