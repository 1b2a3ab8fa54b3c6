"""Instruction tuning side by side with TRL's SFTTrainer: same student, traces, batch, mask, precision; one run.

    python benchmarks/sft.py --peer PYTHON          # an interpreter with trl, or DATAFORGE_TRL_PYTHON
    python benchmarks/sft.py --shape 3b             # ours alone, random weights of a Qwen2.5-VL-3B's size: for a GPU
    python benchmarks/sft.py --shape 200m --traces 5 --rounds 1    # ours alone: memory against what --dry-run estimates

Both train the tiny Qwen2.5-VL on the same posters in processes of their own, one after the other, twice in turn; TRL's
process imports nothing of ours. TRL reads pictures that are cut already, ours cuts them from the posters. Traces are
without mistakes, since TRL's mask is by turn: both must count the same tokens and the same learned tokens, or there is
no table. Tokens a second: from the end of the first step to the end of the last.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PEER = Path(__file__).with_name("sft_peer.py")
BATCH = 8


SHAPES = {
    "tiny": {},
    "200m": {"hidden": 1024, "layers": 14, "heads": 8, "vision_hidden": 640, "vision_layers": 8, "vision_heads": 8},
    "3b": {"hidden": 2048, "layers": 36, "heads": 16, "vision_hidden": 1280, "vision_layers": 32, "vision_heads": 16},
    "7b": {"hidden": 3584, "layers": 28, "heads": 28, "vision_hidden": 1280, "vision_layers": 32, "vision_heads": 16},
}
"""Sizes of students, of which only the vocabulary is small."""


def make_task(folder: Path, shape: str, count: int, epochs: int, workers: int) -> dict[str, Any]:
    """Posters, their traces, the student, and both sides' settings, in a folder."""
    import torch

    from training import tiny
    from training.templates import QWEN2_5_VL

    content = {
        "name": "bench",
        "source": "infographics",
        "limit": count,
        "mix": {"single": 1},
        "student": {"min_pixels": 3136, "max_pixels": 401408},
        "operations": [{"name": "zoom_in", "min_pixels": 100352, "max_pixels": 200704}],
        "compose": {"legible_px": 4},
    }
    (folder / "bench.yaml").write_text(json.dumps(content))
    command = [sys.executable, "-m", "dataforge.cli", "synth", "-m", "bench.yaml"]
    subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True)
    tiny.build(folder / "student", size=tiny.Size(**SHAPES[shape]), initializer_range=0.08 if shape == "tiny" else 0.02)
    says = '"<|im_start|>" + message.role + "\\n" + said(message.content) + "<|im_end|>\\n"'
    assert says in QWEN2_5_VL
    marked = (
        '"<|im_start|>" + message.role + "\\n" -}}{%- if message.role == "assistant" -%}{%- generation -%}'
        '{{ said(message.content) + "<|im_end|>" -}}{%- endgeneration -%}{{ "\\n" -}}{%- else -%}'
        '{{ said(message.content) + "<|im_end|>\\n" -}}{%- endif -%}{{ ""'
    )
    longest = write_rows(folder)
    task = {
        "student": str(folder / "student"),
        "template": QWEN2_5_VL.replace(says, marked),
        "learning_rate": 1e-3,
        "epochs": epochs,
        "batch": BATCH,
        "device_batch": 4,
        "longest": longest,
        "bf16": torch.cuda.is_available(),
        "checkpointing": shape != "tiny",
        "workers": workers,
    }
    (folder / "task.json").write_text(json.dumps(task))
    return task


def write_rows(folder: Path) -> int:
    """The traces as TRL takes them, pictures as PNG files; returns the longest trace's tokens."""
    from dataforge import chat
    from dataforge.runs import Run
    from training.encoding import SYSTEM, Codec
    from training.render import pictures, render
    from training.trace_set import open_set

    run = Run.open((folder / "runs" / "latest").resolve())
    traces = open_set(run)
    codec = Codec.load(str(folder / "student"), traces.student, traces.operations)
    longest = 0
    (folder / "views").mkdir()
    with (folder / "rows.jsonl").open("w") as rows:
        for place in range(len(traces)):
            trace = traces.trace(place)
            longest = max(longest, len(render(trace, codec)))
            paths = []
            for number, picture in enumerate(pictures(trace, traces.store)):
                paths.append(str(folder / "views" / f"{place}-{number}.png"))
                picture.save(paths[-1])
            messages = [
                {
                    "role": message["role"],
                    "content": [{"type": part["type"], "text": part.get("text")} for part in message["content"]],
                }
                for message in chat.to_messages(trace, traces.operations, traces.student, system=SYSTEM)
            ]
            rows.write(json.dumps({"messages": messages, "images": paths}) + "\n")
    return longest


def ours(folder: Path) -> None:
    """Our side, in a process of its own."""
    import torch

    from dataforge.recipe import Sft
    from dataforge.runs import Run
    from training import sft
    from training.estimate import estimate
    from training.trace_set import open_set

    task = json.loads((folder / "task.json").read_text())
    recipe = Sft(
        learning_rate=task["learning_rate"],
        epochs=task["epochs"],
        batch=task["batch"],
        pass_tokens=task["device_batch"] * task["longest"],
        max_length=task["longest"],
        held_out=0,
        workers=task["workers"],
        checkpointing=task["checkpointing"],
        precision="bf16" if task["bf16"] else "fp32",
    )
    run = Run.open((folder / "runs" / "latest").resolve())
    job = sft.prepare(task["student"], open_set(run), recipe)
    samples, every = sft.Samples(job.traces, job.codec, None), range(len(job.traces))
    started = time.perf_counter()
    for place in every:
        samples[place]
    made = time.perf_counter() - started
    began, ends, lines = time.perf_counter(), list[float](), list[Any]()

    def watch(progress: sft.Progress) -> None:
        if progress.stage == "step" and progress.line is not None:
            ends.append(time.perf_counter() - began)
            lines.append(progress.line)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    before = sft.peak_bytes(device)
    with tempfile.TemporaryDirectory() as out:
        sft.train(job, Path(out), watch)
    told = {
        "tokens": sum(row.length for row in job.measured.rows),
        "learned": sum(row.learned for row in job.measured.rows),
        "ends": ends,
        "peak": sft.peak_bytes(device),
        "grown": sft.peak_bytes(device) - before,
        "estimated": estimate(job, bf16=task["bf16"]).memory.total,
        "losses": [line.loss for line in lines],
        "worker": sum(row.length for row in job.measured.rows) / made,
        "waited": sum(line.waited for line in lines[1:]) / sum(line.seconds for line in lines[1:]),
    }
    (folder / "ours.json").write_text(json.dumps(told))


def environment() -> dict[str, str]:
    quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    return os.environ | quiet


def measured(folder: Path, side: str, peer: str) -> dict[str, Any]:
    command = [peer, str(PEER), str(folder)] if side == "trl" else [sys.executable, __file__, "--ours", str(folder)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads((folder / f"{side}.json").read_text())
    return told


def rate(told: dict[str, Any], task: dict[str, Any]) -> float:
    """Tokens a second after the first step, which warms up."""
    ends = told["ends"]
    return told["tokens"] * task["epochs"] * (1 - 1 / len(ends)) / (ends[-1] - ends[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default=os.environ.get("DATAFORGE_TRL_PYTHON"), help="an interpreter with trl")
    parser.add_argument("--shape", choices=list(SHAPES), default="tiny")
    parser.add_argument("--traces", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.ours:
        ours(chosen.ours)
        return
    if chosen.traces * chosen.epochs <= BATCH:
        parser.error(f"a step takes {BATCH} traces and the first isn't measured: more --traces or --epochs")
    sides = ("trl", "ours") if chosen.peer and chosen.shape == "tiny" else ("ours",)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = make_task(folder, chosen.shape, chosen.traces, chosen.epochs, chosen.workers)
        rounds = [{side: measured(folder, side, chosen.peer) for side in sides} for _ in range(chosen.rounds)]
    first = rounds[0]
    for count in ("tokens", "learned"):
        if any(first[side][count] != first["ours"][count] for side in sides):
            raise SystemExit(f"not the same work: {count} {first['ours'][count]} ours, {first['trl'][count]} TRL's")
    print(f"{first['ours']['tokens']} tokens an epoch, {first['ours']['learned']} learned; batch {task['batch']}")
    print(f"{'':6} {'tokens/s':>9} {'first step':>11} {'peak':>8}  first and last loss")
    for side in sides:
        rates = statistics.median(rate(one[side], task) for one in rounds)
        begun = statistics.median(one[side]["ends"][0] for one in rounds)
        peak = max(one[side]["peak"] for one in rounds) / 1e6
        losses = first[side]["losses"]
        print(f"{side:6} {rates:9.0f} {begun:9.1f} s {peak:5.0f} MB  {losses[0]:.3f} {losses[-1]:.3f}")
    if len(sides) > 1:
        gain = statistics.median(rate(one["ours"], task) / rate(one["trl"], task) for one in rounds)
        print(f"ours / TRL: {gain:.2f}x")
    print(f"ours waited for data {first['ours']['waited']:.1%} of its time;", end=" ")
    print(f"one worker reads, cuts and renders {first['ours']['worker']:.0f} tokens/s")
    grown, estimated = first["ours"]["grown"] / 1e9, first["ours"]["estimated"] / 1e9
    print(f"training added {grown:.2f} GB; the dry run estimates {estimated:.2f} GB")


if __name__ == "__main__":
    main()
