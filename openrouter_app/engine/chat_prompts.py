"""Lists of messages made from templates: the rows of a chat prompt, and what they become."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from .errors import InputError, TemplateError
from .messages import (
    ROLES,
    AIMessage,
    Content,
    CustomMessage,
    HumanMessage,
    Message,
    Part,
    SystemMessage,
    text_of,
)
from .prompts import MAX_TEMPLATE, PromptTemplate, check_name

MAX_MEDIA = 50_000_000
"""Characters of a URL or of sound in a content part: both may hold all bytes."""


class MessagePlaceholder(msgspec.Struct, frozen=True):
    """A place for one message, given under a variable's name."""

    variable: str

    @property
    def variables(self) -> tuple[str, ...]:
        return (self.variable,)


class MessagesPlaceholder(msgspec.Struct, frozen=True):
    """A place for a list of messages, such as a history."""

    variable: str

    @property
    def variables(self) -> tuple[str, ...]:
        return (self.variable,)


class PartsTemplate:
    """Content parts whose texts are templates: ``[TextPart("What is it?"), ImagePart("{url}")]``."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self.parts = tuple(parts)
        self._templates = tuple(
            {
                name: PromptTemplate(value, max_length=MAX_TEMPLATE if name == "text" else MAX_MEDIA)
                for name, value in msgspec.structs.asdict(part).items()
            }
            for part in self.parts
        )
        names = (name for templates in self._templates for t in templates.values() for name in t.variables)
        self.variables = tuple(dict.fromkeys(names))

    def format(self, values: Mapping[str, Any]) -> tuple[Part, ...]:
        """The parts with every variable replaced, as `PromptTemplate.format` does."""
        return tuple(
            type(part)(**{name: template.format(values) for name, template in templates.items()})
            for part, templates in zip(self.parts, self._templates, strict=True)
        )


class PromptMessage(msgspec.Struct, frozen=True):
    """One row of a chat prompt: a role and the template of its content."""

    role: str
    template: PromptTemplate | PartsTemplate
    custom_role: str = ""

    @property
    def variables(self) -> tuple[str, ...]:
        return self.template.variables

    def message(self, values: Mapping[str, Any]) -> Message:
        """The message with every variable replaced."""
        content = self.template.format(values)
        if self.role == "custom":
            return CustomMessage(content, self.custom_role)
        return _MESSAGES[self.role](content)


Row = PromptMessage | MessagePlaceholder | MessagesPlaceholder

_MESSAGES: dict[str, Callable[[Content], Message]] = {
    "system": SystemMessage,
    "human": HumanMessage,
    "ai": AIMessage,
}
_PLACEHOLDERS: dict[str, Callable[[str], Row]] = {
    "message_placeholder": MessagePlaceholder,
    "messages_placeholder": MessagesPlaceholder,
}


def prompt_row(role: str, template: str | Sequence[Part], custom_role: str = "") -> Row:
    """A row from its role and template: ``("human", "{text}")``, ``("human", [TextPart(...), ...])``, or
    ``("messages_placeholder", "history")``, where the text is a variable's name.

    Raises `TemplateError` for an unknown role, a placeholder without a usable name, a ``custom`` row
    without a role, and what is neither text nor parts.
    """
    if role in _PLACEHOLDERS:
        if not isinstance(template, str) or not template.strip():
            raise TemplateError("A messages placeholder needs the name of its variable.")
        if "{" in template or "}" in template:
            raise TemplateError(f"Write the placeholder's name without braces, not '{template}'.")
        check_name(template)
        return _PLACEHOLDERS[role](template)
    if role == "custom" and not custom_role:
        raise TemplateError("A custom message needs its role: give custom_role.")
    if role not in _MESSAGES and role != "custom":
        known = ", ".join([*_MESSAGES, "custom", *_PLACEHOLDERS])
        raise TemplateError(f"There is no role '{role}'. Use one of {known}.")
    if isinstance(template, str):
        made: PromptTemplate | PartsTemplate = PromptTemplate(template)
    elif isinstance(template, (list, tuple)) and all(isinstance(part, Part) for part in template):
        made = PartsTemplate(template)
    else:
        raise TemplateError(f"A template is a text or a list of content parts, not {template!r:.80}.")
    return PromptMessage(role, made, custom_role if role == "custom" else "")


class PromptValue(msgspec.Struct, frozen=True):
    """A prompt filled in: the messages for a model. As text: ``System: ...``, one a line."""

    messages: tuple[Message, ...]

    def __str__(self) -> str:
        return "\n".join(f"{_role_name(message)}: {text_of(message.content)}" for message in self.messages)


def _role_name(message: Message) -> str:
    if isinstance(message, CustomMessage):
        return message.custom_role
    return ROLES[str(type(message).__struct_config__.tag)]


def format_rows(rows: Iterable[Row], values: Mapping[str, Any]) -> tuple[Message, ...]:
    """The messages of a prompt with its variables filled in. Roles come from the rows alone."""
    messages: list[Message] = []
    size = 0
    for row in rows:
        if isinstance(row, MessagePlaceholder):
            message = _given(row.variable, values)
            if not isinstance(message, Message):
                raise InputError(f"'{row.variable}' must be a message.", variables=(row.variable,))
            messages.append(message)
            continue
        if isinstance(row, MessagesPlaceholder):
            messages.extend(_history(row.variable, values))
            continue
        message = row.message(values)
        size += len(text_of(message.content))
        if size > MAX_TEMPLATE:
            raise InputError(
                f"The filled-in prompt is longer than {MAX_TEMPLATE:,} characters. Shorten the values."
            )
        messages.append(message)
    return tuple(messages)


def _history(variable: str, values: Mapping[str, Any]) -> Iterable[Message]:
    history = _given(variable, values)
    if not isinstance(history, (list, tuple)) or not all(isinstance(item, Message) for item in history):
        raise InputError(f"'{variable}' must be a list of messages.", variables=(variable,))
    return history


def _given(variable: str, values: Mapping[str, Any]) -> Any:
    if variable not in values:
        raise InputError(f"Missing value for variable '{variable}'.", variables=(variable,))
    return values[variable]
