"""``manage.py openrouter_fake``, run as a process of its own and called from a test."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from openrouter_app.engine.client import httpx

pytest.importorskip("project.settings")

from django.core.management import CommandError, call_command

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(
    r"Fake OpenRouter at (http://127\.0\.0\.1:(\d+)/api/v1) \(a simulation: no model is asked\)\n"
)


@pytest.fixture
def start(tmp_path):
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-W", "error::ResourceWarning", "manage.py", "openrouter_fake", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        line = process.stdout.readline()
        match = LINE.fullmatch(line)
        assert match, line + process.stderr.read()
        return process, match

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(start, tmp_path, number):
    port_file = tmp_path / "port"
    process, match = start("--chunk-delay", "0", "--port-file", str(port_file))
    base_url, port = match.groups()
    assert port_file.read_text() == f"{port}\n"
    answer = httpx.post(
        f"{base_url}/chat/completions",
        json={"model": "example/model", "messages": [{"role": "user", "content": "Hi"}]},
        headers={"Authorization": "Bearer anything"},
        trust_env=False,
        verify=False,
    ).json()
    assert answer["provider"] == "Simulation"
    process.send_signal(number)
    rest, errors = process.communicate(timeout=10)
    assert (process.returncode, rest, errors) == (0, "", "")
    assert not port_file.exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com"])
def test_other_machines_are_kept_out_unless_allowed(host):
    with pytest.raises(CommandError, match="--allow-remote"):
        call_command("openrouter_fake", host=host)


def test_a_port_that_cannot_be_had_is_a_plain_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(CommandError, match="cannot be served"):
            call_command("openrouter_fake", "--port", port)


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_must_be_a_port(port):
    with pytest.raises(CommandError, match="port from 0 to 65535"):
        call_command("openrouter_fake", "--port", port)


@pytest.mark.parametrize("delay", ["-1", "61", "soon", "nan"])
def test_a_delay_must_make_sense(delay):
    with pytest.raises(CommandError, match="seconds from 0 to 60"):
        call_command("openrouter_fake", "--chunk-delay", delay)
