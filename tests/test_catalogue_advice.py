"""Advice on a chain: what it needs and its model lacks, and nothing where nothing is known."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.utils import timezone

from openrouter_app import catalogue
from openrouter_app.catalogue.listing import row_of
from openrouter_app.checks import check_models
from openrouter_app.models import CatalogueModel, Chain, ToolSpec
from openrouter_app.testing.models_listed import DEFAULT_MODELS
from tests.factories import make_chain

pytestmark = pytest.mark.django_db

ALL = ["tools", "tool_choice", "response_format", "structured_outputs", "reasoning", "max_tokens"]


def make_model(slug="a/b", **fields):
    given = {"parameters": ALL, "output_modalities": ["text"], "prompt_price": Decimal(0), **fields}
    return CatalogueModel.objects.create(slug=slug, **{"seen_at": timezone.now(), **given})


def with_tool(choice="auto", **fields):
    tool = ToolSpec.objects.create(name="look")
    forced = {"forced_tool": tool} if choice == "forced" else {}
    return make_chain("looks", tools=(tool,), tool_choice=choice, **forced, **fields)


def advised(chain):
    return " ".join(catalogue.advice(chain))


def test_nothing_is_said_of_a_model_that_can_do_all():
    make_model()
    schema = {"response_format": {"type": "json_schema", "json_schema": {}}, "max_tokens": 9}
    assert catalogue.advice(with_tool("forced", options=schema)) == []


def test_nothing_is_said_as_long_as_the_catalogue_is_empty():
    assert catalogue.advice(with_tool("forced", model="what/ever")) == []


def test_a_model_that_is_not_listed_is_named():
    make_model()
    assert advised(make_chain(model="a/other")) == "“a/other” is not among the models that OpenRouter lists."
    assert "“a/b:free” is not among" in advised(make_chain("free", model="a/b:free"))


@pytest.mark.parametrize("slug", ["@preset/site", "~a/b-latest", "a/b@preset/site", "a/b:nitro"])
def test_presets_aliases_and_variants_are_left_alone(slug):
    make_model()
    assert catalogue.advice(make_chain(model=slug)) == []


def test_fallbacks_and_the_models_a_client_may_choose_are_looked_at_too():
    make_model()
    said = catalogue.advice(make_chain(options={"models": ["c/d", 7]}, client_models=["a/b", "e/f"]))
    assert [sentence.partition("”")[0] for sentence in said] == ["“c/d", "“e/f"]


def test_a_model_that_vanished_or_expires_is_told_with_its_day(settings):
    today = timezone.localdate()
    make_model("a/gone", missing_since=timezone.now())
    make_model("a/soon", expires=today + timedelta(days=30))
    make_model("a/later", expires=today + timedelta(days=31))
    make_model("a/over", expires=today - timedelta(days=1))
    assert "does not list “a/gone” any more, since" in advised(make_chain("gone", model="a/gone"))
    assert "“a/soon” expires on" in advised(make_chain("soon", model="a/soon"))
    assert advised(make_chain("later", model="a/later")) == ""
    assert "“a/over” was to expire on" in advised(make_chain("over", model="a/over"))


def test_tools_that_the_model_does_not_call():
    make_model(parameters=["max_tokens"])
    chain = with_tool()
    assert advised(chain) == "As OpenRouter lists it, “a/b” calls no tools; this chain has some."
    Chain.objects.update(tool_choice="none")
    assert advised(Chain.objects.get()) == ""


@pytest.mark.parametrize("choice", ["forced", "required"])
def test_a_call_that_the_model_cannot_be_made_to_make(choice):
    make_model(parameters=["tools"])
    assert "cannot be made to call a tool" in advised(with_tool(choice))


def test_a_model_listed_without_any_parameters_says_nothing_of_them():
    make_model(parameters=[])
    assert catalogue.advice(with_tool("forced")) == []


@pytest.mark.parametrize(
    ("slug", "reasoning", "options", "warned"),
    [
        ("anthropic/claude", {"default_enabled": True}, {}, True),
        ("anthropic/claude", {"mandatory": True}, {"reasoning": {"enabled": False}}, True),
        ("anthropic/claude", {"mandatory": False}, {}, False),
        ("anthropic/claude", {"mandatory": False}, {"reasoning": {"effort": "low"}}, True),
        ("anthropic/claude", {"mandatory": False}, {"reasoning": {"max_tokens": 1024}}, True),
        ("anthropic/claude", {}, {"reasoning_effort": "high"}, True),
        ("anthropic/claude", {}, {"reasoning": "odd"}, False),
        ("anthropic/claude", {"default_enabled": True}, {"reasoning": {"enabled": False}}, False),
        ("anthropic/claude", {"default_enabled": True}, {"reasoning_effort": "none"}, False),
        ("deepseek/thinks", {"default_enabled": True}, {}, True),
        ("moonshotai/thinks", {"mandatory": True}, {}, True),
        ("~anthropic/claude-latest", {"mandatory": True}, {}, True),
        ("anthropic/claude:thinking", {"mandatory": False}, {}, True),
        ("openai/thinks", {"mandatory": False}, {}, False),
    ],
)
def test_a_forced_call_that_switches_reasoning_off(slug, reasoning, options, warned):
    make_model(slug.partition(":")[0], reasoning=reasoning)
    chain = with_tool("forced", model=slug, options=options)
    assert ("does not reason where a tool call is forced" in advised(chain)) is warned
    chain.tool_choice, chain.forced_tool = "auto", None
    chain.save()
    assert catalogue.advice(chain) == []


@pytest.mark.parametrize(
    ("slug", "reasoning", "options", "warned"),
    [
        ("example/thinker", {"mandatory": True}, {}, True),
        ("openai/thinks", {"default_enabled": True}, {}, True),
        ("openai/thinks", {"default_effort": "medium"}, {}, True),
        ("openai/thinks", {"default_effort": "none"}, {}, False),
        ("openai/thinks", {"default_effort": "medium", "default_enabled": False}, {}, False),
        ("openai/thinks", {}, {"reasoning": {"enabled": True}}, True),
        ("openai/thinks", {"default_enabled": True}, {"reasoning": {"enabled": False}}, False),
        ("openai/thinks", {}, {}, False),
        ("google/thinks", {"mandatory": True}, {"reasoning": {"effort": "high"}}, False),
    ],
)
def test_a_forced_call_of_any_model_that_reasons_unless_it_is_known_to_do_both(
    slug, reasoning, options, warned
):
    make_model(slug, reasoning=reasoning)
    said = advised(with_tool("forced", model=slug, options=options))
    assert ("reasons, and a tool call is forced" in said) is warned
    assert bool(said) is warned


@pytest.mark.parametrize("slug", ["example/thinker", "anthropic/claude"])
def test_reasoning_that_cannot_be_switched_off_is_not_told_to_be(slug):
    make_model(slug, reasoning={"mandatory": True})
    chain = with_tool("forced", model=slug)
    assert advised(chain).endswith("Choose “auto”.")
    CatalogueModel.objects.update(reasoning={"default_enabled": True})
    assert advised(chain).endswith("or switch its reasoning off in the options.")


def test_the_thinker_that_the_fake_lists_is_warned_of():
    (thinker,) = [item for item in DEFAULT_MODELS if item["id"] == "example/thinker"]
    row = row_of(thinker)
    row.seen_at = timezone.now()
    row.save()
    assert "a tool call is forced" in advised(with_tool("required", model="example/thinker"))


def test_a_form_of_answer_that_the_model_does_not_know():
    make_model(parameters=["max_tokens"])
    schema = {"response_format": {"type": "json_schema"}}
    assert "follows no JSON Schema" in advised(make_chain("one", options=schema))
    assert "knows no “response_format”" in advised(
        make_chain("two", options={"response_format": {"type": "json_object"}})
    )
    assert advised(make_chain("three", options={"response_format": "text"})) == ""


def test_pictures_from_a_model_that_makes_none():
    make_model()
    assert "makes no image" in advised(make_chain(options={"modalities": ["image", "text", 1]}))


def test_more_tokens_than_the_model_answers_with():
    make_model(max_completion_tokens=100)
    assert advised(make_chain("one", options={"max_tokens": 100})) == ""
    assert "100 tokens at most; the options allow 101" in advised(
        make_chain("two", options={"max_completion_tokens": 101})
    )


def test_an_old_catalogue_is_told_once(settings):
    make_model(seen_at=timezone.now() - timedelta(days=8))
    make_model("c/d", seen_at=timezone.now() - timedelta(days=9))
    chain = make_chain(client_models=["c/d"])
    (said,) = catalogue.advice(chain)
    assert said.startswith("What models cost and can do was fetched last on ")
    settings.OPENROUTER = {"CATALOGUE_MAX_AGE": 86_400 * 8.5}
    assert catalogue.advice(chain) == []


def test_all_chains_together_take_two_queries(django_assert_num_queries):
    make_model()
    bodies = [make_chain(f"chain{number}", model=f"a/{number}").body() for number in range(5)]
    with django_assert_num_queries(2):
        assert all(len(said) == 1 for said in catalogue.advice_on(bodies))


def checked():
    return list(check_models(databases=["default"]))


def test_the_check_warns_of_what_is_published(django_assert_num_queries):
    make_model(parameters=["max_tokens"])
    with_tool()
    make_chain("fine")
    make_chain("draft", model="not/listed", publish=False)
    make_chain("off", model="not/listed", enabled=False)
    with django_assert_num_queries(4):
        (warning,) = checked()
    assert warning.id == "openrouter_app.W007"
    assert "'looks'" in warning.msg
    assert "calls no tools" in warning.msg
    assert list(check_models(databases=None)) == []


def test_the_check_says_an_old_catalogue_once(capsys):
    make_model(seen_at=timezone.now() - timedelta(days=30))
    make_chain("one")
    make_chain("two")
    (warning,) = checked()
    assert "openrouter_sync_models" in warning.hint
    call_command("check", "--database", "default", "--tag", "openrouter")
    assert capsys.readouterr().err.count("W007") == 1
