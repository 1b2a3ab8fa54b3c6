"""Boxes compose there and back, and never lose what they hold."""

from hypothesis import given
from hypothesis import strategies as st

from dataforge.geometry import Box


def boxes(limit: int = 4000) -> st.SearchStrategy[Box]:
    side = st.integers(0, limit - 1)
    return st.builds(
        lambda x, y, w, h: Box(x, y, min(x + w, limit), min(y + h, limit)),
        side,
        side,
        st.integers(1, limit),
        st.integers(1, limit),
    )


@given(boxes(), boxes(), boxes())
def test_mapping_there_and_back_is_the_same_box(box: Box, one: Box, other: Box) -> None:
    back = box.mapped(one, other).mapped(other, one)
    assert all(abs(a - b) < 1e-3 for a, b in zip(box, back, strict=True))


@given(boxes(), boxes())
def test_coverage_is_a_share_and_agrees_with_contains(box: Box, other: Box) -> None:
    assert 0 <= box.coverage(other) <= 1
    assert (box.coverage(other) == 1) == box.contains(other)
    assert (box.coverage(other) > 0) == box.overlaps(other) == other.overlaps(box)


@given(boxes(), boxes())
def test_union_contains_both_and_clamp_stays_inside(box: Box, other: Box) -> None:
    union = box.union(other)
    assert union.contains(box)
    assert union.contains(other)
    assert other.contains(box.clamp(other)) or box.clamp(other).area == 0


@given(st.floats(0, 1000), st.floats(0, 1000), st.floats(1, 100), st.floats(1, 100))
def test_outward_holds_the_box_in_whole_pixels(x: float, y: float, width: float, height: float) -> None:
    box = Box(x, y, x + width, y + height)
    out = box.outward()
    assert out.grow(1e-5, 1e-5).contains(box)
    assert all(value == int(value) for value in out)
    assert out.width < width + 2.001
