"""Is the given answer right? One pure function per answer type, each with the metric its field reports.

A wrong "yes" teaches a model a wrong trace and a wrong "no" only costs one example, so every doubt is settled as
"no", with a reason code. Three habits follow. An answer is judged whole: no key is looked for inside a longer text,
so naming several candidates never pays. An answer that repeats a reference, spaces and width forms aside, is right.
And `value` stays the benchmark's own number while `ok` may be stricter: ANLS gives "2017" three quarters of a point
where the key is "2018", which is a fine number to report and a false thing to learn.

    text    ANLS >= 0.5, and numbers, units, dates and opposites must not contradict the key
    number  one quantity, within the tolerance, in a unit that does not contradict
    choice  exactly one option, by its letter or its text
    exact   equal but for case, width forms, spaces, quotes and a final period
    vqa     VQA accuracy, leave-one-out over the annotators, >= 0.65: three agree, or two of three
    list    the same items, in any order
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

AnswerType = Literal["text", "number", "choice", "exact", "vqa", "list"]

ANLS_THRESHOLD = 0.5  # the one of InfographicVQA and DocVQA: below it the value itself is 0
VQA_THRESHOLD = 0.65  # two of ten annotators score 0.60 and three 0.90; two of three score 0.67


class Score(NamedTuple):
    """`value` is the metric, 0..1; `ok` says the answer counts as right; `reason` is "" when ok, else a code."""

    value: float
    ok: bool
    reason: str


class Quantity(NamedTuple):
    """An exact value and its unit: normalised words, none when it names none."""

    value: Fraction
    unit: tuple[str, ...]


def score(
    given: str,
    answers: Sequence[str],
    answer_type: AnswerType,
    choices: Sequence[str] = (),
    tolerance: float = 0.0,
) -> Score:
    """Judges `given` against the accepted `answers` (for vqa: one per annotator); never raises over `given`.

    `choices` are the options' texts in the order of their letters; `tolerance` is relative to the key and read for
    numbers only (ChartQA's relaxed accuracy: 0.05, which also forgives a year: do not use it where years are asked).
    ValueError when there is no answer to compare with, or the type is unknown: the caller's bug.
    """
    if not answers or isinstance(answers, str):
        raise ValueError("answers must be a list of at least one accepted answer")
    if answer_type not in ("text", "number", "choice", "exact", "vqa", "list"):
        raise ValueError(f"unknown answer type {answer_type!r}")
    if not given.strip():
        return Score(0.0, False, "empty")
    if answer_type == "text":
        return _text(given, answers)
    if answer_type == "vqa":
        return _vqa(given, answers)
    if any(_tidy(given) == _tidy(key) for key in answers):
        return Score(1.0, True, "")
    if answer_type == "number":
        reasons = [_number_fault(given, key, tolerance) for key in answers]
    elif answer_type == "choice":
        reasons = [_choice_fault(given, key, choices) for key in answers]
    elif answer_type == "list":
        reasons = [_list_fault(given, key) for key in answers]
    else:
        reasons = ["" if _plain(given) == _plain(key) else "wrong_text" for key in answers]
    ok = "" in reasons
    return Score(float(ok), ok, "" if ok else reasons[0])


def extract_boxed(text: str) -> str | None:
    r"""The content of the last \boxed{...}, freed of \text{} and LaTeX escapes; None when there is none.

    Also None when the last box is not closed: the reply was cut off, and an earlier box is an earlier guess.
    """
    opened = list(re.finditer(r"\\boxed\s*\{", text))
    if not opened:
        return None
    start, depth = opened[-1].end(), 1
    for brace in re.finditer(r"\\.|[{}]", text[start:], re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            content = text[start : start + brace.start()]
            break
    else:
        return None
    content = re.sub(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}", r"\1/\2", content)
    content = re.sub(r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}", r"\1", content)
    content = re.sub(r"\\([%$#&_{}])", r"\1", re.sub(r"\\[,;:! ]|~", " ", content))
    return " ".join(content.split())


def _tidy(text: str) -> str:
    """Width forms, minus signs and spaces made one; case kept."""
    text = re.sub(r"(?<=\d)(?=[¼-¾⅐-⅞])", " ", text)  # 5½ would become 51/2
    text = unicodedata.normalize("NFKC", text).translate({0x2212: "-", 0x2044: "/", 0x2019: "'"})
    return " ".join(text.split())


def _plain(text: str) -> str:
    """Tidy, case-folded, without surrounding quotes and one final period; never emptied by that."""
    tidy = _tidy(text).casefold()
    return tidy.strip("\"'“”‘`").removesuffix(".").strip("\"'“”‘` ") or tidy


# ---------------------------------------------------------------------------------------------- numbers and units

_COUNT_WORDS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
_TENS = {"hundred": 2, "thousand": 3, "k": 3, "million": 6, "mln": 6, "mn": 6, "m": 6}
_TENS |= {"billion": 9, "bn": 9, "b": 9, "trillion": 12, "tn": 12}
_UNIT_NAMES = (
    "$ usd us$ dollar|€ eur euro|£ gbp pound|¥ jpy yen|₹ inr rs rupee|rm myr ringgit|% percent pct|cent"
    "|km kilometer kilometre|m meter metre|cm centimeter centimetre|mm millimeter millimetre|mi mile"
    "|ft foot feet|inch inches|kg kilogram kilo|g gram|mg milligram|lb lbs|oz ounce|t ton tonne"
    "|l liter litre|ml milliliter millilitre|s sec second|ms millisecond|min minute|h hr hour|day|week"
    "|month|yr year|degree °|c celsius|f fahrenheit|square sq|person people|kb|mb|gb|tb|mph|kmh|w|kw|mw"
)
_UNITS = {name: group.split()[0] for group in _UNIT_NAMES.split("|") for name in group.split()}
_CURRENCY = r"us\$|[$€£¥₹]|\b(?:usd|eur|gbp|jpy|inr|rs|rm|myr)(?=[\s\d.-])"
_PLAIN_NUMBER = r"[1-9]\d{0,2}(?:,\d{3}){1,9}(?!\d)(?:\.\d{1,40})?|\d{1,40}(?:\.\d{1,40})?|(?<!\w)\.\d{1,40}"
_FRACTION = r"(?:\d{1,9} )?(?:0|[1-9]\d{0,8})/[1-9]\d{0,8}(?!\d)"  # "03/04" is likelier a date


def _quantity_pattern(number: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?P<minus>(?<![\w)%-])-)?(?:(?P<currency>{_CURRENCY})\s?)?(?P<minus2>(?<![\w)%-])-)?"
        rf"(?P<number>{number}|\b(?:{'|'.join(_COUNT_WORDS)})\b)"
        rf"(?:[ -]?(?P<tens>{'|'.join(_TENS)})(?![^\W\d_]))?",
        re.IGNORECASE,
    )


_QUANTITY_IN_TEXT = _quantity_pattern(_PLAIN_NUMBER)  # in a text, 03/06 may be part of a date
_QUANTITY_ALONE = _quantity_pattern(f"{_FRACTION}|{_PLAIN_NUMBER}")
_UNIT_WORD = re.compile(r"[^\W\d_]+|[%°$€£¥₹]")
_NO_UNIT = frozenset(["per", "of", "the", "a", "an", "in", "total", "is", "are", "st", "nd", "rd", "th"])
_HEDGES = frozenset(
    [
        "or",
        "and",
        "but",
        "not",
        "to",
        "than",
        "more",
        "less",
        "least",
        "most",
        "over",
        "under",
        "above",
        "below",
        "between",
        "vs",
    ]
)
_CARRIER = re.compile(
    r"(?:(?:the )?(?:(?:final|correct|right|best) )?(?:answer|option|choice|result|value|total)\b(?: is)?[:=]? ?"
    r"|(?:it is|it's|there are|there is) )+(?=\S)",
    re.IGNORECASE,
)


_LEAD = re.compile(r"[\s(\[~≈:=]*(?:about|approximately|approx\.?|around|roughly)? ?", re.IGNORECASE)
_REWRITES: tuple[
    tuple[str, str | Callable[[re.Match[str]], str]], ...
] = (  # in this order; a comma is decimal only where it can be nothing else
    (r"\bper cent\b", "%"),
    (r"\b(km|cm|mm|m|ft|mi)\^?2\b", r"square \1"),
    (r"(?<=\d)'(?=\d{3}(?!\d))", ""),  # 1'200
    (r"(?<=\d),(?=(?:\d\d,)+\d{3}(?!\d))", ""),  # 1,00,000
    (r"(?<=\d)(?<!\d{4}) (?=(?:\d{3} )*\d{3}(?![\d/]))", ""),  # 1 200
    (r"(?<=\d)\.(?=(?:\d{3}\.)*\d{3}(?:,\d|\.\d{3})(?!\d*[.,]\d))|(?<=\.\d{3})\.(?=\d{3}(?!\d))", ""),  # 1.234,5
    (r"(?<![\d.,])(0,\d+|\d+,\d\d?|\d{4,},\d+)(?![\d.,])", lambda m: m[0].replace(",", ".")),  # 12,5
)


def _quantity_of(match: re.Match[str]) -> tuple[Quantity, int]:
    """The value with its currency, and where it ends; a lone lower-case m is metres unless money comes before."""
    number, tens, currency = match["number"].lower().replace(",", ""), match["tens"] or "", match["currency"]
    end = match.end()
    if tens == "m" and not currency:
        tens, end = "", match.end("number")
    if number in _COUNT_WORDS:
        value = Fraction(_COUNT_WORDS.index(number))
    else:
        value = sum((Fraction(part) for part in number.split()), Fraction(0))
    value *= 10 ** _TENS.get(tens.lower(), 0) * (-1 if match["minus"] or match["minus2"] else 1)
    return Quantity(value, (_UNITS[currency.lower()],) if currency else ()), end


def _unit(word: str) -> str:
    word = word.lower()
    singular = word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
    return _UNITS.get(word) or _UNITS.get(singular, singular)


def _quantity(text: str) -> Quantity | str:
    """The one quantity that the text states, or the reason why it doesn't state one."""
    text = _CARRIER.sub("", _tidy(text), count=1).strip("\"'*")
    for pattern, replacement in _REWRITES:
        text = re.sub(pattern, replacement, text)
    if re.search(r"\d([/.-])\d+\1\d|\d:\d|\b0\d*/\d", text):
        return "not_a_number"  # a date, a time, a version
    found = list(_QUANTITY_ALONE.finditer(text))
    if len(found) != 1:
        return "several_answers" if found else "not_a_number"
    (value, currency), end = _quantity_of(found[0])
    lead, tail = text[: found[0].start()], text[end:].lower()
    words = _UNIT_WORD.findall(tail)
    if not _LEAD.fullmatch(lead) or len(words) > 4 or _HEDGES.intersection(words) or re.search(r"[\d+<>±?]", tail):
        return "not_a_number"
    return Quantity(value, currency + tuple(_unit(word) for word in words if word not in _NO_UNIT))


def _number_fault(given: str, key: str, tolerance: float) -> str:
    """Why the number is wrong; "" when it is right. Units are compared, never converted; 0.72 is not 72%."""
    ours, theirs = _quantity(given), _quantity(key)
    if isinstance(ours, str):
        return ours
    if isinstance(theirs, str):
        return "wrong_number"
    whole = ours.value.denominator == theirs.value.denominator == 1
    noise = 0.0 if whole else 1e-9  # of floats printed in full; whole numbers are compared exactly
    if abs(ours.value - theirs.value) > Fraction(tolerance + noise) * abs(theirs.value):
        return "wrong_number"
    return "wrong_unit" if ours.unit and theirs.unit and ours.unit != theirs.unit else ""


# ----------------------------------------------------------------------------------------------------------- text

_MONTHS = "january february march april may june july august september october november december".split()
_DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
_OPPOSITES = (  # words a few letters apart of which at most one is true
    "north south east west|northern southern eastern western|first second third fourth fifth last|am pm|light dark"
    "|increase decrease|increased decreased|increases decreases|increasing decreasing|more less fewer|high low"
    "|higher lower|highest lowest|maximum minimum|max min|most least|positive negative|before after|above below"
    "|left right|upper lower|indoor outdoor|inside outside|import export|imports exports"
)
_SIDES = {word: (group, word) for group in _OPPOSITES.split("|") for word in group.split()}
_SIDES |= {short: ("month", name[:3]) for name in _MONTHS for short in (name, name[:3], name[:4])}
_SIDES |= {short: ("day", name[:3]) for name in _DAYS for short in (name, name[:3], name[:4])}
_NEGATIONS = frozenset(["not", "never", "without", "cannot", "non"])
_NEGATING_PREFIXES = ("un", "in", "im", "il", "ir", "dis", "non", "fe", "wo")  # fe-male, wo-man


def _text(given: str, answers: Sequence[str]) -> Score:
    """Best ANLS over the answers; right when one answer is near enough and not contradicted."""
    from rapidfuzz.distance import Levenshtein

    ours = " ".join(given.lower().split())
    best, ok, reason = -1.0, False, ""
    for answer in answers:
        key = " ".join(answer.lower().split())
        anls = Levenshtein.normalized_similarity(ours, key, score_cutoff=ANLS_THRESHOLD)
        fault = _text_fault(_tidy(ours), _tidy(key)) or ("" if anls >= ANLS_THRESHOLD else "wrong_text")
        if anls > best:
            best, reason = anls, fault
        ok = ok or not fault
    return Score(best, ok, "" if ok else reason)


def _text_fault(given: str, key: str) -> str:
    """What in `given` proves it wrong, however few letters it is away from the key; "" when nothing does."""
    if given == key:
        return ""
    ours, theirs = _quantities_in(given), _quantities_in(key)
    if theirs and (ours or re.search(r"\d", key)):
        if [one.value for one in ours] != [one.value for one in theirs]:
            return "wrong_number"
        if any(a.unit and b.unit and a.unit != b.unit for a, b in zip(ours, theirs, strict=True)):
            return "wrong_unit"
    if _listing(given, r"\b(?:or|vs)\b|[;|]") > _listing(key, r"\b(?:or|vs)\b|[;|]"):
        return "several_answers"
    inside = re.search(rf"(?<!\w){re.escape(key)}(?!\w)", given)
    if inside and _listing(given[: inside.start()] + " " + given[inside.end() :], r"\band\b|[,/&]\s*\w|\w\s*[,/&]"):
        return "several_answers"
    return "wrong_text" if _opposed(given, key) else ""


def _listing(text: str, separators: str) -> int:
    return len(re.findall(separators, text))


def _quantities_in(text: str) -> list[Quantity]:
    """Every number of a text in its order, with the unit right after it when that is a known one."""
    found = []
    for match in _QUANTITY_IN_TEXT.finditer(text):
        (value, unit), end = _quantity_of(match)
        word = re.compile(rf"[\s-]?({_UNIT_WORD.pattern})").match(text, end)
        known = word and _unit(word[1]) in _UNITS.values() and (_unit(word[1]),)
        found.append(Quantity(value, unit or known or ()))
    return found


def _opposed(given: str, key: str) -> bool:
    """Whether a word of one is the opposite, the negation or the wrong month of a word of the other."""
    ours, theirs = (
        set(re.findall(r"[^\W\d_]+", re.sub(r"\b([ap])\. ?m\b", r"\1m", re.sub(r"n't\b", " not", text))))
        | ({"not"} if re.search(r"\bno\b(?!\W*\d)", text) else set())  # "No. 7" negates nothing
        for text in (given, key)
    )
    ours, theirs = ours - theirs, theirs - ours
    if (ours | theirs) & _NEGATIONS:
        return True
    if any(
        prefix + word in longer
        for prefix in _NEGATING_PREFIXES
        for shorter, longer in ((ours, theirs), (theirs, ours))
        for word in shorter
    ):
        return True
    here, there = ({_SIDES[word] for word in words if word in _SIDES} for words in (ours, theirs))
    shared = {group for group, _ in here & there}
    return bool(({group for group, _ in here} & {group for group, _ in there}) - shared)


# ------------------------------------------------------------------------------------------- choices, votes, lists

_LABEL = re.compile(r"[(\[]?([A-Z])(?:[)\]]?[.:,]? ?$|(?:[)\]][.:,]?|[.:,]| -) ?(.+))", re.IGNORECASE)


def _choice_fault(given: str, key: str, choices: Sequence[str]) -> str:
    """Why the choice is wrong; "" when it names the key's option and no other. A lone letter is always a label."""
    ours, theirs = _named(given, choices), _named(key, choices)
    if isinstance(theirs, str):  # the key is a text of unknown options
        return "" if _option(given) == _option(key) else "wrong_choice"
    if isinstance(ours, str):
        return ours
    if len(ours) > len(theirs):
        return "several_answers"
    return "" if ours <= theirs else "wrong_choice"


def _named(text: str, choices: Sequence[str]) -> set[str] | str:
    """The letters that a text stands for (two only where two options read the same), or the reason for none."""
    text = _CARRIER.sub("", _tidy(text).strip("\"'*$` "), count=1)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(choices) or 26]
    label = _LABEL.match(text)
    by_text = {letter for letter, option in zip(letters, choices, strict=False) if _option(option) == _option(text)}
    if by_text and not (label and not label[2] and label[1].upper() in letters):
        return by_text
    if re.fullmatch(r"\W*[A-Za-z](?:\W+(?:(?:and|or)\W+)?[A-Za-z])+\W*", text):
        return "several_answers"
    if not label or label[1].upper() not in letters:
        return "not_a_choice"
    letter, rest = label[1].upper(), label[2] or ""
    if rest and choices and _option(rest) != _option(choices[letters.index(letter)]):
        return "contradiction"
    if not choices and re.search(r"\b[B-Z]\b", rest.replace(letter, "")):
        return "several_answers"  # the options are unknown: another capital may be another label
    return {letter}


def _option(text: str) -> str:
    """An option's text without articles and outer punctuation, its letters' case folded."""
    return re.sub(r"^(?:a|an|the) (?=\w)", "", _tidy(text).casefold().strip("\"'*`.,:;!()[] ")) or _tidy(text)


def _vqa(given: str, answers: Sequence[str]) -> Score:
    """Mean over the annotators of min(1, others who agree / 3); with fewer than four, all the others must agree."""
    ours, votes = _vqa_plain(given), [_vqa_plain(answer) for answer in answers]
    agreeing, needed = votes.count(ours), min(3, max(1, len(votes) - 1))
    if len(votes) == 1:
        value = float(agreeing)
    else:
        value = sum(min(1.0, (agreeing - (vote == ours)) / needed) for vote in votes) / len(votes)
    ok = value >= VQA_THRESHOLD
    return Score(value, ok, "" if ok else "too_few_votes" if agreeing else "wrong_text")


def _vqa_plain(text: str) -> str:
    """The VQA challenge's normal form: no articles, no punctuation but in numbers, count words as digits."""
    plain = re.sub(r"(?<=\d),(?=\d{3})|(?<!\d)\.|\.(?!\d)|['’]", "", text.lower())
    words = re.sub(r"[;/\[\]\"{}()=+\\_\-<>@`,?!*]", " ", plain).split()
    digits = {"none": "0"} | {word: str(count) for count, word in enumerate(_COUNT_WORDS[:11])}
    return " ".join(digits.get(word, word) for word in words if word not in ("a", "an", "the")) or text.strip()


def _list_fault(given: str, key: str) -> str:
    """Why the list is wrong; "" when it holds the key's items and no more, in any order.

    A list in brackets is taken at its items. Bare text is cut at commas and "and", so there an item of the key that
    holds such a cut is looked for as a run of pieces.
    """
    ours, theirs = _items(given), _items(key)
    if given.strip().startswith("[") or not key.strip().startswith("["):
        missing, extra = Counter(theirs) - Counter(ours), Counter(ours) - Counter(theirs)
        return "missing_item" if missing else "extra_item" if extra else ""
    pieces: list[str | None] = list(ours)
    for run in sorted((_items(item) for item in theirs), key=len, reverse=True):
        starts = [at for at in range(len(pieces)) if pieces[at : at + len(run)] == run]
        if not starts:
            return "missing_item"
        pieces[starts[0] : starts[0] + len(run)] = [None]  # what was around it is not neighbours now
    return "extra_item" if any(piece is not None for piece in pieces) else ""


def _items(text: str) -> list[str]:
    """The items of a JSON list, a printed Python list or a bare enumeration, in their normal form."""
    text = _tidy(text)
    if text.startswith("["):
        try:
            loaded = json.loads(text)
        except (ValueError, RecursionError):
            loaded = None
        if isinstance(loaded, list):
            return [_item(str(item)) for item in loaded]
        quoted = r"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^,]+))\s*(?:,|$)"""
        return [_item(next(filter(None, found), "")) for found in re.findall(quoted, text[1:].removesuffix("]"))]
    cuts = re.split(r",(?!\d{3}(?!\d))|;|\s&\s|\band\b", text, flags=re.IGNORECASE)
    return [_item(piece) for piece in cuts if piece.strip(" .\"'")]


def _item(text: str) -> str:
    plain = _plain(text)
    return str(Fraction(plain.replace(",", ""))) if re.fullmatch(_PLAIN_NUMBER, plain) else plain
