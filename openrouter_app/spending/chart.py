"""Bars of what was spent, as numbers that a template draws as SVG: no script, no style of its own."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import ROUND_CEILING, Decimal

import msgspec
from django.utils.formats import date_format

from .report import ZERO, Filters, Group

WIDTH, HEIGHT = 720, 180
"""Of the bars' field, in the SVG's units."""
MOST_DAYS = 92
"""More are drawn as months."""
_LABELS = 8
_STEPS = (Decimal(1), Decimal(2), Decimal(5), Decimal(10))


class Bar(msgspec.Struct, frozen=True):
    """A day or a month: what the site paid stands below what users paid themselves."""

    name: str
    site: Decimal
    own: Decimal
    x: float
    width: float
    site_y: float
    site_height: float
    own_y: float
    own_height: float
    label: str = ""
    """Under the bar; empty where there is no room for one."""

    @property
    def middle(self) -> float:
        """Where its label stands."""
        return self.x + self.width / 2

    @property
    def total(self) -> Decimal:
        """US dollars."""
        return self.site + self.own


class Chart(msgspec.Struct, frozen=True):
    """The bars in order of time, and the lines across: a height and the dollars it stands for."""

    bars: list[Bar]
    lines: list[tuple[float, Decimal]]
    is_monthly: bool


def chart_of(days: list[Group], filters: Filters) -> Chart | None:
    """The chart of a report's days; None where nothing was spent."""
    is_monthly = (filters.last - filters.first).days >= MOST_DAYS
    sums: dict[date, tuple[Decimal, Decimal]] = {}
    for day in days:
        key = day.key.replace(day=1) if is_monthly else day.key
        site, own = sums.get(key, (ZERO, ZERO))
        sums[key] = site + day.site, own + day.own
    highest = max((site + own for site, own in sums.values()), default=ZERO)
    if highest <= 0:
        return None
    step = step_of(highest)
    top = step * (highest / step).to_integral_value(ROUND_CEILING)
    starts = list(_months(filters) if is_monthly else _days(filters))
    place = WIDTH / len(starts)
    every = -(-len(starts) // _LABELS)
    bars = []
    for number, start in enumerate(starts):
        site, own = sums.get(start, (ZERO, ZERO))
        # What was corrected downwards on a day that had nothing else is no bar below the line.
        site_height, own_height = (round(float(max(part, ZERO) / top) * HEIGHT, 2) for part in (site, own))
        bars.append(
            Bar(
                date_format(start, "YEAR_MONTH_FORMAT" if is_monthly else "DATE_FORMAT"),
                site,
                own,
                round(number * place + place * 0.1, 2),
                round(place * 0.8, 2),
                round(HEIGHT - site_height, 2),
                site_height,
                round(HEIGHT - site_height - own_height, 2),
                own_height,
                date_format(start, "M Y" if is_monthly else "j M") if number % every == 0 else "",
            )
        )
    lines = [
        (round(HEIGHT - float(step * count / top) * HEIGHT, 2), step * count)
        for count in range(int(top / step) + 1)
    ]
    return Chart(bars, lines, is_monthly)


def step_of(highest: Decimal) -> Decimal:
    """The dollars between two lines: 1, 2 or 5 times a power of ten, so that there are five at most."""
    power = Decimal(10) ** (highest / 5).adjusted()
    return next(power * step for step in _STEPS if power * step * 5 >= highest)


def _days(filters: Filters) -> Iterator[date]:
    for number in range((filters.last - filters.first).days + 1):
        yield filters.first + timedelta(days=number)


def _months(filters: Filters) -> Iterator[date]:
    month = filters.first.replace(day=1)
    while month <= filters.last:
        yield month
        month += timedelta(days=monthrange(month.year, month.month)[1])
