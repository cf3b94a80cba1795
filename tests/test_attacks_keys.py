"""Attacks on keys: A13, A14, A15, A28 and A29 of the threat list.

The key of `CANARY` is looked for in everything that leaves the process or is kept.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import pprint
import socket
import ssl
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import StringIO
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.db import connection
from django.urls import reverse

from openrouter_app import ChatOpenRouter, keys
from openrouter_app.conf import engine_defaults, get_settings
from openrouter_app.engine import accounts, client
from openrouter_app.engine.accounts import KeyInfo, exchange_code, get_generation, get_key_info, list_models
from openrouter_app.engine.errors import ConnectError, OpenRouterError, UpstreamError
from openrouter_app.engine.failures import redact
from openrouter_app.engine.secret import Secret
from openrouter_app.models import Hit, OfferedKey, Run, SignIn, UserKey
from openrouter_app.testing import simulated_reply
from tests.connecting import browser_of, connect, consent, go_to_openrouter
from tests.engine.loopback import request_of, serving
from tests.factories import make_chain, make_user
from tests.leaks import fail, overhearing, told
from tests.sockets import connected

CANARY = "sk-or-v1-CANARY" + "0" * 49
SITE = "sk-or-v1-SITES-CANARY" + "0" * 40
KEY = Secret(CANARY)


def hits(*texts: str) -> list[str]:
    """What stands around the canary, wherever it is."""
    found = []
    for text in texts:
        place = text.find("CANARY")
        if place >= 0:
            found.append(text[max(place - 300, 0) : place + 60])
    return found


def at(base_url: str, **more: Any) -> dict[str, Any]:
    return {"API_KEY": SITE, "BASE_URL": base_url, **more}


# ---- A13: what is kept ----


@pytest.mark.django_db
def test_A13_no_dump_of_the_database_its_history_and_no_fixture_holds_a_key(settings, admin_client):
    settings.OPENROUTER = at("https://openrouter.ai/api/v1")
    user = make_user()
    row = keys.store(user, KEY, UserKey.Origin.OAUTH, KeyInfo(label="Example"))
    SignIn.objects.create(nonce_hash="n", session_hash="s", user=user, verifier=KEY)
    OfferedKey.objects.create(user=user, key_hash="h", origin="oauth", ciphertext=KEY)
    gone = keys.store(make_user("gone"), KEY, UserKey.Origin.PASTED, KeyInfo())
    admin_client.post(reverse("admin:openrouter_app_userkey_delete", args=[gone.pk]), {"post": "yes"})
    assert LogEntry.objects.count() == 1
    dumped = [""]
    for format in ("json", "xml", "jsonl"):
        out = StringIO()
        call_command("dumpdata", format=format, stdout=out)
        dumped.append(out.getvalue())
        assert row.ciphertext in dumped[-1]
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            dumped.append(repr(cursor.fetchall()))
    assert hits(*dumped) == []


@pytest.mark.django_db
def test_A13_no_repr_on_a_keys_way_shows_it(settings):
    settings.OPENROUTER = at("https://openrouter.ai/api/v1", ENCRYPTION_KEYS=["CANARY" + "x" * 40])
    user = make_user()
    unsaved = UserKey(user=user, ciphertext=KEY)
    row = keys.store(user, KEY, UserKey.Origin.OAUTH, KeyInfo())
    model = ChatOpenRouter(model="a/b", api_key=KEY, headers={"X-Gateway": CANARY})
    request = accounts._request("GET", "/key", KEY)
    for it in (
        KEY,
        [KEY],
        unsaved,
        vars(unsaved),
        row,
        vars(row),
        UserKey.objects.get(),
        UserKey.objects.values(),
        row.opened(),
        model,
        vars(model) | {"_headers": None},
        request,
        request.headers,
        get_settings(),
        engine_defaults(),
    ):
        assert hits(repr(it), str(it), f"{it}", f"{it!a}", pprint.pformat(it), "%s" % (it,)) == []  # noqa: UP031


@pytest.mark.django_db
def test_A13_a_key_is_not_pickled_copied_or_written_as_json():
    import copy
    import pickle

    import msgspec

    for attempt in (
        lambda: pickle.dumps(KEY),
        lambda: copy.deepcopy(KEY),
        lambda: copy.copy(KEY),
        lambda: json.dumps(KEY),
        lambda: msgspec.json.encode(KEY),
    ):
        with pytest.raises(TypeError) as caught:
            attempt()
        assert hits(told(caught.value)) == []


# ---- A13: what is said while a key is used ----


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Length: {len(body)}",
        "Content-Type: application/json",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answers_with(secret: str) -> dict[str, bytes]:
    """Answers of a provider, good, broken, and with what it was sent in all places."""
    error = {
        "message": f"Authorization: Bearer {secret}",
        "metadata": {"raw": secret, "provider_name": secret},
    }
    echo = json.dumps({"error": {"code": 401, **error}}).encode()
    return {
        "fine": http(200, b'{"data": {"label": "x"}}'),
        "echo": http(401, echo),
        "echo of other text": http(400, f"<p>{secret}</p>".encode()),
        "echo under 200": http(200, echo),
        "echo in the label": http(200, json.dumps({"data": {"label": f"x {secret}"}}).encode()),
        "echo in a header": http(500, b"", f"X-Echo: Bearer {secret}", f"X-Generation-Id: {secret}"),
        "echo in a redirect": http(307, b"", f"Location: http://127.0.0.1:1/{secret}"),
        "no HTTP": f"{secret}\r\n\r\n".encode(),
        "odd encoding": http(200, b"x", f"Content-Encoding: {secret}"),
        "cut": http(200, b"x" * 100)[:-50],
        "nothing": b"",
    }


ASKED = {
    "key": lambda: get_key_info(KEY),
    "code": lambda: exchange_code("c", KEY),
    "generation": lambda: get_generation("gen-1", KEY),
    "models": list_models,
    "chat": lambda: ChatOpenRouter(model="a/b", api_key=KEY, retries=0).ainvoke("hi"),
    "chat in a thread": lambda: asyncio.to_thread(
        ChatOpenRouter(model="a/b", api_key=KEY, retries=0).invoke, "hi"
    ),
}


@pytest.mark.parametrize("what", ASKED)
async def test_A13_A14_no_log_error_or_variable_holds_a_key_whatever_the_provider_does(
    settings, transport, what
):
    for name, answer in answers_with(SITE if what == "models" else CANARY).items():

        def answers(server, connection, answer=answer):
            connection.sendall(answer)
            return True

        with serving(answers) as server, overhearing() as heard:
            settings.OPENROUTER = at(server.base_url)
            said = ""
            try:
                said = repr(await ASKED[what]())
            except OpenRouterError as error:
                said = told(error)
            assert server.requests, name
        assert hits(said, heard.text) == [], name
        if transport == "httpx":
            assert client.WIRE_LOG in heard.names


@pytest.mark.parametrize("what", ASKED)
async def test_A13_no_log_error_or_variable_holds_a_key_where_nobody_answers(
    settings, transport, what, monkeypatch
):
    monkeypatch.setattr(accounts, "PATIENCE", 0.2)

    def waits(server, connection):
        server.wait_for_hang_up(connection, 10)
        return True

    with serving(waits) as server, overhearing() as heard:
        for base_url in ("http://127.0.0.1:1/v1", "http://192.0.2.1/v1", "http://[", server.base_url):
            settings.OPENROUTER = at(base_url, FIRST_CONTENT_TIMEOUT=0.2, TOTAL_TIMEOUT=0.2)
            with pytest.raises(OpenRouterError) as caught:
                await ASKED[what]()
            assert hits(told(caught.value)) == [], base_url
        assert hits(heard.text) == []


@pytest.mark.django_db(transaction=True)
def test_A13_signing_in_leaves_the_key_in_no_log_statement_page_or_cookie(openrouter, settings):
    settings.OPENROUTER = at(openrouter.base_url)
    settings.DEBUG = True
    user = make_user()
    browser = browser_of(user)
    seen = []
    with overhearing() as heard:
        for _ in range(2):
            seen.append(connect(browser).content.decode())
            seen += [browser.get(f"/account/{page}").content.decode() for page in ("", "replace/")]
        seen.append(browser.post("/account/refresh/", follow=True).content.decode())
        seen.append(browser.post("/account/disconnect/", follow=True).content.decode())
    seen += [heard.text, repr(connection.queries), repr(browser.cookies), repr(dict(browser.session))]
    assert {"django.db.backends", "asyncio"} & heard.names
    issued = list(openrouter.accounts.keys)
    assert len(issued) == 2
    assert not [key for key in issued for text in seen if key in text]


FAULTS = (
    "openrouter_app.keys.store",
    "openrouter_app.keys.hash_of",
    "openrouter_app.keys.connecting.store",
    "openrouter_app.keys.connecting.hash_of",
    "openrouter_app.models.sealed.seal",
    "openrouter_app.sealing._fernets",
    "openrouter_app.models.UserKey.save_base",
    "openrouter_app.models.fields.storable",
    "openrouter_app.engine.accounts.get_key_info",
    "openrouter_app.engine.accounts._dollars",
    "openrouter_app.engine.connections.headers_of",
    "openrouter_app.engine.async_connections.build",
)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["callback", "paste"])
def test_A13_no_debug_page_shows_a_key_wherever_connecting_fails(openrouter, settings, monkeypatch, way):
    own = ["CANARY" + "x" * 40]
    settings.OPENROUTER = at(openrouter.base_url, ALLOW_PASTED_KEYS=True, ENCRYPTION_KEYS=own)
    settings.DEBUG = True
    monkeypatch.setattr(openrouter.accounts, "issue", lambda code: CANARY)
    openrouter.route("GET", "/key", {"data": {"label": "x"}})
    browser = browser_of(make_user())
    shown = 0
    for fault in FAULTS:
        UserKey.objects.all().delete()
        Hit.objects.all().delete()  # else what is pasted is not asked about any more
        address = consent(go_to_openrouter(browser)) if way == "callback" else None

        def ask(address: str | None = address) -> Any:
            return browser.get(address) if address else browser.post("/account/paste/", {"key": CANARY})

        with monkeypatch.context() as patch:
            patch.setattr(fault, fail)
            browser.raise_request_exception = False
            with overhearing() as heard:
                response = ask()
            page = response.content.decode()
            shown += response.status_code == 500 and "Traceback" in page and "broken on purpose" in page
        assert hits(page, heard.text) == [], fault
    assert shown >= len(FAULTS) // 2


# ---- A13: any line may fail ----


HIDING = {
    ("secret.py", "__init__"),
    ("sealing.py", "_hidden"),
    ("conf.py", "mistakes"),
    ("conf.py", "_wrong"),
}
"""What is given a text in clear to hide it, and what looks at the types of the settings: nothing in there
calls anything that fails.
"""


UNBEGUN = {("patience.py", "protected")}
"""What holds a coroutine that has yet to begin: torn apart there, it is complained of in some later test."""


class Fault(Exception):
    """Raised in the middle of things."""


def lines_of(act: Any) -> list[tuple[str, int]]:
    """The lines of this app that ``act`` runs through, in this thread."""
    found: dict[tuple[str, int], None] = {}

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        path = Path(frame.f_code.co_filename)
        if "openrouter_app" not in path.parts or "testing" in path.parts or path.name == "client.py":
            return None  # the clients know no key, and have a lock that must not stay locked
        if event == "line" and (path.name, frame.f_code.co_name) not in HIDING | UNBEGUN:
            found[frame.f_code.co_filename, frame.f_lineno] = None
        return trace

    traced(trace, act)
    return list(found)


def traced(trace: Any, act: Any) -> None:
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)


def failing_at(line: tuple[str, int], act: Any) -> BaseException | None:
    """What comes out of ``act`` where that line raises."""
    is_armed = True

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal is_armed
        if frame.f_code.co_filename != line[0]:
            return None
        if is_armed and event == "line" and frame.f_lineno == line[1]:
            is_armed = False
            raise Fault
        return trace

    try:
        traced(trace, act)
    except Exception as error:
        return error
    return None


@pytest.mark.django_db
def test_A13_no_variable_holds_a_key_whichever_line_of_storing_and_opening_fails(settings):
    settings.OPENROUTER = at("https://openrouter.ai/api/v1", ENCRYPTION_KEYS=["CANARY" + "x" * 40])
    user = make_user()

    def act() -> None:
        row = keys.store(user, KEY, UserKey.Origin.OAUTH, KeyInfo(label="x"))
        assert keys.secret_of(UserKey.objects.get(pk=row.pk)) == KEY
        keys.drop_rejected(user.pk, row.key_hash)

    act()
    lines = lines_of(act)
    assert len(lines) > 40
    assert_no_line_leaks(lines, act)


async def ask_and_tidy_up(question: Any) -> None:
    try:
        async with asyncio.timeout(30):
            await question()
    finally:
        await client.aclose()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("what", ["key", "chat"])
def test_A13_no_variable_holds_a_key_whichever_line_of_a_request_fails(openrouter, settings, what):
    settings.OPENROUTER = at(openrouter.base_url)
    openrouter.default = simulated_reply
    openrouter.route("GET", "/key", {"data": {"label": "x", "limit": 1}})
    openrouter.route("GET", "/generation", {"data": {"id": "gen-1"}})
    client.set_transport("httpx")
    try:

        def act() -> None:
            asyncio.run(ask_and_tidy_up(ASKED[what]))

        act()
        lines = lines_of(act)
        assert len(lines) > 60
        assert_no_line_leaks(lines, act)
    finally:
        client.set_transport("auto")
        for _ in range(3):
            gc.collect()  # what was torn apart is complained of here, and not in another test


def assert_no_line_leaks(lines: list[tuple[str, int]], act: Any) -> None:
    leaks = {}
    for line in lines:
        error = failing_at(line, act)
        if error is not None and (found := hits(told(error))):
            leaks[line] = found
    assert not leaks, "\n".join(f"{line}: {found}" for line, found in leaks.items())


def test_the_search_itself_finds_a_key_in_a_variable_and_in_a_log():
    def act() -> None:
        redact(CANARY)

    leaking = [error for line in lines_of(act) if (error := failing_at(line, act)) is not None]
    assert leaking
    assert all(hits(told(error)) for error in leaking)
    with overhearing() as heard:
        logging.getLogger("httpx").debug("sent %s", CANARY)
    assert hits(heard.text)


# ---- A13 and A14: a run on a user's key ----


@sync_to_async
def make_payer(name: str = "payer") -> Any:
    user = make_user(name)
    keys.store(user, KEY, UserKey.Origin.OAUTH, KeyInfo(label="Example"))
    return user


RUNS = {
    "said": lambda fake: fake.reply("Hello"),
    "echo": lambda fake: fake.raw(echo_of(CANARY), status=401, headers={"content-type": "application/json"}),
    "echo of somebody else": lambda fake: fake.raw(
        echo_of("OTHER-CUSTOMER-CANARY"), status=400, headers={"content-type": "application/json"}
    ),
    "echo in mid-answer": lambda fake: fake.raw(
        b'data: {"choices": [{"delta": {"content": "x"}}]}\n\ndata: ' + echo_of(CANARY) + b"\n\n",
        headers={"content-type": "text/event-stream"},
    ),
    "cut": lambda fake: fake.cut("Hel"),
}


def echo_of(secret: str) -> bytes:
    metadata = {"raw": f"Bearer {secret}", "provider_name": "Example"}
    return json.dumps({"error": {"code": 401, "message": f"bad {secret}", "metadata": metadata}}).encode()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", RUNS)
async def test_A13_A14_a_run_on_a_users_key_shows_it_to_nobody(provider, settings, how):
    settings.DEBUG = True
    user = await make_payer()
    chain = await sync_to_async(make_chain)("paid", payer="user", access="authenticated")
    frames = []
    RUNS[how](provider)
    with overhearing() as heard:
        async with connected(user) as sock:
            await sock.send_frame("run.start", id="a" * 32, chain=chain.slug, input={"text": "hi"})
            receive = sock.receive_from

            async def recorded(timeout: float = 5) -> str:
                frames.append(await receive(timeout))
                return frames[-1]

            sock.receive_from = recorded
            run = (await sock.until("run.accepted"))["run"]
            view = await sock.watch(run)
    assert (view.state["status"] == "done") is (how == "said")
    assert provider.requests[-1].api_key == CANARY
    row = await Run.objects.aget(uuid=run)
    assert row.payer == "user"
    staff = await sync_to_async(browser_for_staff)()
    page = await sync_to_async(staff.get)(reverse("admin:openrouter_app_run_change", args=[row.pk]))
    theirs = await sync_to_async(browser_of)(user)
    html = await sync_to_async(theirs.get)(f"/chains/{chain.slug}/?run={run}")
    shown = [*frames, row.error_message, html.content.decode()]
    assert hits(*shown) == []
    kept = [heard.text, page.content.decode(), *map(repr, vars(row).values())]
    assert not [text for text in kept if CANARY in text]


def browser_for_staff() -> Any:
    return browser_of(make_user("staff", is_staff=True, is_superuser=True))


@pytest.mark.django_db(transaction=True)
async def test_A14_what_a_provider_echoes_of_others_is_for_staff_alone(provider):
    user = await make_payer()
    chain = await sync_to_async(make_chain)("paid", payer="user", access="authenticated")
    RUNS["echo of somebody else"](provider)
    async with connected(user) as sock:
        await sock.send_frame("run.start", id="a" * 32, chain=chain.slug, input={"text": "hi"})
        run = (await sock.until("run.accepted"))["run"]
        view = await sock.watch(run)
    row = await Run.objects.aget(uuid=run)
    assert "CANARY" not in json.dumps(view.state)
    assert "CANARY" not in row.error_message
    assert "OTHER-CUSTOMER" in row.error_detail


# ---- A15: ciphertext of others ----


@pytest.mark.django_db
def test_A15_ciphertext_that_is_copied_or_swapped_between_two_users_is_no_key():
    ada, eve = make_user("ada"), make_user("eve")
    keys.store(ada, KEY, UserKey.Origin.OAUTH, KeyInfo())
    keys.store(eve, Secret("sk-or-v1-eve"), UserKey.Origin.OAUTH, KeyInfo())
    theirs, hers = keys.key_of(ada.pk), keys.key_of(eve.pk)
    UserKey.objects.filter(pk=hers.pk).update(ciphertext=theirs.ciphertext)
    UserKey.objects.filter(pk=theirs.pk).update(ciphertext=hers.ciphertext)
    assert keys.secret_of(keys.key_of(eve.pk)) is keys.secret_of(keys.key_of(ada.pk)) is None


@pytest.mark.django_db
def test_A15_a_whole_row_that_is_given_to_another_user_is_no_key():
    ada, eve = make_user("ada"), make_user("eve")
    row = keys.store(ada, KEY, UserKey.Origin.OAUTH, KeyInfo())
    UserKey.objects.filter(pk=row.pk).update(user=eve)
    assert keys.secret_of(keys.key_of(eve.pk)) is None


@pytest.mark.django_db
def test_A15_the_ciphertext_of_a_key_that_was_replaced_opens_no_more():
    ada = make_user("ada")
    before = keys.store(ada, KEY, UserKey.Origin.OAUTH, KeyInfo()).ciphertext
    keys.store(ada, Secret("sk-or-v1-new"), UserKey.Origin.OAUTH, KeyInfo())
    UserKey.objects.update(ciphertext=before)
    assert keys.secret_of(keys.key_of(ada.pk)) is None


@pytest.mark.django_db(transaction=True)
async def test_A15_a_run_with_such_a_row_asks_for_a_key_and_asks_no_model(provider):
    ada, eve = await make_payer("ada"), await make_payer("eve")
    row = await UserKey.objects.aget(user=ada)
    await UserKey.objects.filter(user=eve).aupdate(ciphertext=row.ciphertext)
    chain = await sync_to_async(make_chain)("paid", payer="user", access="authenticated")
    async with connected(eve) as sock:
        await sock.send_frame("run.start", id="a" * 32, chain=chain.slug, input={"text": "hi"})
        refused = await sock.until("error")
    assert (refused["code"], refused["details"]) == ("needs_key", {"connect": True})
    assert provider.requests == ()


# ---- A28: redirects ----


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("what", ASKED)
async def test_A28_a_redirect_is_an_error_and_no_secret_goes_to_another_host(
    settings, transport, what, status
):
    with serving(lambda server, connection: connection.sendall(http(200, b"{}"))) as elsewhere:
        location = f"Location: {elsewhere.base_url}/key"

        def redirects(server, connection):
            connection.sendall(http(status, b"", location))

        with serving(redirects) as server:
            settings.OPENROUTER = at(server.base_url)
            with pytest.raises(UpstreamError) as caught:
                await ASKED[what]()
            assert caught.value.status == status
            assert len(server.requests) == 1
        assert elsewhere.requests == []
        assert hits(told(caught.value)) == []


# ---- A29: TLS and proxies ----


def self_signed(path: Path) -> Path:
    """A certificate of 127.0.0.1 that nobody vouches for, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def tls(tmp_path):
    """A provider over TLS whose certificate is its own: the file, its base URL, and what it was asked."""
    file = self_signed(tmp_path / "own.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    def answer(connection):
        with suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
            seen.append(request_of(secure))
            secure.sendall(http(200, b'{"data": []}'))

    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    answer(listening.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield file, f"https://127.0.0.1:{listening.getsockname()[1]}/v1", seen
        over.set()
        thread.join(5)


@pytest.mark.parametrize("what", ASKED)
async def test_A29_a_certificate_that_nobody_vouches_for_is_refused_before_the_key_is_sent(
    settings, transport, tls, what, monkeypatch
):
    file, base_url, seen = tls
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(file))  # the environment's trust is not ours
    settings.OPENROUTER = at(base_url)
    client._tls.cache_clear()
    with pytest.raises(ConnectError) as caught:
        await ASKED[what]()
    assert not any(seen)
    assert hits(told(caught.value)) == []


async def test_A29_a_certificate_that_is_vouched_for_is_taken(settings, transport, tls, monkeypatch):
    file, base_url, seen = tls
    settings.OPENROUTER = at(base_url)
    monkeypatch.setattr(client, "_tls", lambda: ssl.create_default_context(cafile=file))
    assert await list_models() == []
    assert b"SITES-CANARY" in seen[0]


@pytest.mark.parametrize("what", ASKED)
async def test_A29_proxies_of_the_environment_are_not_used(
    openrouter, settings, transport, what, monkeypatch
):
    openrouter.default = simulated_reply
    openrouter.route("POST", "/auth/keys", {"key": "sk-or-v1-new"})
    openrouter.route("GET", "/key", {"data": {}})
    openrouter.route("GET", "/generation", {"data": {}})
    with serving(lambda server, connection: True) as proxy:
        address = proxy.base_url.removesuffix("/v1")
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, address)
            monkeypatch.setenv(name.upper(), address)
        monkeypatch.delenv("no_proxy", raising=False)
        settings.OPENROUTER = at(openrouter.base_url)
        await ASKED[what]()
        assert proxy.requests == []
    assert len(openrouter.requests) == 1
