"""Two columns of text: JSON that keeps its order, and text that came from outside.

`JSONTextField` is JSON in a *text* column. A ``jsonb`` column would reorder members, so a tool's
fields would change places on reload, and it refuses ``\\u0000`` and lone surrogates, which models
do send. What is stored is plain ASCII.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext as _

from ..engine.places import line_and_column, positions_of_scalar, repeated_names

MAX_JSON_INPUT = 1_000_000
"""Characters of JSON that a form takes."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class JSONTextField(models.TextField):  # type: ignore[type-arg]  # said below, in the plugin's way
    """Any JSON value in a text column; None is NULL where the column may be, else ``null``."""

    _pyi_private_set_type: Any
    _pyi_private_get_type: Any

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Any:
        """The value that was stored, members in the order in which they were written."""
        return None if value is None else json.loads(value)

    def to_python(self, value: Any) -> Any:
        """The value itself: what a form or a fixture gives is decoded already."""
        return value

    def get_prep_value(self, value: Any) -> Any:
        """ASCII JSON; raises ValueError for NaN and Infinity and TypeError for what is no JSON."""
        if hasattr(value, "resolve_expression") or (value is None and self.null):
            return value
        return json.dumps(value, allow_nan=False, separators=(",", ":"))

    def value_to_string(self, obj: models.Model) -> Any:
        """For fixtures: the value, which a fixture can hold as it is."""
        return self.value_from_object(obj)

    def formfield(self, **kwargs: Any) -> Any:
        """A text area that names line and column of a mistake."""
        return super().formfield(**{"form_class": JSONFormField, "empty_value": self.get_default(), **kwargs})


class JSONFormField(forms.CharField):
    """JSON written by a person: shown indented, members in their order, mistakes with their place."""

    widget = forms.Textarea

    def __init__(self, *, empty_value: Any = None, **kwargs: Any) -> None:
        kwargs.pop("max_length", None)
        # Not stripped: lines are counted as they were typed.
        super().__init__(max_length=MAX_JSON_INPUT, empty_value="", strip=False, **kwargs)
        self._value_if_empty = empty_value
        self.widget.attrs.setdefault("spellcheck", "false")

    def to_python(self, value: Any) -> str:
        """The text; spaces alone are an empty one."""
        return (super().to_python(value) or "").rstrip()

    def clean(self, value: Any) -> Any:
        """The decoded value; the column's default for an empty text."""
        text = super().clean(value)
        return parse_json(text) if text else self._value_if_empty

    def prepare_value(self, value: Any) -> Any:
        """The stored value as indented text; what was just typed stays as it was typed."""
        return value if isinstance(value, str) else pretty_json(value)

    def bound_data(self, data: Any, initial: Any) -> Any:
        """What was typed, or the stored value's text where the field is switched off."""
        return initial if self.disabled else data

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Whether the typed text means another value, or the same in another order."""
        try:
            typed = parse_json(data) if data and data.strip() else self._value_if_empty
        except ValidationError:
            return True
        return json.dumps(typed) != json.dumps(initial() if callable(initial) else initial)


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises `ValidationError` with line and column, or with the reason."""
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique_members,
            parse_constant=_no_number,
            parse_float=_finite_number,
            parse_int=_whole_number,
        )
    except json.JSONDecodeError as error:
        said = _("This is no JSON: %(what)s at line %(line)d, column %(column)d.")
        raise _wrong_at(text, error.pos, said, error.msg) from error
    except _RepeatedName as error:
        name, position = next(repeated_names(text))
        said = _(
            "“%(what)s” at line %(line)d, column %(column)d stands in its object already; "
            "only one of them would count."
        )
        raise _wrong_at(text, position, said, name[:80]) from error
    except _WrongNumber as error:
        position = next(positions_of_scalar(text, error.written))
        raise _wrong_at(text, position, error.said, error.written) from error
    except RecursionError as error:
        raise ValidationError(_("This JSON is nested too deeply."), code="invalid") from error


def pretty_json(value: Any) -> str:
    """Indented JSON that a person can read, with nothing that HTML or UTF-8 cannot carry."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _wrong_at(text: str, position: int, said: str, what: str) -> ValidationError:
    line, column = line_and_column(text, position)
    return ValidationError(said, code="invalid", params={"what": what, "line": line, "column": column})


class _RepeatedName(Exception):
    """An object has two members with one name."""


class _WrongNumber(Exception):
    """No number that can be kept, as it was written."""

    def __init__(self, said: str, written: str) -> None:
        super().__init__(said)
        self.said = said
        self.written = written


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise _RepeatedName
    return value


def _no_number(written: str) -> NoReturn:
    raise _WrongNumber(_("%(what)s at line %(line)d, column %(column)d is no JSON number."), written)


def _finite_number(written: str) -> float:
    number = float(written)
    if math.isinf(number):
        raise _WrongNumber(_("The number at line %(line)d, column %(column)d is too large."), written)
    return number


def _whole_number(written: str) -> int:
    try:
        return int(written)
    except ValueError:
        said = _("The number at line %(line)d, column %(column)d has too many digits.")
        raise _WrongNumber(said, written) from None


class OutsideTextField(models.TextField):  # type: ignore[type-arg]  # text in, text out, as its parent
    """Text that a provider chose: made storable everywhere, and cut at ``max_length``.

    PostgreSQL refuses U+0000 and no database takes a lone surrogate; both become U+FFFD. A failed
    save over such a character would lose the answer it belongs to.
    """

    def get_prep_value(self, value: Any) -> Any:
        """The text as it can be stored."""
        value = super().get_prep_value(value)
        return storable(value[: self.max_length]) if isinstance(value, str) else value


def storable(text: str) -> str:
    """The text with U+FFFD for what some database does not take."""
    return _UNSTORABLE.sub("\ufffd", text)
