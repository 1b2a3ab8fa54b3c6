"""Numbers with their units, as people write them: "1,234.5", "3/4", "12 %", "$1.2 million", "forty" is not one.

Read exactly, never guessed: what could be a date, a time, a range or two numbers is no quantity. Units are compared,
never converted.
"""

import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple


def tidy(text: str) -> str:
    """Width forms, minus signs and spaces made one; case kept. The Turkish i's are, to `re`, an i that is no "i"."""
    text = re.sub(r"(?<=\d)(?=[¼-¾⅐-⅞])", " ", text)  # 5½ would become 51/2
    text = unicodedata.normalize("NFKC", text)
    return " ".join(text.translate({0x2212: "-", 0x2044: "/", 0x2019: "'", 0x130: "I", 0x131: "i"}).split())


def words(text: str) -> list[str]:
    return text.split()


COUNTS = words("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen")
COUNTS += words("sixteen seventeen eighteen nineteen twenty")
_TENS = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SHORT_TENS = {"k": 3, "m": 6, "mn": 6, "mln": 6, "b": 9, "bn": 9, "tn": 12}
_UNIT_NAMES = (  # first the canonical name; anything else is its own name
    "$ usd us$ dollar|€ eur euro|£ gbp pound|¥ jpy yen|₹ inr rs rupee|rm myr ringgit|% percent pct|cent"
    "|km kilometer kilometre|m meter metre|cm centimeter centimetre|mm millimeter millimetre|mi mile"
    "|ft foot feet|inch inches|kg kilogram kilo|g gram|mg milligram|lb lbs|oz ounce|t ton tonne"
    "|l liter litre|ml milliliter millilitre|s sec second|ms millisecond|min minute|h hr hour|day|week"
    "|month|yr year|degree °|c celsius|f fahrenheit|square sq|person people|kb|mb|gb|tb|mph|kmh|w|kw|mw"
)
_UNITS = {name: words(group)[0] for group in _UNIT_NAMES.split("|") for name in words(group)}
_UNIT_WORD = re.compile(r"[\s-]?([^\W\d_]+|[%°$€£¥₹])")
_NO_UNIT = {*words("per of the a an in total is are st nd rd th approx")}
_NOT_ONE_NUMBER = {*words("or and but not to than more less least most over under above below between vs up")}
_NOT_ONE_NUMBER |= {*words("half halves third thirds quarter quarters fifths tenths dozen dozens"), *_TENS}
_CURRENCY = r"us\$|[$€£¥₹]|\b(?:usd|eur|gbp|jpy|inr|rs|rm|myr)(?=[\s\d.-])"
NUMBER = r"[1-9]\d{0,2}(?:,\d{3}){1,9}(?!\d)(?:\.\d{1,40})?|\d{1,40}(?:\.\d{1,40})?|(?<!\w)\.\d{1,40}"
_FRACTION = r"(?:\d{1,9} )?(?:0|[1-9]\d{0,8})/[1-9]\d{0,8}(?!\d)"


def _quantity_pattern(number: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?P<minus>(?<![\w)%-])-)?(?:(?P<currency>{_CURRENCY})\.?\s?)?(?P<minus2>(?<![\w)%-])-)?"
        rf"(?P<number>{number}|\b(?:{'|'.join(COUNTS)})\b)"
        rf"(?:[ -]?(?P<tens>{'|'.join([*_TENS, *_SHORT_TENS])})(?![^\W\d_]))?",
        re.IGNORECASE,
    )


_IN_TEXT = _quantity_pattern(NUMBER)  # in a text 03/06 may be a part of a date
_ALONE = _quantity_pattern(f"{_FRACTION}|{NUMBER}")
_NO_NUMBER = re.compile(r"\d([/.-])\d+\1\d|\d:\d|\b0\d*/\d")  # a date, a time, a version, a month of a year
CARRIER = re.compile(
    r"\A(?:(?:the )?(?:(?:final|correct|right|best) )?(?:answer|option|choice|result|value|total)\b(?: is)?[:=]? ?"
    r"|(?:it is|it's|there are|there is) )+(?=\S)",
    re.IGNORECASE,
)
_LEAD = re.compile(r"[\s(\[~≈:=]*(?:about|approximately|approx\.?|around|roughly)? ?", re.IGNORECASE)
_Replacement = str | Callable[[re.Match[str]], str]
_SPELLINGS: tuple[tuple[str, _Replacement], ...] = (  # in this order; a comma is decimal where it can't be else
    (r"\bper cent\b", "%"),
    (r"\b(km|cm|mm|m|ft|mi)\^?2\b", r"square \1"),
    (r"(?<=\d)'(?=\d{3}(?!\d))", ""),  # 1'200
    (r"(?<=\d),(?=(?:\d\d,)+\d{3}(?!\d))", ""),  # 1,00,000
    (r"(?<=\d)(?<!\d{4}) (?=(?:\d{3} )*\d{3}(?![\d/]))", ""),  # 1 200
    (r"(?<=\d)\.(?=(?:\d{3}\.)*\d{3}(?:,\d|\.\d{3})(?!\d*[.,]\d))|(?<=\.\d{3})\.(?=\d{3}(?!\d))", ""),  # 1.234,5
    (r"(?<![\d.,])(0,\d+|\d+,\d\d?|\d{4,},\d+)(?![\d.,])", lambda found: found[0].replace(",", ".")),  # 12,5
)


class Quantity(NamedTuple):
    """An exact value and its unit: normalised words, none when it names none."""

    value: Fraction
    unit: tuple[str, ...]

    def fault(self, key: "Quantity", tolerance: float = 0.0) -> str:
        """Why this isn't the key's quantity. Units are compared, never converted: 0.72 is not 72%."""
        whole = self.value.denominator == key.value.denominator == 1
        noise = 0.0 if whole else 1e-9  # of floats printed in full; whole numbers are compared exactly
        if abs(self.value - key.value) > Fraction(tolerance + noise) * abs(key.value):
            return "wrong_number"
        return "wrong_unit" if self.unit and key.unit and self.unit != key.unit else ""


def _read(found: re.Match[str]) -> tuple[Quantity, int]:
    """The value with its currency, and where it ends; a lone lower-case m is metres unless money comes before."""
    number, tens, currency = found["number"].lower().replace(",", ""), found["tens"] or "", found["currency"]
    end = found.end()
    if tens == "m" and not currency:
        tens, end = "", found.end("number")
    if number in COUNTS:
        value = Fraction(COUNTS.index(number))
    else:
        value = sum((Fraction(part) for part in number.split()), Fraction(0))
    if tens:
        value *= 10 ** (_TENS | _SHORT_TENS)[tens.lower()]
    sign = -1 if found["minus"] or found["minus2"] else 1
    return Quantity(sign * value, (_UNITS[currency.lower()],) if currency else ()), end


def _unit(word: str) -> str:
    singular = word[:-1] if len(word) > 2 and word.endswith("s") and not word.endswith("ss") else word
    return _UNITS.get(word) or _UNITS.get(singular, singular)


def _quantity(text: str) -> Quantity | str:
    """The one quantity that the text states, or the reason why it doesn't state one."""
    text = CARRIER.sub("", tidy(text)).strip("\"'*")
    for pattern, replacement in _SPELLINGS:
        text = re.sub(pattern, replacement, text)
    if _NO_NUMBER.search(text):
        return "not_a_number"
    found = list(_ALONE.finditer(text))
    if len(found) != 1:
        return "several_answers" if found else "not_a_number"
    (value, currency), end = _read(found[0])
    lead, tail = text[: found[0].start()], text[end:].lower()
    words = _UNIT_WORD.findall(tail)
    if not _LEAD.fullmatch(lead) or len(words) > 4 or re.search(r"[\d+<>±?]", tail) or _NOT_ONE_NUMBER & {*words}:
        return "not_a_number"
    named = currency + tuple(_unit(word) for word in words if word not in _NO_UNIT)
    return Quantity(value, tuple(dict.fromkeys(named)))  # "$5 dollars" names one unit


def number_fault(given: str, key: str, tolerance: float) -> str:
    ours, theirs = _quantity(given), _quantity(key)
    if isinstance(ours, str):
        return ours
    return "wrong_number" if isinstance(theirs, str) else ours.fault(theirs, tolerance)


def quantities(text: str) -> list[Quantity]:
    """Every number of a text in its order, with its currency or the known unit that follows it directly."""
    found_all = []
    for found in _IN_TEXT.finditer(text):
        (value, currency), end = _read(found)
        word = _UNIT_WORD.match(text, end)
        unit = (_unit(word[1]),) if word and _unit(word[1]) in _UNITS else ()
        found_all.append(Quantity(value, currency or unit))
    return found_all
