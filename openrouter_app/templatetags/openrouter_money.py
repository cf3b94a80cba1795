"""``{% load openrouter_money %}``: US dollars, and numbers of a drawing."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

from django import template
from django.utils.formats import date_format, number_format

from ..spending import Group

register = template.Library()


@register.filter
def dollars(value: Decimal) -> str:
    """``$12.30``; of less than a dollar as many places as say something: ``$0.0031``."""
    if not value:
        return "$0"
    places = 2 if abs(value) >= 1 else max(2, min(10, 1 - value.adjusted()))
    value = value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)  # the format would cut them off
    return f"${number_format(value, decimal_pos=places, use_l10n=True, force_grouping=True)}"


@register.filter
def coordinate(value: float) -> str:
    """A number as SVG takes it, whatever the language writes for its point."""
    return f"{value:g}"


@register.filter
def spending_name(group: Group) -> str:
    """A line's name; a day as people write it."""
    return date_format(group.key, "DATE_FORMAT") if isinstance(group.key, date) else group.name
