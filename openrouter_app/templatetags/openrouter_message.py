"""``{% load openrouter_message %}``: filters for ``_chat_message.html``, and for a template in its place.

``message`` and ``state`` are as in conversation-data. What a filter answers is text, to be escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template

from ..conversations import statuses
from ..pages import account, messages

register = template.Library()

register.filter("call_status", statuses.call_status)
register.filter("answer_status", statuses.answer_status)
register.filter("json_text", messages.json_text)
register.filter("members", messages.members)
register.filter("further", messages.further)
register.filter("expiry", messages.expiry)
register.filter("sentence", messages.sentence)
register.filter("thought", messages.thought)
register.filter("left_out", messages.left_out)
register.filter("versions", messages.versions)
register.filter("facts", messages.facts)
register.filter("affordable", messages.affordable)


@register.filter
def lacks_account(error: Any) -> bool:
    """Whether an OpenRouter account of one's own would let a run with this error go on."""
    if not isinstance(error, Mapping):
        return False
    details = error.get("details")
    return account.lacks_account(str(error.get("code")), details if isinstance(details, Mapping) else None)


@register.filter
def is_own_credit(state: Any) -> bool:
    """Whether it is an account of the user's own that could not pay."""
    return bool(state.get("payer") == "user" and state["error"].get("code") == "credit")


@register.filter
def can_be_paid_now(state: Any, offer: Any) -> bool:
    """Whether what this run lacked is there by now: an account is connected, so it may be asked again."""
    error = state["error"]
    return bool(offer) and offer.is_connected and lacks_account(error) and error.get("code") != "credit"


@register.filter
def is_text(value: Any) -> bool:
    """Whether a value is shown as it is; what is not runs from left to right, as JSON does."""
    return isinstance(value, str)
