"""The decoding process: reads one request a line, writes frames as files, answers with one line.

`python -m dataforge.video.decoder` is started by `process` and by nobody else. It is a process of its own so that a
file that hangs, eats the memory or crashes a decoder costs one example: it is killed and started again. It ends when
its parent does.
"""

import gc
import json
import os
import queue
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from dataforge.workers import give_memory_back

MEMORY_BYTES = 4 << 30
"""Of address space: an 8K frame and all that a decoder keeps for reference fit well into it."""


def main() -> None:
    """Answer requests until the standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # decoders talk to both
        os.dup2(silence, stream)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    give_memory_back()
    from dataforge.video import decord, pyav, scenes  # noqa: F401

    gc.freeze()  # what has been imported stays, and isn't looked through after each request
    for line in _requests():
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()
        # a frame whose side data were read refers to itself: it, and its decoder's memory, would wait for a rare turn
        gc.collect()


def _requests() -> Iterator[str]:
    """Lines of the standard input; the process ends in the middle of its work when its parent is gone."""
    lines: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        yield lines.get()


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked; a failure is an answer with its reason."""
    from dataforge.errors import ExampleError

    jobs = {"describe": _describe, "frames": _frames, "scenes": _scenes}
    try:
        return jobs[request["job"]](request)
    except ExampleError as error:
        return {"reason": error.reason, "detail": error.detail}
    except ImportError as error:
        return {"reason": "no_backend", "detail": f"{error.name} isn't installed: pip install {error.name}"}
    except MemoryError:
        return {"reason": "out_of_memory", "detail": "its frames don't fit into the decoder's memory"}
    except Exception as error:  # a decoder raises nearly anything on a broken file
        return {"reason": "broken_video", "detail": f"{type(error).__name__}: {error}"[:300]}


def _describe(request: dict[str, Any]) -> dict[str, Any]:
    from dataforge.video.scan import describe

    return {"index": describe(Path(request["path"])).model_dump(mode="json")}


def _frames(request: dict[str, Any]) -> dict[str, Any]:
    from dataforge.video import decord, pyav
    from dataforge.video.index import Index

    index, folder = Index.model_validate(request["index"]), Path(request["folder"])
    backend = {"pyav": pyav.decode, "decord": decord.decode}[request["decoder"]]
    for pts, image in backend(Path(request["path"]), index, request["wanted"]):
        temporary = folder / f".{os.getpid()}-{pts}{request['suffix']}"
        image.save(temporary)
        os.replace(temporary, folder / f"{pts}{request['suffix']}")
    return {}


def _scenes(request: dict[str, Any]) -> dict[str, Any]:
    from dataforge.video.index import Index
    from dataforge.video.scenes import cuts

    return {"cuts": cuts(Path(request["path"]), Index.model_validate(request["index"]))}


if __name__ == "__main__":
    main()
