"""The pages about tools that act are true: their code runs, in page order, over the demo's orders."""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.utils import timezone

import project.models
from openrouter_app import runs, tool_handlers
from openrouter_app.conf import Settings
from openrouter_app.models import Owner, Run, ToolCall, ToolSpec
from openrouter_app.models.tools import Approval
from openrouter_app.runs.acting import MOST_SHOWN
from openrouter_app.tool_handlers import ToolContext
from project.demo_data import seed_chains
from project.demo_orders import seed_orders
from project.models import Order
from tests.factories import make_chain, make_user

pytestmark = pytest.mark.django_db(transaction=True)

DOCS = Path(__file__).parents[1] / "docs"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOOLS = "# shop/openrouter_tools.py"


def text_of(page):
    return (DOCS / f"{page}.md").read_text()


def blocks(page):
    return [source for _, source in _BLOCK.findall(text_of(page))]


@pytest.fixture
def shop(monkeypatch):
    """An app ``shop`` with the demo's orders, and the page's handlers in its ``openrouter_tools``."""
    monkeypatch.setattr(tool_handlers, "_handlers", dict(tool_handlers._handlers))
    tools = ModuleType("shop.openrouter_tools")
    for name, module in [
        ("shop", ModuleType("shop")),
        ("shop.models", project.models),
        ("shop.openrouter_tools", tools),
    ]:
        monkeypatch.setitem(sys.modules, name, module)
    for source in blocks("write-a-tool"):
        if source.startswith(TOOLS):
            exec(compile(source, "docs/write-a-tool.md", "exec"), vars(tools))
    seed_orders()
    return tools


@pytest.fixture
def names(shop):
    """What the other blocks of the page define."""
    found: dict[str, object] = {}
    for source in blocks("write-a-tool"):
        if not source.startswith(TOOLS):
            exec(compile(source, "docs/write-a-tool.md", "exec"), found)
    return found


def test_handlers_of_the_page_are_registered_and_its_tool_could_be_published(names):
    assert {"look_up", "shop.pack", "shop.send_letter"} <= {
        known.name for known in tool_handlers.all_handlers()
    }
    tool = ToolSpec.objects.get(name="pack_order")
    tool.full_clean()
    assert list(tool.problems()) == []


def test_test_of_the_page_passes(names, django_user_model):
    names["test_order_is_packed"](django_user_model)
    assert Order.objects.get(number=1004).status == "packed"


async def test_whole_way_of_the_page_passes(provider, names, monkeypatch):
    def prepared():
        schema = {
            "type": "object",
            "properties": {"customer": {"type": "string"}, "status": {"type": "string"}},
        }
        tool = ToolSpec.objects.create(name="look_up", schema=schema, handler="look_up")
        make_chain("clerk", ("human", "{message}"), tools=(tool,))
        return make_user("clerk")

    clerk = await sync_to_async(prepared)()
    monkeypatch.setattr(type(clerk), "has_perm", lambda self, name: name == "shop.view_order")
    await names["test_model_is_told_the_orders"](provider, clerk)


async def test_letter_of_the_page_is_sent_once(shop):
    context = ToolContext(user=AnonymousUser(), key=uuid4(), run=uuid4())
    for _ in range(2):
        assert await shop.send_letter(context, "Ada") == "It is on its way."
    assert shop.sent == {context.key: "Ada"}


def test_facts_of_the_page_are_those_of_the_code():
    page = text_of("write-a-tool")
    settings = Settings()
    assert f"{settings.MAX_TOOL_STEPS} model calls and {settings.MAX_TOOL_CALLS} tool calls" in page
    assert f"{MOST_SHOWN:,} characters" in page
    assert f"seconds, {ToolSpec().timeout:g} unless" in page
    for name in inspect.signature(ToolContext).parameters:
        assert f"`{name}`" in page, name
    for field in ("handler", "approval", "timeout", "result_public", "parallel"):
        assert f"| {ToolSpec._meta.get_field(field).verbose_name} |" in page, field


def test_page_about_approvals_names_every_choice_code_and_time():
    page = text_of("approve")
    for choice in Approval:
        assert f"| {choice.label} |" in page
    assert (
        f"`APPROVAL_TIMEOUT` ({Settings().APPROVAL_TIMEOUT / 86_400:g} days)".replace("(3 ", "(three ")
        in page
    )


async def test_code_about_approvals_decides_and_tells_what_the_page_says_is_told(provider):
    names: dict[str, object] = {}
    for source in blocks("approve"):
        exec(compile(source, "docs/approve.md", "exec"), names)
    await sync_to_async(seed_chains)()
    await sync_to_async(seed_orders)()
    owner = Owner.of_visitor(uuid4())
    day = (timezone.localdate() + timedelta(days=40)).isoformat()
    provider.call("change_delivery_date", {"number": 1004, "new_date": day})
    provider.reply("As you like.")
    start = runs.Start(owner, chain="chat", input={"message": "Later!"}, conversation=runs.NEW)
    run = await runs.start(start)
    for _ in range(250):
        if (await Run.objects.aget(uuid=run)).status == "waiting":
            break
        await asyncio.sleep(0.02)
    assert await sync_to_async(names["waiting_for_staff"])() == []
    await ToolCall.objects.aupdate(approval="staff")
    (line,) = await sync_to_async(names["waiting_for_staff"])()
    assert line.startswith("Chat: change_delivery_date, until ")
    await ToolCall.objects.aupdate(approval="owner")
    assert await names["answer_all"](Owner.of_visitor(uuid4()), True) == 0
    assert await names["answer_all"](owner, False, "Not before Christmas.") == 1
    await runs.wait(run)
    assert provider.requests[-1].tool_results == ["A person refused this call: Not before Christmas."]
    assert f'"{provider.requests[-1].tool_results[0]}"' in text_of("approve")


@pytest.mark.parametrize("page", ["write-a-tool", "approve"])
def test_pages_are_short_and_their_lines_are_not_long(page):
    lines = text_of(page).splitlines()
    assert len(lines) < 200
    assert {language for language, _ in _BLOCK.findall(text_of(page))} == {"python"}
