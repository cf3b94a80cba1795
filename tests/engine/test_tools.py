"""Tools and whether one must be called, as they go out."""

from __future__ import annotations

import pytest

from openrouter_app.engine.errors import ToolSpecError
from openrouter_app.engine.tools import ToolChoice, ToolSpec

JOKE = {"type": "object", "properties": {"setup": {"type": "string"}}, "required": ["setup"]}


def test_tool_goes_out_as_it_is():
    tool = ToolSpec("joke", "A joke", JOKE)
    assert tool.wire() == {
        "type": "function",
        "function": {"name": "joke", "description": "A joke", "parameters": JOKE},
    }
    assert ToolSpec("joke", strict=True).wire()["function"]["strict"] is True


@pytest.mark.parametrize("name", ["", "a b", "a" * 65, "naïve", "a\n", "a.b"])
def test_tool_name_is_what_providers_take(name):
    with pytest.raises(ToolSpecError, match="no tool name"):
        ToolSpec(name)


@pytest.mark.parametrize("schema", [{}, {"type": "string"}, {"type": ["object"]}, [], None])
def test_tool_schema_has_an_object_at_its_root(schema):
    with pytest.raises(ToolSpecError, match="root"):
        ToolSpec("a", input_json_schema=schema)


def test_choices_on_the_wire():
    assert [ToolChoice.none().wire(), ToolChoice.auto().wire(), ToolChoice.required().wire()] == [
        "none",
        "auto",
        "required",
    ]
    assert ToolChoice.forced("joke").wire() == {"type": "function", "function": {"name": "joke"}}
