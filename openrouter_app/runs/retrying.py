"""Asking again for as much as the account can pay.

Where an answer failed because the account cannot pay for its length, OpenRouter often says how many tokens it
could pay for. The page offers to ask again for these: ``max_tokens`` then, which the chain's author need not
have opened to visitors, is taken for that very question, and for no more than was said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..models import Chain, Run

if TYPE_CHECKING:
    from .starting import Start


def is_affordable(start: Start, chain: Chain) -> bool:
    """Whether this asks again what has just failed, with the ``max_tokens`` that the account can pay for."""
    wanted = start.options.get("max_tokens")
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1:
        return False
    failed = _asked_last(start, chain)
    return failed is not None and failed.error_code == "credit" and wanted <= affordable_tokens(failed)


def affordable_tokens(run: Run) -> int:
    """How many tokens of answer the account could pay for when this run failed; 0 where nobody said."""
    details: Any = run.private.get("details")
    said = details.get("affordable_tokens") if isinstance(details, dict) else None
    return said if isinstance(said, int) else 0


def _asked_last(start: Start, chain: Chain) -> Run | None:
    """The owner's last run that asked the same."""
    mine = Run.objects.for_owner(start.owner).filter(chain=chain).order_by("-pk")
    if start.conversation is None:
        last = mine.filter(conversation=None).first()
        return last if last is not None and last.input == dict(start.input) else None
    if start.conversation == "new" or not start.parent:
        return None
    return mine.filter(conversation__uuid=start.conversation, message__parent__uuid=start.parent).first()
