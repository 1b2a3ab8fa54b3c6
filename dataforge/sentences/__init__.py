"""The sentences of the scripted teacher, and how one is drawn.

A thought is two frames, one from each of two lists. In a frame, [a|b] is a choice and {target} a blank. A target may be
singular or plural, so no frame makes it the subject of anything but "can", "may", "must", "should" and the like. No
frame claims to have read what has not been seen, and none speaks of boxes, cuts or annotations.
"""

import random
import re

from dataforge.sentences.after import AFTER
from dataforge.sentences.before import BEFORE
from dataforge.sentences.video import VIDEO

FRAMES = BEFORE | AFTER | VIDEO

CHOICE = re.compile(r"\[([^\[\]]*)\]")


def draw(rng: random.Random, frames: str, **blanks: str) -> str:
    """One sentence from a list of FRAMES, its choices made and its blanks filled."""
    frame = CHOICE.sub(lambda choice: rng.choice(choice[1].split("|")), rng.choice(FRAMES[frames]))
    if "target" in blanks:
        blanks["Target"] = blanks["target"][:1].upper() + blanks["target"][1:]
    filled = frame.format(**blanks)
    # an answer or a question may bring its own full stop
    return re.sub(r"(?<!\.)([.?!])\.(?=\s|$)", r"\1", filled)


def count(frames: str) -> int:
    """How many different sentences a list gives, before its blanks are filled."""
    total = 0
    for frame in FRAMES[frames]:
        ways = 1
        for choice in CHOICE.findall(frame):
            ways *= len(choice.split("|"))
        total += ways
    return total
