"""A loop that outlives the request that uses it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time

import pytest
from django.utils import translation

from openrouter_app import background
from openrouter_app.background import in_background


async def where() -> tuple[int, str | None]:
    return threading.get_ident(), translation.get_language()


def test_what_is_started_goes_on_when_its_caller_has_left():
    begun, ended = threading.Event(), threading.Event()

    async def long() -> None:
        begun.set()
        await asyncio.sleep(0.1)
        ended.set()

    async def request() -> None:
        in_background(long())

    asyncio.run(request())
    assert begun.wait(2)
    assert ended.wait(2)


def test_result_and_error_come_back_and_the_loop_is_one():
    first, second = (in_background(where()).result(2) for _ in range(2))
    assert first[0] == second[0] != threading.get_ident()

    async def fail() -> None:
        raise LookupError("x")

    with pytest.raises(LookupError):
        in_background(fail()).result(2)


def test_language_of_the_caller_is_spoken_there():
    with translation.override("de"):
        assert in_background(where()).result(2)[1] == "de"
    with translation.override("ar"):
        assert in_background(where()).result(2)[1] == "ar"


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="no forks here")
def test_forked_process_begins_anew(monkeypatch):
    in_background(where()).result(2)
    known = background._loop
    monkeypatch.setattr(background, "_loop", known)  # and again at the end
    background._begin_anew()  # what a child calls
    assert background._loop is not known
    assert in_background(where()).result(2)
    theirs = background._loop
    theirs._loop.call_soon_threadsafe(theirs._loop.stop)
    for _ in range(200):
        if not theirs._loop.is_running():
            break
        time.sleep(0.01)
    theirs._loop.close()


def test_process_that_ends_closes_what_the_loop_holds_and_says_nothing():
    code = (
        "from django.conf import settings\n"
        "settings.configure(USE_I18N=False)\n"
        "from openrouter_app.background import in_background\n"
        "from openrouter_app.engine import client\n"
        "async def use():\n"
        "    used = client.async_client()\n"
        "    aclose = used.aclose\n"
        "    async def said():\n"
        "        await aclose()\n"
        "        print('closed')\n"
        "    used.aclose = said\n"
        "in_background(use()).result()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")
