"""A headless Chromium, driven over its DevTools pipe: lays HTML out, says where each element stands, and draws it.

One browser lives as long as the process that started it: when that ends, however it ends, the pipe breaks and Chromium
goes, too. Pages are this program's own and hold no script; nothing is loaded from a network. The fonts are the DejaVu
files that matplotlib brings, put into the browser once, so what is drawn depends on Chromium's version and not on the
machine's fonts. The protocol is the Chrome DevTools Protocol: JSON messages with a zero byte after each, on file
descriptors 3 and 4 (`--remote-debugging-pipe`).
"""

import atexit
import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from dataforge.errors import ExampleError, UsageError
from dataforge.geometry import Box

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
# no sandbox: it can't be had in many containers, and what is drawn is our own
FLAGS = """--headless --no-sandbox --disable-gpu --hide-scrollbars --mute-audio --no-first-run --disable-extensions
--disable-background-networking --disable-component-update --disable-sync --disable-quic --disable-dev-shm-usage
--force-device-scale-factor=1 --force-color-profile=srgb --font-render-hinting=none --disable-lcd-text
--remote-debugging-pipe""".split()
ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH", "XDG_RUNTIME_DIR")
"""What the browser is told of ours; a teacher's key is none of its business."""
FONTS = {
    "sans": ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    "serif": ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf"),
    "mono": ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf"),
}
PROFILE = "dataforge-chromium-"
PATIENCE_S = 60.0
CAPITAL = 0.73
"""Height of a capital letter of DejaVu, in font sizes."""

MEASURE = """(() => {
  const found = [];
  for (const element of document.body.querySelectorAll('*')) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own && !element.dataset.key) continue;
    const box = element.getBoundingClientRect();
    const style = getComputedStyle(element);
    if (box.width < 1 || box.height < 1 || style.visibility === 'hidden') continue;
    found.push([element.dataset.key || '', element.textContent.replace(/\\s+/g, ' ').trim(),
                box.left, box.top, box.right, box.bottom, parseFloat(style.fontSize)]);
  }
  return [found, Math.ceil(document.documentElement.getBoundingClientRect().height)];
})()"""


class Printed(NamedTuple):
    """An element with text as it was laid out: its key if it has one, its text, its box, the height of a capital."""

    key: str
    text: str
    box: Box
    text_px: float


class Sheet(NamedTuple):
    """A page as drawn: a PNG, its size, every element with text in the page's order, and the browser's version."""

    png: bytes
    width: int
    height: int
    printed: tuple[Printed, ...]
    drawn_by: str


def program() -> str | None:
    """The Chromium or Chrome of this machine; None where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    return found or (str(MAC) if MAC.is_file() else None)


@lru_cache(maxsize=1)
def browser() -> "Chromium":
    """This process's browser, started when it is first asked for."""
    started = Chromium()
    atexit.register(started.close)
    return started


def render(css: str, body: str, width: int) -> Sheet:
    """The page, so many CSS pixels wide, one pixel each; ExampleError("pages", reason) where it can't be drawn."""
    here = browser()
    try:
        return here.draw(css, body, width)
    except ExampleError:
        here.close()
        browser.cache_clear()  # the next page gets a fresh one
        raise


class Chromium:
    """One browser with one tab."""

    def __init__(self) -> None:
        path = program()
        if path is None:
            raise UsageError("no Chromium here: apt-get install chromium")
        _sweep()
        self._profile = tempfile.mkdtemp(prefix=f"{PROFILE}{os.getpid()}-")
        self._left, self._number, self._tab = b"", 0, ""
        reads, self._write = _pipe()
        self._read, writes = _pipe()
        # the browser's ends become its descriptors 3 and 4; all others are closed for it
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, reads, 3),
            (os.POSIX_SPAWN_DUP2, writes, 4),
        ]
        command = [path, *FLAGS, f"--user-data-dir={self._profile}"]
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        self._pid = os.posix_spawn(path, command, environment, file_actions=actions)
        os.close(reads)
        os.close(writes)
        try:
            self._open_tab()
        except ExampleError:
            self.close()
            raise

    def _open_tab(self) -> None:
        self.version = str(self._ask("Browser.getVersion")["product"]).removeprefix("Headless")
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._tab = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        # a blank page is laid out in quirks mode; ours are not
        self._evaluate("document.open(); document.write('<!doctype html><body></body>'); document.close()")
        for family, files in FONTS.items():
            for weight, name in zip(("normal", "bold"), files, strict=True):
                font = base64.b64encode(_font(name)).decode()
                self._evaluate(
                    f"new FontFace('{family}-here', 'url(data:font/ttf;base64,{font})', {{weight: '{weight}'}})"
                    ".load().then(face => { document.fonts.add(face); return true })"
                )

    def draw(self, css: str, body: str, width: int) -> Sheet:
        """Lay a page out, measure it, draw it."""
        self._resize(width, 800)
        page = f"<style>{css}</style>{body}"
        self._evaluate(f"document.body.innerHTML = {json.dumps(page)}; document.fonts.ready.then(() => true)")
        found, height = self._evaluate(MEASURE)
        self._resize(width, height)
        drawn = self._ask("Page.captureScreenshot", format="png")["data"]
        printed = tuple(_printed(found, width, height))
        return Sheet(base64.b64decode(drawn), width, height, printed, self.version)

    def _resize(self, width: int, height: int) -> None:
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def _evaluate(self, expression: str) -> Any:
        told = self._ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise ExampleError("pages", "browser_failed", str(told["exceptionDetails"].get("text")))
        return told["result"].get("value")

    def _ask(self, method: str, **params: Any) -> Any:
        """The result of one command; ExampleError where the browser fails, dies or takes too long."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._tab:
            message["sessionId"] = self._tab
        content, until = json.dumps(message).encode() + b"\0", time.monotonic() + PATIENCE_S
        try:
            while content:
                content = content[os.write(self._write, content) :]
            while True:
                told = json.loads(self._next(until))
                if told.get("id") == self._number:
                    break
        except (OSError, ValueError) as error:
            raise ExampleError("pages", "browser_failed", f"{method}: {error}") from None
        if "error" in told:
            raise ExampleError("pages", "browser_failed", f"{method}: {told['error'].get('message')}")
        return told["result"]

    def _next(self, until: float) -> bytes:
        while b"\0" not in self._left:
            if not select.select([self._read], [], [], max(0.0, until - time.monotonic()))[0]:
                raise OSError(f"no answer in {PATIENCE_S:.0f} s")
            more = os.read(self._read, 1 << 20)
            if not more:
                raise OSError("Chromium has ended")
            self._left += more
        message, _, self._left = self._left.partition(b"\0")
        return message

    def close(self) -> None:
        """End the browser; once more does nothing."""
        if not self._pid:
            return
        for descriptor in (self._write, self._read):
            os.close(descriptor)
        with contextlib.suppress(OSError):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        self._pid = 0
        shutil.rmtree(self._profile, ignore_errors=True)


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are above the descriptors that the browser's are put on."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]


def _sweep() -> None:
    """Remove profiles that killed processes have left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PROFILE}*"):
        number = folder.name.removeprefix(PROFILE).partition("-")[0]
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, PermissionError):
            continue


def _font(name: str) -> bytes:
    import matplotlib

    return (Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name).read_bytes()


def _printed(found: list[Any], width: int, height: int) -> list[Printed]:
    page = Box(0, 0, width, height)
    listed = []
    for key, text, left, top, right, bottom, size in found:
        box = Box(left, top, right, bottom).intersect(page)
        if box.width > 0 and box.height > 0:
            listed.append(Printed(key, text, box, CAPITAL * size))
    return listed
