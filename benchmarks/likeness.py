"""Near-same pictures and questions: what the thresholds rest on, and what a search takes.

    .venv/bin/python benchmarks/likeness.py            all tables, about five minutes on two cores
    .venv/bin/python benchmarks/likeness.py search     one of them

copies   posters drawn here, changed as copies are: how many of 256 bits differ, and how many copies are found; beside
         them the most alike of all pairs of different posters, and of 64 bits of a 9x8 picture (dHash) for comparison
files    the same for pictures of your own: benchmarks/likeness.py files FOLDER
search   `duplicate` and `contaminated` over 100,000 traces on 50,000 pictures (hashes at hand) with planted copies:
         wall time, peak memory of the process, and how many of the planted are found and of the others are not; some
         of the others are rejected rightly: drawn questions repeat on a picture
hashing  CPU per picture, which only the first filter of a run pays
"""

import hashlib
import io
import itertools
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image, ImageEnhance
from rich.console import Console
from rich.table import Table

from dataforge import posters
from dataforge.alike.fingerprints import Fingerprint, Header
from dataforge.alike.likeness import CACHE, NEAR_BITS, Likeness, likeness
from dataforge.alike.wording import shingles
from dataforge.checks.contaminated import Contaminated
from dataforge.checks.duplicate import Duplicate
from dataforge.media import MediaStore, decode
from dataforge.plugins import Kit, SetCheck
from dataforge.records import Example, Media, Provenance, Step, Trace, to_line

CONSOLE = Console()
POSTERS = 100


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left")
    for column in columns:
        made.add_column(column, justify="left" if column == columns[0] else "right")
    return made


# ---------------------------------------------------------------------------------------------- copies


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return decode(buffer.getvalue(), "", 128)


def scaled(image: Image.Image, across: float, down: float) -> Image.Image:
    return image.resize((max(1, round(image.width * across)), max(1, round(image.height * down))))


def trimmed(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """Less these shares of its sides."""
    width, height = image.size
    return image.crop((int(left * width), int(top * height), int((1 - right) * width), int((1 - bottom) * height)))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 30": lambda image: jpeg(image, 30),
    "JPEG, quality 10": lambda image: jpeg(image, 10),
    "half as large": lambda image: scaled(image, 0.5, 0.5),
    "300 pixels wide": lambda image: scaled(image, 300 / image.width, 300 / image.width),
    "5 % taller": lambda image: scaled(image, 1, 1.05),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "25 % darker": lambda image: ImageEnhance.Brightness(image).enhance(0.75),
    "25 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.4),
    "1 % off each side": lambda image: trimmed(image, 0.01, 0.01, 0.01, 0.01),
    "2 % off each side": lambda image: trimmed(image, 0.02, 0.02, 0.02, 0.02),
    "3 % off each side": lambda image: trimmed(image, 0.03, 0.03, 0.03, 0.03),
    "2 % off the top": lambda image: trimmed(image, 0, 0.02, 0, 0),
    "4 % off the top": lambda image: trimmed(image, 0, 0.04, 0, 0),
    "10 % off each side": lambda image: trimmed(image, 0.1, 0.1, 0.1, 0.1),
}


def distance(one: Likeness, other: Likeness) -> int:
    return min(((a ^ b).bit_count() for a in one.hashes for b in other.hashes), default=256)


def small_hash(image: Image.Image) -> int:
    levels = image.convert("L").resize((9, 8), Image.Resampling.BOX).tobytes()
    bits = (levels[9 * row + n] < levels[9 * row + n + 1] for row in range(8) for n in range(8))
    return sum(bit << place for place, bit in enumerate(bits))


def compare(pictures: Iterator[Image.Image], what: str) -> None:
    originals: list[Likeness] = []
    small: list[int] = []
    differing: dict[str, list[int]] = {name: [] for name in COPIES}
    for picture in pictures:
        originals.append(likeness(picture, "0" * 64))
        small.append(small_hash(picture))
        picture.thumbnail((1500, 1500))
        for name, change in COPIES.items():
            differing[name].append(distance(originals[-1], likeness(change(picture), "0" * 64)))
    shown = table(
        f"{len(originals)} {what}; near is up to {NEAR_BITS} of 256 bits", "copy", "median bits", "most", "found"
    )
    for name, bits in differing.items():
        found = sum(one <= NEAR_BITS for one in bits)
        shown.add_row(name, f"{statistics.median(bits):.0f}", str(max(bits)), f"{found / len(bits):.0%}")
    CONSOLE.print(shown)
    pairs = sorted(distance(one, other) for one, other in itertools.combinations(originals, 2))
    few = sorted((one ^ other).bit_count() for one, other in itertools.combinations(small, 2))
    shown = table(f"{len(pairs)} pairs of different {what}", "hash", "nearest five", "1 in 100", "median")
    for name, bits in (("256 bits, whole and core", pairs), ("64 bits of 9x8", few)):
        shown.add_row(name, " ".join(map(str, bits[:5])), str(bits[len(bits) // 100]), str(bits[len(bits) // 2]))
    CONSOLE.print(shown)


def copies() -> None:
    compare((posters.draw(seed).image for seed in range(POSTERS)), "drawn posters")


def files(folder: str) -> None:
    paths = sorted(
        path for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")
    )
    compare((decode(path.read_bytes(), path.name) for path in paths), f"pictures of {Path(folder).name}")


# ---------------------------------------------------------------------------------------------- search

TRACES, PLANTED = 100_000, 1000
THINGS = "visitors cats museums boats trees nurses bakers lamps rivers schools farms bridges owls trains clocks".split()
PLACES = [f"{a}{b}" for a in "Bal Kor Mer Tol Van Ost Rin Sel".split() for b in "dan mar vik ney tor lun".split()]


def question(rng: random.Random) -> str:
    thing, other = rng.sample(THINGS, 2)
    place, year = rng.choice(PLACES), rng.randint(1960, 2024)
    return rng.choice(
        [
            f"How many {thing} were counted in {place} in {year}?",
            f"What share of the {thing} of {place} was replaced by {other} before {year}?",
            f"Which year had more {thing} than {other} in the whole of {place}, going by the chart on {thing}?",
            f"What is the colour of the {thing}?",
        ]
    )


def asked_by_people(rng: random.Random) -> str:
    """A question as an evaluation set has it: a common start, then words that few others share."""
    start = rng.choice(["How many", "What is the", "Which", "What percentage of", "Who", "What colour is the"])
    rest = " ".join(f"word{int(3000 * rng.random() ** 3)}" for _ in range(rng.randint(4, 14)))
    return f"{start} {rest}?"


def sha(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def seen(rng: random.Random, number: int) -> Likeness:
    """A picture that is like no other."""
    return Likeness(sha256=sha(number), whole=f"{rng.getrandbits(256):064x}", core=f"{rng.getrandbits(256):064x}")


def copied(rng: random.Random, one: Likeness, number: int) -> Likeness:
    """A near-same one: up to NEAR_BITS bits turned."""
    turned = sum(1 << bit for bit in rng.sample(range(256), rng.randint(0, NEAR_BITS)))
    return Likeness(sha256=sha(number), whole=f"{int(one.whole, 16) ^ turned:064x}", core=one.core)


def trace(number: int, picture: Likeness, asked: str, answer: str) -> Trace:
    media = Media(sha256=picture.sha256, suffix=".jpg", width=100, height=100)
    example = Example(id=str(number), group="g", source="b", question=asked, answers=(answer,), media=(media,))
    provenance = Provenance(version="0", manifest="0")
    return Trace(
        id=f"t{number}", example=example, views=(), steps=(Step(thought="", role="answer"),), answer=answer,
        kind="direct", provenance=provenance,
    )  # fmt: skip


def set_up(folder: Path) -> tuple[Path, Path]:
    """A run of TRACES with PLANTED duplicates, and an evaluation set of 20,000 with PLANTED pictures of the run."""
    rng = random.Random(0)
    pictures = [seen(rng, number) for number in range(TRACES // 2)]
    planted = set(rng.sample(range(TRACES // 2, TRACES), PLANTED))
    asked: list[tuple[Likeness, str, str]] = []
    unlike: list[int] = []
    with (folder / "traces.jsonl").open("w") as lines, (folder / CACHE).open("w") as cache:
        for number in range(TRACES):
            if number in planted:
                first, text, answer = asked[rng.choice(unlike)]
                one = (copied(rng, first, 1_000_000 + number), f"{text[:-1]} please?", answer)
                pictures.append(one[0])
            else:
                one = (pictures[number // 2], question(rng), str(rng.randint(1, 9999)))
                unlike.append(number)
            asked.append(one)
            made = trace(number, *one)
            lines.write(to_line(made.model_copy(update={"id": f"planted-{number}"}) if number in planted else made))
        cache.writelines(to_line(one) for one in pictures)
    evaluation = folder / "evaluation.jsonl"
    with evaluation.open("w") as lines:
        lines.write(to_line(Header(set="made", pictures=20_000, questions=20_000, unreadable=0)))
        for number in range(20_000):
            own = copied(rng, pictures[20 * number], 3_000_000 + number) if number < PLANTED else None
            like = own or seen(rng, 2_000_000 + number)
            asks = shingles(asked_by_people(rng))
            lines.write(to_line(Fingerprint(id=str(number), pictures=(like,), question=asks)))
    return folder / "traces.jsonl", evaluation


def run_search(name: str, folder: str) -> None:
    """In a process of its own: one check over the traces, as the filter runs it."""
    path = Path(folder)
    checks: dict[str, SetCheck] = {
        "duplicate": Duplicate(),
        "contaminated": Contaminated(sets=(str(path / "evaluation.jsonl"),)),
    }

    def traces() -> Iterator[Trace]:
        with (path / "traces.jsonl").open() as lines:
            for line in lines:
                yield Trace.model_validate_json(line)

    began = time.perf_counter()
    reading = sum(1 for _ in traces()) and time.perf_counter() - began
    began, spent = time.perf_counter(), time.process_time()
    found = planted = others = 0
    for one, verdict in zip(traces(), checks[name].sift(traces(), Kit(MediaStore(path / "media"))), strict=True):
        is_planted = one.id.startswith("planted-") if name == "duplicate" else verdict.reason.startswith("image_")
        planted += is_planted
        found += is_planted and not verdict.ok
        others += not is_planted and not verdict.ok
    # the traces are read once more here, to tell the planted
    wall, cpu = time.perf_counter() - began - reading, time.process_time() - spent - reading
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    of = PLANTED if name == "duplicate" else planted
    print(f"{wall:.0f}|{cpu:.0f}|{reading:.0f}|{peak:.0f}|{found} of {of}|{others}")


def search() -> None:
    shown = table(
        f"{TRACES:,} traces, one process",
        "check",
        "wall s",
        "CPU s",
        "of it reading s",
        "peak MB",
        "planted found",
        "others rejected",
    )
    with tempfile.TemporaryDirectory() as folder:
        set_up(Path(folder))
        for name in ("duplicate", "contaminated"):
            command = [sys.executable, __file__, "run_search", name, folder]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            shown.add_row(name, *said.strip().split("|"))
    CONSOLE.print(shown)


def hashing(count: int = 20) -> None:
    contents = []
    for seed in range(count):
        buffer = io.BytesIO()
        posters.draw(seed).image.save(buffer, "JPEG", quality=92, subsampling=0)
        contents.append(buffer.getvalue())
    likeness(decode(contents[0], "", 128), "0" * 64)
    shown = table(f"CPU of one drawn poster (about seven megapixels), mean of {count}", "step", "ms")
    for name, job in (
        ("decoded whole", lambda content: decode(content)),
        ("decoded small", lambda content: decode(content, "", 128)),
        ("decoded small and hashed", lambda content: likeness(decode(content, "", 128), "0" * 64)),
    ):
        began = time.process_time()
        for content in contents:
            job(content)
        shown.add_row(name, f"{1000 * (time.process_time() - began) / count:.1f}")
    CONSOLE.print(shown)


def main() -> None:
    tables: dict[str, Callable[..., None]] = {"copies": copies, "search": search, "hashing": hashing}
    named = tables | {"files": files, "run_search": run_search}
    if len(sys.argv) > 1:
        named[sys.argv[1]](*sys.argv[2:])
        return
    for one in tables.values():
        one()


if __name__ == "__main__":
    main()
