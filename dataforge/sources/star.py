"""STAR: questions on what people do with things in everyday clips, with the window of time and boxes in key frames.

Two layouts, told apart by their fields: the released `STAR_<split>.json` (a list), and the authors' site's (a list or
a mapping, where the right choice is marked and `answer` can't be trusted). Windows are in seconds; situations are keyed
by frame number, which is int(t * fps) + 1 at the video's own rate. The clips (Charades, non-commercial) are not part of
it.
"""

import io
import itertools
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dataforge import reading
from dataforge.errors import ExampleError, UsageError
from dataforge.geometry import Box
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.reading import moments
from dataforge.records import Example, Failure, Media, Region

OBJECTS = (
    "person,broom,picture,closet/cabinet,blanket,window,table,paper/notebook,refrigerator,pillow,cup/glass/bottle,shelf,"
    "shoe,medicine,phone/camera,box,sandwich,book,bed,clothes,mirror,sofa/couch,floor,bag,dish,laptop,door,towel,food,"
    "chair,doorknob,doorway,groceries,hands,light,vacuum,television"
).split(",")
"""The object classes by number, as in the release's object_classes.txt."""
MOST_GAP_S = 1.5
"""Between two key frames that both have a thing, it is taken to lie in the union of its boxes: up to this far apart."""


class Star(Source):
    """STAR from a folder with `STAR_<split>.json`, or from one JSON file; clips beside it or in `videos`."""

    path: Path = Field(description="folder of the release, or one JSON file of it or of the authors' site")
    videos: Path | None = Field(default=None, description="folder of the clips; default: Charades_v1_480 or videos")
    split: str = "train"
    evidence: Literal["window", "box"] = Field(
        default="window", description="the whole frames of the window, or the boxes of what question or answer names"
    )
    start: int = Field(default=0, ge=0, description="first row read")
    count: int | None = Field(default=None, ge=1, description="rows read; default: to the end")

    @property
    def licence(self) -> str:
        return "annotations Apache-2.0 (STAR); clips Charades, non-commercial use, not to be passed on"

    @property
    def missing(self) -> str:
        return moments.lacks()

    def read(self) -> Iterator[Row | Failure]:
        path = self.path / f"STAR_{self.split}.json" if self.path.is_dir() else self.path
        home, rates = path.parent, _rates(path.parent)
        folders = [self.videos] if self.videos else [home / "Charades_v1_480", home / "videos", home]

        def make(number: int, entry: dict[str, Any]) -> Row:
            video = reading.text(entry, "video_id").removesuffix(".mp4")
            choices, answer = _choices(entry)
            content = {
                "question": reading.text(entry, "question"),
                "choices": choices,
                "answers": (answer,),
                "span": moments.span((entry.get("start"), entry.get("end")), "start, end"),
                "situations": entry.get("situations") or {},
                "video": moments.clip(folders, video),
                "rate": rates.get(video),
                "origin": f"STAR/{video}",
            }
            return Row(f"star-{reading.text(entry, 'question_id')}", f"star/{video}", content)

        return reading.rows(path.stem, _entries(path), make, self.start, self.count)

    def example(self, row: Row, store: MediaStore) -> Example:
        found = row.content
        media = store.add_video(found["video"], self.licence, found["origin"])
        window = moments.within(found["span"], media)
        things = list(_things(found["situations"], media, found["rate"]))
        if self.evidence == "box":
            things = [thing for thing in things if window.there_at(_middle(thing))]
            evidence = _named(things, found["question"], found["choices"][ord(found["answers"][0]) - ord("A")])
        else:
            evidence = (window,)
        return self.asked(
            row,
            media,
            split=self.split,
            answer_type="choice",
            choices=found["choices"],
            evidence=evidence,
            context=tuple(thing for thing in things if thing not in evidence),
        )


# ------------------------------------------------------------------------------------------------------ the files


def _entries(path: Path) -> Iterator[reading.Entry]:
    content = reading.load_json(path)
    found = list(content.values()) if isinstance(content, dict) else content
    if not isinstance(found, list):
        raise UsageError(f"{path}: neither a list nor a mapping of questions")
    for number, entry in enumerate(found, start=1):
        if isinstance(entry, dict):
            yield entry
        else:
            yield ExampleError("read", "bad_row", f"question {number} is {type(entry).__name__}, not an object")


def _rates(home: Path) -> dict[str, float]:
    """Frames a second by video, where the release's table (a pickle of plain values) or a JSON of it is there."""
    for name in ("video_fps.json", "video_fps", "STAR_classes/video_fps"):
        path = home / name
        if path.is_file():
            table = reading.load_json(path) if name.endswith(".json") else _plain_pickle(path)
            if isinstance(table, Mapping):
                known = {str(key).removesuffix(".mp4"): value for key, value in table.items()}
                return {key: float(value) for key, value in known.items() if isinstance(value, (int, float))}
            raise UsageError(f"{path}: no mapping of videos to frame rates")
    return {}


class _NoClasses(pickle.Unpickler):
    """A pickle can call anything; one without classes holds plain values alone."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it wants {module}.{name}")


def _plain_pickle(path: Path) -> Any:
    try:
        return _NoClasses(io.BytesIO(path.read_bytes())).load()
    except Exception as error:  # a broken pickle raises nearly anything
        raise UsageError(f"{path}: not a pickle of plain values: {error}") from None


def _choices(entry: dict[str, Any]) -> tuple[tuple[str, ...], str]:
    """The choices and the right one's letter: the marked one, or in the release the one that `answer` is."""
    listed = entry.get("choices")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed) or not listed:
        raise ExampleError("read", "bad_row", "choices is not a list of objects")
    choices = tuple(reading.text(one, "choice") for one in listed)
    marks = [one.get("answer") for one in listed]
    if any(mark is not None for mark in marks):
        if marks.count("Correct") != 1:
            raise ExampleError("read", "answer_not_a_choice", f"{marks.count('Correct')} choices are marked Correct")
        return choices, chr(ord("A") + marks.index("Correct"))
    return choices, moments.lettered(reading.text(entry, "answer"), choices)


# ------------------------------------------------------------------------------------------------------ situations


def _things(situations: Any, media: Media, rate: float | None) -> Iterator[Region]:
    """Where each thing is between two key frames that have it, or at one alone, in the order of time."""
    first, last = media.span_s or (0.0, 0.0)
    own = (media.frames - 1) / (last - first) if last > first else 1.0
    frames: dict[str, list[tuple[int, Box]]] = {}
    for name, situation in sorted(situations.items() if isinstance(situations, dict) else ()):
        if not (name.isdigit() and isinstance(situation, dict)):
            raise ExampleError("read", "bad_row", f"situation {name!r} is no frame number with an object")
        for label, box in _boxes(situation, media):
            frames.setdefault(label, []).append((int(name), box))
    for label, places in frames.items():
        alone = set(range(len(places)))
        for at, ((number, box), (later, other)) in enumerate(itertools.pairwise(places)):
            start, end = (first + (one - 0.5) / (rate or own) for one in (number, later))
            if end - start <= MOST_GAP_S and start <= last:
                alone -= {at, at + 1}
                yield Region(box=box.union(other), span_s=(round(start, 6), round(min(end, last), 6)), label=label)
        for at in sorted(alone):
            number, box = places[at]
            time = first + (number - 0.5) / (rate or own)
            half = 0.5 / (rate or own)
            yield Region(box=box, span_s=(round(time - half, 6), round(time + half, 6)), label=label)


def _boxes(situation: Mapping[str, Any], media: Media) -> Iterator[tuple[str, Box]]:
    """The boxes of a key frame that lie on the picture, with what they hold; entries may be null."""
    labels, boxes = situation.get("bbox_labels") or [], situation.get("bbox") or []
    for label, numbers in zip(labels, boxes, strict=False):
        at = int(label[1:]) if isinstance(label, str) and label[1:].isdigit() else label
        if numbers is None or not isinstance(at, int) or not 0 <= at < len(OBJECTS) or len(numbers) != 4:
            continue
        box = Box(*map(float, numbers)).clamp(Box(0, 0, media.width, media.height))
        if box.width >= 1 and box.height >= 1:
            yield f"the {OBJECTS[at].replace('/', ' or ')}", box


def _named(things: list[Region], question: str, answer: str) -> tuple[Region, ...]:
    """The thing that the question or its answer names, where it is boxed longest; ExampleError where none is."""
    said = f"{question} {answer}".casefold()
    named = [thing for thing in things if any(word in said for word in thing.label[4:].split(" or "))]
    if not named:
        raise ExampleError("read", "no_box", "no key frame of the window has a box of what the question names")
    return (max(named, key=lambda thing: (_length(thing), -thing.box.area)),)


def _length(thing: Region) -> float:
    return thing.span_s[1] - thing.span_s[0] if thing.span_s else 0.0


def _middle(thing: Region) -> float:
    return sum(thing.span_s) / 2 if thing.span_s else 0.0
