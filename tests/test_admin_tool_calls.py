"""Tool calls in the admin: to look at, and the inbox of those that wait for a person."""

from __future__ import annotations

import html
import json
import time
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from openrouter_app import runs
from openrouter_app.background import in_background
from openrouter_app.engine import client
from openrouter_app.models import Owner, Run, ToolCall
from openrouter_app.models.tool_calls import arguments_hash
from openrouter_app.testing import simulated_reply
from project.demo_data import seed_chains
from project.demo_orders import seed_orders
from tests.factories import make_chain, make_run, make_user

pytestmark = pytest.mark.django_db

LIST = reverse("admin:openrouter_app_toolcall_changelist")
ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)>"


def make_call(status="waiting", *, run=None, approval="staff", arguments='{"name":"bears"}', **fields):
    """A call as a run that waits has made it."""
    if run is None:
        run = make_run("waiting", deadline=None)
    fields = {"name": "make_group", "call": "c1", **fields}
    expires = fields.pop("approval_expires", timezone.now() + timedelta(days=3))
    return ToolCall.objects.create(
        run=run,
        arguments=arguments,
        hash=arguments_hash(fields["name"], arguments),
        status=status,
        approval=approval,
        approval_expires=expires,
        **fields,
    )


def staff(name, *codenames):
    user = make_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


def signed_in(user, **options):
    browser = Client(**options)
    browser.force_login(user)
    return browser


@pytest.fixture
def decider():
    """Staff who may decide, and nothing more."""
    return signed_in(staff("dora", "decide_toolcall"))


@pytest.fixture
def looker():
    """Staff who may look at calls, but not decide."""
    return signed_in(staff("lou", "view_toolcall"))


def page(call):
    return reverse("admin:openrouter_app_toolcall_change", args=[call.pk])


def decide(browser, call, decision="approve", **data):
    address = reverse("admin:openrouter_app_toolcall_decide", args=[call.pk])
    return browser.post(address, {"decision": decision, **data}, follow=True)


def act(browser, action, *calls, **data):
    selected = [call.pk for call in calls]
    return browser.post(LIST, {"action": action, "_selected_action": selected, **data}, follow=True)


def said(response):
    return html.unescape(response.content.decode())


def messages(response):
    return [str(message) for message in response.context["messages"]]


# Looking


def test_call_that_waits_shows_all_that_is_to_be_decided_on(decider):
    run = make_run("waiting", user=make_user("ada"), deadline=None)
    call = make_call(run=run, arguments='{"z":"bears","a":{"deep":[1,2]}}')
    text = said(decider.get(page(call)))
    for piece in ("make_group", "Elsewhere", "ada", str(run.uuid), "staff, in the admin", "Approve", "Deny"):
        assert piece in text, piece
    assert text.index('"z": "bears"') < text.index('"a": {')
    assert "Whoever asked" not in text
    assert "What came of it" not in text


def test_call_that_its_owner_may_decide_on_says_so(decider):
    assert "Whoever asked can decide on it" in said(decider.get(page(make_call(approval="owner"))))


def test_call_that_has_ended_shows_who_decided_what_and_what_came_of_it(looker):
    user = make_user("eve")
    now = timezone.now()
    call = make_call(
        "denied", decided_by=user, decided_at=now, reason="Not bears.", started=now, error="It was refused."
    )
    text = said(looker.get(page(call)))
    for piece in ("eve", "Not bears.", "Denied", "It was refused."):
        assert piece in text, piece
    assert "May this call run" not in text
    done = make_call("done", run=call.run, call="c2", output={"made": "bears"})
    assert '"made": "bears"' in said(looker.get(page(done)))


@pytest.mark.parametrize(
    "fields",
    [{"approval_expires": timezone.now() - timedelta(seconds=1)}, {"status": "running"}],
    ids=["expired", "running"],
)
def test_what_cannot_be_decided_on_any_more_has_no_buttons(decider, fields):
    assert "May this call run" not in said(decider.get(page(make_call(**fields))))


def test_call_of_a_run_that_has_ended_has_no_buttons_and_is_in_no_inbox(decider):
    run = make_run("stopped", ended=timezone.now(), deadline=None)
    call = make_call(run=run)
    assert "May this call run" not in said(decider.get(page(call)))
    assert page(call) not in said(decider.get(LIST, {"waiting": "anybody"}))


def test_inbox_has_what_waits_for_staff_and_what_one_asked_oneself():
    user = staff("dora", "decide_toolcall")
    browser = signed_in(user)
    theirs = make_call(approval="owner")
    mine = make_call(approval="owner", run=make_run("waiting", user=user, deadline=None))
    for_staff = make_call(run=make_run("waiting", deadline=None))
    late = make_call(run=make_run("waiting", deadline=None), approval_expires=timezone.now())
    done = make_call("done", run=make_run("running"))

    def listed(**query):
        text = said(browser.get(LIST, query))
        return {call.pk for call in (theirs, mine, for_staff, late, done) if page(call) in text}

    assert listed(waiting="me") == {mine.pk, for_staff.pk}
    assert listed(waiting="anybody") == {theirs.pk, mine.pk, for_staff.pk}
    assert listed() == {call.pk for call in (theirs, mine, for_staff, late, done)}
    assert listed(q="make_group") == listed()
    assert listed(q=str(mine.run.uuid)) == {mine.pk}


def test_A32_what_a_model_or_a_visitor_wrote_is_text(decider):
    chain = make_chain("evil", title=ATTACK)
    run = make_run("waiting", chain=chain, user=make_user("<b>ada"), deadline=None)
    calls = [
        make_call(run=run, arguments=f'{{"{ATTACK}":"{ATTACK}"}}', name="<b>tool", call="1"),
        make_call(run=run, arguments=ATTACK, call="2"),
        make_call("failed", run=run, call=ATTACK, error=ATTACK, output={"x": ATTACK}, reason=ATTACK),
    ]
    responses = [decider.get(LIST), *(decider.get(page(call)) for call in calls)]
    responses.append(act(decider, "approve_selected", make_call("done", run=run, name="<b>tool", call="4")))
    for response in responses:
        text = response.content.decode()
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert "<b>" not in text


def test_A37_arguments_cannot_look_like_others(decider):
    arguments = json.dumps({"to": "\u202eevil\u202c caf\u00e9\u200b", "\u2066x": "\u0000\u001b[31m"})
    call = make_call(arguments=arguments)
    text = said(decider.get(page(call)))
    assert '"to": "\\u202eevil\\u202c caf\u00e9\\u200b"' in text
    assert '"\\u2066x": "\\u0000\\u001b[31m"' in text
    for response in (decider.get(page(call)), decider.get(LIST)):
        assert not set("\u202e\u202c\u200b\u2066\x00\x1b") & set(said(response))


def test_very_long_arguments_are_cut_and_say_so(decider):
    call = make_call(arguments='{"x":"' + "y" * 100_000 + '"}')
    response = decider.get(page(call))
    assert len(response.content) < 150_000
    assert "characters more" in said(response)


def test_list_takes_a_fixed_number_of_queries_and_no_texts_of_runs(decider, django_assert_num_queries):
    make_call(run=make_run("waiting", user=make_user("one"), deadline=None))
    with CaptureQueriesContext(connection) as queries:
        decider.get(LIST)
    for number in range(5):
        run = make_run("waiting", user=make_user(f"u{number}"), deadline=None, chain=make_chain(f"c{number}"))
        make_call(run=run)
    with django_assert_num_queries(len(queries)):
        decider.get(LIST)
    listing = [query["sql"] for query in queries if '"openrouter_app_toolcall"."hash"' in query["sql"]]
    assert listing
    for column in ('"parts"', '"private"', '"options"'):
        assert not any(f'"openrouter_app_run".{column}' in sql for sql in listing)


# Who may not


def test_A32_who_may_not_decide_gets_403_for_each_way(looker):
    call = make_call()
    assert "Approve" not in said(looker.get(page(call)))
    assert "not decide on them" in said(looker.get(page(call)))
    assert "approve_selected" not in said(looker.get(LIST))
    for decision in ("approve", "deny"):
        assert decide(looker, call, decision).status_code == 403
        assert act(looker, f"{decision}_selected", call).status_code == 403
        bulk = {"action": f"{decision}_selected", "select_across": "1", "_selected_action": [call.pk]}
        assert looker.post(LIST, bulk).status_code == 403
    call.refresh_from_db()
    assert (call.status, call.decided_by) == ("waiting", None)


def test_A32_deciding_needs_post_a_csrf_token_and_a_member_of_the_staff(decider):
    call = make_call()
    address = reverse("admin:openrouter_app_toolcall_decide", args=[call.pk])
    assert decider.get(address).status_code == 405
    strict = signed_in(staff("stan", "decide_toolcall"), enforce_csrf_checks=True)
    assert strict.post(address, {"decision": "approve"}).status_code == 403
    outsider = make_user("out")
    outsider.user_permissions.set(Permission.objects.filter(codename="decide_toolcall"))
    for browser in (signed_in(outsider), Client()):
        assert browser.post(address, {"decision": "approve"}).status_code == 302
        assert browser.get(page(call)).status_code == 302
    call.refresh_from_db()
    assert call.status == "waiting"


def test_A32_nothing_is_added_changed_or_deleted(admin_client):
    call = make_call()
    assert admin_client.get(reverse("admin:openrouter_app_toolcall_add")).status_code == 403
    assert admin_client.post(page(call), {"status": "approved"}).status_code == 403
    delete = reverse("admin:openrouter_app_toolcall_delete", args=[call.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    act(admin_client, "delete_selected", call, post="yes")
    call.refresh_from_db()
    assert call.status == "waiting"


def test_run_and_its_user_can_be_deleted_with_their_calls(admin_client):
    run = make_run("done", user=make_user("ada"), ended=timezone.now())
    make_call("done", run=run)
    address = reverse("admin:openrouter_app_run_delete", args=[run.pk])
    admin_client.post(address, {"post": "yes"})
    assert not Run.objects.exists()
    assert not ToolCall.objects.exists()


def test_call_that_is_not_there_is_not_found(decider):
    address = reverse("admin:openrouter_app_toolcall_decide", args=[999])
    assert decider.post(address, {"decision": "approve"}).status_code == 404


def test_choice_that_is_none_decides_nothing(decider):
    call = make_call()
    assert "Choose whether" in messages(decide(decider, call, "perhaps"))[0]
    call.refresh_from_db()
    assert call.status == "waiting"


# Deciding


@pytest.mark.django_db(transaction=True)
class TestDecisions:
    """By who may; the run is taken up, or at least left to be."""

    def settled(self, call):
        call.refresh_from_db()
        return call.status, getattr(call.decided_by, "username", None), call.reason

    def test_denial_is_kept_with_its_reason_and_in_the_history(self, decider):
        call = make_call(run=make_run("running"))
        assert messages(decide(decider, call, "deny", reason="Not bears.")) == [
            '"make_group" (system) was denied.'
        ]
        assert self.settled(call) == ("denied", "dora", "Not bears.")
        entry = LogEntry.objects.get()
        assert (entry.object_id, entry.user.username) == (str(call.pk), "dora")

    def test_approval_is_kept_and_the_same_again_says_nothing_new(self, decider):
        call = make_call(run=make_run("running"), approval="owner")
        for _ in range(2):
            assert messages(decide(decider, call)) == ['"make_group" (system) was approved.']
        assert self.settled(call) == ("approved", "dora", "")
        (message,) = messages(decide(decider, call, "deny"))
        assert message == '"make_group" (system): This call has been decided already.'

    def test_what_has_expired_is_refused_with_a_sentence(self, decider):
        call = make_call(run=make_run("running"), approval_expires=timezone.now() - timedelta(seconds=1))
        assert "The time to decide" in messages(decide(decider, call))[0]
        assert self.settled(call) == ("waiting", None, "")

    def test_several_are_denied_with_one_reason(self, decider):
        calls = [make_call(run=make_run("running"), call=f"c{number}") for number in range(3)]
        response = act(decider, "deny_selected", *calls[:2], reason="None today.")
        assert len(messages(response)) == 2
        assert [self.settled(call)[2] for call in calls] == ["None today.", "None today.", ""]

    def test_several_are_approved_but_what_nobody_read_whole_is_left(self, decider):
        short = make_call(run=make_run("running"))
        long = make_call(run=make_run("running"), arguments='{"x":"' + "y" * 400 + '"}')
        response = act(decider, "approve_selected", short, long)
        assert self.settled(short)[0] == "approved"
        assert self.settled(long)[0] == "waiting"
        assert any("open it, and decide there" in message for message in messages(response))

    def test_run_that_waited_goes_on_though_the_request_has_no_loop_that_lasts(
        self, decider, settings, openrouter
    ):
        settings.OPENROUTER = {"API_KEY": "k", "BASE_URL": openrouter.base_url}
        openrouter.default = simulated_reply
        seed_chains()
        seed_orders()
        day = (timezone.localdate() + timedelta(days=40)).isoformat()
        start = runs.Start(
            Owner.of_visitor(uuid4()), chain="chat", input={"message": f"Move order 1004 to {day}"}
        )
        run = in_background(runs.start(start)).result(10)
        reaches(run, "waiting")
        decide(decider, ToolCall.objects.get())
        assert f"now comes on **{day}**" in reaches(run, "done").output
        assert self.settled(ToolCall.objects.get()) == ("done", "dora", "")
        in_background(client.aclose()).result(10)


def reaches(uuid, status):
    """The run, once it is so."""
    until = time.monotonic() + 10
    while (run := Run.objects.get(uuid=uuid)).status != status:
        assert time.monotonic() < until, run.status
        time.sleep(0.02)
    return run
