"""A request in the words of the chat completions API, and the same request with smaller pictures."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dataforge.ask.request import Message, Picture, Request
from dataforge.ask.tolerant import parse_object
from dataforge.dialect import arguments_json

SMALLER = 0.5
"""Of the sides of the pictures in a request that was too much."""


def has_pictures(request: Request) -> bool:
    """Whether a smaller form of the request could be made."""
    return any(isinstance(part, Picture) for message in request.messages for part in message.parts)


def smaller(request: Request) -> Request:
    """The request with its pictures at half the size."""
    from dataforge.media import shrink

    def part(part: str | Picture) -> str | Picture:
        return part if isinstance(part, str) else Picture(shrink(part.jpeg, SMALLER), part.sha256)

    messages = tuple(message._replace(parts=tuple(map(part, message.parts))) for message in request.messages)
    return replace(request, messages=messages)


def as_sent(message: Message, detail: str) -> dict[str, Any]:
    """A message as the API wants it; plain text where there is no picture, which every server takes."""
    if all(isinstance(part, str) for part in message.parts):
        made: dict[str, Any] = {"role": message.role, "content": "\n\n".join(map(str, message.parts))}
    else:
        made = {"role": message.role, "content": [_part(part, detail) for part in message.parts]}
    if message.call:
        function = {"name": message.call.name, "arguments": arguments_json(message.call)}
        made["tool_calls"] = [{"id": message.call_id, "type": "function", "function": function}]
    elif message.call_id:
        made["tool_call_id"] = message.call_id
    return made


def _part(part: str | Picture, detail: str) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": part, "detail": detail}}


def strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema as strict mode demands it: each object lists all of its properties and allows no other."""
    made = {key: strict(value) if isinstance(value, Mapping) else value for key, value in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        made |= {"required": list(schema["properties"]), "additionalProperties": False}
    return made


def fits(text: str, schema: Mapping[str, Any]) -> bool:
    """Whether the text is an object with what the schema requires."""
    if not schema:
        return True
    found = parse_object(text)
    return found is not None and all(name in found for name in schema.get("required", ()))
