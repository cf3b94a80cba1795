"""``python -m tests.browser.hostile_rows CANARY``: everything a database can hold of `hostile_texts`.

Run in the environment of a seeded site; prints as JSON where what stands: see `Places`. All of it belongs
to the demo's user, who sees every page of the site and of its admin.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from tests.hostile_texts import hostile_texts

if TYPE_CHECKING:
    from openrouter_app.models import Chain, Conversation, Run

A_TITLE = 200
A_LIST = 30
"""Conversations that a chain's list shows."""
AN_ANSWER = 10
"""Texts in one message: what one of them leaves open must not hide all the others."""
CUSTOMER = "batch{number} "
FOUND = 20
"""Orders that the demo's tool finds."""
OPENED = ("all wait", "object", "text")
"""Calls whose own pages are shown."""


class Places(TypedDict):
    """Paths of the site."""

    chains: list[str]
    conversation: str
    exports: list[str]
    admin: list[str]
    batches: int


def packed(texts: Iterable[str], longest: int) -> Iterator[str]:
    """The texts with a space between them, as many as there is room for; none is cut."""
    pack = ""
    for text in texts:
        if pack and len(pack) + 1 + len(text) > longest:
            yield pack
            pack = ""
        pack = f"{pack} {text}" if pack else text
    yield pack


def parts_of(texts: Sequence[str]) -> list[dict[str, Any]]:
    """These texts at every place of an answer at which a page shows one."""
    said = "\n".join(texts)
    arguments = {text: [text, {text: text}] for text in texts}
    call = {"type": "call", "name": texts[0][:64], "arguments": arguments}
    parts: list[dict[str, Any]] = []
    for text in texts:
        parts += [
            {"type": "step", "name": text, "model": text},
            {"type": "reasoning", "text": text, "ms": 900},
            {"type": "text", "text": text},
            {"type": "source", "url": text, "title": text},
            {"type": "source", "url": "http://x/", "title": text},
            {"type": "file", "url": text, "name": text, "media_type": text},
        ]
    return [
        *parts,
        {"type": "json", "value": arguments},
        {**call, "call": "1", "status": "done", "output": arguments},
        {**call, "call": "2", "status": "done", "output": said},
        {**call, "call": "3", "status": "failed", "error": said},
        {**call, "call": "4", "status": "denied", "reason": said},
        {**call, "call": "5", "status": "invalid", "raw": said, "message": said},
        {**call, "call": "6", "status": "cancelled"},
    ]


def make_rows(texts: Sequence[str]) -> Places:
    """All of them, in a database that was seeded."""
    from django.contrib.auth import get_user_model
    from django.utils import timezone

    from openrouter_app.models import Owner, Run, ToolCall
    from openrouter_app.models.tool_calls import arguments_hash
    from project.models import Order
    from tests.talking import make_conversation

    user = get_user_model().objects.get(username="demo")
    owner = Owner(user_id=user.pk)
    titles = list(packed(texts, A_TITLE))
    chains = list(_chains(titles, texts))
    for number, title in enumerate(titles):
        make_conversation(owner, chain=chains[number // A_LIST], title=title)
    conversation = make_conversation(owner, chain=chains[0], title=titles[0])
    runs = [_answer(conversation, texts[at : at + AN_ANSWER]) for at in range(0, len(texts), AN_ANSWER)]
    elsewhere = Run.objects.create(
        user=user, chain=chains[0], version=chains[0].published, status="waiting", parts=runs[0].parts
    )
    calls = [
        ToolCall.objects.create(run=run, hash=arguments_hash(fields["name"], fields["arguments"]), **fields)
        for run, fields in [
            *((elsewhere, fields) for fields in _waiting(texts)),
            *((runs[0], fields) for fields in _ended(texts)),
        ]
    ]
    everything = _everything(conversation, texts)
    batches = -(-len(titles) // FOUND)
    Order.objects.bulk_create(
        Order(
            number=2_000 + number,
            customer=CUSTOMER.format(number=number // FOUND) + title[: 100 - len(CUSTOMER)],
            item=title,
            delivery_date=timezone.localdate(),
        )
        for number, title in enumerate(titles)
    )
    admin = "/admin/openrouter_app"
    shown = [call.pk for call in calls if call.call in OPENED or call.status == "failed"]
    page = f"/conversations/{conversation.uuid}/"
    return Places(
        chains=[f"/chains/{chain.slug}/" for chain in chains],
        conversation=page,
        exports=[f"{page}export.json", f"{page}export.md"],
        admin=[
            f"{admin}/run/",
            f"{admin}/run/{everything.pk}/change/",
            f"{admin}/conversation/?all=",
            f"{admin}/conversation/{conversation.pk}/change/",
            f"{admin}/toolcall/?all=",
            f"{admin}/toolcall/?waiting=anybody",
            *(f"{admin}/toolcall/{pk}/change/" for pk in shown),
            f"{admin}/chain/?all=",
            f"{admin}/chain/{chains[0].pk}/change/",
        ],
        batches=batches,
    )


def _waiting(texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Calls for the inbox: as much as its list shows of each, and one with all of them."""
    from django.utils import timezone

    waits = {"status": "waiting", "approval": "staff", "approval_expires": timezone.now() + timedelta(days=1)}
    for number, pack in enumerate(packed(texts, 300)):
        yield {"call": f"waiting {number}", "name": pack[:64], "arguments": pack, **waits}
    yield {"call": OPENED[0], "name": "x", "arguments": _as_json(texts), **waits}


def _ended(texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Calls of which something came."""
    said, arguments = "\n".join(texts), _as_json(texts)
    done = {"name": "x", "arguments": arguments, "status": "done", "reason": said}
    yield {"call": OPENED[1], "output": json.loads(arguments), **done}
    yield {"call": OPENED[2], "output": said, **done}
    for number, pack in enumerate(packed(texts, 2_000)):
        yield {"call": f"{number} failed", "name": "x", "arguments": pack, "status": "failed", "error": pack}


def _as_json(texts: Sequence[str]) -> str:
    return json.dumps({text: text for text in texts}, ensure_ascii=False)


def _chains(titles: Sequence[str], texts: Sequence[str]) -> Iterator[Chain]:
    """One for each page of titles; the models that the first offers are no models."""
    from tests.talking import make_chat

    for number in range(-(-len(titles) // A_LIST)):
        names = titles[number * A_LIST : (number + 1) * A_LIST]
        offered = {"client_models": list(texts)} if not number else {}
        yield make_chat(
            f"hostile-{number}", title=names[0], description="\n".join(names), model=names[0], **offered
        )


def _answer(conversation: Conversation, texts: Sequence[str]) -> Run:
    """One question and its answer, which consist of these."""
    from openrouter_app.models import Run
    from tests.talking import say

    answer = say(
        conversation,
        "\n".join(texts),
        status="failed",
        parts=parts_of(texts),
        model="\n".join(texts)[:200],
        provider="\n".join(texts[3:])[:200],
        error_code="provider",
        error_message="\n".join(texts),
    )
    return Run.objects.get(message=answer)


def _everything(conversation: Conversation, texts: Sequence[str]) -> Run:
    """A run that is nothing but these."""
    from django.utils import timezone

    from openrouter_app.models import Run

    named = {text: text for text in texts}
    return Run.objects.create(
        user=conversation.user,
        chain=conversation.chain,
        version=conversation.chain.published,
        status="failed",
        ended=timezone.now(),
        input=named,
        options=named,
        private=named,
        parts=parts_of(texts),
        reason="\n".join(texts)[:100],
        error_code=texts[0][:32],
        error_message="\n".join(texts)[:2_000],
        error_detail="\n".join(texts),
        model="\n".join(texts)[:200],
        provider="\n".join(texts[5:])[:200],
        generation_id="\n".join(texts[10:])[:200],
    )


if __name__ == "__main__":
    import django

    django.setup()
    print(json.dumps(make_rows(hostile_texts(sys.argv[1]))))
