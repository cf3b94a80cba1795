"""A conversation as a file: JSON of the whole tree, Markdown of the path that is shown.

Made of the messages as pages get them, so nothing leaves the site that its owner could not see there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from django.utils.translation import gettext as _

from ..blocks import Block, BlockSplitter
from ..markdown import code_in
from ..models import Conversation
from .statuses import answer_status, call_status
from .titles import one_line

FORMAT = "openrouter_app.conversation"
VERSION = 1
LONGEST_NAME = 80

_NOT_IN_A_NAME = re.compile(r"[^\w .,()+\-]+")
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_LINE_END = re.compile(r"\r\n?")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_BEGINNING = re.compile(r"(?:[ \t]*\n)*( {0,3})(?=[^ \t\n])")
_FENCED = re.compile(r"(?:[ \t]*\n)*(?:(`{3,})[^`\n]*|(~{3,})[^\n]*)(?:\n|\Z)")
_FENCE = re.compile(r"`{3,}|~{3,}")
_LABEL = re.compile(r"^[ \t>*+\-0-9.)]*\[", re.MULTILINE)
"""May begin what a reference means. After one, readers of Markdown do not agree what the next line is."""
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
                yield from _call(part)
    if error := state.get("error"):
        yield f"*{_escaped(one_line(error['message']))}*"
    elif state["status"] in ("stopped", "failed", "interrupted"):
        yield f"*{answer_status(state['status'])}*"
    elif state["status"] != "done":
        yield f"*{_('This answer is still being written.')}*"
    if usage := state.get("usage"):
        facts = [usage.get("model"), usage.get("provider")]
        if usage.get("cost") is not None:
            facts.append(f"${usage['cost']}")
        if named := ", ".join(_escaped(one_line(fact)) for fact in facts if fact):
            yield f"*{named}*"


def _call(part: dict[str, Any]) -> Iterator[str]:
    """A call, and what became of it: one that was denied must not read like one that ran."""
    status = part.get("status", "done")
    word = "" if status == "done" else f" ({_said(call_status(status))})"
    yield f"**{_('Tool call')}: {_said(part['name'])}**{word}"
    yield _fenced(part.get("raw", part["arguments"]))
    if part.get("reason"):
        yield f"**{_('Reason')}**: {_said(part['reason'])}"
    if "output" in part:
        yield f"**{_('Result')}**"
        yield _fenced(part["output"])
    if error := part.get("error") or part.get("message"):
        yield f"**{_('Error')}**: {_said(error)}"


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
    """Markdown whose HTML is text, as on the page; blocks of code stay as they are.

    Made of the blocks that are rendered alone on the page: each is written so that what stands before it
    does not change what it is. It begins in the first column, so it is in no list; and no fence is left open.
    """
    splitter = BlockSplitter()
    blocks = splitter.feed(_LINE_END.sub("\n", _printable(markdown))) + splitter.close()
    return "".join(_block_without_html(block) for block in _joined(blocks)).removesuffix("\n")


def _joined(blocks: Iterable[Block]) -> Iterator[Block]:
    """The pieces of what is too large in one: a tag may stand where it was cut."""
    for is_plain, some in groupby(blocks, lambda block: block.plain):
        if is_plain:
            yield Block("".join(block.text for block in some), plain=True)
        else:
            yield from some


def _block_without_html(block: Block) -> str:
    beginning = _BEGINNING.match(block.text)
    if beginning is None:
        return _plain(block.text)  # blank, or code by its indentation, if it does not go on with a list
    text = block.text
    if indent := beginning[1]:
        text = re.sub(f"^ {{1,{len(indent)}}}", "", text, flags=re.MULTILINE)
    if fence := _FENCED.match(text):
        end = _end_of_code(text, fence[1] or fence[2], fence.end())
        return _closed(text, fence[1] or fence[2]) if end is None else text[:end] + _plain(text[end:])
    without = _TAG.sub("&lt;", text)
    found = None if block.plain or ("]:" in text and _LABEL.search(text)) else code_in(without)
    if found is None:
        return _plain(text)
    lines, code = without.split("\n"), text.split("\n")
    for first, last, _fence in found:
        lines[first:last] = code[first:last]
    text = "\n".join(lines)
    if found and (fence_left := found[-1][2]):
        return _closed(text, fence_left)
    return text


def _end_of_code(text: str, fence: str, start: int) -> int | None:
    """Where the line ends that closes the fence, None: it is left open."""
    closing = re.compile(rf"^ {{0,3}}{re.escape(fence)}{fence[0]}*[ \t]*(?:\n|\Z)", re.MULTILINE)
    found = closing.search(text, start)
    return None if found is None else found.end()


def _closed(text: str, fence: str) -> str:
    """What comes after an answer that broke off is no code."""
    return f"{text}{'' if text.endswith(chr(10)) else chr(10)}{fence}\n"


def _plain(text: str) -> str:
    """All of it is text, and it opens no fence."""
    return _FENCE.sub(r"\\\g<0>", _TAG.sub("&lt;", text))


def _said(value: Any) -> str:
    """A name, a word or a sentence: on one line, and no Markdown."""
    return _escaped(one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("\ufffd", text)
