"""Posing: a picture without a question gets one, made by the teacher from a place that it has looked at closely.

As in Pixel Reasoner (paper, section 3), which makes its SA-1B questions so: the teacher judges whether the picture is
rich enough, picks a small place, sees it enlarged, and writes a question with four choices and the key. What the paper
doesn't do is done here as well: where masks give places, it picks among those; the key's letter is drawn, not the
teacher's; and the question is tried before it counts. Here are the requests and what is read out of the replies; who
asks, in which order, is `synth.posing`.

A teacher without eyes may pose what the one who drew the picture knows (`Scene.known`): each request then carries the
reply that follows from it, as `truth`.
"""

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dataforge.ask.request import Message, Picture, Request
from dataforge.chat import question_text
from dataforge.checks.necessary import rotated
from dataforge.errors import ExampleError
from dataforge.geometry import Box
from dataforge.locate import VERIFY_SCHEMA
from dataforge.manifest import Manifest
from dataforge.records import Example, Known, Region, Scene

SUBJECTS = ("object", "colour", "material", "text", "count")
LEAST_SIDE_PX = 8
"""Of a place: fewer source pixels show nothing, however they are enlarged."""
LONGEST = 300
"""Characters of a question, of its target, of a choice."""
NAMES_THE_CROP = re.compile(
    r"\b(crop(ped)?|zoom(ed)?|enlarged?|close-?up|bounding box|coordinates?|(second|first|other) (picture|image)|"
    r"(image|picture) \d|(red|marked|highlighted) (box|rectangle)|this (part|place|region|section))\b",
    re.IGNORECASE,
)

Reply = Mapping[str, Any]

CHOOSE_SCHEMA = {
    "type": "object",
    "properties": {
        "rich": {"type": "boolean", "description": "whether the picture has small details worth a question"},
        "why": {"type": "string"},
        "place": {"type": "integer", "description": "number of the place shown; 0 for a place of your own"},
        "box": {
            "type": "array",
            "items": {"type": "number"},
            "description": "your own place: left, top, right, bottom from 0 to 1000; else empty",
        },
    },
    "required": ["rich", "why", "place", "box"],
    "additionalProperties": False,
}
POSE_SCHEMA = {
    "type": "object",
    "properties": {
        "valid": {"type": "boolean", "description": "whether the place allows such a question"},
        "why": {"type": "string"},
        "question": {"type": "string"},
        "choices": {"type": "array", "items": {"type": "string"}, "description": "four, one of them right"},
        "key": {"type": "string", "description": "letter of the right choice"},
        "target": {"type": "string", "description": "what is asked about, without the answer"},
        "subject": {"type": "string", "enum": list(SUBJECTS)},
    },
    "required": ["valid", "why", "question", "choices", "key", "target", "subject"],
    "additionalProperties": False,
}
OTHERS_SCHEMA = {
    "type": "object",
    "properties": {
        "places": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "number"}},
            "description": "left, top, right, bottom of each, from 0 to 1000",
        }
    },
    "required": ["places"],
    "additionalProperties": False,
}


def refused(reason: str, detail: str = "") -> ExampleError:
    """The error of a picture that gets no question."""
    return ExampleError("pose", reason, detail)


# ---------------------------------------------------------------------------------------------- which place


def choose_request(
    scene: Scene,
    whole: Picture | None,
    parts: Mapping[int, Picture],
    left: Sequence[int],
    hint: str,
    settings: Manifest,
) -> Request:
    """Asks whether the picture is rich, and for a place: one of `left` (indices, shown enlarged) or one of its own."""
    places = "No places are given: choose one yourself, and say `place: 0`."
    shown: list[str | Picture] = [] if whole is None else ["The whole picture:", whole]
    if left:
        lines = (
            f"- place {index + 1}: {[round(side) for side in _per_mille(scene.places[index], scene)]}" for index in left
        )
        places = "\n".join(["These places stand out; each is shown enlarged after the picture:", "", *lines])
        for index in left:
            shown += [f"Place {index + 1}:", parts[index]] if index in parts else []
    text = settings.prompt("choose").fill(places=places, hint=hint)
    known = next((one for one in scene.known if one.place in left), None)
    reply = {"rich": True, "why": "It was drawn so.", "place": known.place + 1, "box": []} if known else None
    return Request("choose", (Message("user", (text, *shown)),), CHOOSE_SCHEMA, _truth(reply))


def chosen(reply: Reply | None, scene: Scene, left: Sequence[int], most_area: float) -> tuple[Region, int | None]:
    """The place in a reply, and its index among the scene's places; an ExampleError says why there is none."""
    if reply is None or not isinstance(reply.get("rich"), bool):
        raise refused("bad_reply", "the choice of a place is no JSON object of that form")
    if not reply["rich"]:
        raise refused("not_rich", str(reply.get("why", "")))
    number = reply.get("place")
    if isinstance(number, int) and not isinstance(number, bool) and number - 1 in left:
        return scene.places[number - 1], number - 1
    media = scene.media[0]
    whole = Box(0, 0, media.width, media.height)
    box = _from_per_mille(reply.get("box"), whole)
    if box is None or min(box.width, box.height) < LEAST_SIDE_PX:
        raise refused("no_place", f"place {number!r}, box {reply.get('box')!r}"[:200])
    if box.area > most_area * whole.area:
        raise refused("too_large", f"the place is {box.area / whole.area:.0%} of the picture")
    return Region(box=box, said_by="teacher"), None


def _per_mille(region: Region, scene: Scene) -> Box:
    """A region's box on a scale of 0 to 1000, as the prompts write it."""
    media = scene.media[0]
    return region.box.mapped(Box(0, 0, media.width, media.height), Box(0, 0, 1000, 1000))


def _from_per_mille(numbers: Any, whole: Box) -> Box | None:
    """Four numbers from 0 to 1000 as a box on the picture; None for anything else."""
    if not isinstance(numbers, list) or len(numbers) != 4:
        return None
    if not all(isinstance(n, (int, float)) and not isinstance(n, bool) and 0 <= n <= 1000 for n in numbers):
        return None
    box = Box(*numbers).mapped(Box(0, 0, 1000, 1000), whole)
    return box if box.width >= 1 and box.height >= 1 else None


# ---------------------------------------------------------------------------------------------- which question


def pose_request(
    scene: Scene, whole: Picture | None, part: Picture | None, known: Known | None, settings: Manifest
) -> Request:
    """Asks for a question about the part shown, with four choices and the key."""
    text = settings.prompt("pose").fill()
    shown: list[str | Picture] = []
    if whole is not None and part is not None:
        shown = ["The whole picture:", whole, "The place, enlarged:", part]
    reply = None
    if known:
        reply = {
            "valid": True,
            "why": "It was drawn so.",
            "question": known.question,
            "choices": list(known.choices),
            "key": "A",
            "target": scene.places[known.place].label,
            "subject": known.subject,
        }
    return Request("pose", (Message("user", (text, *shown)),), POSE_SCHEMA, _truth(reply))


def posed(reply: Reply | None, scene: Scene, region: Region, seed: int) -> Example:
    """The example that a reply makes of a scene; an ExampleError says what is wrong with the question.

    Choices are laid in an order drawn by the seed and the scene's id, so that no letter is the key more often.
    """
    if reply is None:
        raise refused("bad_reply", "the question is no JSON object")
    if reply.get("valid") is not True:
        raise refused("place_refused", str(reply.get("why", "")))
    question, target = (" ".join(str(reply.get(field) or "").split()) for field in ("question", "target"))
    choices = reply.get("choices")
    key = str(reply.get("key", "")).strip().rstrip(".").upper()
    if not question or not target or not isinstance(choices, list) or len(choices) != 4 or key not in tuple("ABCD"):
        raise refused("bad_question", "question, target, four choices and a key of A to D are needed")
    options = [re.sub(r"^\s*\(?[A-Da-d][.):]\s+", "", " ".join(str(one).split())) for one in choices]
    if not all(options) or len({option.casefold() for option in options}) < 4:
        raise refused("bad_question", f"the choices are not four different ones: {options}")
    if max(map(len, (question, target, *options))) > LONGEST:
        raise refused("bad_question", f"longer than {LONGEST} characters")
    if reply.get("subject") not in SUBJECTS:
        raise refused("bad_question", f"about {reply.get('subject')!r}, not {', '.join(SUBJECTS)}")
    if found := NAMES_THE_CROP.search(f"{question} {target}"):
        raise refused("names_the_crop", f"{found.group(0)!r} in {question!r}")
    right = options["ABCD".index(key)]
    if _tells(question, right, options) or _tells(target, right, options):
        raise refused("tells_the_answer", f"{right!r} stands in {question!r} or {target!r}")
    random.Random(hashlib.sha256(f"{seed}/{scene.id}/choices".encode()).digest()).shuffle(options)
    return Example(
        id=scene.id,
        group=scene.group,
        source=scene.source,
        split=scene.split,
        question=question,
        answers=("ABCD"[options.index(right)],),
        answer_type="choice",
        choices=tuple(options),
        media=scene.media,
        evidence=(region.model_copy(update={"label": target[:200]}),),
        context=(*(place for place in scene.places if place.box != region.box), *scene.context),
    )


def _tells(text: str, right: str, options: Sequence[str]) -> bool:
    """Whether the text holds the right choice, and not all choices alike ("red, blue, green or white?")."""
    said = [bool(re.search(rf"(?<!\w){re.escape(option)}(?!\w)", text, re.IGNORECASE)) for option in options]
    return said[options.index(right)] and not all(said)


# ---------------------------------------------------------------------------------------------- whether it holds


def try_request(example: Example, part: Picture | None, known: Known | None, settings: Manifest) -> Request:
    """Asks the question of a part alone, its choices moved on by one, so that the key's letter can't be repeated."""
    moved = rotated(example, 1)
    text = settings.prompt("verify").fill(question=question_text(moved))
    reply = {"answerable": True, "answer": _letter(known, moved)} if known else None
    parts = (text,) if part is None else (text, part)
    return Request("verify", (Message("user", parts),), VERIFY_SCHEMA, _truth(reply))


def told_from_whole(example: Example, known: Known | None, scale: float, legible_px: float) -> dict[str, Any]:
    """What a teacher without eyes may say of the whole view, shown at that scale: the answer where it is legible."""
    if known is None:
        return {}
    legible = scale >= 1 or known.detail_px * scale >= legible_px
    return _truth({"answer": _letter(known, example) if legible else ""})


def others_request(
    example: Example, scene: Scene, whole: Picture | None, part: Picture | None, settings: Manifest
) -> Request:
    """Asks for all other places that the question could mean."""
    target = example.evidence[0]
    text = settings.prompt("others").fill(question=example.question, target=target.label)
    shown: list[str | Picture] = []
    if whole is not None and part is not None:
        shown = ["The whole picture:", whole, "The place that is meant:", part]
    alike = [one for one in (*scene.places, *scene.context) if one.label == target.label and one.box != target.box]
    reply = {"places": [[float(side) for side in _per_mille(one, scene)] for one in alike]} if scene.known else None
    return Request("others", (Message("user", (text, *shown)),), OTHERS_SCHEMA, _truth(reply))


def others(reply: Reply | None, scene: Scene, region: Region, most: int) -> list[Region]:
    """The other places in a reply, at most so many; none that overlaps the region that the question means."""
    listed = (reply or {}).get("places")
    if not isinstance(listed, list):
        raise refused("bad_reply", "other places are no list")
    media = scene.media[0]
    boxes = [_from_per_mille(numbers, Box(0, 0, media.width, media.height)) for numbers in listed]
    apart = [box for box in boxes if box is not None and not box.overlaps(region.box)]
    return [Region(box=box, said_by="teacher") for box in apart[:most]]


def known_of(scene: Scene, region: Region, question: str = "") -> Known | None:
    """What is known of a place, about that question if one is given."""
    at = [index for index, place in enumerate(scene.places) if place.box.coverage(region.box) > 0.9]
    return next((one for one in scene.known if one.place in at and question in ("", one.question)), None)


def _letter(known: Known, example: Example) -> str:
    """The letter of what is known to be right; its text where it is none of the choices."""
    right = known.choices[0]
    return "ABCD"[example.choices.index(right)] if right in example.choices else right


def _truth(reply: Reply | None) -> dict[str, Any]:
    return {"reply": reply} if reply else {}
