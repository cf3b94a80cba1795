"""Tool arguments that arrive in small deltas: the documents, and who reads them as they grow.

Ours is fed each delta. The peers of this kind have no memory: they read the whole prefix again at each
delta, and what that costs depends on the prefix alone. So of the thousands of prefixes of a large
document an evenly spaced share is read and the cost multiplied; all of them take a minute.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from functools import cache

DELTA = 4
SMALL, LARGE = 8 << 10, 256 << 10
_WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def _records(size: int) -> str:
    """Many small members."""
    choose, length = random.Random(1), 12
    rows: list[dict[str, object]] = []
    while length < size:
        row = {
            "id": len(rows),
            "title": " ".join(choose.choices(_WORDS, k=4)),
            "done": choose.random() < 0.5,
            "score": round(choose.random() * 100, 2),
            "tags": choose.choices(_WORDS, k=2),
            "note": " ".join(choose.choices(_WORDS, k=8)) + "\n",
        }
        rows.append(row)
        length += len(json.dumps(row)) + 2
    return json.dumps({"items": rows})


def _long_text(size: int) -> str:
    """One long string, with escapes in it: a file, a letter."""
    choose, words, length = random.Random(1), [], 0
    while length < size - 40:
        word = choose.choice(_WORDS) + choose.choice([" ", " ", " ", "\n", ' "x" '])
        words.append(word)
        length += len(json.dumps(word)) - 2
    return json.dumps({"path": "a.md", "content": "".join(words)})


DOCUMENTS = {"records": _records, "long text": _long_text}


@cache
def document(name: str, size: int) -> str:
    """The text of a document of about that many bytes."""
    return DOCUMENTS[name](size)


def _incremental(name: str, size: int, share: int) -> float:
    """CPU seconds for the document; ``share`` times, when it is small."""
    from openrouter_app.engine.partial_json import PartialJSON

    text = document(name, size)
    deltas = [text[at : at + DELTA] for at in range(0, len(text), DELTA)]
    before = time.process_time()
    for _ in range(share):
        parser = PartialJSON()
        feed = parser.feed
        for delta in deltas:
            feed(delta)
        value = parser.close()
    taken = (time.process_time() - before) / share
    assert value == json.loads(text)
    return taken


def _whole_prefixes(name: str, size: int, share: int) -> float:
    """CPU seconds for the document, estimated from one delta in ``share``."""
    import jiter

    text = document(name, size).encode()
    ends = list(range(DELTA, len(text) + DELTA, DELTA))
    prefixes = [text[:end] for end in ends[random.randrange(share) :: share]]
    before = time.process_time()
    for prefix in prefixes:
        jiter.from_json(prefix, partial_mode="trailing-strings")
    taken = time.process_time() - before
    assert jiter.from_json(text, partial_mode="trailing-strings") == json.loads(text)
    return taken / len(prefixes) * len(ends)


PARSERS: dict[str, Callable[[str, int, int], float]] = {"ours": _incremental, "jiter": _whole_prefixes}
