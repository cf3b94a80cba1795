"""What the simulation can do by itself: translate a phrase, count, tell a joke.

These are the demo's three chains, but nothing here knows about chains: each function reads the request
and answers None where it is not about its subject.
The one rule: an edited prompt shows in the answer; an edit that changed nothing is quoted in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .asked import Asked
from .phrasebook import BEAR_JOKE, JOKE, LANGUAGES, PHRASES, SHORT_BEAR_JOKE, SHORT_JOKE
from .styles import styled, without_style

MAX_COUNT = 500

_TRANSLATE = re.compile(r"\btranslates?\s+(.{1,80}?)\s+(?:in)?to\s+(\w[\w -]{0,40})", re.I | re.S)
_TRANSLATE_DEMO = re.compile(r"You are a helpful assistant that translates [\w ]+ to [\w ]+\.?")

_COUNT = re.compile(r"\bnumbers?\s+(?:from\s+)?(-?\d{1,9})\s+(?:up\s+|down\s+)?to\s+(-?\d{1,9})\b", re.I)
_COUNT_DEMO = re.compile(
    r"You are a helpful assistant that replies only with numbers in order without any spaces or commas\.?\n"
    r"List the numbers from -?\d+ to -?\d+\.?"
)
_BACKWARDS = re.compile(
    r"\b(?:backwards?|descending|reversed?|count(?:ing)? ?down|highest to lowest)\b", re.I
)
_WITHOUT = re.compile(r"\bwithout((?:\s+(?:any|or|and|spaces?|commas?)\b)+)", re.I)
_SEPARATORS = (
    (
        re.compile(r"\b(?:one per line|(?:on|in) (?:its|their) own lines?|newlines?|line breaks?)\b", re.I),
        "\n",
    ),
    (re.compile(r"\bcommas? and (?:a )?spaces?\b", re.I), ", "),
    (re.compile(r"\bcommas?\b", re.I), ","),
    (re.compile(r"\bspaces?\b", re.I), " "),
    (re.compile(r"\b(?:dashes|dash|hyphens?)\b", re.I), "-"),
    (re.compile(r"\bsemicolons?\b", re.I), "; "),
)

_JOKE = re.compile(r"\bjokes?\s+(?:about|on|of)\s+(.+)|\babout\s+(.+)", re.I | re.S)
_JOKE_DEMO = re.compile(r"tell me a (?:long |short )?joke about .+", re.I | re.S)
_LONG = re.compile(r"\blong(?:er|est)?\b", re.I)


def quoted(text: str, limit: int = 300) -> str:
    """``text`` in quotation marks, cut after ``limit`` characters."""
    text = text.strip()
    return f'"{text}"' if len(text) <= limit else f'"{text[:limit].rstrip()}..."'


def _note(prompt: str) -> str:
    return f"\n\n(Simulation: it cannot follow all of {quoted(prompt)}.)"


def translation(asked: Asked) -> str | None:
    """The phrase in the other language, for a system prompt that says "translates ... to ..."."""
    task = _TRANSLATE.search(without_style(asked.system))
    if task is None:
        return None
    target = next((name for name in LANGUAGES if name.lower() in task[2].lower()), None)
    known = [
        _phrase(sentence, task[1], target) for sentence in re.split(r"(?<=[.!?])\s+", asked.human.strip())
    ]
    found = [sentence for sentence in known if sentence is not None]
    if len(found) < len(known):
        lacks = "this text" if target else f"the language {quoted(task[2], 40)}"
        plain = (
            f"(Simulation, no model was asked: its small phrasebook does not have {lacks}, "
            f"so this stays as it is.) {asked.human}"
        )
    else:
        plain = " ".join(found)
    answer = styled(plain, asked.system)
    if answer == plain and not _TRANSLATE_DEMO.fullmatch(asked.system.strip()):
        answer += _note(asked.system)
    return answer


def _phrase(sentence: str, source: str, target: str | None) -> str | None:
    wanted = _bare(sentence)
    named = [name for name in LANGUAGES if name.lower() in source.lower()]
    for language in named or LANGUAGES:
        for phrase in PHRASES:
            if target and _bare(phrase[language]) == wanted:
                return phrase[target]
    return None


def _bare(sentence: str) -> str:
    return " ".join(re.findall(r"[\w']+", sentence.replace("\u2019", "'").casefold()))


def count(asked: Asked) -> str | None:
    """The numbers, for a message that says "numbers from ... to ..."."""
    task = _COUNT.search(asked.human)
    if task is None:
        return None
    prompt = f"{asked.system.strip()}\n{asked.human.strip()}"
    first, last = int(task[1]), int(task[2])
    if abs(last - first) >= MAX_COUNT:
        return f"(Simulation: it counts at most {MAX_COUNT} numbers, not from {first} to {last}.)"
    step = 1 if first <= last else -1
    numbers = list(range(first, last + step, step))
    plain = _joined(numbers, "")
    if _BACKWARDS.search(prompt):
        numbers.sort(reverse=True)
    answer = styled(_joined(numbers, _separator(prompt)), prompt)
    if answer == plain and not _COUNT_DEMO.fullmatch(prompt):
        answer += _note(prompt)
    return answer


def _joined(numbers: Iterable[int], separator: str) -> str:
    return separator.join(map(str, numbers))


def _separator(prompt: str) -> str:
    """What is asked for; else what is left when what is forbidden is taken from ", "."""
    asked_for = _WITHOUT.sub("", prompt)
    for pattern, separator in _SEPARATORS:
        if pattern.search(asked_for):
            return separator
    forbidden = " ".join(_WITHOUT.findall(prompt)).lower()
    return ("" if "comma" in forbidden else ",") + ("" if "space" in forbidden else " ")


def joke(asked: Asked) -> dict[str, str] | None:
    """Setup and punchline, in this order, for a message that names a topic or asks for a joke."""
    prompt = f"{asked.system}\n{asked.human}".strip()
    human = without_style(asked.human)
    match = _JOKE.search(human)
    if match is None and "joke" not in human.lower():
        return None
    topic = ((match[1] or match[2]) if match else "something").strip(" .!?\n")[:200]
    is_long = _LONG.search(prompt) is not None
    if topic.lower() in ("bear", "bears", "a bear", "the bears"):
        told = BEAR_JOKE if is_long else SHORT_BEAR_JOKE
    else:
        told = JOKE if is_long else SHORT_JOKE
    plain = {name: text.replace("{topic}", topic) for name, text in told.items()}
    answer = {name: styled(text, prompt) for name, text in plain.items()}
    if answer == plain and not _JOKE_DEMO.fullmatch(prompt):
        answer["punchline"] += _note(prompt)
    return answer
