"""The first step of most chains: a chat prompt that variables fill in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import InputError
from ..flows import Flow
from ..prompts import MessagesPlaceholder, PromptMessage, PromptValue, format_rows, prompt_row
from .steps import Call, Step, Upstream


class ChatPromptTemplate(Step[PromptValue]):
    """Messages with variables::

    ChatPromptTemplate.from_templates([("system", "Be brief."), ("human", "{text}")])

    Raises `TemplateError` for a template that is none, with the place and the way out.
    """

    def __init__(self, rows: Iterable[PromptMessage | MessagesPlaceholder]) -> None:
        self.rows = tuple(rows)

    @classmethod
    def from_templates(cls, rows: Iterable[tuple[str, str]]) -> ChatPromptTemplate:
        """From pairs of role and template. Roles: ``system``, ``human``, ``ai``; with
        ``messages_placeholder`` the text names a variable that holds a list of messages.
        """
        return cls(prompt_row(role, text) for role, text in rows)

    @classmethod
    def from_template(cls, template: str) -> ChatPromptTemplate:
        """From one template: a single human message."""
        return cls.from_templates([("human", template)])

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of all variables, placeholders' included, in order of first appearance."""
        names: dict[str, None] = {}
        for row in self.rows:
            found = (row.variable,) if isinstance(row, MessagesPlaceholder) else row.template.variables
            names.update(dict.fromkeys(found))
        return tuple(names)

    def format(self, values: Mapping[str, Any]) -> PromptValue:
        """The messages with every variable replaced. Extra values are ignored.

        Raises `InputError`, naming the variables, where one is missing or too long.
        """
        return PromptValue(format_rows(self.rows, values))

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        values = yield from upstream.value()
        if not isinstance(values, Mapping):
            raise InputError(
                "A prompt takes a mapping of variables, such as {'text': '...'}; "
                f"it got {type(values).__name__}."
            )
        yield self.format(values)

    def __repr__(self) -> str:
        return f"ChatPromptTemplate({_shown(self.rows)})"


def _shown(rows: Sequence[PromptMessage | MessagesPlaceholder]) -> str:
    return ", ".join(
        f"{{{row.variable}}}" if isinstance(row, MessagesPlaceholder) else row.role for row in rows
    )
