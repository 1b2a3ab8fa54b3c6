"""Instruction tuning on a tiny real Qwen-VL: what is learned, what isn't, and that it is the same however it is run."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers")
pytest.importorskip("accelerate")
import torch
from pydantic import ValidationError
from typer.testing import CliRunner

from dataforge import chat
from dataforge.cli import app
from dataforge.episode import replay
from dataforge.errors import UsageError
from dataforge.recipe import Lora, Sft, laid_over
from dataforge.records import Verdict
from dataforge.runs import Run, write_lines
from tests import tiny_run
from training import batches, checkpoints, plan, sft, tiny
from training.feed import Samples
from training.render import render
from training.trace_set import open_set

SMALL = tiny.Size(hidden=64, layers=2, heads=4, vision_hidden=32, vision_layers=1, vision_heads=2, vocabulary=1024)
FAST = Sft(
    learning_rate=3e-3, batch=3, epochs=4, held_out=0, workers=0, checkpointing=False, max_length=1000, pass_tokens=2000
)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.build(tmp_path_factory.mktemp("students") / "tiny", size=SMALL))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny_run.make(tmp_path_factory.mktemp("runs"), count=3)


def recipe(**changes: Any) -> Sft:
    return Sft.model_validate(FAST.model_dump() | changes)


def lines(out: Path) -> list[dict[str, Any]]:
    """The metrics, without what a clock or the machine says."""
    kept = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k not in ("gpus", "seconds", "waited", "memory_gb") and v is not None}
        for line in kept
    ]


def model_of(folder: Path | str) -> Any:
    from transformers import AutoModelForImageTextToText

    loader: Any = AutoModelForImageTextToText
    return loader.from_pretrained(folder).eval()


def weights_of(folder: Path | str) -> dict[str, torch.Tensor]:
    return dict(model_of(folder).state_dict())


# ---------------------------------------------------------------------------------------------------------- the plan


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=30),
    batch=st.integers(1, 12),
    epochs=st.sampled_from([0.3, 1, 2.5]),
    gpus=st.integers(1, 4),
    packed=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_every_trace_is_seen_once_an_epoch_whatever_the_number_of_gpus(
    lengths: list[int], batch: int, epochs: float, gpus: int, packed: bool
) -> None:
    def planned(gpus: int) -> list[plan.Step]:
        steps = plan.steps(lengths, batch=batch, epochs=epochs, pass_tokens=60, gpus=gpus, packed=packed, seed=3)
        return list(steps)

    steps = planned(gpus)
    assert [step.rows for step in steps] == [step.rows for step in planned(1)]
    assert len(steps) == plan.count_steps(len(lengths), batch, epochs)
    drawn = [row for step in steps for row in step.rows]
    for epoch in range(0, len(drawn) // len(lengths)):
        assert sorted(drawn[epoch * len(lengths) : (epoch + 1) * len(lengths)]) == list(range(len(lengths)))
    for step in steps:
        assert len({len(passes) for passes in step.passes}) == 1
        everything = [one for passes in step.passes for one in passes]
        assert sorted(row for one in everything if one.counts for row in one.rows) == sorted(step.rows)
        assert all(plan.cost(one.rows, lengths, packed) <= 60 for one in everything)


def test_the_rate_rises_then_falls() -> None:
    rates = [sft.rate(step, 20, recipe(warm_up=0.2)) for step in range(1, 21)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert all(earlier > later > 0 for earlier, later in itertools.pairwise(rates[3:]))
    assert [sft.rate(step, 4, recipe(warm_up=0, schedule="constant")) for step in range(1, 5)] == [1, 1, 1, 1]


# ------------------------------------------------------------------------------------------------------ what is learned


def test_it_learns_what_it_is_shown_and_nothing_that_is_masked(student: str, run: Run, tmp_path: Path) -> None:
    job = sft.prepare(student, open_set(run), recipe(epochs=70, warm_up=0.1, learning_rate=5e-3))
    seen: list[sft.Progress] = []
    trained = sft.train(job, tmp_path / "out", seen.append)
    samples = Samples(job.traces, job.codec, None)
    learned, masked = [], []
    model = model_of(trained)
    for place in range(len(job.traces)):
        sample = samples[place]
        assert isinstance(sample, batches.Sample)
        batch = batches.pad([sample], job.codec.pad_id, job.codec.image_id)
        with torch.no_grad():
            scores = model(**batch.model_inputs).logits.log_softmax(-1)[0, :-1]
        losses = -scores.gather(1, batch.input_ids[0, 1:, None])[:, 0]
        text = batch.input_ids[0, 1:] != job.codec.image_id
        learned.append(losses[batch.learn[0, 1:]])
        masked.append(losses[~batch.learn[0, 1:] & text])
    assert torch.cat(learned).mean() < 0.05
    assert torch.cat(masked).mean() > 3
    assert lines(tmp_path / "out")[-1]["loss"] < 0.05
    assert seen[0].stage == "load"
    assert (tmp_path / "out" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "out" / "tensorboard").iterdir())


def test_the_loss_is_the_models_own_over_the_learned_tokens(student: str, run: Run, tmp_path: Path) -> None:
    job = sft.prepare(student, open_set(run), recipe(epochs=1))
    sft.train(job, tmp_path)
    samples = [Samples(job.traces, job.codec, None)[place] for place in range(3)]
    batch = batches.pad([one for one in samples if isinstance(one, batches.Sample)], 0, job.codec.image_id)
    labels = batch.input_ids.masked_fill(~batch.learn, -100)
    with torch.no_grad():
        own = model_of(student)(**batch.model_inputs, labels=labels).loss
    assert lines(tmp_path)[0]["loss"] == pytest.approx(float(own), rel=1e-5)
    assert lines(tmp_path)[0]["learned"] == int(batch.learn.sum())


@pytest.mark.parametrize("change", [{"pass_tokens": 1000}, {"packed": True}, {"checkpointing": True}, {"workers": 1}])
def test_how_the_work_is_cut_changes_nothing(
    change: dict[str, Any], student: str, run: Run, tmp_path: Path, reference: list[dict[str, Any]]
) -> None:
    sft.train(sft.prepare(student, open_set(run), recipe(epochs=2, **change)), tmp_path)
    _assert_alike(lines(tmp_path), reference)


@pytest.fixture(scope="module")
def reference(student: str, run: Run, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The metrics of two steps on one process."""
    out = tmp_path_factory.mktemp("reference")
    sft.train(sft.prepare(student, open_set(run), recipe(epochs=2)), out)
    return lines(out)


def _assert_alike(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=2e-3)


def test_two_processes_give_the_losses_of_one(
    student: str, run: Run, tmp_path: Path, reference: list[dict[str, Any]]
) -> None:
    changes = [f"--set={key}={json.dumps(value)}" for key, value in recipe(epochs=2).model_dump().items()]
    # accelerate's launcher starts one process only where there is no GPU: this is what it runs where there are some
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    command += ["-m", "dataforge.cli", "train", "sft", str(run.folder), "--student", student]
    command += ["--out", str(tmp_path), *changes]
    settings = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    told = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["gpus"] for line in told] == [2, 2]
    _assert_alike(lines(tmp_path), reference)
    assert done.stdout.count("metrics.jsonl") == 1


SHARDED = {"fsdp": sys.executable, "zero3": os.environ.get("DATAFORGE_DEEPSPEED")}
"""Who shares weights, and an interpreter that has it."""


def in_shards(kind: str, run: Run, student: str, out: Path, chosen: Sft, stop: int = 0) -> str:
    """What two processes that share the weights print, or their error."""
    command = [str(SHARDED[kind]), "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    command += [str(Path(__file__).with_name("sharded.py")), kind, str(run.folder), student, str(out), str(stop)]
    settings = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "PYTHONPATH": str(Path(__file__).parents[1])}
    command.append(chosen.model_dump_json())
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0 or stop, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize("kind", list(SHARDED))
@pytest.mark.parametrize("changes", [{"epochs": 3, "save_every": 1}, {"epochs": 1, "lora": {"rank": 4}}])
def test_shared_weights_learn_what_whole_ones_do(kind: str, changes: dict[str, Any], run: Run, tmp_path: Path) -> None:
    if not SHARDED[kind]:
        pytest.skip("set DATAFORGE_DEEPSPEED to an interpreter that has it")
    tied = str(tiny.build(tmp_path / "tied", size=SMALL, tie=True))
    chosen = recipe(pass_tokens=500, max_length=500, **changes)
    alone = sft.train(sft.prepare(tied, open_set(run), chosen), tmp_path / "alone")
    if chosen.save_every == 1:
        in_shards(kind, run, tied, tmp_path / "shared", chosen, stop=2)
        assert [folder.name for folder in checkpoints.states(tmp_path / "shared")] == ["state-000001"]
    said = in_shards(kind, run, tied, tmp_path / "shared", chosen)
    assert {"fsdp": "FSDP", "zero3": "DEEPSPEED"}[kind] in said
    _assert_alike(lines(tmp_path / "shared"), lines(tmp_path / "alone"))
    ours, theirs = weights_of(tmp_path / "shared" / "student"), weights_of(alone)
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-3) for name in theirs)


def test_shared_weights_in_bf16_round_no_loss(student: str, run: Run, tmp_path: Path, reference: Any) -> None:
    in_shards("fsdp", run, student, tmp_path, recipe(epochs=1, precision="bf16"))
    (told,) = lines(tmp_path)
    assert told["loss"] == pytest.approx(reference[0]["loss"], rel=1e-4)  # log-probabilities in bf16 are off by 1e-3


# ------------------------------------------------------------------------------------------------- saving and resuming


class Killed(Exception):
    """What stands for a kill."""


def killed_at(step: int) -> sft.Watch:
    def watch(progress: sft.Progress) -> None:
        if progress.stage == "step" and progress.done == step:
            raise Killed

    return watch


def test_a_resumed_training_is_an_unbroken_one(student: str, run: Run, tmp_path: Path) -> None:
    chosen = recipe(epochs=5, save_every=2, lora={"rank": 4, "dropout": 0.1})  # dropout: random states count
    job = sft.prepare(student, open_set(run), chosen)
    sft.train(job, tmp_path / "unbroken")
    for step in (3, 5):
        with pytest.raises(Killed):
            sft.train(job, tmp_path / "broken", killed_at(step))
    assert [folder.name for folder in checkpoints.states(tmp_path / "broken")] == ["state-000004"]
    trained = sft.train(job, tmp_path / "broken")
    assert lines(tmp_path / "broken") == lines(tmp_path / "unbroken")
    assert not checkpoints.states(tmp_path / "broken")
    ours, theirs = weights_of(trained), weights_of(tmp_path / "unbroken" / "student")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    before = (tmp_path / "broken" / "metrics.jsonl").read_bytes()
    assert sft.train(job, tmp_path / "broken") == trained  # what is done is not done again
    assert (tmp_path / "broken" / "metrics.jsonl").read_bytes() == before


def test_a_folder_of_another_training_is_refused(student: str, run: Run, tmp_path: Path) -> None:
    job = sft.prepare(student, open_set(run), recipe(epochs=1))
    with pytest.raises(Killed):
        sft.train(job, tmp_path, killed_at(1))
    other = sft.prepare(student, open_set(run), recipe(epochs=1, learning_rate=1e-5))
    with pytest.raises(UsageError, match=r"learning_rate: 0\.003 there, 1e-05 here.*another --out"):
        sft.train(other, tmp_path)


def test_adapters_merge_into_the_weights(student: str, run: Run, tmp_path: Path) -> None:
    from peft import PeftModel

    chosen = recipe(lora=Lora(rank=4, alpha=32).model_dump(), learning_rate=2e-2, epochs=3)
    job = sft.prepare(student, open_set(run), chosen)
    trained = sft.train(job, tmp_path)
    base, merged = weights_of(student), model_of(trained)
    changed = {name for name, weight in merged.state_dict().items() if not torch.equal(weight, base[name])}
    assert changed
    assert all("_proj.weight" in name and "visual" not in name for name in changed)
    adapted: Any = PeftModel.from_pretrained(model_of(student), str(tmp_path / "adapter")).eval()
    sample = Samples(job.traces, job.codec, None)[0]
    assert isinstance(sample, batches.Sample)
    inputs = batches.pad([sample], 0, job.codec.image_id).model_inputs
    with torch.no_grad():
        ours, theirs, untouched = merged(**inputs).logits, adapted(**inputs).logits, model_of(student)(**inputs).logits
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert not torch.allclose(ours, untouched, atol=1e-2)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_vision_tower_stands_still_if_it_is_frozen(frozen: bool, student: str, run: Run, tmp_path: Path) -> None:
    job = sft.prepare(student, open_set(run), recipe(epochs=1, freeze_vision=frozen))
    before, after = weights_of(student), weights_of(sft.train(job, tmp_path))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("visual" in name for name in moved) != frozen
    assert any("language_model" in name for name in moved)


def test_the_checkpoint_is_as_the_one_it_began_from_tied_weights_included(run: Run, tmp_path: Path) -> None:
    folder = tiny.build(tmp_path / "tied", size=SMALL, tie=True)
    (folder / "video_preprocessor_config.json").write_text("{}")
    job = sft.prepare(str(folder), open_set(run), recipe(epochs=3, save_every=1))
    with pytest.raises(Killed):
        sft.train(job, tmp_path / "out", killed_at(2))
    trained = sft.train(job, tmp_path / "out")
    assert {path.name for path in trained.iterdir()} == {path.name for path in folder.iterdir()}
    model = model_of(trained)
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
    assert not torch.equal(model.lm_head.weight, model_of(folder).lm_head.weight)


def test_traces_are_held_out_by_group_and_measured(student: str, tmp_path: Path) -> None:
    run = tiny_run.make(tmp_path, count=9)
    job = sft.prepare(student, open_set(run), recipe(epochs=1, held_out=0.4, evaluate_every=1))
    assert len(job.measured.training) + len(job.measured.held_out) == 9
    assert job.measured.held_out
    sft.train(job, tmp_path / "out")
    told = lines(tmp_path / "out")
    assert all(line["held_out_loss"] > 0 for line in told)
    rows = job.measured.held_out
    samples = [Samples(job.traces, job.codec, None)[row.place] for row in rows]
    batch = batches.pad([one for one in samples if isinstance(one, batches.Sample)], 0, job.codec.image_id)
    labels = batch.input_ids.masked_fill(~batch.learn, -100)
    with torch.no_grad():
        own = model_of(tmp_path / "out" / "student")(**batch.model_inputs, labels=labels).loss
    assert told[-1]["held_out_loss"] == pytest.approx(float(own), rel=1e-4)


# ------------------------------------------------------------------------------------------------- another student


@pytest.mark.parametrize(("calls", "unit"), [("tagged", "pixels"), ("native", "0..1000")])
def test_a_set_is_cut_anew_for_a_student_with_other_squares(calls: str, unit: str, run: Run, tmp_path: Path) -> None:
    folder = str(tiny.build(tmp_path / "three", "qwen3_vl", size=SMALL))
    with pytest.raises(UsageError, match=r"--set student\.patch=32"):
        sft.prepare(folder, open_set(run), FAST)
    other = {"patch": 32, "min_pixels": 4096, "max_pixels": 16384, "calls": calls, "box_unit": unit}
    job = sft.prepare(folder, open_set(run), recipe(epochs=1, student=other))
    for place, recorded in enumerate(run.traces()):
        trace = job.traces.trace(place)
        assert not list(replay(trace, run.store))
        assert [step.thought for step in trace.steps] == [step.thought for step in recorded.steps]
        for new, old in zip(trace.all_views, recorded.all_views, strict=True):
            assert min(new.box.coverage(old.box), old.box.coverage(new.box)) > 0.9
            assert (new.width % 32, new.height % 32) == (0, 0)
        written = json.dumps(chat.to_messages(trace, job.traces.operations, job.traces.student, system=None))
        assert ("tool_calls" in written) == (calls == "native" and bool(trace.looks))
    sft.train(job, tmp_path / "out")
    assert lines(tmp_path / "out")[0]["loss"] > 0
    with pytest.raises(UsageError, match=r"did you mean 'patch'"):
        sft.prepare(folder, open_set(run), recipe(student={"path": 32}))


def test_only_the_dialect_changes_where_the_views_fit(student: str, run: Run) -> None:
    job = sft.prepare(student, open_set(run), recipe(student={"box_unit": "0..1"}))
    assert [job.traces.trace(place) for place in range(3)] == list(run.traces())
    text = job.codec.tokenizer.decode(render(job.traces.trace(0), job.codec).ids)
    assert '"bbox_2d": [0.5, 0.5, 1.0, 1.0]' in text


# ---------------------------------------------------------------------------------------------------------- bad input


def copied(run: Run, folder: Path) -> Run:
    """The run in another place, to be spoiled there."""
    shutil.copytree(run.folder, folder)
    return Run.open(folder)


def test_a_trace_of_another_schema_is_named_by_file_line_and_field(run: Run, tmp_path: Path) -> None:
    spoiled = copied(run, tmp_path / "run")
    text = spoiled.traces_path.read_text().splitlines()
    for line, words in (
        (text[1].replace('"schema_version":1', '"schema_version":9'), r"line 2, field schema_version"),
        (text[1].replace('"answer":', '"reply":'), r"line 2, field answer: Field required"),
        (text[1][:-9], r"line 2, field the line: Invalid JSON"),
    ):
        spoiled.traces_path.write_text("\n".join([text[0], line, text[2]]) + "\n")
        with pytest.raises(UsageError, match=words):
            open_set(spoiled)


def test_a_picture_that_is_gone_is_known_before_the_model_is_loaded(student: str, run: Run, tmp_path: Path) -> None:
    spoiled = copied(run, tmp_path / "run")
    media = next(iter(spoiled.traces())).example.media[0]
    spoiled.store.path(media).unlink()
    with pytest.raises(UsageError, match=r"trace square-0: its picture squares 0 is not in"):
        sft.prepare(student, open_set(spoiled), FAST)


def test_a_picture_that_breaks_on_the_way_stops_the_training(student: str, run: Run, tmp_path: Path) -> None:
    spoiled = copied(run, tmp_path / "run")
    media = next(iter(spoiled.traces())).example.media[0]
    path = spoiled.store.path(media)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-40])
    for workers in (0, 1):
        job = sft.prepare(student, open_set(spoiled), recipe(workers=workers))
        with pytest.raises(UsageError, match=r"trace 1 can't be read any more: media: media_changed \(squares 0"):
            sft.train(job, tmp_path / f"out-{workers}")


def test_what_is_too_long_is_dropped_and_counted_or_refused(student: str, run: Run) -> None:
    traces = open_set(run)
    lengths = sorted(row.length for row in sft.prepare(student, traces, FAST).measured.rows)
    short = sft.prepare(student, traces, recipe(max_length=lengths[0])).measured
    assert [row.length for row in short.rows] == lengths[:1]
    assert short.dropped == {"overlong": 2}
    with pytest.raises(UsageError, match=r"trace square-\d has \d+ tokens: raise max_length, or set overlong: drop"):
        sft.prepare(student, traces, recipe(max_length=lengths[0], overlong="refuse"))
    with pytest.raises(UsageError, match=r"no trace is left to train on: 3 overlong"):
        sft.prepare(student, traces, recipe(max_length=20))
    with pytest.raises(ValidationError, match=r"pass_tokens 2000 is less than max_length 3000"):
        recipe(max_length=3000)


def test_what_teaches_nothing_or_was_rejected_is_left_out(student: str, run: Run, tmp_path: Path) -> None:
    spoiled = copied(run, tmp_path / "run")
    first, second, third = spoiled.traces()
    silent = tuple(step.model_copy(update={"learn": "none"}) for step in first.steps)
    bad = Verdict(check="answer", ok=False, reason="wrong")
    kept = [first.model_copy(update={"steps": silent}), second.model_copy(update={"verdicts": (bad,)}), third]
    write_lines(spoiled.traces_path, kept)
    measured = sft.prepare(student, open_set(spoiled), FAST).measured
    assert len(measured.rows) == 1
    assert measured.dropped == {"nothing_learned": 1, "rejected": 1}
    spoiled.traces_path.unlink()
    with pytest.raises(UsageError, match="holds no traces"):
        open_set(spoiled)


def test_values_are_laid_over_a_recipe_and_typos_are_named() -> None:
    laid = laid_over(Sft(), ["learning_rate=1e-5", "lora.rank=8", "schedule=constant", "system=null"])
    assert (laid.learning_rate, laid.schedule, laid.system) == (1e-5, "constant", None)
    assert laid.lora == Lora(rank=8)
    assert laid_over(laid, ["lora=null"]).lora is None
    for change, words in (
        ("learning_rat=1", "did you mean 'learning_rate'"),
        ("batch", "write key=value"),
        ("batch=0", "batch"),
        ("batch.x=3", "batch holds no values of its own"),
    ):
        with pytest.raises(UsageError, match=words):
            laid_over(Sft(), [change])


# ----------------------------------------------------------------------------------------------------- the commands


def call(*arguments: object) -> str:
    """What a command prints; what it raises."""
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    if done.exception is not None:
        raise done.exception
    return done.stdout


def settled(**changes: Any) -> list[str]:
    return [f"--set={key}={json.dumps(value)}" for key, value in recipe(**changes).model_dump().items()]


def test_a_dry_run_tells_what_it_will_take_and_writes_nothing(student: str, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["train", "sft", run.folder, "--student", student, "--out", out, *settled(), "--dry-run", "--gpus", 2]
    told = json.loads(call(*arguments, "--json"))
    rows = sft.prepare(student, open_set(run), FAST).measured.rows
    assert (told["traces"], told["steps"]) == (3, 4)
    assert told["tokens"] == sum(row.length for row in rows)
    assert told["learned"] == sum(row.learned for row in rows)
    weights = weights_of(student)
    assert told["weights"] == sum(weight.numel() for weight in weights.values())
    moving = sum(weight.numel() for name, weight in weights.items() if "visual" not in name)
    assert (told["trained_weights"], told["memory"]["optimizer"]) == (moving, 8 * moving)
    assert told["recipe"]["batch"] == 3
    shown = call(*arguments)
    assert "sharded over 2" in shown
    assert not out.exists()


def test_training_by_command_and_looking_at_what_is_learned(student: str, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = json.loads(
        call("train", "sft", run.folder, "--student", student, "--out", out, *settled(epochs=1), "--json")
    )
    assert told == {"folder": str(out), "student": str(out / "student")}
    trained = out / "student"
    shown = json.loads(call("train", "preview", "square-1", "--run", run.folder, "--student", trained, "--json"))
    learned = [piece["text"] for piece in shown["pieces"] if piece["learned"]]
    assert learned[0].startswith("I look at that square.")
    assert "tool_call" not in learned[0]  # the wrong look: its thought, not its call
    assert [piece["tokens"] for piece in shown["pieces"] if piece["view"]] == [16, 4, 4]
    assert "[image 1, 112x112: 16 tokens]" in call(
        "train", "preview", "square-1", "--run", run.folder, "--student", trained
    )


def test_a_tiny_student_of_either_family_by_command(tmp_path: Path) -> None:
    folder = tmp_path / "three"
    assert call("train", "tiny", folder, "--family", "qwen3_vl").strip() == str(folder)
    assert type(model_of(folder)).__name__ == "Qwen3VLForConditionalGeneration"
    with pytest.raises(UsageError, match="there are qwen2_5_vl, qwen3_vl"):
        call("train", "tiny", folder, "--family", "llama")


def test_a_published_set_and_a_release_are_trained_on_by_name(student: str, run: Run, tmp_path: Path) -> None:
    runs, dry = tmp_path / "runs", [*settled(), "--dry-run", "--json"]
    call("push", run.folder, "--to", tmp_path / "set", "--force")
    for _ in range(2):  # it is unpacked once
        told = json.loads(call("train", "sft", tmp_path / "set", "--student", student, "--runs", runs, *dry))
        assert told["traces"] == 3
    assert len([folder for folder in runs.iterdir() if not folder.is_symlink()]) == 1
    call("export", "pixel_reasoner_sft", run.folder, "--out", tmp_path / "release")
    told = json.loads(
        call("train", "sft", tmp_path / "release" / "release.json", "--student", student, "--runs", runs, *dry)
    )
    assert told["traces"] >= 2
    with pytest.raises(UsageError, match="no run 'nothing'"):
        call("train", "sft", "nothing", "--student", student, "--runs", runs, *dry)
