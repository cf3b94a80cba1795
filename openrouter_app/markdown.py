"""One block of a model's text as HTML that may stand in a page.

::

    html = render(block)                 # of `openrouter_app.blocks`; "" for blank lines
    blocks, rest = render_text(text)     # of a text that has ended: every block, and no rest

What comes out holds the tags and attributes below and nothing else, whatever went in: HTML is text,
a picture is a link to it, a link leads to http, https or mailto or is text. No style, no script, no
form, nothing that a page loads by itself. What would take too long is shown as it was written; that
is decided by what is in the block, never by a clock, so every visit shows the same.

A block is rendered once: again and in another page it comes from a cache. Nothing here raises.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import Any
from urllib.parse import urlsplit

from .blocks import Block, BlockSplitter
from .highlighting import highlighted

log = logging.getLogger("openrouter_app.markdown")

LARGEST = 10_000
"""Characters of a block that is read as Markdown; fenced code is, up to `blocks.LARGEST`."""
MOST_BRACKETS = 400
"""``[`` in a block: each may begin a link, and is looked for its end."""
DEEPEST = 18
"""How deep lists and quotes stand in one another: a list counts for two."""
MOST_STEPS = 20_000
"""How often the parser may ask what a line begins: a quote that ends may be asked for all lines below it."""
CACHED = 8_000_000
"""Characters of text and HTML that are kept for the next visit."""

_DIRECTED = {"p", "h3", "h4", "h5", "h6", "ul", "ol", "blockquote", "table"}
TAGS = frozenset(
    {"li", "pre", "code", "em", "strong", "s", "a", "br", "hr", "div", "span", "bdi"}
    | {"thead", "tbody", "tr", "th", "td"}
    | _DIRECTED
)
ATTRIBUTES = frozenset(
    {"class", "dir", "tabindex", "start", "href", "rel", "target", "data-host", "data-language"}
)

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_FENCED = re.compile(r"\s*(?:`{3}|~{3})")
_CLOSING = re.compile(r" {0,3}(`+|~+)[ \t]*")
_LABEL = re.compile(r"[\w.+#-]{1,32}", re.ASCII)
_WEB = re.compile(r"https?://[^\s/?#\\]+", re.IGNORECASE)
_MAIL = re.compile(r"mailto:([^\s?]+@[^\s?]+)", re.IGNORECASE)
_SCHEME = re.compile(r"\s*(?:https?://|mailto:)?(?:www\.)?", re.IGNORECASE)


def render(block: Block) -> str:
    """The block as HTML. The same block gives the same HTML, always."""
    if (html := _cache.get(block)) is None:
        html = _rendered(block)
        _cache.put(block, html)
    return html


def render_text(text: str) -> tuple[list[str], str]:
    """Every block of a text that has ended, and "": an ended text has no rest. Costs O(text)."""
    splitter = BlockSplitter()
    blocks = splitter.feed(text) + splitter.close()
    return [html for block in blocks if (html := render(block))], ""


def render_parts(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts of a run that has ended, its texts with their ``blocks`` and ``rest``."""
    return [{**part, **_fields_of(part["text"])} if part["type"] == "text" else part for part in parts]


def code_in(text: str) -> list[tuple[int, int, str]] | None:
    """The code in a block, fenced or indented: its first line, the line behind it, and what would close it
    where it is a fence, outside of lists and quotes, that the text leaves open. None: it takes too long.
    """
    if len(text) > LARGEST:
        return None
    tokens: list[Any] = []
    parser = _block_parser()
    try:
        parser.block.parse(text, parser, {"steps": 0}, tokens)
    except _TooMuchError:
        return None
    lines = text.split("\n")
    return [
        (*token.map, token.markup if token.level == 0 and not _closes(lines, token) else "")
        for token in tokens
        if token.type in ("fence", "code_block")
    ]


def _closes(lines: Sequence[str], token: Any) -> bool:
    """Whether the last line of a fence ends it; indented code ends by itself."""
    if token.type == "code_block":
        return True
    found = _CLOSING.fullmatch(lines[token.map[1] - 1]) if token.map[1] - token.map[0] > 1 else None
    return found is not None and found[1].startswith(token.markup)


def _fields_of(text: str) -> dict[str, Any]:
    blocks, rest = render_text(text)
    return {"blocks": blocks, "rest": rest}


def _rendered(block: Block) -> str:
    text = _CONTROLS.sub("\ufffd", block.text)
    if not text.strip():
        return ""
    is_small = len(text) <= LARGEST or _FENCED.match(text)
    if not block.plain and is_small and text.count("[") <= MOST_BRACKETS:
        try:
            html = str(_parser().render(text, {"steps": 0})).strip("\n")
            return _CONTROLS.sub("\ufffd", html)  # an entity may be one
        except _TooMuchError:
            pass
        except Exception as error:  # a block that is not understood is no reason to show nothing
            log.warning("a block is shown as text: %s", type(error).__name__)
    return f'<div class="openrouter-plain" dir="auto">{_isolated(text.rstrip())}</div>'


class _TooMuchError(Exception):
    """What stands deeper would be left out; or it takes too long."""


@lru_cache(maxsize=1)
def _parser() -> Any:
    from markdown_it import MarkdownIt

    options = {"html": False, "linkify": False, "typographer": False, "xhtmlOut": False}
    parser = MarkdownIt("commonmark", {**options, "maxNesting": DEEPEST + 2})
    # What a reference means stands in another block, so it is text, and so is what would define it.
    parser.disable(["reference", "html_block", "html_inline"]).enable(["table", "strikethrough"])
    parser.validateLink = lambda url: _target_of(url) is not None  # type: ignore[method-assign]
    chains = ["paragraph", "reference", "blockquote", "list"]
    parser.block.ruler.before("table", "openrouter_limits", _count, {"alt": chains})
    parser.core.ruler.push("openrouter", _dress)
    for name, rule in _RULES.items():
        parser.add_render_rule(name, rule)
    return parser


@lru_cache(maxsize=1)
def _block_parser() -> Any:
    """For what is a block, not for what stands in a line."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"maxNesting": DEEPEST + 2}).disable("reference")
    chains = ["paragraph", "blockquote", "list"]
    parser.block.ruler.before("table", "openrouter_limits", _count, {"alt": chains})
    return parser


def _count(state: Any, start: int, end: int, silent: bool) -> bool:
    """The first rule for every line, wherever it is looked at: it never applies."""
    state.env["steps"] += 1
    if state.level >= DEEPEST or state.env["steps"] > MOST_STEPS:
        raise _TooMuchError
    return False


def _dress(state: Any) -> None:
    """Give the tokens the attributes they may have; headings begin where a page's own end."""
    for token in state.tokens:
        if token.type == "inline":
            token.children = _dressed(token.children or [])
            continue
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"
        if token.nesting == 1:
            style, start = str(token.attrs.get("style", "")), token.attrs.get("start")
            # On the outermost alone: a list's own direction is that of its items, if they name none.
            token.attrs = {"dir": "auto"} if token.level == 0 and token.tag in _DIRECTED else {}
            if style.startswith("text-align:"):
                token.attrs["class"] = "openrouter-" + style.removeprefix("text-align:")
            if isinstance(start, int):
                token.attrs["start"] = start


def _dressed(children: Sequence[Any]) -> list[Any]:
    """A line's tokens: links say where they lead, pictures become links."""
    from markdown_it.token import Token

    def link(url: str, shown: str) -> Any:
        return Token("link_open", "a", 1, attrs=_attributes_of(url, shown))

    result: list[Any] = []
    opened: tuple[int, str] | None = None
    depth = 0
    for token in children:
        if token.type in ("link_open", "link_close"):
            depth += token.nesting
            if depth > 1 or (depth == 1 and token.nesting < 0):
                continue  # a link within a link is its text
        if token.type == "link_open":
            opened = len(result), str(token.attrs.get("href", ""))
            result.append(token)
        elif token.type == "link_close" and opened is not None:
            at, url = opened
            opened = None
            result[at] = link(url, "".join(inner.content for inner in result[at:]))
            result.append(token)
        elif token.type == "image":
            url = str(token.attrs.get("src", ""))
            shown = _plain_text(token.children or []).strip() or url
            text = Token("text", "", 0, content=shown)
            is_link = opened is None and url
            result += [link(url, shown), text, Token("link_close", "a", -1)] if is_link else [text]
        else:
            result.append(token)
    return result


def _plain_text(children: Sequence[Any]) -> str:
    """What a picture's description says."""
    return "".join(
        _plain_text(token.children) if token.children else token.content or " " * token.type.endswith("break")
        for token in children
    )


def _target_of(url: str) -> str | None:
    """The host or address a link leads to; None for one that may not be followed."""
    if found := _MAIL.match(url):
        return found[1][:100]
    if not _WEB.match(url):
        return None
    try:
        return urlsplit(url).hostname or None
    except ValueError:
        return None


def _attributes_of(url: str, shown: str) -> dict[str, str | int | float]:
    attributes: dict[str, str | int | float] = {
        "href": url,
        "rel": "noopener noreferrer nofollow",
        "target": "_blank",
    }
    target = _target_of(url) or ""
    said = _SCHEME.sub("", shown, count=1).lower()
    if said.split("/")[0].rstrip() != target.lower().removeprefix("www."):
        attributes["data-host"] = target
    return attributes


def _isolated(text: str) -> str:
    """Text that turns its neighbours round turns nothing but itself."""
    return f"<bdi>{escape(text)}</bdi>" if _BIDI.search(text) else escape(text)


def _revealed(html: str) -> str:
    """In code, what turns text round is shown: it could make code look like other code."""
    return _BIDI.sub(lambda found: f'<span class="openrouter-control">U+{ord(found[0]):04X}</span>', html)


def _text(self: Any, tokens: Sequence[Any], at: int, options: Any, env: Any) -> str:
    return _isolated(tokens[at].content)


def _code_inline(self: Any, tokens: Sequence[Any], at: int, options: Any, env: Any) -> str:
    return f"<code>{_revealed(escape(tokens[at].content))}</code>"


def _code(self: Any, tokens: Sequence[Any], at: int, options: Any, env: Any) -> str:
    code, language = tokens[at].content, tokens[at].info.strip().split(maxsplit=1)[:1]
    label = language[0] if language and _LABEL.fullmatch(language[0]) else ""
    html = highlighted(code, label.lower())
    # Code runs from left to right; a fence without a language may hold any text.
    attributes = f'dir="{"ltr" if label else "auto"}"' + (f' data-language="{label}"' if label else "")
    shown = _revealed(escape(code) if html is None else html)
    return f'<pre tabindex="0" {attributes}><code>{shown}</code></pre>\n'


def _table_open(self: Any, tokens: Sequence[Any], at: int, options: Any, env: Any) -> str:
    return f'<div class="openrouter-table" tabindex="0"><table{self.renderAttrs(tokens[at])}>\n'


def _table_close(self: Any, tokens: Sequence[Any], at: int, options: Any, env: Any) -> str:
    return "</table></div>\n"


_RULES = {
    "text": _text,
    "code_inline": _code_inline,
    "code_block": _code,
    "fence": _code,
    "table_open": _table_open,
    "table_close": _table_close,
}


class _Cache:
    """What was rendered last, up to `CACHED` characters."""

    def __init__(self) -> None:
        self._known: OrderedDict[Block, str] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, block: Block) -> str | None:
        with self._lock:
            if (html := self._known.get(block)) is not None:
                self._known.move_to_end(block)
            return html

    def put(self, block: Block, html: str) -> None:
        with self._lock:
            if block in self._known:
                return
            self._known[block] = html
            self._size += len(block.text) + len(html)
            while self._size > CACHED:
                old, made = self._known.popitem(last=False)
                self._size -= len(old.text) + len(made)


_cache = _Cache()
