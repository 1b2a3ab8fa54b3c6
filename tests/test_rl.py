"""The RL loop on a tiny student: it learns, stops where it should, goes on to the same numbers, runs on two ranks."""

import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from accelerate.utils import DistributedType
from typer.testing import CliRunner, Result

from dataforge.cli import app
from dataforge.errors import UsageError
from dataforge.manifest import Manifest, load
from dataforge.media import MediaStore
from dataforge.recipe import Alarms, Rl, laid_over
from dataforge.runs import Run
from tests.tiny_students import build, call, questions, said, setting
from training import checkpoints, rl, rl_plan
from training.questions import Questions, batches, from_run
from training.watch import Fact, Watchman, measure, read

ROOT = Path(__file__).parents[1]
MANIFEST = ROOT / "manifests" / "miniature.yaml"
SMALL = {
    "queries": 2,
    "rollouts": 4,
    "steps": 4,
    "updates": 2,
    "learning_rate": 1e-3,
    "turns": 2,
    "turn_tokens": 8,
    "tokens": 900,
    "answer_tokens": 16,
    "pass_rollouts": 3,
    "parity_every": 1,
    "parity_most": 1e-3,
    "save_every": 2,
    "dump_every": 3,
}


def dataforge(*arguments: str) -> Result:
    """The command in this process: torch is imported once for all of them."""
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Questions:
    store = MediaStore(tmp_path_factory.mktemp("questions"))
    return Questions(questions(store, 8), store)


def manifest() -> Manifest:
    return load(MANIFEST)


def job(student: Path, asked: Questions, **changes: Any) -> rl.Job:
    return rl.prepare(str(student), manifest(), asked, Rl(**(SMALL | changes)))


class Coin(rl.Training):
    """Rollouts of a random student never end by themselves; here every other one is right, so that there is something
    to learn from. Only what the rollouts are worth is made up: they are sampled, scored and learned as always."""

    def grade(self, groups: Sequence[Sequence[Any]]) -> Any:
        ended = [
            [one._replace(trace=_answered(one.trace, right=at % 2 == 0)) for at, one in enumerate(members)]
            for members in groups
        ]
        return super().grade(ended)


def _answered(trace: Any, right: bool) -> Any:
    verdict = trace.verdicts[0].model_copy(update={"ok": right, "reason": "" if right else "wrong"})
    tokens = trace.tokens.model_copy(update={"ended": "answer"})
    return trace.model_copy(update={"tokens": tokens, "verdicts": (verdict,), "answer": "red"})


def numbers(out: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if "seconds" not in key} for line in read(out / "metrics.jsonl")]


def test_a_run_learns_logs_dumps_and_saves_a_student(student: Path, asked: Questions, tmp_path: Path) -> None:
    out = tmp_path / "out"
    training = Coin(job(student, asked), out)
    training.run()
    lines = numbers(out)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(line["gradient_norm"] > 0 and line["parity/most"] < 1e-4 for line in lines)
    assert lines[0]["accuracy"] == 0.5
    assert lines[0]["rollouts/fresh"] == 8
    assert training.sight.counts["pictures"] == 8  # two questions a step: once each, for sampler and learner together
    made = checkpoints.save_student(
        out, training.job.checkpoint, training.job.codec, training.accelerator, training.learner
    )
    again = rl.prepare(str(made), manifest(), asked, Rl(**SMALL))
    assert again.codec.end_id == training.job.codec.end_id
    runs = [folder for folder in out.glob("rollouts-*") if folder.is_dir()]
    with Run.open(runs[0]) as run:
        traces = list(run.traces())
    assert len(traces) == 16  # steps 1 and 4
    assert traces[0].tokens
    assert traces[0].tokens.advantage == 0.5
    shown = dataforge("show", traces[0].id, "--run", str(runs[0]))
    assert "framed tile" in shown.stdout
    judged = dataforge("filter", str(runs[0]), "--check", "answer", "--check", "replay")
    assert judged.exit_code in (0, 1), judged.stderr
    assert len(from_run(runs[0]).examples) == len({trace.example.id for trace in traces})


def test_a_stopped_run_goes_on_to_the_same_numbers(student: Path, asked: Questions, tmp_path: Path) -> None:
    Coin(job(student, asked), tmp_path / "whole").run()
    part = Coin(job(student, asked), tmp_path / "part")

    def stop(progress: rl.Progress) -> None:
        if progress.step == 3:  # after the state of step 2 was saved
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        part.run(stop)
    rest = Coin(job(student, asked), tmp_path / "part")
    assert rest.done == 2
    assert rest.replay.kept
    rest.run()
    assert numbers(tmp_path / "part") == numbers(tmp_path / "whole")
    with pytest.raises(UsageError, match=r"belongs to another training .*learning_rate"):
        Coin(job(student, asked, learning_rate=2e-3), tmp_path / "part")


def test_log_probabilities_are_compared_first_and_every_so_many_steps(
    student: Path, asked: Questions, tmp_path: Path
) -> None:
    def stop(progress: rl.Progress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Coin(job(student, asked, parity_every=3), tmp_path).run(stop)
    assert [line["step"] for line in numbers(tmp_path) if "parity/most" in line] == [1]
    Coin(job(student, asked, parity_every=3), tmp_path).run()  # goes on after step 2
    assert [line["step"] for line in numbers(tmp_path) if "parity/most" in line] == [1, 3, 4]


def test_groups_that_agree_are_dropped_and_replayed_ones_take_their_place(
    student: Path, asked: Questions, tmp_path: Path
) -> None:
    training = Coin(job(student, asked, replay={"size": 16}), tmp_path)
    training.step(1, [0, 1])
    assert len(training.replay.kept) == 8

    class Agree(Coin):
        def grade(self, groups: Sequence[Sequence[Any]]) -> Any:
            graded, facts = super().grade(groups)
            flat = [one._replace(trace=one.trace.model_copy(update=_worthless(one.trace))) for one in graded[0]]
            return [flat, *graded[1:]], facts

    training.__class__ = Agree
    seen = training.step(2, [2, 3])
    assert (seen["rollouts/fresh"], seen["rollouts/dropped"], seen["rollouts/replayed"]) == (4, 4, 4)


def _worthless(trace: Any) -> dict[str, Any]:
    return {"tokens": trace.tokens.model_copy(update={"advantage": 0.0})}


def test_broken_rollouts_are_in_no_loss_and_no_statistic(student: Path, asked: Questions, tmp_path: Path) -> None:
    training = rl.Training(job(student, asked), tmp_path)  # a random student: every turn is cut off
    before = [one.clone() for one in training.learner.parameters()]
    seen = training.step(1, [0, 1])
    assert (seen["broken"], seen["rollouts/fresh"], seen["updates"]) == (1.0, 0.0, 0.0)
    assert math.isnan(seen["accuracy"])
    assert all(bool((old == new).all()) for old, new in zip(before, training.learner.parameters(), strict=True))


@pytest.mark.parametrize(
    "changes", [{"lora": {"rank": 4}}, {"freeze_vision": False}, {"kl": 0.1}, {"forced_look": 0.5}]
)
def test_variants_learn_too(changes: dict[str, Any], student: Path, asked: Questions, tmp_path: Path) -> None:
    training = Coin(job(student, asked, steps=1, advantage="std", level="sequence", **changes), tmp_path)
    seen = training.step(1, [0, 1])
    assert seen["gradient_norm"] > 0
    assert seen["parity/most"] < 1e-3
    made = checkpoints.save_student(
        tmp_path, training.job.checkpoint, training.job.codec, training.accelerator, training.learner
    )
    assert (made / "model.safetensors").exists()


def test_two_ranks_learn_what_one_does(student: Path, asked: Questions, tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.test_rl import Coin, job\n"
        "from training.questions import Questions\n"
        "from tests.tiny_students import questions\n"
        "from dataforge.media import MediaStore\n"
        "student, media, out = map(Path, sys.argv[1:4])\n"
        "store = MediaStore(media)\n"
        "asked = Questions(questions(store, 8), store)\n"
        "training = Coin(job(student, asked, replay={'size': 0}, steps=2, save_every=9, updates=1), out)\n"
        "training.run()\n"
        "print('ranks', training.accelerator.num_processes)\n"
    )
    arguments = [str(script), str(student), str(asked.store.folder)]
    # accelerate's launcher starts one process only where there is no GPU: this is what it runs where there are some
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    for name, command, ranks in (("one", [], 1), ("two", launch, 2)):
        done = subprocess.run(
            [sys.executable, *command, *arguments, str(tmp_path / name)],
            capture_output=True,
            text=True,
            env=_environment(),
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count(f"ranks {ranks}") == ranks
    one, two = numbers(tmp_path / "one"), numbers(tmp_path / "two")
    assert len(one) == len(two) == 2
    for mine, theirs in zip(one, two, strict=True):
        for key in ("loss", "gradient_norm", "reward", "rapr", "rollouts/fresh", "entropy", "sampled_tokens"):
            assert mine[key] == pytest.approx(theirs[key], rel=1e-3, abs=1e-5), key


def _environment() -> dict[str, str]:
    import os

    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


# ------------------------------------------------------------------------------------------------------- watching


def fact(**changes: Any) -> Fact:
    told: dict[str, Any] = {
        "group": "a",
        "source": "drawn",
        "medium": "image",
        "ended": "answer",
        "correct": True,
        "counts": True,
    }
    told |= {"calls": 0, "ran": 0, "bonus": 0.0, "penalty": 0.0, "reward": 1.0, "advantage": 0.0}
    return Fact(**(told | {"sampled": 10, "length": 100, "surprise": 5.0} | changes))


def test_what_is_measured_of_a_step() -> None:
    facts = [
        fact(),
        fact(correct=False, calls=1, ran=1, reward=0.1, bonus=0.1),
        fact(calls=2, ran=1, group="b", source="other"),
        fact(ended="length", counts=False, correct=False, group="b", calls=1),
    ]
    seen = measure(facts)
    assert seen["accuracy"] == pytest.approx(2 / 3)
    assert seen["rapr"] == pytest.approx(2 / 3)
    assert seen["errors"] == 0.5
    assert seen["uniform"] == 0.5  # group b has one whole rollout alone
    assert seen["broken"] == 0.25
    assert seen["accuracy_with_looks"] == 0.5
    assert seen["accuracy_without"] == 1.0
    assert seen["accuracy/other"] == 1.0
    assert seen["looks/1"] == pytest.approx(2 / 3)
    assert seen["entropy"] == 0.5


def test_the_dashboard_shows_the_course_of_each_measure() -> None:
    from rich.console import Console

    from dataforge.cli.rl_screen import board, spark

    assert spark([0.0, 0.5, None, float("nan"), 1.0], 1.0) == "▁▅█"
    history = [measure([fact(correct=False)]), measure([fact(), fact(group="b", calls=1, ran=1)])]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(board(2, 10, history, ["rapr 0.02 is below 0.1"]))
    told = console.export_text()
    for words in ("step 2 of 10", "RaPR", "0.500", "▁█", "on drawn", "1: 50%", "rapr 0.02 is below 0.1"):
        assert words in told


def test_alarms_are_raised_once_after_so_many_steps_in_a_row() -> None:
    watchman = Watchman(Alarms(steps=3, rapr=0.1))
    well = {"rapr": 0.5, "uniform": 0.2, "errors": 0.1}
    low = well | {"rapr": 0.02}
    raised = [watchman.see(metrics) for metrics in (low, low, well, low, low, low, low)]
    assert [bool(one) for one in raised] == [False] * 5 + [True, False]
    assert raised[5] == ["rapr 0.02 is below 0.1 for 3 steps: no operations are used: looking pays too little"]


def test_an_alarm_may_stop_the_run(student: Path, asked: Questions, tmp_path: Path) -> None:
    alarms = {"steps": 2, "then": "stop"}
    with pytest.raises(rl.Stopped, match=r"step 2: rapr 0\.00 is below"):
        Coin(job(student, asked, alarms=alarms), tmp_path).run()


def test_the_rate_rises_and_falls_to_its_end() -> None:
    recipe = Rl(**(SMALL | {"steps": 10, "updates": 10, "warm_up": 0.1, "end_rate": 0.5}))
    rates = [rl.rate(update, recipe) for update in range(1, 101)]
    assert rates[:10] == pytest.approx([0.1 * at for at in range(1, 11)])
    assert rates[-1] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)


# ------------------------------------------------------------------------------------------------ questions, command


def test_batches_go_through_all_questions_in_an_order_of_each_epoch() -> None:
    drawn = batches(6, 4, seed=1)
    first = [next(drawn) for _ in range(3)]
    assert sorted(first[0] + first[1][:2]) == list(range(6))
    assert first != [one for one, _ in zip(batches(6, 4, seed=2), range(3), strict=False)]
    with pytest.raises(UsageError, match="no question is left"):
        next(batches(0, 4, seed=1))


def test_the_dry_run_counts_without_weights(student: Path, tmp_path: Path) -> None:
    command = ["train", "rl", "-m", str(MANIFEST), "--student", str(student), "--out", str(tmp_path / "out")]
    told = dataforge(*command, "--limit", "8", "--dry-run", "--json", "--set", "queries=4", "--set", "steps=6")
    plan = json.loads(told.stdout)
    assert (plan["questions"], plan["rollouts_a_step"], plan["epochs"]) == (8, 32, 3.0)
    assert 0 < plan["trained"] < plan["parameters"]
    assert plan["recipe"]["queries"] == 4
    assert plan["learner_bytes"] == plan["parameters"] * 4 + plan["trained"] * 12
    assert not (tmp_path / "out").exists()
    shown = " ".join(dataforge(*command, "--limit", "8", "--dry-run", "--set", "lora.rank=4").stdout.split())
    for words in ("curiosity, alpha 2.5, rapr 0.5, beta 0.05, most 1", " MiB of weights", "lora (rank 4, alpha 64,"):
        assert words in shown, words
    assert "at most a second of one H100" in shown
    assert "assumed of an H100, not measured: 4e+14 FLOP/s in passes; 2,500 tokens/s sampled of 7.6 B" in shown
    assert "{" not in shown


def test_sizes_and_times_are_told_in_a_persons_units() -> None:
    assert [rl_plan.size_of(count) for count in (2000, 5 * 2**20, 80 * 2**30)] == ["2.0 KiB", "5.0 MiB", "80.0 GiB"]
    assert [rl_plan.span_of(count) for count in (0.2, 3, 150, 7200 * 5)] == [
        "a second",
        "3.0 seconds",
        "2.5 minutes",
        "10.0 hours",
    ]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--set", "rewards=1"], "unknown option 'rewards': did you mean 'reward'"),
        (["--set", "reward.name=joy"], "no reward is called 'joy'"),
        (["--set", "reward.alfa=1"], "did you mean 'alpha'"),
        (["--student", "nowhere/at/all"], "no student nowhere/at/all"),
        (["--run", "a", "--dataset", "b"], "--run or --dataset, not both"),
    ],
)
def test_what_the_person_must_change_is_told_in_a_line(
    more: list[str], told: str, student: Path, tmp_path: Path
) -> None:
    base = ["train", "rl", "-m", str(MANIFEST), "--student", str(student), "--out", str(tmp_path), "-n", "2"]
    with pytest.raises(UsageError, match=re.escape(told)):
        dataforge(*base, *more)


def test_shared_weights_are_refused(
    student: Path, asked: Questions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.FSDP)
    with pytest.raises(UsageError, match="launch without FSDP"):
        rl.Training(job(student, asked), tmp_path)


def test_a_recipe_is_changed_by_single_values() -> None:
    changed = laid_over(Rl(), ["learning_rate=1e-5", "reward.alpha=1.0", "lora.rank=8", "vllm=[http://a:8000]"])
    assert changed.learning_rate == 1e-5
    assert changed.reward == {"name": "curiosity", "alpha": 1.0}
    assert changed.lora
    assert changed.vllm == ("http://a:8000",)
    paper = Rl()
    assert (paper.queries, paper.rollouts, paper.learning_rate, paper.updates) == (512, 8, 1e-6, 16)


def test_a_rollout_shows_its_worth(student: Path, asked: Questions) -> None:
    made = job(student, asked)
    one = said(asked.examples[0], setting(made.codec, asked.store), call([11, 11, 21, 21]), "Seen.\n\\boxed{red}")
    assert one.tokens.policy == 3
