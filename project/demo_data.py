"""The five chains of the demo, and its staff user. Only what is missing is made: edits are kept."""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import transaction

from openrouter_app.models import Chain, PromptTemplate, ToolSpec

JOKE = {
    "name": "joke",
    "description": "A joke",
    "schema": {
        "type": "object",
        "properties": {
            "setup": {"type": "string", "description": "The setup for the joke"},
            "punchline": {"type": "string", "description": "The punchline to the joke"},
        },
        "required": ["setup", "punchline"],
    },
}

FIND_ORDERS = {
    "name": "find_orders",
    "description": "Finds the shop's orders by customer, number or status; all of them where nothing is "
    "given. Also says which day it is today.",
    "schema": {
        "type": "object",
        "properties": {
            "customer": {"type": "string", "description": "A customer's name, or a part of it"},
            "number": {"type": "integer", "description": "An order's number"},
            "status": {"type": "string", "enum": ["ordered", "packed", "sent", "delivered"]},
        },
        "additionalProperties": False,
    },
    "handler": "find_orders",
    "parallel": True,
    "timeout": 10.0,
}

CHANGE_DELIVERY_DATE = {
    "name": "change_delivery_date",
    "description": "Moves the delivery of an order that has not been sent yet to another day. The person "
    "who asked has to allow it.",
    "schema": {
        "type": "object",
        "properties": {
            "number": {"type": "integer", "description": "The order's number"},
            "new_date": {
                "type": "string",
                "format": "date",
                "description": "The new day, as in 2026-12-24",
            },
        },
        "required": ["number", "new_date"],
        "additionalProperties": False,
    },
    "handler": "change_delivery_date",
    "approval": "owner",
    "timeout": 10.0,
}


class Example(NamedTuple):
    """One chain with its prompt."""

    slug: str
    title: str
    description: str
    rows: list[tuple[str, str]]
    example_input: dict[str, str]
    fields: dict[str, Any]
    tools: tuple[dict[str, Any], ...] = ()
    """The first of them is forced where the chain forces one."""


EXAMPLES = [
    Example(
        "translate",
        "Translate",
        "Says the same in another language.",
        [
            (
                "system",
                "You are a helpful assistant that translates {input_language} to {output_language}.",
            ),
            ("human", "{text}"),
        ],
        {"input_language": "English", "output_language": "French", "text": "I love programming."},
        {"model": "mistralai/mistral-small"},
    ),
    Example(
        "count",
        "Count",
        "Lists the numbers from 1 to where you like.",
        [
            (
                "system",
                "You are a helpful assistant that replies only with numbers in order "
                "without any spaces or commas",
            ),
            ("human", "List the numbers from 1 to {max_num}"),
        ],
        {"max_num": "9"},
        {"model": "mistralai/mistral-small"},
    ),
    Example(
        "joke",
        "Joke",
        "A long joke: its setup and its punchline are the arguments of a tool, and fill in as they come.",
        [("human", "tell me a long joke about {foo}")],
        {"foo": "bears"},
        {"model": "openai/gpt-4o", "parser": Chain.Parser.TOOLS, "tool_choice": Chain.ToolChoice.FORCED},
        tools=(JOKE,),
    ),
    Example(
        "chat",
        "Chat",
        "Ask anything, or ask about the orders of a small shop: the chat finds them, and moves a delivery "
        "once you have allowed it.",
        [
            (
                "system",
                "You are the assistant of a small shop. Answer in Markdown, briefly. Find orders with the "
                "tools, never guess about them. A delivery is moved only when somebody asks for it; where "
                "a call was refused, say so and leave it at that.",
            ),
            ("messages_placeholder", "history"),
            ("human", "{message}"),
        ],
        {"message": "Which orders of Ada and Grace are on their way?"},
        {
            "model": "openai/gpt-4o-mini",
            "client_models": ["openai/gpt-4o-mini", "openai/gpt-4o", "mistralai/mistral-small"],
            "message_variable": "message",
        },
        tools=(FIND_ORDERS, CHANGE_DELIVERY_DATE),
    ),
    Example(
        "let-users-pay",
        "On your own account",
        "The same for whoever pays for it: sign in, and connect an OpenRouter account when you are asked to.",
        [
            ("system", "You are a helpful assistant. Answer in Markdown, briefly."),
            ("messages_placeholder", "history"),
            ("human", "{message}"),
        ],
        {"message": "Who pays for this answer?"},
        {
            "model": "openai/gpt-4o-mini",
            "access": Chain.Access.AUTHENTICATED,
            "payer": Chain.Payer.USER,
        },
    ),
]


@transaction.atomic
def seed_chains() -> tuple[list[str], list[str]]:
    """Make and publish the chains that are missing; answers the slugs of those that were published, and of
    those that were not: a prompt or a tool that has such a name already is taken as it is.
    """
    made: list[str] = []
    unpublished: list[str] = []
    for example in EXAMPLES:
        if not Chain.objects.filter(slug=example.slug).exists():
            chain = _make(example)
            try:
                chain.publish(note="The demo's own")
            except ValidationError:
                unpublished.append(example.slug)
            else:
                made.append(example.slug)
    return made, unpublished


def _make(example: Example) -> Chain:
    prompt, is_new = PromptTemplate.objects.get_or_create(
        slug=example.slug,
        defaults={"description": example.description, "example_input": example.example_input},
    )
    if is_new:
        for position, (role, text) in enumerate(example.rows, start=1):
            prompt.rows.create(position=position, role=role, text=text)
    tools = [ToolSpec.objects.get_or_create(name=tool["name"], defaults=tool)[0] for tool in example.tools]
    is_forced = example.fields.get("tool_choice") == Chain.ToolChoice.FORCED
    chain = Chain.objects.create(
        slug=example.slug,
        title=example.title,
        description=example.description,
        prompt=prompt,
        forced_tool=tools[0] if is_forced else None,
        **{"access": Chain.Access.PUBLIC, **example.fields},
    )
    chain.tools.set(tools)
    return chain


def seed_user() -> str | None:
    """Make the staff user ``demo``; answers its password where it was set just now, else None.

    The password is ``demo`` with DEBUG, where only this machine can reach the site, and random
    elsewhere. A ``demo``/``demo`` made earlier does not survive the first start without DEBUG.
    """
    users = get_user_model()._default_manager
    password = "demo" if settings.DEBUG else secrets.token_urlsafe(12)
    user = users.filter(username="demo").first()
    if user is None:
        users.create_superuser("demo", "", password)
        return password
    if not settings.DEBUG and user.check_password("demo"):
        user.set_password(password)
        user.save(update_fields=["password"])
        return password
    return None
