"""Prompt templates: text with ``{variables}``.

f-string style as in LangChain, and nothing more: ``{name}`` is a variable, ``{{`` and ``}}`` are
braces. A name is everything between the braces, so ``{a.b}`` is a variable called ``a.b``:
no attribute is read, nothing is indexed, formatted or evaluated. One pass: a value that looks
like a template stays text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .errors import InputError, TemplateError

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


def parse_template(template: str, limit: int = MAX_TEMPLATE) -> tuple[Literal | Variable, ...]:
    """Take a template apart into literals and variables.

    Raises `TemplateError`, with the position and the way out, for a brace that is not closed or
    not opened, an empty or reserved name, a brace inside a name, and text over ``limit`` characters.
    """
    if len(template) > limit:
        raise TemplateError(f"The template is longer than {limit:,} characters.", position=limit)
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


def check_name(name: str) -> None:
    """Raise `TemplateError` for a name that no variable can have."""
    if name in _RESERVED:
        raise TemplateError(f"'{name}' is reserved. Call the variable something else.")


def _place(template: str, position: int) -> str:
    line = template.count("\n", 0, position) + 1
    column = position - template.rfind("\n", 0, position)
    return f"line {line}, column {column}"


class PromptTemplate:
    """A text template: ``PromptTemplate("tell me about {foo}").format(foo="bears")``.

    ``partial_variables`` have their values already; `partial` gives a copy with more of them.
    ``input_variables``, where given, must be exactly the names that are left. Raises `TemplateError`
    where they are not, and for a template that is none. ``max_length`` is in characters, for the template
    and for what it grows to.
    """

    def __init__(
        self,
        template: str,
        *,
        partial_variables: Mapping[str, Any] | None = None,
        input_variables: Iterable[str] | None = None,
        max_length: int = MAX_TEMPLATE,
    ) -> None:
        self.template = template
        self.max_length = max_length
        self.partial_variables = dict(partial_variables or {})
        self._parts = parse_template(template, max_length)
        self._names = tuple(dict.fromkeys(part.name for part in self._parts if isinstance(part, Variable)))
        self.variables = without(self._names, self.partial_variables)
        check_variables(self._names, self.partial_variables, input_variables)

    def partial(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> PromptTemplate:
        """This template with some of its values filled in; this one stays as it is."""
        return PromptTemplate(
            self.template,
            partial_variables={**self.partial_variables, **(values or {}), **more},
            max_length=self.max_length,
        )

    def format(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> str:
        """The text with every variable replaced by ``str(value)``; extra values are ignored, and a
        value given here wins over a partial one.

        Raises `InputError` for a missing value and for a result over ``max_length`` characters;
        the size is checked before the text is built.
        """
        given = {**self.partial_variables, **(values or {}), **more}
        if missing := tuple(name for name in self._names if name not in given):
            raise InputError(f"Missing value for {_quoted(missing)}.", variables=missing)
        filled = {name: str(given[name]) for name in self._names}
        size = sum(
            len(part.text) if isinstance(part, Literal) else len(filled[part.name]) for part in self._parts
        )
        if size > self.max_length:
            raise InputError(
                f"The filled-in prompt would have {size:,} characters; {self.max_length:,} are "
                "allowed. Shorten the values.",
                variables=self._names,
            )
        return "".join(part.text if isinstance(part, Literal) else filled[part.name] for part in self._parts)

    def __repr__(self) -> str:
        return f"PromptTemplate({self.template!r})"


def without(names: Iterable[str], known: Mapping[str, Any]) -> tuple[str, ...]:
    """The names that are still to be given."""
    return tuple(name for name in names if name not in known)


def check_variables(
    names: Iterable[str], partial: Mapping[str, Any], declared: Iterable[str] | None = None
) -> None:
    """Raise `TemplateError` where partial or declared variables are not those of the template."""
    if foreign := tuple(name for name in partial if name not in names):
        raise TemplateError(f"The template has no {_quoted(foreign)} to fill in.")
    if declared is None:
        return
    wanted = without(names, partial)
    said = tuple(dict.fromkeys(declared))
    if both := tuple(name for name in said if name in partial):
        raise TemplateError(f"Declared as input and filled in already: {_quoted(both)}.")
    if missing := tuple(name for name in wanted if name not in said):
        raise TemplateError(f"Not declared as input: {_quoted(missing)}.")
    if unknown := tuple(name for name in said if name not in wanted):
        raise TemplateError(f"The template has no {_quoted(unknown)}.")


def _quoted(names: tuple[str, ...]) -> str:
    return ("variable " if len(names) == 1 else "variables ") + ", ".join(f"'{name}'" for name in names)
