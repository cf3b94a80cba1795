"""Django signals that say what becomes of runs: for counting, paging and billing.

::

    from django.dispatch import receiver
    from openrouter_app.signals import run_failed

    @receiver(run_failed)
    def count(run, chain, error_code, **kwargs): ...

The sender is the model `Run`. Receivers may be coroutine functions. They are called in the process that
executes the run, after the row says the same, one notice after another in a thread of their own
(`openrouter_app.runs.notices`): they hold up no run and break none, and a process that dies takes with it
what they have not heard yet. No signal holds a prompt, an answer or a key.

Every signal has

==========  ==============================================================
``run``     the run's `uuid.UUID`: ``Run.objects.get(uuid=run)``
``chain``   the chain's slug
``status``  what the row says: a value of `Run.Status`
``origin``  which face started it: a value of `Run.Origin`
==========  ==============================================================

and those of runs that have ended also

=======================  ==============================================================
``seconds``              from its start to its end, a float
``first_token_seconds``  from its start to the first piece of an answer; None where none came
``model``                the model that answered, or ""
``provider``             the provider behind it, or ""
``prompt_tokens``        as the provider counted, or None where nobody said
``completion_tokens``    likewise
``cost``                 in US dollars, a `decimal.Decimal`, or None where nobody said
``error_code``           a code of ``docs/protocol.md`` where it went wrong, else ""
=======================  ==============================================================

Take ``**kwargs``: later releases add facts.
"""

from __future__ import annotations

from django.dispatch import Signal

run_started = Signal()
"""A run is being executed: its row says ``running``. A run that waited says so once more when it goes on."""

run_finished = Signal()
"""A run has ended as somebody wanted: ``done`` or ``stopped``."""

run_failed = Signal()
"""A run has ended as nobody wanted: ``failed`` or ``interrupted``."""
