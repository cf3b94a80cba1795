"""The pages: who sees which chain, what the form asks for, and that nothing secret stands in them."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.template.loader import render_to_string
from django.test import Client
from django.urls import include, path
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

import openrouter_app
from openrouter_app.models import Chain, ChainVersion, Owner, Run
from openrouter_app.pages.fields import Field, fields

from .factories import make_chain, make_user

APP = Path(openrouter_app.__file__).parent
MODULES = sorted((APP / "static" / "openrouter_app" / "js").rglob("*.js"))

urlpatterns = [path("ask/", include("openrouter_app.urls"))]
"""The app below a prefix, in a site without an admin and without a page to sign in."""

pytestmark = pytest.mark.django_db


def page(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def config_of(html: str) -> Any:
    found = re.search(r'<script id="openrouter-config" type="application/json">(.*?)</script>', html)
    assert found
    return json.loads(found[1])


@pytest.fixture
def every_chain() -> None:
    for access in Chain.Access.values:
        make_chain(access, access=access)
    make_chain("draft", publish=False)
    make_chain("off", enabled=False)


@pytest.mark.usefixtures("every_chain")
@pytest.mark.parametrize(
    ("who", "seen"),
    [
        ({}, {"public"}),
        ({"is_active": True}, {"public", "authenticated"}),
        ({"is_staff": True}, {"public", "authenticated", "staff"}),
    ],
)
def test_a_visitor_sees_the_chains_he_may_run(client: Client, who: dict[str, bool], seen: set[str]) -> None:
    if who:
        client.force_login(make_user(**who))
    assert set(re.findall(r'href="/chains/([\w-]+)/"', page(client, "/"))) == seen
    for slug in ["public", "authenticated", "staff", "draft", "off"]:
        assert (client.get(f"/chains/{slug}/").status_code == 200) is (slug in seen)


@pytest.mark.usefixtures("every_chain")
def test_a_chain_that_is_not_for_this_visitor_is_not_there(client: Client) -> None:
    for slug in ["staff", "draft", "off", "missing"]:
        assert client.get(f"/chains/{slug}/").status_code == 404


@pytest.mark.usefixtures("every_chain")
def test_a_stranger_is_asked_to_sign_in_where_that_helps(client: Client) -> None:
    response = client.get("/chains/authenticated/?a=1")
    assert response.status_code == 302
    assert response["Location"] == "/admin/login/?next=/chains/authenticated/%3Fa%3D1"


def test_the_fields_are_those_of_the_published_version(client: Client) -> None:
    chain = make_chain(
        "translate", ("system", "To {output_language}."), ("human", "{text} {output_language}")
    )
    chain.prompt.rows.update(text="{changed}")
    html = page(client, "/chains/translate/")
    assert re.findall(r'<textarea [^>]*name="([^"]+)"', html) == ["output_language", "text"]
    assert ">Output language</label>" in html
    assert "changed" not in html


def test_examples_fill_the_fields(client: Client) -> None:
    chain = make_chain("joke", ("human", "{foo} {number} {note} {other}"))
    chain.prompt.example_input = {"foo": "\n<b>bears</b>", "number": 5, "note": "", "gone": "x"}
    chain.prompt.save()
    html = page(client, "/chains/joke/")
    # The parser of a browser drops the first newline of a textarea; the example's own stays.
    assert re.findall(r"<textarea[^>]*>(.*?)</textarea>", html, re.DOTALL) == [
        "\n\n&lt;b&gt;bears&lt;/b&gt;",
        "\n5",
        "\n",
        "\n",
    ]
    required = [" required" in field for field in re.findall(r"<textarea[^>]*>", html)]
    assert required == [True, True, False, True]


def test_a_placeholder_is_no_field() -> None:
    version = ChainVersion(body={"messages": [["messages_placeholder", "history"], ["human", "{text}"]]})
    assert list(fields(version, {})) == [Field("text", "", required=True)]


@pytest.mark.parametrize(
    ("name", "label"), [("input_language", "Input language"), ("a.b", "A.b"), ("_", "_"), ("ß", "SS")]
)
def test_a_label_is_the_name_as_one_writes_it(name: str, label: str) -> None:
    assert Field(name, "", required=True).label == label


def test_the_page_says_nothing_of_the_prompt(client: Client) -> None:
    """A33: what the model is told stays on the server."""
    make_chain("secret", ("system", "The canary sings {text}"), ("human", "{text}"), model="vendor/canary")
    html = page(client, "/chains/secret/")
    assert "canary" not in html
    assert config_of(html) == {
        "chain": "secret",
        "socket": "/ws/openrouter/",
        "unfinished": None,
        "account": None,
    }


def test_the_socket_is_where_the_settings_put_it(client: Client, settings: Any) -> None:
    settings.OPENROUTER = {"WEBSOCKET_PATH": "/elsewhere/"}
    make_chain("echo")
    assert config_of(page(client, "/chains/echo/"))["socket"] == "/elsewhere/"


def test_what_staff_wrote_is_text(client: Client) -> None:
    hostile = "</script><img src=x onerror=alert(1)>"
    make_chain("echo", ("human", "{<b>}"), title=hostile, description=hostile)
    for html in [page(client, "/"), page(client, "/chains/echo/")]:
        assert "<img" not in html
        assert "&lt;img" in html


def test_an_anonymous_visitor_gets_an_id_that_stays(client: Client) -> None:
    make_chain("echo")
    page(client, "/chains/echo/")
    visitor = client.session["openrouter_visitor"]
    assert str(UUID(visitor)) == visitor
    page(client, "/chains/echo/")
    assert client.session["openrouter_visitor"] == visitor


def make_run(chain: Chain, owner: Owner, status: str, **fields: Any) -> Run:
    run = {"origin": Run.Origin.WEBSOCKET, "ended": timezone.now() if status in Run.FINAL else None, **fields}
    return Run.objects.create(
        chain=chain,
        version=chain.published,
        user_id=owner.user_id,
        visitor=owner.visitor,
        status=status,
        **run,
    )


def unfinished(client: Client, slug: str = "echo") -> str | None:
    named: str | None = config_of(page(client, f"/chains/{slug}/"))["unfinished"]
    return named


def test_a_page_names_the_visitors_newest_unfinished_run_of_its_chain(client: Client) -> None:
    chain, other = make_chain("echo"), make_chain("other")
    assert unfinished(client) is None
    owner = Owner.of_visitor(UUID(client.session["openrouter_visitor"]))
    make_run(chain, owner, "running")
    newest = make_run(chain, owner, "queued")
    make_run(chain, owner, "done")
    assert unfinished(client) == str(newest.uuid)
    assert unfinished(client, "other") is None
    make_run(other, owner, "waiting")
    assert unfinished(client) == str(newest.uuid)
    Run.objects.update(status="interrupted", ended=newest.created)
    assert unfinished(client) is None


def test_another_visitors_run_is_not_named(client: Client) -> None:
    chain, user = make_chain("echo"), make_user()
    for owner in (Owner.of_visitor(uuid4()), Owner.of_user(user), Owner.system()):
        make_run(chain, owner, "running")
    assert unfinished(client) is None
    client.force_login(make_user("bob"))
    assert unfinished(client) is None


def test_a_user_finds_his_run_on_another_device(client: Client) -> None:
    chain, user = make_chain("echo"), make_user()
    run = make_run(chain, Owner.of_user(user), "running")
    client.force_login(user)
    assert unfinished(client) == str(run.uuid)


@pytest.mark.parametrize("origin", set(Run.Origin) - {Run.Origin.WEBSOCKET})
def test_what_no_page_has_started_takes_no_page_over(client: Client, origin: str) -> None:
    user = make_user()
    make_run(make_chain("echo"), Owner.of_user(user), "queued", origin=origin)
    client.force_login(user)
    assert unfinished(client) is None


def test_the_index_and_a_user_need_no_visitor_id(client: Client) -> None:
    make_chain("echo")
    page(client, "/")
    assert "openrouter_visitor" not in client.session
    client.force_login(make_user())
    page(client, "/chains/echo/")
    assert "openrouter_visitor" not in client.session


@pytest.mark.parametrize("count", [1, 10])
def test_the_index_asks_a_fixed_number_of_queries(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries, count: int
) -> None:
    for number in range(count):
        make_chain(f"chain-{number}")
    with django_assert_num_queries(2):
        html = page(client, "/")
    assert html.count("openrouter-tile") == count
    client.force_login(make_user(is_staff=True, is_superuser=True))
    with django_assert_num_queries(4):  # and the session and the user
        page(client, "/")


def test_staff_find_the_way_to_the_admin(client: Client) -> None:
    chain = make_chain("echo")
    edit = f"/admin/openrouter_app/chain/{chain.pk}/change/"
    assert edit not in page(client, "/chains/echo/")
    client.force_login(make_user(is_staff=True, is_superuser=True))
    html = page(client, "/chains/echo/")
    assert edit in html
    assert 'action="/admin/logout/"' in html
    assert "Sign in" not in html


def test_nobody_has_published_anything(client: Client) -> None:
    assert "There may be chains for people who are signed in." in page(client, "/")
    client.force_login(make_user(is_staff=True))
    assert "Make a chain in the admin" in page(client, "/")


def test_the_app_stands_in_a_site_of_its_own(client: Client, settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.LOGIN_URL = "/accounts/login/"
    make_chain("echo")
    assert 'href="/ask/chains/echo/"' in page(client, "/ask/")
    html = page(client, "/ask/chains/echo/")
    assert "Sign in" not in html
    client.force_login(make_user(is_staff=True, is_superuser=True))
    assert "admin" not in page(client, "/ask/chains/echo/")


def test_only_reading_is_answered(client: Client) -> None:
    make_chain("echo")
    assert client.head("/chains/echo/").status_code == 200
    assert client.post("/").status_code == client.post("/chains/echo/").status_code == 405


@pytest.mark.parametrize(("language", "start"), [("en", "ltr"), ("ar", "rtl")])
def test_the_page_names_its_language(client: Client, language: str, start: str) -> None:
    response = client.get("/", headers={"Accept-Language": language})
    assert f'<html lang="{language}" dir="{start}">' in response.content.decode()


class _Inline(HTMLParser):
    """Collects what the Content-Security-Policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [f"{tag} {name}" for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (
            tag == "script" and "src" not in given and given.get("type") != "application/json"
        ):
            self.found.append(tag)
        for name in ("src", "href", "action"):
            if (given.get(name) or "/").startswith(("http", "//", "data:", "javascript:")):
                self.found.append(f"{tag} {name}={given[name]}")


def test_nothing_stands_inline_and_nothing_comes_from_elsewhere(client: Client) -> None:
    make_chain("echo")
    client.force_login(make_user(is_staff=True, is_superuser=True))
    for url in ["/", "/chains/echo/"]:
        parser = _Inline()
        parser.feed(page(client, url))
        assert parser.found == []


def test_the_modules_import_only_each_other() -> None:
    for module in MODULES:
        source = module.read_text()
        for target in re.findall(r'\bfrom "([^"]+)"', source):
            assert target.startswith(".")
            assert (module.parent / target).resolve() in MODULES
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", source
        )
        # What the server has rendered enters the page in two places: a block of text, and the content of
        # an element that stands alone.
        places = ("rendered-text.js", "openrouter-chat.js")
        assert found == (["innerHTML"] if module.name in places else [])
        assert len(source.splitlines()) <= 300


def test_every_word_the_modules_say_is_in_the_template() -> None:
    words = set(re.findall(r'<data value="([^"]+)">', render_to_string("openrouter_app/strings.html")))
    said = set()
    for module in MODULES:
        said |= set(re.findall(r'strings\.text\("([^"]+)"', module.read_text()))
    statuses = ["queued", "running", "waiting", "done", "stopped", "failed", "interrupted"]
    calls = ["writing", "ready", "invalid", "approved", "denied", "cancelled", *statuses[1:4], "failed"]
    sockets = ["closed", "connecting", "ready", "waiting", "outdated", "signed-out"]
    said |= {f"status.{status}" for status in ["sending", "stopping", *statuses]}
    said |= {f"call.{status}" for status in calls}
    said |= {f"connection.{status}" for status in sockets} | {"banner.outdated", "banner.signed-out"}
    said |= {f"usage.{fact}" for fact in ["model", "provider", "tokens", "cost", "time", "version"]}
    said |= {"error", "error.busy", "error.limit", "error.too_large", "advice.retry", "advice.busy"}
    assert len(said) > 40
    assert said <= words
