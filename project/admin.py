"""The demo's orders in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from .models import Order, OrderChange


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    """Orders, to be edited by staff; a chat moves their deliveries."""

    list_display = ["number", "customer", "item", "status", "delivery_date"]
    list_filter = ["status"]
    search_fields = ["=number", "customer", "item"]


@admin.register(OrderChange)
class OrderChangeAdmin(admin.ModelAdmin):
    """What a chat has changed."""

    list_display = ["order", "before", "after", "user", "made"]
    list_select_related = ["order", "user"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Changes come from a chat."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What happened does not change."""
        return False
