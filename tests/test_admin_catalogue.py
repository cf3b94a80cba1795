"""The catalogue in the admin: looked at, fetched, searched; and what it says beside a chain's model."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.db import connection, connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone, translation

from openrouter_app import catalogue
from openrouter_app.admin.model_choice import labels, per_million, short
from openrouter_app.models import CatalogueModel, Chain, ToolSpec
from openrouter_app.testing import DEFAULT_MODELS
from tests.factories import make_chain, make_prompt, make_user
from tests.test_admin_chains import form

pytestmark = pytest.mark.django_db

LIST = "admin:openrouter_app_cataloguemodel_changelist"
SYNC = "admin:openrouter_app_cataloguemodel_sync"
SEARCH = "admin:openrouter_app_cataloguemodel_search"
CHAIN = "admin:openrouter_app_chain_change"


def make_model(slug, **fields):
    given = {
        "prompt_price": Decimal("0.00000015"),
        "completion_price": Decimal("0.0000006"),
        "parameters": ["tools", "tool_choice"],
        "input_modalities": ["text"],
        "output_modalities": ["text"],
        "context_length": 128_000,
    }
    return CatalogueModel.objects.create(slug=slug, seen_at=timezone.now(), **{**given, **fields})


def staff(*permissions):
    user = make_user("-".join(permissions) or "nobody", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def said(response):
    return html.unescape(response.content.decode())


def messages(response):
    return [str(message) for message in response.context["messages"]]


def listed(client, **query):
    response = client.get(reverse(LIST), query)
    assert response.status_code == 200
    return {row.slug for row in response.context["cl"].result_list}


def found(client, text):
    response = client.get(reverse(SEARCH), {"q": text})
    assert response.status_code == 200
    return response.json()


@pytest.fixture
def site(openrouter, settings):
    settings.OPENROUTER = {"API_KEY": "test", "BASE_URL": openrouter.base_url}
    return openrouter


def test_the_button_fetches_the_list_and_says_what_has_changed(site, admin_client):
    assert "Never fetched." in said(admin_client.get(reverse(LIST)))
    response = admin_client.post(reverse(SYNC), follow=True)
    assert messages(response) == [f"{len(DEFAULT_MODELS)} models are new."]
    assert "Fetched last:" in said(response)
    site.models = site.models[:1]
    response = admin_client.post(reverse(SYNC), follow=True)
    assert messages(response)[0] == "Nothing has changed."
    assert "--force" in messages(response)[1]
    site.models = [{**DEFAULT_MODELS[0], "name": "New"}, *DEFAULT_MODELS[2:], {"id": "a/b"}]
    response = admin_client.post(reverse(SYNC), follow=True)
    assert messages(response) == ["1 model is new. 1 model has changed. 1 model is not listed any more."]


@pytest.mark.django_db(transaction=True)
async def test_the_button_works_on_an_event_loop_too(provider, admin_user, async_client):
    await async_client.aforce_login(admin_user)
    response = await async_client.post(reverse(SYNC))
    assert response.status_code == 302
    assert await CatalogueModel.objects.acount() == len(DEFAULT_MODELS)


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_the_list_is_fetched(site, admin_client, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    fetch, in_transaction = catalogue.sync, []

    def fetching():
        in_transaction.append(connection.in_atomic_block)
        return fetch()

    monkeypatch.setattr(catalogue, "sync", fetching)
    admin_client.post(reverse(SYNC))
    assert in_transaction == [False]


def test_a_list_that_cannot_be_had_is_told(site, admin_client):
    site.route("GET", "/models", {"error": {"message": "down", "code": 500}}, status=500)
    response = admin_client.post(reverse(SYNC), follow=True)
    assert "OpenRouter's list of models cannot be had" in messages(response)[0]


def test_only_who_may_change_the_catalogue_fetches_it(site):
    viewer, changer = staff("view_cataloguemodel"), staff("change_cataloguemodel")
    assert "Fetch what OpenRouter lists now" not in said(viewer.get(reverse(LIST)))
    assert viewer.post(reverse(SYNC)).status_code == 403
    assert staff().get(reverse(LIST)).status_code == 403
    assert Client().post(reverse(SYNC)).status_code == 302
    assert not site.requests
    assert "Fetch what OpenRouter lists now" in said(changer.get(reverse(LIST)))
    assert changer.get(reverse(SYNC)).status_code == 405
    assert changer.post(reverse(SYNC)).status_code == 302
    assert CatalogueModel.objects.exists()
    assert Client(enforce_csrf_checks=True).post(reverse(SYNC)).status_code == 403


def test_rows_are_looked_at_and_never_edited(admin_client):
    row = make_model(
        "a/b",
        description="<b>bold</b>",
        reasoning={"mandatory": True},
        overrides=[{"min_prompt_tokens": 9, "prompt": "0.1"}],
        other_prices={"web_search": "0.01"},
    )
    page = reverse("admin:openrouter_app_cataloguemodel_change", args=[row.pk])
    text = admin_client.get(page).content.decode()
    assert "&lt;b&gt;bold&lt;/b&gt;" in text
    assert "<b>bold</b>" not in text
    assert "min_prompt_tokens" in text
    assert "web_search" in text
    assert 'name="_save"' not in text
    assert admin_client.post(page, {"slug": "x"}).status_code == 403
    assert admin_client.get(reverse("admin:openrouter_app_cataloguemodel_add")).status_code == 403
    delete = reverse("admin:openrouter_app_cataloguemodel_delete", args=[row.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    assert CatalogueModel.objects.get().slug == "a/b"


def test_the_list_is_filtered_by_what_models_can_do_and_cost(admin_client):
    make_model("a/cheap", completion_price=Decimal("0.000001"), input_modalities=["text", "image"])
    make_model("a/dear", completion_price=Decimal("0.000075"), parameters=["reasoning"])
    make_model("a/free", prompt_price=Decimal(0), completion_price=Decimal(0), parameters=[])
    make_model("a/varies", prompt_price=None, completion_price=None, output_modalities=["image"])
    make_model("a/gone", missing_since=timezone.now(), parameters=["structured_outputs"])
    assert listed(admin_client, listed="no") == {"a/gone"}
    assert listed(admin_client, listed="yes") == {"a/cheap", "a/dear", "a/free", "a/varies"}
    assert listed(admin_client, supports="reasoning") == {"a/dear"}
    assert listed(admin_client, supports="tools") == {"a/cheap", "a/varies"}
    assert listed(admin_client, supports="structured_outputs") == {"a/gone"}
    assert listed(admin_client, takes="image") == {"a/cheap"}
    assert listed(admin_client, answers="image") == {"a/varies"}
    assert listed(admin_client, price="free") == {"a/free"}
    assert listed(admin_client, price="1") == {"a/cheap", "a/free", "a/gone"}
    assert listed(admin_client, price="more") == {"a/dear"}
    assert listed(admin_client, price="varies") == {"a/varies"}
    assert len(listed(admin_client, price="odd")) == 5
    assert listed(admin_client, q="cheap") == {"a/cheap"}


def test_the_list_asks_the_database_as_often_for_many_rows(admin_client, django_assert_max_num_queries):
    for number in range(60):
        make_model(f"a/{number}", description="x" * 1000)
    with django_assert_max_num_queries(8):
        admin_client.get(reverse(LIST))


def test_a_search_finds_words_in_any_order_the_nearest_first(admin_client):
    make_model("openai/gpt-4o", name="OpenAI: GPT-4o", created=timezone.now() - timedelta(days=9))
    make_model("openai/gpt-4o-mini", name="OpenAI: GPT-4o mini", created=timezone.now())
    make_model("other/clone", name="Like GPT-4o mini", created=timezone.now())
    make_model("openai/embeds-4o", output_modalities=["embeddings"])
    make_model("openai/gpt-4o-old", missing_since=timezone.now())
    slugs = [model["slug"] for model in found(admin_client, "openai/gpt-4o")["models"]]
    assert slugs == ["openai/gpt-4o", "openai/gpt-4o-mini"]
    assert [model["slug"] for model in found(admin_client, " MINI  gpt ")["models"]] == [
        "openai/gpt-4o-mini",
        "other/clone",
    ]
    assert len(found(admin_client, "")["models"]) == 3
    assert found(admin_client, "100%_")["models"] == []
    assert found(admin_client, "x" * 5000)["models"] == []


def test_a_search_says_what_is_known_of_the_very_text(admin_client):
    assert found(admin_client, "a/b")["known"] == ""
    make_model("a/b", name="A: B")
    assert found(admin_client, "a/b:nitro")["known"].startswith("A: B · $0.15 in, $0.60 out")
    assert found(admin_client, "a/c")["known"] == "Not in the catalogue; it is used as it stands here."
    assert found(admin_client, "  ")["known"] == ""


@pytest.mark.parametrize(
    ("permission", "status"),
    [("view_cataloguemodel", 200), ("change_chain", 200), ("add_chain", 200), ("view_run", 403)],
)
def test_who_edits_chains_searches(permission, status):
    client = staff(permission)
    assert client.get(reverse(SEARCH), {"q": "a"}).status_code == status
    assert client.post(reverse(SEARCH)).status_code == 405
    assert Client().get(reverse(SEARCH)).status_code == 302


def test_a_row_says_what_matters_for_a_choice():
    row = make_model(
        "a/b",
        name="A: B",
        context_length=1_047_576,
        expires=timezone.localdate() + timedelta(days=3),
        input_modalities=["image"],
        output_modalities=["image"],
    )
    assert labels(row)[:6] == [
        "A: B",
        "$0.15 in, $0.60 out per 1M tokens",
        "1.05M context",
        "tools",
        "takes pictures",
        "makes pictures",
    ]
    assert labels(row)[6].startswith("expires on ")
    bare = CatalogueModel(slug="c/d")
    assert labels(bare) == ["price varies"]
    assert labels(make_model("e/f", prompt_price=Decimal(0), completion_price=Decimal(0)))[0] == "free"


@pytest.mark.parametrize(
    ("each", "shown"),
    [
        ("0.00000015", "$0.15"),
        ("0.0000125", "$12.50"),
        ("0.0000000375", "$0.0375"),
        ("0.000003", "$3.00"),
        ("0.0025", "$2,500.00"),
    ],
)
def test_a_price_is_that_of_a_million_tokens(each, shown):
    assert per_million(Decimal(each)) == shown


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [(500, "500"), (8_192, "8K"), (128_000, "128K"), (1_000_000, "1M"), (1_047_576, "1.05M"), (10**7, "10M")],
)
def test_a_length_is_short(tokens, shown):
    assert short(tokens) == shown


def test_numbers_are_written_as_the_language_does():
    with translation.override("de"):
        assert (per_million(Decimal("0.00000015")), short(1_047_576)) == ("$0,15", "1,05M")


def field(response):
    text = response.content.decode()
    return text[text.index('<div class="openrouter-model"') :].partition("</datalist>")[0]


def test_the_form_offers_models_without_a_script_and_takes_any_text(admin_client):
    make_model("a/b", name='A: "B" <i>')
    make_model("a/gone", missing_since=timezone.now())
    markup = field(admin_client.get(reverse("admin:openrouter_app_chain_add")))
    assert 'list="id_model_models"' in markup
    assert '<option value="a/b">A: &quot;B&quot; &lt;i&gt;, $0.15 in' in markup
    assert "a/gone" not in markup
    assert f'data-search="{reverse(SEARCH)}"' in markup
    assert re.search(r'maxlength="200"', markup)
    for number, slug in enumerate(["not/listed:nitro", "~a/b-latest", "@preset/site"]):
        data = form(make_prompt(f"prompt{number}"), model=slug, slug=f"chain{number}")
        admin_client.post(reverse("admin:openrouter_app_chain_add"), data)
        assert Chain.objects.get(slug=f"chain{number}").model == slug


def test_the_form_says_what_is_known_of_the_model_it_has(admin_client):
    make_model("a/b", name="A: B")
    chain = make_chain()
    assert "A: B · $0.15 in" in html.unescape(field(admin_client.get(reverse(CHAIN, args=[chain.pk]))))


def test_a_chain_that_needs_what_its_model_lacks_is_saved_published_and_warned_of(admin_client):
    make_model("a/b", parameters=["max_tokens"])
    tool = ToolSpec.objects.create(name="look")
    add = reverse("admin:openrouter_app_chain_add")
    data = form(make_prompt(), tools=[tool.pk])
    lacks = "As OpenRouter lists it, “a/b” calls no tools; this chain has some."
    response = admin_client.post(add, data, follow=True)
    assert f"Greet: {lacks}" in messages(response)
    chain = Chain.objects.get()
    page = reverse(CHAIN, args=[chain.pk])
    response = admin_client.post(page, {**data, "_publish": "yes"}, follow=True)
    assert chain.published is not None
    # once: in its own place on the chain's page
    assert said(response).count(lacks) == 1
    assert '<section class="openrouter-advice"' in said(response)
    response = admin_client.post(page, {**data, "_continue": "yes"}, follow=True)
    assert said(response).count(lacks) == 1
    listing = reverse("admin:openrouter_app_chain_changelist")
    action = {"action": "publish_selected", "_selected_action": [chain.pk]}
    response = admin_client.post(listing, action, follow=True)
    assert f"Greet: {lacks}" in messages(response)


def test_a_chain_that_lacks_nothing_is_left_alone(admin_client):
    make_model("a/b")
    page = reverse(CHAIN, args=[make_chain().pk])
    assert "openrouter-advice" not in said(admin_client.get(page))


def test_a_form_with_mistakes_is_shown_again_beside_the_advice(admin_client):
    make_model("c/d")
    chain = make_chain()
    data = form(chain.prompt, options="[1]", client_models='{"a": 1}')
    response = admin_client.post(reverse(CHAIN, args=[chain.pk]), data)
    assert response.status_code == 200
    assert "Write a JSON object" in said(response)


def test_who_pays_for_a_chain_is_chosen_in_its_form(admin_client):
    chain = make_chain()
    admin_client.post(reverse(CHAIN, args=[chain.pk]), form(chain.prompt, payer="user_or_site"))
    chain.refresh_from_db()
    assert chain.payer == "user_or_site"
