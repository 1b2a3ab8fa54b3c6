"""Writes what SA-1B holds: masks as COCO's packed run lengths, and a small folder in its layout."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from dataforge import scenes
from dataforge.geometry import Box


def runs_of(mask: Image.Image) -> list[int]:
    """Run lengths down the columns of a picture of one channel, outside first; what isn't 0 is inside."""
    columns = mask.transpose(Image.Transpose.TRANSPOSE).tobytes()
    runs, inside, at = [], False, 0
    while at < len(columns):
        end = columns.find(0, at) if inside else next((i for i in range(at, len(columns)) if columns[i]), -1)
        end = len(columns) if end < 0 else end
        runs.append(end - at)
        inside, at = not inside, end
    return runs


def packed(runs: Sequence[int]) -> str:
    """Run lengths as COCO's string."""
    written = []
    for index, run in enumerate(runs):
        number = run - (runs[index - 2] if index > 2 else 0)
        more = True
        while more:
            bits = number & 31
            number >>= 5
            more = number != (-1 if bits & 16 else 0)
            written.append(chr(bits + 32 * more + 48))
    return "".join(written)


def annotation(number: int, mask: Image.Image, at: Box, size: tuple[int, int], pack: bool = True) -> dict[str, Any]:
    """An annotation of a mask that lies at a box of a picture of that size; its box is one short, as SAM's are."""
    before, height = int(at.x1) * size[1], size[1]
    runs = [before]
    inside = False
    for column in range(mask.width):
        strip = mask.crop((column, 0, column + 1, mask.height)).tobytes()
        cells = b"\0" * int(at.y1) + strip + b"\0" * (height - int(at.y1) - mask.height)
        for value in cells:
            if bool(value) == inside:
                runs[-1] += 1
            else:
                runs.append(1)
                inside = not inside
    after = (size[0] - int(at.x1) - mask.width) * size[1]
    if inside:
        runs.append(after)
    else:
        runs[-1] += after
    left, top, right, bottom = mask.getbbox() or (0, 0, 1, 1)
    return {
        "id": number,
        "segmentation": {"size": [size[1], size[0]], "counts": packed(runs) if pack else runs},
        "bbox": [at.x1 + left, at.y1 + top, right - left - 1, bottom - top - 1],
        "area": sum(runs[1::2]),
        "predicted_iou": 0.9 + number / 1000,
        "stability_score": 0.97,
    }


def sa1b_folder(folder: Path, seeds: Sequence[int]) -> dict[str, scenes.Drawn]:
    """Drawn scenes as `sa_<seed>.jpg` and `.json`; masks are those of the things, packed and not in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for seed in seeds:
        drawn = scenes.draw(seed)
        drawn.image.save(folder / f"sa_{seed}.jpg", quality=90)
        found = [
            annotation(n, one.mask, one.box, drawn.image.size, pack=n % 2 == 0) for n, one in enumerate(drawn.things)
        ]
        image = {"image_id": seed, "width": drawn.image.width, "height": drawn.image.height}
        content = {"image": image | {"file_name": f"sa_{seed}.jpg"}, "annotations": found}
        (folder / f"sa_{seed}.json").write_text(json.dumps(content))
        made[f"sa_{seed}"] = drawn
    return made
