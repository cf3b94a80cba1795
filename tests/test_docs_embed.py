"""docs/embed-a-chat.md is true: its blocks make a chat in a new project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from openrouter_app.pages.chat import Chat
from project.csp import POLICY
from tests import readme

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "embed-a-chat.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
TEMPLATES = ROOT / "openrouter_app" / "templates" / "openrouter_app"

pytestmark = pytest.mark.timeout(300)


def named() -> dict[str, str]:
    """The blocks that belong into a file of the project, by its name in their first line."""
    found = {}
    for _language, text in BLOCKS:
        if name := re.match(r"(?:#|\{#|/\*) ([\w/.]+)(?:, at the end)?(?: #\}| \*/)?\n", text):
            found[name[1]] = text
    return found


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Path:
    """A new project with the README's lines, an app ``help``, and the page's files."""
    path = tmp_path_factory.mktemp("host")
    call(path, "-m", "django", "startproject", "mysite", ".")
    call(path, "manage.py", "startapp", "help")
    for name, block in readme.host_blocks().items():
        (path / name).write_text((path / name).read_text() + "\n" + block)
    settings = path / "mysite/settings.py"
    settings.write_text(
        settings.read_text()
        + "\nINSTALLED_APPS += ['help']\nTEMPLATES[0]['DIRS'] = [BASE_DIR / 'templates']\n"
        + "ALLOWED_HOSTS = ['testserver']\n"
    )
    for name, block in named().items():
        if name == "seed":
            continue
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        before = (
            target.read_text() + "\n" if target.exists() and "at the end" in block.splitlines()[0] else ""
        )
        # a template's first line may be a comment, but not before {% extends %}
        target.write_text(before + block)
    urls = path / "mysite/urls.py"
    urls.write_text(urls.read_text() + "\nurlpatterns += [path('bare/', lambda r: render(r, 'bare.html'))]\n")
    urls.write_text("from django.shortcuts import render\n" + urls.read_text())
    call(path, "manage.py", "migrate", "--verbosity", "0")
    call(path, "manage.py", "shell", "-c", named()["seed"])
    return path


def call(path: Path, *command: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OPENROUTER_API_KEY": "test"}
    env.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command],
        cwd=path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def page(host: Path, url: str) -> str:
    code = (
        "from django.test import Client\n"
        f"response = Client().get({url!r})\n"
        "assert response.status_code == 200, response.status_code\n"
        "print(response.content.decode())"
    )
    return call(host, "manage.py", "shell", "-c", code)


def test_tag_brings_the_chat_into_a_page(host):
    html = page(host, "/help/")
    assert "<h1>How can we help?</h1>" in html
    assert '<openrouter-chat chain="support" base="/chat/"' in html
    assert 'src="/static/openrouter_app/js/openrouter-chat.js"' in html
    assert "/chat/conversations/{conversation}/data/" in html
    assert "bookshop." not in html  # the prompt


def test_element_alone_finds_its_content(host):
    assert '<openrouter-chat chain="support" base="/chat/">' in page(host, "/bare/")
    assert "data-config" in page(host, "/chat/chains/support/chat/")


def test_template_is_overridden_block_by_block(host):
    html = page(host, "/chat/chains/support/")
    assert "<title>Bookshop \u2013 " in html
    assert "Answers may be wrong." in html
    assert "<openrouter-chat " in html


def test_policy_is_the_one_that_is_tested():
    [policy] = [text.strip() for language, text in BLOCKS if language == "text"]
    assert policy == POLICY


def test_templates_and_blocks_are_there():
    rows = re.findall(r"^\| `(\w+\.html)` \|[^|]*\|(.*)\|$", TEXT, re.MULTILINE)
    assert len(rows) == 7
    for name, blocks in rows:
        source = (TEMPLATES / name).read_text()
        known = set(re.findall(r"\{% block (\w+) %\}", source))
        said = set(re.findall(r"`(\w+)`", blocks))
        if "base.html" in blocks:
            assert known - said <= set(
                re.findall(r"\{% block (\w+) %\}", (TEMPLATES / "base.html").read_text())
            )
        assert said <= known, name
    for name in ("chain", "conversation", "history", "fields", "may_send"):
        assert name in Chat.__dataclass_fields__ or hasattr(Chat, name)


def test_properties_are_there():
    css = ROOT / "openrouter_app" / "static" / "openrouter_app" / "css"
    sheets = "".join(path.read_text() for path in css.glob("*.css"))
    [own] = [text for language, text in BLOCKS if language == "css"]
    for name in re.findall(r"--openrouter-[\w-]+", own):
        assert f"{name}:" in sheets or f"var({name}" in sheets, name


def test_page_is_found_from_the_readme():
    assert "(docs/embed-a-chat.md)" in (ROOT / "README.md").read_text()
