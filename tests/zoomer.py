"""A real student that really zooms: a tiny Qwen2.5-VL that has learned one look and one answer by heart.

It is shown two questions' conversations until it writes them without a fault, and then says the same of any picture.
That is all that the tests need: calls that a model has sampled, token by token, here and over HTTP.
"""

import base64
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText

from dataforge import plugins
from dataforge.ask.request import Message, Picture
from dataforge.episode import Episode, used
from dataforge.evaluate.bench import encoded
from dataforge.manifest import Manifest
from dataforge.media import MediaStore
from dataforge.plugins import Row
from dataforge.records import Call, Provenance, Step, Trace
from training import policy, tiny
from training.batches import Sample, pad
from training.encoding import Codec
from training.render import pictures, render

LOOK = Call(name="zoom_in", arguments={"bbox_2d": [28, 28, 112, 84], "target_image": 1})
SIZE = tiny.Size(hidden=64, layers=2, heads=2, vision_hidden=64, vision_layers=2, vision_heads=2)
MOST_STEPS = 300


def lessons(manifest: Manifest, store: MediaStore, count: int = 2) -> list[Trace]:
    """The first questions of a benchmark, each with one look and the answer B."""
    source = plugins.build("source", manifest.source)
    operations = [plugins.build("operation", spec) for spec in manifest.operations]
    made = []
    for row in [item for item in source.read() if isinstance(item, Row)][:count]:
        example = source.example(row, store)
        episode = Episode(example, store, operations, manifest.student, manifest.limits)
        steps = (
            Step(thought="I zoom in.", call=LOOK, observation=episode.act(LOOK)),
            Step(thought="It is this one.", role="answer"),
        )
        told = Provenance(version="0", manifest="0", operations=used(operations), student=manifest.student)
        opening = episode.opening
        made.append(
            Trace(id=row.id, example=example, views=opening, steps=steps, answer="B", kind="single", provenance=told)
        )
    return made


def teach(folder: Path, manifest: Manifest, store: MediaStore) -> Path:
    """A checkpoint in the folder that has these lessons by heart."""
    tiny.build(folder, "qwen2_5_vl", size=SIZE)
    operations = [plugins.build("operation", spec) for spec in manifest.operations]
    codec = Codec.load(str(folder), manifest.student, operations)
    model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    samples = []
    for trace in lessons(manifest, store):
        seen = [codec.pixels(picture) for picture in pictures(trace, store)]
        samples.append(Sample.of(render(trace, codec), seen))
    batch = pad(samples, codec.pad_id, codec.image_id)
    wanted = batch.learn[:, 1:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(MOST_STEPS):
        logits = model(**batch.model_inputs).logits[:, :-1][wanted]
        loss = torch.nn.functional.cross_entropy(logits, batch.input_ids[:, 1:][wanted])
        if loss < 0.02:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    else:
        raise AssertionError(f"not learned: {loss}")
    model.save_pretrained(folder)
    return folder


def served(folder: Path) -> Callable[[Mapping[str, Any]], str]:
    """What a server says that runs the checkpoint by transformers' own `generate`."""
    model, codec = policy.load(folder, "cpu", "fp32"), policy.codec_of(folder)

    def say(body: Mapping[str, Any]) -> str:
        encoding, shown = policy.encoded([_message(one) for one in body["messages"]], codec)
        ids = torch.tensor([encoding.ids])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        inputs["mm_token_type_ids"] = (ids == codec.image_id).int()
        inputs["pixel_values"] = torch.cat([codec.pixels(shown[view.sha256]) for view in encoding.views])
        inputs["image_grid_thw"] = torch.tensor([codec.patch_grid(view) for view in encoding.views])
        with torch.no_grad():
            made = model.generate(
                **inputs, max_new_tokens=body["max_tokens"], do_sample=False, eos_token_id=codec.end_id
            )
        return codec.decode(made[0, ids.shape[1] :].tolist())

    return say


def _message(one: Mapping[str, Any]) -> Message:
    content = one["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return Message(one["role"], tuple(_part(part) for part in parts))


def _part(part: Mapping[str, Any]) -> str | Picture:
    if part["type"] == "text":
        return str(part["text"])
    image = Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2])))
    return encoded(image.convert("RGB"), lossless=True)


def calls(trace: Trace) -> str:
    return json.dumps([step.call.arguments for step in trace.steps if step.call])
