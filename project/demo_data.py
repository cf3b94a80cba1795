"""The three chains of the demo, and its staff user. Only what is missing is made: edits are kept."""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction

from openrouter_app.models import Chain, PromptTemplate, ToolSpec

JOKE = {
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


class Example(NamedTuple):
    """One chain with its prompt."""

    slug: str
    title: str
    description: str
    rows: list[tuple[str, str]]
    example_input: dict[str, str]
    fields: dict[str, Any]
    forced_tool: str | None = None


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
        forced_tool="joke",
    ),
]


@transaction.atomic
def seed_chains() -> list[str]:
    """Make and publish the chains that are missing; answers their slugs."""
    made = []
    for example in EXAMPLES:
        if not Chain.objects.filter(slug=example.slug).exists():
            _make(example).publish(note="The demo's own")
            made.append(example.slug)
    return made


def _make(example: Example) -> Chain:
    prompt, is_new = PromptTemplate.objects.get_or_create(
        slug=example.slug,
        defaults={"description": example.description, "example_input": example.example_input},
    )
    if is_new:
        for position, (role, text) in enumerate(example.rows, start=1):
            prompt.rows.create(position=position, role=role, text=text)
    tool = None
    if example.forced_tool:
        tool, _ = ToolSpec.objects.get_or_create(name=example.forced_tool, defaults=JOKE)
    chain = Chain.objects.create(
        slug=example.slug,
        title=example.title,
        description=example.description,
        prompt=prompt,
        forced_tool=tool,
        access=Chain.Access.PUBLIC,
        **example.fields,
    )
    if tool:
        chain.tools.add(tool)
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
