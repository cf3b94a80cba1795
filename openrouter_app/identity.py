"""Who is at the other end: the owner that a session stands for.

A user who is logged in, or the visitor whose random id the session keeps (`visitor_id`; the id is no
credential by itself, the session is). A request or socket without either owns nothing.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth import get_user
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from .database import in_database_thread
from .models import Owner

SESSION_KEY = "openrouter_visitor"


def visitor_id(session: SessionBase) -> UUID:
    """The visitor's id, made and kept in the session where there was none."""
    visitor = _visitor(session)
    if visitor is None:
        visitor = uuid4()
        session[SESSION_KEY] = str(visitor)
    return visitor


async def owner_of(scope: dict[str, Any], *, fresh: bool = False) -> Owner | None:
    """The owner of a websocket's scope, None for somebody without a session.

    ``fresh`` reads session and user again, so that a logout, a user who was switched off or a
    changed password is seen.
    """
    session = scope.get("session")
    if session is None:
        return None
    return await in_database_thread(_owner)(session, fresh)


def _owner(session: Any, fresh: bool) -> Owner | None:
    if fresh:
        # A new store under the same key: the scope's own keeps what it read at the handshake.
        session = type(session._wrapped if hasattr(session, "_wrapped") else session)(session.session_key)
    request = HttpRequest()
    request.session = session
    user = get_user(request)
    if user.is_authenticated and user.is_active:
        return Owner.of_user(user)
    visitor = _visitor(session)
    return None if visitor is None else Owner.of_visitor(visitor)


def _visitor(session: SessionBase) -> UUID | None:
    try:
        return UUID(session[SESSION_KEY])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
