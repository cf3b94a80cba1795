"""Every recorded answer of OpenRouter goes through the engine: whole, and in random cuts.

The recordings stand beside the checkout, not in it; without them these tests are skipped.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from openrouter_app.engine.errors import OpenRouterError
from openrouter_app.engine.failures import failure_of_response
from openrouter_app.engine.messages import ReplyFinished
from openrouter_app.engine.wire import ReplyDecoder, decode_completion

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "recordings"
STREAMS = sorted(RECORDINGS.glob("*.sse"))
BODIES = sorted(path for path in RECORDINGS.glob("*.json") if not path.name.endswith(".meta.json"))
PAGES = sorted(RECORDINGS.glob("*.html"))

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"no recordings at {RECORDINGS.name}/")


def meta(path: Path) -> dict:
    return json.loads(path.with_suffix(".meta.json").read_text())


def run(pieces: list[bytes]):
    """(events, error) of an answer that arrives in these pieces."""
    decoder = ReplyDecoder()
    events = []
    try:
        for piece in pieces:
            decoder.feed(piece, events)
        decoder.close(events)
    except OpenRouterError as error:
        return events, (type(error), error.message, error.detail)
    return events, None


def test_the_recordings_are_all_there():
    assert len(STREAMS) >= 100


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_stream_ends_in_an_answer_or_an_error_of_ours_whatever_the_cut(path):
    data = path.read_bytes()
    whole = run([data])
    events, error = whole
    assert error is not None or isinstance(events[-1], ReplyFinished)
    assert run([data[i : i + 1] for i in range(len(data))]) == whole
    rng = random.Random(path.name)
    for _ in range(5):
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(1, 40)))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert run(pieces) == whole


@pytest.mark.parametrize("path", BODIES + PAGES, ids=lambda path: path.stem)
def test_body_is_an_answer_or_an_error_of_ours(path):
    about = meta(path)
    body = path.read_bytes()
    status = about.get("status") or 200
    if status >= 400:
        error = failure_of_response(status, about.get("response_headers") or {}, body)
        assert error.status == status
        assert error.message.endswith(".")
        return
    events = []
    try:
        decode_completion(body, events)
    except OpenRouterError as error:
        assert error.message.endswith(".")
    else:
        assert isinstance(events[-1], ReplyFinished)
