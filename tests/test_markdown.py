"""A model's text as HTML: what it may hold, whatever the text is, and what it costs. A21, A22, A23, A37."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app import blocks, highlighting, markdown
from openrouter_app.blocks import Block
from openrouter_app.markdown import ATTRIBUTES, TAGS, render, render_parts, render_text
from tests.hostile_texts import TEXTS, hostile_texts
from tests.test_blocks import WORDS

CANARY = "http://127.0.0.1:9/canary"
VOID = {"br", "hr"}
CLASS = re.compile(r"hl-[\w-]+(?: hl-[\w-]+)*|openrouter-[a-z]+", re.ASCII)
VALUES = {
    "class": CLASS,
    "dir": re.compile("auto|ltr"),
    "tabindex": re.compile("0"),
    "start": re.compile(r"[0-9]{1,9}"),
    "href": re.compile(r"(?:https?://[^\s/?#\\]|mailto:[^\s?]+@)[^\s<>\"`]*", re.IGNORECASE),
    "rel": re.compile("noopener noreferrer nofollow"),
    "target": re.compile("_blank"),
    "data-host": re.compile(r"[^\s<>\"]{1,253}"),
    "data-language": re.compile(r"[\w.+#-]{1,32}", re.ASCII),
}
LINK = {"href", "rel", "target"}
OF = {
    "a": {*LINK, "data-host"},
    "pre": {"dir", "tabindex", "data-language"},
    "div": {"class", "dir", "tabindex"},
    "span": {"class"},
    "ol": {"dir", "start"},
    "td": {"class"},
    "th": {"class"},
}


class Allowed(HTMLParser):
    """Fails for whatever may not be in a block; keeps the text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        assert tag in TAGS, tag
        assert len(dict(attrs)) == len(attrs)
        for name, value in attrs:
            assert name in ATTRIBUTES, name
            assert name in OF.get(tag, {"dir"}), (tag, name)
            assert VALUES[name].fullmatch(value), (name, value)
        if tag == "a":
            assert {name for name, _ in attrs} >= LINK
            assert "a" not in self.open
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def refused(self, *args):
        raise AssertionError(args)

    handle_comment = handle_decl = handle_pi = unknown_decl = refused


def checked(html: str) -> str:
    """The text of a block that holds nothing but what it may."""
    parser = Allowed()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser.text


def test_corpus_is_large():
    assert len(set(TEXTS)) >= 250


@pytest.mark.parametrize("text", hostile_texts(CANARY))
def test_a21_a22_hostile_text_is_nothing_but_text_and_links(text):
    html, rest = render_text(text)
    assert rest == ""
    for block in html:
        checked(block)
    assert "<img" not in "".join(html).lower()


@pytest.mark.parametrize("text", hostile_texts(CANARY))
def test_a21_hostile_text_stays_so_in_everything_that_may_stand_around_it(text):
    line = text.replace("\n", " ")
    for around in (
        f"> {line}",
        f"- {line}\n  - {line}",
        f"1. a\n\n   {line}",
        f"| {line} | b |\n|---|---|\n| {line} | {line} |",
        f"**{line}**",
        f"[{line}](http://x.example)",
        f"![{line}](http://x.example)",
        f"[x](http://x.example/{line})",
        f"# {line}",
        f"```{line}\n{line}\n```",
        f"```html\n{line}\n```",
        f"`{line}`",
        f"<{line}>",
        f"{line}\n===",
        Block(text, plain=True),
    ):
        block = around if isinstance(around, Block) else None
        for html in [render(block)] if block else render_text(around)[0]:
            checked(html)


hostile = st.lists(
    st.sampled_from(
        [*WORDS, *TEXTS, "](", "![", "[", "<", ">", '"', "'", "&", ";", ")", "\\", "http://x", "&#x"]
    )
    | st.characters(),
    max_size=12,
).map("".join)


@given(hostile)
def test_a21_any_text_is_nothing_but_text_and_links(text):
    for block in render_text(text)[0]:
        checked(block)


def html_of(text: str) -> str:
    return "\n".join(render_text(text)[0])


@pytest.mark.parametrize(
    ("text", "html"),
    [
        pytest.param("a **b** *c*", '<p dir="auto">a <strong>b</strong> <em>c</em></p>', id="emphasis"),
        pytest.param("~~a~~", '<p dir="auto"><s>a</s></p>', id="strikethrough"),
        pytest.param("# a", '<h3 dir="auto">a</h3>', id="the highest heading stands below a page's"),
        pytest.param("###### a", '<h6 dir="auto">a</h6>', id="the lowest stays"),
        pytest.param("a  \nb", '<p dir="auto">a<br>\nb</p>', id="line break"),
        pytest.param("3. a\n", '<ol dir="auto" start="3">\n<li>a</li>\n</ol>', id="numbered"),
        pytest.param("<b>a</b>", '<p dir="auto">&lt;b&gt;a&lt;/b&gt;</p>', id="HTML is text"),
        pytest.param("http://a.example", '<p dir="auto">http://a.example</p>', id="an address is text"),
        pytest.param("[a](/b)", '<p dir="auto">[a](/b)</p>', id="a link into this site is text"),
        pytest.param("[a][b]\n\n[b]: http://x", None, id="references are text"),
        pytest.param("\n\n", "", id="nothing"),
        pytest.param(
            "```\n<b>\n```", '<pre tabindex="0" dir="auto"><code>&lt;b&gt;\n</code></pre>', id="code"
        ),
    ],
)
def test_markdown_as_people_know_it(text, html):
    expected = html or '<p dir="auto">[a][b]</p>\n<p dir="auto">[b]: http://x</p>'
    assert html_of(text) == ("" if html == "" else expected)


REST = 'rel="noopener noreferrer nofollow" target="_blank"'


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("[a](http://x.example/y)", f'<a href="http://x.example/y" {REST} data-host="x.example">a</a>'),
        ("<https://x.example/y>", f'<a href="https://x.example/y" {REST}>https://x.example/y</a>'),
        ("[x.example](https://www.x.example)", f'<a href="https://www.x.example" {REST}>x.example</a>'),
        (
            "[bank.example](https://x.example)",
            f'<a href="https://x.example" {REST} data-host="x.example">bank.example</a>',
        ),
        (
            "[x.example.evil.example](https://x.example)",
            f'<a href="https://x.example" {REST} data-host="x.example">x.example.evil.example</a>',
        ),
        ("<a@x.example>", f'<a href="mailto:a@x.example" {REST}>a@x.example</a>'),
        (
            "![alt *x*](http://x.example/i)",
            f'<a href="http://x.example/i" {REST} data-host="x.example">alt x</a>',
        ),
        ("![](http://x.example/i)", f'<a href="http://x.example/i" {REST}>http://x.example/i</a>'),
        ("![alt](javascript:x)", "![alt](javascript:x)"),
        (
            "[<http://y.example> b](http://x.example)",
            f'<a href="http://x.example" {REST} data-host="x.example">http://y.example b</a>',
        ),
        (
            "[![alt](http://i.example)](http://x.example)",
            f'<a href="http://x.example" {REST} data-host="x.example">alt</a>',
        ),
        (
            "[a](http://ex\u0430mple.com)",
            f'<a href="http://xn--exmple-4nf.com" {REST} data-host="xn--exmple-4nf.com">a</a>',
        ),
    ],
)
def test_links_and_pictures_say_where_they_lead(text, link):
    assert html_of(text) == f'<p dir="auto">{link}</p>'


def test_code_has_classes_for_its_colours():
    html = html_of('```python title="x"\ndef f(): pass\n```')
    assert html.startswith(
        '<pre tabindex="0" dir="ltr" data-language="python"><code><span class="hl-k">def</span>'
    )
    assert checked(html) == "def f(): pass\n"


def test_a_table_scrolls_and_its_cells_have_no_style():
    html = html_of("| a | b |\n|:-:|--:|\n| 1 | 2 |")
    assert html.startswith('<div class="openrouter-table" tabindex="0"><table dir="auto">')
    assert '<td class="openrouter-center">1</td>' in html
    assert "style" not in html


@pytest.mark.parametrize(
    "language", sorted({name for names in highlighting.LEXERS.values() for name in names.split()})
)
def test_every_language_is_known_and_keeps_the_code(language):
    code = "# x <b>&\"'\n\n  a = 'b' /* c */ // d\n\n"
    html = highlighting.highlighted(code, language)
    assert html is not None
    assert checked(html) == code


@pytest.mark.parametrize(
    ("code", "language"),
    [
        ("x = 1\n", "whitespace"),
        ("x = 1\n", ""),
        ("x = 1\n" * 2_000, "python"),
        ("x" * 501, "python"),
        ("x" + "\n" * 100, "c"),
    ],
)
def test_other_code_stays_as_it_is(code, language):
    assert highlighting.highlighted(code, language) is None


@given(
    st.text(st.sampled_from("\n \t a<\"'`/*#\\{}()é\x00\u2028\u202e"), max_size=60),
    st.sampled_from(["python", "js", "html", "c"]),
)
def test_code_keeps_every_character(code, language):
    html = highlighting.highlighted(code, language)
    assert html is None or checked(html) == code


def test_a_block_is_rendered_once(monkeypatch):
    made = []
    monkeypatch.setattr(markdown, "_cache", markdown._Cache())
    monkeypatch.setattr(markdown, "_rendered", lambda block: made.append(block) or "x")
    for _ in range(3):
        assert render_text("a\n\nb") == (["x", "x"], "")
    assert len(made) == 2


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(markdown, "CACHED", 1_000)
    cache = markdown._Cache()
    for number in range(100):
        cache.put(Block(str(number)), "x" * 90)
    assert cache._size <= 1_000
    assert cache.get(Block("99")) == "x" * 90
    assert cache.get(Block("0")) is None


def test_parts_of_a_run_get_their_blocks():
    parts = [
        {"type": "step"},
        {"type": "text", "text": "a\n\nb"},
        {"type": "reasoning", "text": "c", "ms": 1},
    ]
    before = [dict(part) for part in parts]
    html = ['<p dir="auto">a</p>', '<p dir="auto">b</p>']
    assert render_parts(parts) == [before[0], {**before[1], "blocks": html, "rest": ""}, before[2]]
    assert parts == before


def test_whatever_goes_wrong_the_text_is_shown(monkeypatch, caplog):
    class Broken:
        def render(self, text):
            raise ValueError(text)

    monkeypatch.setattr(markdown, "_parser", Broken)
    assert markdown._rendered(Block("<b>\n")) == '<div class="openrouter-plain" dir="auto">&lt;b&gt;</div>'
    assert "<b>" not in caplog.text


def test_the_libraries_are_imported_at_the_first_block():
    code = (
        "import sys, openrouter_app.markdown;"
        "sys.exit(', '.join({'markdown_it', 'pygments.formatters'} & set(sys.modules)) or None)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# ---- A23: what is meant to take for ever ----


def much(unit: str, size: int = 20_000) -> str:
    return (unit * (size // len(unit) + 1))[:size]


BOMBS = {
    "emphasis": much("*a_", 60_000),
    "quotes": ">" * 5_000,
    "quotes in lines": "\n".join(">" * depth for depth in range(1, 200)),
    "backticks": "`" * 50_000,
    "backticks of all lengths": " ".join("`" * length for length in range(1, 200)),
    "backticks in lines": much("`\n"),
    "table": "|" + "a|" * 1_000 + "\n|" + "-|" * 1_000 + "\n" + ("|" + "b|" * 1_000 + "\n") * 1_000,
    "wide table": "|" + "a|" * 500 + "\n|" + "-|" * 500 + "\n" + ("|" * 500 + "\n") * 14,
    "narrow table": much("a|b\n-|-\n1|2\n", 10_000),
    "line": "x" * 1_000_000,
    "spaces": " " * 1_000_000,
    "newlines": "\n" * 100_000,
    "brackets": "[" * 50_000,
    "pictures": much("!["),
    "links": much("[a](", 10_000),
    "whole links": much("[a](http://b) "),
    "nested links": "[" * 399 + "](a)" * 399,
    "angles": "<" * 10_000,
    "autolinks": much("<http:", 10_000),
    "entities": much("&#x41;", 10_000),
    "lists": much("- a\n", 10_000),
    "nested lists": "\n".join(" " * (2 * depth) + "- a" for depth in range(200)),
    "lists in a line": much("- ", 10_000),
    "numbers": much("1. ", 10_000),
    "quoted lists": much("> - ", 10_000),
    "quotes that end": much("-|-\n>>~~~\n", 10_000),
    "quotes that go on": much(">>===\n===\n===\n", 10_000),
    "quoted headings": much("a|b\n> # (~~~\na|b\n", 10_000),
    "tildes": much("~~a", 10_000),
    "underscores": much("_a ", 10_000),
    "closers": "a**" + much("b* ", 10_000),
    "short lines": much("a\n", 10_000),
    "headings": much("# a\n"),
    "underlines": much("a\n=\n", 10_000),
    "escapes": "\\" * 10_000,
    "fences": much("```\n", 100_000),
    "bidi": "\u202e" * 10_000,
    "controls": "\x00" * 10_000,
    **{f"code of {name}": f"```{name}\n{much(unit, 7_900)}\n```" for name, unit in [
        ("c", "\n"), ("c", ";\n"), ("cpp", 'R"('), ("java", "func "), ("java", "/*a\n"), ("go", "/*@"),
        ("csharp", "/*"), ("html", "<!--\n"), ("python", "a(\n"), ("js", "${\n"), ("ruby", "$[-\n"),
        ("ts", "/*\n"), ("yaml", "&a\n"), ("sql", "/*\n"), ("php", "<?php\n"), ("bash", "$(\n"),
        ("xml", "<?\n"), ("json", '"\\\n'), ("css", "/*\n"), ("rust", "a::(\n"), ("kotlin", "/*a\n"),
    ]},
}  # fmt: skip


@pytest.fixture(scope="module")
def no_collection():
    """To collect what thousands of tests have left takes seconds that are not the renderer's."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def rendered_soon(block):
    """Its HTML. The fastest of three tries counts: other programs slow some of them down, a bomb all."""
    for is_last in (False, False, True):
        begun = time.thread_time()
        html = markdown._rendered(block)
        seconds = time.thread_time() - begun
        if seconds < 1.0:  # 0.2 where nothing else is done; what these once took was seconds
            break
        assert not is_last, f"{seconds:.1f} seconds"
    return html


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("name", BOMBS)
def test_a23_no_block_holds_anything_up(name):
    render_text("a\n\n```python\nx\n```")  # the imports are no part of it
    splitter = blocks.BlockSplitter()
    for block in splitter.feed(BOMBS[name]) + splitter.close():
        checked(rendered_soon(block))


units = st.lists(
    st.sampled_from([*WORDS, "](", "![", "](http://a)", "|-|\n", "a|b\n", "===\n", ">>"]),
    min_size=1,
    max_size=5,
).map("".join)


@pytest.mark.usefixtures("no_collection")
@given(units, units, st.booleans())
def test_a23_nothing_that_is_said_again_and_again_holds_anything_up(one, other, is_mixed):
    size = markdown.LARGEST // len(one + other)
    text = (one + other) * size if is_mixed else one * size + other * size
    splitter = blocks.BlockSplitter()
    for block in (splitter.feed(text) + splitter.close())[:2]:
        rendered_soon(block)


@pytest.mark.parametrize(
    "name",
    ["quotes", "quotes that end", "nested lists", "quoted lists", "numbers", "line", "table", "brackets"],
)
def test_a23_what_is_not_rendered_is_all_there_as_text(name):
    text = BOMBS[name]
    shown = "".join(checked(html) for html in render_text(text)[0])
    assert re.sub(r"\s+", "", shown) == re.sub(r"\s+", "", text)


# ---- A37: characters that are no text ----


@pytest.mark.parametrize(
    "text", ["a\x00b", "a\x1b[31mb", "a\x08b", "a\x7fb", "a\x9bb", "a\ud800b", "a&#0;b", "a&#27;b"]
)
@pytest.mark.parametrize(
    "around", ["{}", "`{}`", "```\n{}\n```", "```python\n{}\n```", "[{}](http://x.example)"]
)
def test_a37_controls_are_replaced(text, around):
    html = html_of(around.format(text))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", html)
    assert "\ufffd" in html or "&#" in checked(html)


@pytest.mark.parametrize("control", "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
def test_a37_bidi_controls_are_isolated_and_shown_in_code(control):
    assert html_of(f"a{control}b *c*") == f'<p dir="auto"><bdi>a{control}b </bdi><em>c</em></p>'
    assert html_of(f"&#{ord(control)};*c*") == f'<p dir="auto"><bdi>{control}</bdi><em>c</em></p>'
    mark = f'<span class="openrouter-control">U+{ord(control):04X}</span>'
    assert html_of(f"`a{control}`") == f'<p dir="auto"><code>a{mark}</code></p>'
    for fence in ("```", "```python"):
        assert mark in html_of(f"{fence}\n# {control}\n```")
        assert control not in html_of(f"{fence}\n# {control}\n```")
    assert f"<bdi>{control}</bdi>" in markdown._rendered(Block(control, plain=True))
