"""What the simulation says where a chat has the tools of the demo's shop: it calls them, as a model would.

It looks orders up by customer, number and status, one call for each customer that is named; it moves a
delivery to a day, or by days and weeks, which takes a look at the order first; it takes a refusal for an
answer. What was said before counts: "it" is the order that was last spoken of. All else is `small_talk`.
The one rule: what it says about orders stands in what the tools have answered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from .asked import Asked, Called
from .scripts import Piece, ToolCallScript, words
from .small_talk import small_talk

FIND, MOVE = "find_orders", "change_delivery_date"
REFUSED = "A person refused this call"
MOVABLE = ("ordered", "packed")

_ABOUT = re.compile(r"\b(?:orders?|ordered|deliver\w*|parcels?|packages?|shipments?)\b", re.I)
_MOVES = re.compile(
    r"\b(?:move|postpone|delay|reschedule|shift|push|bring forward|change)\b|\b(?:later|earlier)\b", re.I
)
_CANCELS = re.compile(r"\bcancel\w*\b", re.I)
_IT = re.compile(r"\b(?:it|that|this)\b", re.I)
_NUMBER = re.compile(r"(?<![\d-])\d{4,6}(?![\d-])")
_DAY = re.compile(r"\b\d{4}-\d\d-\d\d\b")
_BY = re.compile(r"\b(an?|one|two|three|four|\d{1,3})\s+(day|week)s?\b", re.I)
_COUNTS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4}
_NAME = r"[A-Z][\w-]+"
_NAMES = re.compile(
    rf"\b(?:of|for|from|by|do|does|did|has|have)\s+({_NAME}(?:(?:,\s*|\s+and\s+|,\s+and\s+|\s*&\s*|\s+){_NAME})*)"
)
_WHOSE = re.compile(rf"({_NAME}(?:\s{_NAME})?)['\u2019]s\s+(?:\w+\s+)?(?:orders?|parcels?|deliver\w*)")
_STATUSES = (
    (re.compile(r"\bsent\b|\bon (?:the|its|their) way\b", re.I), "sent"),
    (re.compile(r"\bpacked\b", re.I), "packed"),
    (re.compile(r"\bdelivered\b|\barrived\b", re.I), "delivered"),
)


def shop_talk(asked: Asked) -> tuple[Piece, ...] | None:
    """The answer of a chat whose tools look orders up; None where these are not offered."""
    offered = {tool["name"] for tool in asked.tools}
    if FIND not in offered or asked.forced is not None or asked.forbids_tools:
        return None
    if asked.called:
        return _goes_on(asked)
    can_move = MOVE in offered
    return _moves(asked, can_move) or _looks_up(asked) or small_talk(asked)


def _moves(asked: Asked, can_move: bool) -> tuple[Piece, ...] | None:
    """Somebody wants a delivery moved: the call, a look at the order first, or a question."""
    cancels = _CANCELS.search(asked.human)
    number = _number(asked)
    if not (cancels or _MOVES.search(asked.human)) or not (number or _ABOUT.search(asked.human)):
        return None
    if cancels:
        return words(
            "I cannot cancel orders: there is no tool for that. I can move a delivery to another day."
        )
    if not can_move:
        return words("I can only look orders up: there is no tool that moves a delivery.")
    if number is None:
        return words("Which order shall I move? Tell me its number, such as **1003**.")
    if day := _DAY.search(asked.human):
        said = words(f"I can move order {number}, once you have allowed it. ")
        return (*said, ToolCallScript(MOVE, {"number": number, "new_date": day[0]}))
    if _BY.search(asked.human):
        return (*words("Let me see when it comes now. "), ToolCallScript(FIND, {"number": number}))
    return words(f"To which day shall I move order {number}? Write `2026-12-24`, or *one week later*.")


def _looks_up(asked: Asked) -> tuple[Piece, ...] | None:
    numbers = _numbers(asked.human)
    if not _ABOUT.search(asked.human):
        return None
    found = next((said for pattern, said in _STATUSES if pattern.search(asked.human)), None)
    status = {"status": found} if found else {}
    given: list[dict[str, Any]] = [{"number": number} for number in numbers]
    given = given or [{"customer": name, **status} for name in _names(asked.human)] or [status]
    return (*words("Let me look that up. "), *(ToolCallScript(FIND, arguments) for arguments in given))


def _goes_on(asked: Asked) -> tuple[Piece, ...]:
    """With what the tools have answered."""
    moved = [call for call in asked.called if call.name == MOVE]
    if moved:
        return words("\n\n".join(_moved(call) for call in moved))
    by = _BY.search(asked.human)
    if by and _MOVES.search(asked.human):
        return _moves_by(asked, _days(by))
    return words(_found(asked.called))


def _moves_by(asked: Asked, days: int) -> tuple[Piece, ...]:
    order = next((order for order in _orders(asked.called) if order.get("number") == _number(asked)), None)
    day = _date(order.get("delivery_date")) if order else None
    if order is None or day is None:
        return words(_found(asked.called))
    number, status = order["number"], order.get("status")
    if status not in MOVABLE:
        return words(f"Order **{number}** has been {status} already: its delivery cannot be moved any more.")
    try:
        new = day + timedelta(days=days)
    except OverflowError:
        return words("That is too far away.")
    said = words(f"It comes on {day}. I can move it to {new}, once you have allowed it. ")
    return (*said, ToolCallScript(MOVE, {"number": number, "new_date": new.isoformat()}))


def _moved(call: Called) -> str:
    if call.answer.startswith(REFUSED):
        reason = call.answer.removeprefix(REFUSED).lstrip(": ").strip(".")
        why = f" You said: *{reason}*." if reason else ""
        return f"Then I leave order **{call.arguments.get('number')}** as it is.{why}"
    result = _json(call.answer)
    if "to" not in result:
        return f"That did not work: {call.answer.strip()}"
    return (
        f"Done. Order **{result.get('number')}** of {_cell(result.get('customer'))} now comes on "
        f"**{result['to']}**, not on {result.get('from')}.\n\nIt stands under `/orders/`, too."
    )


def _found(called: Iterable[Called]) -> str:
    """A table of all that was found, and a word for each call that found nothing."""
    said: list[str] = []
    rows = list({order.get("number"): order for order in _orders(called)}.values())
    if rows:
        columns = ("number", "customer", "item", "status", "delivery_date")
        lines = ["| Order | Customer | Item | Status | Delivery |", "|---:|---|---|---|---|"]
        lines += ["| " + " | ".join(_cell(row.get(name, "")) for name in columns) + " |" for row in rows]
        said += [f"I found **{len(rows)} order{'s' if len(rows) > 1 else ''}**:", "\n".join(lines)]
    for call in called:
        result = _json(call.answer)
        if "orders" not in result:
            said.append(f"One search did not work: {call.answer.strip()}")
        elif not result["orders"]:
            wanted = ", ".join(str(value) for value in call.arguments.values()) or "anybody"
            said.append(f"There is nothing for *{_cell(wanted)}*.")
    movable = [row["number"] for row in rows if row.get("status") in MOVABLE]
    if movable:
        said.append(f"What has not been sent can be moved: say *move {movable[0]} one week later*.")
    return "\n\n".join(said)


def _orders(called: Iterable[Called]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for call in called:
        orders = _json(call.answer).get("orders")
        found += [order for order in orders if isinstance(order, dict)] if isinstance(orders, list) else []
    return found


def _json(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _cell(value: object) -> str:
    return re.sub(r"\s+", " ", str(value)).replace("|", "\\|")


def _date(value: object) -> date | None:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        return None


def _days(by: re.Match[str]) -> int:
    count = _COUNTS.get(by[1].lower()) or int(by[1])
    days = count * (7 if by[2].lower() == "week" else 1)
    return -days if re.search(r"\bearlier\b|\bforward\b", by.string, re.I) else days


def _numbers(text: str) -> list[int]:
    return list(dict.fromkeys(int(number) for number in _NUMBER.findall(text)))


def _number(asked: Asked) -> int | None:
    """The order that is spoken of: the one that is named, or the last one before where this says "it"."""
    if numbers := _numbers(asked.human):
        return numbers[0]
    if _IT.search(asked.human):
        for text in reversed(asked.earlier):
            if before := _numbers(text):
                return before[-1]
    return None


def _names(text: str) -> list[str]:
    found = [
        name
        for names in _NAMES.findall(text)
        for name in re.split(r",\s*(?:and\s+)?|\s+and\s+|\s*&\s*", names)
        if name
    ]
    return list(dict.fromkeys([*found, *_WHOSE.findall(text)]))
