"""Who pays for a run: the key it uses, what it may still cost, and what people are told when that is over.

The key is read just before a model is asked, is a `Secret` from there on, and stands in no `Prepared`.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
from django.contrib.auth import get_user_model
from django.utils.translation import gettext as _

from .. import keys, limits
from ..database import LOST_DATABASE, again_in_database_thread, in_database_thread
from ..engine.errors import CreditError, KeyRejectedError, MissingKeyError, OpenRouterError
from ..engine.secret import Secret
from ..models import Chain, Run
from ..refusals import Refused, gone
from ..sentences import spoken
from . import costs, leases
from .endings import Outcome
from .events import Failed
from .live import LiveRun
from .starting import Prepared
from .writer import patiently

log = logging.getLogger("openrouter_app.runs")


class Key(msgspec.Struct, frozen=True):
    """What a run is asked with. ``secret`` is None, and ``hash`` empty, for the site's own."""

    secret: Secret | None = None
    hash: str = ""


async def key_for(prepared: Prepared, live: LiveRun) -> Key:
    """The key of whoever pays. Raises `Refused` (``needs_key``) where it is gone meanwhile."""
    if prepared.payer != Run.Payer.USER:
        return Key()
    return await patiently(live, partial(in_database_thread(_users_key), prepared.owner.user_id))


def _users_key(user: Any) -> Key:
    row = keys.key_of(user)
    secret = None if row is None else keys.secret_of(row)
    if row is None or secret is None:
        sentence = _("Your OpenRouter account is not connected any more. Connect it again, then ask again.")
        raise Refused("needs_key", sentence, {"connect": True})
    return Key(secret, row.key_hash)


async def reserve_more(prepared: Prepared, live: LiveRun, prompt_bytes: int, cost: Decimal | None) -> None:
    """Before a model is asked again. Raises `Refused`: ``budget``, or ``forbidden`` where all is off."""
    await patiently(live, partial(in_database_thread(_reserve), prepared, prompt_bytes, cost))


def _reserve(prepared: Prepared, prompt_bytes: int, cost: Decimal | None) -> None:
    owner = prepared.owner
    users = get_user_model()._default_manager
    user = None if owner.user_id is None else users.filter(pk=owner.user_id).first()
    ask = limits.Ask(
        run=prepared.run,
        owner=owner,
        user=user,
        chain=Chain.objects.get(slug=prepared.chain),
        prompt_bytes=prompt_bytes,
        # who has connected an account is not told to
        has_user_key=prepared.users_may_pay and keys.key_of(owner.user_id) is not None,
        model=prepared.model,
        options={**prepared.body["options"], **prepared.options},
    )
    if not limits.reserve_more(ask, prepared.payer, cost=cost):
        raise gone()  # deleted or ended meanwhile: nobody would pay for more


async def estimate(live: LiveRun, outcome: Outcome) -> None:
    """Say of all calls that have ended without it what they have cost, as far as prices are known."""
    unsaid = [call for call in outcome.calls if call.ended is not None and not call.is_said]
    if not unsaid:
        return
    try:
        prices = await again_in_database_thread(costs.prices_of)(unsaid)
    except Exception as error:
        log.warning("what run %s has cost could not be estimated: %s", live.run, type(error).__name__)
        return
    for each in unsaid:
        if (price := prices.get(each.number)) is not None:
            each.estimate(price)


async def settle_gone(live: LiveRun, outcome: Outcome) -> None:
    """Charge what a run has cost so far whose row somebody has deleted. Of one that another process has, that
    one tells.
    """
    for each in outcome.calls:
        each.end()
    await estimate(live, outcome)
    try:
        await again_in_database_thread(leases.settle_gone)(live.run, list(outcome.calls), outcome.earlier)
    except Exception:
        log.exception("what run %s has cost, which is gone, could not be written", live.run)


async def failed(error: OpenRouterError, prepared: Prepared, key: Key) -> Failed:
    """How a run ends that somebody said no to. A user's key that was refused is forgotten."""
    details = _details(error)
    sentence = spoken(error.message)
    is_users = prepared.payer == Run.Payer.USER
    match error:
        case KeyRejectedError() if is_users:
            await _drop(prepared, key)
            details["connect"] = True
            sentence = _("OpenRouter does not know your key any more. Connect your account again.")
        case CreditError() if is_users:
            sentence = _("There is not enough credit on your OpenRouter account for this answer.")
        case CreditError() | MissingKeyError() if prepared.users_may_pay:
            details["connect"] = True
    return Failed(error.code, sentence, error.retryable, details or None)


async def _drop(prepared: Prepared, key: Key) -> None:
    try:
        await again_in_database_thread(keys.drop_rejected)(prepared.owner.user_id, key.hash)
    except LOST_DATABASE:  # the next run finds that it is refused
        log.exception("a key that was refused could not be dropped")


def _details(error: OpenRouterError) -> dict[str, Any]:
    names = ("retry_after", "affordable_tokens")
    found = {name: value for name in names if (value := getattr(error, name, None)) is not None}
    return {**(getattr(error, "details", None) or {}), **found}
