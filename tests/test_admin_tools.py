"""Tools in the admin: a schema is taken, refused or warned of, each with its place."""

from __future__ import annotations

import html
import json

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from openrouter_app import tool_handlers
from openrouter_app.models import ToolSpec
from openrouter_app.tool_handlers import Handler
from tests.factories import make_user

pytestmark = pytest.mark.django_db

SETTINGS = {"handler": "", "approval": "none", "timeout": "30", "result_public": "on"}


def add(client, schema, **fields):
    data = {"name": "joke", "description": "", **SETTINGS, **fields}
    data["schema"] = schema if isinstance(schema, str) else json.dumps(schema)
    return client.post(reverse("admin:openrouter_app_toolspec_add"), data, follow=True)


def said(response):
    return html.unescape(response.content.decode())


def warnings(response):
    return [str(message) for message in response.context["messages"] if message.level_tag == "warning"]


def test_schema_is_saved_and_shown_again_in_its_order(admin_client):
    schema = {"type": "object", "properties": {"z": {"type": "string"}, "a": True}}
    assert warnings(add(admin_client, schema)) == []
    tool = ToolSpec.objects.get()
    assert json.dumps(tool.schema) == json.dumps(schema)
    page = said(admin_client.get(reverse("admin:openrouter_app_toolspec_change", args=[tool.pk])))
    assert json.dumps(schema, indent=2) in page


def test_wrong_json_is_refused_with_line_and_column_and_stays_as_it_was_typed(admin_client):
    typed = '{\n  "type": "object"\n  "properties": {}\n}'
    response = add(admin_client, typed)
    assert not ToolSpec.objects.exists()
    assert "Expecting ',' delimiter at line 3, column 3." in response.context["adminform"].errors["schema"][0]
    assert typed in said(response)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            '{\n  "type": "object",\n  "properties": {\n    "a": {"type": "objct"}\n  }\n}',
            "Line 4, column 19 ($.properties.a.type): must be one of array, boolean, integer, null, number, "
            'object, string, or a list of them, not "objct".',
        ),
        ('\n\n{"type": "object",\n "required": "a"}', "Line 4, column 14 ($.required): must be a list"),
        (
            '{"type": "object",\n "$ref": "file:///etc/passwd"}',
            "Line 2, column 10 ($.$ref): the reference",
        ),
        ('\n{"properties": {}}', 'Line 2, column 1 ($): a tool\'s schema must have "type": "object"'),
        ('{"type": "object", "type": "object"}', "“type” at line 1, column 20 stands in its object already"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_no_schema_is_refused_with_line_column_path_and_reason(admin_client, typed, said, newline):
    response = add(admin_client, typed.replace("\n", newline))
    assert not ToolSpec.objects.exists()
    (error,) = response.context["adminform"].errors["schema"]
    assert error.startswith(said)


def test_what_is_stored_past_the_checks_is_not_complained_of_beside_what_was_typed(admin_client):
    tool = ToolSpec.objects.create(name="joke", schema={"type": "string"})
    address = reverse("admin:openrouter_app_toolspec_change", args=[tool.pk])
    for typed in ["{", "[]"]:
        response = admin_client.post(address, {**SETTINGS, "name": "joke", "schema": typed})
        (error,) = response.context["adminform"].errors["schema"]
        assert "olumn" in error
    admin_client.post(address, {**SETTINGS, "name": "joke", "schema": '{"type": "object"}'})
    tool.refresh_from_db()
    assert tool.schema == {"type": "object"}


def test_number_that_no_column_could_keep_is_refused(admin_client):
    response = add(admin_client, '{"type": "object",\n "maximum": 1e999}')
    (error,) = response.context["adminform"].errors["schema"]
    assert error == "The number at line 2, column 13 is too large."


def test_required_name_without_a_property_is_saved_with_a_warning_at_its_place(admin_client):
    typed = '{"type": "object", "properties": {"setup": {}},\n"required": ["setup", "location"]}'
    response = add(admin_client, typed)
    assert ToolSpec.objects.exists()
    assert warnings(response) == [
        "Line 2, column 23 ($.required[1]): 'location' is required but is no property."
    ]
    tool = ToolSpec.objects.get()
    address = reverse("admin:openrouter_app_toolspec_change", args=[tool.pk])
    response = admin_client.post(address, {**SETTINGS, "name": "joke", "schema": "\n" + typed}, follow=True)
    assert warnings(response)[0].startswith("Line 3, column 23 ($.required[1])")


def test_A20_pattern_is_saved_with_a_warning(admin_client):
    response = add(admin_client, {"type": "object", "properties": {"a": {"pattern": "(a+)+$"}}})
    assert ToolSpec.objects.exists()
    (warning,) = warnings(response)
    assert warning == (
        "Line 1, column 52 ($.properties.a.pattern): a pattern is sent to the model as it is. Only a "
        "tool with a function checks arguments against it, and refuses one that cannot be checked in "
        "bounded time."
    )


def test_A20_reference_that_leaves_the_document_is_refused(admin_client):
    response = add(admin_client, {"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}})
    assert not ToolSpec.objects.exists()
    assert "$.properties.a.$ref" in response.context["adminform"].errors["schema"][0]


def test_reference_that_leads_nowhere_is_refused_with_line_and_column(admin_client):
    response = add(admin_client, '{"type": "object",\n "properties": {"a": {"$ref": "#/$defs/gone"}}}')
    assert not ToolSpec.objects.exists()
    (error,) = response.context["adminform"].errors["schema"]
    assert error == "Line 2, column 31 ($.properties.a.$ref): the reference to '#/$defs/gone' leads nowhere."


def test_schema_of_an_older_draft_is_saved(admin_client):
    schema = {
        "type": "object",
        "properties": {"a": {"items": [{"type": "string"}], "additionalItems": False}},
    }
    assert "$.properties.a.items" in add(admin_client, schema).context["adminform"].errors["schema"][0]
    assert warnings(add(admin_client, {"$schema": "http://json-schema.org/draft-07/schema#", **schema})) == []
    assert ToolSpec.objects.exists()


def test_many_warnings_are_summed_up(admin_client):
    response = add(
        admin_client, {"type": "object", "properties": {}, "required": [str(n) for n in range(12)]}
    )
    assert len(warnings(response)) == 6
    assert warnings(response)[-1] == "And 7 more like these."


def test_tool_name_is_checked(admin_client):
    assert "name" in add(admin_client, {"type": "object"}, name="not a name").context["adminform"].errors


# Handlers

LIST = reverse("admin:openrouter_app_toolspec_changelist")


@pytest.fixture
def handler(monkeypatch):
    def refund(context, order):
        """Pay back what <b>was</b> paid.

        Not shown.
        """

    monkeypatch.setitem(tool_handlers._handlers, "refund", Handler("refund", refund))


def edit(client, tool, **fields):
    address = reverse("admin:openrouter_app_toolspec_change", args=[tool.pk])
    data = {**SETTINGS, "name": tool.name, "schema": '{"type": "object"}', "handler": tool.handler, **fields}
    return client.post(address, data, follow=True)


def choices(client, tool=None):
    address = reverse(
        f"admin:openrouter_app_toolspec_{'change' if tool else 'add'}", args=[tool.pk] if tool else []
    )
    return dict(client.get(address).context["adminform"].form.fields["handler"].choices)


def test_every_handler_is_offered_with_the_first_line_of_its_docstring(admin_client, handler):
    offered = choices(admin_client)
    assert set(offered) == {"", *(known.name for known in tool_handlers.all_handlers())}
    assert offered["refund"] == "refund: Pay back what <b>was</b> paid."
    assert "<b>was" not in admin_client.get(reverse("admin:openrouter_app_toolspec_add")).content.decode()


def test_handler_is_chosen_with_its_approval_and_limits(admin_client, handler):
    add(admin_client, {"type": "object"}, handler="refund", approval="staff", timeout="2.5", parallel="on")
    tool = ToolSpec.objects.get()
    assert (tool.handler, tool.approval, tool.timeout, tool.parallel) == ("refund", "staff", 2.5, True)
    assert tool.result_public


def test_handler_that_no_app_has_is_not_taken(admin_client):
    response = add(admin_client, {"type": "object"}, handler="invented")
    assert "handler" in response.context["adminform"].errors
    assert not ToolSpec.objects.exists()


def test_handler_that_is_gone_is_kept_and_marked_and_an_error_says_what_to_do(admin_client, handler):
    tool = ToolSpec.objects.create(name="old", handler="went_away", approval="owner")
    assert choices(admin_client, tool)["went_away"] == "went_away (no installed app has it)"
    assert "missing" in said(admin_client.get(LIST))
    response = edit(admin_client, tool, description="new")
    (error,) = response.context["adminform"].errors["handler"]
    assert "“went_away”" in error
    assert "openrouter_tools.py" in error
    tool.refresh_from_db()
    assert (tool.handler, tool.description) == ("went_away", "")
    edit(admin_client, tool, handler="refund")
    tool.refresh_from_db()
    assert tool.handler == "refund"


def test_time_limit_has_limits(admin_client):
    for seconds in ("0", "-1", "4000", "nan"):
        assert "timeout" in add(admin_client, {"type": "object"}, timeout=seconds).context["adminform"].errors


def test_approval_without_a_handler_is_saved_with_a_warning(admin_client):
    response = add(admin_client, {"type": "object"}, approval="owner")
    assert warnings(response) == ["Nothing waits for approval: this tool has no handler that runs."]


def test_tools_are_filtered_by_what_they_do(admin_client, handler):
    for name, by in [("acting", "refund"), ("plain", ""), ("broken", "went_away")]:
        ToolSpec.objects.create(name=name, handler=by)
    for choice, names in [("yes", {"acting", "broken"}), ("no", {"plain"}), ("missing", {"broken"})]:
        response = admin_client.get(LIST, {"acts": choice})
        assert {tool.name for tool in response.context["cl"].result_list} == names
    assert admin_client.get(LIST, {"approval__exact": "owner"}).status_code == 200


def test_who_may_only_look_sees_the_handler(client, handler):
    tool = ToolSpec.objects.create(name="acting", handler="refund")
    user = make_user("lou", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_toolspec"))
    client.force_login(user)
    page = said(client.get(reverse("admin:openrouter_app_toolspec_change", args=[tool.pk])))
    assert "refund" in page
