"""The tools of the demo's chat: one looks orders up, one moves a delivery once somebody has allowed it.

The demo's orders are everybody's, so neither asks for a permission; a shop of yours would say
``@handler(permission="shop.view_order")``, and ask for the orders of ``context.user``.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from django.utils import timezone

from openrouter_app import ToolError
from openrouter_app.tool_handlers import ToolContext, handler

from .models import Order, OrderChange

MOST = 20
"""Orders that one call finds."""


@handler
def find_orders(
    context: ToolContext, customer: str = "", number: int | None = None, status: str = ""
) -> dict[str, Any]:
    """The shop's orders, by customer, number or status, with the date of today."""
    found = Order.objects.filter(customer__icontains=customer.strip())
    if number is not None:
        found = found.filter(number=number)
    if status:
        found = found.filter(status=status)
    orders = list(found.values("number", "customer", "item", "status", "delivery_date")[: MOST + 1])
    return {
        "today": timezone.localdate(),
        "orders": orders[:MOST],
        "more": len(orders) > MOST,
    }


@handler
def change_delivery_date(context: ToolContext, number: int, new_date: str) -> dict[str, Any]:
    """Move the delivery of an order that has not been sent yet to another day."""
    try:
        day = date.fromisoformat(new_date)
    except ValueError:
        raise ToolError(f"{new_date!r} is no date. Write it as in 2026-12-24.") from None
    order = Order.objects.select_for_update().filter(number=number).first()
    if order is None:
        raise ToolError(f"There is no order {number}.")
    if not order.can_be_moved:
        raise ToolError(f"Order {number} has been {order.status} already: its delivery cannot be moved.")
    if day <= timezone.localdate():
        raise ToolError("A delivery can only be moved to a day after today.")
    before, order.delivery_date = order.delivery_date, day
    order.save(update_fields=["delivery_date"])
    user = context.user if context.user.is_authenticated else None
    OrderChange.objects.create(key=context.key, order=order, user=user, before=before, after=day)
    return {"number": number, "customer": order.customer, "from": before, "to": day}
