"""May this run be made, and who pays for it?"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from django.db import transaction
from django.utils.formats import date_format, number_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..models import Budget, Chain, Run
from ..refusals import Refused
from .a_minute import count_start
from .at_once import check_limits
from .ledger import Short, left_in, reserve, reserve_anew
from .pots import resets_at
from .switches import check_kill_switch
from .worst_case import Ask

Payer, Scope, Length = Chain.Payer, Budget.Scope, Budget.Period
NAMES = {
    (Scope.SITE, Length.DAY): gettext_lazy("The site's budget for today"),
    (Scope.SITE, Length.MONTH): gettext_lazy("The site's budget for this month"),
    (Scope.CHAIN, Length.DAY): gettext_lazy("This chain's budget for today"),
    (Scope.CHAIN, Length.MONTH): gettext_lazy("This chain's budget for this month"),
    (Scope.GROUP, Length.DAY): gettext_lazy("Your group's budget for today"),
    (Scope.GROUP, Length.MONTH): gettext_lazy("Your group's budget for this month"),
    (Scope.USER, Length.DAY): gettext_lazy("Your budget for today"),
    (Scope.USER, Length.MONTH): gettext_lazy("Your budget for this month"),
    (Scope.EACH_USER, Length.DAY): gettext_lazy("Your budget for today"),
    (Scope.EACH_USER, Length.MONTH): gettext_lazy("Your budget for this month"),
}


def admit(ask: Ask) -> str:
    """Let a run in, and reserve what it may cost; answers who pays, a `Run.Payer`.

    In the transaction that makes the run, before its row is written. Raises `Refused`: ``forbidden`` (it is
    switched off), ``limit`` (``retry_after``, seconds), ``budget`` (``left``, US dollars as text;
    ``resets``, ISO 8601) or ``needs_key``; with ``connect`` where an account of the user's own would help.
    """
    check_kill_switch(ask.chain.pk)
    check_limits(ask.owner, ask.chain)
    count_start(ask.owner, ask.chain)
    wanted = Payer.SITE if ask.owner.is_system else ask.chain.payer
    if wanted == Payer.USER and not ask.has_user_key:
        raise _needs_key(ask)
    if wanted == Payer.USER or (wanted == Payer.USER_OR_SITE and ask.has_user_key):
        reserve(ask, Run.Payer.USER)
        return Run.Payer.USER
    short = reserve(ask, Run.Payer.SITE)
    if short is None:
        return Run.Payer.SITE
    if wanted == Payer.SITE_THEN_USER and ask.has_user_key:
        reserve(ask, Run.Payer.USER)
        return Run.Payer.USER
    raise _refused(short, ask)


def reserve_more(ask: Ask, payer: str, *, cost: Decimal | None = None) -> bool:
    """Before a run asks a model again: in a further step, or when it goes on after it waited. By the rules of
    `admit` for whoever pays, in the periods of now; ``cost`` is what the run has cost so far, in all.

    Whether there is such a run, and it has not ended. Raises `Refused`; then nothing was changed.
    """
    with transaction.atomic():
        going = Run.objects.select_for_update().filter(uuid=ask.run, status__in=Run.UNFINISHED)
        if going.values_list("pk", flat=True).first() is None:
            return False
        check_kill_switch(ask.chain.pk)
        if (short := reserve_anew(ask, payer, cost)) is not None:
            raise _refused(short, ask)
    return True


def _needs_key(ask: Ask) -> Refused:
    sentence = (
        _("Sign in and connect an OpenRouter account: who uses this chain pays for it.")
        if ask.user is None
        else _("Connect an OpenRouter account: who uses this chain pays for it.")
    )
    return Refused("needs_key", sentence, {"connect": True})


def _refused(short: Short, ask: Ask) -> Refused:
    """What is left, whether waiting for others would help, and when it starts anew."""
    period, worst = short.period, short.worst
    left, resets = left_in(period) or Decimal(0), resets_at(period)
    named = {
        "budget": NAMES[Scope(period.budget.scope), Length(period.budget.period)],
        "left": dollars(left, ROUND_FLOOR),
        "reserved": dollars(period.reserved, ROUND_CEILING),
        "most": dollars(worst or Decimal(0), ROUND_CEILING),
        "when": date_format(localtime(resets), "DATETIME_FORMAT"),
    }
    if left and worst is not None:
        said = [_("%(budget)s has $%(left)s left; this answer may cost $%(most)s.")]
    else:
        said = [_("%(budget)s has nothing left.")]
    if period.reserved:
        said.append(_("$%(reserved)s are set aside for answers whose cost is not known yet."))
    said.append(_("It starts anew on %(when)s."))
    details: dict[str, Any] = {"left": format(left.normalize(), "f"), "resets": resets.isoformat()}
    if ask.chain.payer != Payer.SITE and not ask.has_user_key and not ask.owner.is_system:
        said.append(_("With an OpenRouter account of your own you can go on at once."))
        details["connect"] = True
    # A time may end with a full stop: "11 p.m."
    return Refused("budget", (" ".join(said) % named).replace("..", "."), details)


def dollars(amount: Decimal, rounding: str) -> str:
    """An amount for people, as exact as they need it, in their way of writing numbers."""
    places = 2 if amount >= 1 or not amount else 4 if amount >= Decimal("0.01") else 6
    rounded = amount.quantize(Decimal(1).scaleb(-places), rounding).normalize()
    return number_format(rounded, max(2, -int(rounded.as_tuple().exponent)), use_l10n=True)
