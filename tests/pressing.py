"""The forms of a page, used as a browser without a script uses them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from django.test import Client


@dataclass
class Form:
    """A form: where it goes, and what it says."""

    attributes: dict[str, str]
    fields: dict[str, str] = field(default_factory=dict)


@dataclass
class Button:
    """A button, and the form that it submits; None where there is none."""

    text: str
    form: Form | None


def buttons(response: Any) -> list[Button]:
    """Those of a page that submit something. A form within a form, which browsers do not have, fails."""
    page = _Page()
    page.feed(response.content.decode())
    return list(page.buttons())


def press(client: Client, response: Any, text: str, **headers: str) -> Any:
    """What comes when somebody presses the one button with this text."""
    [form] = [button.form for button in buttons(response) if button.text == text]
    assert form is not None
    assert form.attributes["method"] == "post"
    return client.post(form.attributes["action"], form.fields, headers=headers or None)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self._in_button = False
        self._form: Form | None = None
        self._forms: list[Form] = []
        self._pressed: list[tuple[str | None, Form | None, list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            assert self._form is None, "a form within a form"
            self._form = Form(given)
            self._forms.append(self._form)
        elif tag == "input" and self._form is not None and given.get("type") == "hidden":
            self._form.fields[given["name"]] = given.get("value", "")
        elif tag == "button" and given.get("type", "submit") == "submit":
            self._pressed.append((given.get("form"), self._form, []))
            self._in_button = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "button":
            self._in_button = False

    def handle_data(self, data: str) -> None:
        if self._in_button:
            self._pressed[-1][2].append(data)

    def buttons(self) -> Iterator[Button]:
        named = {form.attributes.get("id"): form for form in self._forms}
        assert len([form for form in self._forms if "id" in form.attributes]) == len(set(named) - {None})
        for id, around, words in self._pressed:
            yield Button(" ".join("".join(words).split()), around if id is None else named[id])
