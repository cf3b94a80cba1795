"""The catalogue and OpenRouter's list: what comes, changes, vanishes and comes back; and odd lists."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openrouter_app import OpenRouterError, catalogue
from openrouter_app.catalogue.listing import FIELDS, price, row_of, rows_of
from openrouter_app.catalogue.syncing import store
from openrouter_app.models import CatalogueModel
from openrouter_app.testing import DEFAULT_MODELS

pytestmark = pytest.mark.django_db

RECORDED = Path(__file__).parents[2] / "shared" / "recordings" / "llm-openrouter__llm_models.json"


def item(slug, **members):
    return {"id": slug, "pricing": {"prompt": "0.000001", "completion": "0.000002"}, **members}


def several(*slugs):
    return [item(slug) for slug in slugs]


def present():
    return set(CatalogueModel.objects.filter(missing_since=None).values_list("slug", flat=True))


@pytest.fixture
def site(openrouter, settings):
    """A site whose OpenRouter is the fake."""
    settings.OPENROUTER = {"API_KEY": "test", "BASE_URL": openrouter.base_url}
    return openrouter


def test_every_listed_model_gets_a_row(site):
    synced = catalogue.sync()
    assert synced == catalogue.Synced(added=len(DEFAULT_MODELS))
    row = CatalogueModel.objects.get(slug="anthropic/claude-sonnet-4")
    assert row.canonical_slug == "anthropic/claude-4-sonnet-20250522"
    assert (row.prompt_price, row.completion_price) == (Decimal("0.000003"), Decimal("0.000015"))
    assert (row.cache_read_price, row.cache_write_price) == (Decimal("0.0000003"), Decimal("0.00000375"))
    assert (row.request_price, row.reasoning_price) == (0, None)
    assert (row.context_length, row.max_completion_tokens) == (1_000_000, 64_000)
    assert row.input_modalities == ["image", "text", "file"]
    assert "tool_choice" in row.parameters
    assert row.reasoning["default_enabled"] is False
    assert row.created == datetime.fromtimestamp(1_700_000_000, UTC)
    assert catalogue.price_of("anthropic/claude-sonnet-4").prompt == Decimal("0.000006")
    assert catalogue.price_of("anthropic/claude-sonnet-4", prompt_tokens=10).prompt == Decimal("0.000003")
    assert catalogue.price_of("openrouter/auto") is None
    assert CatalogueModel.objects.get(slug="example/old-poet").expires is not None
    # also what answers with pictures alone
    assert CatalogueModel.objects.filter(slug="example/brush").exists()


@pytest.mark.skipif(not RECORDED.is_file(), reason="the recordings are not beside the checkout")
def test_what_openrouter_really_listed_is_understood():
    recorded = json.loads(RECORDED.read_text())["data"]
    assert store(recorded).added == len(recorded) == 4
    row = CatalogueModel.objects.get(slug="anthropic/claude-sonnet-4")
    assert row.overrides == [
        {
            "min_prompt_tokens": 200000,
            "prompt": "0.000006000000000",
            "completion": "0.000022500000000",
            "input_cache_write": "0.000007500000000",
            "input_cache_write_1h": "0.000012000000000",
        }
    ]
    assert row.other_prices["web_search"] == "0.010000000000000"
    assert row.reasoning == {"mandatory": False}
    assert catalogue.price_of("anthropic/claude-4-sonnet-20250522").completion == Decimal("0.0000225")


def test_the_same_list_again_changes_nothing(site):
    catalogue.sync()
    before = CatalogueModel.objects.order_by("slug").values("pk", *FIELDS)
    rows = list(before)
    seen = CatalogueModel.objects.earliest("seen_at").seen_at
    assert catalogue.sync() == catalogue.Synced()
    assert list(before.all()) == rows
    assert CatalogueModel.objects.earliest("seen_at").seen_at > seen


def test_a_new_price_is_written_and_nothing_else(site):
    catalogue.sync()
    row = CatalogueModel.objects.get(slug="example/poet")
    poet = next(item for item in site.models if item["id"] == "example/poet")
    changed = {**poet, "pricing": {**poet["pricing"], "prompt": "0.00000009"}}
    site.models = [changed if item is poet else item for item in site.models]
    assert catalogue.sync() == catalogue.Synced(changed=1)
    again = CatalogueModel.objects.get(slug="example/poet")
    assert (again.pk, again.prompt_price) == (row.pk, Decimal("0.00000009"))


def test_what_vanishes_is_marked_and_what_comes_back_is_not_marked_any_more():
    store(several("a/b", "c/d", "e/f"))
    assert store(several("a/b", "c/d")) == catalogue.Synced(missing=1)
    gone = CatalogueModel.objects.get(slug="e/f")
    assert gone.missing_since is not None
    assert catalogue.price_of("e/f") is not None
    # once, and since when does not change
    assert store(several("a/b", "c/d")) == catalogue.Synced()
    assert CatalogueModel.objects.get(slug="e/f").missing_since == gone.missing_since
    assert store(several("a/b", "c/d", "e/f")) == catalogue.Synced(back=1)
    assert present() == {"a/b", "c/d", "e/f"}


def test_a_tiny_list_marks_nothing_as_missing_unless_it_is_forced():
    store(several("a/b", "c/d", "e/f", "g/h"))
    assert store(several("a/b", "i/j")) == catalogue.Synced(added=1, doubted=3)
    assert len(present()) == 5
    assert store([]) == catalogue.Synced(doubted=5)
    assert len(present()) == 5
    assert store(several("a/b"), force=True) == catalogue.Synced(missing=4)
    assert present() == {"a/b"}


def test_half_of_the_models_may_vanish_at_once():
    store(several("a/b", "c/d", "e/f", "g/h"))
    assert store(several("a/b", "c/d")) == catalogue.Synced(missing=2)


def test_new_models_do_not_make_up_for_those_that_vanish():
    store(several("a/b", "c/d", "e/f"))
    assert store(several("u/v", "w/x", "y/z")) == catalogue.Synced(added=3, doubted=3)


def test_a_list_that_cannot_be_had_changes_nothing(site):
    catalogue.sync()
    for answer, status in (
        ({"error": {"message": "no"}}, 500),
        ({"data": {"not": "a list"}}, 200),
        ("text", 200),
    ):
        site.route("GET", "/models", answer, status=status)
        with pytest.raises(OpenRouterError):
            catalogue.sync()
    assert len(present()) == len(DEFAULT_MODELS)


def test_what_is_no_model_is_skipped_and_counted():
    odd = [
        None,
        "a/b",
        [],
        {},
        {"id": None},
        {"id": 7},
        {"id": ""},
        {"id": "a b/c"},
        {"id": "a/b\0"},
        {"id": "a/\ud800"},
        {"id": "a/" + "b" * 200},
        item("a/b"),
        item("a/b", name="again"),
    ]
    assert store(odd) == catalogue.Synced(added=1, skipped=12)
    assert CatalogueModel.objects.get().name == ""


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("0.000003", Decimal("0.000003")),
        (" 0.5 ", Decimal("0.5")),
        ("3e-7", Decimal("0.0000003")),
        (0.25, Decimal("0.25")),
        (Decimal("0.25"), Decimal("0.25")),
        (1, Decimal(1)),
        ("0", Decimal(0)),
        ("-0", Decimal(0)),
        # more exact than a column: never less than it is
        ("0.0000000000000001", Decimal("1e-15")),
        ("1e-999999999", Decimal("1e-15")),
        ("-1", None),
        ("-0.000001", None),
        ("NaN", None),
        ("Infinity", None),
        ("1e999999999", None),
        ("1000000", None),
        ("1_0", None),
        ("٣", None),
        ("free", None),
        ("", None),
        ("0." + "1" * 200, None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_a_price_is_exact_or_none(written, means):
    assert price(written) == means


def test_odd_members_count_as_not_there():
    row = row_of(
        {
            "id": "a/b",
            "canonical_slug": 7,
            "name": ["x"],
            "description": "y\0\ud800" * 20_000,
            "created": 10**30,
            "context_length": "128000",
            "expiration_date": "soon",
            "architecture": {"input_modalities": "text", "output_modalities": [None, "text", "text", {}]},
            "pricing": [],
            "top_provider": {"max_completion_tokens": True, "context_length": 10**20},
            "supported_parameters": ["tools", "x" * 1000, 3],
            "reasoning": {"mandatory": "yes", "default_effort": None, "supported_efforts": 3},
        }
    )
    row.seen_at = timezone.now()
    row.save()
    row.refresh_from_db()
    assert (row.canonical_slug, row.name, row.created, row.context_length) == ("", "", None, None)
    assert (row.expires, row.input_modalities, row.output_modalities) == (None, [], ["text"])
    assert (row.prompt_price, row.max_completion_tokens, row.parameters) == (None, None, ["tools"])
    assert (row.reasoning, len(row.description)) == ({}, 20_000)
    assert "\0" not in row.description


@pytest.mark.parametrize("number", ["1e999999999", "-1e999999999", "1e-999999999"])
def test_a_number_of_endless_digits_is_none(number):
    row = row_of(item("a/b", created=Decimal(number), context_length=Decimal(number)))
    assert (row.created, row.context_length) == (None, None)


def test_a_time_after_the_day_of_expiry_is_no_matter():
    assert row_of(item("a/b", expiration_date="2026-12-24T00:00:00Z")).expires == date(2026, 12, 24)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(max_size=20)
    | st.sampled_from(["text", "-1", "0.001", "1e400", "2026-12-24", "a/b", "\ud800", "NaN"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                sorted({*DEFAULT_MODELS[0], "prompt", "completion", "min_prompt_tokens", "overrides"})
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


# Each writes to the database some ten times.
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    items=st.lists(
        st.fixed_dictionaries(
            {"id": st.sampled_from(["a/b", "c/d", "e/f:free", "~g/h"])},
            optional={name: JUNK for name in [*DEFAULT_MODELS[0], "reasoning", "pricing"] if name != "id"},
        )
        | JUNK,
        max_size=6,
    )
)
def test_no_list_whatever_it_holds_is_a_crash_and_each_is_stored_as_it_was_read(items):
    CatalogueModel.objects.all().delete()
    synced = store(items)
    assert synced.added + synced.skipped == len(items)
    rows, _ = rows_of(items)
    stored = {row.slug: row for row in CatalogueModel.objects.all()}
    assert stored.keys() == rows.keys()
    for slug, row in rows.items():
        for name in FIELDS:
            assert getattr(stored[slug], name) == getattr(row, name)
    assert store(items).changed == 0
    for slug in stored:
        catalogue.price_of(slug)


def test_a_long_list_takes_few_statements(django_assert_max_num_queries):
    models = [item(f"author/model-{number}") for number in range(600)]
    with django_assert_max_num_queries(25):
        assert store(models).added == 600
    with django_assert_max_num_queries(25):
        assert store(models[:500]).missing == 100


def told(*arguments):
    out = StringIO()
    call_command("openrouter_sync_models", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_says_what_has_changed(site):
    assert told() == f"{len(DEFAULT_MODELS)} models are new.\n"
    assert told() == "Nothing has changed.\n"
    site.models = [{**site.models[0], "name": "Renamed"}, *site.models[1:-1], {"id": ""}]
    assert told() == (
        "1 model has changed.\n1 model is missing now.\n1 model makes no sense and was skipped.\n"
    )


def test_the_command_marks_what_it_doubts_only_when_forced(site):
    told()
    site.models = site.models[:1]
    missing = len(DEFAULT_MODELS) - 1
    said = told()
    assert f"{missing} models are not listed" in said
    assert "--force" in said
    assert len(present()) == len(DEFAULT_MODELS)
    assert told("--force") == f"{missing} models are missing now.\n"


def test_the_command_says_why_there_is_no_list(site):
    site.route("GET", "/models", {"error": {"message": "down", "code": 503}}, status=503)
    with pytest.raises(CommandError, match="OpenRouter's list"):
        told()


def test_rows_that_were_seen_long_ago_are_seen_now(site):
    catalogue.sync()
    CatalogueModel.objects.update(seen_at=timezone.now() - timedelta(days=40))
    catalogue.sync()
    assert CatalogueModel.objects.earliest("seen_at").seen_at > timezone.now() - timedelta(minutes=5)
