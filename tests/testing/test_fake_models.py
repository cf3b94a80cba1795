"""The models that the fake lists, and how it is asked for them."""

from __future__ import annotations

import json
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from openrouter_app.testing import DEFAULT_MODELS


def get(openrouter, path):
    try:
        with urlopen(f"{openrouter.base_url}{path}") as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def slugs(openrouter, query=""):
    status, answer = get(openrouter, f"/models{query}")
    assert status == 200
    return {item["id"] for item in answer["data"]}


def test_models_that_answer_with_text_are_listed_unless_others_are_asked_for(openrouter):
    texts = slugs(openrouter)
    assert "example/brush" not in texts
    assert {"example/painter", "openrouter/auto"} <= texts
    assert slugs(openrouter, "?output_modalities=all") == {item["id"] for item in DEFAULT_MODELS}
    assert slugs(openrouter, "?output_modalities=image") == {"example/brush", "example/painter"}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?input_modalities=image,file", {"openai/gpt-4o-mini", "anthropic/claude-sonnet-4"}),
        ("?supported_parameters=tools,reasoning&q=claude", {"anthropic/claude-sonnet-4"}),
        ("?q=THINKER", {"example/thinker", "example/thinker:free"}),
        ("?q=nothing", set()),
    ],
)
def test_models_are_listed_by_what_they_can_do(openrouter, query, found):
    assert slugs(openrouter, query) == found


def test_pages_are_made_only_where_they_are_asked_for(openrouter):
    _, whole = get(openrouter, "/models?output_modalities=all")
    assert (len(whole["data"]), whole["links"]["next"]) == (len(DEFAULT_MODELS), None)
    _, first = get(openrouter, "/models?output_modalities=all&limit=4")
    assert (len(first["data"]), first["total_count"]) == (4, len(DEFAULT_MODELS))
    assert "offset=4" in first["links"]["next"]
    _, last = get(openrouter, "/models?output_modalities=all&offset=8&limit=1000")
    assert last["data"] == whole["data"][8:]
    assert last["links"]["next"] is None
    for wrong in ("limit=0", "limit=1001", "limit=x", "offset=-1"):
        assert get(openrouter, f"/models?{wrong}")[0] == 400


def test_a_models_endpoints_are_told_by_either_of_its_slugs(openrouter):
    for slug in ("anthropic/claude-sonnet-4", "anthropic/claude-4-sonnet-20250522"):
        status, answer = get(openrouter, f"/models/{slug}/endpoints")
        assert (status, answer["data"]["id"]) == (200, "anthropic/claude-sonnet-4")
        (endpoint,) = answer["data"]["endpoints"]
        assert endpoint["max_completion_tokens"] == 64_000
        assert "tools" in endpoint["supported_parameters"]
    assert get(openrouter, "/models/no/such/endpoints")[0] == 404


def test_a_query_is_kept_and_of_a_name_that_stands_twice_the_last(openrouter):
    get(openrouter, "/models?q=a%20b&q=c&empty=")
    assert openrouter.requests[-1].query == {"q": "c", "empty": ""}
    assert openrouter.requests[-1].path.endswith("/models")
