"""What the template of a message shows, made of what `openrouter_app.pages.conversations` says of it.

Arguments, results and errors are a model's and a tool's: any JSON, with any names in it. So a template never
looks into them itself (``arguments.items`` is an argument where there is one of that name), and all that
leaves here is text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, TypeGuard

from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format, number_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from .fields import label_of


@dataclass(frozen=True)
class Fact:
    """Something that an answer took."""

    name: str
    title: str
    text: str


@dataclass(frozen=True)
class Versions:
    """Which version of a message is shown, and those before and after it, "" where there is none."""

    text: str
    previous: str
    next: str


@dataclass(frozen=True)
class Affordable:
    """How long an answer the account can pay for: tokens, and what the button says that asks for it."""

    count: int
    text: str


def json_text(value: Any) -> str:
    """Text as it is, anything else as JSON that people can read."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)


def members(value: Any) -> list[tuple[str, Any]]:
    """The names and values of an object; of anything else none."""
    return list(value.items()) if isinstance(value, Mapping) else []


def further(message: Any, main: str) -> list[tuple[str, str]]:
    """Labels and values of what was filled in beside the variable ``main``, which is what one said."""
    given = message.get("input") or {}
    return [
        (label_of(name), json_text(value)) for name, value in given.items() if name != main and value != ""
    ]


def expiry(part: Any) -> str:
    """Until when a call that waits can be decided on, in the site's time; "" where nobody knows."""
    try:
        expires = parse_datetime(part.get("expires") or "")
    except (TypeError, ValueError):
        return ""
    if expires is None or expires.tzinfo is None:
        return ""
    at = localtime(expires)
    time = f"{date_format(at, 'DATETIME_FORMAT')} {at.tzname()}"
    return _("Without a decision it is denied: {time}.").replace("{time}", time)


def sentence(error: Any) -> str:
    """An error: text, or something with a message."""
    said = error.get("message") if isinstance(error, Mapping) else None
    return json_text(error if said is None else said)


def thought(part: Any) -> str:
    """What stands over the thoughts of a model: how long they took, where that is known."""
    ms = part.get("ms")
    return _("Thought for {seconds}").replace("{seconds}", _seconds(ms)) if _is_count(ms) else _("Thoughts")


def left_out(state: Any) -> str:
    """What is said where the model was not given all that was said before; "" where it was."""
    count = state.get("left_out")
    if not _is_count(count):
        return ""
    if count == 1:
        text = _("{count} earlier message was not given to the model.")
    else:
        text = _("{count} earlier messages were not given to the model.")
    return text.replace("{count}", _number(count))


def versions(message: Any) -> Versions | None:
    """None where there is one only."""
    siblings, shown = message.get("siblings") or [], message.get("message")
    if len(siblings) < 2 or shown not in siblings:
        return None
    at = siblings.index(shown)
    text = _("{number} / {count}").replace("{count}", _number(len(siblings)))
    after = siblings[at + 1] if at + 1 < len(siblings) else ""
    return Versions(text.replace("{number}", _number(at + 1)), siblings[at - 1] if at else "", after)


def affordable(error: Any) -> Affordable | None:
    """What can be asked for where an answer was too long for the account; None where nobody knows."""
    details = error.get("details") if error.get("code") == "credit" else None
    count = details.get("affordable_tokens") if isinstance(details, Mapping) else None
    if not _is_count(count):
        return None
    text = _("Ask for a shorter answer ({tokens} tokens at most)")
    return Affordable(count, text.replace("{tokens}", _number(count)))


def facts(state: Any) -> list[Fact]:
    """What the answer took. A fact that nobody knows is left out."""
    return [Fact(name, title, text) for name, title, text in _facts(state) if text]


def _facts(state: Any) -> Iterator[tuple[str, str, str]]:
    usage, version = state.get("usage") or {}, state.get("version")
    yield "model", _("Model"), str(usage.get("model") or "")
    yield "provider", _("Provider"), str(usage.get("provider") or "")
    read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if _is_count(read) and _is_count(written):
        text = _("{read} → {written} tokens").replace("{read}", _number(read))
        yield "tokens", _("Tokens read and written"), text.replace("{written}", _number(written))
    if cost := _dollars(usage.get("cost")):
        text = _("about {cost}").replace("{cost}", cost) if usage.get("estimated") is True else cost
        yield "cost", _("Cost"), text
        if state.get("payer") == "user":
            yield "payer", _("Paid by"), _("your OpenRouter account")
    if _is_count(ms := usage.get("ms")):
        yield "time", _("Time"), _seconds(ms)
    if _is_count(version):
        yield "version", _("Version of the chain"), _("version {version}").replace("{version}", str(version))


def _dollars(cost: Any) -> str:
    """A decimal string, often far below a cent, with three digits that say something; "" where it is none."""
    try:
        amount = Decimal(cost) if isinstance(cost, str) else None
    except InvalidOperation:
        return ""
    if amount is None or not amount.is_finite():
        return ""
    return _("${amount}").replace("{amount}", _shortest(Decimal(f"{amount:.2e}")))


def _seconds(ms: int) -> str:
    """No more exact than it says something."""
    seconds = _shortest(round(Decimal(ms) / 1000, 1 if ms < 10_000 else 0))
    return _("{seconds} s").replace("{seconds}", seconds)


def _shortest(number: Decimal) -> str:
    """Without zeros that say nothing."""
    return number_format(Decimal(format(number.normalize(), "f")), force_grouping=True)


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _number(value: int) -> str:
    return number_format(value, force_grouping=True)
