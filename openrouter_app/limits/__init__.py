"""May it run, and who pays: the kill switch, how much at once and a minute, and budgets with their ledger.

In the life of a run, each in a database thread::

    payer = limits.admit(ask)                           # in the transaction that makes its row
    limits.check_kill_switch()                          # when a process takes it up
    limits.reserve_more(ask, payer, cost=so_far)        # before a model is asked again
    limits.settle(run, cost, model=..., estimated=...)  # in the transaction of its end, or of its pause
    limits.settle(run, exact_cost)                      # when that comes later

Elsewhere: `count_key_check` before OpenRouter is asked about a user's key, `forget_hits` now and then.
"""

from .a_minute import count_key_check, forget_hits
from .admitting import admit, reserve_more
from .ledger import is_unsettled, orphans, release_orphans, settle
from .switches import check_kill_switch
from .worst_case import Ask

__all__ = [
    "Ask",
    "admit",
    "check_kill_switch",
    "count_key_check",
    "forget_hits",
    "is_unsettled",
    "orphans",
    "release_orphans",
    "reserve_more",
    "settle",
]
