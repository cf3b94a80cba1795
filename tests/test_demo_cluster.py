"""``make demo-cluster`` from outside: two addresses, one site, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from openrouter_app.engine.client import httpx
from project import postgres, valkey
from tests.servers import needed

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def servers():
    needed(postgres.find_programs)
    needed(valkey.find_program)


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


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_cluster_serves_at_two_addresses_and_ends_all_it_started(tmp_path, signum):
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENROUTER_", "DJANGO_"))
    }
    env = kept | {"PORT": "0", "HOST": "127.0.0.1", "DEMO_VAR": str(tmp_path), "MODEL": ""}
    command = [sys.executable, "-m", "project.cluster"]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = ""
            while "Ctrl-C" not in said:
                line = process.stdout.readline()
                assert line, said
                said += line
            started = psutil.Process(process.pid).children(recursive=True)
            assert {"postgres", "valkey-server"} <= names_of(started)
            first, second = re.findall(r"The page +(http://\S+/)\n", said)
            with httpx.Client(trust_env=False) as browser:
                assert browser.get(f"{first}chains/count/").status_code == 200
                mine = browser.cookies["openrouter_demo_session"]
                assert browser.get(f"{second}chains/count/").status_code == 200
                assert browser.cookies["openrouter_demo_session"] == mine
        finally:
            process.send_signal(signum)
            process.wait(30)
            postgres.remove(tmp_path / "cluster" / "postgres")
    assert process.returncode == 128 + signum
    assert not psutil.wait_procs(started, timeout=5)[1]
