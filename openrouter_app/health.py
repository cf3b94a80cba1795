"""``GET /health/``: whether this process should be given work, for load balancers and container platforms.

It says nothing that is not its caller's business, and costs nothing however often it is asked: the
database is written to at most once a second, and by one request at a time.
"""

from __future__ import annotations

import logging
import threading
import time

from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from . import runs
from .models import Run

log = logging.getLogger("openrouter_app.health")

ASK_AGAIN_AFTER = 1.0
"""Seconds a verdict about the database holds."""
GIVE_UP_AFTER = 5.0
"""Seconds after which a question that the database has not answered counts as a no."""


@login_not_required
@transaction.non_atomic_requests
@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """200 where new runs are welcome; 503 while runs cannot be written, and while this process shuts down."""
    draining = runs.is_draining()
    writable = _database.is_writable() and not runs.log_is_failing()
    return JsonResponse(
        {
            "status": "draining" if draining else "ok" if writable else "failing",
            "database": "ok" if writable else "failing",
            "runs": runs.executing_count(),
            "draining": draining,
        },
        status=200 if writable and not draining else 503,
    )


class Database:
    """What the database last said to a write, and when."""

    def __init__(self) -> None:
        self._writable = True
        self._asked = float("-inf")
        self._answered = float("-inf")
        self._asking = threading.Lock()

    def is_writable(self) -> bool:
        """The last verdict, a second old at most, and while somebody else asks for the next one."""
        if time.monotonic() < self._answered + ASK_AGAIN_AFTER:
            return self._writable
        if not self._asking.acquire(blocking=False):
            return self._writable and time.monotonic() < self._asked + GIVE_UP_AFTER
        try:
            self._asked = time.monotonic()
            writable = _write(log_error=self._writable)
            if writable and not self._writable:
                log.warning("the database can be written to again")
            self._writable, self._answered = writable, time.monotonic()
        finally:
            self._asking.release()
        return self._writable


def _write(*, log_error: bool) -> bool:
    """Change no row. A read-only database refuses even that, and SQLite takes the lock of writers for it."""
    try:
        Run.objects.filter(pk=-1).update(last_seq=0)
    except Exception:
        if log_error:  # and not once a second while it lasts
            log.exception("the database cannot be written to")
        return False
    return True


_database = Database()
