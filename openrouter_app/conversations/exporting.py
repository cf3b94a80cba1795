"""A conversation as a file: JSON of the whole tree, Markdown of the path that is shown.

Made of the messages as pages get them, so nothing leaves the site that its owner could not see there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from django.utils.translation import gettext as _

from ..models import Conversation
from .titles import one_line

FORMAT = "openrouter_app.conversation"
VERSION = 1
LONGEST_NAME = 80

_NOT_IN_A_NAME = re.compile(r"[^\w .,()+\-]+")
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>#|~])")


def json_text(conversation: Conversation, head: str | None, messages: list[dict[str, Any]]) -> str:
    """The whole tree. ``parent`` says how the messages hang together, ``head`` where the page ends."""
    whole = {
        "format": FORMAT,
        "version": VERSION,
        "conversation": str(conversation.uuid),
        "title": conversation.title,
        "chain": conversation.chain.slug,
        "created": conversation.created.isoformat(),
        "updated": conversation.updated.isoformat(),
        "head": head,
        "messages": [
            {name: value for name, value in message.items() if name not in ("siblings", "text")}
            for message in messages
        ],
    }
    return json.dumps(whole, indent=2) + "\n"


def markdown_text(conversation: Conversation, messages: Iterable[dict[str, Any]]) -> str:
    """What stands on the page, to be read: questions as quotations, answers in their own Markdown."""
    blocks = [f"# {_escaped(one_line(conversation.title)) or _('Conversation')}"]
    for message in messages:
        if message["role"] == "user":
            blocks += [f"## {_('Question')}", _quoted(message["text"])]
        else:
            blocks += [f"## {_('Answer')}", *_answer(message.get("state"))]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _answer(state: dict[str, Any] | None) -> Iterator[str]:
    if state is None:
        return
    for part in state["parts"]:
        match part["type"]:
            case "text":
                yield _without_html(part["text"])
            case "json":
                yield _fenced(part.get("value"))
            case "call":
                yield f"**{_('Tool call')}: {_escaped(part['name'])}**"
                yield _fenced(part["arguments"])
                if "output" in part:
                    yield f"**{_('Result')}**"
                    yield _fenced(part["output"])
                if part.get("error"):
                    yield f"**{_('Error')}**: {_escaped(one_line(str(part['error'])))}"
    if error := state.get("error"):
        yield f"*{_escaped(one_line(error['message']))}*"
    elif state["status"] == "stopped":
        yield f"*{_('Stopped')}*"
    elif state["status"] != "done":
        yield f"*{_('This answer is still being written.')}*"
    if usage := state.get("usage"):
        facts = [usage.get("model"), usage.get("provider")]
        if usage.get("cost") is not None:
            facts.append(f"${usage['cost']}")
        if named := ", ".join(_escaped(one_line(fact)) for fact in facts if fact):
            yield f"*{named}*"


def file_name(conversation: Conversation, extension: str) -> str:
    """The title as a file's name on any system, with nothing in it that means something to one."""
    name = _NOT_IN_A_NAME.sub(" ", one_line(conversation.title))
    name = " ".join(name.split())[:LONGEST_NAME].strip(" .-")
    return f"{name or 'conversation'}.{extension}"


def _quoted(text: str) -> str:
    lines = _printable(text).splitlines() or [""]
    return "\n".join(f"> {_TAG.sub('&lt;', line)}".rstrip() for line in lines)


def _fenced(value: Any) -> str:
    text = _printable(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False))
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text) or [""]))
    return f"{fence}\n{text}\n{fence}"


def _without_html(markdown: str) -> str:
    """Markdown whose HTML is text, as on the page; code stays as it is."""
    lines, fence = [], ""
    for line in _printable(markdown).split("\n"):
        found = _FENCE.match(line)
        if fence:
            if found and found[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
            lines.append(line)
            continue
        if found:
            fence = found[1]
        lines.append(_outside_code(line))
    if fence:
        lines.append(fence)  # what comes after an answer that broke off is no code
    return "\n".join(lines)


def _outside_code(line: str) -> str:
    pieces, end = [], 0
    for code in _CODE.finditer(line):
        pieces += [_TAG.sub("&lt;", line[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*pieces, _TAG.sub("&lt;", line[end:])])


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("\ufffd", text)
