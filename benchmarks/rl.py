"""A whole step of reinforcement learning with looks, beside TRL's GRPOTrainer with tools that return images.

    python benchmarks/rl.py --peer /path/to/a/python/with/trl

Both sides train the same tiny Qwen3-VL on the same questions with the same group size, and both begin with the same
ids: TRL is given our opening as its messages, with a template that adds nothing. The student has been taught to look
three times and then to answer, so each rollout is four turns and four pictures on either side. Rewards are made up
(every other rollout is right), so that no group agrees and nothing is left out. Both freeze the vision tower, take the
rollouts in passes of 16, and update once a step. Each side runs alone, in a process of its own; what is reported is CPU
time and peak memory of that process, over the steps after the first.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

QUESTIONS, GROUP, PASS, SIDE = 8, 8, 16, 448
BOXES = ((32, 32, 256, 256), (160, 96, 416, 352), (96, 160, 320, 416))
ASKED = "What color is the dot in the framed tile?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer", help="a python that has trl; only our side is measured without")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--lessons", type=int, default=120, help="steps of teaching the student to look three times")
    parser.add_argument("--long", type=int, default=0, help="also so many steps of one question: memory")
    parser.add_argument("--side", choices=["ours", "long", "trl"], help="only this side, in the folder")
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    if chosen.side in ("ours", "long"):
        print(json.dumps(ours(chosen.folder, chosen.steps, 1 if chosen.side == "long" else QUESTIONS)))
        return
    if chosen.side == "trl":
        print(json.dumps(trl(chosen.folder, chosen.steps)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), chosen.lessons)
        found = {"ours": _run(sys.executable, "ours", Path(folder), chosen.steps)}
        if chosen.peer:
            found["trl"] = _run(chosen.peer, "trl", Path(folder), chosen.steps)
        if chosen.long:
            found["ours, long"] = _run(sys.executable, "long", Path(folder), chosen.long)
    show(found)


def _run(python: str, side: str, folder: Path, steps: int) -> dict[str, Any]:
    root = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    command = [python, __file__, "--side", side, "--folder", str(folder), "--steps", str(steps)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def show(found: dict[str, dict[str, Any]]) -> None:
    print(f"\nP={QUESTIONS}, G={GROUP}, {SIDE} px, three looks a rollout; python benchmarks/rl.py")
    print(
        f"{'':12} {'CPU s a step':>13} {'wall s':>8} {'peak MB':>8} {'tokens sampled':>15} {'pictures seen a step':>22}"
    )
    for name, one in found.items():
        print(
            f"{name:12} {one['cpu']:13.2f} {one['wall']:8.2f} {one['peak_mb']:8.0f} {one['sampled']:15.0f} "
            f"{one['pictures']!s:>22}"
        )
    if "trl" in found:
        mine, theirs = found["ours"], found["trl"]
        ratios = theirs["cpu"] / mine["cpu"], theirs["peak_mb"] / mine["peak_mb"]
        print("TRL takes {:.2f} times our CPU and {:.2f} times our memory".format(*ratios))
    if "ours, long" in found:
        told = ", ".join(f"{value:.0f}" for value in found["ours, long"]["memory_mb"])
        print(f"memory in MB over the long run, ten times along it: {told}")


# -------------------------------------------------------------------------------------------------- the common start


def make(folder: Path, lessons: int) -> None:
    """The student, taught to look three times, and the questions; both sides read them from the folder."""
    import random

    import torch
    from PIL import Image, ImageDraw

    from dataforge.media import MediaStore
    from training import tiny
    from training.rl_state import load_student
    from training.shared import Conversation, SharedLikelihood, tree

    torch.set_num_threads(1)
    (folder / "pictures").mkdir()
    draw = random.Random(0)
    for number in range(QUESTIONS):
        picture = Image.new("RGB", (2 * SIDE, 2 * SIDE), "white")
        pen = ImageDraw.Draw(picture)
        for _ in range(40):
            x, y = draw.randrange(2 * SIDE), draw.randrange(2 * SIDE)
            pen.rectangle((x, y, x + 60, y + 60), fill=tuple(draw.randrange(256) for _ in range(3)))
        picture.save(folder / "pictures" / f"{number}.png")
    size = tiny.Size(hidden=128, layers=3, heads=4, vision_hidden=64, vision_layers=2, vision_heads=4, vocabulary=640)
    tiny.build(folder / "student", "qwen3_vl", size=size, texts=[_turn(0), _turn(3)] * 50)
    store = MediaStore(folder / "media", keep=QUESTIONS)
    codec = _codec(folder)
    taught = [_lesson(folder, store, codec, number) for number in range(QUESTIONS)]
    learner = SharedLikelihood(load_student(str(folder / "student"), _recipe(1)), codec)
    optimizer = torch.optim.AdamW([one for one in learner.parameters() if one.requires_grad], 2e-3, (0.9, 0.99))
    conversations = [Conversation.of(str(number), *one) for number, one in enumerate(taught)]
    for step in range(lessons):  # two questions a step, in turn
        optimizer.zero_grad()
        loss = -learner(tree(conversations[2 * step % QUESTIONS :][:2], codec)).mean()
        loss.backward()
        optimizer.step()
    sys.stderr.write(f"taught to a loss of {loss.item():.4f} a token\n")
    learner.student.save_pretrained(folder / "student")
    (folder / "template.jinja").write_text(codec.tokenizer.chat_template)
    (folder / "asked.json").write_text(json.dumps(_messages(folder, store, codec)))


def _turn(number: int) -> str:
    if number == 3:
        return "Seen.\n\\boxed{red}"
    arguments = f'{{"bbox_2d": {list(BOXES[number])}, "target_image": 1}}'
    return f'Look.\n<tool_call>\n{{"name": "zoom_in", "arguments": {arguments}}}\n</tool_call>'


def _codec(folder: Path) -> Any:
    from dataforge.operations.zoom_in import ZoomIn
    from dataforge.records import Student
    from training.encoding import Codec

    student = Student(patch=32, min_pixels=SIDE * SIDE, max_pixels=SIDE * SIDE)
    operation = ZoomIn(min_side=16, min_pixels=SIDE * SIDE, max_pixels=SIDE * SIDE)
    return Codec.load(str(folder / "student"), student, [operation])


def _example(folder: Path, store: Any, number: int) -> Any:
    from dataforge.records import Example

    media = store.add_file(folder / "pictures" / f"{number}.png")
    told: dict[str, Any] = {"id": str(number), "group": str(number), "source": "drawn", "question": ASKED}
    return Example(**told, answers=("red",), answer_type="exact", media=(media,))


def _lesson(folder: Path, store: Any, codec: Any, number: int) -> tuple[Any, Any]:
    import asyncio

    from training.engine import Sampled
    from training.rollout import begin, play

    class Says:
        def __init__(self) -> None:
            self.turn = 0

        async def sample(self, request: Any) -> Sampled:
            ids = [*codec.encode(_turn(self.turn)), codec.end_id]
            self.turn += 1
            return Sampled(ids, [0.0] * len(ids), "end")

        def release(self, session: str) -> None:
            pass

        def refresh(self) -> None:
            pass

    setting = _setting(codec, store)
    one = asyncio.run(play(begin(_example(folder, store, number), setting), Says(), setting, 0, 0))
    return one.encoding, one.pictures


def _recipe(steps: int, questions: int = QUESTIONS) -> Any:
    from dataforge.recipe import Rl

    never = 10**6
    return Rl(
        queries=questions, rollouts=GROUP, steps=steps, updates=1, learning_rate=1e-6, turns=4, turn_tokens=80,
        tokens=4000, answer_tokens=16, pass_rollouts=PASS, parity_every=never, save_every=never, dump_every=never,
        replay={"size": 0}, checkpointing=False,
    )  # fmt: skip


def _setting(codec: Any, store: Any) -> Any:
    from dataforge import plugins
    from dataforge.records import Limits
    from training.rollout import Budget, Setting

    room = Budget(turns=4, turn_tokens=80, tokens=4000, answer_tokens=16)
    return Setting(codec, Limits(operations=3, images=4), room, store, plugins.build("check", "answer"))


def _messages(folder: Path, store: Any, codec: Any) -> list[list[dict[str, Any]]]:
    """Our opening of each question as the messages that TRL takes; pictures by number."""
    from dataforge import chat
    from training.rollout import begin

    found = []
    for number in range(QUESTIONS):
        start = begin(_example(folder, store, number), _setting(codec, store))
        turns = chat.opening(start.example, start.episode.opening, codec.operations, codec.student, system=codec.system)
        found.append(chat.messages(turns))
        start.episode.workspace.picture(1).save(folder / "pictures" / f"{number}-shown.png")
    return found


# ------------------------------------------------------------------------------------------------------------- ours


def ours(folder: Path, steps: int, questions: int) -> dict[str, Any]:
    """So many steps of that many questions; with one, they take turns."""
    import torch

    from dataforge.manifest import parse
    from dataforge.media import MediaStore
    from training import rl
    from training.questions import Questions

    torch.set_num_threads(1)
    store = MediaStore(folder / "media", keep=QUESTIONS)
    codec = _codec(folder)
    manifest = parse(
        {
            "name": "bench",
            "source": "infographics",
            "student": codec.student.model_dump(),
            "operations": [{"name": "zoom_in", **codec.operations[0].model_dump()}],
            "limits": {"operations": 3, "images": 4},
        },
        "here",
    )
    asked = Questions([_example(folder, store, number) for number in range(QUESTIONS)], store)

    class Coin(rl.Training):
        """Every other rollout counts as right, so that no group agrees."""

        def grade(self, groups: Sequence[Sequence[Any]]) -> Any:
            return super().grade([[_coin(one, at % 2 == 0) for at, one in enumerate(members)] for members in groups])

    with tempfile.TemporaryDirectory() as out:
        training = Coin(rl.prepare(str(folder / "student"), manifest, asked, _recipe(steps, questions)), Path(out))
        clock, sampled, memory, before = Clock(), [0.0], [0.0], training.sight.counts["pictures"]
        for step in range(1, steps + 1):
            seen = training.step(step, [(step + at) % QUESTIONS for at in range(questions)])
            clock.tick()
            sampled.append(seen["sampled_tokens"])
            memory.append(_resident_mb())
        pictures = (training.sight.counts["pictures"] - before) / steps
    every = max(1, steps // 10)
    return clock.told() | {
        "sampled": statistics.mean(sampled[1:]),
        "pictures": f"{pictures:.0f} (sampler and learner)",
        "memory_mb": memory[every::every],
    }


def _coin(one: Any, right: bool) -> Any:
    tokens = one.trace.tokens.model_copy(update={"ended": "answer"})
    verdict = one.trace.verdicts[0].model_copy(update={"ok": right, "reason": "" if right else "wrong"})
    return one._replace(trace=one.trace.model_copy(update={"tokens": tokens, "verdicts": (verdict,), "answer": "red"}))


class Clock:
    """CPU and wall seconds of each step after the first."""

    def __init__(self) -> None:
        self.cpu, self.wall = [time.process_time()], [time.perf_counter()]

    def tick(self) -> None:
        self.cpu.append(time.process_time())
        self.wall.append(time.perf_counter())

    def told(self) -> dict[str, float]:
        steps = max(1, len(self.cpu) - 2)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {
            "cpu": (self.cpu[-1] - self.cpu[1]) / steps,
            "wall": (self.wall[-1] - self.wall[1]) / steps,
            "peak_mb": peak,
        }


def _resident_mb() -> float:
    with open("/proc/self/statm") as told:
        return int(told.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


# -------------------------------------------------------------------------------------------------------------- TRL


def trl(folder: Path, steps: int) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from trl import GRPOTrainer

    torch.set_num_threads(1)
    counts = {"pictures": 0, "looks": 0, "sampled": 0}
    clock = Clock()

    def coin(completions: list[Any], completion_ids: list[Any], **rest: Any) -> list[float]:
        counts["sampled"] += sum(map(len, completion_ids))
        return [float(at % 2 == 0) for at in range(len(completions))]

    with tempfile.TemporaryDirectory() as out:
        trainer = GRPOTrainer(
            model=_watched(folder, counts), reward_funcs=[coin], args=_settings(out, steps),
            train_dataset=Dataset.from_list(_rows(folder)), processing_class=_processor(folder),
            environment_factory=_looking(folder, counts), callbacks=[_ticking(clock)],
        )  # fmt: skip
        clock.cpu[0], clock.wall[0] = time.process_time(), time.perf_counter()
        sys.stdout, kept = sys.stderr, sys.stdout
        trainer.train()
        sys.stdout = kept
    rollouts = QUESTIONS * GROUP * steps
    return clock.told() | {
        "sampled": counts["sampled"] / rollouts,
        "pictures": f"{counts['pictures'] / steps:.0f}, {counts['looks'] / rollouts:.1f} looks a rollout",
    }


def _settings(out: str, steps: int) -> Any:
    from trl import GRPOConfig

    return GRPOConfig(
        output_dir=out, use_cpu=True, bf16=False, per_device_train_batch_size=PASS, num_generations=GROUP,
        gradient_accumulation_steps=QUESTIONS * GROUP // PASS, max_steps=steps, learning_rate=1e-6, beta=0.0,
        max_completion_length=3000, max_tool_calling_iterations=3, temperature=1.0, logging_steps=1,
        report_to="none", save_strategy="no", scale_rewards="none", gradient_checkpointing=False, disable_tqdm=True,
    )  # fmt: skip


def _processor(folder: Path) -> Any:
    """Tokenizer and image processor, with a template that adds nothing to our opening.

    It lists the operations already, and a picture's label stands where ours puts it.
    """
    from transformers import AutoTokenizer, Qwen2VLImageProcessorPil
    from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
    from trl.chat_template_utils import qwen3_template

    class Processor(Qwen3VLProcessor):  # without torchvision there is no video processor
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument is not None:
                return super().check_argument_for_proper_class(argument_name, argument)
            return None

    tokenizer = AutoTokenizer.from_pretrained(folder / "student")
    template = (folder / "template.jinja").read_text().replace("{%- if tools -%}", "{%- if false -%}")
    tokenizer.chat_template = template
    tokenizer.response_template = qwen3_template
    pictures = Qwen2VLImageProcessorPil.from_pretrained(folder / "student")
    return Processor(pictures, tokenizer, None, chat_template=template)


def _watched(folder: Path, counts: dict[str, int]) -> Any:
    """The student with its tower frozen, and what goes through the tower counted."""
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(folder / "student", attn_implementation="sdpa")
    model.model.visual.requires_grad_(False)
    tower = model.model.visual.forward
    model.model.visual.forward = lambda *args, **rest: _counted(counts, tower, args, rest)
    return model


def _looking(folder: Path, counts: dict[str, int]) -> type:
    """Our operation as TRL's environment: a cut of the source picture, with its label."""
    from PIL import Image

    class Looking:
        def reset(self, number: int, **row: Any) -> None:
            self.picture = Image.open(folder / "pictures" / f"{number}.png").convert("RGB")
            self.shown = 1

        def zoom_in(self, bbox_2d: list[int], target_image: int) -> list[dict[str, Any]]:
            """Zoom in on a part of an image.

            Args:
                bbox_2d: The part to zoom in on.
                target_image: The number of the image.
            """
            counts["looks"] += 1
            self.shown += 1
            cut = self.picture.crop([2 * edge for edge in bbox_2d]).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            label = f"Image {self.shown} ({SIDE}x{SIDE} pixels):"
            return [{"type": "text", "text": label}, {"type": "image", "image": cut}]

    return Looking


def _rows(folder: Path) -> list[dict[str, Any]]:
    from PIL import Image

    return [
        {
            "prompt": [_with_text(one) for one in messages],
            "number": number,
            "images": [Image.open(folder / "pictures" / f"{number}-shown.png")],
        }
        for number, messages in enumerate(json.loads((folder / "asked.json").read_text()))
    ]


def _ticking(clock: Clock) -> Any:
    from transformers import TrainerCallback

    class Ticking(TrainerCallback):
        def on_step_end(self, *args: Any, **rest: Any) -> None:
            clock.tick()

    return Ticking()


def _counted(counts: dict[str, int], tower: Any, args: Any, rest: Any) -> Any:
    grid = rest.get("grid_thw", args[1] if len(args) > 1 else None)
    counts["pictures"] += len(grid)
    return tower(*args, **rest)


def _with_text(message: dict[str, Any]) -> dict[str, Any]:
    """The message with each image part as TRL wants it: without a number."""
    parts = [part if part["type"] == "text" else {"type": "image"} for part in message["content"]]
    return {"role": message["role"], "content": parts}


if __name__ == "__main__":
    main()
