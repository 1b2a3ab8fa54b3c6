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

import json
import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, get_args

from dataforge.answers.quantities import CARRIER, COUNTS, NUMBER, number_fault, quantities, tidy, words
from dataforge.records import AnswerType

ANLS_THRESHOLD = 0.5  # the one of InfographicVQA and DocVQA: below it the value itself is 0
VQA_THRESHOLD = 0.65  # two of ten annotators score 0.60 and three 0.90; two of three score 0.67


class Score(NamedTuple):
    """`value` is the metric, 0..1; `ok` says the answer counts as right; `reason` is "" when ok, else a code."""

    value: float
    ok: bool
    reason: str


def score(
    given: str,
    answers: Sequence[str],
    answer_type: AnswerType,
    choices: Sequence[str] = (),
    tolerance: float = 0.0,
) -> Score:
    """Judges `given` against the accepted `answers` (for vqa: one per annotator); never raises over `given`.

    `choices` are the options' texts in the order of their letters. `tolerance` is relative to the key and read for
    numbers only (0.05 is ChartQA's relaxed accuracy; it forgives a year too, so don't use it where years are asked).
    ValueError when there is no answer to compare with, or the type is unknown: the caller's bug.
    """
    if not answers or isinstance(answers, str) or answer_type not in get_args(AnswerType):
        raise ValueError(f"needs a known answer type and a list of answers, got {answer_type!r} and {answers!r}")
    if not given.strip():
        return Score(0.0, False, "empty")
    if answer_type == "text":
        return _text(given, answers)
    if answer_type == "vqa":
        return _vqa(given, answers)
    if any(tidy(given) == tidy(key) for key in answers):
        return Score(1.0, True, "")
    if answer_type == "number":
        faults = [number_fault(given, key, tolerance) for key in answers]
    elif answer_type == "choice":
        faults = [_choice_fault(given, key, choices) for key in answers]
    elif answer_type == "list":
        faults = [_list_fault(given, key) for key in answers]
    else:
        faults = ["" if _plain(given) == _plain(key) else "wrong_text" for key in answers]
    ok = "" in faults
    return Score(float(ok), ok, "" if ok else faults[0])


def extract_boxed(text: str) -> str | None:
    r"""The content of the last \boxed{...}, freed of \text{} and LaTeX escapes; None when there is none.

    Also None when the last box is not closed: the reply was cut off, and an earlier box is an earlier guess.
    """
    opened = list(re.finditer(r"\\boxed\s*\{", text))
    if not opened:
        return None
    rest, depth = text[opened[-1].end() :], 1
    for brace in re.finditer(r"\\.|[{}]", rest, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return _without_latex(rest[: brace.start()])
    return None


def _without_latex(content: str) -> str:
    content = re.sub(r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}", r"\1", content)
    content = re.sub(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}", r"\1/\2", content)
    content = re.sub(r"\\([%$#&_{}])", r"\1", re.sub(r"\\[,;:! ]", " ", content))
    return " ".join(content.split())


def _plain(text: str) -> str:
    """Tidy, case-folded, without surrounding quotes and one final period; never emptied by that."""
    plain = tidy(text).casefold()
    return plain.strip("\"'“”‘`").removesuffix(".").strip("\"'“”‘` ") or plain


# ----------------------------------------------------------------------------------------------------------- text

_OPPOSITES = (  # of each group at most one is true; only those that spelling doesn't tell apart
    "north south east west|northern southern|first third fourth fifth|increase decrease|increased decreased"
    "|increases decreases|increasing decreasing|maximum minimum|positive negative|upper lower|indoor outdoor"
    "|inside outside|import export|imports exports|internal external|include exclude|enabled disabled|enable disable"
    "|jan feb mar apr may jun jul aug sep oct nov dec|mon tue wed thu fri sat sun"
)
_GROUPS = {word: group for group in _OPPOSITES.split("|") for word in words(group)}
_DATES = words("january february march april june july august september october november december")
_DATES += words("monday tuesday wednesday thursday friday saturday sunday sept tues thur thurs")
_NEGATIONS = {*words("not never without cannot non")}
_NEGATING_PREFIXES = words("un in im il ir dis non fe wo")  # fe-male, wo-man


def _text(given: str, answers: Sequence[str]) -> Score:
    """Best ANLS over the answers; right when one answer is near enough and not contradicted."""
    from rapidfuzz.distance import Levenshtein

    ours = " ".join(given.lower().split())
    best, ok, reason = -1.0, False, ""
    for answer in answers:
        key = " ".join(answer.lower().split())
        anls = Levenshtein.normalized_similarity(ours, key, score_cutoff=ANLS_THRESHOLD)
        fault = _text_fault(tidy(ours), tidy(key)) or ("" if anls >= ANLS_THRESHOLD else "wrong_text")
        if anls > best:
            best, reason = anls, fault
        ok = ok or not fault
    return Score(best, ok, "" if ok else reason)


def _text_fault(given: str, key: str) -> str:
    """What proves `given` wrong, however few letters it is away from the key; "" when nothing does."""
    if given == key:
        return ""
    theirs = quantities(key)
    if theirs and ((ours := quantities(given)) or key in COUNTS or re.search(r"\d", key)):
        if len(ours) != len(theirs):
            return "wrong_number"
        if faults := [fault for one, other in zip(ours, theirs, strict=True) if (fault := one.fault(other))]:
            return faults[0]
    alternatives = re.compile(r"\bor\b|\bvs\b|[;|]")
    if len(alternatives.findall(given)) > len(alternatives.findall(key)):
        return "several_answers"
    if key and key in given:
        rest = given.replace(key, " ", 1)
        if re.search(r"\w", rest) and re.search(r"\band\b|[,/&]", rest):
            return "several_answers"
    return "wrong_text" if _words_differ(given, key) else ""


def _words_differ(given: str, key: str) -> bool:
    """Whether a word stands where the key has another one: its negation, its opposite, or just not a misspelling."""
    from rapidfuzz.distance import Levenshtein

    here, there = _content_words(given), _content_words(key)
    ours, theirs = [word for word in here if word not in there], [word for word in there if word not in here]
    if ours and theirs and Levenshtein.normalized_similarity("".join(ours), "".join(theirs)) <= 0.5:
        return True
    if _NEGATIONS & {*ours, *theirs}:
        return True
    if any(
        {prefix + word for word in a} & {*b}
        for prefix in _NEGATING_PREFIXES
        for a, b in ((ours, theirs), (theirs, ours))
    ):
        return True
    groups, others = ({_GROUPS[word] for word in side if word in _GROUPS} for side in (ours, theirs))
    return bool(groups & others)


def _content_words(text: str) -> list[str]:
    """The words without articles; months and days short, "p.m." as one word, "no" as "not" but before a number."""
    text = re.sub(r"\b([ap])\. ?m\b", r"\1m", text)
    text = re.sub(r"\bno\b(?!\W*\d)|n't\b", " not", text)
    found = re.findall(r"[^\W\d_]+", text)
    return [word[:3] if word in _DATES else word for word in found if word not in ("a", "an", "the")]


# ------------------------------------------------------------------------------------------- choices, votes, lists

_LABEL = re.compile(r"[(\[]?([A-Z])(?:[)\]]?[.:,]? ?$|(?:[)\]][.:,]?|[.:,]| -) ?(.+))", re.IGNORECASE)


def _choice_fault(given: str, key: str, choices: Sequence[str]) -> str:
    ours, theirs = _named(given, choices), _named(key, choices)
    if isinstance(theirs, str):  # the key is the text of an option that isn't known
        return "" if _option(given) == _option(key) else "wrong_choice"
    if isinstance(ours, str):
        return ours
    if len(ours) > len(theirs):
        return "several_answers"
    return "" if ours <= theirs else "wrong_choice"


def _named(text: str, choices: Sequence[str]) -> set[str] | str:
    """The letter that a text stands for (more where options read the same), or the reason why it stands for none.

    A lone letter is a label, even where it is also some option's text.
    """
    text = CARRIER.sub("", tidy(text).replace("**", "").strip("\"'$` "))
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(choices) or 26]
    label = _LABEL.match(text)
    letter, rest = (label[1].upper(), label[2] or "") if label else ("", "")
    by_text = {name for name, option in zip(letters, choices, strict=False) if _option(option) == _option(text)}
    if by_text and (rest or letter not in letters or not letter):
        return by_text
    if re.fullmatch(r"\W*[A-Za-z](?:\W+(?:(?:and|or)\W+)?[A-Za-z])+\W*", text):
        return "several_answers"
    if not letter or letter not in letters:
        return "not_a_choice"
    if rest and choices and _option(rest) != _option(choices[letters.index(letter)]):
        return "contradiction"
    if rest and not choices and re.search(r"\b[B-Z]\b", rest.replace(letter, "")):
        return "several_answers"  # with the options unknown, another capital may be another label
    return {letter}


def _option(text: str) -> str:
    """An option's text without articles, outer punctuation and case."""
    bare = tidy(text).casefold().strip("\"'*`.,:;!()[] ")
    return re.sub(r"^(?:a|an|the) (?=\w)", "", bare) or tidy(text)


def _vqa(given: str, answers: Sequence[str]) -> Score:
    """Mean over the annotators of min(1, how many others agree / 3); of fewer than four all others must agree."""
    ours, votes = _vqa_plain(given), [_vqa_plain(answer) for answer in answers]
    agreeing, needed = votes.count(ours), min(3, len(votes) - 1)
    if needed:
        value = sum(min(1.0, (agreeing - (vote == ours)) / needed) for vote in votes) / len(votes)
    else:
        value = float(agreeing)
    ok = value >= VQA_THRESHOLD
    return Score(value, ok, "" if ok else "too_few_votes" if agreeing else "wrong_text")


def _vqa_plain(text: str) -> str:
    """The VQA challenge's normal form: no articles, no punctuation but inside numbers, count words as digits."""
    plain = re.sub(r"(?<=\d),(?=\d{3})|\.(?!\d)|['’]", "", text.lower())
    found = re.sub(r"[;/\[\]\"{}()=+\\_\-<>@`,?!*]", " ", plain).split()
    digits = {"none": "0"} | {word: str(count) for count, word in enumerate(COUNTS[:11])}
    return " ".join(digits.get(word, word) for word in found if word not in ("a", "an", "the")) or text.strip()


def _list_fault(given: str, key: str) -> str:
    """What is missing or too much. A list in brackets is taken at its items; bare text is cut at commas and "and",
    and there an item of the key that holds such a cut itself is looked for as a run of pieces.
    """
    ours, theirs = _items(given), _items(key)
    if given.strip().startswith("[") or not key.strip().startswith("["):
        missing, extra = Counter(theirs) - Counter(ours), Counter(ours) - Counter(theirs)
        return "missing_item" if missing else "extra_item" if extra else ""
    pieces: list[str | None] = [*ours]
    for run in sorted((_items(item) for item in theirs), key=len, reverse=True):
        start = next((at for at in range(len(pieces)) if pieces[at : at + len(run)] == run), None)
        if start is None:
            return "missing_item"
        pieces[start : start + len(run)] = [None]  # its neighbours don't become one another's
    return "extra_item" if any(piece is not None for piece in pieces) else ""


def _items(text: str) -> list[str]:
    """The items of a JSON list, a printed Python list or a bare enumeration, in their normal form."""
    text = "\n".join(tidy(line) for line in text.strip().splitlines())
    if not text.startswith("["):
        cuts = re.split(r",(?!\d{3}(?!\d))|[;\n]|\s&\s|\band\b", text, flags=re.IGNORECASE)
        return [_item(piece) for piece in cuts if piece.strip(" .\"'")]
    try:
        return [_item(str(item)) for item in json.loads(text)]
    except (ValueError, RecursionError):
        quoted = r"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^,]+))\s*(?:,|$)"""
        return [_item(next(filter(None, found), "")) for found in re.findall(quoted, text[1:].removesuffix("]"))]


def _item(text: str) -> str:
    plain = _plain(text)
    return str(Fraction(plain.replace(",", ""))) if re.fullmatch(NUMBER, plain) else plain
