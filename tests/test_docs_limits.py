"""The page about spending limits is true: its code runs, and its facts are those of the code."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group

from openrouter_app import limits, runs
from openrouter_app.conf import Settings
from openrouter_app.models import Budget, Chain, Owner, Run
from openrouter_app.testing.scripts import Gate
from openrouter_app.views.visitors import STATUS
from tests.factories import make_joke_chain, make_run, make_user
from tests.owning import says
from tests.pots import USD, ask_of, let_in, make_pot, make_prices, refusal_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("noon")]

PAGE = (Path(__file__).parents[1] / "docs" / "spending-limits.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def names():
    """What the blocks of the page define."""
    found: dict[str, object] = {}
    for source in BLOCKS:
        exec(compile(source, "docs/spending-limits.md", "exec"), found)
    return found


def test_limits_of_the_page_are_set_and_set_again(names):
    make_joke_chain()
    Group.objects.create(name="Research")
    for _ in range(2):
        names["set_limits"]()
    rows = set(Budget.objects.values_list("scope", "period", "limit"))
    assert rows == {
        ("site", "month", 200),
        ("chain", "day", 10),
        ("each_user", "day", 1),
        ("group", "month", 50),
    }
    for budget in Budget.objects.all():
        budget.full_clean()


async def test_code_of_the_page_tells_what_is_left(names, provider):
    await sync_to_async(make_joke_chain)()
    owner = Owner.of_visitor(uuid4())
    run = await names["ask"](owner, "bears")
    assert await Run.objects.filter(uuid=run).aexists()
    await Budget.objects.filter(scope="site").aupdate(limit=0)
    assert (await names["ask"](owner, "bears")).endswith(" (0 dollars)")


async def test_code_of_the_page_switches_everything_off(names, provider):
    await sync_to_async(make_joke_chain)()
    owner = Owner.of_visitor(uuid4())
    provider.reply("so", Gate())
    run = await runs.start(runs.Start(owner, chain="joke", input={"foo": "bears"}))
    await says(run, "so")
    assert await names["switch_everything_off"]("Back at noon.") == 1
    await runs.wait(run)
    assert (await Run.objects.aget(uuid=run)).status == "stopped"
    assert await names["ask"](owner, "bears") == "Back at noon."


def test_code_of_the_page_adds_up_what_chains_have_cost(names):
    make_prices()
    chain = make_joke_chain()
    make_pot("chain", chain=chain)
    for cost in ("0.001", "0.002"):
        let_in(ask := ask_of(chain))
        limits.settle(ask.run, USD(cost))
    let_in(ask_of(chain))
    assert names["spent_by_chain"]() == {"joke": USD("0.003")}


def test_every_scope_stands_on_the_page():
    for scope in Budget.Scope:
        assert f"| {scope.label} |" in PAGE


def test_settings_of_the_page_have_their_defaults():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", PAGE, re.MULTILINE)
    assert len(rows) == 4
    for name, default in rows:
        assert getattr(Settings(), name) == int(default), name


def test_facts_of_the_page_are_those_of_the_code():
    assert STATUS["budget"] == 402
    assert "over HTTP a 402" in PAGE
    assert f"`{Chain.Payer.SITE_THEN_USER}`" in PAGE
    from openrouter_app.admin.chains import ChainAdmin

    assert f"*{ChainAdmin.switch_off.short_description}*" in PAGE


def test_sentence_of_the_page_is_said_so():
    make_prices()
    ada = make_user("ada")
    make_pot("user", "0.5", user=ada)
    chain = make_joke_chain()
    from django.db import transaction

    first = ask_of(chain, ada, prompt_bytes=0, options={"max_tokens": 200_000})
    with transaction.atomic():
        limits.admit(first)
        make_run(chain=chain, user=ada, uuid=first.run)
    said = refusal_of(ask_of(chain, ada, prompt_bytes=0, options={"max_tokens": 100_000}))
    quoted = " ".join(line.removeprefix("> ") for line in PAGE.splitlines() if line.startswith("> "))
    assert said.message.split("It starts anew on ")[0] == quoted.split("It starts anew on ")[0]
    assert said.details["left"] == "0.1"


def test_lines_are_not_long():
    assert max(len(line) for line in PAGE.splitlines()) <= 125
