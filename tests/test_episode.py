"""The one door to pixels: what is shown is exact, what is refused is told, and replay proves both."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dataforge.episode import Episode, replay, used
from dataforge.geometry import Box
from dataforge.media import MediaStore, fingerprint
from dataforge.operations.zoom_in import ZoomIn
from dataforge.records import Call, Example, Limits, Provenance, Step, Student, Trace

WIDTH, HEIGHT = 1500, 2100


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> MediaStore:
    return MediaStore(tmp_path_factory.mktemp("media"))


@pytest.fixture(scope="session")
def example(store: MediaStore) -> Example:
    """A picture whose every pixel tells its place: red is x / 6, green is y / 9, blue a fine grid."""
    across = Image.linear_gradient("L").rotate(90).resize((WIDTH, HEIGHT))
    down = Image.linear_gradient("L").resize((WIDTH, HEIGHT))
    grid = Image.effect_noise((WIDTH, HEIGHT), 80)
    picture = Image.merge("RGB", (across, down, grid))
    path = store.folder / "drawn.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, compress_level=1)
    media = store.add_file(path)
    return Example(id="e1", group="g", source="test", question="?", answers=("1",), media=(media,))


def start(example: Example, store: MediaStore, limits: Limits | None = None, **zoom: float) -> Episode:
    operation = ZoomIn(**zoom)  # type: ignore[arg-type]
    return Episode(example, store, [operation], Student(), limits or Limits())


def zoom(box: list[float], target: int = 1) -> Call:
    return Call(name="zoom_in", arguments={"bbox_2d": box, "target_image": target})


def finish(episode: Episode, calls: list[Call]) -> Trace:
    steps = [Step(thought="t", call=call, observation=episode.act(call)) for call in calls]
    provenance = Provenance(
        version="0", manifest="0", operations=used(list(episode.operations.values())), limits=episode.limits
    )
    return Trace(
        id="t",
        example=episode.example,
        views=episode.opening,
        steps=(*steps, Step(thought="so", role="answer")),
        answer="1",
        kind="single",
        provenance=provenance,
    )


def test_first_view_is_the_whole_picture_in_the_students_size(example: Example, store: MediaStore) -> None:
    view = start(example, store).opening[0]
    assert view.number == 1
    assert view.box == Box(0, 0, WIDTH, HEIGHT)
    assert view.width % 28 == view.height % 28 == 0
    assert view.width * view.height <= Student().max_pixels


def test_a_crop_is_cut_from_full_resolution(example: Example, store: MediaStore) -> None:
    """At a size that needs no scaling, the view is the source's own pixels, not an enlarged overview."""
    episode = start(example, store, min_pixels=1)
    opening = episode.opening[0]
    source = Box(300, 700, 300 + 28 * 12, 700 + 28 * 10)
    seen = episode.act(zoom(list(episode.workspace.to_view(1, source))))
    assert seen.views[0].box == source
    assert (seen.views[0].width, seen.views[0].height) == (28 * 12, 28 * 10)
    expected = store.open(example.media[0]).crop((300, 700, 636, 980))
    assert fingerprint(expected) == seen.views[0].sha256
    assert opening.width < WIDTH


box_in_view = st.tuples(st.floats(0, 0.7), st.floats(0, 0.7), st.floats(0.2, 1), st.floats(0.2, 1))


@settings(max_examples=25, deadline=None)
@given(first=box_in_view, second=box_in_view)
def test_nested_zooms_compose_to_source_pixels(
    example: Example, store: MediaStore, first: tuple[float, ...], second: tuple[float, ...]
) -> None:
    """The box of a zoom of a zoom is the product of the two, and going there in one step shows the same pixels."""
    episode = start(example, store)
    outer = episode.act(zoom(on_view(episode, 1, first))).views[0]
    nested = on_view(episode, 2, second)
    expected = Box(*nested).mapped(Box(0, 0, outer.width, outer.height), outer.box)
    inner = episode.act(zoom(nested, target=2)).views[0]
    assert outer.box.contains(inner.box)
    assert all(abs(a - b) <= 1 for a, b in zip(inner.box, expected, strict=True))
    back = episode.workspace.to_source(1, episode.workspace.to_view(1, inner.box))
    assert all(abs(a - b) < 1e-6 for a, b in zip(back, inner.box, strict=True))
    direct = episode.workspace.show(0, inner.box, ZoomIn().min_pixels, ZoomIn().max_pixels)
    assert direct.sha256 == inner.sha256


def on_view(episode: Episode, number: int, share: tuple[float, ...]) -> list[float]:
    view = episode.workspace.view(number)
    x, y, w, h = share
    return [x * view.width, y * view.height, min(x + w, 1) * view.width, min(y + h, 1) * view.height]


def test_padding_of_a_tenth_is_pixel_reasoners(example: Example, store: MediaStore) -> None:
    """A 0.2 x 0.2 box becomes 0.4 x 0.4; at the edge it is clamped to the image."""
    episode = start(example, store, padding=0.1)
    inside = episode.act(zoom(on_view(episode, 1, (0.4, 0.4, 0.2, 0.2)))).views[0].box
    assert abs(inside.width - 0.4 * WIDTH) <= 2
    assert abs(inside.height - 0.4 * HEIGHT) <= 2
    corner = episode.act(zoom(on_view(episode, 1, (0.0, 0.0, 0.2, 0.2)))).views[0].box
    assert (corner.x1, corner.y1) == (0, 0)
    assert abs(corner.width - 0.3 * WIDTH) <= 2


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (zoom([500, 100, 100, 500]), "reversed_box"),
        (zoom([100, 100, 100, 500]), "empty_box"),
        (zoom([100, 100, 100.2, 100.2]), "too_small"),
        (zoom([float("nan"), 0, 10, 10]), "not_finite"),
        (zoom([0, 0, float("inf"), 10]), "not_finite"),
        (zoom([0, 0, 99999, 10]), "out_of_range"),
        (zoom([-50, 0, 100, 100]), "out_of_range"),
        (zoom([0, 0, 100, 100], target=0), "unknown_image"),
        (zoom([0, 0, 100, 100], target=2), "unknown_image"),
        (zoom([0, 0, 100, 100], target=-1), "unknown_image"),
        (zoom([0, 0, 100]), "bad_arguments"),
        (zoom(["a", 0, 1, 1]), "bad_arguments"),  # type: ignore[list-item]
        (zoom([True, 0, 1, 1]), "bad_arguments"),
        (Call(name="zoom_in", arguments={"bbox_2d": [0, 0, 9, 9]}), "bad_arguments"),
        (Call(name="zoom_in", arguments={"bbox_2d": "all", "target_image": 1}), "bad_arguments"),
        (Call(name="zoom_in", arguments={"bbox_2d": [0, 0, 99, 99], "target_image": "x"}), "bad_arguments"),
        (Call(name="zoom_in", arguments={"bbox_2d": [0, 0, 99, 99], "target_image": 1, "why": 1}), "bad_arguments"),
        (Call(name="enhance", arguments={}), "unknown_operation"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_senseless_call_gives_a_sentence_and_changes_nothing(
    example: Example, store: MediaStore, call: Call, reason: str
) -> None:
    episode = start(example, store)
    seen = episode.act(call)
    assert seen.error == reason
    assert seen.text.startswith("Error: ")
    assert len(seen.text) > 30
    assert len(episode.workspace.views) == 1
    assert not episode.act(zoom([0, 0, 200, 200])).error


def test_limits_refuse_with_a_sentence(example: Example, store: MediaStore) -> None:
    call = zoom([0, 0, 300, 300])
    few = start(example, store, Limits(operations=1))
    assert [few.act(call).error for _ in range(2)] == ["", "too_many_operations"]
    two = start(example, store, Limits(images=2))
    assert [two.act(call).error for _ in range(2)] == ["", "too_many_images"]
    poor = start(example, store, Limits(image_tokens=1280 + 400))
    assert [poor.act(call).error for _ in range(2)] == ["", "image_budget"]


def test_replay_gives_the_recorded_pixels_and_errors(example: Example, store: MediaStore) -> None:
    calls = [zoom([10, 10, 400, 300]), zoom([9, 9, 3, 3]), zoom([0, 0, 200, 100], target=2)]
    trace = finish(start(example, store, padding=0.05), calls)
    assert [step.observation.error for step in trace.steps if step.observation] == ["", "reversed_box", ""]
    assert list(replay(trace, MediaStore(store.folder))) == []


def tampered_box(trace: Trace) -> Trace:
    step = trace.steps[0]
    call = step.call.model_copy(update={"arguments": {"bbox_2d": [12, 10, 400, 300], "target_image": 1}})  # type: ignore[union-attr]
    return trace.model_copy(update={"steps": (step.model_copy(update={"call": call}), *trace.steps[1:])})


def tampered_hash(trace: Trace) -> Trace:
    return trace.model_copy(update={"views": (trace.views[0].model_copy(update={"sha256": "0" * 64}),)})


def tampered_text(trace: Trace) -> Trace:
    step = trace.steps[0]
    seen = step.observation.model_copy(update={"text": "Image 2 (999x999 pixels):"})  # type: ignore[union-attr]
    return trace.model_copy(update={"steps": (step.model_copy(update={"observation": seen}), *trace.steps[1:])})


def tampered_padding(trace: Trace) -> Trace:
    use = trace.provenance.operations[0]
    wider = use.model_copy(update={"options": use.options | {"padding": 0.2}})
    return trace.model_copy(update={"provenance": trace.provenance.model_copy(update={"operations": (wider,)})})


def dropped_step(trace: Trace) -> Trace:
    return trace.model_copy(update={"steps": trace.steps[1:]})


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (tampered_box, "geometry"),
        (tampered_hash, "pixels"),
        (tampered_text, "observation"),
        (tampered_padding, "geometry"),
        (dropped_step, "observation"),
    ],
)
def test_tampering_is_caught(example: Example, store: MediaStore, tamper, reason: str) -> None:  # type: ignore[no-untyped-def]
    trace = finish(start(example, store), [zoom([10, 10, 400, 300]), zoom([0, 0, 200, 100], target=2)])
    assert reason in [what for what, _ in replay(tamper(trace), store)]
