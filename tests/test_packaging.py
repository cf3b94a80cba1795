"""In another project: the wheel, a fresh environment, `startproject`, the README's lines, one run.

Installs from the index that pip is set up for, like any user of the package.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from openrouter_app.testing import simulated_reply
from tests import readme

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), cwd=ROOT)
    (built,) = out.glob("*.whl")
    return built


def run(*command: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_what_a_host_needs_and_nothing_else(wheel):
    names = names_in(wheel)
    tracked = run("git", "ls-files", "openrouter_app", cwd=ROOT).split() if (ROOT / ".git").exists() else []
    assert names >= set(tracked)
    for kind in (
        "templates/openrouter_app/",
        "static/openrouter_app/js/",
        "migrations/0001",
        "py.typed",
        "locale/de/LC_MESSAGES/django.mo",
    ):
        assert any(name.startswith(f"openrouter_app/{kind}") for name in names), kind
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"openrouter_app"}


@pytest.fixture
def host(wheel, tmp_path) -> Path:
    """A new project with the app installed from its wheel and the README's lines at the ends of its files."""
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", str(venv), cwd=tmp_path)
    pip = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    (command,) = [
        line for block in readme.blocks("shell") for line in block.splitlines() if line.startswith("pip ")
    ]
    packages = command.removeprefix("pip install ").split()
    assert packages[0] == "django-openrouter-chains"
    run(*pip, *constraints, str(wheel), *packages[1:], cwd=tmp_path)
    run(str(venv / "bin/django-admin"), "startproject", "mysite", ".", cwd=tmp_path)
    for name, block in readme.host_blocks().items():
        path = tmp_path / name
        path.write_text(path.read_text() + "\n" + block)
    return tmp_path


def test_ten_lines_bring_the_app_into_a_new_project(host, wheel, openrouter):
    openrouter.default = simulated_reply
    python = str(host / "venv/bin/python")
    settings = host / "mysite/settings.py"
    settings.write_text(settings.read_text() + f'\nOPENROUTER["BASE_URL"] = "{openrouter.base_url}"\n')
    env = {**os.environ, "OPENROUTER_API_KEY": "test"}
    env.pop("DJANGO_SETTINGS_MODULE", None)
    run(python, "manage.py", "migrate", cwd=host, env=env)
    run(python, "manage.py", "shell", "-c", SEED, cwd=host, env=env)
    assert (
        "no changes"
        in run(python, "manage.py", "makemigrations", "--check", "--dry-run", cwd=host, env=env).lower()
    )
    run(python, "manage.py", "check", cwd=host, env=env)

    command = [
        str(host / "venv/bin/uvicorn"),
        "mysite.asgi:application",
        "--ws",
        "websockets-sansio",
        "--port",
        "0",
    ]
    with open(host / "server.log", "w+") as log:
        server = subprocess.Popen(command, cwd=host, env=env, stdout=log, stderr=log)
        try:
            address = wait_for_address(host / "server.log", server)
            page = urlopen(f"{address}/chat/chains/count/").read().decode()
            assert 'src="/static/openrouter_app/' in page
            static = [n.removeprefix("openrouter_app/") for n in names_in(wheel) if "/static/" in n]
            assert len(static) > 10
            for name in static:
                assert urlopen(f"{address}/{name}").status == 200
            assert "count" in urlopen(f"{address}/chat/").read().decode()
            output = asyncio.run(count(address))
            assert output == "123456789"
        finally:
            server.terminate()
            server.wait(20)


SEED = """
from openrouter_app.models import Chain, PromptRow, PromptTemplate
prompt = PromptTemplate.objects.create(slug="count")
rows = [("system", "You are a helpful assistant that replies only with numbers in order "
                   "without any spaces or commas"),
        ("human", "List the numbers from 1 to {max_num}")]
for position, (role, text) in enumerate(rows, start=1):
    PromptRow.objects.create(template=prompt, position=position, role=role, text=text)
chain = Chain.objects.create(slug="count", title="count", prompt=prompt, model="a/b", access="public")
chain.publish()
"""


def wait_for_address(log: Path, server: subprocess.Popen[bytes]) -> str:
    for _ in range(300):
        if found := re.search(r"running on (http://[\d.:]+)", log.read_text()):
            return found.group(1)
        assert server.poll() is None, log.read_text()
        time.sleep(0.1)
    raise URLError(log.read_text())


async def count(address: str) -> str:
    from websockets.asyncio.client import connect

    url = address.replace("http", "ws", 1) + "/ws/openrouter/"
    async with connect(url, origin=address, proxy=None) as socket:
        assert json.loads(await socket.recv())["type"] == "hello"
        await socket.send(
            json.dumps({"type": "run.start", "id": "k1", "chain": "count", "input": {"max_num": "9"}})
        )
        frames = 0
        while True:
            frame = json.loads(await asyncio.wait_for(socket.recv(), 30))
            frames += 1
            for event in frame.get("events", []):
                if event["type"] == "finished":
                    assert frames > 2
                    return event["output"]
                assert event["type"] not in ("failed", "interrupted"), event
