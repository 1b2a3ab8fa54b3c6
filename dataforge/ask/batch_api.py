"""The Batch API over HTTP: upload a file, create a batch once, poll it, download what it wrote.

To create is what costs, so it is the one step that must not be done twice: the SDK's retries are off, and where an
attempt may have succeeded without our hearing of it, the server's list is searched for a batch with the part's mark
before another attempt is made. Everything else can be done again freely.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from dataforge.ask.faults import Asked, by_status, clean, wait_s
from dataforge.ask.request import Setback
from dataforge.errors import UsageError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

T = TypeVar("T")

TRIES = 10
LONGEST_WAIT_S = 60.0
TIMEOUT_S = 600.0
"""A part of 190 MB takes a while to go up."""
LISTED = 1000
"""Batches looked through for one that an earlier attempt has created."""
MARK = "dataforge_part"
"""Name of the metadata that tells whose batch it is."""
RUNNING = frozenset({"validating", "in_progress", "finalizing", "cancelling"})


class Standing(NamedTuple):
    """Where a batch stands at the server."""

    id: str
    status: str
    total: int
    done: int
    files: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def running(self) -> bool:
        return self.status in RUNNING


class BatchApi:
    """One server's batches and files; opened by `connected`."""

    def __init__(self, client: "AsyncOpenAI", asked: Asked) -> None:
        self._client = client
        self._asked = asked

    async def upload(self, part: Path) -> str:
        """The id of the uploaded file; the file is read as it is sent."""

        async def attempt() -> str:
            with part.open("rb") as lines:
                return str((await self._client.files.create(file=lines, purpose="batch")).id)

        return await self._patiently(attempt)

    async def create(self, file: str, mark: str) -> Standing:
        """Create the batch with this mark, or find the one that an earlier attempt has created."""
        for attempt in range(TRIES):
            if (found := await self._find(mark)) is not None:
                return found
            try:
                made = await self._client.batches.create(
                    input_file_id=file,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                    metadata={MARK: mark},
                )
                return _standing(made)
            except Exception as error:
                await self._wait_or_raise(error, attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _find(self, mark: str) -> Standing | None:
        async def attempt() -> Standing | None:
            looked = 0
            async for batch in self._client.batches.list(limit=100):
                if (batch.metadata or {}).get(MARK) == mark and batch.status != "failed":
                    return _standing(batch)
                looked += 1
                if looked >= LISTED:
                    break
            return None

        return await self._patiently(attempt)

    async def standing(self, batch: str) -> Standing:
        async def attempt() -> Standing:
            return _standing(await self._client.batches.retrieve(batch))

        return await self._patiently(attempt)

    async def download(self, file: str, to: Path) -> None:
        """Write a file's content, streamed; `to` is whole or not there."""
        temporary = to.with_suffix(".tmp")

        async def attempt() -> None:
            async with self._client.files.with_streaming_response.content(file) as response:
                with temporary.open("wb") as lines:
                    async for block in response.iter_bytes():
                        lines.write(block)

        await self._patiently(attempt)
        temporary.replace(to)

    async def forget(self, file: str) -> None:
        """Delete an input file, with its pictures, from the server; that it can't be is nobody's concern."""
        import openai

        try:
            await self._client.files.delete(file)
        except openai.OpenAIError:
            return

    async def _patiently(self, action: Callable[[], Awaitable[T]]) -> T:
        """Do what may be done twice until it succeeds; UsageError when the server stays away or says no."""
        for attempt in range(TRIES):
            try:
                return await action()
            except Exception as error:
                await self._wait_or_raise(error, attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _wait_or_raise(self, error: Exception, attempt: int) -> None:
        """Wait before another attempt, as long as the server asks; or raise what the error means to a person."""
        import openai

        wait = min(LONGEST_WAIT_S, 0.5 * 2.0**attempt)
        if isinstance(error, openai.APIStatusError):
            shown = clean(error.message, self._asked.key)
            meant = by_status(error.status_code, f"{error.code or ''} {error.message}", shown, self._asked)
            if not isinstance(meant, Setback):
                raise meant if isinstance(meant, UsageError) else UsageError(f"{self._asked.address}: {shown}")
            wait = max(wait, wait_s(error.response.headers) or 0.0)
        elif not isinstance(error, openai.APIConnectionError):
            raise error
        if attempt == TRIES - 1:
            raise UsageError(
                f"{self._asked.address} takes no batch ({clean(str(error), self._asked.key)}): give the same command "
                "again later; what was submitted goes on there"
            )
        await asyncio.sleep(wait)


def _standing(batch: Any) -> Standing:
    counts = batch.request_counts
    files = (batch.output_file_id, batch.error_file_id)
    errors = (batch.errors.data or ()) if batch.errors else ()
    return Standing(
        id=str(batch.id),
        status=str(batch.status),
        total=counts.total if counts else 0,
        done=counts.completed + counts.failed if counts else 0,
        files=tuple(str(file) for file in files if file),
        errors=tuple(f"{error.code or ''}: {error.message or ''}" for error in errors),
    )


@asynccontextmanager
async def connected(asked: Asked) -> AsyncIterator[BatchApi]:
    """Holds the connections to the server's files and batches."""
    import openai

    async with openai.AsyncOpenAI(
        api_key=asked.key or "none", base_url=asked.address, max_retries=0, timeout=TIMEOUT_S
    ) as client:
        yield BatchApi(client, asked)
