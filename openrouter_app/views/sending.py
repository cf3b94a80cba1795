"""A message, or a decision about a tool call, from a page without JavaScript.

The run goes to its end, then the page comes again with what it said. Waiting has a bound; what takes longer
goes on, and the page shows it so far.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal, TypeVar
from uuid import UUID

import msgspec
from asgiref.sync import sync_to_async
from django.contrib.auth.views import redirect_to_login
from django.core.handlers.asgi import ASGIRequest
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from .. import runs
from ..background import in_background
from ..conf import get_settings
from ..identity import owner_of_request
from ..models import Chain, Conversation, Owner, Run
from ..pages.account import lacks_account
from ..pages.chat import is_chat
from ..pages.conversations import answer_of
from ..protocol import uuid_of
from ..runs import Refused, Start
from .showing import chat_page, form_context, visible
from .visitors import STATUS, mine, missing, opens_after_sign_in, page, refusal, wants_json

WAIT = 60.0
"""Seconds a page waits for an answer; ``TOTAL_TIMEOUT`` where that is less."""
FIRST_LOOK, LAST_LOOK = 0.05, 0.5
"""Seconds between two looks at whether it is there."""
MAX_TOKENS = "options.max_tokens"
"""A field of the form that asks again for a shorter answer; no variable of a chain has a dot in its name."""
OWN_FIELDS = frozenset(
    {"csrfmiddlewaretoken", "conversation", "parent", "client_id", "next", "model", MAX_TOKENS}
)
"""Fields of the form that are no variables of the chain; one of these names is written ``input.NAME``."""
DECISIONS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False}

Result = TypeVar("Result")


class _Message(msgspec.Struct, frozen=True):
    """What was sent, and where it belongs."""

    chain: Chain
    conversation: Conversation | None
    start: Start


@transaction.non_atomic_requests
@require_POST
@never_cache
async def send(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Say something to a chain: in ``conversation``, or in a new one; after ``parent``, or at its end."""
    message = await sync_to_async(_message)(request, slug)
    if not isinstance(message, _Message):
        return message
    try:
        run = await _lasting(request, _started)(message.start)
    except Refused as error:
        return await sync_to_async(_again)(request, message, error)
    return await sync_to_async(_answered)(request, message, run)


@transaction.non_atomic_requests
@require_POST
@never_cache
async def decide(request: HttpRequest, run: str) -> HttpResponseBase:
    """Allow (``approve``) or deny a ``call`` of a run that waits for it, perhaps with a ``reason``."""
    owner = await sync_to_async(owner_of_request)(request)
    uuid, approve = uuid_of(run), DECISIONS.get(request.POST.get("approve", "").lower())
    if owner is None or uuid is None:
        raise missing()
    try:
        if approve is None:
            await runs.check_owner(owner, uuid)
            raise Refused("invalid_input", _("Say whether the call may run or not."))
        await _lasting(request, _decided)(
            owner, uuid, request.POST.get("call", "")[:200], approve, request.POST.get("reason", "")[:1_000]
        )
    except Refused as error:
        if error.code == "not_found":
            raise missing() from error
        if wants_json(request):
            return refusal(error)
        return await sync_to_async(_undecided)(request, owner, uuid, error)
    if wants_json(request):
        return JsonResponse({"run": str(uuid)})
    return await sync_to_async(_page_of)(request, owner, uuid)


def _lasting(
    request: HttpRequest, function: Callable[..., Coroutine[Any, Any, Result]]
) -> Callable[..., Awaitable[Result]]:
    """The function on a loop that lasts longer than the request: the server's own, or under WSGI another."""
    if isinstance(request, ASGIRequest):
        return function
    return lambda *args: asyncio.wrap_future(in_background(function(*args)))


async def _started(start: Start) -> UUID:
    """Start it, and wait until it has ended, or waits itself."""
    run = await runs.start(start)
    await _until_it_rests(start.owner, run)
    return run


async def _decided(owner: Owner, run: UUID, call: str, approve: bool, reason: str) -> None:
    await runs.decide(owner, run, call, approve=approve, reason=reason)
    await _until_it_rests(owner, run)


async def _until_it_rests(owner: Owner, run: UUID) -> None:
    """Until its row says that it has ended, or waits for somebody; ``WAIT`` seconds at most."""
    until = time.monotonic() + min(WAIT, get_settings().TOTAL_TIMEOUT)
    pause = FIRST_LOOK
    while await runs.check_owner(owner, run) in (Run.Status.QUEUED, Run.Status.RUNNING):
        if time.monotonic() + pause > until:
            return
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LAST_LOOK)


def _message(request: HttpRequest, slug: str) -> _Message | HttpResponseBase:
    """What was sent. Raises Http404 where chain or conversation are not this visitor's."""
    conversation = None
    if given := request.POST.get("conversation"):
        conversation = mine(request, given)
        if conversation.chain.slug != slug:
            raise missing()
        chain = conversation.chain
    else:
        found = visible(request, slug)
        if found is None:
            if opens_after_sign_in(request, slug):
                return redirect_to_login(reverse("openrouter_app:chain", args=[slug]))
            raise missing()
        chain = found
    owner = owner_of_request(request, make=True)
    if owner is None:
        raise missing()  # a site without sessions: nobody could find the answer again
    return _Message(chain, conversation, _start(request, owner, chain, conversation))


def _start(request: HttpRequest, owner: Owner, chain: Chain, conversation: Conversation | None) -> Start:
    given = input_of(request)
    where: UUID | Literal["new"] | None = "new" if is_chat(chain.published) else None
    parent: UUID | msgspec.UnsetType | None = msgspec.UNSET
    if conversation is not None:
        where = conversation.uuid
        if text := request.POST.get("parent"):
            parent = None if text == "null" else uuid_of(text)
            if parent is None and text != "null":
                raise missing()
    return Start(
        owner=owner,
        chain=chain.slug,
        input=given,
        client_id=_client_id(request, given),
        options=_options(request),
        origin=Run.Origin.WEBSOCKET,
        conversation=where,
        parent=parent,
    )


def _options(request: HttpRequest) -> dict[str, Any]:
    """What the form says beside the input. Whether it may, `runs` decides."""
    options: dict[str, Any] = {"model": model} if (model := request.POST.get("model")) else {}
    if text := request.POST.get(MAX_TOKENS):
        options["max_tokens"] = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text
    return options


def input_of(request: HttpRequest) -> dict[str, str]:
    """The values of the chain's variables, as the form has them: ``input.NAME``, or the name alone."""
    given = {name: str(text) for name, text in request.POST.items() if name not in OWN_FIELDS}
    return {name.removeprefix("input."): text.replace("\r\n", "\n") for name, text in given.items()}


def _client_id(request: HttpRequest, given: dict[str, str]) -> str | None:
    """For the form and what stands in it: sent twice it is one message, changed it is another."""
    if not (own := request.POST.get("client_id")):
        return None
    names = ("parent", "model", MAX_TOKENS)
    said = msgspec.json.encode([own, *map(request.POST.get, names), sorted(given.items())])
    return hashlib.sha256(said).hexdigest()[:64]


def _again(request: HttpRequest, message: _Message, error: Refused) -> HttpResponseBase:
    """The page with what was written still in it, and why it was refused."""
    if error.code == "not_found":
        raise missing()
    if wants_json(request):
        return refusal(error)
    status, given = STATUS.get(error.code, 400), message.start.input
    shown: dict[str, Any] = {
        "problem": error.message,
        "lacks_account": lacks_account(error.code, error.details),
    }
    if message.conversation is None and not is_chat(message.chain.published):
        context = form_context(request, message.chain, message.start.owner, given)
        return page(request, "chain", {**context, **shown}, status)
    return chat_page(request, message.chain, message.conversation, status=status, given=given, **shown)


def _answered(request: HttpRequest, message: _Message, run: UUID) -> HttpResponseBase:
    row = _row(message.start.owner, run)
    if wants_json(request):
        conversation = None if row.conversation is None else str(row.conversation.uuid)
        return JsonResponse({"run": str(run), "conversation": conversation})
    if row.conversation is not None:
        return HttpResponseRedirect(_address_of(row, row.conversation))
    return _alone(request, message.start.owner, row)


def _undecided(request: HttpRequest, owner: Owner, run: UUID, error: Refused) -> HttpResponseBase:
    row, status = _row(owner, run), STATUS.get(error.code, 400)
    if row.conversation is None:
        return _alone(request, owner, row, status=status, problem=error.message)
    found = mine(request, str(row.conversation.uuid))
    return chat_page(request, found.chain, found, status=status, problem=error.message)


def _page_of(request: HttpRequest, owner: Owner, run: UUID) -> HttpResponseBase:
    row = _row(owner, run)
    if row.conversation is None:
        return _alone(request, owner, row)
    return HttpResponseRedirect(_address_of(row, row.conversation))


def _row(owner: Owner, run: UUID) -> Run:
    """The owner's run. Raises Http404 where it was deleted meanwhile."""
    rows = Run.objects.for_owner(owner).select_related("conversation", "message", "chain__prompt")
    if (row := rows.filter(uuid=run).first()) is None:
        raise missing()
    return row


def _alone(
    request: HttpRequest, owner: Owner, row: Run, *, status: int = 200, **shown: str
) -> HttpResponseBase:
    """An answer that stands in no conversation, on its chain's page: no other address has it."""
    context = form_context(request, row.chain, owner, row.input)
    return page(request, "chain", {**context, **shown, "answer": answer_of(row)}, status)


def _address_of(row: Run, conversation: Conversation) -> str:
    """Where the conversation's page shows this answer."""
    place = "" if row.message is None else f"#message-{row.message.uuid}"
    return reverse("openrouter_app:conversation", args=[conversation.uuid]) + place
