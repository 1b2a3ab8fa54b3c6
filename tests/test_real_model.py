"""A server and a model that nobody here wrote: `transformers serve` with a tiny vision model, built on the spot.

Runs where torch and transformers are installed. Nothing sensible is said by such a model; what is tested is that our
requests are taken, that pictures reach it, and that what goes wrong there is told apart.
"""

import asyncio
import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from dataforge.ask.request import Message, Picture, Reply, Request
from dataforge.errors import ExampleError
from dataforge.evaluate import board, plan
from dataforge.media import to_jpeg
from dataforge.teachers.openai_api import OpenaiApi
from tests import eyes

PYTHON = os.environ.get("DATAFORGE_TRANSFORMERS_PYTHON", sys.executable)
"""An interpreter with torch, transformers, fastapi and uvicorn: this one, or that of another environment."""

pytestmark = pytest.mark.skipif(
    sys.executable == PYTHON and not all(importlib.util.find_spec(name) for name in ("torch", "transformers")),
    reason="needs torch and transformers",
)

BUILD = """
import sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (CLIPImageProcessorPil, CLIPVisionConfig, LlamaConfig, LlavaConfig,
                          LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast)
bpe = Tokenizer(models.BPE())
bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
special = ["<pad>", "<s>", "</s>", "<image>"]
bpe.train_from_iterator(["What is in the picture?"],
                        trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
                                    extra_special_tokens={"image_token": "<image>"})
template = ("{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
            "{% if p.type == 'image' %}<image>{% elif p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endif %}"
            "{% endfor %}")
pictures = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
processor = LlavaProcessor(pictures, tokenizer, patch_size=14, vision_feature_select_strategy="default",
                           chat_template=template, num_additional_image_tokens=1)
vision = CLIPVisionConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                          image_size=56, patch_size=14, projection_dim=64)
text = LlamaConfig(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                   num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=4096,
                   pad_token_id=0, bos_token_id=1, eos_token_id=2)
config = LlavaConfig(vision_config=vision, text_config=text, vision_feature_layer=-1,
                     image_token_index=tokenizer.convert_tokens_to_ids("<image>"))
LlavaForConditionalGeneration(config).save_pretrained(sys.argv[1])
processor.save_pretrained(sys.argv[1])
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and name of the model."""
    folder = tmp_path_factory.mktemp("vlm")
    model = folder / "tiny"
    built = subprocess.run([PYTHON, "-c", BUILD, str(model)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (folder / "hub").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(PYTHON).with_name("transformers")), "serve", str(model), "--device", "cpu"]
    command += ["--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    settings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder)}
    log = folder / "log.txt"
    server = subprocess.Popen(command, env=os.environ | settings, stdout=log.open("w"), stderr=subprocess.STDOUT)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        until = time.monotonic() + 120
        while True:
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < until, log.read_text()[-2000:]
            try:
                opener.open(f"http://127.0.0.1:{port}/v1/models", timeout=2).read()
                break
            except OSError:
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/v1", str(model)
    finally:
        server.terminate()
        server.wait()


def picture(colour: str) -> Picture:
    return Picture(to_jpeg(Image.new("RGB", (112, 84), colour)), colour)


def ask(served: tuple[str, str], *parts: str | Picture, schema: bool = False) -> Reply | ExampleError:
    teacher = OpenaiApi(model=served[1], base_url=served[0], temperature=0, max_tokens=12, retries=1, timeout_s=60)
    wanted = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]} if schema else {}

    async def scene() -> Reply | ExampleError:
        async with teacher.session():
            try:
                return await teacher.ask(Request("verify", (Message("user", parts),), wanted))
            except ExampleError as error:
                return error

    return asyncio.run(scene())


def test_pictures_reach_a_real_model(served: tuple[str, str]) -> None:
    none, one, two = (
        ask(served, "What is in the picture?", *(picture(colour) for colour in colours))
        for colours in ([], ["red"], ["red", "blue"])
    )
    assert isinstance(none, Reply)
    assert isinstance(one, Reply)
    assert isinstance(two, Reply)
    # 56 x 56 pixels in squares of 14 are 16 tokens a picture
    assert one.input_tokens - none.input_tokens == two.input_tokens - one.input_tokens == 16
    assert one.output_tokens > 0


def test_a_real_server_takes_a_schema_and_what_is_cut_off_is_called_so(served: tuple[str, str]) -> None:
    reply = ask(served, "What is in the picture?", picture("green"), schema=True)
    assert isinstance(reply, Reply)
    # random weights find no end
    assert (reply.finish, reply.output_tokens) == ("cut_off", 12)


def test_a_real_server_that_cannot_read_a_picture_spoils_one_example(served: tuple[str, str]) -> None:
    error = ask(served, "What is in the picture?", Picture(b"no picture at all", "0"))
    assert isinstance(error, ExampleError)
    assert error.reason in ("server_error", "unreachable", "bad_request")
    assert isinstance(ask(served, "What is in the picture?", picture("red")), Reply)


def test_a_real_server_takes_an_evaluation(served: tuple[str, str], tmp_path: Path) -> None:
    data = eyes.draw_vstar(tmp_path / "V", 2)
    spec = {"name": "openai_api", "model": served[1], "base_url": served[0], "temperature": 0.0, "max_tokens": 12}
    benchmark = plan.load(
        plan.files("vstar")[0], data, {"workers": 1, "teacher": spec, "student": {"max_pixels": 50_000}}
    )
    runs = [eyes.play(one, tmp_path) for one in plan.arms(benchmark, plan.Model("tiny", spec), ("without", "with"))]
    without, with_ = board.board(runs).rows
    # random weights find no end: wrong, counted, and no failing of the run
    assert (without.score.n, with_.score.n, without.failed, with_.failed) == (2, 2, 0, 0)
    assert without.unanswered == with_.unanswered == 2
    assert with_.input_tokens > without.input_tokens + 100  # the operations' schemas


def test_a_real_server_takes_a_models_own_turns(served: tuple[str, str]) -> None:
    teacher = OpenaiApi(model=served[1], base_url=served[0], temperature=0, max_tokens=4, retries=1, timeout_s=60)
    tagged = (
        Message("system", ("You are a helpful assistant.",)),
        Message("user", (picture("red"), "Where is it?")),
        Message("assistant", ('I look.\n<tool_call>\n{"name": "zoom_in", "arguments": {}}\n</tool_call>',)),
        Message("user", ("<tool_response>\nImage 2:", picture("blue"), "\n</tool_response>")),
    )

    async def scene() -> tuple[Reply, Reply]:
        async with teacher.session():
            return await teacher.ask(Request("play", tagged[:2], {})), await teacher.ask(Request("play", tagged, {}))

    first, second = asyncio.run(scene())
    assert second.input_tokens > first.input_tokens + 16
