"""Prompts and tools as rows: what is found in them, and what they refuse."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from openrouter_app.engine.errors import TemplateError
from openrouter_app.models import PromptRow, PromptTemplate, ToolSpec
from openrouter_app.models.prompts import row_problems
from tests.factories import JOKE_SCHEMA, make_prompt

pytestmark = pytest.mark.django_db


def test_variables_are_found_each_once_in_order_without_placeholders():
    prompt = make_prompt(
        "a", ("system", "{b} and {a}"), ("messages_placeholder", "history"), ("human", "{a} {{no}} {c}")
    )
    assert prompt.variables == ("b", "a", "c")


def test_rows_by_value_stand_in_their_order():
    prompt = make_prompt("a", ("human", "two"))
    PromptRow.objects.create(template=prompt, position=0, role="system", text="one")
    assert prompt.rows_by_value() == [["system", "one"], ["human", "two"]]


def test_two_rows_of_a_prompt_never_share_a_position():
    prompt = make_prompt()
    with pytest.raises(IntegrityError), transaction.atomic():
        PromptRow.objects.create(template=prompt, position=1, role="human", text="x")


@pytest.mark.parametrize(
    ("role", "text", "said"),
    [
        ("human", "one\n{two", "line 2, column 1 is never closed"),
        ("human", "a } b", "line 1, column 3 closes nothing"),
        ("messages_placeholder", " ", "needs the name of its variable"),
    ],
)
def test_row_that_is_no_template_is_refused_at_its_text(role, text, said):
    with pytest.raises(ValidationError) as raised:
        PromptRow(template=make_prompt(), position=2, role=role, text=text).clean()
    assert said in raised.value.message_dict["text"][0]


def test_row_stored_past_the_checks_is_refused_when_it_is_read():
    prompt = make_prompt("a", ("human", "{"))
    with pytest.raises(TemplateError):
        prompt.variables  # noqa: B018


def test_problems_name_the_row_and_the_reason():
    assert row_problems([]) == ["The prompt has no rows. Add one: it is what the model is told."]
    problems = row_problems([["system", "fine {a}"], ["human", "}"], ["messages_placeholder", "a"]])
    assert problems[0].startswith("Row 2: The '}' at line 1, column 1 closes nothing.")
    assert problems[1].startswith("“a” is a variable in a text and also a messages placeholder.")
    assert row_problems([["human", "{a}"]]) == []


@pytest.mark.parametrize("example", [[], "text", None, 3])
def test_example_input_is_an_object(example):
    with pytest.raises(ValidationError) as raised:
        PromptTemplate(slug="a", example_input=example).clean()
    assert "example_input" in raised.value.message_dict


def test_tool_by_value():
    tool = ToolSpec(name="joke", description="A joke", schema=JOKE_SCHEMA, strict=True)
    tool.full_clean()
    assert tool.by_value() == {
        "name": "joke",
        "description": "A joke",
        "schema": JOKE_SCHEMA,
        "strict": True,
    }


def test_tool_without_a_schema_takes_no_arguments():
    assert ToolSpec(name="a").schema == {"type": "object", "properties": {}}


@pytest.mark.parametrize("name", ["a b", "a" * 65, "a\n", "é", ""])
def test_tool_name_is_what_providers_take(name):
    with pytest.raises(ValidationError) as raised:
        ToolSpec(name=name).full_clean()
    assert "name" in raised.value.message_dict


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "object", "properties": {"a": {"type": "text"}}}, "$.properties.a.type: must be one of"),
        ({"type": "object", "$ref": "http://evil.example/"}, "leaves the schema"),
        ([1], "a schema is a JSON object"),
    ],
)
def test_tool_refuses_what_is_no_schema_at_its_field(schema, said):
    with pytest.raises(ValidationError) as raised:
        ToolSpec(name="a", schema=schema).full_clean()
    assert said in raised.value.message_dict["schema"][0]
