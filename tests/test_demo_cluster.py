"""``make demo-cluster`` from outside: two addresses, one site, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from openrouter_app.engine.client import httpx
from project import postgres, valkey
from tests.faults.pages import Page, new_visitor
from tests.followers import until
from tests.servers import needed

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def servers():
    needed(postgres.find_programs)
    needed(valkey.find_program)


@pytest.fixture(scope="module")
def var(tmp_path_factory):
    """The cluster's folder: who comes second starts on the database of the first."""
    path = tmp_path_factory.mktemp("var")
    yield path
    postgres.remove(path / "cluster" / "postgres")


def names_of(processes):
    """PostgreSQL's own workers come and go, and a process that was just started has its parent's name."""
    names = set()
    for _ in range(50):
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                names.add(psutil.Process(process.pid).name())
        if "valkey-server" in names:
            break
        time.sleep(0.1)
    return names


@contextmanager
def cluster(var, signum=signal.SIGTERM, **env):
    """Its addresses and the processes it has started, until it gets the signal; its files in ``var``."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENROUTER_", "DJANGO_"))
    }
    env = kept | {"PORT": "0", "HOST": "127.0.0.1", "DEMO_VAR": str(var), "MODEL": ""} | env
    command = [sys.executable, "-m", "project.cluster"]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = ""
            while "Ctrl-C" not in said:
                line = process.stdout.readline()
                assert line, said
                said += line
            started = psutil.Process(process.pid).children(recursive=True)
            yield re.findall(r"The page +(http://\S+)/\n", said), started
        finally:
            process.send_signal(signum)
            process.wait(30)
    assert process.returncode == 128 + signum
    assert not psutil.wait_procs(started, timeout=5)[1]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_cluster_serves_at_two_addresses_and_ends_all_it_started(var, signum):
    with cluster(var, signum) as ((first, second), started), httpx.Client(trust_env=False) as browser:
        assert {"postgres", "valkey-server"} <= names_of(started)
        assert browser.get(f"{first}/chains/count/").status_code == 200
        mine = browser.cookies["openrouter_demo_session"]
        assert browser.get(f"{second}/chains/count/").status_code == 200
        assert browser.cookies["openrouter_demo_session"] == mine


async def test_run_that_was_started_at_one_address_is_watched_and_stopped_at_the_other(var, openrouter):
    openrouter.stall("Hel", seconds=120)
    answers = {"OPENROUTER_BASE_URL": openrouter.base_url, "OPENROUTER_API_KEY": "test"}
    with cluster(var, **answers) as ((first, second), _):
        visitor = await asyncio.to_thread(new_visitor, first)
        async with Page(first, visitor) as page, Page(second, visitor) as other:
            run = await page.start()
            await other.follow(run)
            await other.says(run, "Hel")
            await other.stop(run)
            for each in (page, other):
                state = await each.ended(run)
                assert (state["status"], state["parts"][-1]["text"]) == ("stopped", "Hel")
        await until(lambda: not openrouter.active)
