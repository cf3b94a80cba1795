"""Sealed texts: who can open one, with which key, and what a column of them takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.core import serializers
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app import sealing
from openrouter_app.engine.secret import Secret
from openrouter_app.management.commands.openrouter_rotate_keys import SEALED
from openrouter_app.models import SignIn
from openrouter_app.models.sealed import SealedTextField
from tests.factories import make_user

ROOT = Path(__file__).parents[1]
OLD, NEW = Fernet.generate_key().decode(), "a passphrase of more than thirty-two characters"
KEY = "sk-or-v1-CANARYCANARYCANARY"


@pytest.fixture(autouse=True)
def keys(settings):
    """Lets a test set ``ENCRYPTION_KEYS``."""
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the site's own", []

    def use(*given):
        settings.OPENROUTER = {"ENCRYPTION_KEYS": given}

    return use


def opened(token, bound_to="row:1"):
    secret = sealing.unseal(token, bound_to=bound_to)
    return None if secret is None else secret.reveal()


@given(text=st.text(st.characters(exclude_categories=["Cs"])), bound_to=st.text())
def test_a_sealed_text_opens_to_itself_and_is_not_in_the_token(text, bound_to):
    bound_to = bound_to.encode("utf-8", "replace").decode()
    token = sealing.seal(text, bound_to=bound_to)
    assert opened(token, bound_to) == text
    assert sealing.is_token(token)
    assert opened(token, f"{bound_to}!") is None


def test_a_secret_is_sealed_as_its_text():
    assert opened(sealing.seal(Secret(KEY), bound_to="row:1")) == KEY


def test_the_same_text_gives_another_token_each_time():
    assert sealing.seal(KEY, bound_to="row:1") != sealing.seal(KEY, bound_to="row:1")


def test_half_a_surrogate_pair_is_refused_by_an_error_without_the_text():
    with pytest.raises(ValueError, match="surrogate") as caught:
        sealing.seal(f"{KEY}\ud800", bound_to="row:1")
    assert caught.value.__context__ is None


def test_A15_a_token_that_was_changed_anywhere_does_not_open():
    token = sealing.seal(KEY, bound_to="row:1")
    for place in range(0, len(token.rstrip("=")) - 1, 3):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert opened(changed) is None


@pytest.mark.parametrize("token", ["", "x", "gAAAA", "ü", "\0", KEY, "gAAAA" + "A" * 200])
def test_what_is_no_token_does_not_open(token):
    assert opened(token) is None
    assert not sealing.is_current(token)


def test_a_token_of_another_shape_does_not_open(settings, keys):
    keys(OLD)
    for payload in (b"x", b"[]", b'["row:1"]', b'["row:1", 1]', b'{"row:1": "x"}', b"\xff"):
        assert opened(Fernet(OLD).encrypt(payload).decode()) is None


# Which key


def test_the_newest_key_seals_and_the_older_ones_open(keys):
    keys(OLD)
    old = sealing.seal(KEY, bound_to="row:1")
    assert sealing.is_current(old)
    keys(NEW, OLD)
    assert opened(old) == KEY
    assert not sealing.is_current(old)
    new = sealing.seal(KEY, bound_to="row:1")
    assert sealing.is_current(new)
    keys(NEW)
    assert opened(new) == KEY
    assert opened(old) is None


def test_without_keys_the_secret_key_seals_and_its_fallbacks_open(settings):
    old = sealing.seal(KEY, bound_to="row:1")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another", ["the site's own"]
    assert opened(old) == KEY
    assert not sealing.is_current(old)
    settings.SECRET_KEY_FALLBACKS = []
    assert opened(old) is None


def test_what_the_secret_key_sealed_opens_after_the_first_key_is_set_but_is_not_current(keys):
    old = sealing.seal(KEY, bound_to="row:1")
    keys(NEW)
    assert opened(old) == KEY
    assert not sealing.is_current(old)


def test_the_secret_key_itself_and_the_same_text_as_a_passphrase_are_other_keys(settings, keys):
    settings.SECRET_KEY = NEW
    by_secret_key = sealing.seal(KEY, bound_to="row:1")
    keys(NEW)
    settings.SECRET_KEY = "another"
    assert opened(by_secret_key) is None


def test_a_fernet_key_is_used_as_it_is(keys):
    keys(OLD)
    token = sealing.seal(KEY, bound_to="row:1")
    assert Fernet(OLD).decrypt(token) == b'["row:1","%s"]' % KEY.encode()


@pytest.mark.parametrize("given", ["", "short", f" {NEW}", f"{NEW}\n"])
def test_a_key_that_is_none_seals_nothing_and_is_in_no_error(keys, given):
    token = sealing.seal(KEY, bound_to="row:1")
    keys(NEW, given)
    for act in (sealing.seal, sealing.unseal):
        with pytest.raises(ImproperlyConfigured, match="Entry 1") as caught:
            act(token, bound_to="row:1")
        assert NEW not in str(caught.value)


def test_a_key_that_stands_there_twice_is_told(keys):
    keys(OLD, NEW)
    assert [*sealing.problems()] == []
    keys(OLD, NEW, OLD)
    assert [*sealing.problems()] == ["Entry 2 stands there twice."]


def test_a_site_that_seals_nothing_does_not_import_what_seals():
    code = "import sys, django; django.setup(); sys.exit('cryptography' in sys.modules)"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT).returncode == 0


# The column


@pytest.fixture
def begun(db):
    """A row whose verifier is sealed."""
    return SignIn.objects.create(
        nonce_hash="n" * 64, session_hash="s", user=make_user(), verifier=Secret(KEY)
    )


def test_a_secret_is_sealed_when_its_row_is_saved(begun):
    assert sealing.is_token(begun.verifier)
    read = SignIn.objects.get()
    assert KEY not in repr(vars(read))
    assert read.opened() == Secret(KEY)


def test_a_secret_opens_before_its_row_is_saved():
    assert SignIn(nonce_hash="n", verifier=Secret(KEY)).opened() == Secret(KEY)


def test_a_row_that_is_saved_again_keeps_its_token(begun):
    before = begun.verifier
    begun.next = "/"
    begun.save()
    begun.refresh_from_db()
    assert begun.verifier == before


@pytest.mark.parametrize("value", [KEY, "", Secret(KEY), None, 3])
def test_a_text_that_is_no_token_is_not_stored_and_not_in_the_error(begun, value):
    with pytest.raises(TypeError, match="sealed text alone") as caught, transaction.atomic():
        SignIn.objects.update(verifier=value)
    assert KEY not in str(caught.value)
    assert SignIn.objects.get().opened() == Secret(KEY)


def test_a_clear_text_cannot_be_saved_with_its_row(begun):
    begun.verifier = KEY
    with pytest.raises(TypeError, match="sealed text alone"), transaction.atomic():
        begun.save()


def test_a_row_is_dumped_and_loaded_with_its_token(begun):
    dumped = serializers.serialize("json", [begun])
    assert KEY not in dumped
    begun.delete()
    (again,) = serializers.deserialize("json", dumped)
    again.save()
    assert SignIn.objects.get().opened() == Secret(KEY)


def test_a_fixture_with_a_clear_text_is_refused(begun):
    dumped = serializers.serialize("json", [begun]).replace(begun.verifier, KEY)
    with pytest.raises(serializers.base.DeserializationError):
        [*serializers.deserialize("json", dumped)]
    with pytest.raises(ValidationError):
        SignIn._meta.get_field("verifier").to_python(KEY)


def test_A15_a_token_copied_to_another_row_of_its_table_or_to_another_column_does_not_open(begun):
    other = SignIn.objects.create(
        nonce_hash="m" * 64, session_hash="s", user=begun.user, verifier=Secret("other")
    )
    SignIn.objects.filter(pk=other.pk).update(verifier=begun.verifier)
    other.refresh_from_db()
    assert other.opened() is None
    field = SignIn._meta.get_field("verifier")
    assert sealing.unseal(begun.verifier, bound_to=field.binding(begun)) == Secret(KEY)
    assert sealing.unseal(begun.verifier, bound_to=field.binding(begun).replace("verifier", "other")) is None


def test_every_column_of_sealed_text_is_rotated():
    sealed = {
        model
        for model in apps.get_app_config("openrouter_app").get_models()
        if any(isinstance(field, SealedTextField) for field in model._meta.fields)
    }
    assert sealed == set(SEALED)
