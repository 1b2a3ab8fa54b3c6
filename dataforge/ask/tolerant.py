"""One JSON object out of whatever a model wrote around it.

Servers that do not enforce a schema give fences, a sentence before, a sentence after, a thinking block, a comma too
many. What is repaired here is form alone: whether the object holds what was asked for is the caller's to judge.
"""

import json
import re
from typing import Any

LONGEST = 1_000_000
"""Characters looked at; a reply beyond that is no reply."""

ATTEMPTS = 200
"""Opening braces tried; what has more of them that open no object is no JSON."""

THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
STRING_OR_LAST_COMMA = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|,(?=\s*[}\]])', re.DOTALL)


def parse_object(text: str) -> dict[str, Any] | None:
    """The largest JSON object in the text, or None; never raises."""
    text = THINKING.sub("", text[:LONGEST])
    # a chat template may have eaten the opening tag
    text = re.split(r"</think(?:ing)?>", text)[-1]
    found = _largest(text)
    if found is None and "{" in text:
        found = _largest(STRING_OR_LAST_COMMA.sub(r"\1", text[text.index("{") :]))
    return found


def _largest(text: str) -> dict[str, Any] | None:
    decoder = json.JSONDecoder(strict=False)
    best: dict[str, Any] | None = None
    longest = 0
    start = text.find("{")
    for _ in range(ATTEMPTS):
        if start < 0:
            break
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            start = text.find("{", start + 1)
            continue
        if end - start > longest:
            best, longest = value, end - start
        start = text.find("{", end)
    return None if best is None else _whole_characters(best)


def _whole_characters(value: dict[str, Any]) -> dict[str, Any]:
    """The value with halves of surrogate pairs replaced: they cannot be written to a file."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        repaired: dict[str, Any] = json.loads(text.encode("utf-8", "replace"))
        return repaired
    return value
