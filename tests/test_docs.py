"""The reference pages say what the code says."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import uvicorn
from uvicorn.main import main

from openrouter_app import checks, consumers, protocol
from openrouter_app.conf import Settings
from openrouter_app.runs import events
from project import web

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MAKEFILE = (ROOT / "Makefile").read_text()


def table(page: str, heading: str) -> dict[str, list[str]]:
    """The first table below a heading: {first cell: the words in backticks in the others}."""
    text = (DOCS / page).read_text().split(f"# {heading}\n", 1)[1]
    rows = re.findall(r"^\| `([^`]+)` \|(.*)\|$", re.split(r"^#", text, flags=re.MULTILINE)[0], re.MULTILINE)
    return {name: re.findall(r"`([^`]+)`", rest) for name, rest in rows}


def tag(kind: type[msgspec.Struct]) -> str:
    return str(kind.__struct_config__.tag)


def test_settings_page_lists_every_setting_with_its_default():
    rows = table("settings.md", "Settings")
    assert set(rows) == set(Settings.__struct_fields__)
    for name, words in rows.items():
        assert eval(words[0]) == getattr(Settings(), name), name


def test_settings_page_lists_every_check():
    named = set(re.findall(r"^([EW]\d{3}) ", checks.__doc__, re.MULTILINE))
    raised = set(re.findall(r'id="openrouter_app\.([EW]\d{3})"', Path(checks.__file__).read_text()))
    rows = table("settings.md", "System checks")
    assert {name.removeprefix("openrouter_app.") for name in rows} == named
    assert raised <= named


@pytest.mark.parametrize(
    ("heading", "union"),
    [("From the page", protocol.ClientFrame), ("From the server", protocol.ServerFrame)],
)
def test_protocol_page_lists_every_frame_with_its_fields(heading, union):
    rows = table("protocol.md", heading)
    assert set(rows) == {tag(kind) for kind in union.__args__}
    for kind in union.__args__:
        assert set(kind.__struct_fields__) <= set(rows[tag(kind)]), kind


def test_protocol_page_lists_every_event_with_its_fields():
    rows = table("protocol.md", "Events")
    assert set(rows) == {tag(kind) for kind in events.Event.__args__}
    for kind in events.Event.__args__:
        fields = (
            set(kind.__struct_fields__) - ({"text"} if kind is events.ToolArguments else set()) - {"name"}
        )
        assert fields <= set(rows[tag(kind)]), kind


def test_protocol_page_lists_every_code():
    source = "".join(path.read_text() for path in (ROOT / "openrouter_app").rglob("*.py"))
    raised = set(re.findall(r'\b(?:Refused|Failed|Interrupted)\(\s*"([a-z_]+)"', source))
    assert len(raised) > 10
    assert raised <= set(table("protocol.md", "Error codes"))
    closing = re.findall(r"^\| (\d{4}) \|", (DOCS / "protocol.md").read_text(), re.MULTILINE)
    codes = (
        getattr(consumers, name) for name in ("SESSION_GONE", "FLOOD", "TOO_LARGE", "RESTART", "OVERLOAD")
    )
    assert closing == [str(code) for code in codes]


def pictured() -> set[str]:
    """What `make screenshots` makes: the words in the tests that have "screenshot" in their names."""
    names: set[str] = set()
    for path in (ROOT / "tests" / "browser").glob("test_*.py"):
        for function in ast.parse(path.read_text()).body:
            if isinstance(function, ast.FunctionDef) and "screenshot" in path.name + function.name:
                words = (node.value for node in ast.walk(function) if isinstance(node, ast.Constant))
                names |= {word for word in words if isinstance(word, str)}
    return names


def test_pictures_of_the_pages_are_used_and_made_by_a_command():
    copied = re.findall(r"^\tcp screenshots/(\S+)-\d+-(?:light|dark)\.png docs/images/(\S+)$", MAKEFILE, re.M)
    pages = "".join(page.read_text() for page in [ROOT / "README.md", *DOCS.rglob("*.md")])
    for path in (DOCS / "images").iterdir():
        assert path.name in {picture for _, picture in copied}
        assert f"images/{path.name})" in pages
    assert {name for name, _ in copied} <= pictured()


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", sorted((DOCS / "decisions").glob("*.md")), ids=lambda path: path.name)
def test_decisions_are_short(page):
    assert len(page.read_text().splitlines()) <= 40


def uvicorn_lines() -> list[tuple[str, dict[str, object]]]:
    """(page, what uvicorn makes of it) of every command in the README and docs/ that serves a site."""
    found = []
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        text = page.read_text().replace("\\\n", "")
        for line in re.findall(r"^ *(?:`)?(uvicorn mysite\.asgi[^`\n]*)", text, re.MULTILINE):
            context = main.make_context("uvicorn", shlex.split(line)[1:])
            given = {
                name for name in context.params if context.get_parameter_source(name).name == "COMMANDLINE"
            }
            found.append((page.name, {name: context.params[name] for name in given}))
    return found


def test_sites_are_served_in_the_docs_as_the_demo_is(monkeypatch):
    said = {}
    monkeypatch.setattr(uvicorn, "Config", lambda app, **options: said.update(options))
    monkeypatch.setattr(uvicorn, "Server", lambda config: SimpleNamespace(run=lambda sockets: None))
    web.serve(None)
    lines = uvicorn_lines()
    assert {page for page, _ in lines} >= {"README.md", "settings.md", "reliability.md"}
    for page, options in lines:
        for name in set(options) & set(said):
            assert options[name] == said[name], (page, name)
    [whole] = [options for page, options in lines if page == "reliability.md"]
    assert set(said) - set(whole) == {"lifespan", "log_level"}, "those of uvicorn's own choice will do"


def test_reliability_page_names_every_fault_and_invariant_with_tests_that_there_are():
    page = (DOCS / "reliability.md").read_text()
    faults = re.findall(r"^\| F(\d+) ", page, re.M)
    assert [int(number) for number in faults] == list(range(1, 43))
    for number, row in re.findall(r"^\| F(\d+) (.*)$", page, re.M):
        assert f"::test_f{number:>02}_" in row or "does not apply" in row, (
            f"F{number}: no test with its number"
        )
    rows = re.findall(r"^\| ((?:\d+(?:, )?)+) ", page, re.M)
    assert sorted(int(number) for row in rows for number in row.split(", ")) == list(range(1, 26))
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)
    assert len(named) > 60
    for path, name in named:
        text = (DOCS.parent / path).read_text()
        assert not name or re.search(rf"def {name}\(", text), f"{path}::{name}"
