"""A teacher without a model: it writes a trace's thoughts from the annotation, by rule and offline.

It makes the whole path run with no key and no network, and its traces say so (`scripted`). It sees no picture, so what
it says of one is what the annotation knows. Each slot is two sentences drawn from lists, seeded by the example and the
slot. Before the evidence has been seen, a sentence that holds the answer, a part of it or a number of it is drawn
again, and a label that holds it is shortened to the thing that it is part of, or left out.
"""

import hashlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dataforge.ask.request import Reply, Request
from dataforge.errors import ExampleError
from dataforge.plugins import Teacher
from dataforge.sentences import FRAMES, draw

DRAWS = 60
"""Of a sentence that must not hold the answer; an answer such as "the" can't be kept out."""
NAMED_ONCE = 0.6
"""How often a look at a place that the thought has just named does not name it again."""
LONGEST_LABEL = 240
LONGEST_QUOTE = 90
"""Characters of raw print that a thought quotes."""

KINDS_OF_PRINT = ("words", "line", "text")
NOUN_PHRASE = re.compile(r"(the|an?|one|footnote) ")
WHOLE_OF = re.compile(r" (?:in|of|under|below|on) (the .+)")
NOT_FOR_TEXT = re.compile(
    r"[\[(]\s*\d+(\.\d+)?\s*(,\s*\d+(\.\d+)?\s*){3}[\])]|\d ?(px|pixels)\b|annotat|crop", re.IGNORECASE
)


class Scripted(Teacher):
    """Writes varied thoughts from the annotation, offline, the same for the same example. For tests and first runs."""

    cached: ClassVar[bool] = False
    sees: ClassVar[bool] = False

    def price(self, input_tokens: int, output_tokens: int, batch: bool = False) -> float:
        return 0.0

    async def ask(self, request: Request) -> Reply:
        """The slots of the schema filled; ExampleError for a request that takes eyes, or an example without answer."""
        if request.purpose != "write" and "reply" in request.truth:  # the one who drew the picture knows
            return Reply(json.dumps(request.truth["reply"], ensure_ascii=False), self.name)
        if request.purpose != "write":
            raise ExampleError("teacher", "cannot_see", f"{self.name} has no eyes to {request.purpose} with")
        if not request.truth.get("answer"):
            raise ExampleError("teacher", "no_answer", f"{self.name} writes from the answer, and none is known")
        # sent back, it writes something else
        kind = VideoScript if "times_s" in request.truth else Script
        script = kind(request.truth, turn=len(request.messages))
        filled = {slot: script.text(slot) for slot in request.schema["properties"]}
        return Reply(json.dumps(filled, ensure_ascii=False), self.name)


class Script:
    """The thoughts on one example. `truth` is what `write.truth` gives."""

    def __init__(self, truth: Mapping[str, Any], turn: int = 1) -> None:
        self.truth = truth
        self.turn = turn
        self.looks: Sequence[Mapping[str, Any]] = truth["looks"]
        self.option = _option(truth["answer"], truth["choices"])
        self.secrets = _secrets(truth["answer"], self.option)

    def text(self, slot: str) -> str:
        """What belongs into `overview`, `look_N`, `seen_N`, `reading` or `answer`."""
        if slot == "answer":
            return str(self.truth["answer"])
        kind, _, number = slot.partition("_")
        at = int(number or 0) - 1
        text = ""
        for again in range(DRAWS):
            seed = f"{self.truth['id']}/write/{slot}/{self.turn}/{again}"
            rng = random.Random(hashlib.sha256(seed.encode()).digest())
            if kind == "reading":
                return self._reading(rng)
            text = {"overview": self._overview, "look": self._look, "seen": self._seen}[kind](rng, at)
            if not any(says(text, secret) for secret in self.secrets):
                break
        return text

    # ------------------------------------------------------------------ the slots

    def _overview(self, rng: random.Random, _: int) -> str:
        blanks = {"question": _quotable(self.truth["question"]), "target": self._evidence(rng)}
        if self.truth["kind"] == "direct":
            return draw(rng, "overview_direct", **blanks)
        lost = self.looks[0]["role"] == "mistake" and not self.looks[0]["too_large"]
        return f"{draw(rng, 'overview', **blanks)} {draw(rng, 'where_unknown' if lost else 'where', **blanks)}"

    def _look(self, rng: random.Random, at: int) -> str:
        look, before = self.looks[at], self.looks[at - 1] if at else None
        why, zoom, unnamed = "why", "zoom", "unnamed"
        if look["role"] == "mistake":
            why, unnamed = ("why_wide", "unnamed") if look["too_large"] else ("why_guess", "unnamed_guess")
        elif before and before["too_large"]:
            why, zoom = "why_closer", "zoom_closer"
        elif before:
            why = "why_again" if before["role"] == "mistake" else "why_next"
        elif len(self.looks) > 1:
            why = "why_first"
        target = self._called(rng, look["target"], unnamed)
        if why in ("why", "why_wide", "why_closer") and rng.random() < NAMED_ONCE:
            target = rng.choice(FRAMES["named_before"])
        return f"{draw(rng, why, target=target)} {draw(rng, zoom)}"

    def _seen(self, rng: random.Random, at: int) -> str:
        look = self.looks[at]
        if look["role"] != "mistake":
            return f"{draw(rng, 'seen_first', target=self._called(rng, look['target']))} {draw(rng, 'keep')}"
        if look["too_large"]:
            return f"{draw(rng, 'seen_large', target=self._called(rng, look['target']))} {draw(rng, 'too_small')}"
        name = self._name(rng, look["target"])
        shows = draw(rng, "seen_wrong", target=name) if name else draw(rng, "seen_elsewhere")
        return f"{shows} {draw(rng, 'misses')}"

    def _reading(self, rng: random.Random) -> str:
        frames = {"direct": "reading_direct", "compare": "reading_second"}.get(self.truth["kind"], "reading")
        target = self._evidence(rng)
        if self.truth["kind"] == "compare":
            target = self._called(rng, self.looks[-1]["target"])
        read = draw(rng, frames, target=target)
        return f"{read} {self._so(rng)}"

    def _so(self, rng: random.Random) -> str:
        if self.option:
            return draw(rng, "so_option", option=_quotable(self.option), letter=self.truth["answer"])
        return draw(rng, "so", answer=self.truth["answer"])

    # ------------------------------------------------------------------ what places are called

    def _evidence(self, rng: random.Random) -> str:
        names = list(dict.fromkeys(label for label in self.truth["evidence"] if label))
        return self._called(rng, " and ".join(names))

    def _called(self, rng: random.Random, label: str, unnamed: str = "unnamed") -> str:
        """A noun phrase for a place, with or without a name."""
        return self._name(rng, label) or rng.choice(FRAMES[unnamed])

    def _name(self, rng: random.Random, label: str) -> str:
        """A label as a noun phrase without the answer, or nothing."""
        label = " ".join(label.split())
        if NOT_FOR_TEXT.search(label) or len(label) > LONGEST_LABEL:
            return ""
        while any(says(label, secret) for secret in self.secrets):
            # titles are hidden from the search: they may hold an "of the" as well
            bare = re.sub(r'"[^"]*"', lambda quoted: "-" * len(quoted[0]), label)
            larger = WHOLE_OF.search(bare) if NOUN_PHRASE.match(label) and " and the " not in bare else None
            if larger is None:
                return ""
            label = label[larger.start(1) :]
        if not label or NOUN_PHRASE.match(label):
            return label
        quoted = _quotable(label)
        if len(quoted) > LONGEST_QUOTE:
            quoted = quoted[:LONGEST_QUOTE].rpartition(" ")[0] + " ..."
        return f'the {rng.choice(KINDS_OF_PRINT) if " " in quoted else "text"} "{quoted}"'


class VideoScript(Script):
    """The thoughts on one example with a video: of moments, not of places."""

    def _overview(self, rng: random.Random, _: int) -> str:
        first, last = _between(self.truth["times_s"])
        blanks = {"question": _quotable(self.truth["question"]), "target": self._evidence(rng)}
        blanks |= {"first": first, "last": last}
        if self.truth["kind"] == "direct":
            return draw(rng, "video_overview_direct", **blanks)
        where = "video_where_unknown" if self.looks[0]["role"] == "mistake" else "video_where"
        return f"{draw(rng, 'video_overview', **blanks)} {draw(rng, where, **blanks)}"

    def _look(self, rng: random.Random, at: int) -> str:
        look, before = self.looks[at], self.looks[at - 1] if at else None
        is_zoom = not look["call"].startswith("select")
        why, unnamed = "video_why", "video_unnamed"
        if look["role"] == "mistake":
            why, unnamed = "video_why_guess", "video_unnamed_guess"
        elif before and is_zoom and before["call"].startswith("select"):
            why = "video_why_part"
        elif before:
            why = "video_why_again" if before["role"] == "mistake" else "video_why_next"
        elif self.truth["kind"] == "compare":
            why = "video_why_first"
        target = self._called(rng, look["target"], unnamed)
        if why == "video_why" and rng.random() < NAMED_ONCE:
            target = rng.choice(FRAMES["video_named_before"])
        return f"{draw(rng, why, target=target)} {draw(rng, 'video_zoom' if is_zoom else 'video_select')}"

    def _seen(self, rng: random.Random, at: int) -> str:
        look = self.looks[at]
        first, last = _between(look["times_s"])
        if look["role"] != "mistake":
            target = self._called(rng, look["target"], "video_unnamed")
            return f"{draw(rng, 'video_seen_first', target=target, first=first, last=last)} {draw(rng, 'video_keep')}"
        name = self._name(rng, look["target"])
        frames = "video_seen_wrong" if name else "video_seen_elsewhere"
        return f"{draw(rng, frames, target=name, first=first, last=last)} {draw(rng, 'video_misses')}"

    def _reading(self, rng: random.Random) -> str:
        kind = self.truth["kind"]
        frames = {"direct": "video_reading_direct", "compare": "video_reading_second"}.get(kind, "video_reading")
        last = self._called(rng, self.looks[-1]["target"], "video_unnamed") if self.looks else self._evidence(rng)
        return f"{draw(rng, frames, target=last)} {self._so(rng)}"

    def _evidence(self, rng: random.Random) -> str:
        names = list(dict.fromkeys(label for label in self.truth["evidence"] if label))
        return self._called(rng, " and ".join(names), "video_unnamed")


def _between(times_s: Sequence[float]) -> tuple[str, str]:
    """The first and the last of some times, as a thought says them."""
    return f"{min(times_s):.1f} s", f"{max(times_s):.1f} s"


def says(text: str, words: str) -> bool:
    """Whether the text holds the words, at word bounds, whatever their case and punctuation."""
    wanted = _plain(words)
    return bool(wanted) and f" {wanted} " in f" {_plain(text)} "


def _plain(text: str) -> str:
    ungrouped = re.sub(r"(?<=\d)[,\u00a0\u202f ](?=\d{3}\b)", "", text.casefold())
    return " ".join(re.sub(r"[^\w.%]+|\.(?!\d)", " ", ungrouped).split())


def _quotable(text: str) -> str:
    return " ".join(text.replace('"', "'").split())


def _option(answer: str, choices: Sequence[str]) -> str:
    """The text of the option that a letter stands for; empty when the answer is no such letter."""
    at = ord(answer.upper()) - ord("A") if len(answer) == 1 else -1
    return choices[at] if 0 <= at < len(choices) else ""


def _secrets(answer: str, option: str) -> list[str]:
    """What must not be said too early: the answer, the parts of a list, the numbers in it. No lone letter."""
    told = option or answer
    parts = re.split(r",(?!\d)| and |;", told)
    numbers = re.findall(r"\d[\d.,]*\d|\d", told)
    secrets = [told, *(part.strip() for part in parts if len(part.strip()) > 2), *numbers]
    return [secret for secret in dict.fromkeys(secrets) if len(secret) > 1 or secret.isdigit()]
