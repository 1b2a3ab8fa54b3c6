"""A real headless Chromium, driven over its DevTools port by a WebSocket client of a few lines. Skips where none is."""

import base64
import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-port=0 --window-size=1366,768"""
PATIENCE_S = 30.0
ENDS = {"Escape": 27, "Enter": 13}


class Tab:
    """One tab: evaluate, press keys."""

    def __init__(self, address: str) -> None:
        host, _, path = address.removeprefix("ws://").partition("/")
        name, _, port = host.partition(":")
        self._socket = socket.create_connection((name, int(port)), timeout=PATIENCE_S)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._stream = self._socket.makefile("rb")
        while self._stream.readline().strip():
            pass
        self._number = 0
        self.messages: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        self._send(json.dumps({"id": self._number, "method": method, "params": parameters}).encode())
        while True:
            message = self._receive()
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self.messages.append(message)

    def _send(self, content: bytes) -> None:
        size = len(content)
        head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x81, 0x80 | 126, size)
        self._socket.sendall(head + bytes(4) + content)  # a mask of zeros

    def _receive(self) -> dict[str, Any]:
        _, size = self._stream.read(2)
        if size == 126:
            (size,) = struct.unpack("!H", self._stream.read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._stream.read(8))
        made: dict[str, Any] = json.loads(self._stream.read(size))
        return made

    def evaluate(self, expression: str) -> Any:
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until it holds; it may fail while the page is being loaded."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with contextlib.suppress(AssertionError):
                if self.evaluate(expression):
                    return
            time.sleep(0.05)
        raise AssertionError(f"never held: {expression}; {self.evaluate('document.body.innerText')}")

    def open(self, address: str) -> None:
        self.ask("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && !!document.querySelector('#trace')")

    def press(self, key: str) -> None:
        code: dict[str, Any] = {"windowsVirtualKeyCode": ENDS[key]} if key in ENDS else {"text": key}
        if key == "Enter":
            code["text"] = "\r"
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, **code)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key)

    def type(self, text: str) -> None:
        self.ask("Input.insertText", text=text)

    def complaints(self) -> list[str]:
        """What went wrong in the page so far: errors of scripts, what the policy blocked, what could not be loaded."""
        wrong = [message for message in self.messages if message.get("method") == "Runtime.exceptionThrown"]
        logged = [message for message in self.messages if message.get("method") == "Log.entryAdded"]
        return [str(one) for one in wrong + logged if "favicon" not in str(one)]


@contextlib.contextmanager
def tab() -> Iterator[Tab]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, *FLAGS.split(), f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port_file, until = Path(profile) / "DevToolsActivePort", time.monotonic() + PATIENCE_S
            while not (port_file.exists() and port_file.read_text().count("\n")):
                assert time.monotonic() < until, "the browser did not start"
                assert process.poll() is None, "the browser ended"
                time.sleep(0.05)
            port = port_file.read_text().split()[0]
            tabs = json.load(urlopen(f"http://127.0.0.1:{port}/json/list"))
            yield Tab(next(one["webSocketDebuggerUrl"] for one in tabs if one["type"] == "page"))
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
