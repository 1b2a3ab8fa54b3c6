"""What a server means when it does not answer: whose turn it is to act, and how long to wait.

An answer that is no reply is one of three things: a Setback (this attempt failed, another may not), a spoiled example
(this request will always fail), or something that a person must change. Servers agree on the status codes and on little
else, so the words in the body decide where a code means several things: a 429 is a busy moment or an empty account, a
400 is a picture too many or a wrong option.
"""

import email.utils
import json
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from dataforge.ask.request import Setback
from dataforge.ask.transport import Answer
from dataforge.errors import ExampleError, UsageError

SHOWN = 200
"""Characters of a server's message that an error shows."""
SHORTEST_KEY = 8
"""Characters; what is shorter is a local server's dummy, and may be part of any word."""

MODERATED = re.compile(r"content.?(filter|policy|management)|moderation|flagged", re.IGNORECASE)
OUT_OF_MONEY = re.compile(
    r"insufficient.?(quota|balance|credit|funds)|exceeded your current quota|billing_hard_limit", re.IGNORECASE
)
TOO_LONG = re.compile(
    r"context.{0,3}(length|size|window)|too many (input |prompt )?tokens|(prompt|input|request)[^.]{0,40} too long"
    r"|longer than the (maximum|model)|max_model_len|exceeds? .{0,40}(maximum|allowed|limit).{0,20}tokens",
    re.IGNORECASE,
)
TOO_LARGE = re.compile(
    r"(image|picture|payload|body|entity|request)[^.]{0,60}(too (large|big)|exceed|at most|maximum|larger than)"
    r"|too (large|big)[^.]{0,40}(image|picture)",
    re.IGNORECASE,
)
BUSY = (429, 503, 529)
"""Too many requests; service unavailable; overloaded: the same request may be welcome later, and fewer would help."""
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class TooMuch(ExampleError):
    """The request doesn't fit the model or the server: with smaller pictures it may."""


class Asked(NamedTuple):
    """Who was asked with what, for messages that name the fix."""

    address: str
    model: str
    key_env: str
    key: str
    temperature: float | None


def failure(answer: Answer, asked: Asked) -> Exception:
    """What an answer that is no reply means, as the error to raise; the key is in none of them."""
    said = spoken(answer)
    shown = clean(said, asked.key)
    return by_status(answer.status, said, shown, asked, wait_s(answer.headers))


def by_status(status: int, said: str, shown: str, asked: Asked, wait: float | None = None) -> Exception:
    """The error for a status and what was said with it; `shown` is what a person may read of that."""
    if status in (400, 403) and MODERATED.search(said):
        return ExampleError("teacher", "refused", shown)
    if status in (401, 403):
        return UsageError(f"the key in {asked.key_env} was refused by {asked.address}: {shown}")
    if status in (404, 405) or 300 <= status < 400:
        return UsageError(f"{asked.address} has no model {asked.model!r}, or base_url lacks its /v1: {shown}")
    if status == 402 or (status == 429 and OUT_OF_MONEY.search(said)):
        return UsageError(f"the account behind {asked.key_env} has run out of money at {asked.address}: {shown}")
    if status == 400 and "temperature" in said and "support" in said:
        return UsageError(f"{asked.model} takes no temperature {asked.temperature}: set temperature to null ({shown})")
    if status in (400, 413, 422, 500) and TOO_LONG.search(said):
        return TooMuch("teacher", "context_too_long", shown)
    if status == 413 or (status in (400, 422, 500) and TOO_LARGE.search(said)):
        return TooMuch("teacher", "image_too_large", shown)
    if status in BUSY:
        return Setback("rate_limited" if status == 429 else "server_error", shown, wait, busy=True)
    if status == 408:
        return Setback("timeout", shown, wait)
    if status in (409, 425) or status >= 500:
        return Setback("server_error", shown, wait)
    return ExampleError("teacher", "bad_request", shown)


def error_in(content: Any) -> tuple[int, str] | None:
    """Status and words of an error that came with status 200, as gateways send them; None where there is none."""
    error = content.get("error") if isinstance(content, Mapping) else None
    if not error:
        return None
    code = error.get("code") if isinstance(error, Mapping) else None
    status = int(str(code)) if str(code).isdecimal() else 0
    return (status if 400 <= status < 600 else 0), _words(error)


def spoken(answer: Answer) -> str:
    """What the body says, code included."""
    content = answer.content()
    if isinstance(content, Mapping):
        return _words(content.get("error") or content.get("detail") or content)
    return answer.body[:2000].decode("utf-8", "replace")


def _words(error: Any) -> str:
    if isinstance(error, Mapping) and error.get("message"):
        code = error.get("code")
        return f"{code}: {error['message']}" if code else str(error["message"])
    return error if isinstance(error, str) else json.dumps(error)[:2000]


def clean(said: str, key: str) -> str:
    """The words as one short line, without the key."""
    said = " ".join((said.replace(key, "***") if len(key) >= SHORTEST_KEY else said).split())
    return said if len(said) <= SHOWN else said[:SHOWN] + "..."


# ---------------------------------------------------------------------------------------------- how long to wait


def wait_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: retry-after, or when a limit that is used up is renewed; None if unsaid."""
    milliseconds = headers.get("retry-after-ms", "")
    if milliseconds.replace(".", "", 1).isdigit():
        return float(milliseconds) / 1000
    if after := headers.get("retry-after", "").strip():
        if (seconds := duration(after)) is not None:
            return seconds
        if until := email.utils.parsedate_tz(after):
            return max(0.0, email.utils.mktime_tz(until) - time.time())
    waits = [_renewed(headers, kind) for kind in ("requests", "tokens")]
    return max((wait for wait in waits if wait is not None), default=None)


def hold_s(headers: Mapping[str, str]) -> float:
    """Seconds after a reply in which a further request would be refused; 0 where there is room."""
    return _renewed(headers, "requests") or 0.0


def _renewed(headers: Mapping[str, str], kind: str) -> float | None:
    """When a limit that is used up has room for one more: OpenAI says when it will be whole again."""
    if headers.get(f"x-ratelimit-remaining-{kind}", "").strip() != "0":
        return None
    whole = duration(headers.get(f"x-ratelimit-reset-{kind}", ""))
    limit = headers.get(f"x-ratelimit-limit-{kind}", "")
    if whole is None or kind == "tokens":
        return whole
    return whole / max(1, int(limit)) if limit.isdigit() else whole


def duration(text: str) -> float | None:
    """Seconds in `12`, `1.5`, `20ms`, `1s` or `6m0s`; None for anything else."""
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * UNITS[unit] for number, unit in parts)
