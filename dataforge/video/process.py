"""The handle on the decoding process: one for each process that asks, started when it is first needed.

A request has a time limit; when it is over, the process is killed and the next request starts a new one.
"""

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dataforge.errors import ExampleError


class Decoder:
    """A decoding process that is started when it is asked, and again after it was killed or has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, request: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """The answer; ExampleError("media", reason) for a file that is no use, takes too long or kills the process."""
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                line = self._line(process, limit_s)
            except BrokenPipeError:
                line = b""
            except BaseException:
                self.close()
                raise
            if not line:
                self.close()
                raise ExampleError("media", "decoder_died", "the decoding process ended while it worked on this file")
        answer: dict[str, Any] = json.loads(line)
        if "reason" in answer:
            raise ExampleError("media", answer["reason"], answer["detail"])
        return answer

    def close(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
            self._process = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            # one arena: glibc's many kept 100 MB of freed frames
            surroundings = os.environ | {"MALLOC_ARENA_MAX": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dataforge.video.decoder"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=surroundings,
                start_new_session=True,  # Ctrl-C is for the process that asks: this one ends with it
            )
        return self._process

    def _line(self, process: subprocess.Popen[bytes], limit_s: float) -> bytes:
        """One line of the process's output; empty where it ended first."""
        assert process.stdout is not None
        until, read = time.monotonic() + limit_s, b""
        poll = select.poll()
        poll.register(process.stdout, select.POLLIN)
        while not read.endswith(b"\n"):
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                raise ExampleError("media", "too_slow", f"not done after {limit_s:g} s")
            piece = os.read(process.stdout.fileno(), 1 << 20)
            if not piece:
                return b""
            read += piece
        return read


_decoders: dict[int, Decoder] = {}


def decoder() -> Decoder:
    """This process's own; a fork doesn't share its parent's."""
    return _decoders.setdefault(os.getpid(), Decoder())
