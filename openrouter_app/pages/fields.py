"""A chain's variables as a form asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..models import ChainVersion
from ..models.prompts import variables_of


def label_of(name: str) -> str:
    """A variable's name as one would write it on paper: ``input_language`` is "Input language"."""
    words = name.replace("_", " ").strip() or name
    return words[:1].upper() + words[1:]


@dataclass(frozen=True, slots=True)
class Field:
    """A variable as the form shows it. An example that is an empty text says: this may stay empty."""

    name: str
    example: str
    required: bool

    @property
    def label(self) -> str:
        """What stands beside the field."""
        return label_of(self.name)

    @property
    def input_name(self) -> str:
        """What the field is called in a form that is posted, whatever else stands there."""
        return f"input.{self.name}"


def fields(version: ChainVersion | None, examples: Mapping[str, Any]) -> Iterator[Field]:
    """What a run of this version must be given, in the order in which the prompt names it."""
    for name in variables_of(version.body["messages"]) if version else ():
        example = examples.get(name)
        yield Field(name, "" if example is None else str(example), required=example != "")
