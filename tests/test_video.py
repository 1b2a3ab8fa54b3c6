"""Videos: the exact frame of a presentation time from every sort of file, or a reason code; bounded time and memory."""

import itertools
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image, ImageChops, ImageStat

from dataforge.errors import ExampleError
from dataforge.media import MediaStore
from dataforge.records import Media, Overview
from dataforge.video import Clips, decord, pyav, sampling, sha256_of
from dataforge.video.index import Frame, Index
from dataforge.video.process import Decoder, decoder
from dataforge.video.scan import describe
from tests import clips

Transpose = Image.Transpose
MILLI = Fraction(1, 1000)
VFR = [at * 40 + at * at * 7 % 37 for at in range(60)]
FAST = {"deadline": "realtime", "cpu-used": "8"}
MAKERS: dict[str, Callable[[Path], Path]] = {
    "plain.mp4": lambda path: clips.write(path),
    "open_gop.mp4": lambda path: clips.write(
        path, options={"x264-params": "open-gop=1:bframes=3:scenecut=0", "bf": "3"}
    ),
    "hevc.mp4": lambda path: clips.write(
        path, codec="libx265", options={"x265-params": "log-level=none:open-gop=1:keyint=20:min-keyint=20:bframes=4"}
    ),
    "vfr.mkv": lambda path: clips.write(path, times=VFR, base=MILLI),
    "from_10_s.mp4": lambda path: clips.write(
        path, times=[153600 + at * 512 for at in range(60)], base=Fraction(1, 15360)
    ),
    "rate_1000.mkv": lambda path: clips.write(path, rate=1000, times=[at * 33 for at in range(60)], base=MILLI),
    "wide_pixels.mp4": lambda path: clips.write(path, shape=Fraction(2, 1)),
    "two_streams.mp4": lambda path: clips.write(path, second=True),
    "cover.mp4": lambda path: clips.write(path, cover=True),
    "ten_bits.mp4": lambda path: clips.write(path, pixels="yuv420p10le"),
    "mpeg4.avi": lambda path: clips.write(path, codec="mpeg4", options={"bf": "2"}),
    "h264.avi": lambda path: clips.write(path, options={"bf": "2"}),
    "mjpeg.avi": lambda path: clips.write(path, codec="mjpeg", pixels="yuvj420p"),
    "vp9.webm": lambda path: clips.write(path, codec="libvpx-vp9", options=FAST),
    "transport.ts": lambda path: clips.write(path),
    "animated.gif": lambda path: clips.write(path, codec="gif", pixels="rgb8", count=30),
    "cut.mp4": lambda path: clips.cut(clips.write(path.with_name("long.mp4"), count=100), path, 16000),
    "turned.mp4": lambda path: clips.turned(path.with_name("plain.mp4"), path, (0, 1, -1, 0)),
    "mirrored.mp4": lambda path: clips.turned(path.with_name("plain.mp4"), path, (-1, 0, 0, 1)),
}
STARTS = {"cut.mp4": 32}
"""The number that the first frame shows, where it isn't 0."""
UNDONE = {"turned.mp4": Transpose.ROTATE_90, "mirrored.mp4": Transpose.FLIP_LEFT_RIGHT}
"""The bar codes were not turned with the file's header."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name, make in MAKERS.items():
        make(folder / name)
    return folder


def shown(name: str, image: Image.Image) -> int:
    return clips.number(image.transpose(UNDONE[name]) if name in UNDONE else image)


@pytest.mark.parametrize("name", MAKERS)
def test_every_frame_is_the_one_that_was_asked_for(name: str, made: Path) -> None:
    """In one pass, and each by itself in random order, so that every way to seek is used."""
    index = describe(made / name)
    numbers = {pts: STARTS.get(name, 0) + place for place, pts in enumerate(index.pts)}
    assert {pts: shown(name, image) for pts, image in pyav.decode(made / name, index, index.pts)} == numbers
    for pts in random.Random(name).sample(index.pts, 6):
        ((_, image),) = pyav.decode(made / name, index, [pts])
        assert shown(name, image) == numbers[pts]
        assert image.mode == "RGB"
        assert image.size == (index.width, index.height)


def test_times_sizes_and_streams_are_what_the_files_say(made: Path) -> None:
    assert describe(made / "vfr.mkv").times == tuple(time / 1000 for time in VFR)
    assert describe(made / "from_10_s.mp4").span_s == (10.0, 11.966667)
    assert describe(made / "rate_1000.mkv").times[:3] == (0.0, 0.033, 0.066)
    assert len(describe(made / "cut.mp4").pts) == 68, "what lies before the cut is not shown"
    width, height = clips.SIZE
    assert (describe(made / "wide_pixels.mp4").width, describe(made / "wide_pixels.mp4").height) == (2 * width, height)
    assert (describe(made / "turned.mp4").width, describe(made / "turned.mp4").height) == (height, width)
    assert describe(made / "cover.mp4").codec == "h264", "not the cover picture"


@pytest.mark.parametrize("name", MAKERS)
def test_decord_is_right_or_refused(name: str, made: Path) -> None:
    index = describe(made / name)
    found, refused = {}, ""
    try:
        found = {pts: shown(name, image) for pts, image in decord.decode(made / name, index, index.pts[::3])}
    except ExampleError as error:
        refused = error.reason
    if refused:
        assert refused == "backend_disagrees"
        assert name not in ("plain.mp4", "vfr.mkv", "from_10_s.mp4", "ten_bits.mp4", "vp9.webm", "turned.mp4")
    else:
        numbers = {pts: STARTS.get(name, 0) + place for place, pts in enumerate(index.pts)}
        assert found == {pts: numbers[pts] for pts in index.pts[::3]}
        assert name not in ("open_gop.mp4", "hevc.mp4", "cut.mp4", "transport.ts"), "it was wrong about these"


BAD_SAMPLES = {
    "sample_audio_only.mp4": "no_video",
    "sample_malformed_free_box.mp4": "broken_video",
    "corrupted.mp4": "broken_video",
}


def all_frames(path: Path) -> dict[int, Image.Image]:
    index = describe(path)
    return dict(pyav.decode(path, index, index.pts))


def test_every_sample_gives_the_frames_of_a_plain_decoding_or_a_reason(samples: Path) -> None:
    for path in sorted((samples / "videos").iterdir()):
        if path.suffix in (".md", ".json"):
            continue
        if path.name in BAD_SAMPLES:
            with pytest.raises(ExampleError) as caught:
                all_frames(path)
            assert caught.value.reason == BAD_SAMPLES[path.name], path.name
            continue
        index = describe(path)
        wanted = random.Random(path.name).sample(index.pts, min(len(index.pts), 5))
        found = dict(pyav.decode(path, index, wanted))
        with av.open(str(path)) as container:
            stream = next(one for one in container.streams.video if one.index == index.stream)
            frames = [(frame.pts, frame) for frame in container.decode(stream)]
        assert [pts for pts, _ in frames] == list(index.pts), path.name
        for pts, frame in frames:
            if pts in found:
                assert found[pts].tobytes() == index.upright(frame.to_image()).tobytes(), path.name


def test_rotation_is_as_decord_applies_it(samples: Path) -> None:
    for name in ("video_90.mov", "video_180.mov"):
        path = samples / "videos" / name
        index = describe(path)
        ours, theirs = (dict(one.decode(path, index, index.pts)) for one in (pyav, decord))
        assert all(ours[pts].tobytes() == theirs[pts].tobytes() for pts in index.pts)


# ------------------------------------------------------------------------------------------------------- bad files


def bad(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.mp4"
    whole = clips.write(folder / "whole.mp4", count=80).read_bytes()
    if kind == "sound":
        return clips.sound(path)
    if kind == "strip":
        return clips.write(path, count=2, size=(6400, 16))
    contents = {
        "empty": b"",
        "text": b"this is no video\n" * 100,
        "headless": whole[2000:],
        "cut_off": whole[: len(whole) * 6 // 10],
        "folder": b"",
    }
    if kind == "flipped":
        damaged = bytearray(whole)
        for place in random.Random(0).sample(range(len(whole) // 2, len(whole)), 300):
            damaged[place] ^= 0x55
        contents["flipped"] = bytes(damaged)
    path.write_bytes(contents[kind])
    return path


def every_frame(store: MediaStore, path: Path) -> None:
    media = store.add_video(path)
    store.fetch(media, [Frame(*one) for one in enumerate(store.clips.describe(path, media.sha256).times)])


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        ("empty", {"empty_file"}),
        ("text", {"broken_video"}),
        ("headless", {"broken_video"}),
        ("cut_off", {"truncated_video"}),
        ("sound", {"no_video"}),
        ("strip", {"extreme_aspect"}),
        ("flipped", {"broken_video", "corrupt_frame"}),
    ],
)
def test_a_bad_file_ends_with_a_reason(kind: str, reasons: set[str], tmp_path: Path, store: MediaStore) -> None:
    path = bad(tmp_path, kind)
    with pytest.raises(ExampleError) as caught:
        every_frame(store, path)
    assert caught.value.reason in reasons
    assert caught.value.stage == "media"


def test_what_is_no_file_ends_with_a_reason(tmp_path: Path, store: MediaStore) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, reason in (("gone.mp4", "missing_media"), (".", "unreadable_media"), ("pipe.mp4", "unreadable_media")):
        with pytest.raises(ExampleError) as caught:
            store.add_video(tmp_path / name)
        assert caught.value.reason == reason


def test_a_decoding_that_takes_too_long_is_ended_and_the_next_one_works(made: Path, tmp_path: Path) -> None:
    big = clips.write(tmp_path / "big.mp4", count=60, size=(1536, 768))
    slow, store = Clips(tmp_path / "frames", limit_s=0.05), MediaStore(tmp_path / "media")
    media = store.add_video(big)
    start, before = time.monotonic(), decoder().pid
    with pytest.raises(ExampleError) as caught:
        slow.fetch(big, media, [Frame(number, at) for number, at in enumerate(store.clips.index(big, media).times)])
    assert caught.value.reason == "too_slow"
    assert time.monotonic() - start < 20
    assert before is not None
    assert not Path(f"/proc/{before}").exists() or Path(f"/proc/{before}/status").read_text().find("Z (zombie)") > 0
    assert clips.number(store.open(media, store.frames_at(media, [1.0])[0].time_s)) == 25


def test_a_clip_in_4k_is_given_up_in_time(made: Path, tmp_path: Path) -> None:
    """Frames that would take several seconds: a reason within the limit, the process gone, the next file fine."""
    path, limit_s = clips.four_k(tmp_path / "large.mp4"), 1.0
    store = MediaStore(tmp_path / "media")
    media = store.add_video(path)
    assert (media.width, media.height, media.frames) == (3840, 2160, 144)
    index = store.clips.index(path, media)
    last_of_each = [index.frame(number) for number in range(11, 144, 12)]
    slow, before, began = Clips(tmp_path / "frames", limit_s), decoder().pid, time.monotonic()
    with pytest.raises(ExampleError) as caught:
        slow.fetch(path, media, last_of_each)
    assert caught.value.reason == "too_slow"
    assert limit_s <= time.monotonic() - began < limit_s + 4, "all of it takes longer"
    assert before is not None
    assert not Path(f"/proc/{before}").exists()
    assert len(list((tmp_path / "frames").rglob("[0-9]*.ppm"))) < len(last_of_each)
    other = store.add_video(made / "vfr.mkv")
    assert clips.number(store.open(other, store.frames_at(other, [1.0])[0].time_s)) == 24
    # with time it is no worse than others
    (frame,) = store.frames_at(media, [0.0])
    assert store.open(media, frame.time_s).size == (3840, 2160)


def test_a_decoder_that_is_killed_costs_one_file(made: Path) -> None:
    own = Decoder()
    request = {"job": "describe", "path": str(made / "plain.mp4")}
    try:
        assert len(own.ask(request, 30)["index"]["pts"]) == 60
        assert own.pid is not None
        killer = threading.Timer(0.3, os.kill, (own.pid, signal.SIGKILL))
        os.kill(own.pid, signal.SIGSTOP)  # it hangs, and then it dies
        killer.start()
        with pytest.raises(ExampleError) as caught:
            own.ask(request, 30)
        assert caught.value.reason == "decoder_died"
        assert len(own.ask(request, 30)["index"]["pts"]) == 60
    finally:
        own.close()


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    """Clips of four sizes in turn, described and decoded in part, so that packets and frames are dropped half way."""
    own, asked = Decoder(), []
    for name, size in (("a.mp4", clips.SIZE), ("b.mkv", (480, 272)), ("c.mp4", (384, 216)), ("d.mp4", (1280, 720))):
        path = clips.write(tmp_path / name, count=40 if size[0] < 1000 else 4, size=size)
        index = describe(path)
        frames = {"job": "frames", "decoder": "pyav", "folder": str(tmp_path), "suffix": ".ppm", "path": str(path)}
        frames |= {"index": index.model_dump(mode="json"), "wanted": index.pts[::20]}
        asked.append(({"job": "describe", "path": str(path)}, frames))

    def resident_kb(after: int) -> int:
        for number in range(after):
            for request in asked[number % 4]:
                own.ask(request, 30)
        status = Path(f"/proc/{own.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    try:
        before = resident_kb(32)  # the heap finds its size
        later = [resident_kb(48) for _ in range(5)]
        # with generators of packets dropped unclosed it was 5 MB, with frames left to a rare collection 32;
        # the lowest of the last: what is used for a moment comes and goes, a leak stays
        assert min(later[-3:]) - before < 2_000, (before, later)
    finally:
        own.close()


# ------------------------------------------------------------------------------------------------------ the store


def test_a_video_is_described_and_each_frame_decoded_once(made: Path, tmp_path: Path) -> None:
    store = MediaStore(tmp_path / "media")
    media = store.add_video(made / "vfr.mkv", "CC0", "bars")
    assert store.add_video(made / "vfr.mkv", "CC0", "bars") is media
    assert (media.kind, media.frames, media.span_s, media.decoder) == ("video", 60, (0.0, 2.381), "pyav")
    store.fetch(media, store.overview(media, Overview()))
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "media" / "frames").rglob("*.*")}
    assert len(kept) == 17, "sixteen frames and the description"
    # a second worker of the run finds them
    other = MediaStore(tmp_path / "media")
    assert other.add_video(made / "vfr.mkv", "CC0", "bars") == media
    frames = other.overview(media, Overview())
    other.fetch(media, frames)
    assert [clips.number(other.open(media, frame.time_s)) for frame in frames] == [frame.number for frame in frames]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list((tmp_path / "media" / "frames").rglob("*.*"))) == 17


def test_what_is_kept_is_exactly_what_was_decoded(made: Path, store: MediaStore) -> None:
    media = store.add_video(made / "vp9.webm")
    index = describe(made / "vp9.webm")
    for pts, image in pyav.decode(made / "vp9.webm", index, index.pts[:60:13]):
        time_s = index.times[index.pts.index(pts)]
        assert store.open(media, time_s).tobytes() == image.tobytes()


def test_frames_are_chosen_by_time(made: Path, store: MediaStore) -> None:
    media = store.add_video(made / "vfr.mkv")
    for moment in (0.0, 0.5, 1.234, 2.38, 99.0, -1.0):
        (frame,) = store.frames_at(media, [moment])
        wanted = max((at for at, time in enumerate(VFR) if time / 1000 <= moment), default=0)
        assert frame == (wanted, VFR[wanted] / 1000)
        assert clips.number(store.open(media, frame.time_s)) == wanted
    with pytest.raises(ExampleError) as caught:
        store.open(media, 0.0123)
    assert caught.value.reason == "no_such_frame"
    with pytest.raises(ExampleError):
        store.open(media)


def test_a_changed_or_missing_video_is_told(made: Path, tmp_path: Path) -> None:
    store = MediaStore(tmp_path / "media")
    shutil.copy(made / "plain.mp4", tmp_path / "clip.mp4")
    media = store.add_video(tmp_path / "clip.mp4")
    time_s = store.overview(media, Overview())[0].time_s
    store.open(media, time_s)
    path = store.path(media)
    path.unlink()
    shutil.copy(made / "vp9.webm", path)
    for reason in ("media_changed", "missing_media"):
        with pytest.raises(ExampleError) as caught:
            MediaStore(tmp_path / "media").open(media, time_s)
        assert caught.value.reason == reason
        path.unlink(missing_ok=True)


def test_frames_on_disk_are_bounded_and_come_back(made: Path, tmp_path: Path) -> None:
    kept = Clips(tmp_path / "frames", kept_bytes=20_000)
    store = MediaStore(tmp_path / "media")
    names = ("plain.mp4", "vfr.mkv", "vp9.webm", "ten_bits.mp4", "cover.mp4", "two_streams.mp4")
    media = {name: store.add_video(made / name) for name in names}
    for name, one in media.items():
        kept.fetch(made / name, one, kept.overview(made / name, one, Overview()))
        os.utime(next((tmp_path / "frames").glob(f"*/{one.sha256}")))
    there = {path.parent.name for path in (tmp_path / "frames").rglob("*.ppm")}
    assert media["two_streams.mp4"].sha256 in there
    assert media["plain.mp4"].sha256 not in there
    index = describe(made / "plain.mp4")
    assert clips.number(kept.open(made / "plain.mp4", media["plain.mp4"], index.frame(37))) == 37


def test_decord_can_be_chosen_and_says_so(made: Path, tmp_path: Path) -> None:
    store = MediaStore(tmp_path / "media", video_backend="decord")
    media = store.add_video(made / "plain.mp4")
    assert media.decoder == "decord"
    assert clips.number(store.open(media, store.frames_at(media, [1.0])[0].time_s)) == 25
    refused = store.add_video(made / "hevc.mp4")
    with pytest.raises(ExampleError) as caught:
        store.open(refused, 0.0)
    assert caught.value.reason == "backend_disagrees"
    # who replays a trace needs no setting: the record says whose pixels they are
    assert clips.number(MediaStore(tmp_path / "media").open(media, 1.0)) == 25


# ------------------------------------------------------------------------------------------------------- sampling


def index_of(times_ms: list[int], keys: list[int]) -> Index:
    return Index(
        stream=0,
        codec="h264",
        width=64,
        height=64,
        time_base=(1, 1000),
        pts=tuple(times_ms),
        keys=tuple(times_ms[key] for key in keys),
    )


def test_even_frames_are_even_in_time_however_dense_the_file_is() -> None:
    dense_then_sparse = index_of([*range(0, 1000, 10), *range(1000, 10_001, 100)], [0])
    frames = sampling.evenly(dense_then_sparse, 10)
    assert [round(frame.time_s, 1) for frame in frames] == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5]
    few = sampling.evenly(index_of([0, 40, 80], [0]), 16)
    assert [frame.number for frame in few] == [0, 1, 2]


def test_scenes_get_a_frame_each_and_long_ones_more(tmp_path: Path) -> None:
    index = index_of(list(range(0, 20_001, 40)), [0])
    frames = sampling.of_scenes(index, [2.0, 3.0, 13.0], 8)
    counts = [sum(a <= frame.time_s < b for frame in frames) for a, b in itertools.pairwise([0, 2, 3, 13, 30])]
    assert len(frames) == 8
    assert min(counts) == 1
    assert counts[2] > counts[3] > counts[1]
    assert len(sampling.of_scenes(index, [float(at) for at in range(1, 20)], 5)) == 5


def test_scene_changes_are_found(tmp_path: Path, store: MediaStore) -> None:
    colours = ["#203040", "#e0d0c0", "#306030"]
    with av.open(str(tmp_path / "scenes.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 72, "yuv420p"
        for number in range(75):
            frame = av.VideoFrame.from_image(Image.new("RGB", (128, 72), colours[number // 25]))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    media = store.add_video(tmp_path / "scenes.mp4")
    frames = store.overview(media, Overview(frames=3, by="scene"))
    assert [frame.number // 25 for frame in frames] == [0, 1, 2]


def test_key_frames_alone_decode_nothing_else(made: Path, store: MediaStore) -> None:
    media = store.add_video(made / "plain.mp4")
    index = store.clips.index(made / "plain.mp4", media)
    frames = store.overview(media, Overview(by="key_frame"))
    assert [index.pts[frame.number] for frame in frames] == list(index.keys)
    assert len(store.overview(media, Overview(frames=2, by="key_frame"))) == 2


def test_colours_are_those_of_a_plain_decoding(samples: Path) -> None:
    path = samples / "videos" / "bt709_full_range.mp4"
    index = describe(path)
    ours = dict(pyav.decode(path, index, index.pts[:2]))
    theirs = dict(decord.decode(path, index, index.pts[:2]))
    for pts, image in ours.items():
        assert max(ImageStat.Stat(ImageChops.difference(image, theirs[pts])).mean) < 1


def test_a_hash_is_of_the_whole_file(made: Path, store: MediaStore) -> None:
    media: Media = store.add_video(made / "plain.mp4")
    assert media.sha256 == sha256_of(store.path(media)) == sha256_of(made / "plain.mp4")
