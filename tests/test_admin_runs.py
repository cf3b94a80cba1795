"""Versions and runs in the admin: to look at, quickly, and as text."""

from __future__ import annotations

import html
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from openrouter_app.models import ChainVersion, Conversation, ModelCall, Run
from tests.factories import make_chain, make_user

pytestmark = pytest.mark.django_db

RUNS = "admin:openrouter_app_run_changelist"
VERSIONS = "admin:openrouter_app_chainversion_changelist"


@pytest.fixture
def make_run():
    chain = make_chain("echo", ("system", "the secret prompt"), ("human", "{text}"))

    def make(**fields):
        if fields.get("status", "queued") in Run.FINAL:
            fields.setdefault("ended", timezone.now())
        return Run.objects.create(chain=chain, version=chain.published, **fields)

    return make


def page(run):
    return reverse("admin:openrouter_app_run_change", args=[run.pk])


def said(response):
    return html.unescape(response.content.decode())


def test_run_shows_input_answer_error_and_what_it_took(admin_client, make_run):
    now = timezone.now()
    run = make_run(
        user=make_user("ada"),
        input={"text": "What is it?"},
        status="failed",
        started=now,
        first_token=now + timedelta(seconds=0.5),
        ended=now + timedelta(seconds=2),
        parts=[
            {"type": "step", "model": "a/b"},
            {"type": "text", "text": "So far"},
            {"type": "reasoning", "text": "Hm", "ms": 3},
            {
                "type": "call",
                "call": "c",
                "name": "joke",
                "arguments": {"setup": "Why"},
                "status": "cancelled",
            },
            {
                "type": "call",
                "call": "d",
                "name": "odd",
                "arguments": {},
                "status": "invalid",
                "raw": '{"a',
                "message": "cut",
            },
            {"type": "unheard of", "x": 1},
        ],
        error_code="provider",
        error_message="The provider failed.",
        error_detail="502 from upstream",
        prompt_tokens=1200,
        completion_tokens=34,
        cost=Decimal("0.0000125000"),
        cost_estimated=True,
        private={"reasoning_details": "inner"},
    )
    text = said(admin_client.get(page(run)))
    for piece in (
        "What is it?",
        "So far",
        "Hm",
        '"setup": "Why"',
        "cancelled",
        '{"a',
        "cut",
        "unheard of",
        "The provider failed.",
        "502 from upstream",
        "1,200 in, 34 out",
        "≈ $0.0000125",
        "2.0 s",
        "0.5 s",
        "ada",
        "inner",
    ):
        assert piece in text, piece


def test_run_shows_who_paid_and_each_model_call_with_its_cost(admin_client, make_run):
    run = make_run(status="stopped", payer="user", cost=Decimal("0.5004"), cost_estimated=True)
    now = timezone.now()
    asked = {
        "run": run,
        "run_uuid": run.uuid,
        "requested": "a/b",
        "model": "a/b-2025",
        "provider": "Acme",
        "prompt_tokens": 1_200,
    }
    first = {"number": 1, "generation_id": "gen-1", "completion_tokens": 7, "cost": "0.5", "settled_at": now}
    second = {"number": 2, "completion_tokens": 1, "cost": "0.0004", "ask_after": now, "error": "<b>cut</b>"}
    for call in (first, second):
        ModelCall.objects.create(**asked, **call)
    shown = said(admin_client.get(page(run)))
    assert "the user" in shown
    assert "≈ $0.5004" in shown
    for text in ("1. a/b-2025", "Acme · 1,200 in, 7 out · $0.5 ", "gen-1", "≈ $0.0004 · OpenRouter is asked"):
        assert text in shown
    assert "<b>cut" not in admin_client.get(page(run)).content.decode()


def test_run_leads_to_its_conversation_and_its_tool_calls_and_shows_their_results(admin_client, make_run):
    chain = make_chain("chat")
    conversation = Conversation.objects.create(chain=chain, visitor=uuid4(), title="About bears")
    card = {
        "type": "call",
        "name": "find",
        "arguments": {},
        "status": "done",
        "output": {"found": "<b>bears"},
    }
    denied = {"type": "call", "name": "move", "arguments": {}, "status": "denied", "reason": "Not today."}
    run = make_run(status="done", conversation=conversation, parts=[card, denied])
    call = run.tool_calls.create(call="c", name="find", arguments="{}", status="done")
    response = admin_client.get(page(run))
    text = said(response)
    for piece in (
        "About bears",
        reverse("admin:openrouter_app_conversation_change", args=[conversation.pk]),
        reverse("admin:openrouter_app_toolcall_change", args=[call.pk]),
        '"found": "<b>bears"',
        "Not today.",
    ):
        assert piece in text, piece
    assert "<b>bears" not in response.content.decode()


def test_A21_what_a_model_or_a_visitor_wrote_is_text(admin_client, make_run):
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    run = make_run(
        input={"text": attack},
        status="failed",
        parts=[
            {"type": "text", "text": attack},
            {"type": "step", "model": attack},
            {
                "type": "call",
                "name": attack,
                "arguments": {attack: attack},
                "status": attack,
                "message": attack,
            },
            {"type": attack},
        ],
        error_message=attack,
        error_detail=attack,
        model=attack,
        private={"x": attack},
    )
    for address in (page(run), reverse(RUNS)):
        page_text = admin_client.get(address).content.decode()
        assert "<script>alert" not in page_text
        assert "<img src=x" not in page_text


def test_run_in_progress_and_run_of_nobody_can_be_looked_at(admin_client, make_run):
    for run in (make_run(), make_run(visitor=uuid4(), status="running")):
        assert admin_client.get(page(run)).status_code == 200
    text = said(admin_client.get(reverse(RUNS)))
    assert "system" in text
    assert "visitor " in text


def test_a_very_long_text_is_cut_and_says_so(admin_client, make_run):
    run = make_run(error_detail="x" * 20_000, private={"x": "y" * 100_000})
    response = admin_client.get(page(run))
    assert len(response.content) < 200_000
    assert "characters more" in said(response)


@pytest.mark.parametrize(
    "query", ["?status__exact=failed", "?q=ada", "?chain__id__exact=1", "?origin__exact=command"]
)
def test_runs_are_filtered_and_searched(admin_client, make_run, query):
    make_run(user=make_user("ada"), status="failed", origin="command")
    assert admin_client.get(reverse(RUNS) + query).status_code == 200


def test_run_is_found_by_its_id_and_by_its_user(admin_client, make_run):
    # a name that can stand in no UUID
    mine, other = make_run(user=make_user("zoe")), make_run()
    for query in (str(mine.uuid), "zoe"):
        text = admin_client.get(reverse(RUNS), {"q": query}).content.decode()
        assert page(mine) in text
        assert page(other) not in text


def test_list_takes_a_fixed_number_of_queries_and_no_texts(admin_client, make_run, django_assert_num_queries):
    make_run(user=make_user("one"))
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(reverse(RUNS))
    for name in ("two", "three"):
        make_run(user=make_user(name))
    with django_assert_num_queries(len(queries)):
        admin_client.get(reverse(RUNS))
    listing = [query["sql"] for query in queries if '"openrouter_app_run"."status"' in query["sql"]]
    assert listing
    for column in ('"parts"', '"private"', '"error_detail"', '"body"'):
        assert not any(column in sql for sql in listing)


def test_runs_are_not_added_or_changed(admin_client, make_run):
    run = make_run()
    assert admin_client.get(reverse("admin:openrouter_app_run_add")).status_code == 403
    assert admin_client.post(page(run), {"status": "done"}).status_code == 403
    run.refresh_from_db()
    assert run.status == "queued"


def test_user_with_runs_can_be_deleted(admin_client, make_run):
    user = make_user("ada")
    make_run(user=user)
    admin_client.post(reverse("admin:auth_user_delete", args=[user.pk]), {"post": "yes"})
    assert not Run.objects.exists()


@pytest.mark.parametrize("many", [True, False])
def test_run_can_be_deleted(admin_client, make_run, many):
    run, other = make_run(), make_run()
    if many:
        data = {"action": "delete_selected", "_selected_action": [run.pk], "post": "yes"}
        admin_client.post(reverse("admin:openrouter_app_run_changelist"), data)
    else:
        admin_client.post(reverse("admin:openrouter_app_run_delete", args=[run.pk]), {"post": "yes"})
    assert list(Run.objects.all()) == [other]


def test_version_shows_its_content_and_is_never_added_changed_or_deleted(admin_client, make_run):
    version = make_run().version
    address = reverse("admin:openrouter_app_chainversion_change", args=[version.pk])
    text = said(admin_client.get(address))
    assert "the secret prompt" in text
    assert version.hash in text
    assert admin_client.post(address, {"note": "x"}).status_code == 403
    delete = reverse("admin:openrouter_app_chainversion_delete", args=[version.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    assert admin_client.get(reverse("admin:openrouter_app_chainversion_add")).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [version.pk], "post": "yes"}
    admin_client.post(reverse(VERSIONS), data)
    assert ChainVersion.objects.filter(pk=version.pk).exists()


def test_list_of_versions_takes_a_fixed_number_of_queries(admin_client, django_assert_num_queries):
    make_chain("one")
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(reverse(VERSIONS))
    make_chain("two"), make_chain("three")
    with django_assert_num_queries(len(queries)):
        admin_client.get(reverse(VERSIONS))
    assert not any('"body"' in query["sql"] for query in queries)


def test_who_is_not_staff_sees_none_of_it(client, make_run):
    run = make_run(error_detail="inner detail")
    client.force_login(make_user())
    for address in (page(run), reverse(RUNS), reverse(VERSIONS)):
        response = client.get(address, follow=True)
        assert "inner detail" not in said(response)
        assert "the secret prompt" not in said(response)


def test_staff_without_the_permission_sees_none_of_it(client, make_run):
    run = make_run()
    client.force_login(make_user(is_staff=True))
    for address in (page(run), reverse(RUNS), reverse(VERSIONS)):
        assert client.get(address).status_code == 403


def test_unfinished_run_shows_what_its_log_has(admin_client, make_run):
    run = make_run(status="running")
    run.events.create(
        after=0, seq=2, events='[{"type":"step","part":0},{"type":"text","part":1,"delta":"So"}]'
    )
    run.events.create(after=2, seq=3, events='[{"type":"text","part":1,"delta":" far"}]')
    assert "So far" in said(admin_client.get(page(run)))


@pytest.mark.django_db(transaction=True)
def test_selected_runs_are_stopped_by_who_may_change_runs(client, make_run):
    waiting, ended = make_run(status="queued"), make_run(status="done")
    staff = make_user("eve", is_staff=True)
    client.force_login(staff)
    data = {"action": "stop", "_selected_action": [waiting.pk, ended.pk]}
    staff.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.post(reverse(RUNS), data)
    waiting.refresh_from_db()
    assert waiting.status == "queued"
    staff.user_permissions.add(Permission.objects.get(codename="change_run"))
    assert "1 run was asked to stop" in said(client.post(reverse(RUNS), data, follow=True))
    waiting.refresh_from_db()
    ended.refresh_from_db()
    assert (waiting.status, ended.status) == ("stopped", "done")
