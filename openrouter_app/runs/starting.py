"""From a request to a queued run: may this owner run this chain, with this input?

Everything here is one synchronous function in one short transaction, for the caller to run in a
database thread. What it answers holds values, not rows: the run that follows asks the database for
nothing while it streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

import msgspec
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from .. import keys, limits
from ..conf import get_settings
from ..conversations.history import history_before
from ..engine.chat_prompts import MessagesPlaceholder, format_rows, prompt_row
from ..engine.errors import OpenRouterError
from ..engine.messages import Message
from ..models import DEFAULT_LABEL, Chain, ChainVersion, Owner, Run, ToolCall, ToolSpec
from ..models.prompts import saved_row
from ..refusals import Refused
from .conversing import PLACE, about_run, turn_of
from .costs import Totals, size_of_prompt
from .events import Event
from .leases import database_time
from .retrying import is_affordable
from .rows import events_of

MAX_CLIENT_ID = 64


class Start(msgspec.Struct, frozen=True):
    """What is to be run. ``client_id`` makes the start idempotent: the same one gives the same run."""

    owner: Owner
    chain: str
    input: Mapping[str, str]
    client_id: str | None = None
    version: str | int | None = None
    options: Mapping[str, Any] = {}
    origin: str = Run.Origin.PYTHON
    may_wait: float | None = None
    """Seconds after which a run that nobody has taken up is given up."""
    conversation: UUID | Literal["new"] | None = None
    """Where it is said; `NEW` makes one."""
    parent: UUID | msgspec.UnsetType | None = msgspec.UNSET
    """The message it comes after: unset the newest, None at the beginning, an answer for a new question
    there, a question (without ``input``) for a new answer to it."""


class Prepared(msgspec.Struct, frozen=True):
    """A queued run, and all that is needed to execute it: from its beginning, or from where it waited."""

    run: UUID
    pk: int
    fence: int
    owner: Owner
    origin: str
    chain: str
    version: int | None
    input: dict[str, str]
    body: dict[str, Any]
    messages: tuple[Message, ...]
    options: dict[str, Any]
    about: dict[str, Any]
    """Its place in a conversation, as its state has it."""
    approvals: dict[str, str] = {}
    """Who has to allow calls, by tool, as it is set now."""
    loop: str = ""
    """What it goes on from where it waited: an `engine.loops.LoopState`."""
    decisions: dict[str, tuple[bool, str]] = {}
    """What people said meanwhile, by call: whether it may run, and why not."""
    said: list[Event] = []
    """What its log has."""
    seq: int = 0
    spent_ms: int = 0
    payer: str = Run.Payer.SITE
    users_may_pay: bool = False
    """Whether an account of the user's own would help where the site's cannot pay."""
    spent: Totals = Totals()
    """Of the model calls before it waited."""

    @property
    def model(self) -> str:
        """The model that is asked for."""
        return str(self.options.get("model") or self.body["model"])


def prepare(start: Start, run: UUID, process: str = "") -> Prepared | UUID:
    """Check the request and make the row of ``run``; for a ``client_id`` that was used, that run's id.

    ``process`` is the one that means to execute it: who follows can tell it so from the first
    moment on. Raises `Refused`; then nothing was written. May be called again with the same ``run``
    where nobody knows what became of the first call.
    """
    owner = start.owner
    if start.client_id is not None and not (
        0 < len(start.client_id) <= MAX_CLIENT_ID and start.client_id.isprintable()
    ):
        raise Refused("invalid_input", _("A run's id has 1 to %d printable characters.") % MAX_CLIENT_ID)
    if earlier := _earlier(start):
        return _ours(earlier, run)
    # PostgreSQL refuses U+0000 in a parameter
    slug = start.chain.replace("\x00", "")
    chain = Chain.objects.filter(slug=slug).prefetch_related("labels__version").first()
    if chain is None:
        raise Refused("not_found", _("There is no chain “%s”.") % slug[:100])
    user = get_user_model().objects.filter(pk=owner.user_id).first() if owner.user_id is not None else None
    _check_access(chain, owner, user)
    version, label = _version(chain, start.version, user if not owner.is_system else None, owner)
    options = _options(version.body, start.options, owner, is_affordable(start, chain))
    try:
        with transaction.atomic():
            row = _made(start, run, process, chain, version, label, options, user)
    except (IntegrityError, Refused):
        # The same start came twice at once, or was made before its connection was lost: the room that there
        # was, it has taken itself.
        if (earlier := _earlier(start)) or Run.objects.filter(uuid=run).exists():
            return _ours(earlier or run, run)
        raise
    return row


def _made(
    start: Start,
    run: UUID,
    process: str,
    chain: Chain,
    version: ChainVersion,
    label: str,
    options: dict[str, Any],
    user: Any,
) -> Prepared:
    """The rows, in the caller's transaction."""
    owner = start.owner
    turn, given = None, start.input
    if start.conversation is not None:
        turn = turn_of(owner, chain, start.conversation, start.parent)
        given = turn.input(given)
    elif start.parent is not msgspec.UNSET:
        raise Refused("invalid_input", _("Say which conversation the message belongs to."))
    values = _input(version.body, given)
    answer, left_out = None, 0
    history: tuple[Message, ...] = ()
    if turn is not None:
        answer, (history, left_out) = turn.ask(given, version.body)
    row = Run(
        uuid=run,
        user_id=owner.user_id,
        visitor=owner.visitor,
        client_id=start.client_id,
        origin=start.origin,
        chain=chain,
        version=version,
        label=label,
        conversation=None if turn is None else turn.conversation,
        message=answer,
        left_out=left_out,
        input=dict(given),
        options=options,
        owner_process=process,
        deadline=database_time(start.may_wait or get_settings().QUEUE_TIMEOUT + get_settings().LEASE),
    )
    messages = _messages(version.body, values, history)  # before it is stored: it may be refused
    row.payer = limits.admit(_ask(row, messages, user))
    row.save(force_insert=True)
    return _prepared(row, messages)


def _ask(row: Run, messages: tuple[Message, ...], user: Any) -> limits.Ask:
    body = row.version.body
    may_have_key = user is not None and row.chain.payer != Chain.Payer.SITE
    return limits.Ask(
        run=row.uuid,
        owner=row.owner,
        user=user,
        chain=row.chain,
        model=row.options.get("model") or body["model"],
        options={**body["options"], **row.options},
        prompt_bytes=size_of_prompt(messages, body),
        has_user_key=may_have_key and keys.is_connected(user.pk),
    )


def _ours(found: UUID, run: UUID) -> Prepared | UUID:
    """The run that was found; where it is the one that was to be made, all that is needed to execute it."""
    return (found == run and prepare_stored(found)) or found


def prepare_stored(run: UUID) -> Prepared | None:
    """All that is needed to execute a run whose row was made earlier; None where it is not queued."""
    rows = Run.objects.select_related("chain", "version", *PLACE)
    row = rows.filter(uuid=run, status=Run.Status.QUEUED).first()
    if row is None:
        return None
    if "loop" in row.private:
        return _resumed(row)
    values = _input(row.version.body, row.input)
    history: tuple[Message, ...] = ()
    if row.message is not None and row.message.parent is not None:
        history, _left_out = history_before(row.message.parent, row.version.body)
    return _prepared(row, _messages(row.version.body, values, history))


def _resumed(row: Run) -> Prepared:
    """A run that waited, with what was decided and what its log has."""
    decided = row.tool_calls.filter(status__in=[ToolCall.Status.APPROVED, ToolCall.Status.DENIED])
    rows = list(events_of(row.uuid))
    return msgspec.structs.replace(
        _prepared(row, ()),
        loop=row.private["loop"],
        decisions={call.call: (call.status == ToolCall.Status.APPROVED, call.reason) for call in decided},
        said=[event for _after, _seq, events in rows for event in events],
        seq=rows[-1][1] if rows else 0,
        spent_ms=row.private.get("ms", 0),
        spent=Totals.of(row.model_calls.all()),
    )


def _messages(
    body: Mapping[str, Any], values: Mapping[str, Any], history: tuple[Message, ...] = ()
) -> tuple[Message, ...]:
    """The prompt with its values; the history stands where the prompt has its first placeholder."""
    rows = [prompt_row(role, text) for role, text in body["messages"]]
    taken = next((row.variable for row in rows if isinstance(row, MessagesPlaceholder)), None)
    try:
        return format_rows(rows, values if taken is None else {**values, taken: list(history)})
    except OpenRouterError as error:
        raise Refused("invalid_input", error.message) from error


def _prepared(run: Run, messages: tuple[Message, ...]) -> Prepared:
    body = run.version.body
    approvals: dict[str, str] = {}
    if names := [tool["name"] for tool in body["tools"] if tool.get("handler")]:
        approvals = dict(ToolSpec.objects.filter(name__in=names).values_list("name", "approval"))
    return Prepared(
        run=run.uuid,
        pk=run.pk,
        fence=run.fence,
        owner=run.owner,
        origin=run.origin,
        chain=run.chain.slug,
        version=run.version.number,
        input=run.input,
        body=body,
        messages=messages,
        options=run.options,
        about=about_run(run),
        approvals=approvals,
        payer=run.payer,
        users_may_pay=run.chain.payer != Chain.Payer.SITE and run.owner.user_id is not None,
    )


def _earlier(start: Start) -> UUID | None:
    if start.client_id is None or start.owner.is_system:
        return None
    mine = Run.objects.for_owner(start.owner).filter(client_id=start.client_id)
    return mine.values_list("uuid", flat=True).first()


def _check_access(chain: Chain, owner: Owner, user: Any) -> None:
    if not chain.enabled:
        raise Refused("forbidden", _("This chain is switched off."))
    if owner.is_system or chain.may_be_run_by(user):
        return
    if user is None and chain.access == Chain.Access.AUTHENTICATED:
        raise Refused("forbidden", _("Sign in to run this chain."))
    raise Refused("forbidden", _("You may not run this chain."))


def _version(chain: Chain, wanted: str | int | None, user: Any, owner: Owner) -> tuple[ChainVersion, str]:
    """The version to run and the label it was found by; anything but the default needs a permission."""
    if wanted is None or wanted == DEFAULT_LABEL:
        if (published := chain.published) is None:
            raise Refused("unpublished", _("This chain has not been published yet. Publish it in the admin."))
        return published, DEFAULT_LABEL
    if not owner.is_system and not (user is not None and user.has_perm("openrouter_app.change_chain")):
        raise Refused("forbidden", _("Only who may change this chain can choose its version."))
    number = (
        int(wanted) if str(wanted).isascii() and str(wanted).isdigit() and len(str(wanted)) < 10 else None
    )
    if number is not None:
        if (version := chain.versions.filter(number=number).first()) is not None:
            return version, ""
    elif (
        found := chain.labels.filter(name=str(wanted)[:50].replace("\x00", ""))
        .select_related("version")
        .first()
    ) is not None:
        return found.version, found.name
    raise Refused("not_found", _("This chain has no version “%s”.") % str(wanted)[:50])


def _input(body: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """The values for the prompt: exactly its variables. Placeholders are never filled from outside."""
    rows = [saved_row(role, text) for role, text in body["messages"]]
    placeholders = [row.variable for row in rows if isinstance(row, MessagesPlaceholder)]
    wanted = {
        name: None
        for row in rows
        if not isinstance(row, MessagesPlaceholder)
        for name in row.template.variables
    }
    if missing := [name for name in wanted if name not in given]:
        raise Refused(
            "invalid_input",
            _("A value is missing for: %s.") % ", ".join(missing),
            {"variables": missing},
        )
    if unknown := [name for name in given if name not in wanted]:
        named = [name[:100] for name in unknown[:10]]
        raise Refused(
            "invalid_input",
            _("This chain has no variable: %(unknown)s. Its variables are: %(known)s.")
            % {"unknown": ", ".join(named), "known": ", ".join(wanted) or "-"},
            {"variables": named},
        )
    return {**given, **{name: [] for name in placeholders}}


def _options(
    body: Mapping[str, Any], given: Mapping[str, Any], owner: Owner, is_affordable: bool
) -> dict[str, Any]:
    allowed = [*body["client_options"], *(["model"] if body.get("client_models") else [])]
    allowed += ["max_tokens"] if is_affordable else []
    if not owner.is_system and (refused := [name for name in given if name not in allowed]):
        named = [name[:100] for name in refused[:10]]
        raise Refused(
            "invalid_input",
            _("This chain does not let you set: %s.") % ", ".join(named),
            {"options": named},
        )
    models = body.get("client_models")
    if models and not owner.is_system and given.get("model", models[0]) not in (*models, body["model"]):
        raise Refused(
            "invalid_input",
            _("This chain does not let you choose that model. Choose one of: %s.") % ", ".join(models),
            {"options": ["model"]},
        )
    return dict(given)
