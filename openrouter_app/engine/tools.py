"""What a model may call: a name, a description and a JSON Schema; and whether it must.

The schema travels to the provider as it is; `engine.schemas` looks into it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from .errors import ToolSpecError

TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool as the model sees it.

    ``input_json_schema`` is a JSON Schema with ``"type": "object"`` at its root; ``strict`` asks
    the provider to enforce it. Raises `ToolSpecError` where the name or the root is wrong.
    """

    name: str
    description: str = ""
    input_json_schema: Mapping[str, Any] = msgspec.field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )
    strict: bool = False

    def __post_init__(self) -> None:
        if not TOOL_NAME.fullmatch(self.name):
            raise ToolSpecError(
                f"'{self.name[:80]}' is no tool name: use 1 to 64 letters, digits, '_' and '-'."
            )
        if not isinstance(self.input_json_schema, Mapping) or self.input_json_schema.get("type") != "object":
            raise ToolSpecError(f'The schema of \'{self.name}\' must have "type": "object" at its root.')

    def wire(self) -> dict[str, Any]:
        """The tool as a member of the request's ``tools``."""
        function: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "parameters": self.input_json_schema,
        }
        if self.strict:
            function["strict"] = True
        return {"type": "function", "function": function}


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether the model calls a tool: ``none``, ``auto``, ``required``, or ``forced`` to one name."""

    type: str
    name: str = ""

    @classmethod
    def none(cls) -> ToolChoice:
        """No tool is called."""
        return cls("none")

    @classmethod
    def auto(cls) -> ToolChoice:
        """The model decides."""
        return cls("auto")

    @classmethod
    def required(cls) -> ToolChoice:
        """At least one tool, the model decides which."""
        return cls("required")

    @classmethod
    def forced(cls, name: str) -> ToolChoice:
        """This tool."""
        return cls("forced", name)

    def wire(self) -> str | dict[str, Any]:
        """The value of the request's ``tool_choice``."""
        if self.type == "forced":
            return {"type": "function", "function": {"name": self.name}}
        return self.type
