"""Rows for tests: small functions with defaults, so that a test names only what it is about."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model

from openrouter_app.models import Chain, PromptRow, PromptTemplate, Run, RunEvent, ToolSpec
from openrouter_app.runs.events import Event
from openrouter_app.runs.leases import database_time
from openrouter_app.runs.log import encode

JOKE_SCHEMA = {
    "type": "object",
    "properties": {"setup": {"type": "string"}, "punchline": {"type": "string"}},
    "required": ["setup", "punchline"],
}


def make_prompt(slug: str = "prompt", *rows: tuple[str, str], **fields: Any) -> PromptTemplate:
    """A prompt with these rows; a human ``{text}`` where none is given."""
    prompt = PromptTemplate.objects.create(slug=slug, **fields)
    for position, (role, text) in enumerate(rows or (("human", "{text}"),), start=1):
        PromptRow.objects.create(template=prompt, position=position, role=role, text=text)
    return prompt


def make_chain(
    slug: str = "echo",
    *rows: tuple[str, str],
    publish: bool = True,
    access: str = "public",
    tools: tuple[ToolSpec, ...] = (),
    **fields: Any,
) -> Chain:
    """A chain, public and published unless said otherwise."""
    fields = {"title": slug.title(), "model": "a/b", **fields}
    chain = Chain.objects.create(
        slug=slug, prompt=make_prompt(f"{slug}-prompt", *rows), access=access, **fields
    )
    chain.tools.set(tools)
    if publish:
        chain.publish()
    return chain


def make_joke_chain(slug: str = "joke", **fields: Any) -> Chain:
    """A chain that forces the tool ``joke``; its answer is the call."""
    tool = ToolSpec.objects.create(name=f"{slug}_tool", description="A joke", schema=JOKE_SCHEMA)
    return make_chain(
        slug,
        ("human", "tell me a long joke about {foo}"),
        tools=(tool,),
        tool_choice="forced",
        forced_tool=tool,
        parser="tools",
        **fields,
    )


def make_user(name: str = "ada", **fields: Any) -> Any:
    """A user who can log in with the password ``secret``."""
    return get_user_model().objects.create_user(name, password="secret", **fields)


def make_run(status: str = "queued", *, chain: Chain | None = None, **fields: Any) -> Run:
    """A run's row, as another process may have made it; of a chain of its own unless one is given.

    One that runs has a lease for another minute, one that is queued waits for a minute more.
    """
    if chain is None:
        chain = Chain.objects.filter(slug="elsewhere").first() or make_chain("elsewhere")
    given: dict[str, Any] = {"input": {"text": "x"}, "deadline": database_time(60)}
    if status == Run.Status.RUNNING:
        given.update(lease_until=database_time(60), owner_process="process.elsewhere", fence=1)
    run = Run.objects.create(chain=chain, version=chain.published, status=status, **{**given, **fields})
    run.refresh_from_db()
    return run


def make_log(run: Run, *rows: list[Event]) -> None:
    """The rows of a run's log, as its owner wrote them."""
    seq = 0
    for events in rows:
        RunEvent.objects.create(run=run, after=seq, seq=seq + len(events), events=encode(events))
        seq += len(events)
