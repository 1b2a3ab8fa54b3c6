"""What a model's tokens cost, from a dated file of list prices.

An estimate from prices without a date is worth nothing a month later, so each entry of prices.yaml carries the day it
was checked and where. A manifest's own prices win (`input_usd`, `output_usd` of a teacher). A model that is in neither
has no price: it is shown as such, and no budget in dollars is taken for it.
"""

import re
from datetime import date
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")
"""A dated release of a model costs what the model costs."""


class Pictures(BaseModel):
    """How a model counts a picture: tiles over a base, or patches with a factor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: int = 0
    tile: int = 0
    patch: int = 28
    most: int | None = None
    times: float = 1.0


class Price(BaseModel):
    """US dollars for a million tokens, as listed on the day `checked`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float
    output: float
    batch_input: float
    batch_output: float
    checked: date
    pictures: Pictures = Pictures()

    def cost(self, input_tokens: int, output_tokens: int, batch: bool = False) -> float:
        """US dollars for that many tokens."""
        into, out = (self.batch_input, self.batch_output) if batch else (self.input, self.output)
        return (input_tokens * into + output_tokens * out) / 1e6


@cache
def _listed() -> dict[str, Price]:
    content = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {str(name): Price(**entry) for name, entry in content["models"].items()}


@cache
def find_price(model: str) -> Price | None:
    """The list price of a model by its exact name, a dated snapshot's name included; None where none is known."""
    return _listed().get(SNAPSHOT.sub("", model))
