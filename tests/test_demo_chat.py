"""The demo's chat, whole: its chain, its tools over the shop's orders, and the simulation that calls them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections
from django.urls import reverse
from django.utils import timezone

from openrouter_app import runs
from openrouter_app.models import Owner, Run, ToolCall
from openrouter_app.testing import simulated_reply
from project import demo_data, demo_orders
from project.models import Order, OrderChange
from tests.factories import make_user
from tests.followers import follow_to_end

pytestmark = pytest.mark.django_db(transaction=True)

make = sync_to_async


@pytest.fixture(autouse=True)
async def demo(provider):
    provider.default = simulated_reply
    await make(demo_data.seed_chains)()
    await make(demo_orders.seed_orders)()
    return provider


@pytest.fixture
def owner():
    return Owner.of_visitor(uuid4())


async def say(owner, message, conversation=runs.NEW):
    """Start an answer; the run and its conversation."""
    start = runs.Start(owner, chain="chat", input={"message": message}, conversation=conversation)
    run = await runs.start(start)
    return run, await runs.conversation_of(run)


async def waits(run):
    for _ in range(250):
        if (await Run.objects.aget(uuid=run)).status == "waiting":
            return await ToolCall.objects.aget(run__uuid=run, status="waiting")
        await asyncio.sleep(0.02)
    raise AssertionError((await Run.objects.aget(uuid=run)).parts)


async def answer(owner, run):
    state = (await follow_to_end(owner, run)).state
    assert state["status"] == "done", state
    return state


def calls_in(state):
    return [part for part in state["parts"] if part["type"] == "call"]


async def test_orders_of_two_are_looked_up_at_once_and_answered_as_a_table(owner):
    run, _ = await say(owner, "Which orders of Ada and Grace are on their way?")
    state = await answer(owner, run)
    calls = calls_in(state)
    assert [call["arguments"] for call in calls] == [
        {"customer": "Ada", "status": "sent"},
        {"customer": "Grace", "status": "sent"},
    ]
    assert [call["status"] for call in calls] == ["done", "done"]
    assert calls[0]["output"]["orders"][0]["number"] == 1002
    assert "| 1002 | Ada Lovelace |" in state["output"]
    assert "nothing for *Grace, sent*" in state["output"]


async def test_delivery_is_moved_once_it_was_allowed_and_the_chat_remembers_which(owner):
    run, conversation = await say(owner, "Where is order 1003?")
    await answer(owner, run)
    day = timezone.localdate() + timedelta(days=40)
    run, _ = await say(owner, f"Move it to {day}", conversation)
    call = await waits(run)
    assert (call.name, call.approval) == ("change_delivery_date", "owner")
    assert not await OrderChange.objects.aexists()
    await runs.decide(owner, run, call.call, approve=True)
    state = await answer(owner, run)
    assert f"now comes on **{day}**" in state["output"]
    assert (await Order.objects.aget(number=1003)).delivery_date == day
    change = await OrderChange.objects.aget()
    assert (change.key, change.user_id) == (call.uuid, None)


async def test_denial_with_a_reason_is_heard_and_moves_nothing(owner):
    before = (await Order.objects.aget(number=1004)).delivery_date
    run, _ = await say(owner, "Move order 1004 one week later")
    call = await waits(run)
    await runs.decide(owner, run, call.call, approve=False, reason="Not in December")
    state = await answer(owner, run)
    assert [part["status"] for part in calls_in(state)] == ["done", "denied"]
    assert "*Not in December*" in state["output"]
    assert (await Order.objects.aget(number=1004)).delivery_date == before


async def test_order_that_was_sent_is_not_moved_even_when_it_is_allowed(owner):
    run, _ = await say(owner, f"Move order 1002 to {timezone.localdate() + timedelta(days=40)}")
    call = await waits(run)
    await runs.decide(owner, run, call.call, approve=True)
    state = await answer(owner, run)
    assert calls_in(state)[0]["status"] == "failed"
    assert "has been sent already" in state["output"]
    assert not await OrderChange.objects.aexists()


async def test_plain_talk_calls_nothing(owner):
    run, _ = await say(owner, "What can you do?")
    state = await answer(owner, run)
    assert calls_in(state) == []
    assert "```python" in state["output"]


async def test_staff_allow_it_in_the_admin_and_the_answer_goes_on_after_the_request(owner, async_client):
    day = timezone.localdate() + timedelta(days=40)
    run, _ = await say(owner, f"Move order 1006 to {day}")
    call = await waits(run)
    staff = await make(make_user)("eve", is_staff=True, is_superuser=True)
    await async_client.aforce_login(staff)
    address = reverse("admin:openrouter_app_toolcall_decide", args=[call.pk])
    async with ThreadSensitiveContext():  # as a server does for each request
        response = await async_client.post(address, {"decision": "approve"})
        await make(connections.close_all)()  # as a server does at a request's end
    assert response.status_code == 302
    state = await answer(owner, run)
    assert f"now comes on **{day}**" in state["output"]
    await call.arefresh_from_db()
    assert (call.status, call.decided_by_id) == ("done", staff.pk)
