"""Tools that act: handlers, their rows and transactions, approvals, and runs that wait for them."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from io import StringIO
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.utils import timezone

from openrouter_app import runs
from openrouter_app.engine.errors import ToolError
from openrouter_app.models import Owner, Run, RunEvent, ToolCall, ToolSpec
from openrouter_app.runs import Refused, pausing
from openrouter_app.runs.writer import writer
from openrouter_app.testing import Gate, ToolCallScript
from tests.acting import SCHEMA, call_of, calls_in, make_acting_chain, make_group, start, told, waits
from tests.factories import make_user
from tests.followers import follow_to_end, parts_of, until
from tests.owning import row_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("provider")]

make = sync_to_async


@pytest.fixture
def owner():
    return Owner.of_visitor(uuid4())


async def test_handler_acts_and_the_model_goes_on_with_its_result(provider, owner, handle):
    handle(make_group)
    await make(make_acting_chain)()
    provider.reply("Let me see. ", ToolCallScript("make_group", {"name": "bears"}), usage={"cost": 0.5})
    provider.reply("Made it.", usage={"cost": 0.25})
    run = await start(owner)
    view = await follow_to_end(owner, run)
    row, call = await row_of(run), await call_of(run)
    assert view.state["parts"] == row.parts
    assert [part["type"] for part in row.parts] == ["step", "text", "call", "step", "text"]
    (part,) = calls_in(row.parts)
    assert (part["status"], part["output"]) == ("done", {"made": "bears"})
    assert (row.status, row.output, row.reason) == ("done", "Made it.", "stop")
    assert str(row.cost.normalize()) == view.state["usage"]["cost"] == "0.75"
    assert (call.status, call.output, call.name) == ("done", {"made": "bears"}, "make_group")
    assert call.started <= call.ended
    assert await Group.objects.filter(name="bears").aexists()
    assert told(provider) == ['{"made":"bears"}']


async def test_invariant_12_a_handler_that_runs_has_its_row_under_the_runs_fence(provider, owner, handle):
    seen = []

    def look(context, name):
        call = ToolCall.objects.select_related("run").get(uuid=context.key)
        seen.append((call.status, call.run.status, call.run.uuid == context.run, call.run.fence))

    handle(look)
    await make(make_acting_chain)()
    provider.call("make_group", {"name": "x"})
    provider.reply("ok")
    await follow_to_end(owner, await start(owner))
    assert seen == [("running", "running", True, 1)]


async def test_handler_acts_as_the_user_and_needs_his_permission_at_that_moment(provider, handle):
    seen = []

    def act(context, name):
        seen.append(context.user.get_username())

    handle(act, permission="auth.add_group")
    user = await make(make_user)()
    await make(make_acting_chain)()
    provider.call("make_group", {"name": "x"})
    provider.reply("no")
    await follow_to_end(Owner.of_user(user), await start(Owner.of_user(user)))
    assert seen == []
    assert told(provider) == ["The person who asked is not allowed to do this."]
    await user.user_permissions.aadd(await Permission.objects.aget(codename="add_group"))
    provider.call("make_group", {"name": "x"})
    provider.reply("yes")
    await follow_to_end(Owner.of_user(user), await start(Owner.of_user(user)))
    assert seen == ["ada"]


async def test_what_a_failing_handler_changed_is_taken_back_and_its_error_is_told(provider, owner, handle):
    def act(context, name):
        Group.objects.create(name=name)
        raise ToolError("There is no room for it.")

    handle(act)
    await make(make_acting_chain)()
    provider.call("make_group", {"name": "bears"})
    provider.reply("Sorry.")
    view = await follow_to_end(owner, await start(owner))
    (part,) = calls_in(view.state["parts"])
    assert (part["status"], part["error"]) == ("failed", "There is no room for it.")
    call = await ToolCall.objects.aget()
    assert (call.status, call.error) == ("failed", "There is no room for it.")
    assert not await Group.objects.aexists()
    assert told(provider) == ["There is no room for it."]


async def test_of_an_unexpected_error_nobody_is_told_more_than_that_it_failed(
    provider, owner, handle, caplog
):
    def act(context, name):
        raise RuntimeError("secret of the house")

    handle(act)
    await make(make_acting_chain)()
    provider.call("make_group", {"name": "bears"})
    provider.reply("Sorry.")
    view = await follow_to_end(owner, await start(owner))
    assert "secret of the house" not in str(view.state)
    assert told(provider) == ["The tool failed."]
    assert "secret of the house" in caplog.text


async def test_handler_that_takes_too_long_changes_nothing(provider, owner, handle):
    released, ended = threading.Event(), threading.Event()

    def act(context, name):
        try:
            Group.objects.create(name=name)
            released.wait(5)
        finally:
            ended.set()

    handle(act)
    await make(make_acting_chain)(timeout=0.2)
    provider.call("make_group", {"name": "bears"})
    provider.reply("Too slow.")
    waiting = asyncio.create_task(follow_to_end(owner, await start(owner)))
    await asyncio.sleep(0.6)
    released.set()
    view = await waiting
    await until(ended.is_set)
    (part,) = calls_in(view.state["parts"])
    assert (part["status"], part["error"]) == ("failed", "The tool took longer than 0.2 seconds.")
    await asyncio.sleep(0.2)
    assert not await Group.objects.aexists()
    assert (await ToolCall.objects.aget()).status == "failed"


async def test_async_handler_runs_on_the_loop(provider, owner, handle):
    async def act(context, name):
        await asyncio.sleep(0)
        return f"hello {name} from {type(asyncio.get_running_loop()).__name__ != ''}"

    handle(act)
    await make(make_acting_chain)()
    provider.call("make_group", {"name": "ada"})
    provider.reply("ok")
    view = await follow_to_end(owner, await start(owner))
    assert calls_in(view.state["parts"])[0]["output"] == "hello ada from True"


async def test_result_that_is_not_public_reaches_the_model_and_no_page(provider, owner, handle):
    handle(lambda context, name: {"salary": "CANARY-12345"})
    await make(make_acting_chain)(result_public=False)
    provider.call("make_group", {"name": "ada"})
    provider.reply("Enough.")
    run = await start(owner)
    view = await follow_to_end(owner, run)
    assert "CANARY" not in str(view.state)
    assert "CANARY" not in str((await row_of(run)).parts)
    assert told(provider) == ['{"salary":"CANARY-12345"}']
    assert (await call_of(run)).output == {"salary": "CANARY-12345"}


async def test_a24_arguments_are_checked_before_the_handler_is_called(provider, owner, handle):
    called = []
    handle(lambda context, **named: called.append(named))
    await make(make_acting_chain)()
    hostile = [{"name": 3}, {}, {"name": "x", "__proto__": {"y": 1}}, {"name": "x", "context": 1}]
    for arguments in hostile:
        provider.call("make_group", arguments)
        provider.reply("ok")
        view = await follow_to_end(owner, await start(owner))
        assert calls_in(view.state["parts"])[0]["status"] == "failed"
    assert called == []
    assert await ToolCall.objects.acount() == 0


async def test_a25_a_tool_that_was_not_offered_is_not_run(provider, owner, handle):
    called = []
    handle(lambda context, **named: called.append(named))
    handle(lambda context, **named: called.append(named), name="drop_everything")
    await make(make_acting_chain)()
    provider.call("drop_everything", {"name": "x"})
    provider.reply("ok")
    view = await follow_to_end(owner, await start(owner))
    (part,) = calls_in(view.state["parts"])
    assert part["status"] == "failed"
    assert "There is no tool of this name" in part["error"]
    assert called == []


async def test_a25_a_model_that_calls_for_ever_is_stopped(provider, owner, handle, settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "MAX_TOOL_STEPS": 3}
    handle(lambda context, name: "again")
    await make(make_acting_chain)()
    for _ in range(3):
        provider.call("make_group", {"name": "x"})
    run = await start(owner)
    view = await follow_to_end(owner, run)
    assert view.state["error"]["code"] == "limit"
    assert await ToolCall.objects.acount() == 3


async def test_forced_tool_is_forced_once(provider, owner, handle):
    handle(lambda context, name: "done")
    chain = await make(make_acting_chain)()
    chain.tool_choice, chain.forced_tool = "forced", await ToolSpec.objects.aget()
    await chain.asave()
    await make(chain.publish)()
    provider.call("make_group", {"name": "x"})
    provider.reply("ok")
    view = await follow_to_end(owner, await start(owner))
    assert view.state["output"] == "ok"
    choices = [request.json.get("tool_choice") for request in provider.requests]
    assert choices == [{"type": "function", "function": {"name": "make_group"}}, "auto"]


async def test_tool_without_a_handler_beside_one_with_is_the_answer(provider, owner, handle):
    handle(lambda context, name: "found")
    chain = await make(make_acting_chain)()
    await chain.tools.aadd(await ToolSpec.objects.acreate(name="show", schema=SCHEMA))
    await make(chain.publish)()
    provider.call("make_group", {"name": "x"})
    provider.call("show", {"name": "card"})
    view = await follow_to_end(owner, await start(owner))
    assert view.state["status"] == "done"
    assert view.state["output"] == [{"name": "show", "arguments": {"name": "card"}}]
    assert [part["status"] for part in calls_in(view.state["parts"])] == ["done", "ready"]


async def test_stop_in_a_handler_takes_back_what_it_changed(provider, owner, handle):
    entered, released = threading.Event(), threading.Event()

    def act(context, name):
        Group.objects.create(name=name)
        entered.set()
        released.wait(5)

    handle(act)
    await make(make_acting_chain)()
    provider.call("make_group", {"name": "bears"})
    run = await start(owner)
    await until(entered.is_set)
    stopping = asyncio.create_task(runs.stop(owner, run))
    await asyncio.sleep(0.1)
    released.set()
    await stopping
    view = await follow_to_end(owner, run)
    assert view.state["status"] == "stopped"
    assert calls_in(view.state["parts"])[0]["status"] == "cancelled"
    assert (await call_of(run)).status == "interrupted"
    await asyncio.sleep(0.2)
    assert not await Group.objects.aexists()


class TestApproval:
    """A call that a person has to allow."""

    async def waiting(self, provider, owner, handle, approval="owner", answer="Made it."):
        handle(make_group)
        await make(make_acting_chain)(approval=approval)
        provider.call("make_group", {"name": "bears"}, id="c1")
        if answer:
            provider.reply(answer)
        run = await start(owner)
        await waits(run)
        return run

    async def test_run_waits_as_a_row_and_goes_on_when_it_is_allowed(self, provider, owner, handle):
        run = await self.waiting(provider, owner, handle)
        row, call = await row_of(run), await call_of(run)
        assert (row.lease_until, row.owner_process, row.deadline) == (None, "", None)
        assert (call.status, call.approval) == ("waiting", "owner")
        assert call.approval_expires > timezone.now() + timedelta(days=2)
        assert not runs.is_executing(run)
        assert not await Group.objects.aexists()
        following = asyncio.create_task(follow_to_end(owner, run))
        await asyncio.sleep(0.1)
        await runs.decide(owner, run, "c1", approve=True)
        view = await following
        row = await row_of(run)
        assert (row.status, row.output) == ("done", "Made it.")
        assert view.state["parts"] == row.parts
        (part,) = calls_in(row.parts)
        assert (part["status"], part["output"]) == ("done", {"made": "bears"})
        call = await call_of(run)
        assert (call.status, call.decided_by_id, call.decided_at is not None) == ("done", None, True)
        assert await Group.objects.acount() == 1
        assert not await RunEvent.objects.aexists()

    async def test_follower_from_the_start_sees_it_wait_and_go_on(self, provider, owner, handle):
        handle(make_group)
        await make(make_acting_chain)(approval="owner")
        provider.call("make_group", {"name": "bears"}, id="c1")
        provider.reply("Made it.")
        run = await start(owner)
        following = asyncio.create_task(follow_to_end(owner, run))
        await waits(run)
        await runs.decide(owner, run, "c1", approve=True)
        view = await asyncio.wait_for(following, 10)
        assert view.state["parts"] == (await row_of(run)).parts

    async def test_waiting_run_shows_what_it_waits_for(self, provider, owner, handle):
        run = await self.waiting(provider, owner, handle, answer="")
        async for update in runs.follow(owner, run):
            assert update.state["status"] == "waiting"
            (part,) = calls_in(update.state["parts"])
            assert (part["status"], part["approval"]) == ("waiting", "owner")
            assert part["expires"].endswith("+00:00")
            break

    async def test_denial_with_a_reason_reaches_the_model(self, provider, owner, handle):
        run = await self.waiting(provider, owner, handle, answer="Then not.")
        await runs.decide(owner, run, "c1", approve=False, reason="Not bears.")
        view = await follow_to_end(owner, run)
        (part,) = calls_in(view.state["parts"])
        assert (part["status"], part["reason"]) == ("denied", "Not bears.")
        assert told(provider) == ["A person refused this call: Not bears."]
        assert view.state["output"] == "Then not."
        assert not await Group.objects.aexists()

    async def test_invariant_13_a_decision_is_idempotent_and_used_once(self, provider, owner, handle):
        run = await self.waiting(provider, owner, handle)
        await asyncio.gather(*(runs.decide(owner, run, "c1", approve=True) for _ in range(5)))
        with pytest.raises(Refused) as refused:
            await runs.decide(owner, run, "c1", approve=False)
        assert refused.value.code == "decided"
        await follow_to_end(owner, run)
        await runs.decide(owner, run, "c1", approve=True)
        assert await Group.objects.acount() == 1

    async def test_invariant_13_nobody_else_decides(self, provider, owner, handle):
        run = await self.waiting(provider, owner, handle, answer="")
        for stranger in (Owner.of_visitor(uuid4()), Owner.of_user(await make(make_user)())):
            with pytest.raises(Refused) as refused:
                await runs.decide(stranger, run, "c1", approve=True)
            assert (refused.value.code, refused.value.message) == ("not_found", "There is no such run.")
        with pytest.raises(Refused) as refused:
            await runs.decide(owner, run, "c2", approve=True)
        assert refused.value.code == "not_found"
        assert (await row_of(run)).status == "waiting"

    async def test_approval_by_staff_is_not_the_owners(self, provider, owner, handle):
        run = await self.waiting(provider, owner, handle, approval="staff")
        with pytest.raises(Refused) as refused:
            await runs.decide(owner, run, "c1", approve=True)
        assert refused.value.code == "forbidden"
        key = (await call_of(run)).uuid
        plain = await make(make_user)("bob", is_staff=True)
        with pytest.raises(Refused):
            await runs.decide_as_staff(plain, key, approve=True)
        boss = await make(make_user)("eve", is_staff=True, is_superuser=True)
        await runs.decide_as_staff(boss, key, approve=True)
        await follow_to_end(owner, run)
        assert (await call_of(run)).decided_by_id == boss.pk
        assert await Group.objects.acount() == 1

    async def test_approval_is_bound_to_the_arguments(self, provider, owner, handle):
        run = await self.waiting(provider, owner, handle)
        row = await row_of(run)
        row.private["loop"] = row.private["loop"].replace("bears", "wolves")
        await row.asave()
        await runs.decide(owner, run, "c1", approve=True)
        view = await follow_to_end(owner, run)
        assert calls_in(view.state["parts"])[0]["error"] == "Nobody has allowed this call."
        assert not await Group.objects.aexists()

    async def test_stricter_rule_set_after_publishing_counts(self, provider, owner, handle):
        handle(make_group)
        await make(make_acting_chain)()
        await ToolSpec.objects.aupdate(approval="staff")
        provider.call("make_group", {"name": "bears"})
        run = await start(owner)
        await waits(run)
        assert (await call_of(run)).approval == "staff"

    async def test_expiry_counts_as_a_denial(self, provider, owner, handle):
        run = await self.waiting(provider, owner, handle, answer="Too late then.")
        await ToolCall.objects.aupdate(approval_expires=timezone.now() - timedelta(seconds=1))
        with pytest.raises(Refused) as refused:
            await runs.decide(owner, run, "c1", approve=True)
        assert refused.value.code == "expired"
        tending = asyncio.create_task(runs.reap_for_ever())
        view = await follow_to_end(owner, run)
        tending.cancel()
        assert view.state["output"] == "Too late then."
        assert calls_in(view.state["parts"])[0]["reason"] == "Nobody decided in time."
        assert not await Group.objects.aexists()

    async def test_decision_whose_process_is_gone_is_taken_up_by_another(self, provider, owner, handle):
        run = await self.waiting(provider, owner, handle)
        assert await make(pausing.decide)(owner, run, "c1", approve=True)
        assert (await row_of(run)).status == "queued"
        tending = asyncio.create_task(runs.reap_for_ever())
        view = await follow_to_end(owner, run)
        tending.cancel()
        assert view.state["status"] == "done"
        assert await Group.objects.acount() == 1

    async def test_stop_ends_a_run_that_waits(self, provider, owner, handle):
        run = await self.waiting(provider, owner, handle, answer="")
        await runs.stop(owner, run)
        view = await follow_to_end(owner, run)
        assert view.state["status"] == "stopped"
        assert calls_in(view.state["parts"])[0]["status"] == "cancelled"
        assert (await call_of(run)).status == "cancelled"
        with pytest.raises(Refused) as refused:
            await runs.decide(owner, run, "c1", approve=True)
        assert refused.value.code == "decided"

    async def test_invariant_6_a_run_that_waits_is_never_reaped(self, provider, owner, handle):
        run = await self.waiting(provider, owner, handle, answer="")
        assert await make(runs.reap)() == []
        assert (await row_of(run)).status == "waiting"

    async def test_two_calls_one_decided_later(self, provider, owner, handle):
        handle(make_group)
        handle(lambda context, name: f"looked at {name}", name="look")
        chain = await make(make_acting_chain)(approval="owner", parallel=True)
        look = await ToolSpec.objects.acreate(name="look", schema=SCHEMA, handler="look", parallel=True)
        await chain.tools.aadd(look)
        await make(chain.publish)()
        provider.reply(
            ToolCallScript("look", {"name": "x"}, "a"),
            ToolCallScript("make_group", {"name": "one"}, "b"),
            ToolCallScript("make_group", {"name": "two"}, "c"),
        )
        provider.reply("All done.")
        run = await start(owner)
        await waits(run)
        (first, second, third) = await self.parts(owner, run)
        assert (first["status"], second["status"], third["status"]) == ("done", "waiting", "waiting")
        await runs.decide(owner, run, "c", approve=True)
        await until(lambda: not runs.is_executing(run))
        await waits(run)
        (first, second, third) = await self.parts(owner, run)
        assert (first["status"], second["status"], third["status"]) == ("done", "waiting", "done")
        assert len(provider.requests) == 1
        await runs.decide(owner, run, "b", approve=False, reason="no")
        view = await follow_to_end(owner, run)
        assert [part["status"] for part in calls_in(view.state["parts"])] == ["done", "denied", "done"]
        assert view.state["output"] == "All done."
        assert [group.name async for group in Group.objects.all()] == ["two"]

    async def parts(self, owner, run):
        async for update in runs.follow(owner, run):
            return calls_in(update.state["parts"])

    async def test_chain_that_was_switched_off_lets_nobody_approve_and_asks_no_model(
        self, provider, owner, handle
    ):
        run = await self.waiting(provider, owner, handle, answer="")
        row = await Run.objects.select_related("chain").aget(uuid=run)
        row.chain.enabled = False
        await row.chain.asave()
        with pytest.raises(Refused) as refused:
            await runs.decide(owner, run, "c1", approve=True)
        assert refused.value.code == "forbidden"
        await runs.decide(owner, run, "c1", approve=False)
        state = (await follow_to_end(owner, run)).state
        assert (state["status"], state["error"]["code"]) == ("failed", "forbidden")
        assert len(provider.requests) == 1


async def test_a_call_of_a_lost_fence_runs_no_handler(provider, owner, handle):
    called = []
    handle(lambda context, name: called.append(name))
    await make(make_acting_chain)()
    gate = asyncio.Event()
    original = writer().call

    async def call(function, *args):
        if getattr(getattr(function, "func", None), "__name__", "") == "begin_call":
            await Run.objects.aupdate(fence=9)
            gate.set()
        return await original(function, *args)

    writer().call = call
    provider.call("make_group", {"name": "x"})
    run = await start(owner)
    await asyncio.wait_for(gate.wait(), 5)
    await until(lambda: not runs.is_executing(run))
    assert called == []
    assert await ToolCall.objects.acount() == 0
    assert len(provider.requests) == 1


async def test_run_that_goes_on_from_a_sync_view_may_use_the_database(provider, owner, handle):
    async def act(context, name):
        await Group.objects.acreate(name=name)
        return await Group.objects.acount()

    handle(act)
    await make(make_acting_chain)(approval="owner")
    provider.call("make_group", {"name": "bears"}, id="c1")
    provider.reply("Made it.")
    run = await start(owner)
    await waits(run)
    # What the admin does: the loop's thread has ended its request before the handler runs.
    await sync_to_async(async_to_sync(runs.decide))(owner, run, "c1", approve=True)
    view = await follow_to_end(owner, run)
    assert [(part["status"], part.get("output")) for part in calls_in(view.state["parts"])] == [("done", 1)]


async def test_run_whose_pause_cannot_be_stored_ends_as_failed(provider, owner, handle, monkeypatch):
    def unstorable(plan):
        raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no")

    monkeypatch.setattr(pausing, "pause", unstorable)
    handle(make_group)
    await make(make_acting_chain)(approval="owner")
    provider.call("make_group", {"name": "bears"}, id="c1")
    run = await start(owner)
    view = await follow_to_end(owner, run)
    assert (view.state["status"], view.state["error"]["retryable"]) == ("failed", True)
    assert calls_in(view.state["parts"])[0]["status"] in ("ready", "cancelled")
    assert (await row_of(run)).status == "failed"


async def test_command_denies_what_nobody_decided_on_in_time(provider, owner, handle):
    handle(make_group)
    await make(make_acting_chain)(approval="owner")
    provider.call("make_group", {"name": "bears"}, id="c1")
    run = await start(owner)
    await waits(run)
    await ToolCall.objects.aupdate(approval_expires=timezone.now() - timedelta(seconds=1))
    await make(call_command)("openrouter_reap", stdout=StringIO())
    assert ((await call_of(run)).status, (await row_of(run)).status) == ("denied", "queued")


async def test_a_rule_that_became_stricter_while_the_model_wrote_counts_for_its_call(provider, owner, handle):
    handle(make_group)
    await make(make_acting_chain)()
    gate = Gate()
    provider.reply("Wait. ", gate, ToolCallScript("make_group", {"name": "bears"}))
    provider.reply("Then not.")
    run = await start(owner)
    await until(lambda: parts_of(run)[1:])
    await ToolSpec.objects.aupdate(approval="owner")
    gate.open()
    view = await follow_to_end(owner, run)
    assert calls_in(view.state["parts"])[0]["error"] == "Nobody has allowed this call."
    assert not await Group.objects.aexists()


async def test_a_rule_that_became_stricter_while_a_call_waits_counts_for_whoever_allows_it(
    provider, owner, handle
):
    handle(make_group)
    await make(make_acting_chain)(approval="owner")
    provider.call("make_group", {"name": "bears"}, id="c1")
    provider.reply("Then not.")
    run = await start(owner)
    await waits(run)
    await ToolSpec.objects.aupdate(approval="staff")
    with pytest.raises(Refused) as refused:
        await runs.decide(owner, run, "c1", approve=True)
    assert refused.value.code == "forbidden"
    await runs.decide(owner, run, "c1", approve=False)
    assert (await follow_to_end(owner, run)).state["status"] == "done"
