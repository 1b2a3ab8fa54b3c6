"""A benchmark whose answers can only be seen by zooming in, and a model behind a server that can see just that.

The pictures are laid out as V*Bench: a photo's worth of grey noise with one small coloured square, its box, four
colours to choose from. The model is no language model but a pair of eyes: it finds the one coloured thing in the newest
picture; where that is large enough it names its colour, else it zooms in on it. With no colour in sight it guesses the
first option. So operations help it, and looks that come back blank or from elsewhere don't.
"""

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataforge.evaluate import evaluate, plan
from dataforge.manifest import Arm, Manifest
from dataforge.runs import Run

COLOURS = {"red": (220, 30, 30), "green": (30, 170, 50), "blue": (40, 60, 220), "yellow": (230, 210, 30)}
SIZE, SIDE = (1400, 1050), 14
LEGIBLE = 30
"""Pixels a side from which the eyes can tell a colour."""


def draw_vstar(folder: Path, count: int = 8, picture: str = ".jpg") -> Path:
    """A folder in V*Bench's layout with so many questions."""
    draw = np.random.default_rng(7)
    for number in range(count):
        category = ("direct_attributes", "relative_position")[number % 2]
        (folder / category).mkdir(parents=True, exist_ok=True)
        names = list(COLOURS)[number % 4 :] + list(COLOURS)[: number % 4]
        noise = draw.integers(90, 160, size=(SIZE[1] // 7, SIZE[0] // 7, 1), dtype=np.uint8)
        image = Image.fromarray(np.repeat(noise, 3, axis=2)).resize(SIZE, Image.Resampling.NEAREST)
        x, y = int(draw.integers(40, SIZE[0] - 60)), int(draw.integers(40, SIZE[1] - 60))
        image.paste(COLOURS[names[0]], (x, y, x + SIDE, y + SIDE))
        image.save(folder / category / f"sa_{number}{picture}", quality=95)
        question = {
            "target_object": ["square"],
            "bbox": [[x, y, SIDE, SIDE]],
            "question": "What is the color of the square?",
            "options": names,
        }
        (folder / category / f"sa_{number}.json").write_text(json.dumps(question))
    return folder


def options_of(body: Mapping[str, Any]) -> dict[str, str]:
    """Colour -> letter, as the question lists them."""
    text = json.dumps([message["content"] for message in body["messages"] if message["role"] == "user"])
    return {name: letter for letter, name in re.findall(r"([A-D])\. (\w+)", text)}


def pictures_of(body: Mapping[str, Any]) -> list[Image.Image]:
    contents = [message["content"] for message in body["messages"] if isinstance(message["content"], list)]
    parts = [part for content in contents for part in content]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]


def look(image: Image.Image) -> tuple[tuple[int, int, int, int], str] | None:
    """Box and colour of what is coloured in a picture."""
    pixels = np.asarray(image.convert("RGB")).astype(int)
    coloured = pixels.max(axis=2) - pixels.min(axis=2) > 80
    if not coloured.any():
        return None
    ys, xs = np.nonzero(coloured)
    mean = pixels[coloured].mean(axis=0)
    name = min(COLOURS, key=lambda name: float(np.abs(mean - COLOURS[name]).sum()))
    return (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1), name


def offers(body: Mapping[str, Any]) -> bool:
    """Whether the model has been told of the operation, in either form."""
    return bool(body.get("tools")) or "zoom_in" in json.dumps(body["messages"][0])


def eyes(body: Mapping[str, Any]) -> dict[str, Any]:
    """The model's turn: an assistant message."""
    shown, options = pictures_of(body), options_of(body)
    seen = look(shown[-1])
    if seen is None:
        return {"content": r"Nothing coloured is there, so I guess. \boxed{A}"}
    (x1, y1, x2, y2), name = seen
    if min(x2 - x1, y2 - y1) >= LEGIBLE:
        return {"content": f"The square is {name}.\n\\boxed{{{options[name]}}}"}
    if len(shown) > 1 or not offers(body):
        return {"content": r"It is too small to tell. \boxed{A}"}
    width, height = shown[-1].size
    box = [max(0, x1 - 20), max(0, y1 - 20), min(width, x2 + 20), min(height, y2 + 20)]
    arguments = {"bbox_2d": box, "target_image": len(shown)}
    thought = "The square is too small to be sure of. I zoom in on it."
    if body.get("tools"):
        function = {"name": "zoom_in", "arguments": json.dumps(arguments)}
        return {"content": thought, "tool_calls": [{"id": "x", "type": "function", "function": function}]}
    call = json.dumps({"name": "zoom_in", "arguments": arguments})
    return {"content": f"{thought}\n<tool_call>\n{call}\n</tool_call>\nThe result will be red, I am sure."}


def planned(data: Path, url: str, arms: Sequence[Arm], **changes: Any) -> list[Manifest]:
    """The manifests of an evaluation of whoever answers there, on the drawn questions."""
    spec = {"name": "openai_api", "model": "tiny-vision", "base_url": url, "temperature": 0.0, "retries": 1}
    model = plan.Model("tiny-vision", spec | changes.pop("teacher", {}))
    laid = {"workers": 1, "teacher": model.spec, **changes}
    return plan.arms(plan.load(plan.files("vstar")[0], data, laid), model, arms)


def play(manifest: Manifest, runs: Path, **how: Any) -> Run:
    """The evaluation's run folder, played and given free."""
    with Run.start(runs, manifest) as run:
        evaluate(run, **how)
    return run
