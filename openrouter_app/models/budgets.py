"""Money: what may be spent, and the ledger of what was. In US dollars, as `decimal.Decimal`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .chains import Chain
from .fields import OutsideTextField
from .runs import Run


def _money(name: Any, *, max_digits: int = 18, **kwargs: Any) -> models.DecimalField[Any, Any]:
    return models.DecimalField(name, max_digits=max_digits, decimal_places=10, **kwargs)


class Budget(models.Model):
    """A pot for a day or a month. Without a limit it only counts.

    The site's daily pot, and that of what users pay themselves, are there in any case: together they
    hold a charge for every run that cost something, so they are the ledger.
    """

    class Scope(models.TextChoices):
        """Whose runs are paid from it. All pots that a run belongs to must have room."""

        SITE = "site", _("the whole site")
        CHAIN = "chain", _("one chain")
        GROUP = "group", _("a group's users together")
        USER = "user", _("one user")
        EACH_USER = "each_user", _("each user by himself")
        OWN = "own", _("what users pay themselves")

    class Period(models.TextChoices):
        """When it starts anew, in the site's time zone."""

        DAY = "day", _("a day")
        MONTH = "month", _("a month")

    scope = models.CharField(_("scope"), max_length=10, choices=Scope)
    chain = models.ForeignKey(
        Chain,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="budgets",
        verbose_name=_("chain"),
    )
    group = models.ForeignKey(
        Group, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("group")
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("user"),
    )
    period = models.CharField(_("period"), max_length=5, choices=Period)
    limit = _money(_("limit (US$)"), null=True, blank=True, help_text=_("Empty: counted, not limited."))

    class Meta:
        verbose_name = _("budget")
        verbose_name_plural = _("budgets")
        ordering = ["scope", "period", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["scope", "period"],
                condition=Q(scope__in=["site", "each_user", "own"]),
                name="openrouter_app_budget_unique_scope",
            ),
            models.UniqueConstraint(fields=["chain", "period"], name="openrouter_app_budget_unique_chain"),
            models.UniqueConstraint(fields=["group", "period"], name="openrouter_app_budget_unique_group"),
            models.UniqueConstraint(fields=["user", "period"], name="openrouter_app_budget_unique_user"),
            models.CheckConstraint(
                # Not the other way round: who a pot was for may be gone, its ledger is not.
                condition=(Q(chain=None) | Q(scope="chain"))
                & (Q(group=None) | Q(scope="group"))
                & (Q(user=None) | Q(scope="user")),
                name="openrouter_app_budget_target_of_scope",
            ),
            models.CheckConstraint(
                condition=Q(limit=None) | Q(limit__gte=0), name="openrouter_app_budget_limit_not_negative"
            ),
        ]

    def __str__(self) -> str:
        target = self.chain or self.group or self.user or self.get_scope_display()
        return f"{target}, {self.get_period_display()}"

    def clean(self) -> None:
        """The target that its scope needs, no other, and no second pot for the same."""
        super().clean()
        errors: dict[str, Any] = {}
        targets = {"chain": self.chain, "group": self.group, "user": self.user}
        for name, target in targets.items():
            if target is None and self.scope == name and self.pk is None:
                errors[name] = _("Choose whose budget it is.")
            elif target is not None and self.scope != name:
                errors[name] = _("Leave this empty, or choose the scope that belongs to it.")
        if self.scope == self.Scope.OWN and self.limit is not None:
            errors["limit"] = _("What users pay themselves is counted, not limited: leave this empty.")
        elif self.limit is not None and self.limit < 0:
            errors["limit"] = _("A limit is not negative.")
        if errors:
            raise ValidationError(errors)
        same = Budget.objects.filter(scope=self.scope, period=self.period, **targets).exclude(pk=self.pk)
        if (self.scope not in targets or targets[self.scope] is not None) and same.exists():
            raise ValidationError(_("There is such a budget already: change its limit."))

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        """Nothing: `clean` has said all of it, in words for people."""


class BudgetPeriod(models.Model):
    """A day or month of a pot. Of a pot for each user, that user's: ``holder`` is his primary key as text."""

    budget = models.ForeignKey(
        Budget, on_delete=models.PROTECT, related_name="periods", verbose_name=_("budget")
    )
    starts = models.DateField(_("starts"))
    holder = models.CharField(_("holder"), max_length=64, blank=True)
    # Room for the sum of whatever a server says that its answers cost: a run must be able to end.
    spent = _money(_("spent (US$)"), max_digits=24, default=0)
    reserved = _money(_("reserved (US$)"), default=0)

    class Meta:
        verbose_name = _("budget's period")
        verbose_name_plural = _("budgets' periods")
        ordering = ["-starts", "budget"]
        constraints = [
            models.UniqueConstraint(
                fields=["budget", "starts", "holder"], name="openrouter_app_period_unique_start"
            ),
            models.CheckConstraint(
                condition=Q(reserved__gte=0), name="openrouter_app_period_reserved_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.budget}: {self.starts}"


class Charge(models.Model):
    """What one run has cost in one period: reserved before a model is asked, settled after. It outlives both
    the run and the user.
    """

    period = models.ForeignKey(
        BudgetPeriod, on_delete=models.PROTECT, related_name="charges", verbose_name=_("period")
    )
    run = models.ForeignKey(
        Run,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="charges",
        verbose_name=_("run"),
    )
    run_uuid = models.UUIDField(_("run's UUID"), db_index=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("user"),
    )
    chain_slug = models.CharField(_("chain"), max_length=100)
    model = OutsideTextField(_("model"), max_length=200, blank=True)
    reserved = _money(_("reserved (US$)"), default=0)
    settled = _money(_("settled (US$)"), null=True, blank=True)
    estimated = models.BooleanField(_("estimate"), default=False)
    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("charge")
        verbose_name_plural = _("charges")
        ordering = ["-created", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["period", "run_uuid"], name="openrouter_app_charge_unique_run"),
            models.CheckConstraint(
                condition=Q(reserved__gte=0), name="openrouter_app_charge_reserved_not_negative"
            ),
        ]
        indexes = [
            # What is looked for again and again: charges whose run has ended and that nobody settled.
            models.Index(
                fields=["run_uuid"],
                condition=Q(reserved__gt=0) | Q(settled=None),
                name="openrouter_charge_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.run_uuid}: {self.settled if self.settled is not None else self.reserved}"


class Spending(Charge):
    """The ledger summed up: a page of the admin, no table of its own."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = _("spending")
        verbose_name_plural = _("spending")
