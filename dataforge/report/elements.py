"""HTML elements as a tree: text goes in as text and is escaped when it is written out, so no data can become markup."""

from importlib.resources import files
from string import Template
from xml.etree.ElementTree import Element, tostring

Child = Element | str | None


def el(name: str, /, *children: Child, **attributes: str | float) -> Element:
    """An element. `class_` becomes the attribute class, `aria_label` aria-label; a child of None is left out."""
    named = {key.rstrip("_").replace("_", "-"): _plain(value) for key, value in attributes.items()}
    made = Element(name, named)
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif child and len(made):
            made[-1].tail = (made[-1].tail or "") + child
        elif child:
            made.text = (made.text or "") + child
    return made


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def whole_page(title: str, body: Element) -> str:
    """A page in the report's frame and style, which needs no other file."""
    frame, style = (files("dataforge.report").joinpath(f"report.{end}").read_text("utf-8") for end in ("html", "css"))
    return Template(frame).substitute(title=to_html(el("title", title)), style=style, body=to_html(body))


def to_html(element: Element) -> str:
    """The element as HTML, lone surrogates replaced: no file can hold them."""
    return tostring(element, encoding="unicode", method="html").encode("utf-8", "replace").decode("utf-8")
