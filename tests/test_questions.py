"""Where RL's questions come from: a published set, and what a student gets right now and then."""

import json
from pathlib import Path

import pytest
import torch

from dataforge.errors import UsageError
from dataforge.manifest import load
from dataforge.media import MediaStore
from dataforge.recipe import Rl
from dataforge.runs import Run, find_run
from tests.test_rl import MANIFEST, SMALL, dataforge, manifest, numbers
from tests.tiny_students import build, said
from training import rl
from training.difficulty import keep_undecided
from training.questions import Questions, from_set, from_source
from training.rl_state import load_student
from training.shared import Conversation, SharedLikelihood, tree

CHANGES = [f"--set={key}={value}" for key, value in (SMALL | {"steps": 2, "turn_tokens": 16}).items()]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that says red or green, whatever it is asked."""
    folder = tmp_path_factory.mktemp("student")
    build(folder)
    store = MediaStore(tmp_path_factory.mktemp("lessons"))
    asked = from_source(load(MANIFEST), store, 14)
    job = rl.prepare(str(folder), manifest(), asked, Rl(**SMALL))
    lessons = [
        said(example, job.setting, f"\\boxed{{{color}}}") for example in asked.examples for color in ("red", "green")
    ]
    made = [Conversation.of(str(at), one.encoding, one.pictures) for at, one in enumerate(lessons)]
    learner = SharedLikelihood(load_student(str(folder), job.recipe), job.codec)
    optimizer = torch.optim.AdamW([one for one in learner.parameters() if one.requires_grad], 3e-3)
    for _ in range(30):
        optimizer.zero_grad()
        loss = -learner(tree(made, job.codec)).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.25  # of a handful of tokens one is open, and worth log 2
    learner.student.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Traces of miniatures, as a set that lies in a folder."""
    folder = tmp_path_factory.mktemp("published")
    made = dataforge("synth", "-m", str(MANIFEST), "-n", "12", "--runs", str(folder / "runs"))
    assert made.exit_code == 0, made.stderr
    judged = dataforge("filter", "--runs", str(folder / "runs"))
    assert judged.exit_code == 0, judged.stderr
    pushed = dataforge("push", "--runs", str(folder / "runs"), "--to", str(folder / "set"))
    assert pushed.exit_code == 0, pushed.stderr
    return folder


def test_the_queries_of_a_set_are_the_questions_of_its_run(published: Path, tmp_path: Path) -> None:
    store = MediaStore(tmp_path)
    found = from_set(str(published / "set"), store)
    with Run.open(find_run(published / "runs", "latest")) as run:
        asked = {trace.example.id: trace.example for trace in run.traces()}
    held_out = from_set(str(published / "set"), store, split="validation").examples
    assert {one.id for one in found.examples} | {one.id for one in held_out} == set(asked)
    assert not {one.id for one in found.examples} & {one.id for one in held_out}
    for one in found.examples:
        theirs = asked[one.id]
        assert (one.question, one.answers, one.media) == (theirs.question, theirs.answers, theirs.media)
        assert store.path(one.media[0]).read_bytes() == run.store.path(one.media[0]).read_bytes()
    assert len(from_set(str(published / "set"), store, limit=3).examples) == 3
    with pytest.raises(UsageError, match=r"nowhere is no set with queries and media"):
        from_set(str(tmp_path / "nowhere"), store)


def test_train_rl_asks_the_queries_of_a_published_set(published: Path, student: Path, tmp_path: Path) -> None:
    base = ["train", "rl", "-m", str(MANIFEST), "--student", str(student), "--dataset", str(published / "set")]
    planned = dataforge(*base, "--out", str(tmp_path / "plan"), *CHANGES, "--dry-run", "--json")
    asked = from_set(str(published / "set"), MediaStore(tmp_path)).examples
    assert json.loads(planned.stdout)["questions"] == len(asked)
    assert not (tmp_path / "plan").exists()
    done = dataforge(*base, "--out", str(tmp_path / "out"), *CHANGES)
    assert done.exit_code == 0, done.stderr
    lines = numbers(tmp_path / "out")
    assert len(lines) == 2
    assert all(line["broken"] < 0.5 and line["parity/most"] < 1e-3 for line in lines)
    assert any(line["accuracy"] > 0 for line in lines)
    assert (tmp_path / "out" / "student" / "model.safetensors").exists()
    again = dataforge(*base, "--out", str(tmp_path / "out"), *CHANGES)  # done already: the same set is known again
    assert again.exit_code == 0, again.stderr
    assert numbers(tmp_path / "out") == lines


def test_only_what_is_right_now_and_then_is_asked(student: Path, tmp_path: Path) -> None:
    command = ["train", "rl", "-m", str(MANIFEST), "--student", str(student), "--out", str(tmp_path), "-n", "14"]
    done = dataforge(*command, "--difficulty", "10", *CHANGES)
    assert done.exit_code == 0, done.stderr
    told = json.loads((tmp_path / "difficulty.json").read_text())
    assert (told["student"], told["samples"], len(told["right"])) == (str(student), 10, 14)
    asked = from_source(load(MANIFEST), MediaStore(tmp_path / "again"), 14)
    colors = {one.id: one.answers[0] for one in asked.examples}
    assert {colors[one] for one, right in told["right"].items() if right == 0} <= {"blue", "yellow", "green"}
    assert all(0 < right < 10 for one, right in told["right"].items() if colors[one] == "red")
    with pytest.raises(UsageError, match=r"is of another pass .*'samples': 10.*: delete it"):
        dataforge(*command, "--difficulty", "4", *CHANGES)
    with pytest.raises(UsageError, match=r"--difficulty 1 finds nothing"):
        dataforge(*command, "--difficulty", "1", *CHANGES)


def test_a_pass_goes_on_with_what_is_new_and_says_when_nothing_is_left(student: Path, tmp_path: Path) -> None:
    asked = from_source(load(MANIFEST), MediaStore(tmp_path / "media"), 14)
    red = [one for one in asked.examples if one.answers == ("red",)]
    other = [one for one in asked.examples if one.answers[0] in ("blue", "yellow")]
    assert red
    assert other

    def job(examples: list) -> rl.Job:  # type: ignore[type-arg]
        recipe = Rl(**(SMALL | {"turn_tokens": 16}))
        return rl.prepare(str(student), manifest(), Questions(examples, asked.store), recipe)

    first = keep_undecided(job(red), 8, tmp_path)
    path = tmp_path / "difficulty.json"
    told = json.loads(path.read_text())
    told["right"][red[0].id] = 8  # known from before, so not asked again: it is always right, and goes
    path.write_text(json.dumps(told))
    then = keep_undecided(job(red + other), 8, tmp_path)
    assert [one.id for one in then.questions.examples] == [one.id for one in first.questions.examples[1:]]
    assert then.questions.refused == 1 + len(other)
    with pytest.raises(UsageError, match=f"none of {len(other)} questions right now and then"):
        keep_undecided(job(other), 8, tmp_path)
    path.write_text("{")
    with pytest.raises(UsageError, match="is broken: delete it"):
        keep_undecided(job(red), 8, tmp_path)
