"""What an answer may cost at most beside its tokens: searches, files, pictures, caches, faster tiers."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from openrouter_app.limits import extras, worst_case
from openrouter_app.models import Chain
from openrouter_app.runs import costs
from tests.engine.properties import MANY
from tests.factories import make_chain
from tests.pots import USD, WORST, ask_of, make_prices

pytestmark = pytest.mark.django_db

ANSWER = USD("0.002")
"""The longest answer of `make_prices`."""
FOUND = USD("0.1")
"""The longest prompt of `make_prices`: what a search of five results finds is longer."""


@pytest.fixture(autouse=True)
def prices():
    make_prices()
    make_prices("anthropic/one", other_prices={"web_search": "0.03"})
    make_prices("openai/native", other_prices={"web_search": "0.01"})
    make_prices("perplexity/sonar", other_prices={"web_search": "0.005"})
    make_prices("perplexity/sonar-deep-research", other_prices={"web_search": "0.005"})
    make_prices("openrouter/auto", prompt_price=None, completion_price=None)
    make_prices("~a/b-latest")


def worst(**fields: Any) -> Decimal | None:
    """The worst case of a thousand tokens of prompt."""
    chain = Chain.objects.filter(slug="echo").first() or make_chain("echo")
    return worst_case.worst_case(ask_of(chain, **fields))


def with_options(model: str = "a/b", **options: Any) -> Decimal | None:
    return worst(model=model, options=options)


def searching(**parameters: Any) -> list[dict[str, Any]]:
    return [{"type": "openrouter:web_search", "parameters": parameters}]


# ---- searches ----


@pytest.mark.parametrize(
    ("plugin", "fee"),
    [
        ({}, "0.02"),
        ({"engine": "exa"}, "0.02"),
        ({"max_results": 5}, "0.02"),
        ({"max_results": 25}, "0.1"),
        ({"max_results": 1}, "0.02"),
        ({"engine": "parallel", "max_results": 10}, "0.04"),
    ],
)
def test_a_search_costs_its_results_and_what_they_add_to_the_prompt(plugin, fee):
    found = min(FOUND, plugin.get("max_results", 5) * USD("0.03") + USD("0.001"))
    assert with_options(plugins=[{"id": "web", **plugin}]) == USD(fee) + found + ANSWER


def test_the_variant_online_is_a_search():
    assert worst(model="a/b:online") == USD("0.02") + FOUND + ANSWER
    make_prices("a/b:free", prompt_price=USD(0), completion_price=USD(0))
    assert worst(model="a/b:free:online") == USD("0.02")
    assert worst(model="openai/native:online") is None


def test_a_fallback_that_searches_counts_as_it_is():
    assert worst(fallbacks=["a/b:online"]) == USD("0.02") + FOUND + ANSWER
    assert with_options(models=["openai/native:online"]) is None
    assert with_options(models=["openai/native"]) == WORST


def test_a_plugin_that_is_switched_off_costs_nothing():
    assert with_options(plugins=[{"id": "web", "enabled": False}, {"id": "response-healing"}]) == WORST


@pytest.mark.parametrize(
    "plugins",
    [
        [{"id": "file-parser", "pdf": {"engine": "mistral-ocr"}}],
        [{"id": "web-fetch"}],
        [{"id": "fusion"}],
        [{"id": "nobody-knows"}],
        [{"id": "web", "enabled": 0, "max_results": "many"}],
        [{"id": "web", "max_results": 0}],
        [{"id": "web", "engine": "native"}],
        [{"id": ["web"]}],
        ["web"],
        [None],
        {"id": "web"},
        "web",
    ],
)
def test_of_any_other_plugin_nobody_knows_the_price(plugins):
    assert with_options(plugins=plugins) is None


def test_a_search_of_the_models_own_provider_is_known_of_anthropic_with_a_limit_alone():
    plugin = {"id": "web", "max_uses": 2}
    assert with_options("openai/native", plugins=[plugin]) is None
    assert with_options("anthropic/one", plugins=[{"id": "web"}]) is None
    # three calls of the model, each with as much as it can read
    assert with_options("anthropic/one", plugins=[plugin]) == 3 * (FOUND + ANSWER) + 2 * USD("0.03")
    # another engine is another price
    assert with_options("openai/native", plugins=[{"id": "web", "engine": "exa"}]) is not None


def test_models_that_search_by_themselves_cost_a_search():
    assert worst(model="perplexity/sonar") == WORST + USD("0.005")
    assert worst(model="perplexity/sonar-deep-research") is None
    assert worst(model="openai/native") == WORST


def test_a_tool_of_openrouter_is_known_where_it_says_how_often():
    once = searching(max_uses=1, max_results=2, max_characters=500)
    # a thousand tokens of results, and the call that asked for them, come to the second prompt
    assert with_options(tools=once) == USD("0.02") + 2 * (USD("0.003") + ANSWER)
    assert with_options(tools=[*once, {"type": "function", "function": {}}]) == with_options(tools=once)
    twice = with_options(tools=searching(max_uses=2, max_results=2, max_characters=500))
    assert twice == 2 * USD("0.02") + 3 * (USD("0.005") + ANSWER)
    assert with_options(tools=searching(max_uses=1, search_context_size="low")) == (
        USD("0.02") + 2 * (USD("0.027") + ANSWER)
    )


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "openrouter:web_search"}],
        searching(max_results=3),
        searching(max_uses=True),
        searching(max_uses=1, max_characters=-1),
        searching(max_uses=1, search_context_size=["low"]),
        [{"type": "openrouter:datetime"}],
        [{"type": "openrouter:image_generation"}],
        [{"type": "web_search"}],
        [{"type": {}}],
        ["openrouter:web_search"],
        "all",
        7,
    ],
)
def test_of_any_other_tool_of_openrouter_nobody_knows_the_price(tools):
    assert with_options(tools=tools) is None


def test_limits_of_tools_do_not_count_where_other_conditions_are_set():
    once = searching(max_uses=1)
    assert with_options(tools=once) is not None
    assert with_options(tools=once, stop_server_tools_when=[{"type": "max_cost", "max_cost": 9}]) is None


# ---- whatever else is not listed ----


@pytest.mark.parametrize(
    "options",
    [
        {"web_search_options": {}},
        {"preset": "site"},
        {"service_tier": "priority"},
        {"service_tier": ["flex"]},
        {"speed": "fast"},
        {"prediction": {"type": "content", "content": "as before"}},
        {"n": 3},
        {"provider": {"only": ["openai/priority"]}},
        {"provider": {"order": "openai"}},
        {"provider": "openai"},
        {"modalities": ["text", "image"]},
        {"modalities": "image"},
        {"models": "c/d"},
        {"models": [7]},
        {"models": ["a/b"] * 100},
        {"models": ["\0", "\ud800"]},
    ],
)
def test_of_what_is_not_listed_nobody_knows_the_price(options):
    assert with_options(**options) is None


@pytest.mark.parametrize(
    "options",
    [
        {"web_search_options": None},
        {"service_tier": "flex"},
        {"n": 1},
        {"provider": {"only": ["openai"], "order": None, "sort": "price"}},
        {"modalities": ["text"]},
        {"models": []},
        {"models": ["a/b:nitro"]},
        {"plugins": []},
        {"tools": None},
    ],
)
def test_what_is_usual_costs_no_more(options):
    assert with_options(**options) == WORST


@pytest.mark.parametrize(
    "model",
    ["openrouter/auto", "@preset/site", "a/b@preset/site", "~a/c-latest", "a/b:extended", "\0", "é/e"],
)
def test_of_a_model_that_is_chosen_elsewhere_nobody_knows_the_price(model):
    assert worst(model=model) is None
    assert worst(fallbacks=[model]) is None
    assert with_options(models=[model]) is None


def test_an_alias_costs_what_is_listed_of_it():
    assert worst(model="~a/b-latest") == WORST


# ---- pictures and caches ----


def test_pictures_in_a_prompt_cost_as_many_as_it_can_hold():
    assert worst_case.BYTES_A_PICTURE == costs.BYTES_A_PICTURE
    make_prices("sees/it", image_price=USD("0.5"))
    assert worst(model="sees/it", prompt_bytes=5_999) == USD("0.007999")
    assert worst(model="sees/it", prompt_bytes=13_000) == USD("0.015") + 1


@pytest.mark.parametrize(
    ("listed", "token"),
    [
        ({}, None),
        ({"image_output": "0.00003"}, "0.00003"),
        ({"image_output": "0.00003", "image_token": "0.00004"}, "0.00004"),
        ({"image_output": "0.04"}, None),  # a picture's, and nobody knows how many
        ({"image_output": "0"}, None),
    ],
)
def test_pictures_that_are_made_cost_what_is_listed(listed, token):
    make_prices("paints/it", output_modalities=["text", "image"], other_prices=listed)
    expected = token and USD("0.001") + 1000 * USD(token)
    assert worst(model="paints/it") == expected
    assert with_options("paints/it", modalities=["text", "image"]) == expected
    assert with_options("paints/it", modalities=["text"]) == WORST


def test_a_prompt_that_may_be_written_to_a_cache_costs_that():
    make_prices("one/dear", cache_write_price=USD("0.00000125"))
    assert worst(model="one/dear") == USD("0.00325")  # some write unasked
    short, long = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
    assert with_options("one/dear", cache_control=short) == USD("0.00325")
    assert with_options("one/dear", cache_control={**short, "ttl": "5m"}) == USD("0.00325")
    assert with_options("one/dear", cache_control=long) == USD("0.004")
    make_prices("two/hours", other_prices={"input_cache_write_1h": "0.000003"})
    assert with_options("two/hours", cache_control=long) == USD("0.005")
    assert with_options("two/hours", prompt_cache_options="odd") == USD("0.005")
    make_prices("keeps/it", cache_write_price=USD("0.0000005"))
    assert worst(model="keeps/it") == WORST
    assert with_options("keeps/it", cache_control=short) == USD("0.0035")


def test_prices_of_longer_prompts_hold_for_what_a_search_may_add():
    make_prices("long/dear", overrides=[{"min_prompt_tokens": 50_000, "prompt": "0.00001"}])
    assert worst(model="long/dear") == WORST
    assert worst(model="long/dear", prompt_bytes=50_000) == USD("0.502")
    assert with_options("long/dear", plugins=[{"id": "web"}]) == USD("0.02") + 10 * FOUND + ANSWER


# ---- whatever is asked ----

MEMBERS = (
    *("plugins", "tools", "models", "modalities", "web_search_options", "service_tier", "provider", "n"),
    *("cache_control", "prompt_cache_options", "preset", "speed", "prediction", "max_tokens", "reasoning"),
)
INNER = (
    *("id", "enabled", "engine", "max_results", "max_uses", "type", "parameters", "search_context_size"),
    *("max_characters", "ttl", "order", "only", "pdf"),
)
WORDS = st.sampled_from(
    [
        *("web", "file-parser", "openrouter:web_search", "function", "exa", "native", "a/b", "a/b:online"),
        *("anthropic/one", "text", "image", "1h", "5m", "low", "flex", "priority", "\0", "\ud800"),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(INNER), inner, max_size=4),
    max_leaves=12,
)


@settings(
    max_examples=1000 if MANY else 100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(
    options=st.dictionaries(st.sampled_from(MEMBERS[:-2]), JUNK, max_size=5),
    longest=st.none() | st.integers(1, 10_000),
    model=st.sampled_from(["a/b", "a/b:online", "anthropic/one", "perplexity/sonar"]),
)
@example({"tools": [{"type": "openrouter:web_search", "parameters": {"max_uses": 10**30}}]}, 10, "a/b")
@example({"plugins": [{"id": "web", "max_results": 10**30}]}, None, "a/b")
def test_whatever_is_asked_is_no_crash_and_makes_nothing_cheaper(options, longest, model):
    length = {} if longest is None else {"max_tokens": longest}
    least = worst(model=model, options=length)
    most = worst(model=model, options={**options, **length})
    assert most is None or (most.is_finite() and most >= least)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=st.dictionaries(st.sampled_from(MEMBERS), JUNK, max_size=5), model=WORDS)
def test_no_request_is_a_crash_whichever_model_it_names(options, model):
    most = worst(model=model, options=options)
    assert most is None or (most.is_finite() and most >= 0)


def test_fees_are_those_of_the_page():
    page = (Path(__file__).parents[1] / "docs" / "spending-limits.md").read_text()
    assert f"${extras.LEAST_FEE} at least and ${extras.RESULT_FEE} a result" in page
    assert f"{max(extras.CHARACTERS.values()):,} characters" in page
    assert f"{worst_case.BYTES_A_PICTURE:,} bytes" in page
