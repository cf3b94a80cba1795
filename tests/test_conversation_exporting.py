"""A conversation as a file: JSON that holds the tree, Markdown to be read, names that are only names."""

from __future__ import annotations

import json
import time

import pytest
from django.urls import reverse
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from openrouter_app.conversations.exporting import file_name, markdown_text
from openrouter_app.models import Conversation

from .hostile_texts import hostile_texts
from .talking import browser_of, make_conversation, reply, say, visitor

pytestmark = pytest.mark.django_db


def export(made, kind, **query):
    name = reverse(f"openrouter_app:conversation-export-{kind}", args=[made.uuid])
    response = browser_of(visitor()).get(name, query)
    assert response.status_code == 200
    return response


def test_json_holds_every_version():
    made = make_conversation(visitor(), "one")
    first = made.head
    reply(made, first.parent, "again")
    say(made, "uno", parent=None)
    response = export(made, "json")
    assert response["Content-Type"] == "application/json"
    whole = json.loads(response.content)
    assert (whole["format"], whole["version"]) == ("openrouter_app.conversation", 1)
    assert [message["role"] for message in whole["messages"]] == [
        "user",
        "assistant",
        "assistant",
        "user",
        "assistant",
    ]
    assert whole["messages"][0]["input"] == {"message": "one"}
    assert whole["messages"][2]["parent"] == whole["messages"][0]["message"]
    assert whole["messages"][2]["state"]["parts"][-1]["text"] == "again"
    assert whole["head"] == whole["messages"][-1]["message"]


def test_markdown_is_what_stands_on_the_page():
    made = make_conversation(visitor(), "one\ntwo", title="My *title*")
    reply(made, made.head.parent, "# An answer\n\nwith `<b>` and\n\n```html\n<b>code</b>\n```")
    text = export(made, "md").content.decode()
    assert text == (
        "# My \\*title\\*\n\n## Question\n\n> one\n> two\n\n## Answer\n\n# An answer\n\nwith `&lt;b>` and\n\n"
        "```html\n<b>code</b>\n```\n"
    )
    first = made.head.parent.children.first()
    assert "re: one" in export(made, "md", message=first.uuid).content.decode()


def test_calls_and_errors_stand_in_it():
    made = make_conversation(visitor())
    call = {
        "type": "call",
        "call": "c",
        "name": "pay",
        "arguments": {"sum": 3},
        "status": "done",
        "output": "o```k",
    }
    say(
        made,
        "hi",
        status="failed",
        parts=[{"type": "step"}, call],
        error_code="provider",
        error_message="It broke.",
    )
    text = export(made, "md").content.decode()
    assert '**Tool call: pay**\n\n```\n{\n  "sum": 3\n}\n```' in text
    assert "````\no```k\n````" in text
    assert "*It broke.*" in text


@pytest.mark.parametrize(
    ("answer", "written"),
    [
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("a < b and <img src=x onerror=y>", "a < b and &lt;img src=x onerror=y>"),
        ("`<b>` <b>", "`&lt;b>` &lt;b>"),
        ("``a`<b>`` <!-- x", "``a`&lt;b>`` &lt;!-- x"),
        ("```\n<b>\n", "```\n<b>\n```"),
        ("~~~\n<b>\n```\n<b>\n~~~\n<b>", "~~~\n<b>\n```\n<b>\n~~~\n&lt;b>"),
        (
            "1. Do this:\n   ```html\n   <b>\n   ```\n\n   <b>",
            "1. Do this:\n   ```html\n   <b>\n   ```\n\n   &lt;b>",
        ),
        ("See:\n\n  ```\n  <b>\n    <i>\n  ```\n", "See:\n\n```\n<b>\n  <i>\n```\n"),
    ],
)
def test_a21_html_in_an_answer_is_text_in_the_file(answer, written):
    made = make_conversation(visitor())
    say(made, "hi", answer)
    assert written in export(made, "md").content.decode()


IMG = "<img src=x onerror=alert(1)>"


def exported(answer):
    state = {"status": "done", "parts": [{"type": "text", "text": answer}, {"type": "text", "text": IMG}]}
    return markdown_text(Conversation(title="x"), [{"role": "assistant", "state": state}])


def html_in(markdown):
    """What a reader of the file takes for HTML."""
    tokens = MarkdownIt("commonmark").parse(markdown)
    every = [*tokens, *(child for token in tokens for child in token.children or ())]
    return [token.content for token in every if token.type in ("html_block", "html_inline")]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            {"status": "denied", "reason": "Not *now*\n# x"},
            " (Denied)\n\n```\n{}\n```\n\n**Reason**: Not \\*now\\* \\# x",
        ),
        ({"status": "denied"}, " (Denied)\n\n```\n{}\n```\n"),
        ({"status": "failed", "error": "No <b>"}, " (Failed)\n\n```\n{}\n```\n\n**Error**: No \\<b\\>"),
        (
            {"status": "invalid", "raw": '{"a', "message": "No JSON."},
            ' (Not usable)\n\n```\n{"a\n```\n\n**Error**: No JSON.',
        ),
        ({"status": "cancelled"}, " (Cancelled)\n\n```\n{}\n```\n"),
        ({"status": "waiting"}, " (Waiting for approval)\n\n```\n{}\n```\n"),
        ({"status": "done", "output": 3}, "\n\n```\n{}\n```\n\n**Result**\n\n```\n3\n```"),
    ],
)
def test_call_that_did_not_run_does_not_read_like_one_that_did(call, said):
    part = {"type": "call", "call": "c", "name": "pay\n**x", "arguments": {}, **call}
    state = {"status": "done", "parts": [part]}
    with translation.override("en"):
        text = markdown_text(Conversation(title="x"), [{"role": "assistant", "state": state}])
    assert f"**Tool call: pay \\*\\*x**{said}" in text


@pytest.mark.parametrize("field", ["reason", "error", "message", "name", "status"])
def test_a21_html_in_what_is_said_of_a_call_is_text_in_the_file(field):
    call = {
        "type": "call",
        "call": "c",
        "name": "pay",
        "arguments": {},
        "status": "denied",
        field: f"x\n\n{IMG}",
    }
    state = {"status": "done", "parts": [call]}
    assert not html_in(markdown_text(Conversation(title="x"), [{"role": "assistant", "state": state}]))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("stopped", "*Stopped*"),
        ("interrupted", "*Interrupted*"),
        ("failed", "*Failed*"),
        ("running", "*This answer is still being written.*"),
    ],
)
def test_answer_that_is_not_whole_says_so(status, said):
    state = {"status": status, "parts": [{"type": "text", "text": "Half"}]}
    with translation.override("en"):
        text = markdown_text(Conversation(title="x"), [{"role": "assistant", "state": state}])
    assert text.endswith(f"Half\n\n{said}\n")


@pytest.mark.parametrize(
    "answer",
    [
        rf"\` {IMG} `",
        f"`a\n` {IMG} `",
        f"a ` b\n` ```x`\n{IMG}",
        f"```x`\n{IMG}\n```",
        f"```\nx\n```\t\n{IMG}\n```\n",
        f"- ```\n  x\n{IMG}\n",
        f"1. a\n   ```\n   x\n{IMG}\n   ```",
        f"```\nx\n \t```\n\n```\n{IMG}\n```",
        f"***\n2. x\n\n    {IMG}",
        f"***\n2. x\n\n   ```\n{IMG}\n```",
        f"> # h\n2. x\n\n   ```\nfoo\n```\n\n```\n{IMG}\n```",
        f"1. a\n  ```\n  x\n\ny\n\n```\n{IMG}\n```",
        f"- [x]: /url\n  2. a\n\n     ```\n   {IMG}\n     ```",
        f"[x]: /url\n    {IMG}",
        f"~~~\rx\r~~~\r{IMG}\r",
        "a" * 15_999 + IMG,
        "x\n\n" * 2_100 + f"```\n{IMG}\n\n{IMG}",
        "```\n" + "x" * 20_000 + f"\n```\n{IMG}",
        "> " * 60 + f"\n```\n{IMG}",
        f"<pre>\n\n    {IMG}\n</pre>",
    ],
)
def test_a21_whoever_renders_the_file_finds_no_html_in_it(answer):
    assert html_in(exported(answer)) == []


def test_a21_no_hostile_text_is_html_in_the_file():
    for text in hostile_texts("http://127.0.0.1:9"):
        assert html_in(exported(text)) == [], text


PIECES = [
    *(
        "\n",
        "\n\n",
        " ",
        "   ",
        "    ",
        "\t",
        "\r",
        "\\",
        "- ",
        "2. ",
        "1) ",
        "> ",
        "# ",
        "***",
        "[x]:",
        "a",
        IMG,
    ),
    *("<script>", "</script>", "<!--", "-->", "`", "``", "```", "````", "~~~", "|", "<pre>", "&", "=="),
]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_a21_no_arrangement_of_markup_is_html_in_the_file(text):
    assert html_in(exported(text)) == []


@pytest.mark.parametrize("size", [50_000, 200_000])
@pytest.mark.parametrize("form", ["{}", "a {}", "a ` {} ``", "- {}\n  "])
def test_a23_backticks_without_a_partner_cost_little(size, form):
    texts = ["`" * size, "` `` " * (size // 5), "".join("`" * n + " " for n in range(int((2 * size) ** 0.5)))]
    for text in texts:
        start = time.process_time()
        exported(form.format(text))
        assert time.process_time() - start < 2


@pytest.mark.parametrize(
    "piece", ["> ", "- ", "- a\n", "> - ", "  - a\n", "```\n", "1. ```\n", "[", "\n", " ", "> a\n\n"]
)
def test_a23_no_repeated_markup_costs_much(piece):
    start = time.process_time()
    exported(piece * (200_000 // len(piece)))
    assert time.process_time() - start < 4


def test_a37_what_turns_text_or_controls_a_terminal_is_not_in_the_file():
    made = make_conversation(visitor(), title="a\u202eb")
    say(made, "x\x1b[31m\u202ey", "z\x00\u2066\x07")
    text = export(made, "md").content.decode()
    assert not set(text) & set("\x00\x07\x1b\u202e\u2066")
    raw = export(made, "json").content
    assert raw.isascii()
    assert not set(raw) & {0, 7, 27}


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Why is it blue?", "Why is it blue.md"),
        ("", "conversation.md"),
        ("../../etc/passwd", "etc passwd.md"),
        ("..", "conversation.md"),
        ('a"; filename="b.exe', "a filename b.exe.md"),
        ("a\r\nSet-Cookie: x=y", "a Set-Cookie x y.md"),
        ("Grüße", "Grüße.md"),
        ("x" * 500, "x" * 80 + ".md"),
        ("con\u202egnp", "congnp.md"),
        ("a\\b:c|d*e", "a b c d e.md"),
    ],
)
def test_file_is_named_after_the_title(title, name):
    assert file_name(Conversation(title=title), "md") == name


def test_no_title_gets_out_of_its_header():
    made = make_conversation(visitor(), title='x"\r\nSet-Cookie: a=b\r\n\r\n<b>')
    response = export(made, "json")
    assert response["Content-Disposition"] == 'attachment; filename="x Set-Cookie a b b.json"'
    assert response["X-Content-Type-Options"] == "nosniff"
    made.title = "Grüße 日本"
    made.save()
    assert export(made, "md")["Content-Disposition"] == (
        "attachment; filename*=utf-8''Gr%C3%BC%C3%9Fe%20%E6%97%A5%E6%9C%AC.md"
    )


def test_unfinished_answer_is_said_to_be_one():
    made = make_conversation(visitor())
    state = {"status": "running", "parts": [{"type": "text", "text": "half"}]}
    text = markdown_text(made, [{"role": "assistant", "state": state}])
    assert "half\n\n*This answer is still being written.*" in text
