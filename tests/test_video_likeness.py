"""Near-same videos: a clip that was encoded again is found by the checks and by fingerprints, and no other is."""

import random
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image, ImageDraw

from dataforge.alike import fingerprints
from dataforge.alike.likeness import CACHE, NEAR_BITS, Likeness, Likenesses, Pictures, apart
from dataforge.errors import ExampleError
from dataforge.media import MediaStore
from dataforge.plugins import Kit
from dataforge.records import Media
from tests.test_set_checks import COLOURS, picture, reasons, sift, trace

SECONDS, RATE = 4, 12


def moment(room: int, plot: int, time_s: float) -> Image.Image:
    """A room, and things that move in it by their plot."""
    image = picture(room).resize((320, 192))
    rng, pen = random.Random(plot), ImageDraw.Draw(image)
    for _ in range(3):
        x, y, across, down = rng.uniform(0, 250), rng.uniform(0, 140), rng.uniform(-60, 60), rng.uniform(-30, 30)
        left, top, side = (x + across * time_s) % 270, (y + down * time_s) % 150, rng.uniform(30, 60)
        pen.rectangle((left, top, left + side, top + side), fill=rng.choice(COLOURS))
    return image


def film(
    path: Path,
    room: int,
    plot: int,
    size: tuple[int, int] = (320, 192),
    rate: int = RATE,
    codec: str = "libx264",
    crf: int = 20,
) -> Path:
    with av.open(str(path), "w") as container:
        options = {"crf": str(crf), "threads": "1", "preset": "veryfast"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(SECONDS * rate):
            frame = av.VideoFrame.from_image(moment(room, plot, number / rate).resize(size))
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


COPIES = {
    "small.mp4": {"size": (160, 96), "crf": 36},
    "large.mkv": {"size": (640, 384), "crf": 30},
    "slow.mp4": {"rate": 8},
    "old.avi": {"codec": "mpeg4"},
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip and its copies; another plot in the same room; other rooms."""
    folder = tmp_path_factory.mktemp("films")
    film(folder / "one.mp4", 1, 1)
    for name, how in COPIES.items():
        film(folder / name, 1, 1, **how)
    film(folder / "same_room.mp4", 1, 2)
    for room in range(2, 5):
        film(folder / f"room_{room}.mp4", room, room)
    return folder


OTHERS = ("same_room.mp4", "room_2.mp4", "room_3.mp4", "room_4.mp4")


def test_a_copy_is_near_and_another_clip_is_not(films: Path) -> None:
    known = Likenesses()
    found = {path.name: known.of_video(path) for path in films.iterdir()}
    index = Pictures()
    index.add(found["one.mp4"])
    for name in COPIES:
        assert found[name].sha256 != found["one.mp4"].sha256
        near = index.find(found[name])
        assert near is not None, name
        assert near.number == 0
        assert near.nearness == apart(found[name], found["one.mp4"], NEAR_BITS) <= NEAR_BITS
    for name in OTHERS:
        assert index.find(found[name]) is None, name
        assert index.add(found[name]) == OTHERS.index(name) + 1


def test_a_room_alone_is_not_the_clip(films: Path) -> None:
    """By looks alone two plots in one room could pass for the same clip; what moves in it tells them apart."""
    known = Likenesses()
    one, other = known.of_video(films / "one.mp4"), known.of_video(films / "same_room.mp4")
    looks = [(int(a, 16) ^ int(b, 16)).bit_count() for a, b in zip(one.moments, other.moments, strict=True) if a and b]
    assert sorted(looks)[len(looks) // 2] < 80, "the room is the same"
    blind = [like.model_copy(update={"moved": ("",) * 8}) for like in (one, other)]
    assert apart(blind[0], blind[1], near_bits=80) is not None
    assert apart(one, other, near_bits=40) is None


def test_a_flat_clip_is_known_by_its_bytes_alone(tmp_path: Path, store: MediaStore) -> None:
    known, index = Likenesses(), Pictures()
    for number, name in enumerate(("black.mp4", "grey.mp4")):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("libx264", rate=4)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for _ in range(8):
                plain = Image.new("RGB", (64, 64), ("black", "grey")[number])
                container.mux(stream.encode(av.VideoFrame.from_image(plain)))
            container.mux(stream.encode())
        like = known.of(store.add_video(tmp_path / name), store)
        assert like.moments == like.moved == ("",) * 8
        assert index.find(like) is None
        assert index.add(like) == number
        assert index.find(like) == (number, 0)


def test_a_video_is_looked_at_once_and_remembered(films: Path, store: MediaStore, tmp_path: Path) -> None:
    media = store.add_video(films / "one.mp4")
    first = Likenesses(tmp_path).of(media, store)
    assert len((tmp_path / CACHE).read_text().splitlines()) == 1
    store.path(media).unlink()
    assert Likenesses(tmp_path).of(media, MediaStore(store.folder)) == first
    with pytest.raises(ExampleError, match="missing_media"):
        Likenesses().of(media, MediaStore(store.folder))
    assert Likeness.model_validate_json(first.model_dump_json()) == first


def kept(store: MediaStore, films: Path, name: str) -> Media:
    return store.add_video(films / name)


def test_duplicate_sees_the_copy_of_a_clip(films: Path, store: MediaStore) -> None:
    names = ("one.mp4", "small.mp4", "same_room.mp4", "old.avi", "room_2.mp4")
    verdicts = sift("duplicate", [trace(name, kept(store, films, name)) for name in names], Kit(store))
    assert reasons(verdicts) == ["", "same_question", "", "same_question", ""]
    assert verdicts[1].detail == "100% the words of one.mp4, on its picture"


def test_an_evaluation_set_of_clips_keeps_its_copies_out(films: Path, store: MediaStore, tmp_path: Path) -> None:
    """As a folder of videos, and as the fingerprints of one, in which the clips themselves are not."""
    videos = tmp_path / "evaluation"
    videos.mkdir()
    for name in ("one.mp4", "room_3.mp4"):
        (videos / name).write_bytes((films / name).read_bytes())
    header = fingerprints.make(str(videos), tmp_path / "evaluation.prints")
    assert (header.pictures, header.questions, header.unreadable) == (2, 0, 0)
    names = ("large.mkv", "slow.mp4", "same_room.mp4", "room_2.mp4", "room_3.mp4", "room_4.mp4")
    traces = [trace(name, kept(store, films, name)) for name in names]
    found = "image_in_evaluation_set"
    for spec in (videos, tmp_path / "evaluation.prints"):
        verdicts = sift("contaminated", traces, Kit(store), sets=[str(spec)])
        assert reasons(verdicts) == [found, found, "", "", found, ""]
        assert f"one.mp4 of {spec.name}" in verdicts[0].detail


def test_a_picture_is_never_near_a_video(films: Path, store: MediaStore) -> None:
    known, index = Likenesses(), Pictures()
    index.add(known.of_video(films / "one.mp4"))
    media = store.add_video(films / "one.mp4")
    frame = store.open(media, store.frames_at(media, [0.125])[0].time_s)
    buffer = store.folder / "frame.png"
    frame.save(buffer)
    assert index.find(known.of(store.add_file(buffer), store)) is None
