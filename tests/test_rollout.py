"""Rollouts: what the student says is run, recorded and played again; engine and learner see the same."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch

from dataforge import chat, plugins
from dataforge.media import MediaStore
from dataforge.plugins import Kit
from dataforge.records import Call, Step, Trace, parse_line, to_line
from tests.tiny_students import build, call, load, questions, said, setting
from training import parity, tiny
from training.batches import Sample, pad
from training.encoding import Codec
from training.engine import LocalEngine, Lure, Request
from training.likelihood import Likelihood
from training.passes import Sight, unsampled
from training.rollout import begin, differences, group, replay, right, whole
from training.shared import Conversation, SharedLikelihood, tree

ANSWER = "Seen.\n\\boxed{red}"


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_5_vl"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Codec, Path]:
    family: tiny.Family = request.param
    folder = tmp_path_factory.mktemp(family)
    return build(folder, family), folder


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    return build(tmp_path_factory.mktemp("student"))


def rollout_of(codec: Codec, store: MediaStore, *texts: str, **budget: int) -> Trace:
    return said(questions(store, 1)[0], setting(codec, store, **budget), *texts).trace


# ------------------------------------------------------------------------------------------------- what a turn leads to


def test_a_look_is_run_and_an_answer_ends_the_rollout(codec: Codec, store: MediaStore) -> None:
    trace = rollout_of(codec, store, call([11, 11, 21, 21]), ANSWER)
    look, last = trace.steps
    assert look.observation
    assert [view.number for view in look.observation.views] == [2]
    assert (last.role, trace.answer, trace.kind) == ("answer", "red", "rollout")
    assert trace.tokens
    assert (trace.tokens.ended, len(trace.tokens.spans)) == ("answer", 2)
    assert sum(trace.tokens.mask) == len(trace.tokens.logprobs)
    assert right(trace) == (trace.example.answers == ("red",))
    assert whole(trace)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (call([11, 11, 21, 21], image=5), "unknown_image"),
        (call([21, 11, 11, 21]), "reversed_box"),
        (call([11, 11, 21, 21], name="zoom_out"), "unknown_operation"),
        ("<tool_call>\nnothing\n</tool_call>", "malformed_call"),
        ('<tool_call>\n{"name": "<|im_start|>", "arguments": {}}\n</tool_call>', "malformed_call"),
        (call([1, 1, 9, 9]) + call([1, 1, 9, 9]), "several_calls"),
        ("I don't know.", "no_answer"),
    ],
)
def test_what_cannot_be_run_is_answered_by_a_sentence(said: str, error: str, codec: Codec, store: MediaStore) -> None:
    trace = rollout_of(codec, store, said, ANSWER)
    seen = trace.steps[0].observation
    assert seen
    assert (seen.error, seen.views, trace.answer) == (error, (), "red")


def test_a_result_without_room_for_an_answer_is_refused(codec: Codec, store: MediaStore) -> None:
    free = rollout_of(codec, store, call([11, 11, 21, 21]), ANSWER).tokens
    assert free
    room = free.spans[1][0] + 63  # one token less than the look and 64 for the answer take
    trace = rollout_of(codec, store, call([11, 11, 21, 21]), ANSWER, tokens=room, answer_tokens=64)
    assert trace.steps[0].observation
    assert trace.steps[0].observation.error == "no_room"
    assert trace.answer == "red"
    assert trace.tokens
    assert len(trace.tokens.ids) <= room
    tight = rollout_of(codec, store, call([11, 11, 21, 21]), tokens=room - 40, answer_tokens=64)
    assert tight.tokens
    assert tight.tokens.ended == "room"


def test_a_turn_that_is_cut_off_and_too_many_turns_are_not_whole(codec: Codec, store: MediaStore) -> None:
    cut = rollout_of(codec, store, call([11, 11, 21, 21]), turn_tokens=5)
    long = rollout_of(codec, store, *[call([11, 11, 21, 21])] * 4)
    for trace, ended in ((cut, "length"), (long, "turns")):
        assert trace.tokens
        assert trace.tokens.ended == ended
        assert not whole(trace)
    errors = [step.observation.error for step in long.steps if step.observation]
    assert errors == ["", "", "too_many_operations", "too_many_operations"]


# --------------------------------------------------------------------------------------------- the record


def test_a_rollout_is_stored_as_a_trace_and_plays_again_bit_for_bit(codec: Codec, store: MediaStore) -> None:
    where = setting(codec, store)
    trace = rollout_of(codec, store, call([11, 11, 21, 21]), "<tool_call>\n{}\n</tool_call>", ANSWER)
    stored = parse_line(to_line(trace), Trace, "line")
    assert stored == trace
    assert differences(stored, replay(stored, where).trace) == []
    assert plugins.build("check", "replay").judge(stored, Kit(store)).ok


def test_replay_tells_what_was_tampered_with(codec: Codec, store: MediaStore) -> None:
    where = setting(codec, store)
    trace = rollout_of(codec, store, call([11, 11, 21, 21]), ANSWER)
    assert trace.tokens
    ids = list(trace.tokens.ids)
    ids[3] += 1
    changed = trace.model_copy(update={"tokens": trace.tokens.model_copy(update={"ids": tuple(ids)})})
    assert differences(changed, replay(changed, where).trace) == [f"token 3 of {trace.id} is not what was recorded"]
    look = trace.steps[0]
    assert look.observation
    view = look.observation.views[0].model_copy(update={"sha256": "0" * 64})
    other = look.model_copy(update={"observation": look.observation.model_copy(update={"views": (view,)})})
    changed = trace.model_copy(update={"steps": (other, *trace.steps[1:])})
    assert differences(changed, replay(changed, where).trace) == [f"image 2 of {trace.id} is not what was recorded"]


# ----------------------------------------------------------------------------------------- sampler and learner


def conversations(made: tuple[Codec, Path], store: MediaStore, student: Any) -> tuple[list[Conversation], list[float]]:
    """Two questions, three conversations each, of two sampled turns with a look between; their log-probabilities."""
    codec, _ = made
    where = setting(codec, store)
    engine = LocalEngine(student, codec)
    starts = [begin(example, where) for example in questions(store, 2)]

    async def converse(number: int, at: int) -> tuple[Conversation, list[float]]:
        episode, encoding = starts[number].episode.fork(), starts[number].encoding.fork()
        name, scores = f"{number}/{at}", []
        for turn in range(2):
            pictures = {view.sha256: episode.workspace.picture(view.number) for view in episode.workspace.views}
            sampled = await engine.sample(Request(name, encoding, pictures, 4 + 3 * at, seed=10 * number + at))
            encoding.sampled(sampled.ids)
            scores += sampled.logprobs
            if turn == 0 and at < 2:
                box = [11 + 20 * at, 11, 41 + 20 * at, 51]
                seen = episode.act(Call(name="zoom_in", arguments={"bbox_2d": box, "target_image": 1}))
                for result in chat.result_turns(Step(thought="", observation=seen), 0, codec.student):
                    encoding.append(result, episode.workspace.views)
            elif turn == 0:
                encoding.append(chat.ChatTurn("user", (chat.Part("Go on."),)), ())
            if turn == 0:
                encoding.ask()
        engine.release(name)
        pictures = {view.sha256: episode.workspace.picture(view.number) for view in episode.workspace.views}
        return Conversation.of(name, encoding, pictures), scores

    async def both() -> list[tuple[Conversation, list[float]]]:
        return await asyncio.gather(*(converse(number, at) for number in range(2) for at in range(3)))

    found = asyncio.run(both())
    assert engine.counts["passes"] < 40  # six conversations side by side, not one after the other
    assert engine.sight.counts["pictures"] == 6  # each once: two openings, two looks at each
    return [one for one, _ in found], [score for _, scores in found for score in scores]


def test_sampled_log_probabilities_are_the_learners(made: tuple[Codec, Path], store: MediaStore) -> None:
    codec, folder = made
    student = load(folder)
    found, sampled = conversations(made, store, student)
    shared = SharedLikelihood(student, codec)
    scores = shared(tree(found, codec))
    assert torch.tensor(sampled) == pytest.approx(scores.detach(), abs=1e-4)
    # and both are those of each conversation by itself, gradients too
    samples = []
    for one in found:
        pixels = [codec.pixels(one.pictures[view.sha256]) for view in one.views]
        grids = [codec.patch_grid(view) for view in one.views]
        samples.append(Sample(one.ids, one.learn, one.positions, torch.tensor(grids).numpy(), torch.cat(pixels)))
    alone = Likelihood(student, suppressed=unsampled(student, codec))(pad(samples, codec.pad_id, codec.image_id))
    assert alone.detach() == pytest.approx(scores.detach(), abs=1e-4)
    weights = torch.linspace(-1, 1, len(scores))
    moving = list(student.parameters())
    mine = torch.autograd.grad((scores * weights).sum(), moving, allow_unused=True)
    theirs = torch.autograd.grad((alone * weights).sum(), moving, allow_unused=True)
    for here, there in zip(mine, theirs, strict=True):
        if there is not None:
            assert here is not None
            assert (here - there).norm() <= 1e-3 * there.norm() + 1e-5


def test_a_frozen_tower_sees_each_picture_once_for_sampler_and_learner(codec: Codec, store: MediaStore) -> None:
    student = load(Path(codec.tokenizer.name_or_path))
    where = setting(codec, store, turn_tokens=6)
    sight = Sight(student, codec)
    engine = LocalEngine(student, codec, sight)
    start = begin(questions(store, 1)[0], where)
    found = asyncio.run(group(start, 8, engine, where, policy=0, seed=1))
    made = [Conversation.of(one.trace.id, one.encoding, one.pictures) for one in found]
    SharedLikelihood(student, codec, sight)(tree(made, codec))
    assert sight.counts == {"pictures": 1, "passes": 1}
    assert engine.counts["tokens"] < len(start.encoding) + 8 * 6  # the opening is read once for all eight


def test_sampling_depends_on_the_seed_alone(codec: Codec, store: MediaStore) -> None:
    student = load(Path(codec.tokenizer.name_or_path))
    where = setting(codec, store, turn_tokens=8)
    start = begin(questions(store, 1)[0], where)

    def run(count: int, seed: int) -> list[tuple[int, ...]]:
        found = asyncio.run(group(start, count, LocalEngine(student, codec), where, policy=0, seed=seed))
        return [one.tokens.ids for one in found]

    assert run(4, seed=1)[:2] == run(2, seed=1)  # whoever else is in the batch
    assert run(2, seed=1) != run(2, seed=2)


def test_a_lured_token_has_the_log_probability_of_the_mixture(codec: Codec, store: MediaStore) -> None:
    student = load(Path(codec.tokenizer.name_or_path))
    where = setting(codec, store, turn_tokens=1)
    start = begin(questions(store, 1)[0], where)
    token = codec.encode("<tool_call>")[0]
    lured = SharedLikelihood(student, codec)

    async def drawn() -> list[tuple[int, float]]:
        engine = LocalEngine(student, codec)
        pictures = {view.sha256: start.episode.workspace.picture(view.number) for view in start.episode.opening}
        requests = [Request(str(at), start.encoding, pictures, 1, at, Lure(token, 0.5)) for at in range(200)]
        found = await asyncio.gather(*map(engine.sample, requests))
        return [(one.ids[0], one.logprobs[0]) for one in found]

    found = asyncio.run(drawn())
    assert 0.4 < sum(one == token for one, _ in found) / 200 < 0.6
    plain: dict[int, float] = {}
    for one, score in dict(found).items():
        encoding = start.encoding.fork()
        encoding.sampled([one])
        pictures = {view.sha256: start.episode.workspace.picture(view.number) for view in start.episode.opening}
        plain[one] = lured(tree([Conversation.of("a", encoding, pictures)], codec)).exp().item()
        wanted = 0.5 * plain[one] + (0.5 if one == token else 0.0)
        assert torch.tensor(score).exp().item() == pytest.approx(wanted, rel=1e-3)


# ----------------------------------------------------------------------------------------------------- the gate


@pytest.fixture(scope="module")
def gated(codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trace, Conversation]:
    store = MediaStore(tmp_path_factory.mktemp("gate"))
    one = said(questions(store, 1)[0], setting(codec, store), call([11, 11, 21, 21]), ANSWER)
    return one.trace, Conversation.of(one.trace.id, one.encoding, one.pictures)


def changed(one: Conversation, **values: object) -> Conversation:
    return Conversation(**(vars(one) | values))  # type: ignore[arg-type]


def test_the_gate_lets_the_same_through(gated: tuple[Trace, Conversation], codec: Codec) -> None:
    trace, one = gated
    parity.check([trace], [one], codec)
    assert trace.tokens
    assert parity.compare([trace], trace.tokens.logprobs, most=1e-6) == (0.0, 0.0)


def test_the_gate_names_an_extra_token(gated: tuple[Trace, Conversation], codec: Codec) -> None:
    import numpy as np

    trace, one = gated
    extra = changed(one, ids=np.insert(one.ids, one.opening + 2, 5), learn=np.insert(one.learn, one.opening + 2, True))
    with pytest.raises(parity.Breach, match=rf"token {one.opening + 2} \(turn 1\)"):
        parity.check([trace], [extra], codec)
    with pytest.raises(parity.Breach, match=rf"an extra token at {len(one.ids)} \(after the last turn\)"):
        parity.check([trace], [changed(one, ids=np.append(one.ids, 5))], codec)


def test_the_gate_names_a_missing_and_a_changed_image(gated: tuple[Trace, Conversation], codec: Codec) -> None:
    trace, one = gated
    look = one.views[1]
    with pytest.raises(parity.Breach, match="image 2 is missing"):
        parity.check([trace], [changed(one, pictures={one.views[0].sha256: one.pictures[one.views[0].sha256]})], codec)
    with pytest.raises(parity.Breach, match="image 2: 1 images, 2 were shown"):
        parity.check([trace], [changed(one, views=one.views[:1])], codec)
    other = one.pictures[look.sha256].rotate(180)
    with pytest.raises(parity.Breach, match="image 2 has other pixels"):
        parity.check([trace], [changed(one, pictures={**one.pictures, look.sha256: other})], codec)
    moved = look.model_copy(update={"box": look.box._replace(x1=look.box.x1 + 3)})
    with pytest.raises(parity.Breach, match="image 2 has other pixels"):
        parity.check([trace], [changed(one, views=(one.views[0], moved))], codec)


def test_the_gate_names_the_first_token_that_is_scored_otherwise(gated: tuple[Trace, Conversation]) -> None:
    trace, _ = gated
    assert trace.tokens
    scores = list(trace.tokens.logprobs)
    second = trace.tokens.spans[1]
    scores[-1] -= 0.2
    with pytest.raises(parity.Breach, match=rf"token {second[1] - 1} \(turn 2\) has log-probability -0.7"):
        parity.compare([trace], scores, most=0.1)
    with pytest.raises(parity.Breach, match="has log-probability nan"):
        parity.compare([trace], [float("nan"), *scores[1:]], most=0.1)
