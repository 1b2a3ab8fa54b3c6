"""The card: README.md of a published set, for people and for the Hub.

The YAML on top tells the Hub and `datasets` what to load; the rest says how the set was made, what is in it, what was
thrown away and why, what it cost, what it may not be used for, and how to load, check and train on it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dataforge.publish.features import CONFIGS, features
from dataforge.publish.record import Published, RunPart, place

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
SPDX = {"cc0": "cc0-1.0", "cc-by-4.0": "cc-by-4.0", "cc by 4.0": "cc-by-4.0", "apache-2.0": "apache-2.0", "mit": "mit"}
"""Licences of pictures under the names that the Hub has for them."""


def card(record: Published, plots: Mapping[str, str], samples: Sequence[str], where: str) -> str:
    """The whole README.md; `where` is what people give to load_dataset."""
    sections = [
        f"# {record.title}",
        _summary(record),
        *_warnings(record),
        "## What is in it",
        _contents(record),
        *(f"![{title}]({path})" for path, title in plots.items() if "rejected" not in path),
        *(["## Samples", *samples] if samples else []),
        "## How it was made",
        *(_made(run) for run in record.runs),
        "## What was rejected, and why",
        *(_funnel(run) for run in record.runs),
        *(f"![{title}]({path})" for path, title in plots.items() if "rejected" in path),
        _left_out(record),
        "## What it cost",
        _cost(record.runs),
        "## Licences",
        _licences(record),
        "## Known limits",
        _limits(record),
        "## Load",
        _load(record, where),
        "## Train",
        _train(where),
        "## Verify",
        _verify(record, where),
        "## Cite",
        CITATION,
    ]
    return f"---\n{_yaml(record)}---\n\n" + "\n\n".join(section.strip("\n") for section in sections if section) + "\n"


# ---------------------------------------------------------------------------------------------------------- for the Hub


def _yaml(record: Published) -> str:
    from datasets.info import DatasetInfo, DatasetInfosDict
    from datasets.splits import SplitDict, SplitInfo
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(
        license=hub_licence(record),
        pretty_name=record.title,
        language=["en"],
        task_categories=["visual-question-answering", "image-text-to-text"],
        size_categories=[next((name for most, name in SIZES if record.rows("traces") < most), "n>1M")],
        tags=["dataforge", "pixel-space-reasoning", "tool-use", "synthetic", "reasoning-traces", "zoom-in"],
    )
    splits = {config: _splits(record, config) for config in CONFIGS}
    infos = {}
    for config in CONFIGS:
        if splits[config]:
            named = SplitDict()
            for split, rows, size in splits[config]:
                named.add(SplitInfo(name=split, num_bytes=size, num_examples=rows))
            size = sum(size for _, _, size in splits[config])
            known = features(config, record.student.calls)
            infos[config] = DatasetInfo(features=known, splits=named, download_size=size, dataset_size=size)
    DatasetInfosDict(infos).to_dataset_card_data(data)
    files = {
        config: {
            "data_files": [
                {"split": split, "path": f"data/{config}/{split}-*.parquet"} for split, _, _ in splits[config]
            ],
            **({"default": True} if config == "traces" else {}),
        }
        for config in infos
    }
    MetadataConfigs(files).to_dataset_card_data(data)
    return str(data.to_yaml(line_break="\n")) + "\n"


def _splits(record: Published, config: str) -> list[tuple[str, int, int]]:
    """Split, rows and bytes, in the order of the set's splits."""
    rows, sizes = Counter[str](), Counter[str]()
    for path, shard in record.files.items():
        if place(path)[0] == config:
            rows[place(path)[1]] += shard.rows
            sizes[place(path)[1]] += shard.bytes
    return [(split, rows[split], sizes[split]) for split in record.splits if rows[split]]


def hub_licence(record: Published) -> str:
    """The set's licence under the Hub's name; `other` where the pictures' are several or unknown."""
    if record.licence:
        return record.licence
    known = {SPDX.get(licence.lower(), "other") for run in record.runs for licence in run.licences}
    return known.pop() if len(known) == 1 else "other"


# ---------------------------------------------------------------------------------------------------------- for people


def _summary(record: Published) -> str:
    traces, queries, media = (record.rows(config) for config in CONFIGS)
    pictures = {
        "all": f"Every view that a trace shows is embedded, and so are the {media:,} whole source pictures.",
        "views": "Every view that a trace shows is embedded; the source pictures are named by hash.",
        "none": "No picture is embedded: views are given by geometry and hash, sources by hash and origin.",
    }
    return (
        f"{traces:,} traces of a visual reasoner that zooms in: questions on pictures, thoughts, real calls, what came "
        f"back, and for part of them a deliberate wrong look with the recovery from it. {queries:,} questions for "
        f"reinforcement learning stand beside them. {pictures[record.pictures]} Made with "
        f"dataforge {record.version}; every call can be run again to the same pixels."
    )


def _warnings(record: Published) -> Iterator[str]:
    unfiltered = [run.name for run in record.runs if not run.filtered]
    if unfiltered:
        yield f"> **Unfiltered**: `dataforge filter` had not judged the traces of {', '.join(unfiltered)}."
    if record.unverified:
        told = ", ".join(f"{count:,} {reason}" for reason, count in record.unverified.items())
        yield f"> **Unverified**: replay of some traces differs from what they record: {told}."
    scripted = sum(run.report.scripted for run in record.runs)
    if scripted:
        yield (
            f"> **Scripted thoughts**: in the runs behind this set, {scripted:,} traces have thoughts that were "
            "written by rule from the annotation, without a model. They are for trying things out."
        )


def _contents(record: Published) -> str:
    kinds = _total(record.kinds)
    rows = [[kind, *(counts.get(kind, 0) for counts in record.kinds.values()), count] for kind, count in kinds.items()]
    splits = list(record.kinds)
    told = _table(["kind", *splits, "all"], [*rows, ["all", *map(_sum, record.kinds.values()), _sum(kinds)]])
    sources = _total(record.sources)
    told += "\n\n" + _table(["source", "traces"], [[name, count] for name, count in sources.items()])
    configs = [
        [
            "`traces`",
            record.rows("traces"),
            "messages, images, question, answer, evidence, steps with what a loss sees",
        ],
        ["`queries`", record.rows("queries"), "the questions behind them, kept or not, with verdicts: what RL asks"],
        ["`media`", record.rows("media"), "whole source pictures by hash"],
    ]
    return told + "\n\n" + _table(["configuration", "rows", "what"], configs)


def _made(run: RunPart) -> str:
    manifest, report = run.manifest, run.report
    source = manifest["source"]
    teachers = ", ".join(f"{name} ({count:,})" for name, count in report.teachers.items())
    rows = [
        ["source", f"`{source if isinstance(source, str) else source['name']}`"],
        ["teacher", teachers],
        ["seed", str(manifest["seed"])],
        ["mix", ", ".join(f"{kind} {share:g}" for kind, share in manifest["mix"].items())],
        ["operations", ", ".join(f"`{_name(one)}`" for one in manifest["operations"])],
        ["checks", ", ".join(f"`{name}`" for name in run.checks)],
        ["prompts", ", ".join(f"{name} `{mark}`" for name, mark in _prompts(run).items())],
        ["the teacher was told the answer", f"{report.answer_revealed:,} traces"],
        ["sent back to rewrite", f"{report.rewrites:,} times"],
        ["taken", f"{run.taken:,} of {run.kept:,} kept" + (f", share {run.share:g}" if run.share else "")],
    ]
    return f"### `{run.name}`\n\nManifest digest `{run.digest}`.\n\n" + _table(["", ""], rows)


def _prompts(run: RunPart) -> dict[str, str]:
    from dataforge.prompts import Prompt

    return {name: Prompt(name, text).fingerprint[:12] for name, text in run.manifest["prompts"].items()}


def _name(spec: Any) -> str:
    return spec if isinstance(spec, str) else str(spec["name"])


def _funnel(run: RunPart) -> str:
    told = _table([f"`{run.name}`", "left"], [[stage, count] for stage, count in run.report.funnel.items()])
    reasons = [*run.report.failures.items(), *run.report.rejections.items()]
    return told + ("\n\n" + _table(["reason", "lost"], [list(pair) for pair in reasons]) if reasons else "")


def _left_out(record: Published) -> str:
    if not record.left_out:
        return ""
    rows = [[reason, count] for reason, count in record.left_out.items()]
    return "Kept by the checks, and left out of this set:\n\n" + _table(["reason", "traces"], rows)


def _cost(runs: Sequence[RunPart]) -> str:
    rows = []
    for run in runs:
        report = run.report
        dollars = "no price" if report.cost_usd is None else f"${report.cost_usd:,.2f}"
        rows.append([f"`{run.name}`", report.input_tokens, report.output_tokens, dollars])
    return "Of all rows that were read, failed and rejected ones included.\n\n" + _table(
        ["run", "tokens in", "tokens out", "cost"], rows
    )


def _licences(record: Published) -> str:
    rows = [
        [f"`{run.name}`", _escape(licence), count, "yes" if run.redistributable else "no"]
        for run in record.runs
        for licence, count in run.licences.items()
    ]
    return "Of the source pictures, as their source states them:\n\n" + _table(
        ["run", "licence", "pictures of traces", "may be passed on"], rows
    )


def _limits(record: Published) -> str:
    said = _total({run.name: run.report.said_by for run in record.runs})
    told = [
        "Thoughts are written by a model that has seen the pictures, under checks; they are not a record of how any "
        "model really came to the answer.",
        "Evidence boxes come from "
        + (", ".join(f"{who} ({count:,})" for who, count in said.items()) or "nowhere")
        + "; annotations of public sets are wrong at times, and the checks catch a part of that.",
        "Wrong looks are deliberate and drawn at random; they are not the mistakes that a student makes by itself.",
        f"Messages are in one dialect: boxes as {record.student.box_unit}, calls {record.student.calls}. The record in "
        "the column `trace` isn't bound to it; `dataforge export` writes others.",
    ]
    if record.pictures != "none" and record.encoding == "jpeg":
        told.append(f"Views are stored as JPEG of quality {record.quality}; the exact pixels are cut from the sources.")
    return "\n".join(f"- {one}" for one in told)


def _load(record: Published, where: str) -> str:
    configs = "\n".join(f'{config} = load_dataset("{where}", "{config}")' for config in CONFIGS if record.rows(config))
    return f"```python\nfrom datasets import load_dataset\n\n{configs}\n```"


def _train(where: str) -> str:
    return (
        "Each step says which of its parts a loss should see (`learn`: both, thought, call, none): a deliberate wrong "
        "look is to be thought about, not learned. Trainers that take `messages` and `images` read the set as it is, "
        "and learn the wrong calls too.\n\n"
        f"```sh\ndataforge train sft {_target(where)} --student Qwen/Qwen2.5-VL-7B-Instruct --out student\n"
        f"dataforge pull {_target(where)}   # back into a run folder: filter, view, export\n"
        "dataforge export llama_factory --out llama   # or trl, ms_swift, verl_sft, verl_rl, pixel_reasoner_sft\n```"
    )


def _verify(record: Published, where: str) -> str:
    media = "" if record.pictures == "all" else " --media FOLDER_OF_THE_ORIGINALS"
    return (
        f"```sh\ndataforge verify {_target(where)}{media}\n```\n\n"
        "Every file has the hash that `dataforge.json` gives, every column says what the record in its row says, every "
        "call run again on the source gives the recorded pixels, and no picture is in two splits. Views depend on the "
        "Pillow that cuts them, whose version each trace records."
    )


def _target(where: str) -> str:
    return where if where.startswith((".", "/")) else f"hub:{where}"


CITATION = """The method is Pixel Reasoner's; please cite it too.

```bibtex
@article{pixelreasoner2025,
  title  = {Pixel Reasoner: Incentivizing Pixel-Space Reasoning with Curiosity-Driven Reinforcement Learning},
  author = {Wang, Haozhe and Su, Alex and Ren, Weiming and Lin, Fangzhen and Chen, Wenhu},
  journal = {arXiv preprint arXiv:2505.15966},
  year   = {2025}
}
```"""


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|").replace("\n", " ")


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")


def _total(counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    total = sum((Counter(one) for one in counts.values()), Counter[str]())
    return dict(sorted(total.items(), key=lambda pair: (-pair[1], pair[0])))


def _sum(counts: Mapping[str, int]) -> int:
    return sum(counts.values())
