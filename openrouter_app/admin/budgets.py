"""Budgets: what may be spent, what is left of it now, and the ledger behind the sums."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import (
    Case,
    DateField,
    DecimalField,
    OuterRef,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..limits.admitting import dollars
from ..limits.pots import starts_of, today
from ..models import Budget, BudgetPeriod, Charge
from .display import STYLESHEET, owner_name

if TYPE_CHECKING:
    _BudgetAdmin = admin.ModelAdmin[Budget]
    _ChargeAdmin = admin.ModelAdmin[Charge]
else:
    _BudgetAdmin = _ChargeAdmin = admin.ModelAdmin

FIXED = ["scope", "chain", "group", "user", "period"]
"""What makes a pot this pot: its ledger is about that, so it does not change any more."""


@admin.register(Budget)
class BudgetAdmin(_BudgetAdmin):
    """Pots with what was spent and is reserved now. Of one that has a ledger only the limit is changed."""

    actions = None  # none that deletes many: most could not be
    list_display = ["pot", "period", "limit_now", "spent_now", "reserved_now", "left_now"]
    list_display_links = ["pot"]
    list_filter = ["scope", "period"]
    list_select_related = ["chain", "group", "user"]
    raw_id_fields = ["user"]  # or there would be a list of all users, where he cannot be searched for
    fieldsets = [
        (
            None,
            {
                "fields": ["scope", "chain", "group", "user", "period", "limit"],
                "description": _(
                    "A run is paid from every budget that it belongs to. Choose a chain, group or user where "
                    "the scope is about one."
                ),
            },
        ),
        (_("Now"), {"fields": ["spent_now", "reserved_now", "left_now"]}),
    ]
    readonly_fields = ["spent_now", "reserved_now", "left_now"]

    class Media:
        css = STYLESHEET

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        """With the sums of the day or month it is now."""
        day = today()
        now = Case(
            When(period=Budget.Period.DAY, then=Value(day)),
            default=Value(starts_of(Budget.Period.MONTH, day)),
            output_field=DateField(),
        )
        rows = super().get_queryset(request).annotate(now=now)
        return rows.annotate(spent_sum=_sum("spent"), reserved_sum=_sum("reserved"))

    def get_autocomplete_fields(self, request: HttpRequest) -> list[str]:
        """A user is searched for where the site's admin can do that, and this person may."""
        users = self.admin_site._registry.get(get_user_model())
        can = users is not None and users.get_search_fields(request) and users.has_view_permission(request)
        return ["user"] if can else []

    def get_fieldsets(self, request: HttpRequest, obj: Budget | None = None) -> Any:
        """A new one has no sums yet."""
        return self.fieldsets if obj else self.fieldsets[:1]

    def get_readonly_fields(self, request: HttpRequest, obj: Budget | None = None) -> list[str]:
        """Of one that is there the limit can be changed; of what users pay themselves not that either."""
        if obj is None:
            return self.readonly_fields
        fixed = [*FIXED, "limit"] if obj.scope == Budget.Scope.OWN else FIXED
        return [*fixed, *self.readonly_fields]

    def has_delete_permission(self, request: HttpRequest, obj: Budget | None = None) -> bool:
        """Not while it has a ledger: empty the limit instead."""
        may = super().has_delete_permission(request, obj)
        return may and (obj is None or not obj.periods.exists())

    @admin.display(description=_("budget"), ordering="scope")
    def pot(self, budget: Budget) -> str:
        """What it is for, and whom."""
        target = budget.chain or budget.group or budget.user
        if target is not None:
            return gettext("%(scope)s: %(target)s") % {
                "scope": budget.get_scope_display(),
                "target": target,
            }
        gone = budget.scope in (Budget.Scope.CHAIN, Budget.Scope.GROUP, Budget.Scope.USER)
        said = gettext("%(scope)s (gone)") if gone else "%(scope)s"
        return said % {"scope": budget.get_scope_display()}

    @admin.display(description=_("limit"), ordering="limit")
    def limit_now(self, budget: Budget) -> str:
        """The limit, if there is one."""
        return gettext("none") if budget.limit is None else _amount(budget.limit)

    @admin.display(description=_("spent"), ordering="spent_sum")
    def spent_now(self, budget: Any) -> str:
        """In the period of now; of a pot for each user, all of them together."""
        return _amount(budget.spent_sum)

    @admin.display(description=_("reserved"), ordering="reserved_sum")
    def reserved_now(self, budget: Any) -> str:
        """For answers that are being written."""
        return _amount(budget.reserved_sum)

    @admin.display(description=_("left"))
    def left_now(self, budget: Any) -> SafeString | str:
        """What is left, marked where it is nothing."""
        if budget.limit is None:
            return "-"
        if budget.scope == Budget.Scope.EACH_USER:
            return gettext("each by himself")
        left = budget.limit - budget.spent_sum - budget.reserved_sum
        if left > 0:
            return f"${dollars(left, ROUND_FLOOR)}"
        return format_html(
            '<strong class="openrouter-nothing-left">{}</strong>', _amount(max(left, Decimal(0)))
        )


def _sum(column: str) -> Any:
    """What all holders of the pot have in the period of now."""
    rows = BudgetPeriod.objects.filter(budget=OuterRef("pk"), starts=OuterRef("now")).order_by()
    money = DecimalField(max_digits=24, decimal_places=10)
    summed = Subquery(rows.values("budget").annotate(total=Sum(column)).values("total"), output_field=money)
    return Coalesce(summed, Value(Decimal(0)), output_field=money)


def _amount(amount: Decimal) -> str:
    return f"${dollars(amount, ROUND_HALF_EVEN)}"


@admin.register(Charge)
class ChargeAdmin(_ChargeAdmin):
    """The ledger, to look at: what each run has reserved or cost in each of its pots."""

    list_display = ["created", "run_link", "held", "cost", "pot", "starts", "chain_slug", "model", "who"]
    list_display_links = None
    list_filter = ["period__budget__scope", "period__budget__period", "estimated", "created"]
    list_select_related = [
        "user",
        "run",
        "period__budget__chain",
        "period__budget__group",
        "period__budget__user",
    ]
    ordering = ["-pk"]
    show_full_result_count = False
    actions = None

    class Media:
        css = STYLESHEET

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        """The run's id, the chain, the model, and the user's name."""
        return ["=run_uuid", "=chain_slug", "model", f"user__{get_user_model().USERNAME_FIELD}"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Charge]:
        """Without the texts of the runs."""
        heavy = ("parts", "private", "input", "options", "output", "error_message", "error_detail")
        return super().get_queryset(request).defer(*(f"run__{name}" for name in heavy))

    @admin.display(description=_("budget"))
    def pot(self, charge: Charge) -> str:
        """The pot it is in."""
        return str(charge.period.budget)

    @admin.display(description=_("since"), ordering="period__starts")
    def starts(self, charge: Charge) -> date:
        """When the period began."""
        return charge.period.starts

    @admin.display(description=_("run"))
    def run_link(self, charge: Charge) -> SafeString | str:
        """The run while it is there, else the beginning of its id."""
        short = str(charge.run_uuid)[:8]
        if charge.run_id is None:
            return short
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:openrouter_app_run_change", args=[charge.run_id]), short
        )

    @admin.display(description=_("user"))
    def who(self, charge: Charge) -> str:
        """The user; a visitor and the system have no name here."""
        return "-" if charge.user is None else owner_name(charge.user, None)

    @admin.display(description=_("reserved"), ordering="reserved")
    def held(self, charge: Charge) -> str:
        """For an answer that is being written."""
        return _amount(charge.reserved) if charge.reserved else "-"

    @admin.display(description=_("cost"), ordering="settled")
    def cost(self, charge: Charge) -> str:
        """What it has cost, about where that is an estimate."""
        if charge.settled is None:
            return "-"
        return (
            f"≈\N{NO-BREAK SPACE}{_amount(charge.settled)}" if charge.estimated else _amount(charge.settled)
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody: runs write it."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Charge | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Charge | None = None) -> bool:
        """Nobody: a ledger has no holes."""
        return False
