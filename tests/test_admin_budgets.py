"""Budgets and the ledger in the admin."""

from __future__ import annotations

import html
from decimal import Decimal

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from openrouter_app import limits
from openrouter_app.models import Budget, Charge, Run
from tests.factories import make_chain, make_user
from tests.pots import USD, ask_of, let_in, make_pot, make_prices

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("noon")]

LIST = "admin:openrouter_app_budget_changelist"
ADD = "admin:openrouter_app_budget_add"
LEDGER = "admin:openrouter_app_charge_changelist"


@pytest.fixture
def chain():
    make_prices()
    return make_chain("echo")


def page(client, name, *args):
    response = client.get(reverse(name, args=args))
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def add(client, **fields):
    given = {"scope": "site", "chain": "", "group": "", "user": "", "period": "day", "limit": ""}
    return client.post(reverse(ADD), {**given, **fields})


def problems(response):
    """What the form says is wrong."""
    assert response.status_code == 200
    return response.context["adminform"].form.errors


def test_list_shows_what_is_spent_reserved_and_left_now(admin_client, chain):
    site = make_pot(limit="0.5")
    spent, running = ask_of(chain), ask_of(chain)
    for ask in (spent, running):
        let_in(ask)
    limits.settle(spent.run, USD("0.2"))
    (row,) = admin_client.get(reverse(LIST)).context["cl"].result_list
    assert (row.spent_sum, row.reserved_sum) == (USD("0.2"), USD("0.003"))
    said = page(admin_client, LIST)
    for amount in ("$0.50", "$0.20", "$0.003", "$0.297"):
        assert f">{amount}<" in said
    limits.settle(running.run, USD("0.4"))
    assert '<strong class="openrouter-nothing-left">$0.00</strong>' in page(admin_client, LIST)
    assert "$0.60" in page(admin_client, "admin:openrouter_app_budget_change", site.pk)


def test_list_adds_up_the_period_of_now_alone(admin_client, chain):
    import datetime

    day, month = make_pot(), make_pot(period="month")
    for pot in (day, month):
        for starts in ("2026-01-01", "2026-01-02"):
            pot.periods.create(starts=datetime.date.fromisoformat(starts), spent=7)
    let_in(ask := ask_of(chain))
    limits.settle(ask.run, USD("0.2"))
    rows = admin_client.get(reverse(LIST)).context["cl"].result_list
    assert [row.spent_sum for row in rows] == [USD("0.2")] * 2


def test_pot_of_each_user_shows_all_of_them_together(admin_client, chain):
    make_pot("each_user", "5")
    for name in ("ada", "bob"):
        let_in(ask := ask_of(chain, make_user(name)))
        limits.settle(ask.run, USD("0.2"))
    rows = admin_client.get(reverse(LIST)).context["cl"].result_list
    assert {row.spent_sum for row in rows} == {USD("0.4")}
    assert "each by himself" in page(admin_client, LIST)


def test_list_takes_no_query_a_row(admin_client, chain):
    group = Group.objects.create(name="ours")
    make_pot()
    admin_client.get(reverse(LIST))
    with CaptureQueriesContext(
        connection,
    ) as few:
        page(admin_client, LIST)
    for number in range(5):
        other = make_chain(f"chain-{number}")
        make_pot("chain", "1", chain=other)
        make_pot("user", "1", user=make_user(f"user-{number}"))
    make_pot("group", "1", group=group)
    with CaptureQueriesContext(connection) as many:
        page(admin_client, LIST)
    assert len(many) == len(few)


@pytest.mark.parametrize("scope", ["site", "chain", "group", "user", "each_user", "own"])
def test_budget_of_each_scope_is_added_and_its_limit_changed(admin_client, chain, scope):
    targets = {"chain": chain, "group": Group.objects.create(name="ours"), "user": make_user("ada")}
    given = {scope: targets[scope].pk} if scope in targets else {}
    limit = "" if scope == "own" else "5"
    assert add(admin_client, scope=scope, limit=limit, **given).status_code == 302
    pot = Budget.objects.get()
    assert (pot.scope, pot.limit) == (scope, None if scope == "own" else 5)
    change = reverse("admin:openrouter_app_budget_change", args=[pot.pk])
    admin_client.post(change, {"limit": "7.5", "scope": "site", "period": "month"})
    pot.refresh_from_db()
    assert (pot.scope, pot.period) == (scope, "day")
    assert pot.limit == (None if scope == "own" else USD("7.5"))
    assert LogEntry.objects.count() == 2


@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        ({"scope": "chain"}, "chain", "Choose whose budget it is."),
        ({"scope": "user"}, "user", "Choose whose budget it is."),
        ({"scope": "site", "user": "ada"}, "user", "Leave this empty"),
        ({"scope": "each_user", "user": "ada"}, "user", "Leave this empty"),
        ({"limit": "-1"}, "limit", "A limit is not negative."),
        ({"limit": "lots"}, "limit", "Enter a number."),
        ({"limit": "1e30"}, "limit", "Ensure that there are no more than"),
        ({"scope": "own", "limit": "5"}, "limit", "counted, not limited"),
        ({"scope": "nonsense"}, "scope", "Select a valid choice"),
    ],
)
def test_budget_that_makes_no_sense_is_refused_with_a_reason(admin_client, fields, field, sentence):
    if "user" in fields:
        fields = {**fields, "user": make_user("ada").pk}
    assert sentence in str(problems(add(admin_client, **fields))[field])
    assert not Budget.objects.exists()


@pytest.mark.parametrize("scope", ["site", "chain"])
def test_second_budget_for_the_same_is_refused(admin_client, chain, scope):
    target = {"chain": chain} if scope == "chain" else {}
    make_pot(scope, "1", **target)
    response = add(admin_client, scope=scope, limit="2", **{name: row.pk for name, row in target.items()})
    assert problems(response) == {"__all__": ["There is such a budget already: change its limit."]}
    assert add(
        admin_client, scope=scope, limit="2", period="month", **({"chain": chain.pk} if target else {})
    )
    assert Budget.objects.count() == 2


def test_user_of_a_budget_is_searched_for_where_the_reader_may(client, admin_client):
    assert "admin-autocomplete" in page(admin_client, ADD)
    staff = make_user("staff", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="add_budget"))
    client.force_login(staff)
    form = page(client, ADD)
    assert "admin-autocomplete" not in form
    assert "vForeignKeyRawIdAdminField" in form  # no list of all users


def test_site_that_shows_no_users_in_its_admin_has_budgets_all_the_same(admin_client, monkeypatch):
    monkeypatch.delitem(admin.site._registry, User)
    assert admin.site._registry[Budget].check() == []
    assert '<input type="text" name="user"' in page(admin_client, ADD)
    assert add(admin_client, scope="user", limit="1", user=make_user("ada").pk).status_code == 302


def test_budget_whose_target_is_gone_is_kept_and_says_so(admin_client, chain):
    make_pot("user", "1", user=(ada := make_user("ada")))
    make_pot("user", "2", user=(bob := make_user("bob")))
    ada.delete()
    bob.delete()
    assert page(admin_client, LIST).count("one user (gone)") == 2


def test_budget_with_a_ledger_is_not_deleted(admin_client, chain):
    site, unused = make_pot(), make_pot(period="month", limit="1")
    assert admin_client.get(reverse("admin:openrouter_app_budget_delete", args=[site.pk])).status_code == 200
    Budget.objects.filter(pk=unused.pk).delete()
    let_in(ask_of(chain))
    delete = reverse("admin:openrouter_app_budget_delete", args=[site.pk])
    assert admin_client.get(delete).status_code == 403
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    admin_client.post(
        reverse(LIST), {"action": "delete_selected", "_selected_action": [site.pk], "post": "yes"}
    )
    assert Budget.objects.get() == site


def test_ledger_is_shown_and_never_changed(admin_client, chain):
    ada = make_user("ada")
    let_in(ask := ask_of(chain, ada))
    limits.settle(ask.run, USD("0.0012"), model="a/b-2026", estimated=True)
    let_in(gone := ask_of(chain, ada))
    Run.objects.filter(uuid=gone.run).delete()
    said = page(admin_client, LEDGER)
    run = Run.objects.get()
    assert reverse("admin:openrouter_app_run_change", args=[run.pk]) in said
    for text in ("≈\N{NO-BREAK SPACE}$0.0012", "a/b-2026", "ada", "echo", str(gone.run)[:8]):
        assert text in said
    charge = Charge.objects.first()
    for name in ("change", "delete"):
        address = reverse(f"admin:openrouter_app_charge_{name}", args=[charge.pk])
        assert admin_client.post(address, {"post": "yes", "settled": "0"}).status_code == 403
    assert admin_client.get(reverse("admin:openrouter_app_charge_add")).status_code == 403
    assert Charge.objects.count() == 2


def test_ledger_takes_no_query_a_row_and_is_searched(admin_client, chain):
    let_in(first := ask_of(chain, make_user("ada")))
    admin_client.get(reverse(LEDGER))
    with CaptureQueriesContext(connection) as few:
        page(admin_client, LEDGER)
    for number in range(5):
        let_in(ask_of(chain, make_user(f"user-{number}")))
    with CaptureQueriesContext(connection) as many:
        page(admin_client, LEDGER)
    assert len(many) == len(few)
    for query in (str(first.run), "ada"):
        found = admin_client.get(reverse(LEDGER), {"q": query}).context["cl"].result_list
        assert [charge.run_uuid for charge in found] == [first.run]
    for query in ("nobody", "\x00", "%"):
        assert admin_client.get(reverse(LEDGER), {"q": query}).status_code in (200, 302)


def test_staff_without_the_permission_see_neither(client):
    staff = make_user("staff", is_staff=True)
    client.force_login(staff)
    for name in (LIST, LEDGER, ADD):
        assert client.get(reverse(name)).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_budget"))
    assert client.get(reverse(LIST)).status_code == 200
    assert client.get(reverse(ADD)).status_code == 403
    pot = make_pot(limit="1")
    change = reverse("admin:openrouter_app_budget_change", args=[pot.pk])
    assert client.post(change, {"limit": "100"}).status_code == 403
    assert Budget.objects.get().limit == Decimal(1)
