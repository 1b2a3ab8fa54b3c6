"""What counts as right: every false accept known from the release's checker, near misses of each type, and the
promise that a reference always passes against itself, on odd strings and on the real samples.
"""

import csv
import json
import string
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge.answers.metrics import AnswerType, extract_boxed, score

SAMPLES = Path(__file__).parents[2] / "shared" / "samples"
ANIMALS = ("cow", "sheep", "vitamin C", "a red barn")
TYPES: list[AnswerType] = ["text", "number", "choice", "exact", "vqa", "list"]

# given, key or keys, "" or the reason
TEXT = [
    ("same", "SELANGOR", "selangor", ""),
    ("spaces", "SDN  BHD ", "SDN BHD", ""),
    ("small typo", "LIM SENG TO HARDWARE", "LIM SENG THO HARDWARE", ""),
    ("far", "Penang", "Kuala Lumpur", "wrong_text"),
    ("second key", "Malaysia", ["MY", "malaysia"], ""),
    ("year off by one", "2018", "2017", "wrong_number"),
    ("percent off by one", "42%", "43%", "wrong_number"),
    ("percent sign missing", "42", "42%", ""),
    ("thousands", "1200 people", "1,200 people", ""),
    ("decimals", "5.0 stars", "5 stars", ""),
    ("decimal point lost", "RM7.70", "RM770", "wrong_number"),
    ("magnitude", "4.2 million people", "4.2 billion people", "wrong_number"),
    ("short magnitude", "$4.2M", "$4.2B", "wrong_number"),
    ("unit", "42 km", "42 kg", "wrong_unit"),
    ("currency", "$42.50", "€42.50", "wrong_unit"),
    ("sign", "-5.25%", "5.25%", "wrong_number"),
    ("order of numbers", "from 10 to 20", "from 20 to 10", "wrong_number"),
    ("count words", "ten years", "two years", "wrong_number"),
    ("long identifier", "12345678901234567890", "12345678901234567891", "wrong_number"),
    ("one as a word", "oneway", "one way", ""),
    ("date", "31-03-2018", "31-03-2018", ""),
    ("date, other year", "31-03-2019", "31-03-2018", "wrong_number"),
    ("date, other separator", "03/02/2018", "03-02-2018", ""),
    ("date, day and month swapped", "02/03/2018", "03/02/2018", "wrong_number"),
    ("month name", "12 JUL 2018", "12 JUN 2018", "wrong_text"),
    ("month in full", "12 June 2018", "12 JUN 2018", ""),
    ("weekday and month", "Mon 12 June 2018", "Mon 12 Jun 2018", ""),
    ("half of the day", "8:45 a.m.", "8:45 pm", "wrong_text"),
    ("house number", "NO.2, JALAN SS21/38", "NO.2, JALAN SS21/39", "wrong_number"),
    ("opposite", "North Korea", "South Korea", "wrong_text"),
    ("opposite by prefix", "female", "male", "wrong_text"),
    ("negated by prefix", "authorized access", "unauthorized access", "wrong_text"),
    ("another word", "B & BEST RESTAURANT", "GRANDMA HOMES RESTAURANT", "wrong_text"),
    ("another word of two", "no tracks", "no record", "wrong_text"),
    ("another article", "in a room", "in the room", ""),
    ("spaces lost", "PETALINGJAYA SELANGOR", "PETALING JAYA SELANGOR", ""),
    ("half of a short word", "on", "none", "wrong_text"),
    ("enabled", "disabled", "enabled", "wrong_text"),
    ("none for one", "none", "one", "wrong_number"),
    ("negated", "not available", "available", "wrong_text"),
    ("No. is not a negation", "7 SIMPANG OFF BATU", "NO 7 SIMPANG OFF BATU", ""),
    ("or", "New York City or Boston", "New York City", "several_answers"),
    ("both", "Kuala Lumpur, Singapore", "Kuala Lumpur", "several_answers"),
    ("long enumeration", "red, green, blue, yellow, black", "blue", "several_answers"),
    ("carrier phrase", "The answer is 42%", "42%", "wrong_text"),
    ("key of a dot", "x", ".", "wrong_text"),
]
NUMBER = [
    ("same", "42", "42", ""),
    ("off by one", "43", "42", "wrong_number"),
    ("thousands", "1,234.5", "1234.5", ""),
    ("decimal comma", "1.234,5", "1234.5", ""),
    ("points for thousands", "1.234.567", "1234567", ""),
    ("one point stays decimal", "1.234", "1234", "wrong_number"),
    ("short decimal comma", "12,5", "12.5", ""),
    ("zero comma", "0,125", "0.125", ""),
    ("spaces for thousands", "1 234 567", "1234567", ""),
    ("narrow space", "1\u202f200", "1200", ""),
    ("Swiss", "1'200", "1200", ""),
    ("Indian", "1,00,000", "100000", ""),
    ("percent", "72 percent", "72%", ""),
    ("per cent", "72 per cent", "72%", ""),
    ("ratio for percent", "72%", "0.72", "wrong_number"),
    ("ratio listed", "72%", ["0.72", "72%"], ""),
    ("currency", "$8.60", "8.60", ""),
    ("currency code", "RM7.70", "7.7", ""),
    ("Rs.", "Rs. 500", "₹500", ""),
    ("other currency", "€8.60", "$8.60", "wrong_unit"),
    ("currency as a word", "5 dollars", "$5", ""),
    ("currency twice", "$5 dollars", "$5", ""),
    ("million", "1.2 million", "1200000", ""),
    ("M", "3M", "3,000,000", ""),
    ("m is metres", "3m", "3 million", "wrong_number"),
    ("money m", "£3m", "£3 million", ""),
    ("bn", "2bn", "2 billion", ""),
    ("k", "15k", "15000", ""),
    ("hundred thousand", "5 hundred thousand", "500", "not_a_number"),
    ("fraction", "3/4", "0.75", ""),
    ("mixed fraction", "5 1/2", "5.5", ""),
    ("vulgar fraction", "5½", "5.5", ""),
    ("two thirds", "two thirds", "2", "not_a_number"),
    ("word", "seven", "7", ""),
    ("two words", "twenty five", "25", "several_answers"),
    ("unit", "42 km", "42", ""),
    ("unit spelt out", "42 kilometers", "42 km", ""),
    ("plural", "3 apples", "3 apple", ""),
    ("other unit", "42 km", "42 kg", "wrong_unit"),
    ("other thing", "3 apples", "3 pears", "wrong_unit"),
    ("units aren't converted", "1 km", "1000 m", "wrong_number"),
    ("area", "42 km²", "42 sq km", ""),
    ("area for length", "42 km²", "42 km", "wrong_unit"),
    ("minus", "−5", "-5", ""),
    ("minus lost", "5", "-5", "wrong_number"),
    ("carrier", "The answer is 42.", "42", ""),
    ("about", "about 42", "42", ""),
    ("comparison", "more than 42", "42", "not_a_number"),
    ("or more", "42 or more", "42", "not_a_number"),
    ("plus", "42+", "42", "not_a_number"),
    ("name", "Boeing 747", "747", "not_a_number"),
    ("two", "42 or 43", "42", "several_answers"),
    ("range", "10-20", "10", "several_answers"),
    ("range of the key", "10-20", "10-20", ""),
    ("list", "[4, 9]", "4", "several_answers"),
    ("long sentence", "I see 3 cars and 2 trucks", "3", "several_answers"),
    ("date", "03/02/2018", "1.5", "not_a_number"),
    ("month of a year", "03/04", "0.75", "not_a_number"),
    ("date against a date", "31-03-2019", "31-03-2018", "not_a_number"),
    ("same date", "31-03-2018", "31-03-2018", ""),
    ("time", "8:45", "8", "not_a_number"),
    ("letters", "many", "4", "not_a_number"),
    ("key of letters", "4", "many", "wrong_number"),
    ("key of letters, same", "many", "many", ""),
    ("long identifier", "12345678901234567890", "12345678901234567891", "wrong_number"),
    ("float noise", "0.30000000000000004", "0.3", ""),
    ("Turkish i", "fıve", "5", ""),
    ("division by zero", "3/0", "3", "several_answers"),
]
CHOICE = [
    ("letter", "B", "B", ""),
    ("brackets", "(B)", "B", ""),
    ("period", "B.", "B", ""),
    ("small", "b", "B", ""),
    ("with text", "B: sheep", "B", ""),
    ("with a bracket", "B) sheep", "B", ""),
    ("with an article", "B. A sheep", "B", ""),
    ("option", "Option B", "B", ""),
    ("sentence", "The answer is (B).", "B", ""),
    ("bold", "Answer: **B**", "B", ""),
    ("text", "Sheep.", "B", ""),
    ("text with an article", "A sheep", "B", ""),
    ("key as text", "B", "sheep", ""),
    ("both as text", "sheep", "sheep", ""),
    ("article of the option", "red barn", "D", ""),
    ("capital inside an option", "C: vitamin C", "C", ""),
    ("other letter", "A", "B", "wrong_choice"),
    ("other text", "cow", "B", "wrong_choice"),
    ("outside", "E", "B", "not_a_choice"),
    ("no option", "a sheepdog", "B", "not_a_choice"),
    ("contradiction", "B: cow", "B", "contradiction"),
    ("contradiction, text right", "A: sheep", "B", "contradiction"),
    ("two letters", "A, B", "B", "several_answers"),
    ("A or B", "A or B", "B", "several_answers"),
    ("all", "ABCD", "B", "not_a_choice"),
    ("hedged", "B or maybe C", "B", "not_a_choice"),
    ("two texts", "cow or sheep", "B", "not_a_choice"),
    ("sentence with a letter in it", "I think B", "B", "not_a_choice"),
]
CHOICE_UNKNOWN = [
    ("boxed letter and text", "B: sheep", "B", ""),
    ("wrong letter and text", "C: sheep", "B", "wrong_choice"),
    ("text only", "sheep", "B", "not_a_choice"),
    ("two labels", "B: sheep, C: cow", "B", "several_answers"),
    ("two letters", "B, C", "B", "several_answers"),
    ("article is no label", "A sheep", "A", "not_a_choice"),
    ("key as text", "the door", "The door.", ""),
    ("key as text, wrong", "the bag", "The door.", "wrong_choice"),
]
EXACT = [
    ("case, period, quotes", '"the DOOR"', "The door.", ""),
    ("spaces", "put\tdown  ", "Put down", ""),
    ("full width", "ＡＢＣ１", "abc1", ""),
    ("sharp s", "STRASSE", "straße", ""),
    ("article counts", "door", "the door", "wrong_text"),
    ("longer", "the door and the bag", "the door", "wrong_text"),
]
LIST = [
    ("order", "blue, red", '["red", "blue"]', ""),
    ("and", "red and blue", "blue, red", ""),
    ("one a line", "red\nblue", "blue, red", ""),
    ("json", '["Blue", "red"]', '["red","blue"]', ""),
    ("printed list", "['blue', \"red\"]", "red, blue", ""),
    ("numbers", "4, 9", "[4, 9.0]", ""),
    ("thousands", "1,200 and 300", "[300, 1200]", ""),
    ("superset of the release", "red, green, blue, yellow, black", "red, blue", "extra_item"),
    ("subset", "red", "red, blue", "missing_item"),
    ("one wrong", "red, green", "red, blue", "missing_item"),
    ("twice", "red, red", "red", "extra_item"),
    ("twice in the key", "red", '["red", "red"]', "missing_item"),
    ("part of an item", "red, blueberry", "red, blue", "missing_item"),
    ("comma in an item", "Boston and New York, NY", '["New York, NY", "Boston"]', ""),
    ("and in an item", "sugar, salt and pepper", '["salt and pepper", "sugar"]', ""),
    ("comma in an item, torn", "New York, Boston, NY", '["New York, NY", "Boston"]', "missing_item"),
    ("comma in an item, more", "New York, NY, Boston, Rome", '["New York, NY", "Boston"]', "extra_item"),
    ("json torn", '["salt", "pepper", "sugar"]', '["salt and pepper", "sugar"]', "missing_item"),
    ("huge number", "[1" + "0" * 5000 + "]", "[1]", "missing_item"),
    ("deep", "[" * 100_000, "[1]", "missing_item"),
]
VQA = [
    ("all", "11:28", ["11:28"] * 10, 1.0, True),
    ("most", "40", ["40"] * 15 + ["not a question"], 1.0, True),
    ("junk of one", "not a question", ["40"] * 15 + ["not a question"], 15 / 48, False),
    ("three of ten", "Yes.", ["yes"] * 3 + ["no"] * 7, 0.9, True),
    ("two of ten", "yes", ["yes"] * 2 + ["no"] * 8, 0.6, False),
    ("two of three", "yes", ["yes", "yes", "no"], 2 / 3, True),
    ("two of four", "yes", ["yes", "yes", "no", "no"], 0.5, False),
    ("two of two", "yes", ["yes", "yes"], 1.0, True),
    ("single", "yes", ["yes"], 1.0, True),
    ("nobody", "maybe", ["yes"] * 10, 0.0, False),
    ("forms", "The 2 dogs!", ["two dogs"] * 10, 1.0, True),
    ("p.m.", "8:45 pm", ["8:45 p.m."] * 10, 1.0, True),
    ("decimals are kept", "105", ["10.5"] * 10, 0.0, False),
    ("the letter a", "the", ["a"] * 10, 0.0, False),
]
BOXED = [
    (r"so \boxed{B: sheep}", "B: sheep"),
    (r"\boxed{A} no, \boxed{B}", "B"),
    (r"\boxed{\text{red, blue}}", "red, blue"),
    (r"\boxed{42\%}", "42%"),
    (r"\boxed {a{b}c}", "a{b}c"),
    (r"\boxed{\frac{3}{4}}", "3/4"),
    (r"\boxed{a\}b} tail }", "a}b"),
    (r"\boxed{\boxed{B}}", "B"),
    (r"\boxed{}", ""),
    (r"\boxed{A} and then \boxed{B", None),
    ("the answer is 42", None),
    ("boxed{42}", None),
]


def table(rows):
    return [pytest.param(*row[1:], id=row[0]) for row in rows]


def keys(key):
    return [key] if isinstance(key, str) else key


@pytest.mark.parametrize(("given", "key", "reason"), table(TEXT))
def test_text(given, key, reason):
    got = score(given, keys(key), "text")
    assert (got.ok, got.reason) == (not reason, reason)


@pytest.mark.parametrize(("given", "key", "anls"), [("2018", "2017", 0.75), ("ab", "ac", 0.5), ("abc", "axy", 0.0)])
def test_text_value_stays_the_benchmarks_anls(given, key, anls):
    assert score(given, [key], "text").value == anls


@pytest.mark.parametrize(("given", "key", "reason"), table(NUMBER))
def test_number(given, key, reason):
    got = score(given, keys(key), "number")
    assert got == (float(not reason), not reason, reason)


@pytest.mark.parametrize(
    ("given", "key", "ok"),
    [
        ("95", "100", True),
        ("105", "100", True),
        ("94.9", "100", False),
        ("21", "20", True),
        ("0.01", "0", False),
        ("-95", "-100", True),
        ("95", "-100", False),
    ],
)
def test_number_within_five_percent(given, key, ok):
    assert score(given, [key], "number", tolerance=0.05).ok is ok


@pytest.mark.parametrize(("given", "key", "reason"), table(CHOICE))
def test_choice(given, key, reason):
    assert score(given, [key], "choice", ANIMALS) == (float(not reason), not reason, reason)


@pytest.mark.parametrize(("given", "key", "reason"), table(CHOICE_UNKNOWN))
def test_choice_of_unknown_options(given, key, reason):
    assert score(given, [key], "choice").reason == reason


@pytest.mark.parametrize(
    ("given", "key", "choices", "reason"),
    [
        pytest.param("C", "B", ("C", "D"), "wrong_choice", id="text of one letter that is no label here"),
        pytest.param("A", "A", ("B", "A"), "", id="a lone letter is a label"),
        pytest.param("B", "A", ("B", "A"), "wrong_choice", id="a lone letter is no text"),
        pytest.param("red", "A", ("red", "red"), "several_answers", id="two options read the same"),
        pytest.param("B", "red", ("red", "red"), "", id="either of two that read the same"),
        pytest.param("2", "C", ("1", "3", "2"), "", id="digits as texts"),
        pytest.param("p.m.", "B", ("a.m.", "p.m."), "", id="text that looks like a label"),
    ],
)
def test_choice_among_confusing_options(given, key, choices, reason):
    assert score(given, [key], "choice", choices).reason == reason


@pytest.mark.parametrize(("given", "key", "reason"), table(EXACT))
def test_exact(given, key, reason):
    assert score(given, [key], "exact") == (float(not reason), not reason, reason)


@pytest.mark.parametrize(("given", "key", "reason"), table(LIST))
def test_list(given, key, reason):
    assert score(given, [key], "list") == (float(not reason), not reason, reason)


@pytest.mark.parametrize(("given", "answers", "value", "ok"), table(VQA))
def test_vqa(given, answers, value, ok):
    got = score(given, answers, "vqa")
    assert got.value == pytest.approx(value)
    assert (got.ok, got.reason == "") == (ok, ok)


@pytest.mark.parametrize(("text", "content"), BOXED)
def test_extract_boxed(text, content):
    assert extract_boxed(text) == content


def test_an_unboxed_guess_is_not_found():
    """The release's checker gives a full score to an unboxed number in free text."""
    assert extract_boxed("I count 3 of them, so the answer is 3.") is None
    assert not score("I count 3 of them, so the answer is 3.", ["3"], "number").ok


def test_boxed_option_with_its_text_is_right():
    assert score(extract_boxed(r"Hence \boxed{\text{B: sheep}}.") or "", ["B"], "choice").ok


@pytest.mark.parametrize("kind", TYPES)
def test_blank_is_empty(kind):
    assert score(" \n\t", ["x"], kind) == (0.0, False, "empty")


@pytest.mark.parametrize(("answers", "kind"), [([], "text"), ("yes", "exact"), (["yes"], "fuzzy")])
def test_a_callers_bug_raises(answers, kind):
    with pytest.raises(ValueError, match="needs a known answer type"):
        score("yes", answers, kind)


pieces = st.sampled_from(
    "42 1,200 3/4 03/02/2018 % $ RM km million five B (B) B: sheep or and , [ ] \" ' \\ - − ½ ſ K İ ı ٣ ² \u200b Option"
    " not June . \x00 ß ﬁ 0 ; The answer is".split(" ")
)
odd = st.one_of(st.text(max_size=30), st.lists(pieces | st.just(" "), max_size=9).map("".join))
solid = odd.filter(str.strip)


@given(odd, st.lists(odd, min_size=1, max_size=4), st.lists(odd, max_size=4), st.sampled_from(TYPES))
@settings(max_examples=1500, deadline=None)
def test_never_raises_and_keeps_its_promises(given_text, answers, choices, kind):
    got = score(given_text, answers, kind, choices, 0.05)
    assert 0.0 <= got.value <= 1.0
    assert got.ok == (got.reason == "")
    extract_boxed(given_text)


@given(st.lists(solid, min_size=1, max_size=4), st.sampled_from(TYPES))
@settings(max_examples=1500, deadline=None)
def test_a_reference_passes_against_itself(answers, kind):
    for answer in answers:
        assert score(answer, answers if kind != "vqa" else [answer] * 10, kind) == (1.0, True, "")


@given(st.sampled_from(["text", "number", "exact", "list"]), st.integers(-(10**12), 10**12), st.integers(1, 10**6))
def test_another_whole_number_is_never_right(kind, key, off):
    assert not score(str(key + off), [str(key)], kind).ok


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9).map(lambda x: round(x, 3)))
def test_a_number_survives_its_spellings(value):
    plain = f"{value:.3f}"
    for spelling in (f"{value:,.3f}", f"${plain}".replace("$-", "-$"), f"{plain} km", f"The answer is {plain}."):
        assert score(spelling, [plain], "number").ok, spelling


@given(
    st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=6), min_size=1, max_size=5).filter(
        lambda items: "and" not in items
    ),
    st.randoms(),
)
def test_a_list_is_right_in_any_order_and_wrong_with_more(items, random):
    shuffled = random.sample(items, len(items))
    for form in (", ".join(shuffled), json.dumps(shuffled), str(shuffled)):
        assert score(form, [json.dumps(items)], "list").ok
    assert score(", ".join([*shuffled, "zzzzzzz"]), [json.dumps(items)], "list").reason == "extra_item"


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    "text", ["1" * 200_000, "1 " * 50_000, "a, " * 50_000, "'" * 100_000, "(A" * 50_000, "- " * 50_000]
)
def test_a_runaway_answer_costs_little(kind, text):
    started = time.process_time()
    assert not score(text, ["red, blue", '["a, b", "1,000"]'], kind, ANIMALS).ok
    extract_boxed("\\boxed{" + text)
    assert time.process_time() - started < 10


def test_importing_is_light():
    code = "import sys, dataforge.answers.metrics; sys.exit('rapidfuzz' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def load(path):
    file = SAMPLES / path
    if not file.exists():
        pytest.skip(f"no {file}")
    text = file.read_text()
    return [json.loads(line) for line in text.splitlines()] if file.suffix == ".jsonl" else json.loads(text)


def assert_each_passes(answer_lists, *kinds):
    assert answer_lists
    for answers in answer_lists:
        for answer in answers:
            for kind in kinds:
                assert score(answer, answers, kind).ok, (kind, answer, answers)


def test_infographicvqa_references_pass():
    rows = load("infographicvqa_layout/infographicsVQA_val_v1.0_withQT.json")["data"]
    assert_each_passes([row["answers"] for row in rows], "text", "exact", "number", "list")


def test_sroie_references_pass_and_no_other_one_does():
    answers = sorted({row["answer"] for row in load("sroie_visualcot/sroie_cot_train.jsonl")})
    assert_each_passes([[answer] for answer in answers], "text", "exact", "number", "list")
    near = {frozenset((a, b)) for a in answers for b in answers if a != b and score(a, [b], "text").ok}
    best = "JALAN SS4C/5,PETALING JAYA SELANGOR DARUL EHSAN"
    tampoi = "12, JALAN TAMPOI 7/4,KAWASAN P{}RINDUSTRIAN TAMPOI,81200 JOHOR BAHRU,JOHOR"
    same = [{"5.00", "RM5.00"}, {f"NO.12, {best}", f"NO.12,{best}"}, {tampoi.format("A"), tampoi.format("E")}]
    assert sorted(map(sorted, near)) == sorted(map(sorted, same))


def test_textvqa_majorities_pass():
    for row in load("textvqa_v01/TextVQA_with_url_val.json")["data"]:
        majority = max(row["answers"], key=row["answers"].count)
        assert score(majority, row["answers"], "vqa").ok, row["answers"]


def test_screen_qa_references_pass():
    for name in ("complex_qa/data.json", "short_answers/validation.json"):
        rows = load(f"screen_qa/{name}")
        assert_each_passes([row["ground_truth"] for row in rows], "text", "exact", "number", "list")


def test_star_options_pass_and_only_the_right_one():
    rows = list(load("star/sel_v2.json").values()) + list(load("star/selected_teaser_chain_dict.json").values())
    for row in rows:
        options = [choice["choice"] for choice in row["choices"]]
        right = [choice["choice"] for choice in row["choices"] if choice["answer"] == "Correct"]
        assert len(right) == 1
        for letter, option in zip("ABCDEFGH", options, strict=False):
            for given_text in (letter, option, f"{letter}: {option}", f"({letter}) {option.lower()}"):
                assert score(given_text, right, "choice", options).ok is (option == right[0]), (given_text, right)


def test_nextgqa_options_pass_and_only_the_right_one():
    file = SAMPLES / "nextgqa" / "val.csv"
    if not file.exists():
        pytest.skip(f"no {file}")
    for row in csv.DictReader(file.open()):
        options = [row[f"a{number}"] for number in range(5)]
        for letter, option in zip("ABCDE", options, strict=True):
            assert score(f"{letter}. {option}", [row["answer"]], "choice", options).ok is (option == row["answer"])


def test_visual_genome_and_visual_cot_references_pass():
    answers = [[qa["answer"]] for page in load("visual_genome_gqa/vg/question_answers.json") for qa in page["qas"]]
    for name in ("gqa", "openimages", "textvqa"):
        answers += [[row["conversations"][-1]["value"]] for row in load(f"visualcot_benchmark/benchmark/{name}.json")]
    assert_each_passes(answers, "text", "exact", "list")
