"""Clips whose frames say their own number: a bar code of 12 bits, drawn in black and white, that survives any codec."""

import random
import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image, ImageChops, ImageDraw

BITS = 12
CELL = 16
SIZE = (BITS * CELL, 96)
"""Width and height of a clip in pixels."""


def bars(number: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """The picture of a frame: its number as bars in the upper half, something that moves below."""
    image = Image.new("RGB", size, (96, 110, 96))
    pen = ImageDraw.Draw(image)
    cell = size[0] / BITS
    for bit in range(BITS):
        fill = "white" if number >> bit & 1 else "black"
        pen.rectangle((bit * cell, 0, (bit + 1) * cell - 1, size[1] // 2 - 1), fill=fill)
    x = number * 5 % size[0]
    pen.ellipse((x - 12, size[1] * 3 // 4 - 12, x + 12, size[1] * 3 // 4 + 12), fill=(220, 60, 40))
    return image


def number(image: Image.Image) -> int:
    """The number that a frame shows, in whatever size it is shown."""
    grey = image.convert("L")
    cell = grey.width / BITS
    lights = [grey.getpixel((int((bit + 0.5) * cell), grey.height // 4)) for bit in range(BITS)]
    return sum(1 << bit for bit, light in enumerate(lights) if isinstance(light, int) and light > 128)


def write(
    path: Path,
    count: int = 60,
    codec: str = "libx264",
    rate: Fraction | int = 25,
    times: Sequence[int] | None = None,
    base: Fraction | None = None,
    pixels: str = "yuv420p",
    shape: Fraction | None = None,
    options: dict[str, str] | None = None,
    second: bool = False,
    cover: bool = False,
    size: tuple[int, int] = SIZE,
) -> Path:
    """Encode a clip of `count` frames; `times` are their presentation times in units of `base`, else even ones."""
    # the header first, so that a file whose end is missing can be opened
    header = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=header) as container:
        streams = []
        if cover:
            art = container.add_stream("png", rate=1)
            art.width, art.height, art.pix_fmt = 64, 64, "rgb24"
            art.disposition = av.stream.Disposition.attached_pic
            streams.append((art, []))
        for at in range(2 if second else 1):
            stream = container.add_stream(codec, rate=rate, options={"g": "20", "threads": "1", **(options or {})})
            shrink = 2 if second and at == 0 else 1
            stream.width, stream.height = size[0] // shrink, size[1] // shrink
            stream.pix_fmt = pixels
            if base:
                stream.time_base = stream.codec_context.time_base = base
            if shape:
                stream.codec_context.sample_aspect_ratio = shape
            streams.append((stream, []))
        if cover:
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 64), "red"))
            for packet in streams[0][0].encode(frame):
                container.mux(packet)
            streams = streams[1:]
        for at in range(count):
            for stream, _ in streams:
                frame = av.VideoFrame.from_image(bars(at, (stream.width, stream.height)))
                frame.pts = times[at] if times else at
                frame.time_base = base or Fraction(1) / Fraction(rate)
                container.mux(stream.encode(frame))
        for stream, _ in streams:
            container.mux(stream.encode())
    return path


def four_k(path: Path, repeats: int = 12) -> Path:
    """A clip in 3840x2160 that takes long to decode: 12 frames of moving noise, again and again."""
    size, gop = (3840, 2160), 12
    noise = random.Random(0).randbytes(size[0] * 32)
    planes = Image.frombytes("L", (size[0], 32), noise).point(lambda level: 96 + level // 8).resize((size[0], 3240))
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "crf": "34", "g": str(gop), "sc_threshold": "0", "threads": "1"}
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        packets = []
        for at in range(gop):
            frame = av.VideoFrame(*size, "yuv420p")
            moved = ImageChops.offset(planes, at * 7, at).tobytes()
            rows = (size[0] * size[1], size[0] * size[1] // 4)
            frame.planes[0].update(moved[: rows[0]])
            frame.planes[1].update(moved[rows[0] : rows[0] + rows[1]])
            frame.planes[2].update(moved[rows[0] + rows[1] :])
            frame.pts = at
            packets += stream.encode(frame)
        packets += stream.encode()
        kept = [(bytes(packet), packet.is_keyframe, packet.pts, packet.time_base) for packet in packets]
        for again in range(repeats):
            for content, key, pts, base in kept:
                packet = av.Packet(content)
                packet.stream, packet.time_base, packet.is_keyframe = stream, base, key
                packet.pts = packet.dts = pts + again * gop
                container.mux(packet)
    return path


def cut(source: Path, path: Path, from_pts: int) -> Path:
    """What `ffmpeg -ss T -c copy` makes: packets from the key frame before, those before T not to be shown."""
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        start = max(at for at, packet in enumerate(packets) if packet.is_keyframe and packet.pts <= from_pts)
        with av.open(str(path), "w") as output:
            copy = output.add_stream_from_template(stream)
            for packet in packets[start:]:
                packet.stream = copy
                packet.pts -= from_pts
                packet.dts -= from_pts
                output.mux(packet)
    return path


def turned(source: Path, path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """The same MP4 with another display matrix in its track header."""
    content = bytearray(source.read_bytes())
    header = content.index(b"tkhd") + 4
    place = header + (40 if content[header] == 0 else 52)
    a, b, c, d = (one * 65536 for one in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def sound(path: Path) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        for _ in range(8):
            frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers(images: Iterable[Image.Image]) -> list[int]:
    return [number(image) for image in images]
