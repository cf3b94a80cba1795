"""The demo's shop: what its tools find and move, for whom, and the page that shows it."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import IntegrityError
from django.urls import reverse
from django.utils import timezone

from openrouter_app import ToolError
from openrouter_app.engine.schemas import check_schema
from openrouter_app.engine.tools import result_text
from openrouter_app.tool_handlers import ToolContext, find
from project.demo_data import CHANGE_DELIVERY_DATE, FIND_ORDERS
from project.demo_orders import ORDERS, seed_orders
from project.models import Order, OrderChange
from project.openrouter_tools import change_delivery_date, find_orders
from tests.factories import make_user

pytestmark = pytest.mark.django_db

LATER = (timezone.localdate() + timedelta(days=30)).isoformat()


@pytest.fixture(autouse=True)
def shop():
    seed_orders()


def context(user=None):
    return ToolContext(user=user or AnonymousUser(), key=uuid4(), run=uuid4())


def numbers(found):
    return [order["number"] for order in found["orders"]]


@pytest.mark.parametrize("tool", [FIND_ORDERS, CHANGE_DELIVERY_DATE], ids=lambda tool: tool["name"])
def test_tools_of_the_chat_have_their_handlers_and_good_schemas(tool):
    assert find(tool["handler"]).description
    check_schema(tool["schema"])


def test_orders_are_found_by_customer_number_and_status():
    assert numbers(find_orders(context(), customer="ada")) == [1001, 1002, 1003]
    assert numbers(find_orders(context(), number=1006)) == [1006]
    assert numbers(find_orders(context(), customer="Ada", status="sent")) == [1002]
    assert numbers(find_orders(context())) == [number for number, *_ in ORDERS]
    assert numbers(find_orders(context(), customer="Nobody")) == []


def test_result_says_which_day_it_is_and_is_json():
    found = find_orders(context(), number=1001)
    assert f'"today":"{timezone.localdate()}"' in result_text(found)


def test_many_orders_are_cut_and_said_to_be():
    Order.objects.bulk_create(
        Order(number=number, customer="Many", item="x", delivery_date=LATER) for number in range(5000, 5030)
    )
    found = find_orders(context(), customer="Many")
    assert (len(found["orders"]), found["more"]) == (20, True)


def test_delivery_is_moved_and_the_change_is_kept_with_who_asked():
    user = make_user("ada")
    before = Order.objects.get(number=1004).delivery_date
    result = change_delivery_date(context(user), 1004, LATER)
    assert Order.objects.get(number=1004).delivery_date.isoformat() == LATER
    assert (result["from"], result["to"].isoformat()) == (before, LATER)
    change = OrderChange.objects.get()
    assert (change.user, change.before, change.after.isoformat()) == (user, before, LATER)
    change_delivery_date(context(), 1006, LATER)
    assert OrderChange.objects.first().user is None


def test_the_same_call_moves_nothing_twice():
    same = context()
    change_delivery_date(same, 1004, LATER)
    with pytest.raises(IntegrityError):
        change_delivery_date(same, 1004, LATER)


@pytest.mark.parametrize(
    ("number", "day", "said"),
    [
        (1002, LATER, "has been sent already"),
        (1001, LATER, "has been delivered already"),
        (9999, LATER, "There is no order 9999"),
        (1004, "tomorrow", "'tomorrow' is no date"),
        (1004, "2020-01-01", "after today"),
    ],
)
def test_what_cannot_be_is_said_to_the_model_and_changes_nothing(number, day, said):
    with pytest.raises(ToolError, match=said):
        change_delivery_date(context(), number, day)
    assert not OrderChange.objects.exists()


def test_page_shows_orders_and_changes_to_everybody_as_text(client):
    Order.objects.filter(number=1004).update(item="<script>alert(1)</script>")
    change_delivery_date(context(make_user("<b>eve")), 1004, LATER)
    change_delivery_date(context(), 1006, LATER)
    response = client.get(reverse("orders"))
    text = response.content.decode()
    assert response.status_code == 200
    assert LATER in text
    assert "Ada Lovelace" in text
    assert "a visitor" in text
    assert "<script>alert" not in text
    assert "<b>eve" not in text
    assert client.post(reverse("orders")).status_code == 405


def test_page_takes_a_fixed_number_of_queries(client, django_assert_num_queries):
    for number in (1004, 1006, 1007):
        change_delivery_date(context(make_user(f"user-{number}")), number, LATER)
    with django_assert_num_queries(2):
        client.get(reverse("orders"))


def test_orders_and_changes_stand_in_the_admin(admin_client):
    change_delivery_date(context(), 1004, LATER)
    for model in ("order", "orderchange"):
        assert admin_client.get(reverse(f"admin:project_{model}_changelist")).status_code == 200
    assert admin_client.get(reverse("admin:project_orderchange_add")).status_code == 403
