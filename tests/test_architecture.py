"""The floors: imports only go down, Django begins above the wall, and nothing imports the fake."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
APP = ROOT / "openrouter_app"

FLOORS = {
    "blocks": 0,
    "highlighting": 0,
    "markdown": 1,
    "engine.errors": 0,
    "engine.secret": 0,
    "engine.json_size": 0,
    "engine.messages": 1,
    "engine.pictures": 1,
    "engine.operations": 0,
    "engine.partial_json": 1,
    "engine.docstrings": 1,
    "engine.drafts": 1,
    "engine.patterns": 1,
    "engine.places": 1,
    "engine.threads": 1,
    "engine.watchdog": 1,
    "engine.sse": 2,
    "engine.chunks": 2,
    "engine.failures": 2,
    "engine.arguments": 2,
    "engine.json_text": 2,
    "engine.prompts": 2,
    "engine.replies": 2,
    "engine.base_url": 3,
    "engine.chat_prompts": 3,
    "engine.inflate": 3,
    "engine.lenient": 3,
    "engine.reasoning": 3,
    "engine.schemas": 3,
    "engine.type_schemas": 3,
    "engine.signatures": 4,
    "engine.validation": 4,
    "engine.tools": 5,
    "engine.requests": 4,
    "engine.fold": 4,
    "engine.wire": 5,
    "engine.aiohttp_transport": 4,
    "engine.client": 5,
    "engine.defaults": 6,
    "engine.connections": 6,
    "engine.flows": 6,
    "engine.loops": 6,
    "engine.async_connections": 7,
    "engine.branches": 7,
    "engine.patience": 7,
    "engine.transforms": 8,
    "engine.async_branches": 9,
    "engine.drivers": 9,
    "engine.async_drivers": 10,
    "engine.accounts": 11,
    "engine.chains": 11,
    "engine": 12,
    "": 13,  # the package's door
    # ---- the wall: no Django below ----
    "conf": 14,
    "background": 15,
    "database": 15,
    "refusals": 15,
    "sealing": 15,
    "sentences": 15,
    "signals": 15,
    "languages": 15,
    "tool_handlers": 15,
    "models": 16,
    "migrations": 17,
    "conversations": 17,
    "identity": 17,
    "catalogue": 17,
    "keys": 17,
    "limits": 18,
    "runs": 19,
    "changing": 20,
    "naming": 20,
    "pages": 20,
    "protocol": 20,
    "spending": 20,
    "testing": 20,  # beside the faces; the command that serves it stands on it
    "views": 21,
    "sockets": 21,
    "consumers": 22,
    "admin": 21,
    "checks": 21,
    "health": 21,
    "tasks": 21,
    "templatetags": 21,
    "management": 21,
    "urls": 22,
    "routing": 23,
    "apps": 22,
    "lifespan": 21,
}
WALL = 14
MAY_IMPORT_TESTING = {"management.commands.openrouter_fake"}
LONGEST = 400


def modules() -> dict[str, Path]:
    """Every module of the app by its name below ``openrouter_app``."""
    found = {}
    for path in sorted(APP.rglob("*.py")):
        parts = path.relative_to(APP).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def floor_of(name: str) -> tuple[str, int] | None:
    """The entry of the table a module falls under, itself or its package."""
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        if (entry := ".".join(parts[:size])) in FLOORS and (size == len(parts) or entry not in ("engine",)):
            return entry, FLOORS[entry]
    return ("", FLOORS[""]) if name == "" else None


@cache
def import_statements(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """All of a module, those in its functions included."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


def imports_of(name: str, path: Path) -> set[str]:
    """The app's modules that a module imports, function-local imports included."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    package = [part for part in package if part]
    found = set()
    for node in import_statements(path):
        targets: list[tuple[str, str | None]]
        if isinstance(node, ast.Import):
            targets = [(alias.name, None) for alias in node.names]
        else:
            base = node.module or ""
            if node.level:
                above = package[: len(package) - node.level + 1]
                base = ".".join(["openrouter_app", *above, *filter(None, [base])])
            targets = [(base, alias.name) for alias in node.names]
        for base, member in targets:
            if base != "openrouter_app" and not base.startswith("openrouter_app."):
                continue
            inner = base.removeprefix("openrouter_app").removeprefix(".")
            whole = ".".join(filter(None, [inner, member or ""]))
            found.add(whole if whole in MODULES else inner)
    return found - {name}


def roots_of(path: Path) -> set[str]:
    """The top-level packages a module imports."""
    found = set()
    for node in import_statements(path):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif not node.level:
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_a_floor(name):
    assert floor_of(name) is not None, f"put {name} into the table of floors"


@pytest.mark.parametrize("name", MODULES)
def test_imports_only_go_down(name):
    entry, floor = floor_of(name)
    for target in imports_of(name, MODULES[name]):
        below, height = floor_of(target)
        assert below == entry or height < floor, f"{name} (floor {floor}) imports {target} (floor {height})"


@pytest.mark.parametrize("name", [name for name in MODULES if (floor_of(name) or ("", 99))[1] < WALL])
def test_no_django_below_the_wall(name):
    assert not roots_of(MODULES[name]) & {"django", "channels", "asgiref"}


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("testing")])
def test_nothing_imports_the_fake_but_the_command_that_serves_it(name):
    if name not in MAY_IMPORT_TESTING:
        assert not [target for target in imports_of(name, MODULES[name]) if target.startswith("testing")]


def test_only_the_clients_modules_open_connections():
    allowed = {"engine.client", "engine.connections", "engine.aiohttp_transport"}
    for name, path in MODULES.items():
        if name not in allowed and not name.startswith("testing"):
            assert not roots_of(path) & {"httpx", "socket", "http", "urllib3", "requests", "aiohttp"}, name


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("migrations")])
def test_modules_stay_readable_in_one_sitting(name):
    assert len(MODULES[name].read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("word", ["utils", "helpers", "manager", "service", "services", "misc", "common"])
def test_no_module_has_a_name_that_says_nothing(word):
    assert not [name for name in MODULES if word in name.split(".")]


def test_engine_imports_neither_django_nor_what_it_may_never_need():
    code = (
        "import sys, openrouter_app;"
        "late = {'django', 'channels', 'jsonschema', 'partial_json_parser', 'markdown_it'};"
        "late |= {'asyncio', 'aiohttp', 'httpx_aiohttp', 'pygments.formatters'};"
        "sys.exit(', '.join(sorted(late & set(sys.modules))) or None)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr


def test_door_names_what_it_exports():
    import openrouter_app

    assert list(openrouter_app.__all__) == sorted(openrouter_app.__all__)
    public = {
        name
        for name, value in vars(openrouter_app).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("openrouter_app.engine")
    }
    assert public == set(openrouter_app.__all__)
