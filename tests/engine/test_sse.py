"""Server-sent events: the standard's rules, in any cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.engine import sse
from openrouter_app.engine.errors import UpstreamError
from openrouter_app.engine.sse import EventStreamDecoder


def payloads(*pieces: bytes) -> list[bytes]:
    decoder = EventStreamDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + list(decoder.close())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b": comment\n\ndata: a\n\n: again\n\n", [b"a"]),
        (b"event: x\nid: 7\nretry: 3\ndata: a\n\n", [b"a"]),
        (b"id: 7\n\n", []),
        (b"\n\n\n", []),
        (b"data\n\ndatabase: x\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        ("data: a\u2028b\u2029c\x85\x0b\x0c\n\n".encode(), ["a\u2028b\u2029c\x85\x0b\x0c".encode()]),
    ],
)
def test_events_follow_the_standard(data, expected):
    assert payloads(data) == expected


def test_last_event_without_its_blank_line_is_handed_out_at_the_end():
    assert payloads(b"data: a\n\ndata: [DONE]") == [b"a", b"[DONE]"]
    assert payloads(b"data: a\n\ndata: [DONE]\n") == [b"a", b"[DONE]"]


lines = st.lists(
    st.sampled_from(
        [
            b"data: x",
            b"data:y",
            b"data: ",
            b": note",
            b"",
            b"event: e",
            b"data: \xc3\xa9",
            b"nonsense",
            b"\xef\xbb\xbf",
        ]
    ),
    max_size=12,
)
ends = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(lines, st.data())
def test_f25_any_cut_gives_the_same_events(given_lines, data):
    text = b"".join(line + data.draw(ends) for line in given_lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert payloads(*pieces) == payloads(text)


def test_endless_line_is_refused_before_it_is_kept():
    decoder = EventStreamDecoder()
    with pytest.raises(UpstreamError):
        for _ in range(3 + sse.MAX_LINE // 65536):
            decoder.feed(b"x" * 65536)


def test_event_of_too_many_empty_lines_is_refused():
    decoder = EventStreamDecoder()
    with pytest.raises(UpstreamError):
        for _ in range(5):
            decoder.feed(b"data:\n" * 1_000_000)


def test_event_of_too_many_lines_is_refused():
    line = b"data: " + b"x" * 900_000 + b"\n"
    decoder = EventStreamDecoder()
    with pytest.raises(UpstreamError):
        for _ in range(6):
            decoder.feed(line)


def test_many_whole_events_in_one_read_are_told_apart():
    decoder = EventStreamDecoder()
    decoder.feed(b": begins\n\n")
    assert decoder.feed(b"data: a\n\ndata: b\n\ndata: [DONE]\n\n") == [b"a", b"b", b"[DONE]"]
    assert decoder.feed(b"data: a\n\ndata:b\n\ndata: c\n\n") == [b"a", b"b", b"c"]
    assert decoder.feed(b"data: a\n\ndata: b\ndata: c\n\n\n\n") == [b"a", b"b\nc"]
    assert decoder.feed(b"data: \n\ndata: data: \n\n") == [b"", b"data: "]


def test_large_read_of_whole_events_is_no_long_line():
    data = (b"data: " + b"x" * 900 + b"\n\n") * 2000
    decoder = EventStreamDecoder()
    decoder.feed(b"\n")
    assert len(decoder.feed(data)) == len(decoder.feed(data)) == 2000


def test_long_whole_line_is_refused_too():
    decoder = EventStreamDecoder()
    with pytest.raises(UpstreamError):
        decoder.feed(b"data: " + b"x" * sse.MAX_LINE + b"\n\n")


@given(
    st.lists(st.binary(max_size=12).map(lambda part: part.replace(b"x", b"data: ")), max_size=12), st.data()
)
def test_any_bytes_in_any_cut_give_the_same_events(parts, data):
    text = b"\n".join(parts) + b"\n\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert payloads(b"\n", *pieces) == payloads(b"\n" + text)


def test_line_that_is_too_long_is_refused_in_any_cut():
    for line in (b": " + b"x" * sse.MAX_LINE + b"\n", b"data: " + b"x" * sse.MAX_LINE + b"\n\n"):
        for size in (len(line), 65_536):
            decoder = EventStreamDecoder()
            with pytest.raises(UpstreamError, match="a line of more than"):
                for start in range(0, len(line), size):
                    decoder.feed(line[start : start + size])


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("length", [29, 30, 31, 33, 34])
def test_limit_of_a_line_is_the_same_in_any_cut(monkeypatch, size, start, length):
    monkeypatch.setattr(sse, "MAX_LINE", 30)
    data = (
        start + b"x" * (length - len(start)) + b"\n\ndata: a\n\n: " + b"x" * (length - 2) + b"\ndata: b\n\n"
    )

    def outcome(size):
        decoder, events = EventStreamDecoder(), []
        try:
            for at in range(0, len(data), size):
                events += decoder.feed(data[at : at + size])
        except UpstreamError as error:
            return events, str(error)
        return events, None

    assert outcome(size) == outcome(len(data))
