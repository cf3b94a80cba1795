"""What the pictures of the chat show: a shop's customer asks about an order."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

from openrouter_app.markdown import render_parts

from .chatting import Conversation, Talk, ident

MARKDOWN = """\
Your order **1041** has left our house on Monday. It holds three things, of which one comes later:

| Article | Pieces | State |
|---|---|---|
| Lamp, brass | 1 | sent |
| Bulb, warm | 4 | sent |
| Shade | 1 | in production |

If you want to ask for it in your own shop, this does it:

```python
order = Order.objects.get(number=1041)
for line in order.lines.all():
    print(line.article, line.state)
```

* The lamp and the bulbs are with the carrier.
* The shade follows in [about two weeks](https://example.org/).
"""
REASONING = {"type": "reasoning", "text": "The order number is given, so look it up first.", "ms": 3200}
LOOKED_UP = {
    "type": "call",
    "call": "l",
    "name": "look_up_order",
    "status": "done",
    "arguments": {"order": 1041},
    "output": {"state": "sent", "lines": 3},
}
ADDRESS = {
    "order": 1041,
    "street": "Lindenweg 4",
    "city": "Marburg",
    "note": "Ring twice, the bell is faint",
}


def rendered(markdown: str) -> dict[str, Any]:
    """A text part of an answer that has ended, as the server renders it."""
    [part] = render_parts([{"type": "text", "text": markdown}])
    return part


def change(status: str, **more: Any) -> dict[str, Any]:
    """A call that would send the order elsewhere."""
    part = {"type": "call", "call": "c", "name": "change_address", "arguments": ADDRESS, "status": status}
    return {**part, **more}


def waiting(approval: str = "owner") -> dict[str, Any]:
    """The same call before anybody has decided."""
    return change("waiting", approval=approval, expires="2027-01-05T18:30:00+00:00")


def with_list(talk: Talk) -> Talk:
    """Earlier conversations beside the chat, one of them being answered."""
    for number, title in enumerate(["Return of a lamp", "Bulbs that fit E14", "Hours in May"], 40):
        talk.conversations.append(Conversation(number, title))
    talk.conversations[1].run = ident(5)
    return talk


def begun() -> Conversation:
    """A question with its whole answer."""
    conversation = Conversation()
    conversation.ask("Where is my order 1041, and what is in it?")
    conversation.answer(REASONING, LOOKED_UP, rendered(MARKDOWN))
    return conversation


def short() -> Conversation:
    """One that leaves room for what comes after it."""
    conversation = Conversation()
    conversation.ask("Where is my order 1041?")
    conversation.answer(rendered("It has left our house on Monday."))
    return conversation


def ask(talk: Talk, words: str, *parts: dict[str, Any], status: str = "running", **state: Any) -> Page:
    """Ask, and let the answer have these parts, and more in its state."""
    talk.send(words)
    talk.accept(status=status, parts=[{"type": "step", "model": "openai/gpt-4o-mini"}, *parts], **state)
    return talk.page
