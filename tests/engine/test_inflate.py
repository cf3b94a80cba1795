"""Compressed answers: in small pieces, whatever stands behind their end."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest

from openrouter_app.engine.async_connections import _async_inflated
from openrouter_app.engine.errors import UpstreamError
from openrouter_app.engine.inflate import PIECE, Inflater

TEXT = b"Bonjour ! " * 50


def inflated(encoding, *parts):
    inflater = Inflater(encoding)
    data = b""
    for part in parts:
        inflater.feed(part)
        data += b"".join(iter(inflater.take, b""))
    return data


def raw(data):
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("X-GZIP ", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw(TEXT)),
        ("deflate", gzip.compress(TEXT)),
        ("identity", TEXT),
    ],
)
def test_each_encoding_is_read_however_it_is_cut(encoding, data):
    assert inflated(encoding, data) == TEXT
    assert inflated(encoding, *(data[i : i + 1] for i in range(len(data)))) == TEXT


def test_gzip_of_several_streams_is_read_to_its_end():
    data = gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two")
    for cut in range(len(data)):
        assert inflated("gzip", data[:cut], data[cut:]) == b"one two"


@pytest.mark.parametrize("rubbish", [b"\0" * 100, b"rubbish", b"\x1f\x8b\x00\x00"])
def test_what_follows_a_stream_and_is_none_is_an_error(rubbish):
    with pytest.raises(UpstreamError) as caught:
        inflated("gzip", gzip.compress(TEXT) + rubbish)
    assert caught.value.__context__ is None


def test_holds_no_more_than_a_piece():
    inflater = Inflater("gzip")
    inflater.feed(gzip.compress(b"x" * 1_000_000))
    pieces = list(iter(inflater.take, b""))
    assert b"".join(pieces) == b"x" * 1_000_000
    assert max(map(len, pieces)) == PIECE


def test_streams_behind_one_another_leave_nothing_behind():
    inflater, many = Inflater("gzip"), gzip.compress(b"") * 2000
    for _ in range(3):
        inflater.feed(many)
        assert inflater.take() == b""
        assert (inflater._waiting, inflater._stream) == (b"", None)


async def test_a_loop_has_its_turn_between_the_pieces():
    async def sent():
        yield gzip.compress(b" " * PIECE * 20)

    following, others = _async_inflated("gzip", sent()), 0

    async def other():
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(20):
        assert len(await following()) == PIECE
    task.cancel()
    assert others >= 15
