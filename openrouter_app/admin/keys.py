"""Users' keys: who has connected an account, and what is left on it. To look at, and to disconnect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..models import UserKey
from ..pages.account import Key
from .display import STYLESHEET

if TYPE_CHECKING:
    _UserKeyAdmin = admin.ModelAdmin[UserKey]
else:
    _UserKeyAdmin = admin.ModelAdmin


@admin.register(UserKey)
class UserKeyAdmin(_UserKeyAdmin):
    """A user's key, without the key. To delete it is to disconnect the account."""

    list_display = ["shown_label", "user", "origin", "left", "checked_at"]
    list_filter = ["origin", "created"]
    list_select_related = ["user"]
    show_full_result_count = False
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "To delete it is to disconnect the account here. At OpenRouter the key is good until its "
                    "user deletes it there."
                ),
                "fields": (
                    *("shown_label", "user", "origin", "fingerprint", "left", "spent"),
                    *("expires", "checked_at", "created"),
                ),
            },
        ),
    )

    class Media:
        css = STYLESHEET

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        """Label, and the user's name."""
        return ["label", f"user__{get_user_model().USERNAME_FIELD}"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[UserKey]:
        """Without what is sealed: no page here has a use for it."""
        return super().get_queryset(request).defer("ciphertext")

    @admin.display(description=_("label"), ordering="label")
    def shown_label(self, row: UserKey) -> str:
        """What OpenRouter calls it."""
        return str(row)

    @admin.display(description=_("fingerprint"))
    def fingerprint(self, row: UserKey) -> SafeString:
        """The beginning of the key's hash, as the user's own page shows it."""
        return format_html("<code>{}…</code>", Key.of(row).fingerprint)

    @admin.display(description=_("left"), ordering="remaining", empty_value="-")
    def left(self, row: UserKey) -> str | None:
        """What was left when OpenRouter was last asked, and of how much."""
        return Key.of(row).left or None

    @admin.display(description=_("spent"), empty_value="-")
    def spent(self, row: UserKey) -> str | None:
        """What the key has cost its user, here and elsewhere."""
        return Key.of(row).spent or None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Users connect their accounts themselves."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """It is OpenRouter's to say what a key is."""
        return False
