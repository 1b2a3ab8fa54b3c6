"""What the evaluation harness costs beside the model: it plays against an endpoint that answers at once.

    python benchmarks/evaluate.py

Side by side on the same drawn 12-megapixel photos: `dataforge eval` with operations (whole view, one zoom, two calls a
question, traces written) and a straight script that does the least that gives the same two requests: open, resize,
encode, post; crop, encode, post. It knows beforehand where the zoom will be, so it opens each photo once; who waits for
a model can't. CPU is that of all processes but the endpoint's.
"""

import asyncio
import base64
import contextlib
import ctypes
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

QUESTIONS, AT_ONCE = 96, 8
SIZE = (4000, 3000)
BOX = (280, 280, 560, 560)  # on the whole view


class Endpoint(BaseHTTPRequestHandler):
    """Calls once, then answers."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        call = json.dumps({"name": "zoom_in", "arguments": {"bbox_2d": BOX, "target_image": 1}})
        looked = body.count(b"data:image") > 1
        text = r"It is so. \boxed{A}" if looked else f"I look.\n<tool_call>\n{call}\n</tool_call>"
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 2000, "completion_tokens": 50}
        made = json.dumps({"id": "x", "model": "m", "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(made)))
        self.end_headers()
        self.wfile.write(made)


def draw(folder: Path) -> None:
    """Questions in V*Bench's layout; noise of several scales, which a JPEG can't make small."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    place = folder / "direct_attributes"
    place.mkdir(parents=True)
    for number in range(QUESTIONS):
        coarse = draw.integers(0, 255, size=(SIZE[1] // 25, SIZE[0] // 25, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC).save(place / f"sa_{number}.jpg", quality=92)
        row = {"question": "What color is it?", "options": ["red", "blue"], "bbox": [], "target_object": []}
        (place / f"sa_{number}.json").write_text(json.dumps(row))


async def script(folder: Path, url: str) -> None:
    """The least that sends the same: one process pool, one session, no trace."""
    from concurrent.futures import ProcessPoolExecutor

    import aiohttp

    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        async with aiohttp.ClientSession() as session:

            async def one(path: Path) -> None:
                async with gate:
                    whole, part = await loop.run_in_executor(pool, cut, path)
                    for shown in ([whole], [whole, part]):
                        await post(session, url, shown)

            await asyncio.gather(*(one(path) for path in sorted(folder.glob("*/*.jpg"))))


def cut(path: Path) -> tuple[bytes, bytes]:
    from PIL import Image

    image = Image.open(path).convert("RGB")
    whole = image.resize((1148, 868), Image.Resampling.LANCZOS, reducing_gap=1.5)
    scale = image.width / 1148
    part = image.crop(tuple(round(side * scale) for side in BOX)).resize((896, 896), Image.Resampling.LANCZOS)
    return jpeg(whole), jpeg(part)


def jpeg(image: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, subsampling=0)  # type: ignore[attr-defined]
    return buffer.getvalue()


async def post(session: object, url: str, shown: list[bytes]) -> None:
    parts: list[dict[str, object]] = [{"type": "text", "text": "What color is it?"}]
    for one in shown:
        address = "data:image/jpeg;base64," + base64.b64encode(one).decode()
        parts.append({"type": "image_url", "image_url": {"url": address}})
    body = {"model": "m", "messages": [{"role": "user", "content": parts}]}
    async with session.post(f"{url}/chat/completions", json=body) as answer:  # type: ignore[attr-defined]
        await answer.read()


def adopt_orphans() -> None:
    """Have the kernel hand us the grandchildren whose parents are gone, so that their CPU counts (Linux)."""
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def measured(what: str, questions: int, argv: list[str]) -> None:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.monotonic() - started
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{what:34} {questions:9} {wall:8.1f} {questions / wall:12.1f} {1000 * cpu / questions:16.0f}")


def main() -> None:
    adopt_orphans()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    with tempfile.TemporaryDirectory() as home:
        data = Path(home) / "V"
        draw(data)
        ours = [sys.executable, "-c", "import dataforge.cli; dataforge.cli.main()", "eval", "--benchmark", "vstar"]
        ours += ["--arm", "with", "--path", str(data), "--model", "m", "--base-url", url, "--json"]
        print(f"{'':34} {'questions':>9} {'wall s':>8} {'questions/s':>12} {'CPU ms/question':>16}")
        measured("a straight script", QUESTIONS, [sys.executable, __file__, "script", str(data), url])
        measured("dataforge eval, all questions", QUESTIONS, [*ours, "--runs", f"{home}/all"])
        measured("dataforge eval, one: start and end", 1, [*ours, "--runs", f"{home}/one", "--limit", "1"])
    server.shutdown()


if __name__ == "__main__":
    if sys.argv[1:2] == ["script"]:
        asyncio.run(script(Path(sys.argv[2]), sys.argv[3]))
    else:
        main()
