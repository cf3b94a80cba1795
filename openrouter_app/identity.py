"""Who is at the other end: the owner that a session stands for.

A user who is logged in, or the visitor whose random id the session keeps (`visitor_id`; the id is no
credential by itself, the session is). A request or socket without either owns nothing.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.contrib.auth import SESSION_KEY as USER_SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from .database import again_in_database_thread
from .models import Conversation, Hit, Owner, Run

SESSION_KEY = "openrouter_visitor"


def visitor_id(session: SessionBase) -> UUID:
    """The visitor's id, made and kept in the session where there was none."""
    visitor = _visitor(session)
    if visitor is None:
        visitor = uuid4()
        session[SESSION_KEY] = str(visitor)
    return visitor


def owner_of_request(request: HttpRequest, *, make: bool = False) -> Owner | None:
    """Who a request comes from, as a socket of the same browser would have it; None owns nothing.

    With ``make`` a visitor who has no id gets one, where the site has sessions.
    """
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated and user.is_active:
        return Owner.of_user(user)
    session = getattr(request, "session", None)
    if session is None:
        return None
    visitor = visitor_id(session) if make else _visitor(session)
    return None if visitor is None else Owner.of_visitor(visitor)


def lock_runs(sender: Any, instance: Any, **kwargs: Any) -> None:
    """Before a user or a conversation is deleted; a receiver of Django's ``pre_delete``. Whoever ends a run
    locks its row before what hangs on it, so whoever deletes it has to, or each waits for the other.
    """
    whose = {"conversation" if sender is Conversation else "user": instance}
    list(Run.objects.select_for_update().filter(**whose).order_by("pk").values_list("pk"))


def claim_runs(sender: Any, request: HttpRequest, user: Any, **kwargs: Any) -> None:
    """What a visitor ran and said is his when he has signed in; a receiver of Django's ``user_logged_in``."""
    session = getattr(request, "session", None)
    if session is None or (visitor := _visitor(session)) is None:
        return
    theirs = Run.objects.filter(visitor=visitor)
    # An id that the user has used for another run stays with that one.
    used = Run.objects.filter(user=user, client_id__isnull=False).values("client_id")
    with transaction.atomic():
        # The conversations first: a message that is being sent to one holds its row.
        Conversation.objects.filter(visitor=visitor).update(user=user, visitor=None)
        # Before the runs, as a start has it: what he has asked in this minute counts on.
        Hit.objects.filter(visitor=visitor).update(user=user, visitor=None)
        theirs.filter(client_id__in=used).update(client_id=None)
        theirs.update(user=user, visitor=None)
    # A new id for whoever uses this browser after him.
    del session[SESSION_KEY]


async def owner_of(scope: dict[str, Any], *, fresh: bool = False) -> Owner | None:
    """The owner of a websocket's scope, None for somebody without a session.

    ``fresh`` reads session and user again, so that a logout, a user who was switched off or a
    changed password is seen.
    """
    session = scope.get("session")
    if session is None:
        return None
    return await again_in_database_thread(_owner)(session, fresh)


def _owner(session: Any, fresh: bool) -> Owner | None:
    if fresh:
        # A new store under the same key: the scope's own keeps what it read at the handshake.
        session = type(session._wrapped if hasattr(session, "_wrapped") else session)(session.session_key)
    user = _user(session)
    if user is not None and user.is_active:
        return Owner.of_user(user)
    visitor = _visitor(session)
    return None if visitor is None else Owner.of_visitor(visitor)


def _user(session: Any) -> Any:
    """The user a session is logged in as, or None. Reads only.

    Django's own `get_user` flushes or renews a session whose hash was made with another key; a
    socket cannot send the browser a new cookie, so that would log the user out.
    """
    try:
        user_id = get_user_model()._meta.pk.to_python(session[USER_SESSION_KEY])
        backend = session[BACKEND_SESSION_KEY]
    except (KeyError, ValidationError):
        return None
    if backend not in settings.AUTHENTICATION_BACKENDS:
        return None
    user: Any = load_backend(backend).get_user(user_id)
    if user is None or not hasattr(user, "get_session_auth_hash"):
        return user
    given = session.get(HASH_SESSION_KEY) or ""
    known = (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    return user if any(constant_time_compare(given, hash) for hash in known) else None


def _visitor(session: SessionBase) -> UUID | None:
    try:
        return UUID(session[SESSION_KEY])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
