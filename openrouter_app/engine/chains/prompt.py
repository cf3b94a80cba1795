"""The first step of most chains: a chat prompt that variables fill in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..chat_prompts import MessagePlaceholder, MessagesPlaceholder, PromptValue, Row, format_rows, prompt_row
from ..errors import InputError, TemplateError
from ..flows import Flow
from ..messages import Part
from ..prompts import check_variables, without
from .steps import Call, Step, Upstream


class ChatPromptTemplate(Step[PromptValue]):
    """Messages with variables::

    ChatPromptTemplate.from_templates([("system", "Be brief."), ("human", "{text}")])

    ``partial_variables`` have their values already; a value in the input wins over them. Fed by a
    stream of mappings, it waits for all and adds their values up. Raises `TemplateError` for a template
    that is none, with the place and the way out.
    """

    def __init__(self, rows: Iterable[Row], *, partial_variables: Mapping[str, Any] | None = None) -> None:
        self.rows = tuple(rows)
        self.partial_variables = dict(partial_variables or {})
        self._names = tuple(dict.fromkeys(name for row in self.rows for name in row.variables))
        check_variables(self._names, self.partial_variables)

    @classmethod
    def from_templates(
        cls,
        rows: Iterable[tuple[str, str | Sequence[Part]]],
        *,
        custom_role: str = "",
        partial_variables: Mapping[str, Any] | None = None,
    ) -> ChatPromptTemplate:
        """From pairs of role and template, a text or content parts.

        Roles: ``system``, ``human``, ``ai``, and ``custom`` for ``custom_role``; with
        ``message_placeholder`` or ``messages_placeholder`` the text names a variable that holds one
        message or a list of them.
        """
        made = []
        for row in rows:
            if not isinstance(row, (list, tuple)) or len(row) != 2:
                raise TemplateError(f"A prompt is made of pairs of a role and a template, not {row!r:.80}.")
            made.append(prompt_row(*row, custom_role))
        return cls(made, partial_variables=partial_variables)

    @classmethod
    def from_template(
        cls, template: str, *, partial_variables: Mapping[str, Any] | None = None
    ) -> ChatPromptTemplate:
        """From one template: a single human message."""
        return cls.from_templates([("human", template)], partial_variables=partial_variables)

    @property
    def variables(self) -> tuple[str, ...]:
        """The names to be given, placeholders' included, in order of first appearance."""
        return without(self._names, self.partial_variables)

    def partial(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> ChatPromptTemplate:
        """This prompt with some of its variables filled in; this one stays as it is."""
        partial = {**self.partial_variables, **(values or {}), **more}
        return ChatPromptTemplate(self.rows, partial_variables=partial)

    def format(self, values: Mapping[str, Any]) -> PromptValue:
        """The messages with every variable replaced. Extra values are ignored.

        Raises `InputError`, naming the variables, where one is missing or too long.
        """
        return PromptValue(format_rows(self.rows, {**self.partial_variables, **values}))

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        values = yield from upstream.value()
        if not isinstance(values, Mapping):
            raise InputError(
                "A prompt takes a mapping of variables, such as {'text': '...'}; "
                f"it got {type(values).__name__}."
            )
        yield self.format(values)

    def __repr__(self) -> str:
        return f"ChatPromptTemplate({', '.join(map(_shown, self.rows))})"


def _shown(row: Row) -> str:
    if isinstance(row, (MessagePlaceholder, MessagesPlaceholder)):
        return f"{{{row.variable}}}"
    return row.custom_role or row.role
