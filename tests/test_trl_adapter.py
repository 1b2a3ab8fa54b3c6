"""The TRL adapter by itself, and where a python with TRL is at hand (DATAFORGE_TRL), in its trainer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dataforge.errors import UsageError
from dataforge.media import MediaStore
from dataforge.records import Limits
from tests.tiny_students import build, questions
from training.adapters.trl import environment, reward, rows

SAID = [{"role": "assistant", "content": "Seen.\n\\boxed{red}"}]


def test_tools_run_our_operations_and_the_reward_knows_its_group(tmp_path: Path, store: MediaStore) -> None:
    codec = build(tmp_path)
    examples = [one for one in questions(store, 8) if one.answers == ("red",)][:1]
    row = rows(examples, store, codec)[0]
    assert [part["type"] for part in row["prompt"][-1]["content"]] == ["text", "image", "text"]
    looking = environment(store, codec, Limits(operations=1))
    members = [looking() for _ in range(4)]
    for one in members:
        one.reset(**row)
    text, image = members[0].zoom_in(bbox_2d=[11, 11, 21, 21], target_image=1)
    assert text["text"] == "Image 2 (96x96 pixels):"
    assert image["image"].size == (96, 96)
    assert members[0].zoom_in(bbox_2d=[11, 11, 21, 21], target_image=1).startswith("Error: 1 operations have been used")
    assert members[1].zoom_in(bbox_2d=[21, 11, 11, 21], target_image=1).startswith("Error: bbox_2d is reversed")
    paid = reward({"name": "curiosity"}, group=4)([SAID, SAID, [], SAID], members)
    assert paid == pytest.approx([1 + 0.5 * (0.3 - 0.25), 1, 0, 1])
    with pytest.raises(UsageError, match="3 rollouts are no whole groups of 4"):
        reward({"name": "curiosity"}, group=4)([SAID] * 3, members[:3])
    pytest.importorskip("transformers")
    from transformers.utils import get_json_schema

    made = get_json_schema(members[0].zoom_in)["function"]
    assert made["parameters"]["required"] == ["bbox_2d", "target_image"]
    assert "in pixels of that image" in made["parameters"]["properties"]["bbox_2d"]["description"]


@pytest.mark.skipif("DATAFORGE_TRL" not in os.environ, reason="DATAFORGE_TRL names no python with trl")
def test_trl_trains_with_it(tmp_path: Path) -> None:
    script = Path(__file__).with_name("trl_trains.py")
    environment = os.environ | {"PYTHONPATH": str(script.parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [os.environ["DATAFORGE_TRL"], str(script), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told["steps"] == 2
    assert sys.version_info >= (3, 11)
