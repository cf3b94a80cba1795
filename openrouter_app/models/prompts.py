"""Prompts as staff edit them: a template of ordered rows, each a role and a text with ``{variables}``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..engine.chat_prompts import MessagePlaceholder, MessagesPlaceholder, PromptMessage, prompt_row
from ..engine.errors import TemplateError
from .fields import JSONTextField


class PromptTemplate(models.Model):
    """A prompt under a name. What runs is the copy in a published `ChainVersion`, never this row."""

    slug = models.SlugField(_("name"), max_length=100, unique=True)
    description = models.TextField(_("description"), blank=True)
    example_input = JSONTextField(
        _("example input"),
        default=dict,
        blank=True,
        help_text=_("A value for each variable, as a JSON object: what the chain's page shows at first."),
    )

    class Meta:
        verbose_name = _("prompt template")
        verbose_name_plural = _("prompt templates")
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug

    def clean(self) -> None:
        """The example is an object."""
        super().clean()
        if not isinstance(self.example_input, dict):
            raise ValidationError({"example_input": _('Write a JSON object: {"variable": "value"}.')})

    @property
    def variables(self) -> tuple[str, ...]:
        """The names that a run must give, each once, in the order in which they first stand.

        Placeholders are not among them. Raises `TemplateError` where a row is no template.
        """
        return variables_of(self.rows_by_value())

    def rows_by_value(self) -> list[list[str]]:
        """``[[role, text], ...]`` in order: how a version keeps the prompt."""
        return [[row.role, row.text] for row in self.rows.all()]


class PromptRow(models.Model):
    """One row of a prompt. The text of a placeholder is the name of its variable."""

    class Role(models.TextChoices):
        """Who says it."""

        SYSTEM = "system", _("System")
        HUMAN = "human", _("Human")
        AI = "ai", _("AI")
        MESSAGES_PLACEHOLDER = "messages_placeholder", _("Messages placeholder")

    template = models.ForeignKey(
        PromptTemplate, on_delete=models.CASCADE, related_name="rows", verbose_name=_("prompt template")
    )
    position = models.PositiveIntegerField(_("position"))
    role = models.CharField(_("role"), max_length=20, choices=Role, default=Role.HUMAN)
    text = models.TextField(
        _("text"),
        help_text=_("{name} is a variable; {{ and }} are braces that stand in the text."),
    )

    class Meta:
        verbose_name = _("row")
        verbose_name_plural = _("rows")
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(
                fields=["template", "position"], name="openrouter_app_promptrow_unique_position"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_role_display()}: {self.text[:60]}"

    def clean(self) -> None:
        """The text is a template, or the name of a placeholder."""
        super().clean()
        try:
            saved_row(self.role, self.text)
        except TemplateError as error:
            raise ValidationError({"text": str(error)}) from error


def saved_row(role: str, text: str) -> PromptMessage | MessagesPlaceholder:
    """A row as the admin keeps it: its roles are those of `PromptRow`. Raises `TemplateError`."""
    row = prompt_row(role, text)
    if isinstance(row, MessagePlaceholder):
        raise TemplateError(f"A saved prompt has no role '{role}'. Use messages_placeholder.")
    return row


def variables_of(rows: Iterable[list[str]]) -> tuple[str, ...]:
    """The variables of ``[[role, text], ...]``, each once, in order, without placeholders."""
    names: dict[str, None] = {}
    for role, text in rows:
        row = saved_row(role, text)
        if not isinstance(row, MessagesPlaceholder):
            names.update(dict.fromkeys(row.template.variables))
    return tuple(names)


def takes_history(rows: Iterable[list[str]]) -> bool:
    """Whether ``[[role, text], ...]`` has a messages placeholder: a conversation's earlier messages go in."""
    return any(role == PromptRow.Role.MESSAGES_PLACEHOLDER for role, _text in rows)


def message_variable(body: Mapping[str, Any]) -> str:
    """The variable of a version that a visitor's message fills: the one it names, or its last, or ""."""
    named: str = body.get("history", {}).get("variable", "")
    return named or (variables_of(body["messages"]) or ("",))[-1]


def row_problems(rows: Iterable[list[str]]) -> list[str]:
    """What keeps these rows from being a prompt, one sentence each."""
    problems: list[str] = []
    texts: set[str] = set()
    placeholders: set[str] = set()
    empty = True
    for number, (role, text) in enumerate(rows, start=1):
        empty = False
        try:
            row = saved_row(role, text)
        except TemplateError as error:
            problems.append(gettext("Row %(number)d: %(reason)s") % {"number": number, "reason": error})
            continue
        if isinstance(row, MessagesPlaceholder):
            placeholders.add(row.variable)
        else:
            texts.update(row.template.variables)
    if empty:
        problems.append(gettext("The prompt has no rows. Add one: it is what the model is told."))
    problems.extend(
        gettext("“%(name)s” is a variable in a text and also a messages placeholder. Rename one of them.")
        % {"name": name}
        for name in sorted(texts & placeholders)
    )
    return problems
