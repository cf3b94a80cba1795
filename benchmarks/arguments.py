"""Progressive tool arguments: one incremental parser against reading the whole prefix at each delta."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import partial_json_parser

from openrouter_app.engine.partial_json import PartialJSON

from .rounds import medians

DELTA = 4


def _records(size: int) -> str:
    row = {"id": 12345, "name": "Ada Lovelace", "tags": ["one", "two"], "active": True, "score": 1.5}
    return json.dumps({"rows": [row] * max(size // len(json.dumps(row)), 1)})


def _long_text(size: int) -> str:
    return json.dumps({"title": "A story", "text": "Once upon a time, " * (size // 18)})


def _deltas(text: str) -> list[str]:
    return [text[at : at + DELTA] for at in range(0, len(text), DELTA)]


def _incremental(text: str) -> Callable[[], None]:
    deltas = _deltas(text)

    def run() -> None:
        parser = PartialJSON()
        for delta in deltas:
            parser.feed(delta)
        parser.close()

    return run


def _whole_prefix(text: str) -> Callable[[], None]:
    ends = range(DELTA, len(text) + DELTA, DELTA)

    def run() -> None:
        for end in ends:
            partial_json_parser.loads(text[:end])

    return run


def measure() -> str:
    """Ours at 8 and 256 KB; the other at 8 KB only, because it grows with the square."""
    rows = []
    for name, make in (("records", _records), ("long text", _long_text)):
        small, large = make(8_000), make(256_000)
        taken = medians({"small": _incremental(small), "large": _incremental(large)}, rounds=5)
        peer = medians({"peer": _whole_prefix(small)}, rounds=3)["peer"]
        exponent = math.log(taken["large"] / taken["small"]) / math.log(len(large) / len(small))
        costs = [taken["small"] / (len(small) / DELTA) * 1e6, taken["large"] / (len(large) / DELTA) * 1e6]
        cells = (
            name,
            *(f"{cost:.2f}" for cost in costs),
            f"{exponent:.2f}",
            f"1/{peer / taken['small']:.0f}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    table = "\n".join(rows)
    return f"""## Progressive tool arguments

Argument text in {DELTA}-byte deltas, operations out, in Python; beside it `partial-json-parser` reading the
whole prefix at each delta of the 8 KB document. The exponent is that of the growth from 8 KB to 256 KB. To
reach: at most 1.1.

| document | µs a delta at 8 KB | at 256 KB | exponent | against partial-json-parser at 8 KB |
|---|---|---|---|---|
{table}"""
