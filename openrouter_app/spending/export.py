"""The ledger as a table of values that spreadsheets read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from django.contrib.auth import get_user_model

from ..models import Budget
from .report import Filters, charges

HEADER = ["day", "run", "chain", "model", "user", "paid_by", "usd", "reserved_usd", "estimated"]
_FORMULA = re.compile(r"(?<![^;\t\r\n])(?=\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")
"""Where a cell's formula may begin, also in full width. Behind a semicolon, too: it separates in many
languages."""


def csv_rows(filters: Filters) -> Iterator[list[str]]:
    """The header, then a line for each run and day, in order of time; read as it is written."""
    yield HEADER
    name = f"user__{get_user_model().USERNAME_FIELD}"
    rows = charges(filters).order_by("period__starts", "pk")
    values = rows.values_list(
        "period__starts",
        "run_uuid",
        "chain_slug",
        "model",
        name,
        "period__budget__scope",
        "settled",
        "reserved",
        "estimated",
    )
    for day, run, chain, model, user, scope, settled, reserved, estimated in values.iterator(2_000):
        yield [
            day.isoformat(),
            str(run),
            as_text(chain),
            as_text(model),
            as_text(user or ""),
            "user" if scope == Budget.Scope.OWN else "site",
            "" if settled is None else f"{settled:f}",
            f"{reserved:f}",
            "yes" if estimated else "no",
        ]


def as_text(value: str) -> str:
    """A text that no spreadsheet takes for a formula (OWASP, "CSV injection")."""
    return _FORMULA.sub("'", value)
