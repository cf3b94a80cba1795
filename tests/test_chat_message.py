"""A conversation as the server renders it: what the scripts show, for who has none."""

from __future__ import annotations

import re
from decimal import Decimal
from html import unescape

import pytest
from django.urls import reverse
from django.utils import translation

from openrouter_app.conversations.statuses import ANSWERS, CALLS
from openrouter_app.models import Message, Owner, Run
from openrouter_app.pages import messages

from .factories import make_user
from .messages import APP
from .talking import browser_of, make_conversation, reply, say

HOSTILE = "</pre></dd><script>alert(1)</script>\"'&lt;"
ESCAPED = "&lt;/pre&gt;&lt;/dd&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;lt;"


@pytest.fixture(autouse=True)
def in_english():
    """Whatever language a page before was asked for."""
    with translation.override("en"):
        yield


@pytest.fixture
def ada(db):
    return Owner.of_user(make_user())


def call(status, **fields):
    return {"type": "call", "call": "c1", "name": "change_order", "arguments": {}, "status": status, **fields}


def page_of(conversation, ada, **query):
    """What stands in the thread of its page."""
    url = reverse("openrouter_app:conversation", args=[conversation.uuid], query=query or None)
    response = browser_of(ada).get(url)
    assert response.status_code == 200
    return thread_of(response.content.decode())


def thread_of(html):
    return html.split("data-without-script>", 1)[1].split('<div class="openrouter-chat__foot">', 1)[0]


def answered(ada, *parts, status="done", **fields):
    made = make_conversation(ada)
    say(made, "Do it", "", status=status, parts=[{"type": "step"}, *parts], **fields)
    return made


def words(html):
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def cards(html):
    return [
        words(card)
        for card in re.findall(r'<section class="openrouter-part openrouter-card.*?</section>', html, re.S)
    ]


def test_each_call_says_how_far_it_came(ada):
    made = answered(
        ada,
        call("denied", arguments={"order": "7"}, reason="Not this one"),
        call("failed", error="The shop is closed"),
        call("done", output={"orders": [{"id": 7, "paid": True, "note": None}]}),
        call("cancelled"),
        call("invalid", raw='{"a":', message="That is no JSON object"),
        call("running"),
        call("brand_new"),
    )
    found = cards(page_of(made, ada))
    assert found == [
        "change_order Denied order 7 Reason: Not this one",
        "change_order Failed The shop is closed",
        'change_order Done Result { "orders": [ { "id": 7, "paid": true, "note": null } ] }',
        "change_order Cancelled",
        'change_order Not usable That is no JSON object {"a":',
        "change_order Running",
        "change_order brand_new",
    ]


@pytest.mark.parametrize(
    ("fields", "summary"),
    [
        ({"ms": 2_340}, "Thought for 2.3 s"),
        ({"ms": 61_000}, "Thought for 61 s"),
        ({"ms": 0}, "Thoughts"),
        ({"ms": "long"}, "Thoughts"),
        ({}, "Thoughts"),
    ],
)
def test_thoughts_are_folded_and_say_how_long_they_took(ada, fields, summary):
    html = page_of(answered(ada, {"type": "reasoning", "text": "Hm.", **fields}), ada)
    assert f"<summary>{summary}</summary>" in html
    assert words(html.split("<details", 1)[1].split("</details>", 1)[0]).endswith(f"{summary} Hm.")


def test_nested_values_are_json_that_people_can_read(ada):
    nested = {"to": {"street": "Größe", "floors": [1, 2]}, "gift": False, "note": "two\nlines"}
    html = page_of(answered(ada, call("done", arguments=nested, output=[])), ada)
    assert unescape(html).count('{\n  "street": "Größe",\n  "floors": [\n    1,\n    2\n  ]\n}') == 1
    assert ">false</dd>" in html
    assert ">two\nlines</dd>" in html
    assert "False" not in html
    assert "&#x27;street" not in html


@pytest.mark.parametrize("name", ["items", "keys", "get", "0", "__class__"])
def test_arguments_may_have_any_name(ada, name):
    assert cards(page_of(answered(ada, call("done", arguments={name: "here"})), ada)) == [
        f"change_order Done {name} here"
    ]


@pytest.mark.parametrize("arguments", ["text", ["a"], 7, None])
def test_arguments_that_are_no_object_break_nothing(ada, arguments):
    assert cards(page_of(answered(ada, call("cancelled", arguments=arguments)), ada))


@pytest.mark.parametrize(
    "part",
    [
        call("denied", reason=HOSTILE),
        call("failed", error=HOSTILE),
        call("failed", error={"message": HOSTILE}),
        call("done", output=HOSTILE),
        call("done", output={"a": [HOSTILE.replace('"', "")]}),
        call("invalid", raw=HOSTILE, message="no"),
        call("invalid", raw="{", message=HOSTILE),
        call("cancelled", arguments={"a": HOSTILE}),
        call("cancelled", arguments={HOSTILE: "a"}),
        call("cancelled", arguments={"a": {HOSTILE.replace('"', ""): [1]}}),
        {**call("done"), "name": HOSTILE},
        call(HOSTILE),
        {"type": "json", "value": {"a": HOSTILE.replace('"', "")}},
    ],
)
def test_hostile_words_are_text(ada, part):
    html = page_of(answered(ada, part), ada)
    assert "<script" not in html
    assert ESCAPED.replace("&quot;", "") in html.replace("&quot;", "")


def test_answer_that_came_to_no_good_end_says_so(ada):
    made = make_conversation(ada)
    say(made, "1", "Half of", status="stopped")
    say(made, "2", "x", status="interrupted", error_code="interrupted", error_message="It broke <i>off</i>.")
    say(made, "3", "x", status="interrupted")
    say(made, "4", "x", status="failed", error_code="credit", error_message=HOSTILE)
    say(made, "5", "well")
    html = page_of(made, ada)
    found = re.findall(r'<span class="openrouter-status">(.*?)</span>', html)
    assert found == ["Stopped", "Interrupted", "Interrupted", "Failed"]
    assert "It broke &lt;i&gt;off&lt;/i&gt;." in html
    assert ESCAPED in html
    assert "Half of" in html


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 earlier message was not given to the model."),
        (12, "12 earlier messages were not given to the model."),
        (0, ""),
    ],
)
def test_answer_says_what_the_model_was_not_given(ada, count, text):
    html = page_of(answered(ada, left_out=count), ada)
    found = re.findall(r'<p class="openrouter-left-out">(.*?)</p>', html)
    assert found == ([text] if text else [])


def test_answer_says_what_it_took(ada):
    made = answered(
        ada,
        model="a/<b>",
        provider="Some <i>",
        cost=Decimal("0.00123456"),
        prompt_tokens=1234,
        completion_tokens=56,
        private={"ms": 1250},
    )
    html = page_of(made, ada)
    usage = html.split('<footer class="openrouter-usage">', 1)[1].split("</footer>", 1)[0]
    assert words(usage) == (
        "Model: a/<b> Provider: Some <i> Tokens read and written: 1,234 → 56 tokens "
        "Cost: $0.00123 Time: 1.2 s Version of the chain: version 1"
    )
    assert "a/&lt;b&gt;" in usage
    Run.objects.update(cost_estimated=True)
    assert "about $0.00123" in page_of(made, ada)


@pytest.mark.parametrize("cost", [None, "", "x", "NaN", "Infinity", 1.5, {}])
def test_cost_that_is_no_number_is_no_fact(cost):
    assert messages.facts({"usage": {"cost": cost, "ms": True, "prompt_tokens": "1"}, "version": None}) == []


@pytest.mark.parametrize(
    ("cost", "shown"),
    [
        ("0", "$0"),
        ("0.00000012345", "$0.000000123"),
        ("1.999", "$2"),
        ("12345.6", "$12,300"),
        ("1E-9", "$0.000000001"),
    ],
)
def test_cost_has_three_digits_that_say_something(cost, shown):
    assert [fact.text for fact in messages.facts({"usage": {"cost": cost}})] == [shown]


@pytest.mark.parametrize(
    ("ms", "shown"), [(12, "0 s"), (2000, "2 s"), (2345, "2.3 s"), (12_345, "12 s"), (1_234_567, "1,235 s")]
)
def test_time_is_as_long_as_it_says_something(ms, shown):
    assert [fact.text for fact in messages.facts({"usage": {"ms": ms}})] == [shown]


def test_question_has_what_was_filled_in_beside_it(ada):
    made = make_conversation(ada, "hi")
    given = {"order_number": "7", "message": "hi", "note": HOSTILE, "left_empty": ""}
    Message.objects.filter(role="user").update(input=given)
    html = page_of(made, ada)
    fields = html.split('<dl class="openrouter-question__fields">', 1)[1].split("</dl>", 1)[0]
    assert re.findall(r"<dt[^>]*>(.*?)</dt>", fields) == ["Order number", "Note"]
    assert f'<dd dir="auto">{ESCAPED}</dd>' in fields
    assert "<script" not in html
    Message.objects.filter(role="user").update(input={"message": "hi"})
    assert "question__fields" not in page_of(made, ada)


@pytest.mark.parametrize("approval", ["owner", "staff"])
def test_call_that_waits_says_until_when(ada, settings, approval):
    settings.TIME_ZONE = "Europe/Berlin"
    part = call("waiting", approval=approval, expires="2027-01-05T18:30:00+00:00")
    [card] = cards(page_of(answered(ada, part), ada))
    assert card.endswith("Without a decision it is denied: Jan. 5, 2027, 7:30 p.m. CET.")


@pytest.mark.parametrize("expires", [None, "", 7, "soon", "2027-13-45T18:30:00+00:00", "2027-01-05T18:30:00"])
def test_time_that_is_none_is_not_said(expires):
    assert messages.expiry({"expires": expires}) == ""


def test_answer_that_may_succeed_another_time_says_so(ada):
    made = make_conversation(ada)
    say(made, "1", "x", status="failed", error_code="provider", error_message="Gone.", retryable=True)
    assert "Gone. Trying again may help." in words(page_of(made, ada))
    say(made, "2", "x", status="failed", error_code="credit", error_message="Nothing left.")
    assert words(page_of(made, ada)).count("Trying again may help.") == 1


def test_other_versions_of_a_message_are_linked(ada):
    made = make_conversation(ada, "hi")
    question = Message.objects.get(role="user")
    first = Message.objects.get(role="assistant")
    second, third = reply(made, question, "second"), reply(made, question, "third")
    html = page_of(made, ada)
    url = reverse("openrouter_app:conversation", args=[made.uuid])
    assert "3 / 3" in words(html)
    assert links(html) == [("prev", f"{url}?message={second.uuid}#message-{second.uuid}")]
    html = page_of(made, ada, message=second.uuid)
    assert "2 / 3" in words(html)
    assert f'id="message-{second.uuid}"' in html
    assert f'id="message-{question.uuid}"' in html
    assert [address.split("#message-")[1] for _rel, address in links(html)] == [
        str(first.uuid),
        str(third.uuid),
    ]
    assert [rel for rel, _address in links(html)] == ["prev", "next"]
    assert "re: hi" in page_of(made, ada, message=first.uuid)


def test_other_versions_of_a_question_are_linked(ada):
    made = make_conversation(ada, "hi")
    say(made, "hello", parent=None)
    html = page_of(made, ada)
    (before,) = links(html)
    assert before[0] == "prev"
    assert words(html).count("2 / 2") == 1


def links(html):
    return re.findall(r'<a class="openrouter-icon-button" rel="(\w+)" href="([^"]*)"', html)


def test_message_without_versions_has_no_links(ada):
    html = page_of(make_conversation(ada, "hi"), ada)
    assert links(html) == []
    assert "Versions" not in html


def test_words_are_those_of_the_scripts():
    said = (APP / "templates/openrouter_app/strings.html").read_text()
    for kind, known in (("call", CALLS), ("status", ANSWERS)):
        for status, word in known.items():
            assert f'<data value="{kind}.{status}">{{% translate "{word}" %}}</data>' in said
    assert set(Run.Status.values) <= set(ANSWERS)


def test_words_come_in_german(ada):
    made = answered(
        ada, call("denied", reason="Nein"), left_out=12, private={"ms": 1250}, cost=Decimal("0.5")
    )
    url = reverse("openrouter_app:conversation", args=[made.uuid])
    html = thread_of(browser_of(ada).get(url, headers={"Accept-Language": "de"}).content.decode())
    assert "Abgelehnt" in html
    assert "0,5 $" in html
    assert "1,2 s" in html
