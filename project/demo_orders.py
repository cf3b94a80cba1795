"""The orders of the demo's shop. They are made once; what was changed or deleted since stays so."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from .models import Order

ORDERS = [
    (1001, "Ada Lovelace", "Punched cards, 500 sheets", "delivered", -6),
    (1002, "Ada Lovelace", "Brass gear wheel, 42 teeth", "sent", 1),
    (1003, "Ada Lovelace", "Notebook, squared", "packed", 4),
    (1004, "Grace Hopper", "Wire, 30 cm", "ordered", 7),
    (1005, "Grace Hopper", "Moth net, fine", "delivered", -2),
    (1006, "Alan Turing", "Paper tape, endless", "ordered", 12),
    (1007, "Alan Turing", "Bicycle chain", "packed", 3),
    (1008, "Katherine Johnson", "Slide rule", "sent", 2),
    (1009, "Margaret Hamilton", "Binder, very large", "ordered", 9),
]
"""Number, customer, item, status, and in how many days it comes."""


def seed_orders() -> int:
    """Make the orders where there is none at all; answers how many."""
    if Order.objects.exists():
        return 0
    today = timezone.localdate()
    Order.objects.bulk_create(
        Order(
            number=number, customer=customer, item=item, status=status, delivery_date=today + timedelta(days)
        )
        for number, customer, item, status, days in ORDERS
    )
    return len(ORDERS)
