"""A user's OpenRouter account: what is connected, and the ways to connect, check, replace and disconnect it.

No page of these is kept by a cache or shown in a frame, and those whose address holds what a sign-in needs
name it to nobody. (The others are ``same-origin``: from a page with ``no-referrer`` a browser posts a form
with ``Origin: null``, which Django's CSRF check refuses.) A form's answer may not redirect to another site
under ``form-action 'self'``, so `connect` answers a page that goes on by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.contrib.auth.views import redirect_to_login
from django.db import transaction
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    JsonResponse,
)
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.debug import SafeExceptionReporterFilter
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST, require_safe

from .. import keys, limits
from ..background import in_background
from ..conf import get_settings
from ..engine.errors import ForbiddenError, KeyRejectedError, OpenRouterError
from ..engine.secret import Secret
from ..keys import connecting
from ..models import UserKey
from ..pages.account import Key, callback_origin, terms
from ..refusals import Refused
from .visitors import page, wants_json

LONGEST_NEXT = 2_000
"""Characters of an address to go back to."""
SAID = "openrouter_account_said"
"""Where the session keeps what the next page says."""

Result = TypeVar("Result")
View = Callable[..., HttpResponseBase]


def private(referrer: str = "same-origin", *, needs_user: bool = True) -> Callable[[View], View]:
    """A view that no cache keeps and no frame shows, and that strangers are led away from, to sign in."""

    def decorate(view: View) -> View:
        @wraps(view)
        def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if needs_user and not request.user.is_authenticated:
                response: HttpResponseBase = redirect_to_login(_account_url(_next(request)))
            else:
                response = view(request, *args, **kwargs)
            response.headers["Referrer-Policy"] = referrer
            response.headers["X-Frame-Options"] = "DENY"
            return response

        return never_cache(answered)

    return decorate


@require_safe
@private()
def account(request: HttpRequest) -> HttpResponse:
    """What is connected. ``?next=`` is where one goes back to."""
    return _shown(request)


@require_POST
@private()
def connect(request: HttpRequest) -> HttpResponse:
    """Begin a sign-in at OpenRouter, and go there."""
    origin = callback_origin(request)
    if origin is None:
        return _shown(request, _("This site can be connected to OpenRouter over https only."), status=400)

    def callback_url(nonce: str) -> str:
        return f"{origin}{reverse('openrouter_app:callback', args=[nonce])}"

    url = connecting.begin(request.user, request.session, callback_url, _next(request))
    return page(request, "account_going_on", {"url": url, "is_leaving": True})


@transaction.non_atomic_requests  # it is over once, whatever becomes of the answer
@require_GET
@private("no-referrer", needs_user=False)
def callback(request: HttpRequest, nonce: str) -> HttpResponseBase:
    """Where OpenRouter leads back to, with ``?code=``."""
    code = request.GET.get("code", "")
    session = getattr(request, "session", None)
    if not connecting.knows(session) and "again" not in request.GET:
        # A cookie with SameSite=Strict does not come along from another site; from this page it does.
        url = f"{request.path}?{urlencode({'code': code[: connecting.MAX_CODE], 'again': 1})}"
        return page(request, "account_going_on", {"url": url, "is_leaving": False})
    begun = connecting.redeem(request.user, session, nonce)
    if begun is None or (verifier := begun.opened()) is None:
        return _back(request, problem=_stale())
    if not connecting.is_code(code):
        return _back(request, begun.next, problem=_("OpenRouter sent no key: nothing was connected."))
    try:
        key, info = _waited_for(connecting.exchange(code, verifier))
    except ForbiddenError:  # the code is none, or too old
        return _back(request, begun.next, problem=_stale())
    except OpenRouterError as error:
        return _back(request, begun.next, problem=_problem(error))
    return _arrived(request, key, UserKey.Origin.OAUTH, info, begun.next)


@require_POST
@private()
def disconnect(request: HttpRequest) -> HttpResponseBase:
    """Forget the key here. At OpenRouter it is good until it is deleted there."""
    row = keys.key_of(request.user.pk)
    if row is None or not keys.disconnect(request.user.pk):
        return _back(request, _next(request))
    said = _("Disconnected. This site has forgotten the key; at OpenRouter it is there until you delete it.")
    return _back(request, _next(request), done=said, link=keys.links(row)[0])


@transaction.non_atomic_requests  # nothing is locked while OpenRouter is waited for
@require_POST
@sensitive_post_parameters("key")
@private()
def paste(request: HttpRequest) -> HttpResponseBase:
    """Connect by a key that the user has made himself: checked before it is kept."""
    request.exception_reporter_filter = _Hiding()  # where Django looks for it
    if not get_settings().ALLOW_PASTED_KEYS:
        raise Http404
    key = Secret(request.POST.get("key", "").strip())
    if not _may_be_key(key):
        return _shown(request, _("This is no key. It begins with “sk-or-”, and has no spaces."), status=400)
    try:
        limits.count_key_check(request.user)
        info = _waited_for(keys.check(key))
    except OpenRouterError as error:
        return _shown(request, _problem(error), status=429 if isinstance(error, Refused) else 400)
    return _arrived(request, key, UserKey.Origin.PASTED, info, _next(request))


@transaction.non_atomic_requests
@require_POST
@private()
def refresh(request: HttpRequest) -> HttpResponseBase:
    """Ask OpenRouter again what is left. A script is told the figures, null where the key is gone."""
    problem = _asked_again(request.user)
    if wants_json(request):
        row = keys.key_of(request.user.pk)
        if row is None:
            _say(request, _next(request), problem=problem)
            return JsonResponse({"facts": None})
        facts = {fact.name: fact.text for fact in Key.of(row).facts}
        return JsonResponse({"facts": facts, "problem": problem})
    if problem:
        return _back(request, _next(request), problem=problem)
    return _back(request, _next(request), done=_("Checked: this is what OpenRouter says now."))


@transaction.non_atomic_requests
@require_http_methods(["GET", "HEAD", "POST"])
@private()
def replace(request: HttpRequest) -> HttpResponseBase:
    """A key came while there was another: which of the two stays?"""
    if request.method == "POST":
        return _chosen(request)
    offered = connecting.offered_to(request.user)
    if offered is None:
        return _back(request)
    row = keys.key_of(request.user.pk)
    context = {"key": None if row is None else Key.of(row), "offered": Key.of(offered)}
    return page(request, "account_replace", context)


def _chosen(request: HttpRequest) -> HttpResponseBase:
    key_hash, wants = request.POST.get("key_hash", ""), request.POST.get("keep") == "new"
    chosen = connecting.choose(request.user, key_hash, replace=wants)
    if chosen is None:
        row = keys.key_of(request.user.pk)
        is_so = row is not None and (row.key_hash == key_hash) is wants  # it was sent twice
        return _back(request) if is_so else _back(request, problem=_stale())
    if wants:
        problem = _asked_again(request.user)
        if keys.key_of(request.user.pk) is None:  # deleted at OpenRouter meanwhile
            return _back(request, chosen.next, problem=problem)
        return _connected(request, chosen.next)
    said = _("The account that was connected stays. The other key is at OpenRouter until you delete it.")
    return _back(request, chosen.next, done=said, link=keys.links(chosen)[0])


def _shown(request: HttpRequest, problem: str = "", *, status: int = 200) -> HttpResponse:
    """The page, with what was said on the way to it."""
    said = request.session.pop(SAID, {}) if request.method != "HEAD" else {}
    row, problem = keys.key_of(request.user.pk), problem or said.get("problem", "")
    key, is_open = None if row is None else Key.of(row), row is not None and keys.secret_of(row) is not None
    context = {
        "key": key,
        "is_open": is_open,
        "checks_itself": key is not None and key.is_stale and is_open and not problem,
        "next": _next(request) or _allowed(request, said.get("next", "")),
        "problem": problem,
        "done": said.get("done", ""),
        "done_link": said.get("link", ""),
        "terms": terms(),
        "may_paste": get_settings().ALLOW_PASTED_KEYS,
    }
    return page(request, "account", context, status)


def _asked_again(user: Any) -> str:
    """Note what OpenRouter says of the user's key now; what is wrong with it, "" where nothing is."""
    row = keys.key_of(user.pk)
    if row is None or (key := keys.secret_of(row)) is None:
        return _("There is no key to ask about. Connect again.")
    try:
        limits.count_key_check(user)
        keys.refresh(row, _waited_for(keys.check(key)))
    except OpenRouterError as error:
        if isinstance(error, KeyRejectedError):
            keys.drop_rejected(user.pk, row.key_hash)
        return _problem(error)
    return ""


def _arrived(request: HttpRequest, key: Secret, origin: str, info: Any, next: str) -> HttpResponseRedirect:
    if connecting.arrived(request.user, key, origin, info, next) is not None:
        return HttpResponseRedirect(reverse("openrouter_app:replace"))
    return _connected(request, next)


def _connected(request: HttpRequest, next: str) -> HttpResponseRedirect:
    """To where the user came from; what he did there is waiting for it."""
    if allowed := _allowed(request, next):
        return HttpResponseRedirect(allowed)
    return _back(request, done=_("Connected."))


def _back(request: HttpRequest, next: str = "", **said: str) -> HttpResponseRedirect:
    """To the account's page, which says it once."""
    if said:
        _say(request, next, **said)
    return HttpResponseRedirect(_account_url("" if said else next))


def _say(request: HttpRequest, next: str, **said: str) -> None:
    if (session := getattr(request, "session", None)) is not None:
        session[SAID] = {**said, "next": next}


def _account_url(next: str = "") -> str:
    url = reverse("openrouter_app:account")
    return f"{url}?{urlencode({'next': next})}" if next else url


def _next(request: HttpRequest) -> str:
    """Where the request says one came from; "" for an address that is not this site's."""
    return _allowed(request, request.POST.get("next") or request.GET.get("next", ""))


def _allowed(request: HttpRequest, url: str) -> str:
    if len(url) > LONGEST_NEXT or not url.isprintable():
        return ""
    hosts, is_secure = {request.get_host()}, request.is_secure()
    return url if url_has_allowed_host_and_scheme(url, hosts, require_https=is_secure) else ""


def _waited_for(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What OpenRouter answers: asked on a loop that lasts, so that its connections do."""
    return in_background(coroutine).result()


def _may_be_key(key: Secret) -> bool:
    return all("!" <= letter <= "~" for letter in key.reveal()) and 8 <= len(key.reveal()) <= 500


def _stale() -> str:
    return _(
        "This sign-in is not good any more: it took longer than ten minutes, was used already, or was begun "
        "elsewhere. Nothing was changed. Connect again."
    )


def _problem(error: OpenRouterError) -> str:
    """What is said of it. The engine's own words name what a site's staff must do."""
    if isinstance(error, Refused):  # by this site: it was asked too often
        return error.message
    if isinstance(error, KeyRejectedError):
        return _("OpenRouter does not accept this key. It may have been deleted there, or have expired.")
    return _("OpenRouter could not be asked. Try again in a minute.")


class _Hiding(SafeExceptionReporterFilter):
    """What is sensitive is hidden on Django's debug pages as well."""

    def is_active(self, request: HttpRequest | None) -> bool:
        return True
