"""Whatever a file holds, the store gives an upright RGB picture or an ExampleError with a reason code."""

import io
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from dataforge.errors import ExampleError
from dataforge.geometry import Box
from dataforge.media import MAX_BYTES, MediaStore, cut, decode, fingerprint, fit, to_jpeg

ARROW = Image.new("RGB", (48, 32), "white")
ARROW.paste("red", (0, 0, 24, 16))
ARROW.paste("blue", (24, 16, 48, 32))
"""Red in the top left quarter, blue in the bottom right one: every turn and flip of it is different."""

AS_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera that writes this EXIF value has laid the upright picture down."""


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def turned(orientation: int, form: str = "PNG") -> bytes:
    """The arrow as stored under an EXIF orientation."""
    how = AS_STORED[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(ARROW if how is None else ARROW.transpose(how), form, exif=exif)


def reason(content: bytes) -> str:
    with pytest.raises(ExampleError) as caught:
        decode(content, "x.jpg")
    assert caught.value.stage == "media"
    return caught.value.reason


class TestDecode:
    @pytest.mark.parametrize("orientation", AS_STORED)
    @pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
    def test_exif_orientation_is_applied(self, store: MediaStore, orientation: int, form: str) -> None:
        media = store.add_bytes(turned(orientation, form), ".png")
        assert (media.width, media.height) == (48, 32)
        picture = store.open(media)
        red, _, blue = picture.getpixel((6, 4))
        assert red > 200 > 80 > blue
        red, _, blue = picture.getpixel((40, 28))
        assert blue > 200 > 80 > red
        assert store.orientation(media) == orientation

    def test_nonsense_orientation_is_none(self, store: MediaStore) -> None:
        exif = Image.Exif()
        exif[274] = 42
        media = store.add_bytes(encoded(ARROW, "PNG", exif=exif), ".png")
        assert store.orientation(media) == 1

    def test_cmyk(self) -> None:
        picture = decode(encoded(ARROW.convert("CMYK"), "JPEG"))
        assert picture.mode == "RGB"
        assert picture.getpixel((40, 28))[2] > 200

    def test_sixteen_bits_keep_their_greys(self) -> None:
        wide = Image.new("I;16", (4, 1))
        for x, value in enumerate((0, 20_000, 40_000, 65_535)):
            wide.putpixel((x, 0), value)
        for form in ("PNG", "TIFF"):
            picture = decode(encoded(wide, form))
            assert [picture.getpixel((x, 0))[0] for x in range(4)] == [0, 78, 156, 255]

    def test_real_sixteen_bits_look_like_their_eight(self, samples: Path) -> None:
        wide = decode((samples / "nasty_images/pillow/hopper_16bit.pgm").read_bytes()).convert("L")
        eight = decode((samples / "nasty_images/pillow/hopper_gray.jpg").read_bytes()).convert("L")
        away = [abs(one - two) for one, two in zip(wide.tobytes(), eight.tobytes(), strict=True)]
        assert sum(away) / len(away) < 12

    def test_float_pixels_are_refused(self) -> None:
        assert reason(encoded(Image.new("F", (4, 4), 0.5), "TIFF")) == "unsupported_mode"

    def test_transparency_lies_on_white(self) -> None:
        palette = Image.new("P", (2, 1))
        palette.putpalette([0, 0, 0, 200, 0, 0])
        palette.putpixel((1, 0), 1)
        picture = decode(encoded(palette, "PNG", transparency=0))
        assert picture.getpixel((0, 0)) == (255, 255, 255)
        assert picture.getpixel((1, 0)) == (200, 0, 0)
        for mode, colour in (("RGBA", (0, 0, 0, 0)), ("LA", (0, 0))):
            assert decode(encoded(Image.new(mode, (2, 2), colour), "PNG")).getpixel((0, 0)) == (255,) * 3
        half = decode(encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 128)), "PNG"))
        assert half.getpixel((0, 0)) == (127,) * 3

    def test_first_frame_of_an_animation(self) -> None:
        frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
        for form in ("GIF", "WEBP", "PNG"):
            picture = decode(encoded(frames[0], form, save_all=True, append_images=frames[1:], lossless=True))
            assert picture.getpixel((4, 4)) == (255, 0, 0)

    def test_colour_profile_does_no_harm(self) -> None:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        assert decode(encoded(ARROW, "PNG", icc_profile=profile)).tobytes() == ARROW.tobytes()

    def test_broken_files_have_reasons(self) -> None:
        whole = encoded(ARROW.resize((480, 320)), "JPEG")
        assert reason(whole[: len(whole) // 2]) == "broken_picture"
        assert reason(b"") == "empty_file"
        assert reason(b"This is no picture.\n") == "not_a_picture"
        assert reason(b"\xff\xd8\xff") == "not_a_picture"

    def test_bombs_are_refused_by_their_header(self) -> None:
        assert reason(encoded(Image.new("1", (12_000, 12_000)), "PNG")) == "too_many_pixels"
        assert reason(encoded(Image.new("1", (30_000, 30_000)), "PNG")) == "too_many_pixels"
        assert reason(b"P4 1 80000000\n" + b"\0" * 100) == "extreme_aspect"
        assert reason(b"P4 80000000 1\n" + b"\0" * 100) == "extreme_aspect"
        assert reason(encoded(Image.new("L", (1, 201)), "PNG")) == "extreme_aspect"
        assert decode(encoded(Image.new("L", (1, 200)), "PNG")).size == (1, 200)

    @given(st.binary(max_size=300), st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]), st.integers(0))
    def test_no_other_exception(self, noise: bytes, form: str, where: int) -> None:
        whole = encoded(ARROW, form)
        at = where % len(whole)
        for content in (noise, whole[:at] + noise + whole[at:], whole[:at] + noise + whole[at + len(noise) :]):
            with suppress(ExampleError):
                assert decode(content).mode == "RGB"


class TestStore:
    def test_file_and_bytes_are_the_same_media(self, store: MediaStore, tmp_path: Path) -> None:
        file = tmp_path / "A.JPG"
        file.write_bytes(turned(6, "JPEG"))
        one = store.add_file(file, licence="CC0")
        two = store.add_bytes(file.read_bytes(), ".jpg", "CC0", "A.JPG")
        assert one == two
        assert (one.suffix, one.origin, one.licence) == (".jpg", "A.JPG", "CC0")
        assert MediaStore(store.folder).open(one).size == (48, 32)
        assert sum(path.is_file() for path in store.folder.rglob("*")) == 1

    def test_a_symbolic_link_is_followed(self, store: MediaStore, tmp_path: Path) -> None:
        (tmp_path / "blobs").mkdir()
        (tmp_path / "blobs/1").write_bytes(encoded(ARROW, "PNG"))
        (tmp_path / "a.png").symlink_to("blobs/1")
        media = store.add_file(tmp_path / "a.png")
        assert not store.path(media).is_symlink()
        assert MediaStore(store.folder).open(media).size == ARROW.size

    def test_no_file(self, store: MediaStore, tmp_path: Path) -> None:
        cases = {"gone.jpg": "missing_media", "folder.jpg": "unreadable_media", "pipe.jpg": "unreadable_media"}
        cases |= {"nu\0ll.jpg": "unreadable_media", "x" * 300: "unreadable_media"}
        (tmp_path / "folder.jpg").mkdir()
        os.mkfifo(tmp_path / "pipe.jpg")
        for name, expected in cases.items():
            with pytest.raises(ExampleError) as caught:
                store.add_file(tmp_path / name)
            assert caught.value.reason == expected
            assert str(tmp_path) not in caught.value.detail

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
    def test_no_permission(self, store: MediaStore, tmp_path: Path) -> None:
        file = tmp_path / "a.png"
        file.write_bytes(encoded(ARROW, "PNG"))
        file.chmod(0)
        with pytest.raises(ExampleError, match="unreadable_media"):
            store.add_file(file)

    def test_a_huge_file_is_not_read(self, store: MediaStore, tmp_path: Path) -> None:
        with (tmp_path / "a.bmp").open("wb") as file:
            file.truncate(MAX_BYTES + 1)
        with pytest.raises(ExampleError, match="file_too_large"):
            store.add_file(tmp_path / "a.bmp")

    def test_changed_or_lost_after_storing(self, store: MediaStore) -> None:
        media = store.add_bytes(encoded(ARROW, "PNG"), ".png", origin="a.png")
        store.path(media).write_bytes(encoded(ARROW.resize((10, 10)), "PNG"))
        with pytest.raises(ExampleError, match="media_changed"):
            MediaStore(store.folder).open(media)
        store.path(media).unlink()
        with pytest.raises(ExampleError, match="missing_media"):
            MediaStore(store.folder).open(media)

    def test_few_pictures_stay_decoded(self, tmp_path: Path) -> None:
        store = MediaStore(tmp_path, keep=2)
        media = [store.add_bytes(encoded(Image.new("L", (n, n)), "PNG"), ".png") for n in range(1, 6)]
        assert len(store._decoded) == 2
        assert store.open(media[4]) is store.open(media[4])
        assert store.open(media[0]).size == (1, 1)

    def test_broken_picture_leaves_no_file(self, store: MediaStore) -> None:
        with pytest.raises(ExampleError):
            store.add_bytes(b"no picture", ".jpg")
        assert not store.folder.exists()


NASTY = """
import json, resource, sys, tempfile, time
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
from dataforge.errors import ExampleError
from dataforge.media import MediaStore
root, store = Path(sys.argv[1]), MediaStore(Path(sys.argv[2]), keep=1)
for item in json.loads((root / "manifest.json").read_text()):
    began = time.monotonic()
    try:
        media = store.add_file(root / item["file"])
        mode, size = store.open(media).mode, store.open(media).size
        assert size == (media.width, media.height)
        said = f"{mode} {media.width}x{media.height}"
    except ExampleError as error:
        said = error.reason
    print(json.dumps([item["file"], item["measured"], said, time.monotonic() - began]))
"""


def test_nasty_images(samples: Path, tmp_path: Path) -> None:
    """Every hostile file, in a process of one gigabyte: an answer in seconds, and no crash."""
    command = [sys.executable, "-c", NASTY, str(samples / "nasty_images"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(json.loads((samples / "nasty_images/manifest.json").read_text()))
    for file, measured, said, took_s in found:
        assert took_s < 30, file
        if "Error" in measured:
            assert not said.startswith("RGB"), (file, said)
        else:
            size = next(word for word in measured.split() if "x" in word and word[0].isdigit())
            turned = any(f"orientation {n}" in measured for n in (5, 6, 7, 8))
            upright = "x".join(reversed(size.split("x"))) if turned else size
            assert said == f"RGB {upright.rstrip(',')}", (file, said)


@given(
    st.integers(1, 12_000),
    st.integers(1, 12_000),
    st.sampled_from([14, 16, 28, 32]),
    st.sampled_from([4, 16, 64]),
    st.sampled_from([512, 1280, 4096, 16384]),
)
def test_fit(width: int, height: int, patch: int, fewest: int, most: int) -> None:
    assume(max(width, height) <= 200 * min(width, height))
    bounds = (fewest * patch**2, most * patch**2)
    size = fit(width, height, patch, *bounds)
    assert all(side % patch == 0 and side >= patch for side in size)
    assert bounds[0] <= size[0] * size[1] <= bounds[1]
    assert fit(*size, patch, *bounds) == size


def test_fit_leaves_a_fitting_picture_alone() -> None:
    assert fit(1008, 784, 28, 3136, 1003520) == (1008, 784)
    assert fit(2000, 7000, 28, 3136, 1003520) == (532, 1848)


def test_cut_and_fingerprint() -> None:
    corner = cut(ARROW, Box(24, 16, 48, 32), (24, 16))
    assert corner.getcolors() == [(24 * 16, (0, 0, 255))]
    larger = cut(ARROW, Box(24, 16, 48, 32), (56, 28))
    assert larger.size == (56, 28)
    assert larger.getpixel((28, 14)) == (0, 0, 255)
    assert fingerprint(corner) != fingerprint(corner.rotate(90, expand=True))
    assert Image.open(io.BytesIO(to_jpeg(larger))).size == (56, 28)
