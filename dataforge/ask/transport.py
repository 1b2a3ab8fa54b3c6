"""The HTTP below the chat completions: bytes out, bytes in, over one pool of connections.

Measured before it was chosen (benchmarks/teacher.py; one 70 kB picture a request, one core): the SDK's default stack
takes 2.5 to 11 ms of CPU a call, most of it in its pool and in walking over the message body, and loses half of its
rate at 256 calls in flight; aiohttp with a body that is ready as bytes takes 0.25 ms, against 0.5 ms with a body that
it must make JSON of. So aiohttp carries the chat completions; the SDK still lists models (doctor) and runs batches.

A body is made as JSON with a mark in the place of each picture, and the picture's base64, which needs no escaping and
is made once, is spliced in as bytes. Nothing is retried, followed or logged here: who asks decides on that.

Proxies are taken from HTTPS_PROXY, HTTP_PROXY and NO_PROXY once for each address (aiohttp's own `trust_env` reads the
password file of the user for every request); certificates from SSL_CERT_FILE or SSL_CERT_DIR, else the system's.
"""

import asyncio
import json
import secrets
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from dataforge.ask.request import Picture, Setback
from dataforge.errors import UsageError

if TYPE_CHECKING:
    from aiohttp import ClientSession

CONNECT_S = 10.0
MARK = secrets.token_hex(16)
"""Stands where a picture goes; nobody outside this process can write it into a text."""


class Answer(NamedTuple):
    """What came back, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def content(self) -> Any:
        """The body's JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def encode(body: Mapping[str, Any]) -> bytes:
    """A request body as JSON, where each Picture in it becomes its data URL."""
    pictures: list[Picture] = []

    def mark(value: Any) -> Any:
        if not isinstance(value, Picture):
            return dict(value)
        pictures.append(value)
        return MARK

    texts = json.dumps(body, default=mark, separators=(",", ":")).encode("ascii").split(MARK.encode())
    parts = [texts[0]]
    for picture, text in zip(pictures, texts[1:], strict=True):
        parts += [b"data:image/%s;base64," % _form(picture), picture.base64, text]
    return b"".join(parts)


def _form(picture: Picture) -> bytes:
    return b"png" if picture.jpeg.startswith(b"\x89PNG") else b"jpeg"


class Transport:
    """Posts to one or several addresses; opened by `connected`."""

    def __init__(self, session: "ClientSession", addresses: Sequence[str], timeout_s: float) -> None:
        self._session = session
        self._timeout_s = timeout_s
        self._proxies = {address: _proxy(address) for address in addresses}

    async def post(self, address: str, path: str, body: bytes) -> Answer:
        """The answer, read whole; Setback where none came, UsageError where none ever will."""
        import aiohttp

        try:
            async with self._session.post(
                address + path, data=body, proxy=self._proxies[address], allow_redirects=False
            ) as response:
                return Answer(response.status, response.headers, await response.read())
        except aiohttp.ConnectionTimeoutError:
            raise Setback("unreachable", f"{address}: no connection in {CONNECT_S:g} s") from None
        except TimeoutError:
            raise Setback("timeout", f"no reply from {address} in {self._timeout_s:g} s", charged=True) from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            raise UsageError(
                f"no safe connection to {address}: {error}; name your CA's file in SSL_CERT_FILE"
            ) from None
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, ConnectionError) as error:
            lost = f"{address}: connection lost ({error or type(error).__name__})"
            raise Setback("unreachable", lost, charged=True) from None
        except aiohttp.ClientConnectionError as error:
            raise Setback("unreachable", f"{address}: {error}") from None
        except aiohttp.ClientError as error:
            raise Setback("bad_reply", f"{address}: {error}", charged=True) from None


@asynccontextmanager
async def connected(addresses: Sequence[str], key: str, timeout_s: float) -> AsyncIterator[Transport]:
    """Holds the connections to these addresses, in one pool; the key goes with each request."""
    import aiohttp

    secure = await asyncio.to_thread(_certificates) if any(a.startswith("https") for a in addresses) else True
    # the pace limits the calls in flight; a limit here would be a second, hidden queue
    pool = aiohttp.TCPConnector(limit=0, ssl=secure, keepalive_timeout=30, ttl_dns_cache=300)
    async with aiohttp.ClientSession(
        connector=pool,
        headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
        timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(CONNECT_S, timeout_s)),
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield Transport(session, addresses, timeout_s)


def _certificates() -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        # Python from python.org brings no certificates of its own on macOS
        with suppress(ImportError):
            import certifi

            context.load_verify_locations(certifi.where())
    return context


def _proxy(address: str) -> str | None:
    parts = urlsplit(address)
    if proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
