"""``GET /health/``: what a load balancer hears, and what it costs."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from django.db import OperationalError, connection
from django.test import Client, override_settings
from django.urls import reverse

from openrouter_app import health, runs

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def process(monkeypatch):
    """A process that executes three runs, and has not asked its database yet."""
    monkeypatch.setattr(health, "_database", health.Database())
    for name, answer in {"executing_count": 3, "is_draining": False, "log_is_failing": False}.items():
        monkeypatch.setattr(runs, name, lambda answer=answer: answer, raising=False)


def ask():
    response = Client().get(reverse("openrouter_app:health"))
    return response.status_code, response.json()


def refuse(*args):
    raise OperationalError("disk I/O error at /secret/path")


def test_process_that_is_well_says_what_it_does():
    assert ask() == (200, {"status": "ok", "database": "ok", "runs": 3, "draining": False})


def test_answer_is_for_this_moment_and_for_nobody_in_particular():
    response = Client().get(reverse("openrouter_app:health"))
    assert "no-store" in response["Cache-Control"]
    assert "Cookie" not in response.get("Vary", "")
    assert not response.cookies


def test_only_reading_is_allowed():
    assert Client().head(reverse("openrouter_app:health")).status_code == 200
    assert Client().post(reverse("openrouter_app:health")).status_code == 405


@override_settings(
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
)
def test_site_that_asks_everybody_to_sign_in_does_not_ask_its_load_balancer():
    assert ask()[0] == 200


def test_draining_process_wants_no_work(monkeypatch):
    monkeypatch.setattr(runs, "is_draining", lambda: True)
    assert ask() == (503, {"status": "draining", "database": "ok", "runs": 3, "draining": True})


def test_log_that_cannot_be_written_is_a_failing_database(monkeypatch):
    monkeypatch.setattr(runs, "log_is_failing", lambda: True)
    assert ask() == (503, {"status": "failing", "database": "failing", "runs": 3, "draining": False})


@pytest.mark.skipif(connection.vendor not in {"sqlite", "postgresql"}, reason="no such switch known")
def test_read_only_database_is_failing():
    switch = {
        "sqlite": ("PRAGMA query_only = ON", "PRAGMA query_only = OFF"),
        "postgresql": ("SET default_transaction_read_only = on", "SET default_transaction_read_only = off"),
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(switch[0])
        try:
            assert health.Database().is_writable() is False
        finally:
            cursor.execute(switch[1])
    assert health.Database().is_writable() is True


def test_reason_stays_in_the_log_and_is_said_once(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "openrouter_app.health")
    monkeypatch.setattr(health, "ASK_AGAIN_AFTER", 0)
    with monkeypatch.context() as patch:
        patch.setattr(health.Run.objects, "filter", refuse)
        for _ in range(3):
            status, body = ask()
            assert (status, body["status"], body["database"]) == (503, "failing", "failing")
            assert "secret" not in str(body)
    said = [record.getMessage() for record in caplog.records if record.name == "openrouter_app.health"]
    assert said == ["the database cannot be written to"]
    assert ask()[0] == 200
    assert "can be written to again" in caplog.text


@pytest.mark.parametrize("works", [True, False])
def test_database_is_asked_once_a_second(works, monkeypatch):
    asked = []
    monkeypatch.setattr(health, "_write", lambda log_error: asked.append(log_error) or works)
    assert {ask()[0] for _ in range(5)} == {200 if works else 503}
    assert asked == [True]


def test_while_one_asks_others_hear_the_last_verdict_and_after_a_while_a_no(monkeypatch):
    begun, end = threading.Event(), threading.Event()

    def slow(log_error):
        begun.set()
        return end.wait(20)

    database = health.Database()
    monkeypatch.setattr(health, "_write", slow)
    asking = threading.Thread(target=database.is_writable)
    asking.start()
    try:
        assert begun.wait(20)
        assert database.is_writable() is True
        monkeypatch.setattr(health, "GIVE_UP_AFTER", 0)
        time.sleep(0.01)
        assert database.is_writable() is False
    finally:
        end.set()
        asking.join()
    assert database.is_writable() is True
