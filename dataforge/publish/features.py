"""The columns of a published set, as `datasets` features.

Three configurations: `traces`, to train on; `queries`, the examples behind them, kept or not, that RL asks; `media`,
the whole source pictures, from which every view can be cut again. A row's last column holds the record itself, and each
other column can be computed from it: that is what `verify` does.
"""

from typing import TYPE_CHECKING, Any

from dataforge.records import CallForm

if TYPE_CHECKING:
    import pyarrow
    from datasets import Features

CONFIGS = ("traces", "queries", "media")


def features(config: str, calls: CallForm) -> "Features":
    """The features of a configuration; messages have calls of their own where the student's form has."""
    from datasets import Features

    columns = {"traces": _traces, "queries": _queries, "media": _media}[config]
    return Features(columns(calls))


def schema(config: str, calls: CallForm) -> "pyarrow.Schema":
    """The same as an Arrow schema; its metadata tells `datasets` which columns are pictures."""
    return features(config, calls).arrow_schema


def _messages(calls: CallForm) -> Any:
    from datasets import List, Value

    text = Value("string")
    message = {"role": text, "content": List({"type": text, "text": text})}
    if calls == "native":
        function = {"name": text, "arguments": text}
        message |= {"tool_calls": List({"id": text, "type": text, "function": function}), "tool_call_id": text}
    return List(message)


def _asked() -> dict[str, Any]:
    """The columns that traces and queries share."""
    from datasets import Image, List, Value

    text = Value("string")
    integer = Value("int64")
    place = {
        "media": integer,
        "box": List(Value("float64")),
        "span_s": List(Value("float64")),
        "label": text,
        "said_by": text,
        "text_px": Value("float64"),
    }
    source = {"sha256": text, "kind": text, "suffix": text, "width": integer, "height": integer, "licence": text}
    return {
        "id": text,
        "images": List(Image()),
        "question": text,
        "answers": List(text),
        "answer_type": text,
        "choices": List(text),
        "kind": text,
        "source": text,
        "group": text,
        "media": List({**source, "origin": text}),
        "regions": List(place),
        "verdicts": List(
            {"check": text, "ok": Value("bool"), "reason": text, "score": Value("float64"), "detail": text}
        ),
    }


def _traces(calls: CallForm) -> dict[str, Any]:
    from datasets import List, Value

    text, integer, flag = Value("string"), Value("int64"), Value("bool")
    step = {"thought": text, "call": text, "role": text, "learn": text, "observation": text, "error": text}
    provenance = {
        **dict.fromkeys(("version", "manifest", "prompts", "operations", "teacher", "pillow"), text),
        **dict.fromkeys(("scripted", "answer_revealed"), flag),
        **dict.fromkeys(("rewrites", "input_tokens", "output_tokens", "seed"), integer),
        "cost_usd": Value("float64"),
    }
    return {
        "id": text,
        "messages": _messages(calls),
        **_asked(),
        "tools": text,
        "answer": text,
        "steps": List({**step, "views": List(integer)}),
        "provenance": provenance,
        "run": text,
        "number": integer,
        "trace": text,
    }


def _queries(calls: CallForm) -> dict[str, Any]:
    from datasets import Value

    return {
        **_asked(),
        "kept": Value("bool"),
        "reason": Value("string"),
        "run": Value("string"),
        "number": Value("int64"),
        "example": Value("string"),
    }


def _media(calls: CallForm) -> dict[str, Any]:
    from datasets import Image, Value

    text, integer = Value("string"), Value("int64")
    return {
        "sha256": text,
        "kind": text,
        "suffix": text,
        "width": integer,
        "height": integer,
        "licence": text,
        "origin": text,
        "image": Image(),
        "video": Value("binary"),
    }
