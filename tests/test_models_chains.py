"""Chains: who may run them, and what publishing promises."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from openrouter_app.models import DEFAULT_LABEL, Chain, ChainVersion, ImmutableError, Label, ToolSpec
from tests.factories import JOKE_SCHEMA, make_chain, make_joke_chain, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def chain():
    return make_chain("translate", ("system", "Be {tone}."), ("human", "{text}"), publish=False)


# By value


def test_body_is_the_chain_by_value():
    chain = make_joke_chain(publish=False, options={"temperature": 0.2}, client_options=["model"])
    assert chain.body() == {
        "messages": [["human", "tell me a long joke about {foo}"]],
        "tools": [{"name": "joke_tool", "description": "A joke", "schema": JOKE_SCHEMA, "strict": False}],
        "tool_choice": {"forced": "joke_tool"},
        "model": "a/b",
        "options": {"temperature": 0.2},
        "parser": "tools",
        "client_options": ["model"],
    }


def test_a_chain_without_tools_chooses_none(chain):
    assert chain.body()["tool_choice"] is None


def test_tools_stand_in_one_order_whatever_they_were_added_in(chain):
    for name in ("b", "a", "c"):
        chain.tools.add(ToolSpec.objects.create(name=name))
    assert [tool["name"] for tool in chain.body()["tools"]] == ["a", "b", "c"]


# Publishing


def test_publishing_makes_versions_numbered_from_one(chain):
    user = make_user()
    first = chain.publish(author=user, note="first")
    assert (first.number, first.author, first.note, first.body) == (1, user, "first", chain.body())
    chain.model = "other/model"
    chain.save()
    assert chain.publish().number == 2
    assert chain.published.number == 2
    assert len(first.hash) == 64


def test_the_same_content_gives_the_version_it_was_then(chain):
    first = chain.publish()
    assert chain.publish() == first
    chain.model = "other/model"
    chain.save()
    second = chain.publish()
    chain.model = first.body["model"]
    chain.save()
    assert chain.publish() == first
    assert chain.published == first
    assert ChainVersion.objects.filter(chain=chain).count() == 2
    assert second.number == 2


def test_the_order_of_properties_is_content():
    chain = make_joke_chain()
    first = chain.published
    tool = chain.forced_tool
    tool.schema = {**JOKE_SCHEMA, "properties": dict(reversed(JOKE_SCHEMA["properties"].items()))}
    tool.save()
    second = Chain.objects.get(pk=chain.pk).publish()
    assert second != first
    assert list(second.body["tools"][0]["schema"]["properties"]) == ["punchline", "setup"]


def test_what_is_saved_is_published_not_what_is_in_memory(chain):
    stale = Chain.objects.get(pk=chain.pk)
    Chain.objects.filter(pk=chain.pk).update(model="saved/model")
    stale.model = "unsaved/model"
    assert stale.publish().body["model"] == "saved/model"


def test_published_version_stays_while_the_prompt_is_edited(chain):
    version = chain.publish()
    chain.prompt.rows.filter(position=1).update(text="Something else {tone}")
    assert ChainVersion.objects.get(pk=version.pk).body["messages"][0] == ["system", "Be {tone}."]


def test_unpublished_changes_are_seen_wherever_they_are_made():
    chain = make_joke_chain(publish=False)
    assert chain.published is None
    assert chain.has_unpublished_changes
    chain.publish()
    assert not chain.has_unpublished_changes
    for change in (
        lambda: chain.prompt.rows.update(text="tell me about {foo}"),
        lambda: ToolSpec.objects.update(description="Another"),
        lambda: Chain.objects.update(options={"temperature": 1}),
        lambda: chain.tools.add(ToolSpec.objects.create(name="more")),
    ):
        change()
        assert Chain.objects.get(pk=chain.pk).has_unpublished_changes
        Chain.objects.get(pk=chain.pk).publish()
        assert not Chain.objects.get(pk=chain.pk).has_unpublished_changes


def test_access_and_the_switch_need_no_publishing(chain):
    chain.publish()
    chain.access, chain.enabled, chain.title = "staff", False, "New"
    chain.save()
    assert not chain.has_unpublished_changes


def test_publishing_gives_a_draft_of_the_same_content_its_number(chain):
    version = chain.publish()
    draft = ChainVersion.objects.create(chain=chain, body={"other": 1}, hash="0" * 64)
    assert str(draft) == "draft"
    ChainVersion.objects.filter(pk=version.pk).update(number=None)
    assert chain.publish() == version
    assert ChainVersion.objects.get(pk=version.pk).number == 1


def test_a_prefetched_chain_shows_what_it_published(chain):
    loaded = Chain.objects.with_parts().get()
    assert loaded.published is None
    version = loaded.publish()
    assert loaded.published == version


def test_list_of_chains_takes_a_fixed_number_of_queries(django_assert_num_queries):
    for name in ("one", "two", "three"):
        make_joke_chain(name)
    with django_assert_num_queries(4):
        assert [chain.has_unpublished_changes for chain in Chain.objects.with_parts()] == [False] * 3


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda chain: chain.prompt.rows.update(text="}"), "Row 1: The '}' at line 1, column 1"),
        (lambda chain: chain.prompt.rows.all().delete(), "The prompt has no rows."),
        (lambda chain: ToolSpec.objects.update(schema={"type": "string"}), "Tool “joke_tool”: $.type: "),
        (lambda chain: chain.tools.clear(), "The forced tool is not among the chain's tools."),
        (lambda chain: Chain.objects.update(forced_tool=None), "The forced tool is not among"),
        (
            lambda chain: (
                chain.tools.clear(),
                Chain.objects.update(tool_choice="required", forced_tool=None),
            ),
            "A tool call is required, but the chain has no tools.",
        ),
        (
            lambda chain: (chain.tools.clear(), Chain.objects.update(tool_choice="auto", forced_tool=None)),
            "The answer is to be the tool calls, but the chain has no tools.",
        ),
        (lambda chain: Chain.objects.update(model=" "), "The chain has no model."),
        (lambda chain: Chain.objects.update(options={"model": "x"}), "Options: The chain sets model itself."),
        (lambda chain: Chain.objects.update(client_options=["tools"]), "No client may set tools."),
    ],
)
def test_what_cannot_run_is_not_published_and_says_why(spoil, said):
    chain = make_joke_chain()
    before = chain.published
    spoil(chain)
    with pytest.raises(ValidationError) as raised:
        chain.publish()
    assert any(said in sentence for sentence in raised.value.messages), raised.value.messages
    assert Chain.objects.get(pk=chain.pk).published == before
    assert ChainVersion.objects.count() == 1


def test_all_that_is_wrong_is_said_at_once():
    chain = make_joke_chain(publish=False)
    chain.prompt.rows.all().delete()
    Chain.objects.update(model="", options=[])
    with pytest.raises(ValidationError) as raised:
        chain.publish()
    assert len(raised.value.messages) == 3


# Versions and labels


def test_invariant_22_version_never_changes(chain):
    version = chain.publish()
    version.body = {"messages": []}
    with pytest.raises(ImmutableError):
        version.save()
    with pytest.raises(ImmutableError):
        version.save(update_fields=["note", "body"])
    for fields in ({"body": {}}, {"hash": "x"}, {"chain": chain}, {"note": "a", "hash": "x"}):
        with pytest.raises(ImmutableError):
            ChainVersion.objects.update(**fields)
    with pytest.raises(ImmutableError):
        ChainVersion.objects.bulk_update([version], ["body"])
    assert ChainVersion.objects.get().body == chain.body()


def test_version_is_never_deleted(chain):
    version = chain.publish()
    with pytest.raises(ImmutableError):
        version.delete()
    with pytest.raises(ImmutableError):
        ChainVersion.objects.all().delete()
    assert not hasattr(ChainVersion.objects, "delete")
    with pytest.raises(ProtectedError):
        chain.delete()


def test_version_may_get_another_note_and_outlives_its_author(chain):
    user = make_user()
    version = chain.publish(author=user)
    version.note = "reviewed"
    version.save(update_fields=["note"])
    ChainVersion.objects.filter(pk=version.pk).update(note="twice")
    user.delete()
    version.refresh_from_db()
    assert (version.note, version.author) == ("twice", None)


def test_a_number_and_a_content_stand_once_in_a_chain(chain):
    version = chain.publish()
    for fields in ({"number": 1, "hash": "x"}, {"number": 2, "hash": version.hash}):
        with pytest.raises(IntegrityError), transaction.atomic():
            ChainVersion.objects.create(chain=chain, body={}, **fields)
    ChainVersion.objects.create(chain=chain, body={}, hash="x")
    ChainVersion.objects.create(chain=chain, body={}, hash="y")


def test_label_never_points_into_another_chain(chain):
    other = make_chain("other").published
    with pytest.raises(ValidationError, match="another chain"):
        Label.objects.create(chain=chain, name=DEFAULT_LABEL, version=other)


def test_body_keeps_its_order_in_the_database(chain):
    version = chain.publish()
    assert json.dumps(ChainVersion.objects.get(pk=version.pk).body) == json.dumps(chain.body())


def test_what_a_chain_needs_is_not_deleted():
    chain = make_joke_chain()
    with pytest.raises(ProtectedError):
        chain.prompt.delete()
    with pytest.raises(ProtectedError):
        chain.forced_tool.delete()


# Who may run it


@pytest.fixture
def people():
    return {
        "nobody": None,
        "stranger": AnonymousUser(),
        "user": make_user("user"),
        "staff": make_user("staff", is_staff=True),
        "sleeper": make_user("sleeper", is_staff=True, is_active=False),
    }


@pytest.mark.parametrize(
    ("access", "allowed"),
    [
        ("public", {"nobody", "stranger", "user", "staff", "sleeper"}),
        ("authenticated", {"user", "staff"}),
        ("staff", {"staff"}),
    ],
)
def test_access_levels(people, access, allowed):
    chain = make_chain(access=access)
    assert {name for name, person in people.items() if chain.may_be_run_by(person)} == allowed
    assert {name for name, person in people.items() if chain in Chain.objects.visible_to(person)} == allowed


def test_a_new_chain_is_for_who_is_logged_in():
    assert Chain().access == "authenticated"


def test_a_switched_off_chain_is_nobodys(people):
    chain = make_chain(enabled=False)
    assert not any(chain.may_be_run_by(person) for person in people.values())
    assert not Chain.objects.visible_to(people["staff"])


def test_an_unpublished_chain_is_not_listed(chain, people):
    Label.objects.create(
        chain=chain, name="draft", version=ChainVersion.objects.create(chain=chain, body={}, hash="x")
    )
    assert not Chain.objects.visible_to(people["staff"])
    chain.publish()
    assert list(Chain.objects.visible_to(None)) == [chain]


def test_invariant_21_publishing_and_labels_change_no_access(people):
    chain = make_chain(access="public")
    first = chain.published
    Chain.objects.update(access="staff", model="other/model")
    chain = Chain.objects.get()
    chain.publish()
    chain.labels.update(version=first)
    assert not Chain.objects.get().may_be_run_by(people["user"])


# What is refused when it is saved


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"options": []}, "options", "Write a JSON object"),
        ({"options": {"stream": False, "model": "x"}}, "options", "The chain sets model, stream itself."),
        ({"client_options": {}}, "client_options", "Write a JSON list of names"),
        ({"client_options": [1]}, "client_options", "Write a JSON list of names"),
        ({"client_options": ["a", "a"]}, "client_options", "A name stands twice."),
        ({"client_options": ["messages"]}, "client_options", "No client may set messages."),
        ({"tool_choice": "forced"}, "forced_tool", "Choose the tool that is forced."),
    ],
)
def test_chain_refuses_at_its_field(chain, fields, field, said):
    for name, value in fields.items():
        setattr(chain, name, value)
    with pytest.raises(ValidationError) as raised:
        chain.full_clean()
    assert said in raised.value.message_dict[field][0]


def test_forced_tool_without_that_choice_is_refused():
    chain = make_joke_chain()
    chain.tool_choice = "auto"
    with pytest.raises(ValidationError) as raised:
        chain.full_clean()
    assert "forced_tool" in raised.value.message_dict


def test_clients_may_be_left_the_model(chain):
    chain.client_options = ["model", "temperature"]
    chain.full_clean()
