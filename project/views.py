"""The demo's own page beside the app's: the shop's orders, where one sees what a chat has changed."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from .models import Order, OrderChange

CHANGES_SHOWN = 10


@require_safe
@never_cache
def orders(request: HttpRequest) -> HttpResponse:
    """All orders, and the newest changes."""
    changes = OrderChange.objects.select_related("order", "user")[:CHANGES_SHOWN]
    return render(request, "project/orders.html", {"orders": Order.objects.all(), "changes": changes})
