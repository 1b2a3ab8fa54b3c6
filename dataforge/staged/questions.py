"""What can be asked of a staged clip, with its answer and where that is to be seen: frames, and boxes in them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from random import Random

from dataforge.geometry import Box
from dataforge.records import AnswerType, Region, Span
from dataforge.staged.paint import capital_px, card_box, clock_box
from dataforge.staged.plot import COLOURS, HEIGHT, RATE, WIDTH, Event, Plot

STAGE = Box(0, 0, WIDTH, HEIGHT)


@dataclass(frozen=True)
class Question:
    """A question on a clip, with exact truth in time and place."""

    text: str
    answer: str
    evidence: tuple[Region, ...]
    choices: tuple[str, ...] = ()
    answer_type: AnswerType = "exact"


def ask(plot: Plot) -> tuple[Question, ...]:
    """All questions of a clip, in an order drawn from its seed; an answer is never one of several."""
    rng = Random(f"asked {plot.seed}")
    asked = [question for form in FORMS for question in form(plot, rng)]
    rng.shuffle(asked)
    return tuple(asked)


def happenings(plot: Plot) -> tuple[Region, ...]:
    """Everything that happens, as places a look may go to by mistake."""
    events = tuple(_event(event) for event in plot.events)
    return (*events, _card(plot))


def _event(event: Event) -> Region:
    """An event, from when on it is plain to see until when: on the stage as a whole, off the ground."""
    start, end = event.span_s
    thing = event.thing
    hidden = 1.5 * thing.size / ((thing.x if thing.from_left else WIDTH - thing.x) + thing.size)
    if event.act == "enter":
        start = round(start + hidden * (end - start), 6)
    elif event.act == "leave":
        end = round(end - hidden * (end - start), 6)
    elif event.act == "jump":
        start, end = round(start + 0.2 * (end - start), 6), round(end - 0.2 * (end - start), 6)
    where = STAGE if event.act in ("enter", "leave") else event.thing.column
    return Region(box=where, span_s=(start, end), label=event.label)


def _card(plot: Plot) -> Region:
    card = plot.card
    return Region(box=card_box(card).outward(), span_s=card.span_s, label="the card", text_px=capital_px(card.size))


def _written(plot: Plot, rng: Random) -> Iterator[Question]:
    asked = f"A card is shown for a moment. Which {plot.card.kind} is printed on it?"
    yield Question(asked, plot.card.text, (_card(plot),))


def _clock(plot: Plot, rng: Random) -> Iterator[Question]:
    """What the clock says while something happens within one of its seconds."""
    for event in plot.events:
        middle = sum(event.span_s) / 2
        span = _both(plot.clock_span(middle), event.span_s)
        if event.act in ("jump", "change") and span[1] - span[0] >= 0.8 * (event.span_s[1] - event.span_s[0]):
            told = {"jump": "is highest in its jump", "change": "has another colour"}[event.act]
            if event.act == "jump":
                span = _both(span, (middle - 2 / RATE, middle + 2 / RATE))
            place = Region(
                box=clock_box(plot).outward(),
                span_s=span,
                label=f"the clock when {event.thing.name} {told}",
                text_px=capital_px(plot.clock_size),
            )
            yield Question(f"What does the clock say when {event.thing.name} {told}?", plot.clock(middle), (place,))


def _first(plot: Plot, rng: Random) -> Iterator[Question]:
    """Which of two things comes in first: of three pairs, so that every clip has four questions."""
    comes = [event for event in plot.events if event.act == "enter"]
    for one, other in rng.sample(list(combinations(comes, 2)), 3):
        pair = [one.thing.name, other.thing.name]
        rng.shuffle(pair)
        text = f"Which comes in first, {pair[0]} or {pair[1]}?"
        yield _choice(text, one.thing.name, pair, (_event(one), _event(other)))


def _who(plot: Plot, rng: Random) -> Iterator[Question]:
    """Which thing jumps, or goes away, where only one does."""
    for act, told in (("jump", "jumps"), ("leave", "goes away")):
        events = [event for event in plot.events if event.act == act]
        if len(events) == 1:
            region = _event(events[0]).model_copy(update={"label": f"the moment when something {told}"})
            names = rng.sample([thing.name for thing in plot.cast], len(plot.cast))
            yield _choice(f"Which one {told}?", events[0].thing.name, names, (region,))


def _colour(plot: Plot, rng: Random) -> Iterator[Question]:
    """Which colour a thing has for a while."""
    for event in plot.events:
        if event.act == "change":
            colours = rng.sample(sorted(COLOURS), len(COLOURS))
            text = f"For a short time {event.thing.name} has another colour. Which one?"
            yield _choice(text, event.colour, [c for c in colours if c != event.thing.colour], (_event(event),))


def _count(plot: Plot, rng: Random) -> Iterator[Question]:
    """How many things are on the stage while the card is shown, where that doesn't change meanwhile."""
    start, end = plot.card.span_s
    moving = [event for event in plot.events if event.act in ("enter", "leave")]
    if not any(event.span_s[0] <= end + 0.1 and event.span_s[1] >= start - 0.1 for event in moving):
        there = sum(since <= start and until >= end for since, until in plot.stays.values())
        region = Region(box=STAGE, span_s=plot.card.span_s, label="the stage while the card is shown")
        text = "How many coloured shapes are on the stage while the card is shown?"
        yield Question(text, str(there), (region,), answer_type="number")


FORMS: tuple[Callable[[Plot, Random], Iterator[Question]], ...] = (_written, _clock, _first, _who, _colour, _count)


def _choice(text: str, answer: str, choices: list[str], evidence: tuple[Region, ...]) -> Question:
    return Question(text, chr(ord("A") + choices.index(answer)), evidence, tuple(choices), "choice")


def _both(one: Span, other: Span) -> Span:
    return round(max(one[0], other[0]), 6), round(min(one[1], other[1]), 6)
