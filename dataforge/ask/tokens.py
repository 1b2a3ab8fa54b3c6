"""How many tokens a request will take, before a server has counted them.

An estimate, made to be corrected by what the server's usage says of the first replies: text by its bytes, pictures by
their size and by how the model is known to count them. Only the sizes of JPEGs are read, from their headers.
"""

import json
import math

from dataforge.ask.prices import Pictures
from dataforge.ask.request import Picture, Request

BYTES_PER_TOKEN = 3.5
"""English text takes 4 to 4.5; JSON, numbers and other scripts take fewer."""
MESSAGE_TOKENS = 8
"""What a chat template adds to a message."""
UNREADABLE_TOKENS = 1536
"""For a picture whose header can't be read."""


def request_tokens(request: Request, pictures: Pictures) -> int:
    """Input tokens of a request for a model that counts pictures so."""
    parts = [part for message in request.messages for part in message.parts]
    text = sum(len(part.encode("utf-8", "replace")) for part in parts if isinstance(part, str))
    text += len(json.dumps(request.schema, default=dict)) if request.schema else 0
    text += len(json.dumps(request.tools, default=dict)) if request.tools else 0
    sizes = [_size(part.jpeg) for part in parts if isinstance(part, Picture)]
    seen = sum(picture_tokens(*size, pictures) if size else UNREADABLE_TOKENS for size in sizes)
    return math.ceil(text / BYTES_PER_TOKEN) + MESSAGE_TOKENS * len(request.messages) + seen


def picture_tokens(width: int, height: int, pictures: Pictures) -> int:
    """Tokens of one picture of that size in pixels."""
    if pictures.tile:
        shrink = min(1.0, 2048 / max(width, height))
        shrink *= min(1.0, 768 / (min(width, height) * shrink))
        tiles = math.ceil(width * shrink / 512) * math.ceil(height * shrink / 512)
        return pictures.base + pictures.tile * tiles
    patches = math.ceil(width / pictures.patch) * math.ceil(height / pictures.patch)
    return math.ceil(min(patches, pictures.most or patches) * pictures.times)


def _size(content: bytes) -> tuple[int, int] | None:
    if content.startswith(b"\x89PNG"):
        return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    return jpeg_size(content)


def jpeg_size(jpeg: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG from its header, without decoding; None where there is no such header."""
    at = 2
    while jpeg[at : at + 1] == b"\xff" and at + 9 <= len(jpeg):
        marker, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(jpeg[at + 7 : at + 9], "big"), int.from_bytes(jpeg[at + 5 : at + 7], "big")
        at += 2 + length
    return None
