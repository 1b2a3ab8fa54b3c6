"""Traces as token ids, mask, positions and pixels, against the students' own templates, processors and models."""

import copy
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers")
import numpy as np
import torch

from dataforge import chat
from dataforge.chat import ChatTurn, Part
from dataforge.errors import ExampleError, UsageError
from dataforge.geometry import Box
from dataforge.operations.zoom_in import ZoomIn
from dataforge.records import Call, Observation, Step, Student, Trace, View
from dataforge.runs import Run
from tests import tiny_run
from training import batches, templates, tiny
from training.encoding import Codec
from training.fit import message
from training.likelihood import Likelihood
from training.preview import pieces
from training.render import pictures, render
from training.trace_set import open_set

PATCH = {"qwen2_5_vl": 28, "qwen3_vl": 32}
FORMS = [("qwen2_5_vl", "tagged"), ("qwen3_vl", "tagged"), ("qwen3_vl", "native")]
SMALL = tiny.Size(hidden=64, layers=2, heads=4, vision_hidden=32, vision_layers=2, vision_heads=2, vocabulary=1024)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("students")
    families: tuple[tiny.Family, ...] = ("qwen2_5_vl", "qwen3_vl")
    return {name: str(tiny.build(folder / name, name, size=SMALL)) for name in families}


@pytest.fixture(scope="module")
def codecs(checkpoints: dict[str, str]) -> dict[tuple[str, str], Codec]:
    made = {}
    for family, calls in FORMS:
        read_by = tiny_run.student(PATCH[family], calls)  # type: ignore[arg-type]
        made[family, calls] = Codec.load(checkpoints[family], read_by, [ZoomIn()])
    return made


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Run]:
    folder = tmp_path_factory.mktemp("runs")
    made: dict[tuple[str, str], Run] = {}

    def run(family: str, calls: str) -> Run:
        if (family, calls) not in made:
            made[family, calls] = tiny_run.make(folder, patch=PATCH[family], calls=calls)  # type: ignore[arg-type]
        return made[family, calls]

    return run


def marked(encoding: Any) -> str:
    """The encoding's text with what is learned in ⟦ ⟧ and an image by its number of tokens."""
    return "".join(
        f"({piece.tokens})" if piece.view else f"⟦{piece.text}⟧" if piece.learned else piece.text
        for piece in pieces(encoding)
    )


def whole_ids(trace: Trace, codec: Codec) -> list[int]:
    """Token ids of the trace's text, rendered and read at once: what `render` has to reach turn by turn."""
    turns = chat.turns(trace, codec.operations, codec.student, system=codec.system, beside=codec.beside)
    shown = iter(trace.all_views)
    ids: list[int] = []
    for one in codec.encode(codec.text([message(turn) for turn in turns])):
        rows, columns = codec.grid(next(shown)) if one == codec.image_id else (1, 1)
        ids += [one] * (rows * columns)
    return ids


# ------------------------------------------------------------------------------------------- golden texts and ids


def view(number: int, width: int, height: int) -> View:
    return View(number=number, width=width, height=height, sha256="", box=Box(0, 0, width, height))


def golden_codec(family: tiny.Family, calls: str, checkpoint: str) -> Codec:
    """A student whose tokenizer has no merges: a byte is a token, and special tokens follow from 256 on."""
    codec = Codec.load(checkpoint, tiny_run.student(PATCH[family], calls), [ZoomIn()])  # type: ignore[arg-type]
    bytewise = tiny.tokenizer([], 256, family)
    return Codec(bytewise, codec.image_processor, codec.student, codec.operations, system=None)


def golden_turns(codec: Codec) -> tuple[list[ChatTurn], list[View]]:
    side = codec.student.patch * 2
    views = [view(1, side, side), view(2, side, 2 * side)]
    call = Call(name="z", arguments={"n": 1})
    shown = Observation(text="V:", views=(views[1],))
    step = Step(thought="Hm.", call=call, observation=shown, learn="thought")
    turns = [ChatTurn("system", (Part("S"),)), ChatTurn("user", (Part(view=1), Part("Q")))]
    turns += [chat.student_turn(step, 0, "", (), views, codec.student), *chat.result_turns(step, 0, codec.student)]
    turns += [chat.student_turn(Step(thought="So."), 1, "7", (), views, codec.student)]
    return turns, views


TAGGED_TEXT = (
    "<|im_start|>system\nS<|im_end|>\n"
    "<|im_start|>user\n<|vision_start|>(4)<|vision_end|>Q<|im_end|>\n"
    '<|im_start|>assistant\n⟦Hm.⟧\n<tool_call>\n{"name": "z", "arguments": {"n": 1}}\n</tool_call><|im_end|>\n'
    "<|im_start|>user\n<tool_response>\nV:<|vision_start|>(8)<|vision_end|>\n</tool_response><|im_end|>\n"
    "<|im_start|>assistant\n⟦So.\n\\boxed{7}<|im_end|>⟧\n"
)
NATIVE_TEXT = (
    "<|im_start|>user\n<|vision_start|>(4)<|vision_end|>Q<|im_end|>\n"
    '<|im_start|>assistant\n⟦Hm.⟧\n<tool_call>\n{"name": "z", "arguments": {"n": 1}}\n</tool_call><|im_end|>\n'
    "<|im_start|>user\n<tool_response>\nV:\n</tool_response><|im_end|>\n"
    "<|im_start|>user\nV:<|vision_start|>(8)<|vision_end|><|im_end|>\n"
    "<|im_start|>assistant\n⟦So.\n\\boxed{7}<|im_end|>⟧\n"
)
# fmt: off
TAGGED_IDS = [
    257, 82, 88, 82, 83, 68, 76, 198, 50, 258, 198, 257, 84, 82, 68, 81, 198, 265, 268, 268, 268, 268, 266, 48, 258,
    198, 257, 64, 82, 82, 72, 82, 83, 64, 77, 83, 198, 39, 76, 13, 198, 270, 198, 90, 1, 77, 64, 76, 68, 1, 25, 220,
    1, 89, 1, 11, 220, 1, 64, 81, 70, 84, 76, 68, 77, 83, 82, 1, 25, 220, 90, 1, 77, 1, 25, 220, 16, 92, 92, 198,
    271, 258, 198, 257, 84, 82, 68, 81, 198, 272, 198, 53, 25, 265, 268, 268, 268, 268, 268, 268, 268, 268, 266,
    198, 273, 258, 198, 257, 64, 82, 82, 72, 82, 83, 64, 77, 83, 198, 50, 78, 13, 198, 59, 65, 78, 87, 68, 67, 90,
    22, 92, 258, 198,
]
NATIVE_IDS = [
    257, 84, 82, 68, 81, 198, 265, 268, 268, 268, 268, 266, 48, 258, 198, 257, 64, 82, 82, 72, 82, 83, 64, 77, 83,
    198, 39, 76, 13, 198, 270, 198, 90, 1, 77, 64, 76, 68, 1, 25, 220, 1, 89, 1, 11, 220, 1, 64, 81, 70, 84, 76, 68,
    77, 83, 82, 1, 25, 220, 90, 1, 77, 1, 25, 220, 16, 92, 92, 198, 271, 258, 198, 257, 84, 82, 68, 81, 198, 272,
    198, 53, 25, 198, 273, 258, 198, 257, 84, 82, 68, 81, 198, 53, 25, 265, 268, 268, 268, 268, 268, 268, 268, 268,
    266, 258, 198, 257, 64, 82, 82, 72, 82, 83, 64, 77, 83, 198, 50, 78, 13, 198, 59, 65, 78, 87, 68, 67, 90, 22,
    92, 258, 198,
]
# fmt: on


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_golden_ids_of_the_tagged_form(family: tiny.Family, checkpoints: dict[str, str]) -> None:
    codec = golden_codec(family, "tagged", checkpoints[family])
    encoding = codec.start(*golden_turns(codec))
    assert marked(encoding) == TAGGED_TEXT
    assert encoding.ids == TAGGED_IDS


def test_golden_ids_of_the_native_form(checkpoints: dict[str, str]) -> None:
    codec = golden_codec("qwen3_vl", "native", checkpoints["qwen3_vl"])
    encoding = codec.start(*golden_turns(codec))
    head, tail = marked(encoding).split("</tool_call><|im_end|>\n", maxsplit=1)
    assert head.startswith("<|im_start|>system\nS\n\n# Tools\n")
    assert '<tools>\n{"type": "function", "function": {"name": "zoom_in", ' in head
    assert tail == NATIVE_TEXT
    assert encoding.ids[-len(NATIVE_IDS) :] == NATIVE_IDS


def test_qwen2_5_vl_opens_with_a_system_turn_of_its_own(checkpoints: dict[str, str]) -> None:
    codec = golden_codec("qwen2_5_vl", "tagged", checkpoints["qwen2_5_vl"])
    encoding = codec.start([ChatTurn("user", (Part("Q"),))], [])
    assert marked(encoding) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n"
    )


# ------------------------------------------------------------------------------------------------ random traces

PIECES = [
    *"aZ9 .,:;!?-()[]{}\n\t\\\"'",
    "\u00e9",
    "e\u0301",
    "\u4e2d",
    "\u00a0",
    "the ",
    "Image 1",
    "\U0001f600",
    "\u0301",
]
WORDS = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


@st.composite
def steps_of(draw: st.DrawFn) -> tuple[list[View], list[Step]]:
    """Opening views and steps with anything that a student may think, see and fail at; sizes in patches."""
    sides = st.integers(2, 5)
    numbers = iter(range(1, 99))
    first = [view(next(numbers), draw(sides), draw(sides)) for _ in range(draw(st.integers(1, 2)))]
    steps = []
    for _ in range(draw(st.integers(0, 3))):
        learn = draw(st.sampled_from(["both", "thought", "call", "none"]))
        call = Call(
            name="look", arguments={"text": draw(WORDS), "at": draw(st.lists(st.integers(0, 2000), max_size=4))}
        )
        if draw(st.booleans()):
            seen = [view(next(numbers), draw(sides), draw(sides)) for _ in range(draw(st.integers(1, 3)))]
            text = chat.describe(seen) if draw(st.booleans()) else draw(WORDS)
            shown = Observation(text=text, views=tuple(seen))
        else:
            shown = Observation(text=draw(WORDS), error="refused")
        role = draw(st.sampled_from(["look", "mistake", "recover"]))
        malformed = shown.error and draw(st.booleans())
        thought = draw(WORDS)
        steps.append(Step(thought=thought, call=None if malformed else call, observation=shown, role=role, learn=learn))
    steps.append(Step(thought=draw(WORDS), role="answer", learn=draw(st.sampled_from(["both", "call", "none"]))))
    return first, steps


def scaled(shown: View, patch: int) -> View:
    return shown.model_copy(update={"width": shown.width * patch, "height": shown.height * patch})


@pytest.mark.parametrize(("family", "calls"), FORMS)
@given(drawn=steps_of(), answer=st.sampled_from(["7", "the {red} one", "a\nb"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_appending_reaches_what_the_template_renders_at_once(
    family: str,
    calls: str,
    codecs: dict[tuple[str, str], Codec],
    runs: Callable[[str, str], Run],
    drawn: tuple[list[View], list[Step]],
    answer: str,
) -> None:
    codec = codecs[family, calls]
    patch = codec.student.patch
    steps = []
    for step in drawn[1]:
        shown = step.observation
        if shown is not None:
            views = tuple(scaled(one, patch) for one in shown.views)
            words = chat.describe(views) if shown.text.startswith("Image") else shown.text
            shown = shown.model_copy(update={"views": views, "text": words})
        steps.append(step.model_copy(update={"observation": shown}))
    base = next(iter(runs(family, calls).traces()))
    views = tuple(scaled(one, patch) for one in drawn[0])
    trace: Trace = base.model_copy(update={"views": views, "steps": tuple(steps), "answer": answer})
    try:
        encoding = render(trace, codec)
    except ExampleError:
        assume(False)
    assert encoding.ids == whole_ids(trace, codec)
    assert len(encoding.ids) == len(encoding.learn) == encoding.positions().shape[1]
    assert encoding.ids.count(codec.image_id) == sum(int(np.prod(codec.grid(one))) for one in trace.all_views)
    _assert_learned_is_what_was_meant(trace, codec, encoding)


def _assert_learned_is_what_was_meant(trace: Trace, codec: Codec, encoding: Any) -> None:
    """Outside the student's turns nothing; inside, the tokens that start in a part that is learned."""
    spans = {span.step: span for span in encoding.spans if span.role == "assistant"}
    assert len(spans) == len(trace.steps)
    learned = set(np.flatnonzero(encoding.learn).tolist())
    assert learned <= {at for span in spans.values() for at in range(span.start, span.end)}
    for index, step in enumerate(trace.steps):
        span = spans[index]
        inside = [at in learned for at in range(span.start, span.end)]
        assert encoding.ids[span.end - 1] == codec.end_id
        assert inside[-1] == (step.learn in ("both", "call"))
        if step.learn in ("both", "none"):
            assert set(inside) == {step.learn == "both"}
        elif step.call is not None:
            ids = encoding.ids[span.start : span.end]
            whole = codec.tokenizer.decode(ids)
            text = codec.tokenizer.decode([one for one, kept in zip(ids, inside, strict=True) if kept])
            thought, tag, call = whole.partition("<tool_call>")
            assert text.strip() == (thought if step.learn == "thought" else tag + call).strip()


@pytest.mark.parametrize(("family", "calls"), FORMS)
def test_sampled_tokens_are_never_encoded_again(
    family: str, calls: str, codecs: dict[tuple[str, str], Codec], runs: Callable[[str, str], Run]
) -> None:
    """What a student writes in tokens that the tokenizer would not have chosen stays as it is."""
    codec, trace = codecs[family, calls], list(runs(family, calls).traces())[1]
    written = render(trace, codec)
    turns = chat.turns(trace, codec.operations, codec.student, system=codec.system)
    encoding = codec.opening(trace.example, trace.views)
    fork = encoding.fork()
    letters = [one for letter in "I look." for one in codec.encode(letter)]
    for turn in turns[2:]:
        if turn.role != "assistant":
            encoding.append(turn, trace.all_views)
            continue
        encoding.ask()
        span = next(span for span in written.spans if span.step == turn.step and span.role == "assistant")
        again = encoding.sampled(written.ids[span.start : span.end], turn.step)
        assert (again.start, again.end) == (span.start, span.end)
        assert all(encoding.learn[again.start : again.end])
    assert encoding.ids == written.ids
    assert np.array_equal(encoding.positions(), written.positions())
    fork.ask()
    span = fork.sampled([*letters, codec.end_id])
    assert fork.ids[span.start : span.end] == [*letters, codec.end_id]
    assert codec.decode(fork.ids[span.start : span.end]) == "I look."
    fork.append(ChatTurn("user", (Part("Error: no call."),)), trace.views)
    assert codec.tokenizer.decode(fork.ids[span.end :]) == "\n<|im_start|>user\nError: no call.<|im_end|>\n"
    assert not any(fork.learn[span.end :])


def test_a_turn_that_was_cut_off_gets_an_end_that_is_not_learned(
    codecs: dict[tuple[str, str], Codec], runs: Callable[[str, str], Run]
) -> None:
    codec, trace = codecs["qwen2_5_vl", "tagged"], next(iter(runs("qwen2_5_vl", "tagged").traces()))
    encoding = codec.opening(trace.example, trace.views)
    with pytest.raises(ValueError, match="ask"):
        encoding.sampled([5])
    encoding.ask()
    with pytest.raises(ValueError, match="pixels"):
        encoding.sampled([5, codec.image_id])
    span = encoding.sampled(codec.encode("I think"))
    assert encoding.ids[span.end] == codec.end_id
    assert not encoding.learn[span.end]


# -------------------------------------------------------------------------------------- processors and models


@pytest.mark.parametrize(("family", "calls"), FORMS)
def test_pixels_and_positions_are_those_of_the_processor_and_the_model(
    family: str,
    calls: str,
    codecs: dict[tuple[str, str], Codec],
    runs: Callable[[str, str], Run],
    checkpoints: dict[str, str],
) -> None:
    from transformers import AutoModelForImageTextToText

    codec, run = codecs[family, calls], runs(family, calls)
    trace = list(run.traces())[1]
    encoding = render(trace, codec)
    shown = list(pictures(trace, run.store))
    sample = batches.Sample.of(encoding, [codec.pixels(picture) for picture in shown])
    whole = codec.image_processor(images=shown, return_tensors="pt")  # free to resize, but has no need to
    assert torch.equal(whole["pixel_values"], sample.pixels)
    assert whole["image_grid_thw"].tolist() == sample.grids.tolist()
    loader: Any = AutoModelForImageTextToText
    model = loader.from_pretrained(checkpoints[family]).eval()
    batch = batches.pad([sample], codec.pad_id, codec.image_id)
    positions, _ = model.model.get_rope_index(batch.input_ids, batch.image, image_grid_thw=batch.grids)
    assert torch.equal(positions, batch.positions)
    with torch.no_grad():
        # the model left to find out the positions itself gives the same scores as the ones that we state
        alone = model(**{name: value for name, value in batch.model_inputs.items() if name != "position_ids"}).logits
        told = Likelihood(model)(batch)
    scores = alone.log_softmax(-1)[0, :-1].gather(1, batch.input_ids[0, 1:, None])[:, 0]
    assert torch.allclose(scores[batch.learn[0, 1:]], told, atol=1e-5)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_padded_packed_and_chunked_give_what_each_trace_gives_alone(
    family: str, codecs: dict[tuple[str, str], Codec], runs: Callable[[str, str], Run], checkpoints: dict[str, str]
) -> None:
    from transformers import AutoModelForImageTextToText

    codec, run = codecs[family, "tagged"], runs(family, "tagged")
    samples = []
    for trace in list(run.traces())[:3]:
        encoding = render(trace, codec)
        samples.append(batches.Sample.of(encoding, [codec.pixels(one) for one in pictures(trace, run.store)]))
    loader: Any = AutoModelForImageTextToText
    model = loader.from_pretrained(checkpoints[family]).eval()
    whole, chunked = Likelihood(model), Likelihood(model, chunk=7)
    pad_id, image_id = codec.pad_id, codec.image_id
    with torch.no_grad():
        alone = torch.cat([whole(batches.pad([sample], pad_id, image_id)) for sample in samples])
        for batch in (batches.pad(samples, pad_id, image_id), batches.pack(samples, image_id)):
            assert torch.allclose(whole(batch), alone, atol=2e-5)
            assert torch.allclose(chunked(batch), alone, atol=2e-5)
    gradients = []
    for learner in (whole, chunked):
        model.zero_grad()
        learner(batches.pad(samples, pad_id, image_id)).sum().backward()
        gradients.append(model.lm_head.weight.grad.clone())
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-5)


def test_suppressed_tokens_have_no_part_in_the_sum(
    codecs: dict[tuple[str, str], Codec], runs: Callable[[str, str], Run], checkpoints: dict[str, str]
) -> None:
    from transformers import AutoModelForImageTextToText

    codec, run = codecs["qwen2_5_vl", "tagged"], runs("qwen2_5_vl", "tagged")
    trace = next(iter(run.traces()))
    sample = batches.Sample.of(render(trace, codec), [codec.pixels(one) for one in pictures(trace, run.store)])
    loader: Any = AutoModelForImageTextToText
    model = loader.from_pretrained(checkpoints["qwen2_5_vl"]).eval()
    batch = batches.pad([sample], codec.pad_id, codec.image_id)
    with torch.no_grad():
        assert (Likelihood(model, suppressed=codec.vision_ids)(batch) > Likelihood(model)(batch)).all()


# ------------------------------------------------------------------------------------------------ what doesn't fit


def broken(checkpoint: str, student: Student, template: str) -> Codec:
    from transformers import AutoTokenizer, Qwen2VLImageProcessorPil

    tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.chat_template = template
    processor: Any = Qwen2VLImageProcessorPil.from_pretrained(checkpoint)
    return Codec(tokenizer, processor, student, [ZoomIn()])


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        # only the newest turn of the student keeps what it thought
        (
            templates.QWEN3_VL.replace(
                "said(message.content) -%}\n        {{ ",
                'said(message.content) if loop.last or message.role == "user" else "" -%}\n        {{ ',
            ),
            "changes earlier turns",
        ),
        (templates.QWEN3_VL.replace("<|image_pad|>", ""), "no images"),
        (
            templates.QWEN3_VL.replace('"<|im_start|>assistant\\n"', '"<|im_start|>assistant\\n<think>"'),
            "another header",
        ),
    ],
    ids=["forgets", "no images", "thinks"],
)
def test_a_template_that_breaks_a_rule_is_refused(template: str, sentence: str, checkpoints: dict[str, str]) -> None:
    assert template != templates.QWEN3_VL
    with pytest.raises(UsageError, match=sentence):
        broken(checkpoints["qwen3_vl"], tiny_run.student(32), template)


def test_a_template_without_tools_can_not_take_native_calls(checkpoints: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"set student\.calls: tagged"):
        Codec.load(checkpoints["qwen2_5_vl"], tiny_run.student(28, "native"), [ZoomIn()])


def test_a_processor_of_other_sizes_is_refused(checkpoints: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"squares of 32, .* make the traces with student.patch: 32"):
        Codec.load(checkpoints["qwen3_vl"], tiny_run.student(28), [ZoomIn()])
    large = Student(patch=28, min_pixels=784, max_pixels=10**8)
    with pytest.raises(UsageError, match="shows 784 to 3211264 pixels"):
        Codec.load(checkpoints["qwen2_5_vl"], large, [ZoomIn()])


def test_what_is_no_student_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no checkpoint: it has no config\.json"):
        Codec.load(str(tmp_path), Student(), [])
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UsageError, match="is a llama: students that can be trained are qwen2_5_vl, qwen3_vl"):
        Codec.load(str(tmp_path), Student(), [])
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    with pytest.raises(UsageError, match="no tokenizer or image processor"):
        Codec.load(str(tmp_path), Student(), [])


def test_a_view_that_would_be_resized_is_refused(
    codecs: dict[tuple[str, str], Codec], runs: Callable[[str, str], Run]
) -> None:
    codec, trace = codecs["qwen2_5_vl", "tagged"], next(iter(runs("qwen2_5_vl", "tagged").traces()))
    odd = tuple(one.model_copy(update={"width": 100}) for one in trace.views)
    with pytest.raises(UsageError, match="would resize a view of 100x112"):
        render(trace.model_copy(update={"views": odd}), codec)


def test_a_picture_that_is_no_longer_what_was_recorded_is_not_trained_on(runs: Callable[[str, str], Run]) -> None:
    run = runs("qwen2_5_vl", "tagged")
    trace = next(iter(run.traces()))
    other = tuple(one.model_copy(update={"sha256": "0" * 64}) for one in trace.views)
    with pytest.raises(ExampleError, match="other_pixels"):
        list(pictures(trace.model_copy(update={"views": other}), run.store))
    elsewhere = trace.provenance.model_copy(update={"pillow": "9.0"})  # where the last bit may round otherwise
    assert list(pictures(trace.model_copy(update={"views": other, "provenance": elsewhere}), run.store))


def test_mistakes_can_be_learned_by_another_rule(
    codecs: dict[tuple[str, str], Codec], runs: Callable[[str, str], Run]
) -> None:
    run, codec = runs("qwen2_5_vl", "tagged"), codecs["qwen2_5_vl", "tagged"]
    trace = next(trace for trace in run.traces() if trace.kind == "recrop_once")
    counts = {rule: sum(render(trace, codec, rule).learn) for rule in (None, "thought", "none", "both")}
    assert counts["none"] < counts[None] == counts["thought"] < counts["both"]


def test_a_set_knows_its_operations_and_leaves_out_what_was_rejected(runs: Callable[[str, str], Run]) -> None:
    run = runs("qwen2_5_vl", "tagged")
    traces = open_set(run)
    assert [traces.trace(place).id for place in range(len(traces))] == [trace.id for trace in run.traces()]
    assert [operation.name for operation in traces.operations] == ["zoom_in"]
    assert message(ChatTurn("assistant", (Part("a"), Part("b"))))["content"] == "ab"


@pytest.mark.skipif("DATAFORGE_TRL_PYTHON" not in os.environ, reason="needs TRL's copies of the real templates")
@pytest.mark.parametrize(("family", "calls"), FORMS)
def test_our_templates_render_what_the_real_ones_do(
    family: str, calls: str, codecs: dict[tuple[str, str], Codec], runs: Callable[[str, str], Run]
) -> None:
    """TRL keeps the checkpoints' own templates; they are read where it is installed."""
    where = "import trl.chat_templates as one; print(list(one.__path__)[0])"
    found = subprocess.run(
        [os.environ["DATAFORGE_TRL_PYTHON"], "-c", where], capture_output=True, text=True, check=True
    )
    own = codecs[family, calls]
    tokenizer = copy.deepcopy(own.tokenizer)
    tokenizer.chat_template = (Path(found.stdout.strip()) / f"{family}.jinja").read_text()
    real = Codec(tokenizer, own.image_processor, own.student, own.operations)
    for trace in runs(family, calls).traces():
        ours, theirs = render(trace, own), render(trace, real)
        assert (ours.ids, ours.learn) == (theirs.ids, theirs.learn)
        assert theirs.ids == whole_ids(trace, real)
