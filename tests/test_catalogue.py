"""The catalogue: which row a slug means, and what a call costs."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
from django.utils import timezone

from openrouter_app import catalogue
from openrouter_app.models import CatalogueModel

pytestmark = pytest.mark.django_db


def make_model(slug, **fields):
    """A listed model: a dollar a million tokens in, two out."""
    given = {"prompt_price": Decimal("0.000001"), "completion_price": Decimal("0.000002")}
    return CatalogueModel.objects.create(slug=slug, seen_at=timezone.now(), **{**given, **fields})


@pytest.mark.parametrize(
    ("slug", "means"),
    [
        ("a/b", "a/b"),
        ("a/b-20250522", "a/b"),
        ("a/b:free", "a/b:free"),
        ("a/b:nitro", "a/b"),
        ("a/b-20250522:floor", "a/b"),
        ("a/b@preset/site", "a/b"),
        ("a/b:free@preset/site", "a/b:free"),
        (" a/b ", "a/b"),
        ("@preset/site", None),
        ("~a/b-latest", None),
        ("~a/c-latest", "~a/c-latest"),
        ("a/c", None),
        ("", None),
        (":free", None),
        ("a/b:free:online", "a/b:free"),
        ("a/b:nitro:online", "a/b"),
        ("a/b" + ":x" * 90, "a/b"),
        ("a/b" + ":x" * 900, None),
        ("a/b\0", None),
        ("a/b\ud800", None),
    ],
)
def test_a_slug_means_a_row(slug, means):
    make_model("a/b:free", canonical_slug="a/b-20250522")
    make_model("a/b", canonical_slug="a/b-20250522")
    make_model("~a/c-latest")
    found = catalogue.find(slug)
    assert (found and found.slug) == means


def test_a_price_is_what_is_listed():
    make_model("a/b", request_price=Decimal("0.01"), context_length=1000, max_completion_tokens=100)
    assert catalogue.price_of("a/b") == catalogue.Price(
        prompt=Decimal("0.000001"),
        completion=Decimal("0.000002"),
        reasoning=Decimal("0.000002"),
        request=Decimal("0.01"),
        max_completion_tokens=100,
        context_length=1000,
    )


def test_with_fallbacks_it_is_the_dearest_of_each():
    make_model("a/b", prompt_price=Decimal("0.5"), context_length=10)
    make_model("c/d", reasoning_price=Decimal("0.75"), max_completion_tokens=7, context_length=8)
    price = catalogue.price_of("a/b", ["c/d"])
    assert (price.prompt, price.completion) == (Decimal("0.5"), Decimal("0.000002"))
    assert (price.reasoning, price.max_completion_tokens, price.context_length) == (Decimal("0.75"), 10, 10)


def test_no_price_where_one_of_them_has_none():
    make_model("a/b")
    make_model("openrouter/auto", prompt_price=None, completion_price=None)
    assert catalogue.price_of("a/b") is not None
    assert catalogue.price_of("openrouter/auto") is None
    assert catalogue.price_of("a/b", ["openrouter/auto"]) is None
    assert catalogue.price_of("a/b", ["not/listed"]) is None
    assert catalogue.price_of("@preset/site") is None


def test_a_free_variant_costs_nothing_and_a_search_costs_its_fee():
    make_model("a/b", request_price=Decimal("0.01"), reasoning_price=Decimal("0.1"))
    free = catalogue.price_of("a/b:free")
    assert (free.prompt, free.completion, free.reasoning, free.request) == (0, 0, 0, 0)
    assert catalogue.price_of("a/b:online").request == Decimal("0.03")
    make_model("a/b:free", prompt_price=Decimal("0.25"))
    assert catalogue.price_of("a/b:free").prompt == Decimal("0.25")


def test_variants_are_told_apart_where_a_slug_has_several():
    make_model("a/b")
    assert catalogue.price_of("a/b:free:online").request == Decimal("0.02")
    assert catalogue.price_of("a/b:free:online").prompt == 0
    make_model("a/b:free", prompt_price=Decimal("0.25"))
    assert catalogue.price_of("a/b:free:online").prompt == Decimal("0.25")
    assert catalogue.price_of("a/b:extended") is None
    make_model("a/b:extended")
    assert catalogue.price_of("a/b:extended").prompt == Decimal("0.000001")


def test_what_presets_and_routers_and_aliases_cost():
    make_model("a/b")
    make_model("openrouter/auto", prompt_price=None, completion_price=None)
    make_model("~a/b-latest", prompt_price=Decimal("0.5"))
    for unknown in ("@preset/site", "openrouter/auto", "openrouter/auto:nitro", "~a/c-latest"):
        assert catalogue.price_of(unknown) is None
        assert catalogue.price_of("a/b", [unknown]) is None
    # what the request names wins over its preset; what that adds is not a token's price
    assert catalogue.price_of("a/b@preset/site") == catalogue.price_of("a/b")
    assert catalogue.price_of("a/b", ["~a/b-latest"]).prompt == Decimal("0.5")


def test_further_prices_are_the_dearest_of_each_and_one_that_is_not_known_makes_none():
    make_model("a/b", other_prices={"web_search": "0.01", "input_cache_write_1h": "0.000002"})
    make_model(
        "c/d",
        cache_write_price=Decimal("0.000003"),
        image_price=Decimal("0.5"),
        output_modalities=["text", "audio"],
        other_prices={"audio_output": "0.00002"},
        overrides=[{"min_prompt_tokens": 9, "input_cache_write": "0.000007"}],
    )
    both = catalogue.price_of("a/b", ["c/d"])
    assert (both.search, both.picture, both.made) == (Decimal("0.01"), Decimal("0.5"), Decimal("0.00002"))
    assert (both.cache_write, both.hour_write) == (Decimal("0.000007"), Decimal("0.000002"))
    assert catalogue.price_of("c/d", prompt_tokens=8).cache_write == Decimal("0.000003")
    make_model("films/it", output_modalities=["video"])
    assert catalogue.price_of("a/b", ["films/it"]).made is None
    free = catalogue.price_of("c/d:free")
    assert (free.made, free.picture, free.cache_write) == (0, 0, 0)


def test_a_longer_prompt_is_dearer_where_it_is_listed_so():
    make_model("a/b", overrides=[{"min_prompt_tokens": 200, "prompt": "0.5", "completion": "0.000001"}])
    assert catalogue.price_of("a/b", prompt_tokens=199).prompt == Decimal("0.000001")
    assert catalogue.price_of("a/b", prompt_tokens=200).prompt == Decimal("0.5")
    assert catalogue.price_of("a/b").prompt == Decimal("0.5")
    assert catalogue.price_of("a/b").completion == Decimal("0.000002")


def test_all_are_found_in_one_query(django_assert_num_queries):
    make_model("a/b")
    make_model("c/d")
    with django_assert_num_queries(1):
        assert catalogue.price_of("a/b", ["c/d:nitro", "a/b"]) is not None


def test_reasoning_costs_no_less_than_the_rest_of_an_answer():
    make_model("a/b", reasoning_price=Decimal(0))
    assert catalogue.price_of("a/b").reasoning == Decimal("0.000002")


def test_the_example_of_the_docs_gives_a_price():
    text = (Path(__file__).parents[1] / "docs" / "choose-a-model.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    make_model("openai/gpt-4o", reasoning_price=Decimal("0.000003"))
    make_model("openai/gpt-4o-mini", prompt_price=Decimal("0.000004"))
    names = {}
    exec(example, names)
    assert names["most"] == 500 * Decimal("0.000004") + 1000 * Decimal("0.000003")
