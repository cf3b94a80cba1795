"""Users' keys: kept, replaced, refreshed, dropped, sealed anew; what staff see of them."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO

import pytest
from asgiref.sync import async_to_sync
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.db import connection
from django.urls import reverse

from openrouter_app import keys, sealing
from openrouter_app.engine import client
from openrouter_app.engine.accounts import KeyInfo
from openrouter_app.engine.errors import KeyRejectedError
from openrouter_app.engine.secret import Secret
from openrouter_app.management.commands import openrouter_rotate_keys
from openrouter_app.models import UserKey
from tests.factories import make_user
from tests.test_checks import found

pytestmark = pytest.mark.django_db

KEY = Secret("sk-or-v1-CANARYCANARYCANARY")
OTHER = Secret("sk-or-v1-OTHEROTHEROTHER")
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
INFO = KeyInfo(
    label="Example",
    limit=Decimal(5),
    limit_remaining=Decimal("4.00000000001"),
    limit_reset="monthly",
    usage=Decimal("0.9"),
    expires_at=datetime(2027, 1, 2, tzinfo=UTC),
)


def connect(user, secret=KEY, origin=UserKey.Origin.OAUTH, info=INFO):
    return keys.store(user, secret, origin, info)


# What is kept


def test_a_stored_key_is_found_with_what_openrouter_said_of_it():
    user = make_user()
    assert keys.key_of(user.pk) is None
    connect(user)
    row = keys.key_of(user.pk)
    assert keys.secret_of(row) == KEY
    assert row.key_hash == hashlib.sha256(KEY.reveal().encode()).hexdigest()
    assert (row.label, row.limit, row.remaining, row.limit_reset) == ("Example", 5, 4, "monthly")
    assert (row.usage, row.expires, row.origin) == (Decimal("0.9"), INFO.expires_at, "oauth")
    assert row.checked_at is not None


def test_a_key_takes_the_place_of_the_one_before_and_nothing_of_it_stays():
    user = make_user()
    before = connect(user)
    after = connect(user, OTHER, UserKey.Origin.PASTED, KeyInfo())
    row = UserKey.objects.get()
    assert keys.secret_of(row) == OTHER
    assert (row.label, row.limit, row.remaining, row.expires, row.origin) == ("", None, None, None, "pasted")
    assert row.uuid == after.uuid != before.uuid


def test_an_amount_that_no_column_holds_counts_as_not_said():
    row = connect(make_user(), info=KeyInfo(limit=Decimal("1e9"), usage=Decimal("-1e30"), label="x" * 300))
    row.refresh_from_db()
    assert (row.limit, row.usage, len(row.label)) == (None, None, 200)


def test_an_amount_that_no_column_holds_once_it_is_rounded_counts_as_not_said():
    row = connect(make_user(), info=KeyInfo(limit=Decimal("99999999.99999999999"), usage=Decimal("1e-300")))
    row.refresh_from_db()
    assert (row.limit, row.usage) == (None, 0)


def test_a_label_is_stored_whatever_openrouter_puts_into_it():
    row = connect(make_user(), info=KeyInfo(label="a\0b"))
    row.refresh_from_db()
    assert row.label == "a\ufffdb"


def test_what_openrouter_says_later_is_noted():
    row = connect(make_user())
    assert keys.refresh(row, KeyInfo(label="New", limit_remaining=Decimal(1)))
    assert (row.label, row.remaining, row.limit) == ("New", 1, None)
    row.refresh_from_db()
    assert (row.label, row.remaining, row.limit) == ("New", 1, None)
    assert keys.secret_of(row) == KEY


def test_what_was_said_of_a_key_is_not_noted_of_the_one_that_took_its_place():
    user = make_user()
    row = connect(user)
    connect(user, OTHER)
    assert not keys.refresh(row, KeyInfo(label="of the first"))
    assert keys.key_of(user.pk).label == "Example"


def test_disconnecting_forgets_the_key_of_this_user_alone():
    ada, bob = make_user("ada"), make_user("bob")
    connect(ada)
    connect(bob, OTHER)
    assert keys.disconnect(ada.pk)
    assert not keys.disconnect(ada.pk)
    assert keys.key_of(bob.pk) is not None


def test_a_rejected_key_is_dropped_and_its_replacement_is_not():
    user = make_user()
    first = connect(user)
    connect(user, OTHER)
    assert not keys.drop_rejected(user.pk, first.key_hash)
    assert keys.secret_of(keys.key_of(user.pk)) == OTHER
    assert keys.drop_rejected(user.pk, keys.hash_of(OTHER))
    assert keys.key_of(user.pk) is None


def test_a_rejected_key_is_dropped_for_the_user_who_was_refused_alone():
    ada, bob = make_user("ada"), make_user("bob")
    connect(ada)
    connect(bob)
    assert keys.drop_rejected(ada.pk, keys.hash_of(KEY))
    assert keys.key_of(bob.pk) is not None


def test_a_key_goes_with_its_user():
    user = make_user()
    connect(user)
    user.delete()
    assert not UserKey.objects.exists()


@pytest.mark.parametrize(
    ("given", "web"),
    [
        ({}, "https://openrouter.ai"),
        ({"BASE_URL": "http://127.0.0.1:8000/fake/api/v1/"}, "http://127.0.0.1:8000/fake"),
        ({"BASE_URL": "http://127.0.0.1:8000/v1"}, "http://127.0.0.1:8000/v1"),
        ({"WEB_URL": "https://openrouter.example/"}, "https://openrouter.example"),
    ],
)
def test_links_lead_to_openrouters_pages_of_this_key(settings, given, web):
    settings.OPENROUTER = given
    row = connect(make_user())
    assert keys.web_url() == web
    assert keys.links(row) == (
        f"{web}/keys/{row.key_hash}",
        f"{web}/logs?api_key_hash={row.key_hash}",
    )


def test_a_key_is_checked_at_openrouter(openrouter, settings):
    settings.OPENROUTER = {"BASE_URL": openrouter.base_url}

    async def checked():
        try:
            return await keys.check(KEY)
        finally:
            await client.aclose()

    openrouter.route("GET", "/key", {"data": {"label": "Example"}})
    assert async_to_sync(checked)() == KeyInfo(label="Example")
    openrouter.route("GET", "/key", {"error": {"message": "User not found.", "code": 401}}, status=401)
    with pytest.raises(KeyRejectedError):
        async_to_sync(checked)()


# Sealed anew


def rotate(*arguments):
    out, err = StringIO(), StringIO()
    call_command("openrouter_rotate_keys", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.fixture
def rows(settings):
    """Three keys sealed with the old key, one with the new, and one with a key that nobody has any more."""
    settings.OPENROUTER = {"ENCRYPTION_KEYS": [Fernet.generate_key().decode()]}
    connect(make_user("lost"))
    settings.OPENROUTER = {"ENCRYPTION_KEYS": [OLD]}
    for name in ("a", "b", "c"):
        connect(make_user(name))
    settings.OPENROUTER = {"ENCRYPTION_KEYS": [NEW, OLD]}
    connect(make_user("new"))


def current():
    return sum(sealing.is_current(row.ciphertext) for row in UserKey.objects.all())


@pytest.mark.parametrize("batch", [1, 2, 500])
def test_keys_are_sealed_with_the_newest_key_and_open_without_the_old_one(rows, settings, monkeypatch, batch):
    monkeypatch.setattr(openrouter_rotate_keys, "BATCH", batch)
    out, err = rotate()
    assert out == "3 keys were sealed with the newest key; 1 had it already.\n"
    assert err.startswith("1 key could not be opened")
    settings.OPENROUTER = {"ENCRYPTION_KEYS": [NEW]}
    opened = {row.user.username: keys.secret_of(row) for row in UserKey.objects.select_related("user")}
    assert opened == {"lost": None, **dict.fromkeys(("a", "b", "c", "new"), KEY)}


def test_a_second_rotation_changes_nothing(rows):
    rotate()
    before = [*UserKey.objects.values_list("ciphertext", flat=True)]
    assert rotate()[0] == "0 keys were sealed with the newest key; 4 had it already.\n"
    assert [*UserKey.objects.values_list("ciphertext", flat=True)] == before


def test_a_dry_run_only_counts(rows):
    assert rotate("--dry-run")[0] == "3 keys would be sealed with the newest key; 1 had it already.\n"
    assert current() == 1


def test_a_key_that_is_replaced_during_a_rotation_stays_as_its_user_made_it(rows, monkeypatch):
    seal = sealing.seal

    def replacing(text, *, bound_to):
        token = seal(text, bound_to=bound_to)
        monkeypatch.setattr(sealing, "seal", seal)
        user = UserKey.objects.exclude(user__username__in=("lost", "new")).order_by("pk").first().user
        connect(user, OTHER)
        return token

    monkeypatch.setattr(sealing, "seal", replacing)
    rotate()
    assert [
        keys.secret_of(keys.key_of(user)) for user in UserKey.objects.values_list("user", flat=True)
    ].count(OTHER) == 1


def test_rotation_moves_from_the_secret_key_to_the_first_key(settings):
    settings.OPENROUTER = {}
    connect(make_user())
    settings.OPENROUTER = {"ENCRYPTION_KEYS": [NEW]}
    assert rotate() == ("1 key was sealed with the newest key; 0 had it already.\n", "")
    settings.SECRET_KEY = "another"
    assert keys.secret_of(UserKey.objects.get()) == KEY


# Settings


@pytest.mark.parametrize("given", [["short"], [NEW, NEW], [f"{NEW} "], [""]])
def test_a_wrong_encryption_key_is_an_error_that_does_not_say_it(settings, given):
    error = found(settings, ENCRYPTION_KEYS=given)["openrouter_app.E007"]
    assert NEW not in str(error)
    assert "Fernet.generate_key" in error.hint


def test_right_encryption_keys_are_fine(settings):
    assert found(settings, ENCRYPTION_KEYS=[NEW, "a passphrase of more than thirty-two characters"]) == {}


@pytest.mark.parametrize(
    "origin",
    ["app.example.com", "https://app.example.com/", "http://app.example.com", "ftp://localhost", "https://"],
)
def test_callbacks_need_an_origin_over_https(settings, origin):
    assert "openrouter_app.E008" in found(settings, CALLBACK_ORIGIN=origin)


@pytest.mark.parametrize(
    "origin", ["https://app.example.com", "https://a:8443", "http://localhost:8000", "http://[::1]"]
)
def test_callbacks_to_https_or_this_machine_are_fine(settings, origin):
    assert found(settings, CALLBACK_ORIGIN=origin) == {}


@pytest.mark.parametrize(
    "url",
    [
        "openrouter.ai",
        "ftp://x",
        "https://",
        "https://x?a=1",
        "https://x#a",
        "https://u:p@x",
        "http://[",
        "http://x:y",
    ],
)
def test_openrouters_pages_need_an_address(settings, url):
    assert "openrouter_app.E009" in found(settings, WEB_URL=url)


def test_openrouters_pages_may_be_anywhere(settings):
    assert found(settings, WEB_URL="http://127.0.0.1:8000/fake/") == {}


def test_a_deploy_without_encryption_keys_is_warned_of(settings):
    def warned():
        out = StringIO()
        call_command("check", deploy=True, stdout=out, stderr=out)
        return "openrouter_app.W006" in out.getvalue()

    settings.OPENROUTER = {"API_KEY": "sk-or-v1-x"}
    assert warned()
    assert "openrouter_app.W006" not in found(settings)
    settings.OPENROUTER = {"API_KEY": "sk-or-v1-x", "ENCRYPTION_KEYS": [NEW]}
    assert not warned()


# What staff see

LIST = reverse("admin:openrouter_app_userkey_changelist")


def page(row, name="change"):
    return reverse(f"admin:openrouter_app_userkey_{name}", args=[row.pk])


def test_staff_see_whose_key_it_is_and_what_is_left(admin_client):
    row = connect(make_user("ada"))
    for address in (LIST, page(row)):
        text = admin_client.get(address).content.decode()
        for said in ("Example", "ada", "Signed in at OpenRouter", "$4.00 of $5.00 a month"):
            assert said in text, said
    assert row.key_hash[:8] in text


def test_staff_see_neither_the_ciphertext_nor_the_whole_hash(admin_client):
    row = connect(make_user("ada"), info=KeyInfo())
    for address in (LIST, f"{LIST}?q=ada", page(row), page(row, "history"), page(row, "delete")):
        response = admin_client.get(address)
        assert response.status_code == 200
        text = response.content.decode()
        assert row.ciphertext not in text
        assert row.key_hash not in text


def test_staff_delete_a_key_to_disconnect_it_and_the_history_says_so(admin_client):
    row = connect(make_user("ada"))
    admin_client.post(page(row, "delete"), {"post": "yes"})
    assert not UserKey.objects.exists()
    assert [entry.object_repr for entry in LogEntry.objects.all()] == ["Example"]


def test_staff_can_neither_add_nor_change_a_key(admin_client):
    row = connect(make_user("ada"))
    assert admin_client.get(reverse("admin:openrouter_app_userkey_add")).status_code == 403
    assert admin_client.post(page(row), {"label": "mine"}).status_code == 403
    row.refresh_from_db()
    assert row.label == "Example"


@pytest.mark.django_db(transaction=True)
def test_two_sign_ins_that_end_at_once_leave_one_whole_key():
    user = make_user()
    secrets = [Secret(f"sk-or-v1-number-{number}") for number in range(6)]
    start, failed = threading.Barrier(len(secrets)), []

    def act(secret):
        start.wait(10)
        try:
            connect(user, secret)
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=act, args=[secret]) for secret in secrets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    row = UserKey.objects.get()
    assert keys.secret_of(row) in secrets
    assert row.key_hash == keys.hash_of(keys.secret_of(row))
