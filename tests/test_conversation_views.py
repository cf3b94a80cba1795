"""Conversations over HTTP: their pages, the list, what scripts get, and what people change."""

from __future__ import annotations

import asyncio
import json

import pytest
from django.test import AsyncClient, Client
from django.urls import reverse
from django.utils import timezone

from openrouter_app.conversations.listing import Page, page_of
from openrouter_app.models import Chain, Conversation, Message, Owner, Run, RunEvent

from .factories import make_user
from .talking import browser_of, make_chat, make_conversation, reply, say, visitor

pytestmark = pytest.mark.django_db
JSON = {"Accept": "application/json"}


def url(name, *args, **query):
    return reverse(f"openrouter_app:{name}", args=args, query=query or None)


@pytest.fixture
def ada():
    return Owner.of_user(make_user())


def listed(client, **query):
    response = client.get(url("conversation-list"), query)
    assert response.status_code == 200
    return [row["title"] for row in response.json()["conversations"]]


def test_page_of_a_conversation_shows_what_was_said(ada):
    made = make_conversation(ada, "Why is the <b>sky</b> blue?")
    html = browser_of(ada).get(url("conversation", made.uuid)).content.decode()
    assert "Why is the &lt;b&gt;sky&lt;/b&gt; blue?" in html
    assert "<b>sky" not in html
    assert f'conversation="{made.uuid}"' in html


def test_pages_with_conversations_are_kept_by_nobody(ada):
    made = make_conversation(ada, "hi")
    client = browser_of(ada)
    for address in (
        url("chain", "chat"),
        url("chat", "chat"),
        url("conversation", made.uuid),
        url("conversations"),
        url("conversation-list"),
        url("conversation-data", made.uuid),
        url("conversation-export-json", made.uuid),
        url("conversation-export-md", made.uuid),
    ):
        response = client.get(address)
        assert response.status_code == 200
        assert {"private", "no-store"} <= set(response["Cache-Control"].split(", ")), address


def test_data_is_what_the_element_shows(ada):
    made = make_conversation(ada, "hi")
    data = browser_of(ada).get(url("conversation-data", made.uuid)).json()
    assert set(data) == {"conversation", "title", "chain", "head", "run", "messages"}
    question, answer = data["messages"]
    assert (question["role"], question["text"]) == ("user", "hi")
    assert answer["role"] == "assistant"
    assert answer["state"]["status"] == "done"
    assert answer["run"] == str(Run.objects.get().uuid)


def test_anonymous_visitor_keeps_his_for_the_session():
    made = make_conversation(visitor(1), "hi")
    assert browser_of(visitor(1)).get(url("conversation", made.uuid)).status_code == 200
    assert listed(browser_of(visitor(1))) == ["hi"]
    assert listed(browser_of(visitor(2))) == []
    assert listed(Client()) == []


def test_nobodys_list_is_empty_and_asks_for_nothing(django_assert_num_queries):
    make_conversation(visitor(1), "hi")
    with django_assert_num_queries(0):
        assert page_of(None, query="hi") == Page([], more=False)


def test_looking_around_makes_no_visitor_id():
    client = Client()
    for address in (url("conversations"), url("conversation-list"), url("conversation", "x")):
        client.get(address)
    assert "openrouter_visitor" not in client.session


def test_list_has_the_newest_first_and_says_where_an_answer_is_being_written(ada):
    old = make_conversation(ada, "old")
    make_conversation(ada, "new")
    say(old, "more", status="queued", deadline=timezone.now())
    rows = browser_of(ada).get(url("conversation-list")).json()["conversations"]
    assert [(row["title"], row["running"]) for row in rows] == [("new", False), ("old", True)]
    assert rows[0]["url"] == url("conversation", rows[0]["conversation"])
    assert rows[0]["chain"] == "chat"
    Conversation.objects.filter(pk=old.pk).update(updated=timezone.now() + timezone.timedelta(seconds=5))
    html = browser_of(ada).get(url("conversations")).content.decode()
    assert html.index(">old<") < html.index(">new<")
    assert html.count("Answering") == 1


def test_list_of_one_chain(ada):
    make_conversation(ada, "here")
    make_conversation(ada, "there", chain=make_chat("other"))
    assert listed(browser_of(ada), chain="other") == ["there"]
    assert listed(browser_of(ada), chain="no\x00ne") == []


def test_list_comes_in_pages(ada):
    for number in range(35):
        make_conversation(ada, title=f"n{number}")
    client = browser_of(ada)
    first, second = (client.get(url("conversation-list"), {"page": page}).json() for page in (1, 2))
    assert (len(first["conversations"]), first["more"]) == (30, True)
    assert (len(second["conversations"]), second["more"]) == (5, False)
    assert first["conversations"][0]["title"] == "n34"
    assert second["conversations"][-1]["title"] == "n0"
    assert 'rel="next"' in client.get(url("conversations")).content.decode()
    assert 'rel="prev"' in client.get(url("conversations"), {"page": 2}).content.decode()
    for wrong in ("0", "-1", "x", "9" * 30, "²"):
        assert client.get(url("conversation-list"), {"page": wrong}).status_code == 200


@pytest.mark.parametrize("query", ["", "again"])
@pytest.mark.parametrize("count", [1, 25])
def test_list_asks_a_fixed_number_of_queries(ada, django_assert_num_queries, count, query):
    for number in range(count):
        make_conversation(ada, f"say it again {number}")
    client = browser_of(ada)
    # the session, the user, the list; where words are looked for also the texts of questions and answers,
    # and whether more conversations follow
    with django_assert_num_queries(3 if not query else 6):
        assert len(listed(client, q=query)) == count


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("sky", ["sky"]),
        ("SKY blue", ["sky"]),
        ("Rayleigh", ["sky"]),
        ("bread rayleigh", []),
        ("grüße", ["Grüße aus Köln"]),
        ("köln", ["Grüße aus Köln"]),
        ("привет", ["cyrillic"]),
        ("100%", ["percent"]),
        ("%", ["percent"]),
        ("_", ["snake"]),
        ("a\\b", ["backslash"]),
        ('"quoted"', ["backslash"]),
        ("message", []),
        ("text", []),
        ("step", []),
        ("\\u00fc", []),
        ("'; DROP TABLE openrouter_app_conversation; --", []),
        ("\x00\x01", ["sky", "Grüße aus Köln", "cyrillic", "percent", "snake", "backslash"]),
    ],
)
def test_search_finds_what_was_said_and_nothing_else(ada, query, found):
    for title, said, answer in (
        ("backslash", 'a\\b "quoted"', "yes"),
        ("snake", "snake_case", "no"),
        ("percent", "what is 100% of it", "it"),
        ("cyrillic", "Привет", "мир"),
        ("Grüße aus Köln", "hallo", "hallo"),
        ("sky", "why is it blue", "Because of Rayleigh"),
    ):
        made = make_conversation(ada, title=title)
        say(made, said, answer)
    assert listed(browser_of(ada), q=query) == found


def test_search_reads_answers_that_broke_off_and_no_arguments(ada):
    made = make_conversation(ada, title="t")
    parts = [
        {"type": "text", "text": "a unicorn came"},
        {"type": "call", "call": "c", "name": "zebra", "arguments": {"x": "giraffe"}, "status": "done"},
    ]
    say(made, "hi", status="interrupted", parts=parts)
    assert listed(browser_of(ada), q="unicorn") == ["t"]
    assert listed(browser_of(ada), q="giraffe") == []


def test_others_are_never_found(ada):
    make_conversation(visitor(), "a secret word")
    assert listed(browser_of(ada), q="secret") == []


def test_rename(ada):
    made = make_conversation(ada, "hi")
    client = browser_of(ada)
    response = client.post(url("conversation-rename", made.uuid), {"title": " My\n own\u202e title "})
    assert response["Location"] == url("conversation", made.uuid)
    made.refresh_from_db()
    assert made.title == "My own title"
    response = client.post(url("conversation-rename", made.uuid), {"title": "x" * 5_000}, headers=JSON)
    assert response.json() == {"conversation": str(made.uuid), "title": "x" * 200}


def test_rename_to_nothing_is_refused_with_a_sentence(ada):
    made = make_conversation(ada, "hi")
    client = browser_of(ada)
    response = client.post(url("conversation-rename", made.uuid), {"title": " \u200e "}, headers=JSON)
    assert response.status_code == 400
    assert response.json()["error"] == {"code": "invalid_input", "message": "Write a title."}
    response = client.post(url("conversation-rename", made.uuid), {"title": ""})
    assert response.status_code == 400
    assert "Write a title." in response.content.decode()
    made.refresh_from_db()
    assert made.title == "hi"


def test_head_moves_to_the_newest_end_below_a_message(ada):
    made = make_conversation(ada, "one")
    first = made.head
    second = reply(made, first.parent, "again")
    client = browser_of(ada)
    response = client.post(url("conversation-head", made.uuid), {"message": first.uuid}, headers=JSON)
    assert response.json() == {"conversation": str(made.uuid), "head": str(first.uuid)}
    made.refresh_from_db()
    assert made.head == first
    response = client.post(url("conversation-head", made.uuid), {"message": first.parent.uuid})
    assert response.status_code == 302
    made.refresh_from_db()
    assert made.head == second


def with_texts():
    """Runs that hold something of what was said; of one that was stopped the figures may stay."""
    return Run.objects.exclude(input={}, parts=[], private={}, output=None, conversation=None, message=None)


@pytest.mark.django_db(transaction=True)
def test_delete_takes_everything_with_it(ada):
    made, other = make_conversation(ada, "one", "two"), make_conversation(ada, "other")
    client = browser_of(ada)
    response = client.post(url("conversation-delete", made.uuid))
    assert response["Location"] == url("conversations")
    assert list(Conversation.objects.all()) == [other]
    assert Message.objects.count() == 2
    assert Run.objects.count() == 1
    assert client.get(url("conversation", made.uuid)).status_code == 404
    assert client.post(url("conversation-delete", made.uuid)).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_delete_of_many_messages_at_once(ada):
    made = make_conversation(ada)
    above = None
    for number in range(1_500):
        above = Message.objects.create(conversation=made, parent=above, role="user", input={"n": str(number)})
    browser_of(ada).post(url("conversation-delete", made.uuid))
    assert not Message.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", ["queued", "waiting"])
def test_delete_ends_what_nobody_executes(ada, status):
    made = make_conversation(ada, "one")
    say(made, "two", status=status, deadline=timezone.now() + timezone.timedelta(seconds=60))
    assert browser_of(ada).post(url("conversation-delete", made.uuid)).status_code == 302
    assert not Conversation.objects.exists()
    assert not Run.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_delete_waits_for_no_process_that_is_dead(ada, monkeypatch):
    from openrouter_app import changing

    monkeypatch.setattr(changing, "PATIENCE", 0.1)
    made = make_conversation(ada, "one")
    lease = timezone.now() + timezone.timedelta(seconds=60)
    say(made, "two", status="running", lease_until=lease, owner_process="process.gone")
    assert browser_of(ada).post(url("conversation-delete", made.uuid)).status_code == 302
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    "next", ["//evil.example", "https:evil", "/\\evil.example", "javascript:alert(1)", ""]
)
def test_a10_form_leads_back_to_this_site_only(ada, next):
    made = make_conversation(ada, "hi")
    client = browser_of(ada)
    response = client.post(url("conversation-rename", made.uuid), {"title": "x", "next": next})
    assert response["Location"] == url("conversation", made.uuid)
    response = client.post(
        url("conversation-rename", made.uuid), {"title": "x", "next": "/conversations/?q=a"}
    )
    assert response["Location"] == "/conversations/?q=a"


CHANGES = ("conversation-rename", "conversation-delete", "conversation-head")


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_posted_with_a_token(ada, name):
    made = make_conversation(ada, "hi")
    client = browser_of(ada, enforce_csrf_checks=True)
    data = {"title": "new", "message": made.head.uuid}
    assert client.get(url(name, made.uuid)).status_code == 405
    assert client.post(url(name, made.uuid), data).status_code == 403
    made.refresh_from_db()
    assert made.title == "hi"


@pytest.mark.parametrize(("name", "args"), [("send", ["chat"]), ("decide", ["x"])])
def test_sending_is_posted_with_a_token(ada, name, args):
    make_chat()
    client = browser_of(ada, enforce_csrf_checks=True)
    assert client.get(url(name, *args)).status_code == 405
    assert client.post(url(name, *args), {"message": "hi"}).status_code == 403
    assert not Run.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_whose_access_ended_still_reads_exports_and_deletes(ada):
    made = make_conversation(ada, "hi")
    Chain.objects.update(access="staff")
    client = browser_of(ada)
    assert client.get(url("chain", "chat")).status_code == 404
    html = client.get(url("conversation", made.uuid)).content.decode()
    assert "hi" in html
    assert json.loads(html.split("data-config>")[1].split("</script>")[0])["may_send"] is False
    assert url("send", "chat") not in html.split("data-config>")[1].split("</script>", 1)[1]
    for name in ("conversation-data", "conversation-export-json", "conversation-export-md"):
        assert client.get(url(name, made.uuid)).status_code == 200
    assert listed(client) == ["hi"]
    response = client.post(url("send", "chat"), {"conversation": made.uuid, "message": "more"})
    assert response.status_code == 403
    assert "more" in response.content.decode() or "You may not run this chain." in response.content.decode()
    assert Run.objects.count() == 1
    assert client.post(url("conversation-delete", made.uuid)).status_code == 302
    assert not Conversation.objects.exists()


@pytest.mark.django_db(transaction=True)
async def test_delete_stops_what_is_being_written_and_it_stays_deleted(provider):
    from openrouter_app import runs
    from openrouter_app.database import in_database_thread
    from openrouter_app.runs import Start

    await in_database_thread(make_chat)()
    provider.stall("Hel", seconds=60)
    owner = visitor()
    run = await runs.start(
        Start(owner, chain="chat", input={"message": "hi"}, conversation="new", origin="websocket")
    )
    made = await Conversation.objects.aget()
    await asyncio.sleep(0.2)
    client = AsyncClient()
    client.cookies = (await in_database_thread(browser_of)(owner)).cookies
    begun = asyncio.get_running_loop().time()
    response = await client.post(url("conversation-delete", made.uuid))
    assert response.status_code == 302
    assert asyncio.get_running_loop().time() - begun < 2
    assert not runs.is_executing(run)
    await asyncio.sleep(0.3)  # a flush and more
    for rows in (Conversation.objects, Message.objects, with_texts(), RunEvent.objects):
        assert await rows.acount() == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("after", [0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12])
async def test_delete_in_the_moment_an_answer_ends_leaves_nothing_and_breaks_nothing(provider, caplog, after):
    from openrouter_app import runs
    from openrouter_app.database import in_database_thread
    from openrouter_app.runs import Start

    await in_database_thread(make_chat)()
    await in_database_thread(make_conversation)(visitor(2), "of somebody else")
    provider.reply("a", "b", "c", delay=0.02)
    owner = visitor()
    start = Start(owner, chain="chat", input={"message": "hi"}, conversation="new", origin="websocket")
    run = await runs.start(start)
    made = await Conversation.objects.aget(visitor=owner.visitor)
    client = AsyncClient()
    client.cookies = (await in_database_thread(browser_of)(owner)).cookies
    await asyncio.sleep(after)
    with caplog.at_level("WARNING", "openrouter_app"):
        response = await client.post(url("conversation-delete", made.uuid))
        assert response.status_code == 302
        await asyncio.sleep(0.2)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
    assert not runs.is_executing(run)
    assert await Conversation.objects.acount() == 1
    assert await Message.objects.acount() == 2
    assert await with_texts().acount() == 1
    assert await RunEvent.objects.acount() == 0


@pytest.mark.django_db(transaction=True)
async def test_message_sent_while_the_conversation_is_deleted_is_refused_or_goes_with_it(provider):
    from openrouter_app import runs
    from openrouter_app.database import in_database_thread
    from openrouter_app.runs import Refused, Start

    await in_database_thread(make_chat)()
    owner = visitor()
    for _ in range(5):
        made = await in_database_thread(make_conversation)(owner, "hi")
        provider.default = None
        provider.reply("x", "y", delay=0.02)
        client = AsyncClient()
        client.cookies = (await in_database_thread(browser_of)(owner)).cookies
        start = Start(owner, chain="chat", input={"message": "more"}, conversation=made.uuid)
        sent, deleted = await asyncio.gather(
            runs.start(start), client.post(url("conversation-delete", made.uuid)), return_exceptions=True
        )
        assert deleted.status_code == 302
        assert not isinstance(sent, Exception) or (isinstance(sent, Refused) and sent.code == "not_found")
        assert await Conversation.objects.acount() == 0
        assert await with_texts().acount() == 0
        provider.clear()


def test_a37_words_that_turn_their_neighbours_are_isolated_on_pages(ada):
    made = make_conversation(ada, title="\u202eevil\u202c")
    say(made, "\u202eturned", "\u202eanswer")
    client = browser_of(ada)
    html = client.get(url("conversations")).content.decode()
    assert "<bdi>\u202eevil\u202c</bdi>" in html
    page = client.get(url("conversation", made.uuid)).content.decode()
    readable = page.split("data-without-script>", 1)[1]
    for word in ("turned", "answer"):
        before = readable[: readable.index(f"\u202e{word}")]
        assert before.rstrip().endswith(('dir="auto">', "<bdi>")), word


def test_a4_page_of_somebody_who_signed_out_shows_nothing(ada):
    made = make_conversation(ada, "private words")
    client = browser_of(ada)
    assert client.get(url("conversation", made.uuid)).status_code == 200
    client.logout()
    for name in ("conversation", "conversation-data", "conversation-export-json", "conversation-export-md"):
        response = client.get(url(name, made.uuid))
        assert response.status_code == 404
        assert b"private words" not in response.content
    assert listed(client) == []


def test_a37_halves_of_characters_and_nul_reach_no_page(ada):
    half = "x\ud800\x00"
    made = make_conversation(ada, title="t")
    call = {
        "type": "call",
        "call": "c",
        "name": half,
        "arguments": {half: half},
        "status": "done",
        "output": half,
    }
    parts = [
        {"type": "step"},
        {"type": "reasoning", "text": half, "ms": 3},
        {"type": "text", "text": half},
        call,
        {"type": "json", "value": {half: [half]}},
    ]
    say(made, half, status="failed", parts=parts, error_message=half, error_code="provider")
    client = browser_of(ada)
    for name in ("conversation", "conversation-data", "conversation-export-json", "conversation-export-md"):
        response = client.get(url(name, made.uuid))
        assert response.status_code == 200
        assert b"\x00" not in response.content
        assert b"ud800" not in response.content
