"""A request body read for the simulation: who said what, and which tools are there.

A request comes from outside, so any member may be missing or of the wrong kind.
The one rule: reading one never raises; what makes no sense counts as absent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .recorded import text_of_content
from .scripts import JSONObject


@dataclass(frozen=True, slots=True)
class Called:
    """A tool that was called since the human spoke, and what it answered."""

    name: str
    arguments: Mapping[str, Any]
    answer: str


@dataclass(frozen=True, slots=True)
class Asked:
    """``system`` is all system text, ``human`` the last user message, ``tools`` the function tools.

    ``forced`` is the tool that must be called now, None where none must; ``tool_answer`` is the text of
    the last message if that is a tool's answer. ``called`` is what was called since the human spoke,
    ``earlier`` what was said before, oldest first, system text left out.
    """

    model: str
    system: str
    human: str
    tools: tuple[JSONObject, ...]
    forced: JSONObject | None
    forbids_tools: bool
    tool_answer: str | None
    called: tuple[Called, ...]
    earlier: tuple[str, ...]
    json_schema: object
    wants_json: bool
    thinks: bool
    max_tokens: int | None

    @classmethod
    def by(cls, request: JSONObject) -> Asked:
        messages = _mappings(request.get("messages"))
        texts = [(str(message.get("role")), text_of_content(message.get("content"))) for message in messages]
        last_role, last_text = texts[-1] if texts else ("", "")
        spoke = max((at for at, (role, _) in enumerate(texts) if role == "user"), default=0)
        tools = tuple(_mapping(tool.get("function")) for tool in _mappings(request.get("tools")))
        tools = tuple(tool for tool in tools if isinstance(tool.get("name"), str))
        form = _mapping(request.get("response_format"))
        effort = _mapping(request.get("reasoning"))
        limit = request.get("max_completion_tokens") or request.get("max_tokens")
        return cls(
            model=str(request.get("model") or "model"),
            system="\n".join(text for role, text in texts if role in ("system", "developer")),
            human=next((text for role, text in reversed(texts) if role == "user"), ""),
            tools=tools,
            forced=_forced(request.get("tool_choice"), tools),
            forbids_tools=request.get("tool_choice") == "none",
            tool_answer=last_text if last_role == "tool" else None,
            called=tuple(_called(messages[spoke:])),
            earlier=tuple(text for role, text in texts[:spoke] if role in ("user", "assistant")),
            json_schema=_mapping(form.get("json_schema")).get("schema"),
            wants_json=form.get("type") in ("json_schema", "json_object"),
            thinks=bool(effort) and effort.get("effort") != "none" and effort.get("enabled") is not False,
            max_tokens=limit if isinstance(limit, int) and limit > 0 else None,
        )

    def mentioned_tool(self) -> JSONObject | None:
        """The first tool whose name shares a longer word with the human's message."""
        said = set(re.findall(r"[^\W_]{4,}", self.human.lower()))
        return next((t for t in self.tools if said & set(re.findall(r"[^\W_]{4,}", t["name"].lower()))), None)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _called(messages: list[Mapping[str, Any]]) -> Iterator[Called]:
    """The calls that have an answer, in the order of the answers."""
    calls = {
        str(call.get("id")): _mapping(call.get("function"))
        for message in messages
        for call in _mappings(message.get("tool_calls"))
    }
    for message in messages:
        if message.get("role") == "tool":
            call = calls.get(str(message.get("tool_call_id")), {})
            answer = text_of_content(message.get("content"))
            yield Called(str(call.get("name", "")), _arguments(call.get("arguments")), answer)


def _arguments(text: object) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(text)) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}


def _forced(choice: object, tools: tuple[JSONObject, ...]) -> JSONObject | None:
    if choice == "required":
        return next(iter(tools), None)
    name = _mapping(_mapping(choice).get("function")).get("name")
    return next((tool for tool in tools if tool["name"] == name), None)
