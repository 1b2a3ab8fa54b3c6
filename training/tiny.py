"""Tiny students: a Qwen2.5-VL or Qwen3-VL of a few million parameters, made from nothing but code.

The classes, the files and the turn structure are those of a real checkpoint; the weights are random, and the tokenizer
is trained here on the words that a trace is made of. So whatever takes a real student's folder takes one of these: the
tests, the miniature of the learning trap, and whoever wants to try a recipe before renting a GPU.

    folder = tiny.build(Path("students/tiny"), "qwen3_vl")
    codec = encoding.Codec.load(str(folder), Student(patch=32, min_pixels=4 * 32 * 32), [ZoomIn()])
    model = AutoModelForImageTextToText.from_pretrained(folder)

Weights are drawn with a deviation of 0.08 unless told otherwise: with the usual 0.02 models this small don't leave the
first plateau for hundreds of steps.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from dataforge.chat import tool_schemas
from dataforge.dialect import arguments_json, tagged
from dataforge.episode import describe
from dataforge.errors import UsageError
from dataforge.geometry import Box
from dataforge.operations.zoom_in import ZoomIn
from dataforge.prompts import find_prompt
from dataforge.records import Call, Student, View
from training.templates import QWEN2_5_VL, QWEN3_VL

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Family = Literal["qwen2_5_vl", "qwen3_vl"]

SPECIAL = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|>"
    " <|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>"
).split()
"""Qwen's special tokens, in its order, after the vocabulary."""
TAGS = "<tool_call> </tool_call> <tool_response> </tool_response>".split()
"""Tokens of their own that are text all the same: decoding keeps them."""


class Size(NamedTuple):
    """How large a tiny student is; hidden sizes are multiples of 16 times the heads."""

    hidden: int = 192
    layers: int = 4
    heads: int = 4
    vision_hidden: int = 96
    vision_layers: int = 3
    vision_heads: int = 4
    vocabulary: int = 1024
    """Byte pairs of the tokenizer at most, less than 20 special tokens aside."""


def build(
    folder: Path,
    family: Family = "qwen2_5_vl",
    *,
    size: Size = Size(),  # noqa: B008
    initializer_range: float = 0.08,
    tie: bool = False,
    seed: int = 0,
    texts: Iterable[str] = (),
) -> Path:
    """Write model, tokenizer, template and image processor to `folder`, as a checkpoint; returns the folder.

    `texts` are added to what the tokenizer is trained on; `tie` shares the embedding with the head, as the smaller real
    ones do. The same arguments give the same weights.
    """
    import torch
    from transformers import Qwen2VLImageProcessorPil

    made = tokenizer((*words(), *texts), size.vocabulary, family)
    config = _config(family, size, made, initializer_range, tie)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model_class(family)(config)
    patch = 14 if family == "qwen2_5_vl" else 16
    pictures: Any = {"patch_size": patch, "merge_size": 2, "temporal_patch_size": 2}
    if family == "qwen3_vl":
        pictures |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    pictures |= {"min_pixels": 4 * patch * patch, "max_pixels": 16384 * patch * patch}
    Qwen2VLImageProcessorPil(**pictures).save_pretrained(folder)
    return folder


def tokenizer(texts: Iterable[str], vocabulary: int, family: Family) -> PreTrainedTokenizerBase:
    """Qwen's tokenizer class with byte pairs learned from the texts; special tokens come last, as in the real one."""
    from tokenizers import AddedToken
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer
    from transformers import Qwen2Tokenizer

    empty = Qwen2Tokenizer(vocab={}, merges=[]).backend_tokenizer
    empty.model = BPE()
    trainer = BpeTrainer(vocab_size=vocabulary, initial_alphabet=sorted(ByteLevel.alphabet()), show_progress=False)
    empty.train_from_iterator(texts, trainer)
    learned = json.loads(empty.to_str())["model"]
    merges: Any = [tuple(pair) for pair in learned["merges"]]
    made = Qwen2Tokenizer(
        vocab={token: number for token, number in learned["vocab"].items() if token not in SPECIAL},
        merges=merges,
        model_max_length=131072,
    )
    made.add_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    made.add_tokens([AddedToken(text, special=False, normalized=False) for text in TAGS])
    made.eos_token = "<|im_end|>"
    made.chat_template = QWEN2_5_VL if family == "qwen2_5_vl" else QWEN3_VL
    return made


def words() -> Iterator[str]:
    """What traces are made of: prompts, schemas, calls with drawn numbers, what operations say, plain sentences."""
    draw = random.Random(0)
    zoom = ZoomIn()
    for name in ("guideline", "guideline_plain", "student"):
        yield find_prompt(name).text
    for schema in tool_schemas([zoom], Student()):
        yield json.dumps(schema)
    yield "system\nYou are a helpful assistant.\n\nuser\n\nassistant\n"
    for number in range(200):
        box = [draw.randrange(1, 1000) for _ in range(4)]
        call = Call(name="zoom_in", arguments={"bbox_2d": box, "target_image": number % 4 + 1})
        yield tagged(call)
        yield arguments_json(call)
        width, height = draw.randrange(4, 40) * 28, draw.randrange(4, 40) * 28
        shown = View(number=number % 9 + 1, width=width, height=height, sha256="", box=Box(0, 0, 1, 1))
        yield f"<tool_response>\n{describe([shown])}\n</tool_response>"
        yield f"{draw.choice(_SENTENCES)} {draw.choice(_SENTENCES)}\n\\boxed{{{draw.randrange(1000)}}}"


_SENTENCES = (
    "The detail is too small to be read in the whole image, so I zoom in on the part that the question asks about.",
    "I look at the upper left of the image first, where the heading says what the rows below it show.",
    "This part does not show it: there is only a chart of other numbers here. I look lower down, to the right.",
    "The part is still too large; a closer look at its middle should make the label readable.",
    "Now the text can be read: it says so in the line under the bar, so the answer is",
    "Both parts have been seen, and the first one is larger than the second. The answer is",
    "How many people were asked in the year before? Which of the countries has the highest share of the total?",
    "What is the color of the square in row one, column two? It is red, green, blue, yellow, black, white or orange.",
)


def _config(family: Family, size: Size, made: PreTrainedTokenizerBase, initializer_range: float, tie: bool) -> Any:
    """The model's configuration, by the names that the real checkpoints use."""
    import transformers

    head = size.hidden // size.heads
    if size.hidden % size.heads or head % 16 or size.vision_hidden % (4 * size.vision_heads):
        raise UsageError(f"a tiny student needs hidden sizes of 16 times its heads, not {size.hidden}/{size.heads}")
    # a quarter of the turning pairs for time, the rest for height and width, as in the real ones
    sections = [head // 8, head // 16 * 3, head // 2 - head // 8 - head // 16 * 3]
    text: dict[str, Any] = {
        "vocab_size": -(-len(made) // 64) * 64,
        "hidden_size": size.hidden,
        "intermediate_size": 3 * size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads // 2 or 1,
        "max_position_embeddings": 32768,
        "initializer_range": initializer_range,
        "bos_token_id": made.convert_tokens_to_ids("<|endoftext|>"),
        "eos_token_id": made.convert_tokens_to_ids("<|im_end|>"),
        "pad_token_id": made.convert_tokens_to_ids("<|endoftext|>"),
    }
    vision: dict[str, Any] = {
        "depth": size.vision_layers,
        "hidden_size": size.vision_hidden,
        "intermediate_size": 2 * size.vision_hidden,
        "num_heads": size.vision_heads,
        "out_hidden_size": size.hidden,
        "initializer_range": initializer_range,
    }
    if family == "qwen2_5_vl":
        text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections}
        vision |= {"fullatt_block_indexes": [size.vision_layers - 1], "window_size": 112}
    else:
        rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": sections, "mrope_interleaved": True}
        text |= {"rope_parameters": rope, "head_dim": head}
        vision["deepstack_visual_indexes"] = [0]
    ids: dict[str, Any] = {
        name: made.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in (
            ("image_token_id", "image_pad"),
            ("video_token_id", "video_pad"),
            ("vision_start_token_id", "vision_start"),
            ("vision_end_token_id", "vision_end"),
        )
    }
    kind = transformers.Qwen2_5_VLConfig if family == "qwen2_5_vl" else transformers.Qwen3VLConfig
    return kind(text_config=text, vision_config=vision, tie_word_embeddings=tie, **ids)


def _model_class(family: Family) -> Any:
    import transformers

    if family == "qwen2_5_vl":
        return transformers.Qwen2_5_VLForConditionalGeneration
    return transformers.Qwen3VLForConditionalGeneration
