"""The demo site: its data, who answers, which names it listens to, and that one command starts it all."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.http import HttpResponse

from openrouter_app.engine.client import httpx
from openrouter_app.models import Chain, ChainVersion, PromptRow, PromptTemplate, ToolSpec
from openrouter_app.testing import DEFAULT_MODELS
from project import demo_data, demo_orders, hosts, providers
from project.csp import POLICY, ContentSecurityPolicyMiddleware
from project.demo_data import EXAMPLES
from project.models import Order

ROOT = Path(__file__).resolve().parent.parent


def seed():
    out = StringIO()
    call_command("seed_demo", stdout=out)
    return out.getvalue()


# Data


@pytest.mark.django_db
def test_chains_of_the_documentation_are_public_and_published():
    seed()
    bodies = {chain.slug: chain.published.body for chain in Chain.objects.visible_to(None)}
    assert set(bodies) == {"translate", "count", "joke", "chat"}
    assert bodies["translate"]["messages"] == [
        ["system", "You are a helpful assistant that translates {input_language} to {output_language}."],
        ["human", "{text}"],
    ]
    assert bodies["count"]["messages"] == [
        [
            "system",
            "You are a helpful assistant that replies only with numbers in order "
            "without any spaces or commas",
        ],
        ["human", "List the numbers from 1 to {max_num}"],
    ]
    assert bodies["joke"]["messages"] == [["human", "tell me a long joke about {foo}"]]
    assert bodies["joke"]["tool_choice"] == {"forced": "joke"}
    (tool,) = bodies["joke"]["tools"]
    assert tool["schema"]["required"] == ["setup", "punchline"]
    assert [body["model"] for _, body in sorted(bodies.items())] == [
        "openai/gpt-4o-mini",
        "mistralai/mistral-small",
        "openai/gpt-4o",
        "mistralai/mistral-small",
    ]
    assert ["messages_placeholder", "history"] in bodies["chat"]["messages"]
    assert bodies["chat"]["history"]["variable"] == "message"
    assert [(tool["handler"], tool["approval"]) for tool in bodies["chat"]["tools"]] == [
        ("change_delivery_date", "owner"),
        ("find_orders", "none"),
    ]


@pytest.mark.django_db
def test_examples_fill_exactly_the_variables():
    seed()
    for prompt in PromptTemplate.objects.all():
        assert set(prompt.example_input) == set(prompt.variables)


@pytest.mark.django_db
def test_seeding_again_keeps_every_edit_and_says_nothing(settings):
    settings.DEBUG = True
    assert "translate, count, joke, chat" in seed()
    PromptRow.objects.filter(template__slug="joke").update(text="edited {foo}")
    Chain.objects.filter(slug="count").update(title="Edited", enabled=False)
    ToolSpec.objects.filter(name="find_orders").update(description="Edited")
    Order.objects.filter(number=1004).update(delivery_date="2020-01-01")
    Order.objects.filter(number=1001).delete()
    kept = (Chain, PromptRow, ToolSpec, Order)
    before = [list(model.objects.values()) for model in kept], ChainVersion.objects.count()
    assert seed() == ""
    assert before == ([list(model.objects.values()) for model in kept], ChainVersion.objects.count())


@pytest.mark.django_db
def test_what_is_missing_is_made_again():
    seed()
    chain = Chain.objects.get(slug="joke")
    Chain.objects.filter(pk=chain.pk).update(slug="my-joke")
    assert seed() == "Made the chains joke.\n"
    assert Chain.objects.get(slug="joke").prompt == chain.prompt


@pytest.mark.django_db
def test_a_demo_from_before_the_chat_gets_it_and_keeps_the_rest(monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(demo_data, "EXAMPLES", EXAMPLES[:3])
        before.setattr(demo_orders, "ORDERS", [])
        assert "translate, count, joke." in seed()
    Chain.objects.filter(slug="joke").update(title="Mine")
    assert seed() == "Made the chains chat, let-users-pay.\nMade 9 orders of a small shop.\n"
    assert Chain.objects.get(slug="joke").title == "Mine"
    assert Chain.objects.get(slug="chat").published.number == 1


@pytest.mark.django_db
def test_a_chain_that_meets_a_prompt_of_its_name_is_made_all_the_same_and_said_to_be_unpublished():
    PromptTemplate.objects.create(slug="chat").rows.create(position=1, role="human", text="{mine}")
    said = seed()
    assert "Made the chains translate, count, joke, let-users-pay.\n" in said
    assert "Made the chains chat, but could not publish them" in said
    assert Chain.objects.get(slug="chat").published is None


@pytest.mark.django_db
def test_staff_user_has_the_known_password_only_with_debug(settings):
    settings.DEBUG = True
    assert "demo, password: demo" in seed()
    assert get_user_model().objects.get().check_password("demo")
    assert get_user_model().objects.get().is_superuser


@pytest.mark.django_db
def test_without_debug_the_password_is_random_and_shown_once(settings):
    settings.DEBUG = False
    password = re.search(r"password: (\S+)", seed()).group(1)
    user = get_user_model().objects.get(username="demo")
    assert len(password) >= 16
    assert user.check_password(password)
    assert seed() == ""


@pytest.mark.django_db
def test_known_password_does_not_survive_the_first_start_without_debug(settings):
    settings.DEBUG = True
    seed()
    settings.DEBUG = False
    assert "password: " in seed()
    assert not get_user_model().objects.get().check_password("demo")


@pytest.mark.django_db
def test_a_password_somebody_chose_is_never_touched(settings):
    settings.DEBUG = True
    seed()
    user = get_user_model().objects.get()
    user.set_password("chosen")
    user.save()
    for settings.DEBUG in (True, False):
        assert seed() == ""
        assert get_user_model().objects.get().check_password("chosen")


def test_there_are_five_examples():
    slugs = [example.slug for example in EXAMPLES]
    assert slugs == ["translate", "count", "joke", "chat", "let-users-pay"]


@pytest.mark.django_db
def test_one_chain_is_paid_by_whoever_has_signed_in():
    seed()
    chain = Chain.objects.get(slug="let-users-pay")
    assert (chain.payer, chain.access) == ("user", "authenticated")
    assert chain.published is not None


# Who answers


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "fake"),
        ({"OPENROUTER_API_KEY": "", "OPENROUTER_BASE_URL": ""}, "fake"),
        ({"OPENROUTER_API_KEY": "k"}, "openrouter"),
        ({"OPENROUTER_BASE_URL": "http://127.0.0.1:1/v1"}, "server"),
        ({"OPENROUTER_BASE_URL": "http://127.0.0.1:1/v1", "OPENROUTER_API_KEY": "k"}, "server"),
        ({"MODEL": "local", "OPENROUTER_API_KEY": "k"}, "local"),
    ],
)
def test_provider_follows_the_environment(environment, name):
    provider = providers.choose(environment)
    assert provider.name == name
    assert (provider.command is not None) == (name in {"fake", "local"})


def test_key_never_goes_to_the_local_model():
    assert providers.choose({"MODEL": "local", "OPENROUTER_API_KEY": "k"}).environment == {
        "OPENROUTER_API_KEY": ""
    }


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("provider", "said"),
    [("fake", "Answers are simulated"), ("local", "A very small model"), ("server", "Answers come from")],
)
def test_page_says_who_answers(client, settings, provider, said):
    settings.DEMO_PROVIDER = provider
    settings.OPENROUTER = {"BASE_URL": "http://127.0.0.1:1/v1"}
    assert said in client.get("/").content.decode()


@pytest.mark.django_db
def test_page_says_nothing_where_openrouter_answers(client, settings):
    settings.DEMO_PROVIDER = "openrouter"
    assert 'role="note"' not in client.get("/").content.decode()


# Names, policy, settings


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.9.9.9"])
def test_loopback_is_this_machine(host):
    assert hosts.is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.com", ""])
def test_everything_else_is_not(host):
    assert not hosts.is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "demo.example", "127.0.0.1"])
def test_A1_hosts_are_names_and_never_everybody(host):
    allowed = hosts.allowed_hosts(host)
    assert "*" not in allowed
    assert "localhost" in allowed
    assert all(allowed)
    if host in hosts.ANY:
        assert socket.gethostname().lower() in allowed
    else:
        assert host in allowed


def test_ipv6_host_is_written_as_a_browser_sends_it():
    assert "[2001:db8::1]" in hosts.allowed_hosts("2001:db8::1")


async def test_policy_is_sent_and_a_views_own_is_kept():
    def plain(request):
        return HttpResponse()

    async def own(request):
        return HttpResponse(headers={"Content-Security-Policy": "default-src 'self'"})

    assert ContentSecurityPolicyMiddleware(plain)(None).headers["Content-Security-Policy"] == POLICY
    response = await ContentSecurityPolicyMiddleware(own)(None)
    assert response.headers["Content-Security-Policy"] == "default-src 'self'"


def environment(folder, **more):
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SYSTEMROOT") if name in os.environ}
    return {**kept, "DEMO_VAR": str(folder), "DJANGO_SETTINGS_MODULE": "project.settings", **more}


def python(*arguments, **variables):
    return subprocess.run(
        [sys.executable, *arguments], env=environment(**variables), cwd=ROOT, text=True, capture_output=True
    )


def test_settings_need_no_environment_and_write_nothing(tmp_path):
    folder = tmp_path / "var"
    code = "from django.conf import settings as s; print(s.DEBUG, len(s.SECRET_KEY), s.ALLOWED_HOSTS)"
    done = python("-W", "error", "-c", code, folder=folder)
    assert done.stderr == ""
    assert done.stdout.startswith("True ")
    assert not folder.exists()


def test_debug_is_off_where_others_can_reach_the_site(tmp_path):
    code = "from django.conf import settings as s; print(s.DEBUG, '*' in s.ALLOWED_HOSTS)"
    for host in ("0.0.0.0", "192.168.1.4", "demo.example"):
        done = python("-c", code, folder=tmp_path, HOST=host, DEBUG="1", ALLOWED_HOSTS="a.example,*")
        assert done.stdout == "False False\n", done.stderr


def test_secret_key_is_made_once_and_kept_to_oneself(tmp_path):
    folder = tmp_path / "var"
    code = (
        "from project import var; var.prepare(); from django.conf import settings; print(settings.SECRET_KEY)"
    )
    first, second = (python("-c", code, folder=folder).stdout for _ in range(2))
    assert first == second
    assert len(first) > 50
    assert stat.S_IMODE((folder / "secret_key").stat().st_mode) == 0o600


# One command


def read_until(process, pattern, seconds=30):
    """The output so far, once the pattern is in it."""
    text, deadline = "", time.monotonic() + seconds
    while not (found := re.search(pattern, text)):
        assert time.monotonic() < deadline, text
        if select.select([process.stdout], [], [], 0.2)[0]:
            read = os.read(process.stdout.fileno(), 65_536).decode()
            assert read, text
            text += read
    return text, found


def is_alive(address):
    try:
        httpx.get(address, timeout=2, trust_env=False)
    except httpx.TransportError:
        return False
    return True


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_demo_serves_with_the_fake_and_ends_all_it_started(tmp_path, signum):
    with subprocess.Popen(
        [sys.executable, "-m", "project.serve"],
        env=environment(tmp_path, PORT="0"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            text, found = read_until(process, r"The page +(http://127\.0\.0\.1:\d+/)[\s\S]*Ctrl-C")
            assert "demo, password: demo" in text
            assert "Answers are simulated" in text
            site = found.group(1)
            page = httpx.get(site, trust_env=False)
            assert page.status_code == 200
            assert "Answers are simulated" in page.text
            static = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)
            assert static
            for path in static:
                assert httpx.get(site + path[1:], trust_env=False).status_code == 200, path
            with closing(sqlite3.connect(tmp_path / "demo.sqlite3")) as database:
                models = database.execute("SELECT count(*) FROM openrouter_app_cataloguemodel").fetchone()
            assert models == (len(DEFAULT_MODELS),)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            started = [int(pid) for pid in children.read_text().split()] if children.exists() else []
        finally:
            process.send_signal(signum)
            process.wait(timeout=15)
    assert not is_alive(site)
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


def test_port_that_is_taken_gives_a_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = python("-m", "project.serve", folder=tmp_path, PORT=port)
    assert done.returncode == 1
    assert done.stderr == (
        f"Cannot listen on 127.0.0.1, port {port}: Address already in use. Try another: make demo PORT=8001\n"
    )


@pytest.mark.parametrize("port", ["eighty", "70000", "-1"])
def test_port_that_is_none_gives_a_sentence(tmp_path, port):
    done = python("-m", "project.serve", folder=tmp_path, PORT=port)
    assert done.stderr == f"PORT is '{port}', which is no port. Use a number from 1 to 65535.\n"


def test_key_is_not_sent_in_the_clear(tmp_path):
    url = "http://demo.example/v1"
    done = python(
        "-m", "project.serve", folder=tmp_path, PORT="0", OPENROUTER_BASE_URL=url, OPENROUTER_API_KEY="k-1"
    )
    assert done.returncode == 1
    assert "ALLOW_INSECURE_BASE_URL" in done.stderr
    assert "k-1" not in done.stderr
