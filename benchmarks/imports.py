"""What importing costs, each time in a fresh process."""

from __future__ import annotations

import subprocess

from .environments import ROOT, Environment, surroundings
from .page import Section, Verdict, prose, share, spread, table
from .plan import Plan
from .rounds import Taken, ratio

FLOOR, OURS = "import httpx, msgspec", "from openrouter_app import *"
LIMIT = 1.3
IMPORTS = {  # the statement, and the environment it runs in
    FLOOR: "ours",
    OURS: "ours",
    "import openai; openai.AsyncOpenAI": "openai",
    "from pydantic_ai import Agent; from pydantic_ai.models.openrouter import OpenRouterModel": "pydantic-ai",
    "from langchain_openrouter import ChatOpenRouter": "langchain-openrouter",
    "import litellm; litellm.acompletion": "litellm",
}
CODE = "import time; before = time.process_time()\n{}\nprint('took', time.process_time() - before)"


def measure(environments: dict[str, Environment], plan: Plan) -> Section:
    """Each statement in turns, one round unmeasured: it compiles and fills the caches."""
    statements = {code: home for code, home in IMPORTS.items() if home in environments}
    taken: Taken = {code: [] for code in statements}
    for number in range(plan.rounds + 1):
        for code, home in statements.items():
            seconds = _seconds(environments[home], code)
            if number:
                taken[code].append(seconds)
    rows = (
        (f"`{code}`", spread(times, 1e3), _against(taken, code, FLOOR), _against(taken, OURS, code))
        for code, times in taken.items()
    )
    head = ("", "ms CPU", "against `httpx, msgspec`", "ours takes")
    text = prose(
        """CPU time of the statement in a fresh process; `*` is every name of `openrouter_app`'s door, for
        which Django is not imported."""
    )
    verdict = Verdict("importing `openrouter_app`, against httpx + msgspec", LIMIT, ratio(taken, OURS, FLOOR))
    return Section("Imports", f"{text}\n\n{table(head, rows)}", [verdict])


def _against(taken: Taken, code: str, base: str) -> str:
    value = ratio(taken, code, base)
    return "" if value is None else share(value)


def _seconds(environment: Environment, code: str) -> float:
    said = subprocess.run(
        [environment.python, "-c", CODE.format(code)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=surroundings(),
    )
    return float(said.stdout.rsplit("took", 1)[1])
