"""Answers for when nothing is scripted: what the demo shows without a key.

No model, and no pretence of one: what `demo_answers` and `shop_answers` can do, values that fit a tool's
schema, and for all else an answer that says what it is. Every answer is from provider "Simulation" and model
"simulated/...".
The one rule: the same request always gets the same answer, and none makes it raise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from .asked import Asked
from .demo_answers import count, joke, quoted, translation
from .invented import invented, invented_arguments
from .scripts import JSONObject, Piece, Reasoning, Reply, ToolCallScript, words
from .shop_answers import shop_talk

_PLAINLY = "This is a simulated reply by the fake OpenRouter that comes with this app; no model was asked."
_HOW_TO_CONNECT = "To talk to a real model, set OPENROUTER_API_KEY and start the site again."
_THOUGHT = "No model is thinking here. The simulation looks for words it knows in what it was asked."


def simulated_reply(request: JSONObject) -> Reply:
    """The simulation's answer to the body of a ``chat/completions`` request."""
    asked = Asked.by(request)
    pieces = next(pieces for simulate in _SIMULATIONS if (pieces := simulate(asked)) is not None)
    thoughts = tuple(Reasoning(word) for word in words(_THOUGHT)) if asked.thinks else ()
    reply = Reply((*thoughts, *pieces), model=f"simulated/{asked.model}", provider="Simulation")
    return reply if asked.max_tokens is None else _shortened(reply, asked.max_tokens)


def _tool_answered(asked: Asked) -> tuple[Piece, ...] | None:
    if asked.tool_answer is None:
        return None
    return words(f"{_PLAINLY}\n\nThe tool answered: {quoted(asked.tool_answer)}")


def _forced_call(asked: Asked) -> tuple[Piece, ...] | None:
    return None if asked.forced is None else _call(asked.forced, asked)


def _chosen_call(asked: Asked) -> tuple[Piece, ...] | None:
    tool = None if asked.forbids_tools else asked.mentioned_tool()
    return None if tool is None else _call(tool, asked)


def _call(tool: JSONObject, asked: Asked) -> tuple[Piece, ...]:
    arguments = invented_arguments(tool.get("parameters"))
    told = joke(asked) if {"setup", "punchline"} <= arguments.keys() else None
    if told is not None:
        arguments = told | {name: value for name, value in arguments.items() if name not in told}
    return (ToolCallScript(tool["name"], arguments),)


def _translation(asked: Asked) -> tuple[Piece, ...] | None:
    text = translation(asked)
    return None if text is None else words(text)


def _count(asked: Asked) -> tuple[Piece, ...] | None:
    text = count(asked)
    if text is None:
        return None
    size = max(2, len(text) // 100)
    return tuple(text[start : start + size] for start in range(0, len(text), size))


def _spoken_joke(asked: Asked) -> tuple[Piece, ...] | None:
    told = joke(asked) if "joke" in asked.human.lower() else None
    return None if told is None else words("\n\n".join(told.values()))


def _json(asked: Asked) -> tuple[Piece, ...] | None:
    if not asked.wants_json:
        return None
    value = (
        invented(asked.json_schema) if isinstance(asked.json_schema, Mapping) else {"simulation": _PLAINLY}
    )
    return words(json.dumps(value))


def _honest_answer(asked: Asked) -> tuple[Piece, ...]:
    said = [_PLAINLY, f"You asked: {quoted(asked.human)}"]
    if asked.system.strip():
        first = re.split(r"(?<=[.!?])\s", asked.system.strip(), maxsplit=1)[0]
        said.append(f"The instructions begin: {quoted(first)}")
    return words("\n\n".join([*said, _HOW_TO_CONNECT]))


_SIMULATIONS: tuple[Callable[[Asked], tuple[Piece, ...] | None], ...] = (
    shop_talk,
    _tool_answered,
    _forced_call,
    _translation,
    _count,
    _chosen_call,
    _spoken_joke,
    _json,
    _honest_answer,
)


def _shortened(reply: Reply, max_tokens: int) -> Reply:
    """``reply`` after ``max_tokens`` chunks: a chunk of the simulation is about a token."""
    kept: list[Piece] = []
    left = max_tokens
    for piece in reply.pieces:
        fragments = piece.fragments if isinstance(piece, ToolCallScript) else (piece,)
        if len(fragments) > left:
            if isinstance(piece, ToolCallScript) and left:
                kept.append(replace(piece, arguments=piece.fragments[:left]))
            return replace(reply, pieces=tuple(kept), finish="length")
        kept.append(piece)
        left -= len(fragments)
    return reply
