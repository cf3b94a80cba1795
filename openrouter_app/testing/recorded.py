"""What a client sent, kept for the test to look at.

The one rule: an API key is there to be compared, and never in a ``repr``, so that no failing test,
log line or debugger prints one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

_SECRET = frozenset({"authorization", "proxy-authorization", "cookie"})


class Headers(dict[str, str]):
    """Header values by lower-case name; looking up takes any case, ``repr`` hides secrets."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)

    def __repr__(self) -> str:
        return repr({name: "[hidden]" if name in _SECRET else value for name, value in self.items()})


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class RecordedRequest:
    """One request. ``json`` is the decoded body, None where it was no JSON; of a name that stands twice in
    the ``query`` the last one counts.
    """

    method: str
    path: str
    headers: Headers
    body: bytes
    json: Any
    query: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        method: str,
        path: str,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        query_string: bytes = b"",
    ) -> RecordedRequest:
        pairs = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)
        query = dict(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True))
        return cls(method, path, Headers(pairs), body, _decoded(body), query)

    @property
    def api_key(self) -> str | None:
        """The bearer token, None where there was none."""
        scheme, _, key = str(self.headers.get("authorization", "")).partition(" ")
        return key.strip() or None if scheme.lower() == "bearer" else None

    @property
    def tool_results(self) -> list[str]:
        """What the client says that tools have answered since the model's last answer, in its order."""
        asked = self.json.get("messages") if isinstance(self.json, dict) else None
        found: list[str] = []
        for message in reversed(asked if isinstance(asked, list) else []):
            if not isinstance(message, dict) or message.get("role") != "tool":
                break
            found.append(text_of_content(message.get("content")))
        return found[::-1]

    def __repr__(self) -> str:
        asked = self.json if isinstance(self.json, dict) else {}
        about = "".join(f" {name}={asked[name]!r}" for name in ("model", "stream") if name in asked)
        return f"<RecordedRequest {self.method} {self.path}{about}>"


def text_of_content(content: object) -> str:
    """A message's content as text: itself, or its text parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
