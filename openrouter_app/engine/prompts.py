"""Prompt templates: text with ``{variables}``, and lists of messages made from it.

f-string style as in LangChain, and nothing more: ``{name}`` is a variable, ``{{`` and ``}}`` are
braces. A name is everything between the braces, so ``{a.b}`` is a variable called ``a.b``:
no attribute is read, nothing is indexed, formatted or evaluated. One pass: a value that looks
like a template stays text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from .errors import InputError, TemplateError
from .messages import ROLES, AIMessage, HumanMessage, Message, SystemMessage

MAX_TEMPLATE = 1_000_000
"""Characters of a template, and of what one template may grow to when it is filled in."""

# Bounded, because the matcher keeps a record of every repetition.
_TEXT = re.compile(r"(?:[^{}]+|\{\{|\}\}){1,1000}")
_RESERVED = frozenset({"stop"})


class Literal(msgspec.Struct, frozen=True):
    """Text that stands as it is."""

    text: str


class Variable(msgspec.Struct, frozen=True):
    """A place for a value; ``position`` is where its brace opens in the template."""

    name: str
    position: int


def parse_template(template: str) -> tuple[Literal | Variable, ...]:
    """Take a template apart into literals and variables.

    Raises `TemplateError`, with the position and the way out, for a brace that is not closed or
    not opened, an empty or reserved name, a brace inside a name, and text over `MAX_TEMPLATE`.
    """
    if len(template) > MAX_TEMPLATE:
        raise TemplateError(
            f"The template is longer than {MAX_TEMPLATE:,} characters.", position=MAX_TEMPLATE
        )
    parts: list[Literal | Variable] = []
    text: list[str] = []
    at = 0
    while at < len(template):
        if run := _TEXT.match(template, at):
            # Only whole pairs stand in it, so the replacements cannot meet half of one.
            text.append(run.group().replace("{{", "{").replace("}}", "}"))
            at = run.end()
        elif template[at] == "}":
            raise TemplateError(
                f"The '}}' at {_place(template, at)} closes nothing. "
                "Write '}}' for a brace that should stand in the text.",
                position=at,
            )
        else:
            name, end = _variable_name(template, at)
            if text:
                parts.append(Literal("".join(text)))
                text.clear()
            parts.append(Variable(name, at))
            at = end
    if text:
        parts.append(Literal("".join(text)))
    return tuple(parts)


def _variable_name(template: str, start: int) -> tuple[str, int]:
    """The name in the braces that open at ``start``, and where the text goes on."""
    end = template.find("}", start)
    name = template[start + 1 : end]
    if end >= 0 and "{" not in name and name.strip() and name not in _RESERVED:
        return name, end + 1
    # only now: counting lines for every variable would make a long template quadratic
    place = _place(template, start)
    if end < 0:
        why = (
            f"The '{{' at {place} is never closed. Close it with '}}', or write '{{{{' for a brace "
            "that should stand in the text."
        )
    elif "{" in name:
        why = (
            f"The '{{' at {place} is followed by another '{{' before it is closed. Write '{{{{' and '}}}}' "
            "for braces that should stand in the text, as in JSON examples."
        )
    elif not name.strip():
        why = (
            f"The braces at {place} are empty. Put a variable's name between them, or write '{{{{}}}}' "
            "for braces that should stand in the text."
        )
    else:
        why = f"'{name}' at {place} is reserved. Call the variable something else."
    raise TemplateError(why, position=start)


def _place(template: str, position: int) -> str:
    line = template.count("\n", 0, position) + 1
    column = position - template.rfind("\n", 0, position)
    return f"line {line}, column {column}"


class PromptTemplate:
    """A text template: ``PromptTemplate("tell me about {foo}").format(foo="bears")``."""

    def __init__(self, template: str) -> None:
        self.template = template
        self._parts = parse_template(template)
        self.variables: tuple[str, ...] = tuple(
            dict.fromkeys(part.name for part in self._parts if isinstance(part, Variable))
        )

    def format(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> str:
        """The text with every variable replaced by ``str(value)``; extra values are ignored.

        Raises `InputError` for a missing value and for a result over `MAX_TEMPLATE` characters;
        the size is checked before the text is built.
        """
        given = {**(values or {}), **more}
        if missing := tuple(name for name in self.variables if name not in given):
            raise InputError(f"Missing value for {_names(missing)}.", variables=missing)
        filled = {name: str(given[name]) for name in self.variables}
        size = sum(
            len(part.text) if isinstance(part, Literal) else len(filled[part.name]) for part in self._parts
        )
        if size > MAX_TEMPLATE:
            raise InputError(
                f"The filled-in prompt would have {size:,} characters; {MAX_TEMPLATE:,} are allowed. "
                "Shorten the values.",
                variables=self.variables,
            )
        return "".join(part.text if isinstance(part, Literal) else filled[part.name] for part in self._parts)

    def __repr__(self) -> str:
        return f"PromptTemplate({self.template!r})"


class MessagesPlaceholder(msgspec.Struct, frozen=True):
    """A place for a list of messages, such as a history."""

    variable: str


_MESSAGES: dict[str, Callable[[str], Message]] = {
    "system": SystemMessage,
    "human": HumanMessage,
    "ai": AIMessage,
}


class PromptMessage(msgspec.Struct, frozen=True):
    """One row of a chat prompt: a role and the template of its text."""

    role: str
    template: PromptTemplate


def prompt_row(role: str, text: str) -> PromptMessage | MessagesPlaceholder:
    """A row from its two words: ``("human", "{text}")`` or ``("messages_placeholder", "history")``."""
    if role == "messages_placeholder":
        if not text.strip():
            raise TemplateError("A messages placeholder needs the name of its variable.")
        return MessagesPlaceholder(text)
    if role not in _MESSAGES:
        raise TemplateError(
            f"There is no role '{role}'. Use one of {', '.join(_MESSAGES)} or messages_placeholder."
        )
    return PromptMessage(role, PromptTemplate(text))


class PromptValue(msgspec.Struct, frozen=True):
    """A prompt filled in: the messages for a model. As text: ``System: ...``, one a line."""

    messages: tuple[Message, ...]

    def __str__(self) -> str:
        return "\n".join(f"{_role_name(message)}: {message.content}" for message in self.messages)


def _role_name(message: Message) -> str:
    return ROLES[str(type(message).__struct_config__.tag)]


def format_rows(
    rows: Iterable[PromptMessage | MessagesPlaceholder], values: Mapping[str, Any]
) -> tuple[Message, ...]:
    """The messages of a prompt with its variables filled in. Roles come from the rows alone."""
    messages: list[Message] = []
    size = 0
    for row in rows:
        if isinstance(row, MessagesPlaceholder):
            messages.extend(_history(row.variable, values))
            continue
        text = row.template.format(values)
        size += len(text)
        if size > MAX_TEMPLATE:
            raise InputError(
                f"The filled-in prompt is longer than {MAX_TEMPLATE:,} characters. Shorten the values."
            )
        messages.append(_MESSAGES[row.role](text))
    return tuple(messages)


def _history(variable: str, values: Mapping[str, Any]) -> Iterable[Message]:
    if variable not in values:
        raise InputError(f"Missing value for {_names((variable,))}.", variables=(variable,))
    history = values[variable]
    if not isinstance(history, (list, tuple)) or not all(isinstance(item, Message) for item in history):
        raise InputError(f"'{variable}' must be a list of messages.", variables=(variable,))
    return history


def _names(names: tuple[str, ...]) -> str:
    return ("variable " if len(names) == 1 else "variables ") + ", ".join(f"'{name}'" for name in names)
