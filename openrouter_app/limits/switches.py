"""What is switched off: everything, or one chain."""

from __future__ import annotations

from django.utils.translation import gettext as _

from ..models import Chain, KillSwitch
from ..refusals import Refused


def check_kill_switch(chain: int | None = None) -> None:
    """Raise `Refused` (``forbidden``) while everything is switched off, or the chain with this primary key.

    Before a run is made, and before a model is asked: what waited meanwhile does not go on either.
    """
    switch = KillSwitch.objects.filter(is_on=True).values_list("reason", flat=True).first()
    if switch is not None:
        raise Refused("forbidden", switch or _("The models are switched off for now."))
    if chain is not None and not Chain.objects.filter(pk=chain, enabled=True).exists():
        raise Refused("forbidden", _("This chain is switched off."))
