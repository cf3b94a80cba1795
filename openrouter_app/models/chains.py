"""Chains as staff edit them, and how they are published."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Exists, Max, OuterRef
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..engine.errors import TemplateError
from .fields import JSONTextField
from .prompts import PromptTemplate, row_problems, takes_history, variables_of
from .tools import ToolSpec
from .versions import DEFAULT_LABEL, ChainVersion, Label, body_hash

OWN_OPTIONS = ("messages", "model", "tools", "tool_choice", "stream")
"""Members of a request that the chain sets itself; its options cannot."""
CLIENT_OWN_OPTIONS = tuple(name for name in OWN_OPTIONS if name != "model")
"""Members that no client may set; which model answers, a chain may leave to it."""


class ChainQuerySet(models.QuerySet["Chain"]):
    """Chains, by who may run them."""

    def visible_to(self, user: AbstractBaseUser | AnonymousUser | None) -> ChainQuerySet:
        """The chains this person may run: switched on, published, and open to him."""
        published = Label.objects.filter(chain=OuterRef("pk"), name=DEFAULT_LABEL).order_by()
        return self.filter(Exists(published), enabled=True, access__in=_open_to(user))

    def with_parts(self) -> ChainQuerySet:
        """With everything that `Chain.body` and `Chain.published` read, in five queries."""
        return self.select_related("prompt", "forced_tool").prefetch_related(
            "prompt__rows", "tools", "labels"
        )


class Chain(models.Model):
    """A prompt, a model and its tools under one name: what a visitor runs once it is published."""

    class ToolChoice(models.TextChoices):
        """Whether the model calls a tool."""

        NONE = "none", _("none: no tool is called")
        AUTO = "auto", _("auto: the model decides")
        REQUIRED = "required", _("required: at least one, the model decides which")
        FORCED = "forced", _("forced: the one below")

    class Parser(models.TextChoices):
        """What the answer is."""

        TEXT = "text", _("text")
        TOOLS = "tools", _("the tool calls")

    class Access(models.TextChoices):
        """Who may run it."""

        PUBLIC = "public", _("everybody")
        AUTHENTICATED = "authenticated", _("who is logged in")
        STAFF = "staff", _("staff")

    class Payer(models.TextChoices):
        """Whose key its runs use."""

        SITE = "site", _("the site")
        USER = "user", _("the user, who connects an OpenRouter account")
        USER_OR_SITE = "user_or_site", _("the user who has connected an account, else the site")
        SITE_THEN_USER = "site_then_user", _("the site up to its budget, then the user")

    slug = models.SlugField(
        _("name"), max_length=100, unique=True, help_text=_("Stands in the page's address and in run.start.")
    )
    title = models.CharField(_("title"), max_length=200)
    description = models.TextField(_("description"), blank=True, help_text=_("Shown on the chain's page."))
    prompt = models.ForeignKey(
        PromptTemplate, on_delete=models.PROTECT, related_name="chains", verbose_name=_("prompt")
    )
    tools = models.ManyToManyField(ToolSpec, blank=True, related_name="chains", verbose_name=_("tools"))
    tool_choice = models.CharField(
        _("tool choice"), max_length=10, choices=ToolChoice, default=ToolChoice.AUTO
    )
    forced_tool = models.ForeignKey(
        ToolSpec,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="forced_by",
        verbose_name=_("forced tool"),
        help_text=_("One of the tools above; only with the choice “forced”."),
    )
    model = models.CharField(
        _("model"), max_length=200, help_text=_("As OpenRouter calls it: mistralai/mistral-small.")
    )
    options = JSONTextField(
        _("options"),
        default=dict,
        blank=True,
        help_text=_('Further members of the request as JSON: {"temperature": 0.2, "max_tokens": 500}.'),
    )
    parser = models.CharField(_("the answer is"), max_length=10, choices=Parser, default=Parser.TEXT)
    client_options = JSONTextField(
        _("options a client may set"),
        default=list,
        blank=True,
        help_text=_('A JSON list of names: ["temperature", "max_tokens"]. Empty: none.'),
    )
    client_models = JSONTextField(
        _("models a client may choose"),
        default=list,
        blank=True,
        help_text=_('A JSON list: ["mistralai/mistral-small", "openai/gpt-5-mini"]. Empty: the one above.'),
    )
    message_variable = models.CharField(
        _("message variable"),
        max_length=100,
        blank=True,
        help_text=_(
            "The variable that a visitor's message fills where the prompt takes the history. "
            "Empty: the last one of the prompt."
        ),
    )
    history_messages = models.PositiveIntegerField(
        _("messages of the history"),
        default=50,
        help_text=_("Earlier messages the model is given; the oldest are left out first."),
    )
    history_tokens = models.PositiveIntegerField(
        _("tokens of the history"), default=32_000, help_text=_("The same in tokens, estimated.")
    )
    access = models.CharField(
        _("who may run it"), max_length=15, choices=Access, default=Access.AUTHENTICATED
    )
    payer = models.CharField(_("who pays"), max_length=15, choices=Payer, default=Payer.SITE)
    enabled = models.BooleanField(
        _("enabled"), default=True, help_text=_("Switched off, nobody can run it; nothing is lost.")
    )

    objects = ChainQuerySet.as_manager()

    class Meta:
        verbose_name = _("chain")
        verbose_name_plural = _("chains")
        ordering = ["title", "slug"]
        permissions = [("publish_chain", _("Can publish chains"))]

    def __str__(self) -> str:
        return self.title or self.slug

    def clean(self) -> None:
        """Each field by itself; what concerns the prompt and the tools is checked in `publish`."""
        super().clean()
        errors: dict[str, Any] = {}
        if problem := _options_problem(self.options):
            errors["options"] = problem
        if problem := _client_options_problem(self.client_options):
            errors["client_options"] = problem
        if problem := _names_problem(self.client_models):
            errors["client_models"] = problem
        if self.tool_choice == self.ToolChoice.FORCED and not self.forced_tool_id:
            errors["forced_tool"] = _("Choose the tool that is forced.")
        if self.tool_choice != self.ToolChoice.FORCED and self.forced_tool_id:
            errors["forced_tool"] = _("Leave this empty, or set the tool choice to “forced”.")
        if errors:
            raise ValidationError(errors)

    def may_be_run_by(self, user: AbstractBaseUser | AnonymousUser | None) -> bool:
        """Whether it is switched on and open to this person. Whether it is published is another question."""
        return self.enabled and self.access in _open_to(user)

    @property
    def users_may_pay(self) -> bool:
        """Whether a user's own account at OpenRouter is of any use for it."""
        return self.payer != self.Payer.SITE

    @property
    def published(self) -> ChainVersion | None:
        """The version that runs by default, or None."""
        return next((label.version for label in self.labels.all() if label.name == DEFAULT_LABEL), None)

    @property
    def has_unpublished_changes(self) -> bool:
        """Whether what is saved differs from the published version, or there is none."""
        published = self.published
        return published is None or published.hash != body_hash(self.body())

    def body(self) -> dict[str, Any]:
        """The chain by value, as `ChainVersion.body` keeps it."""
        tools = sorted(self.tools.all(), key=lambda tool: tool.name)
        choice: str | dict[str, str] | None = self.tool_choice if tools else None
        if tools and self.tool_choice == self.ToolChoice.FORCED:
            choice = {"forced": self.forced_tool.name if self.forced_tool else ""}
        rows = self.prompt.rows_by_value()
        body = {
            "messages": rows,
            "tools": [tool.by_value() for tool in tools],
            "tool_choice": choice,
            "model": self.model,
            "options": self.options,
            "parser": self.parser,
            "client_options": self.client_options,
        }
        # Members that came later stand here only where they say something: what was published before
        # they were there keeps its hash.
        if self.client_models:
            body["client_models"] = self.client_models
        if takes_history(rows):
            body["history"] = {
                "variable": self.message_variable,
                "messages": self.history_messages,
                "tokens": self.history_tokens,
            }
        return body

    def publish(self, author: AbstractBaseUser | AnonymousUser | None = None, note: str = "") -> ChainVersion:
        """Make what is *saved* the version that runs by default, and return that version.

        Content that was published before yields the version it was then. Raises `ValidationError`
        with a sentence for each thing that keeps the chain from being published.
        """
        with transaction.atomic():
            saved = Chain.objects.select_for_update(of=("self",)).get(pk=self.pk)
            if problems := list(saved.problems()):
                raise ValidationError(problems)
            version = saved._version_of(saved.body(), author, note)
            Label.objects.update_or_create(chain=saved, name=DEFAULT_LABEL, defaults={"version": version})
        getattr(self, "_prefetched_objects_cache", {}).pop("labels", None)
        return version

    def _version_of(
        self, body: dict[str, Any], author: AbstractBaseUser | AnonymousUser | None, note: str
    ) -> ChainVersion:
        """The version with this body, made and numbered where it is missing. Needs the chain's lock."""
        digest = body_hash(body)
        version = self.versions.filter(hash=digest).first()
        if version is None:
            version = ChainVersion(
                chain=self, body=body, hash=digest, note=note, author_id=author.pk if author else None
            )
        if version.number is None:
            last: int | None = self.versions.aggregate(last=Max("number"))["last"]
            version.number = (last or 0) + 1
            version.save(update_fields=None if version._state.adding else ["number"])
        return version

    def problems(self) -> Iterator[str]:
        """What keeps the chain, as it is saved, from being published: one sentence each."""
        for sentence in row_problems(self.prompt.rows_by_value()):
            yield gettext("Prompt “%(prompt)s”: %(reason)s") % {"prompt": self.prompt, "reason": sentence}
        tools = list(self.tools.all())
        for tool in tools:
            for reason in tool.problems():
                yield gettext("Tool “%(tool)s”: %(reason)s") % {"tool": tool, "reason": reason}
        if self.tool_choice == self.ToolChoice.FORCED and self.forced_tool not in tools:
            yield gettext("The forced tool is not among the chain's tools. Add it there, or choose another.")
        elif self.tool_choice == self.ToolChoice.REQUIRED and not tools:
            yield gettext("A tool call is required, but the chain has no tools. Add one, or choose “auto”.")
        if self.parser == self.Parser.TOOLS and not tools:
            yield gettext("The answer is to be the tool calls, but the chain has no tools. Add one.")
        if not self.model.strip():
            yield gettext("The chain has no model.")
        if problem := _options_problem(self.options):
            yield gettext("Options: %(reason)s") % {"reason": problem}
        if problem := _client_options_problem(self.client_options):
            yield gettext("Options a client may set: %(reason)s") % {"reason": problem}
        if problem := _names_problem(self.client_models):
            yield gettext("Models a client may choose: %(reason)s") % {"reason": problem}
        yield from self._history_problems()

    def _history_problems(self) -> Iterator[str]:
        rows = self.prompt.rows_by_value()
        try:
            variables = variables_of(rows)
        except TemplateError:
            return  # said before
        if takes_history(rows) and not variables:
            yield gettext(
                "The prompt takes the history, but has no variable for what the visitor says. Add a row "
                "after the placeholder, such as human: {message}."
            )
        elif self.message_variable and self.message_variable not in variables:
            yield gettext("The message variable “%(name)s” does not stand in the prompt.") % {
                "name": self.message_variable
            }


def _open_to(user: AbstractBaseUser | AnonymousUser | None) -> list[str]:
    """The access levels that let this person in. A user who was switched off counts as a stranger."""
    levels: list[str] = [Chain.Access.PUBLIC]
    if user is not None and user.is_authenticated and user.is_active:
        levels.append(Chain.Access.AUTHENTICATED)
        if getattr(user, "is_staff", False):
            levels.append(Chain.Access.STAFF)
    return levels


def _options_problem(options: Any) -> str:
    if not isinstance(options, dict):
        return gettext('Write a JSON object, such as {"temperature": 0.2}.')
    if own := [name for name in OWN_OPTIONS if name in options]:
        return gettext("The chain sets %(names)s itself. Remove it here.") % {"names": ", ".join(own)}
    return ""


def _client_options_problem(names: Any) -> str:
    if problem := _names_problem(names):
        return problem
    if own := [name for name in CLIENT_OWN_OPTIONS if name in names]:
        return gettext("No client may set %(names)s. Remove it here.") % {"names": ", ".join(own)}
    return ""


def _names_problem(names: Any) -> str:
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        return gettext('Write a JSON list of names, such as ["temperature"].')
    return gettext("A name stands twice.") if len(set(names)) < len(names) else ""
