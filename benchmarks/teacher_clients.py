"""The clients of benchmarks/teacher.py that need no peer: bare aiohttp, the SDK in two ways, and dataforge.

    python benchmarks/teacher_clients.py ours http://127.0.0.1:8000/v1 64 3200 FOLDER

Each makes that many different requests with one of 50 different pictures of about 70 kB, so many at once, and prints
one line of JSON: seconds of the calls, CPU seconds of the calls and of the process, peak memory. `ours` is the whole
path behind a cut picture: request, reply, parse, checks, reply cache, trace appended to the run folder.
"""

import asyncio
import base64
import contextlib
import gc
import json
import os
import pickle
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

PICTURES, WIDTH, HEIGHT = 50, 640, 480
MODEL, KEY = "tiny-vision", "sk-benchmark"


def pictures(folder: Path) -> list[bytes]:
    """The JPEGs, made once for all clients and repetitions."""
    paths = [folder / "pictures" / f"{number}.jpg" for number in range(PICTURES)]
    if not paths[-1].exists():
        from PIL import Image

        paths[0].parent.mkdir(parents=True, exist_ok=True)
        for path in paths:
            noise = Image.effect_noise((WIDTH, HEIGHT), 48).convert("RGB")
            buffer = BytesIO()
            noise.save(buffer, "JPEG", quality=62)
            path.write_bytes(buffer.getvalue())
    return [path.read_bytes() for path in paths]


def messages(number: int, encoded: str) -> list[dict[str, Any]]:
    url = f"data:image/jpeg;base64,{encoded}"
    text = f"What does the third row of picture {number} say?"
    content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": content}]


async def at_once(most: int, calls: int, call: Callable[[int], Awaitable[None]]) -> None:
    numbers = iter(range(calls))

    async def work() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(work() for _ in range(most)))


async def bare(url: str, most: int, calls: int, jpegs: list[bytes]) -> None:
    """What anybody would write by hand with aiohttp: no check of the reply, no retry, nothing stored."""
    import aiohttp

    encoded = [base64.b64encode(jpeg).decode() for jpeg in jpegs]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(number: int) -> None:
            body = {"model": MODEL, "messages": messages(number, encoded[number % PICTURES]), "max_tokens": 64}
            async with session.post(f"{url}/chat/completions", json=body) as response:
                reply = await response.json()
                assert reply["choices"][0]["message"]["content"]

        await at_once(most, calls, call)


async def sdk(url: str, most: int, calls: int, jpegs: list[bytes], aio: bool = False) -> None:
    """The openai package, with its default transport or with its aiohttp one."""
    import openai

    encoded = [base64.b64encode(jpeg).decode() for jpeg in jpegs]
    options: dict[str, Any] = {"http_client": openai.DefaultAioHttpClient()} if aio else {}
    async with openai.AsyncOpenAI(api_key=KEY, base_url=url, max_retries=6, **options) as client:

        async def call(number: int) -> None:
            asked: Any = messages(number, encoded[number % PICTURES])
            reply = await client.chat.completions.create(model=MODEL, messages=asked, max_tokens=64)
            assert reply.choices[0].message.content

        await at_once(most, calls, call)


# ---------------------------------------------------------------------------------------------- ours


def ours(url: str, most: int, calls: int, jpegs: list[bytes], folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """`synth` with everything but the cutting: its workers hand out drafts whose pictures are there."""
    from dataforge import manifest, plugins
    from dataforge.ask.asking import Asking
    from dataforge.ask.budget import Purse
    from dataforge.ask.replies import ReplyCache
    from dataforge.plugins import Row
    from dataforge.runs import Run
    from dataforge.synth import Progress, make_all
    from dataforge.synth.maker import Maker

    teacher = {"name": "openai_api", "model": MODEL, "base_url": url, "in_flight": most, **options}
    texts = manifest.load(manifest.shipped("infographics")).prompts
    chosen = manifest.parse(
        {"name": "bench", "source": "infographics", "teacher": teacher, "prompts": texts, "limit": calls}, "benchmark"
    )

    class Rows:
        def read(self) -> Iterator[Row]:
            return (Row(f"row-{number:06d}", f"group-{number % PICTURES}", number) for number in range(calls))

    async def run_all(run: Run) -> Progress:
        asked: plugins.Teacher = plugins.build("teacher", chosen.teacher)
        progress = Progress(total=calls)
        cut: Any = Cut(run, jpegs)
        with (
            ReplyCache(run.folder.parent / "replies.sqlite") as cache,
            contextlib.closing(Purse.open(asked, run.folder)) as purse,
        ):
            async with asked.session():
                progress.asking = Asking(asked, cache, purse)
                rows: Any = Rows()
                await make_all(run, rows, Maker(chosen, cut, progress.asking, run.store), progress, lambda _: None)
        return progress

    with Run.start(folder / "runs", chosen) as run:
        progress = asyncio.run(run_all(run))
    counts = progress.asking.counts if progress.asking else None
    return {
        "kept": progress.kept,
        "rejected": progress.rejected,
        "reasons": dict(progress.reasons),
        "stopped": progress.stopped,
        "calls": counts.calls if counts else 0,
    }


class Cut:
    """In the place of the worker processes: a draft for each row, its two views cut and encoded before."""

    def __init__(self, run: Any, jpegs: list[bytes]) -> None:
        from PIL import Image

        from dataforge.ask.request import Picture
        from dataforge.compose import Draft, Look
        from dataforge.episode import Episode
        from dataforge.geometry import Box
        from dataforge.operations.zoom_in import ZoomIn
        from dataforge.records import Call, Example, Limits, Region, Student

        buffer = BytesIO()
        Image.effect_noise((WIDTH, HEIGHT), 48).convert("RGB").save(buffer, "JPEG", quality=62)
        media = run.store.add_bytes(buffer.getvalue(), ".jpg", "", "benchmark")
        region = Region(box=Box(200.0, 150.0, 330.0, 190.0), label="the third row")
        self.example = Example(
            id="row", group="g", source="bench", question="What does the third row say?", answers=("42",),
            answer_type="number", media=(media,), evidence=(region,),
        )  # fmt: skip
        episode = Episode(self.example, run.store, [ZoomIn()], Student(), Limits())
        call = Call(name="zoom_in", arguments={"bbox_2d": [180, 130, 350, 210], "target_image": 1})
        look = Look(role="look", call=call, observation=episode.act(call), target="the third row")
        assert not look.observation.error, look
        self.draft = Draft(self.example, (region,), "single", (), episode.opening, (look,))
        pictures = [Picture(jpeg, f"{number:064d}") for number, jpeg in enumerate(jpegs)]
        assert all(picture.base64 for picture in pictures)  # as in `shown.encoded`
        self.pictures = [pickle.dumps(picture) for picture in pictures]

    async def run(self, group: str, job: Any, name: str, row: Any) -> Any:
        import dataclasses

        from dataforge.synth.bench import Ready

        # a picture of its own for each example, as it comes from a worker
        picture = pickle.loads(self.pictures[row.content % PICTURES])
        question = f"What does the third row of picture {row.content} say?"
        example = self.example.model_copy(update={"id": row.id, "group": row.group, "question": question})
        return Ready(dataclasses.replace(self.draft, example=example), (picture,))


def main() -> None:
    client, url, most, calls, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5])
    options = json.loads(sys.argv[6]) if len(sys.argv) > 6 else {}
    jpegs = pictures(folder.parent)
    gc.collect()
    began, used = time.perf_counter(), time.process_time()
    found: dict[str, Any] = {}
    if client == "ours":
        found = ours(url, most, calls, jpegs, folder, options)
    elif client == "bare":
        asyncio.run(bare(url, most, calls, jpegs))
    else:
        asyncio.run(sdk(url, most, calls, jpegs, aio=client == "sdk-aiohttp"))
    found |= {
        "run_s": time.perf_counter() - began,
        "calls_cpu_s": time.process_time() - used,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "load": os.getloadavg()[0],
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
