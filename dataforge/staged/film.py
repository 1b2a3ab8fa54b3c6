"""A staged clip as a real file: H.264 in MP4, the same bytes for the same plot and encoder."""

import io

import av
from PIL import Image

from dataforge.staged.paint import frames
from dataforge.staged.plot import HEIGHT, RATE, WIDTH, Plot

OPTIONS = {"preset": "ultrafast", "crf": "20", "threads": "1", "g": "250"}


def _yuv(image: Image.Image) -> av.VideoFrame:
    frame: av.VideoFrame = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call]
    return frame.reformat(format="yuv420p")


def film(plot: Plot) -> bytes:
    """The clip, encoded."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE, options=OPTIONS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        picture, drawn = None, None
        for number, image in enumerate(frames(plot)):
            if picture is None or image is not drawn:
                picture, drawn = _yuv(image), image
            picture.pts = number
            for packet in stream.encode(picture):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return buffer.getvalue()
