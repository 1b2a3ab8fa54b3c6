"""The story of one poster: its invented country, the places compared, and every number, drawn once.

World knowledge must never answer a question, so names are made from syllables. A text-only guess must not either, so
the same places and measures come back all over the poster with other years. What keeps that unambiguous is bookkeeping:
a (measure, year) is printed in one panel only, a title is given once, and values that may be compared are distinct.
"""

from random import Random

from dataforge.posters.parts import Measure
from dataforge.posters.topics import TOPICS

_ONSETS = ("B Br C Cal D Dor El F Fen G Gal Gr H Hal Il J K Kar L Lor M Mar Mer N Nor O Or P Pel Qu R Ros S Sel St "
           "T Tal Th Tor U V Vel W Wen Y Z Zan").split()  # fmt: skip
_MIDDLES = "a e i o u ala ane ari eda eli ena iro ola ona ora umi uva ave ami osa".split()
_ENDS = "bra dal den dis fell gan lin lo lund mar mere mont na nor ra rin ros run sa stad ta ter tin vale ven vik"
_FIRST = "Ada Ben Cleo Dan Eva Finn Gia Hugo Ines Jon Kira Leo Mona Nils Olga Paul Rita Sven Tess Udo Vera Will"
_BODIES = (
    "{n} Institute", "{n} Research Centre", "Bureau of Statistics {n}", "University of {n}", "{n} Survey Office",
    "{n} Foundation", "Centre for Public Figures {n}", "{n} Panel", "{n} & {m} Consulting", "Office for Data {n}",
)  # fmt: skip
MONTHS = ("January February March April May June July August September October November December").split()


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def article(noun: str) -> str:
    return ("an " if noun[0] in "aeio" else "a ") + noun


class Story:
    """Draws names, slots, values and titles for one poster; never the same twice where that would confuse."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.topic = rng.choice(TOPICS)
        self._names: set[str] = set()
        self._titles: set[str] = set()
        self._events: set[tuple[str, str]] = set()
        self._values: dict[tuple[str, str, int], float] = {}
        self._base: dict[tuple[str, str], float] = {}
        self.country = self.name()
        patterns = rng.sample(self.topic.patterns, 4)
        self.places = [rng.choice(patterns).format(n=self.name()) for _ in range(rng.randint(9, 14))]
        last = rng.randint(1989, 2031)
        self.years = list(range(last - 8, last + 1))
        self._free = {m: rng.sample(self.years, len(self.years)) for m in self.topic.measures}

    def name(self) -> str:
        """A new proper name, its first letters unlike the others'."""
        for _ in range(60):
            made = self.rng.choice(_ONSETS) + self.rng.choice(_MIDDLES) + self.rng.choice(_ENDS.split())
            if made[:3] not in {name[:3] for name in self._names}:
                break
        self._names.add(made)
        return made

    def person(self) -> str:
        return f"{self.rng.choice(_FIRST.split())} {self.name()}"

    def body(self) -> str:
        """An organisation that publishes figures."""
        return self.rng.choice(_BODIES).format(n=self.name(), m=self.name())

    def title(self, *wordings: str) -> str | None:
        """One of the wordings that no panel has yet; None when all are taken."""
        for wording in self.rng.sample(wordings, len(wordings)):
            made = capital(wording)
            if made.lower() not in self._titles:
                self._titles.add(made.lower())
                return made
        return None

    def some_places(self, count: int) -> list[str]:
        return self.rng.sample(self.places, min(count, len(self.places)))

    def slots(self, count: int) -> list[tuple[Measure, int]]:
        """A measure with `count` years in which it is printed nowhere else, oldest first; empty when none is left."""
        able = [measure for measure, years in self._free.items() if len(years) >= count]
        if not able:
            return []
        measure = self.rng.choice(able)
        return sorted(((measure, self._free[measure].pop()) for _ in range(count)), key=lambda slot: slot[1])

    def mixed_slots(self, count: int) -> list[tuple[Measure, int]]:
        """Measures of different units that share a free year, so that a table row alone tells them apart."""
        for year in self.rng.sample(self.years, len(self.years)):
            able = [measure for measure, years in self._free.items() if year in years]
            units = {measure.unit: measure for measure in self.rng.sample(able, len(able))}
            if len(units) >= count:
                chosen = self.rng.sample(list(units.values()), count)
                for measure in chosen:
                    self._free[measure].remove(year)
                return [(measure, year) for measure in chosen]
        return []

    def value(self, measure: Measure, place: str, year: int) -> float:
        """The figure for a place and year: the same each time, unlike the place's other years and its neighbours'."""
        key = (measure.name, place, year)
        if key in self._values:
            return self._values[key]
        span = measure.high - measure.low
        base = self._base.setdefault(key[:2], measure.low + span * self.rng.uniform(0.15, 0.85))
        taken = {v for (m, p, y), v in self._values.items() if m == key[0] and (p == place or y == year)}
        spread = 0.12
        while True:
            drawn = base + span * self.rng.uniform(-spread, spread)
            value = round(min(max(drawn, measure.low), measure.high), measure.decimals)
            if value not in taken:
                self._values[key] = value
                return value
            spread += 0.01

    def event(self) -> str:
        """Something that happened once: who did what to which kind of thing."""
        verbs = ("opens", "closes", "rebuilds", "funds", "sells", "wins a prize for", "doubles", "moves",
                 "saves", "names", "plans", "repairs", "tests", "insures")  # fmt: skip
        for _ in range(40):
            place, thing = self.rng.choice(self.places), self.rng.choice(self.topic.things)
            if (place, thing) not in self._events:
                break
        self._events.add((place, thing))
        verb = self.rng.choice(verbs)
        return f"{place} {verb} {article(thing)}" if verb in ("opens", "funds", "plans") else (
            f"{place} {verb} its {thing}"
        )  # fmt: skip
