"""Answers that mean harm: a typed error, little memory, little time, and nobody else notices.

Memory is what Python's allocations grew to at their highest, what the test itself holds left out.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable
from contextlib import contextmanager

import pytest

from openrouter_app.engine import arguments, sse
from openrouter_app.engine.errors import OpenRouterError, UpstreamError
from openrouter_app.engine.failures import failure_of_response
from openrouter_app.engine.messages import (
    ImageReady,
    ReplyFinished,
    TextDelta,
    ToolCallInvalid,
    ToolCallReady,
)
from openrouter_app.engine.wire import ReplyDecoder, decode_completion

from .test_wire import call, chunk, fed, of_type, stream

READ = 65_536
MEGABYTE = 1_000_000


@contextmanager
def at_most(megabytes: float):
    """What is allocated inside never exceeds this."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < megabytes * MEGABYTE


def consumed(reads: Iterable[bytes]) -> tuple[int, OpenRouterError | None]:
    """How many events came of these reads, each forgotten at once, and the error they end in."""
    decoder, events, count = ReplyDecoder(), [], 0
    try:
        for data in reads:
            decoder.feed(data, events)
            count += len(events)
            events.clear()
        decoder.close(events)
    except OpenRouterError as error:
        return count + len(events), error
    return count + len(events), None


def reads_of(data: bytes) -> Iterable[bytes]:
    return (data[start : start + READ] for start in range(0, len(data), READ))


@pytest.fixture(autouse=True)
def bystander():
    """Another answer that is half read while all this happens, and ends as if nothing had."""
    decoder = ReplyDecoder()
    fed(decoder, stream(chunk({"content": "Hel"}), call('{"a"', id="c", name="f"), done=False)[:-9])
    yield
    rest = stream(chunk({"content": "Hel"}), call('{"a"', id="c", name="f"), done=False)[-9:]
    events = fed(decoder, rest + stream(call(": 1}"), chunk({"content": "lo"}, finish="stop")))
    assert of_type(TextDelta, events) == [TextDelta("lo")]
    assert of_type(ToolCallReady, events) == [ToolCallReady("c", "f", {"a": 1})]
    assert isinstance(events[-1], ReplyFinished)


def test_line_without_an_end():
    with at_most(5):
        count, error = consumed(b"data: " + b"x" * READ if n == 0 else b"x" * READ for n in range(16_000))
    assert type(error) is UpstreamError
    assert count == 0


def test_line_without_an_end_in_the_smallest_reads():
    with at_most(5):
        error = consumed(b"xyzwxyzwxy" for _ in range(sse.MAX_LINE))[1]
    assert type(error) is UpstreamError


@pytest.mark.parametrize(
    "line", [b"data:\n", b"data: xy\n", b"data: " + b"x" * 900 + b"\n", b"data: " + b"x" * 900_000 + b"\n"]
)
def test_event_of_lines_without_an_end(line):
    many = line * (READ // len(line) or 1)
    with at_most(20):
        error = consumed(many for _ in range(16_000))[1]
    assert type(error) is UpstreamError
    assert "too large" in error.message


def test_event_of_many_members():
    half = b'data: {"choices": [' + b"{}," * 300_000 + b"{}\n"
    data = half + b"data: " + b",{}" * 300_000 + b"]}\n\n"
    with at_most(20):
        error = consumed(reads_of(data))[1]
    assert type(error) is UpstreamError


@pytest.mark.parametrize("text", [b"{}" * 400_000, b'{"id": 7} ' * 80_000])
def test_event_of_many_objects(text):
    with at_most(20):
        error = consumed(reads_of(b"data: " + text + b"\n\n"))[1]
    assert type(error) is UpstreamError


def test_ten_thousand_calls():
    calls = (stream(call("{}", index=n, id=f"id{n}", name="f"), done=False) for n in range(10_000))
    with at_most(5):
        count, error = consumed(calls)
    assert type(error) is UpstreamError
    assert f"more than {arguments.MAX_TOOL_CALLS} tools" in error.message
    assert count == 1 + 2 * arguments.MAX_TOOL_CALLS


def test_ten_thousand_calls_in_one_chunk():
    delta = {"tool_calls": [{"index": n, "function": {"name": "f"}} for n in range(10_000)]}
    body = {"choices": [{"message": delta}]}
    with at_most(20):
        assert type(consumed([stream(chunk(delta))])[1]) is UpstreamError
        with pytest.raises(UpstreamError):
            decode_completion(json.dumps(body).encode(), [])


@pytest.mark.parametrize("index", [10**9, -1, -(10**9), 10**18, 10**400])
def test_index_of_any_size_costs_nothing(index):
    data = stream(call("{}", index=index, id="a", name="f"), call("{}", index=index + 1, id="b", name="g"))
    with at_most(3):
        events = fed(ReplyDecoder(), data)
    assert [event.name for event in of_type(ToolCallReady, events)] == ["f", "g"]


DEPTH = 100_000
DEEP = [
    b"[" * DEPTH,
    b'{"a":' * DEPTH,
    b'{"choices": [{"delta": {"content": ' + b"[" * DEPTH + b"]" * DEPTH + b"}}]}",
    b'{"choices": [{"delta": {"reasoning_details": [' + b'{"a":' * DEPTH + b"1" + b"}" * DEPTH + b"]}}]}",
    b'{"error": ' + b"[" * DEPTH + b"]" * DEPTH + b"}",
    b'{"nobody": ' + b"[" * DEPTH + b"]" * DEPTH + b"}",
    b'{"id": 7, "x": ' + b"[" * DEPTH + b"]" * DEPTH + b"}",
]


@pytest.mark.parametrize("text", DEEP, ids=range(len(DEEP)))
def test_json_nested_a_hundred_thousand_deep(text):
    with at_most(20):
        error = consumed(reads_of(b"data: " + text + b"\n\n"))[1]
        assert type(error) is UpstreamError
        error = consumed(reads_of(b"data: " + text))[1]  # and where the bytes end in the event
        assert type(error) is UpstreamError
        with pytest.raises(UpstreamError):
            decode_completion(text, [])
        assert failure_of_response(502, {}, text).status == 502


@pytest.mark.parametrize("levels", [100, 300, 900])
def test_json_nested_not_too_deep_to_be_read_is_not_kept(levels):
    deep = "[" * levels + "]" * levels
    detail = f'{{"type": "reasoning.text", "text": "x", "a": {deep}}}'
    delta = f'{{"reasoning_details": [{detail}], "annotations": [{{"type": "x", "a": {deep}}}]}}'
    count, error = consumed([f'data: {{"choices": [{{"delta": {delta}}}]}}\n\ndata: [DONE]\n\n'.encode()])
    assert error is None or type(error) is UpstreamError
    assert error is not None or count == 3  # it started, it thought, it finished
    error = failure_of_response(400, {}, f'{{"error": {{"message": {deep}, "code": {deep}}}}}'.encode())
    assert error.status == 400


def test_number_of_a_million_digits():
    number = b"1" * 900_000
    for text in (
        b'{"usage": {"cost": ' + number + b"}}",
        b'{"usage": {"prompt_tokens": ' + number + b"}}",
        b'{"created": ' + number + b"}",
        b'{"error": {"code": ' + number + b"}}",
        b'{"usage": {"cost": 1e999999999}, "created": 1e999, "choices": [{"finish_reason": "stop"}]}',
    ):
        with at_most(20):
            error = consumed([b"data: " + text + b"\n\ndata: [DONE]\n\n"])[1]
        assert error is None or type(error) is UpstreamError


def test_fifty_megabytes_of_text():
    event = stream(chunk({"content": "x" * 4000}), done=False)
    many = 50 * MEGABYTE // len(event)
    with at_most(5):
        count, error = consumed(event for _ in range(many))
    assert count == many + 1
    assert "broke off" in error.message


def test_fifty_megabytes_in_large_reads():
    read = stream(*[chunk({"content": "x" * 400})] * 100, done=False)
    many = 50 * MEGABYTE // len(read)
    with at_most(5):
        count = consumed(read for _ in range(many))[0]
    assert count == many * 100 + 1


@pytest.mark.parametrize(
    ("delta", "limit"),
    [
        ({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "x" * 900_000}}]}, 4),
        ({"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "x" * 900_000}]}, 4),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x" * 900_000}]}, 4),
        ({"images": [{"image_url": {"url": "x" * 900_000}}]}, 10),
        ({"annotations": [{"type": "x", "y": "x" * 900_000}]}, 2),
    ],
)
def test_what_is_kept_for_the_end_has_a_limit(delta, limit):
    def changing():
        for n in range(100):
            yield stream(chunk(delta), done=False).replace(b"xxx", b"%03d" % n, 1)

    with at_most(20):
        error = consumed(changing())[1]
    assert type(error) is UpstreamError
    assert f"more than {limit},000,000 characters" in error.message


@pytest.mark.parametrize("text", ["x", "", "xyzw"])
def test_fragments_without_an_end_are_kept_as_what_they_say(text):
    def fragments():
        delta = {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": text}]}
        arguments = {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": text}}]}
        event = stream(*[chunk({**delta, **arguments})] * 100, done=False)
        for _ in range(400):
            yield event

    with at_most(4):
        consumed(fragments())


def test_blocks_without_an_end():
    blocks = ({"type": f"t{n}", "index": n} for n in range(100_000))
    with at_most(20):
        error = consumed(stream(chunk({"reasoning_details": [block]}), done=False) for block in blocks)[1]
    assert "its reasoning are more than" in error.message


def test_names_and_ids_without_measure():
    def calls():
        for n in range(100):
            yield stream(call("", index=n, id=f"{n}" + "i" * 300_000, name="n" * 300_000), done=False)

    with at_most(20):
        error = consumed(calls())[1]
    assert type(error) is UpstreamError
    assert "tool arguments" in error.message


CROWDED = {  # the member that holds many, and one of them
    "tool calls": ('{"id": 7, "choices": [{"delta": {"tool_calls": [', "{}", "]}}]}"),
    "choices": ('{"choices": [', "{}", "]}"),
    "details": ('{"choices": [{"delta": {"reasoning_details": [', "{}", "]}}]}"),
    "lists in an error": ('{"error": [', "[]", "]}"),
    "lists in lists": ('{"choices": [{"delta": {"annotations": [', "[[[[]]]]", "]}}]}"),
    "a lone surrogate beside": ('{"id": "\\ud800", "error": [', "[[[]]]", "]}"),
}


@pytest.mark.parametrize("what", CROWDED)
@pytest.mark.parametrize("way", ["stream", "body"])
def test_more_members_than_any_answer_has_are_refused_unread(what, way):
    head, one, tail = CROWDED[what]
    text = f"{head}{','.join([one] * (900_000 // len(one + ',')))}{tail}".encode()
    with at_most(4), pytest.raises(UpstreamError, match="too much in it"):
        if way == "body":
            decode_completion(text, [])
        else:
            ReplyDecoder().feed(b"data: " + text + b"\n\n", [])


@pytest.mark.parametrize("value", ["1,", "[[[]]],", "{},"])
def test_arguments_of_more_values_than_any_call_has_do_not_run_and_are_not_read(value, monkeypatch):
    read = []

    def reading(text):
        read.append(len(text))
        return arguments.parse_arguments(text)

    monkeypatch.setattr("openrouter_app.engine.fold.parse_arguments", reading)
    piece = value * 600
    chunks = [call('{"a":[', id="c", name="f"), *[call(piece, id="c")] * 200, chunk(finish="tool_calls")]
    decoder, events = ReplyDecoder(), []
    decoder.feed(stream(*chunks), events)
    assert [event.message for event in of_type(ToolCallInvalid, events)] == [
        "The tool's arguments have too many values."
    ]
    assert read == []
    body = {"choices": [{"message": call(value * 110_000, id="c", name="f")["choices"][0]["delta"]}]}
    with pytest.raises(UpstreamError, match="too much in "):
        decode_completion(json.dumps(body).encode(), [])
    with pytest.raises(UpstreamError, match="too much in it"):
        ReplyDecoder().feed(stream(call(value * 110_000, id="c", name="f")), [])


def test_objects_glued_together_are_few():
    with pytest.raises(UpstreamError, match="no answer"):
        ReplyDecoder().feed(b"data: %s\n\n" % (b'{"choices": []}' * 101), [])


@pytest.fixture
def work(monkeypatch):
    """The work that reading arguments took, text by text."""
    done = []

    class Counting(arguments.PartialJSON):
        def feed(self, text):
            done.append(arguments.work_of(text))
            return super().feed(text)

    monkeypatch.setattr(arguments, "PartialJSON", Counting)
    return done


def pieces_of(text, size=20_000):
    return [text[start : start + size] for start in range(0, len(text), size)]


DEAR = {"strings": '"",', "lists": "[[[[]]]],", "escapes": '"\\u0041\\n",', "blanks": " \n" * 9_999}


@pytest.mark.parametrize("what", DEAR)
def test_arguments_of_one_answer_are_read_within_one_budget(what, work):
    one = DEAR[what]
    text = '{"a":[' + one * (900_000 // len(one)) + "0]}"
    decoder, events = ReplyDecoder(), []
    for n in range(4):
        for piece in pieces_of(text):
            decoder.feed(stream(call(piece, index=n, id=f"c{n}", name="f"), done=False), events)
    decoder.feed(stream(chunk(finish="tool_calls")), events)
    assert {event.message for event in of_type(ToolCallInvalid, events)} <= {
        "The tool's arguments have too many values."
    }
    assert sum(work) <= arguments.MAX_WORK
    assert max(len(of_type(ToolCallReady, events)), len(of_type(ToolCallInvalid, events))) > 0


def test_call_that_is_looked_at_again_and_again_costs_one_budget(work):
    decoder = ReplyDecoder()
    for piece in pieces_of('{"a":[' + '"",' * 300_000):
        decoder.feed(stream(call(piece, id="c", name="f"), done=False), [])
    for _ in range(200):
        decoder.feed(stream(call("{", id="c", name="f"), done=False), [])
    held = '{"a":[' + '"",' * 12_000 + "0]}"
    for n in range(100):
        given = [call('{"a":[', index=n + 1, id=f"h{n}", name="g"), call(held, index=n + 1, id=f"h{n}")]
        decoder.feed(stream(*given, done=False), [])
    decoder.feed(stream(), [])
    assert sum(work) <= arguments.MAX_WORK


@pytest.mark.parametrize("text", ["Dear all, a, b, c, [d] {e}. " * 40_000, '\\"quoted\\", [' * 50_000])
def test_long_text_in_arguments_is_no_crowd_of_values(text):
    whole = json.dumps({"path": "a.md", "content": text[:450_000]})
    decoder, events = ReplyDecoder(), []
    for delta in [call("", id="c", name="write"), *[call(piece, id="c") for piece in pieces_of(whole)]]:
        decoder.feed(stream(delta, done=False), events)
    decoder.feed(stream(chunk(finish="tool_calls")), events)
    assert [event.arguments for event in of_type(ToolCallReady, events)] == [json.loads(whole)]


def test_long_text_of_one_body_is_no_crowd_of_values():
    text = "1, 2, [3], {4}, " * 40_000
    events = []
    decode_completion(
        json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).encode(), events
    )
    assert of_type(TextDelta, events) == [TextDelta(text)]


def in_lines(payload):
    """A payload as an event of several lines, each as long as one may be."""
    return (
        b"".join(b"data: " + payload[at : at + 900_000] + b"\n" for at in range(0, len(payload), 900_000))
        + b"\n"
    )


WIDE = {
    "a wide character": '"\U0001f600' + "x" * 3_900_000 + '"',
    "an escape": '"\\ud83d\\ude00' + "x" * 3_900_000 + '"',
    "wide characters": '"' + "\U0001f600" * 970_000 + '"',
}


@pytest.mark.parametrize("what", WIDE)
@pytest.mark.parametrize("id", ['"x"', "7", r'"\ud800"'])
def test_text_that_costs_many_times_its_size_is_refused_unread(what, id):
    payload = f'{{"id": {id}, "choices": [{{"delta": {{"content": {WIDE[what]}}}}}]}}'.encode()
    data = in_lines(payload)
    with at_most(13):  # the lines, and the event that they are
        error = consumed([data])[1]
    assert type(error) is UpstreamError
    with at_most(5), pytest.raises(UpstreamError, match="too large"):
        decode_completion(payload, [])


ONE = {
    "objects": '{"a": "bbbbbbbbbbbbb"}',
    "long names": '{"' + "k" * 60 + '%d": "vvvvvvvvvvvvvvvvvvvvvv"}',
    "details": '{"type": "reasoning.text", "i": 1}',
    "lists": "[[[[[[[[]]]]]]]]",
}


@pytest.mark.parametrize("one", ONE)
@pytest.mark.parametrize("id", ['"x"', r'"\ud800"'])
@pytest.mark.parametrize("member", ["annotations", "reasoning_details", "tool_calls", "nobody"])
def test_as_many_members_as_may_be_cost_little(one, id, member):
    per = sum(ONE[one].count(mark) for mark in ",[{") + 1
    items = ",".join(ONE[one].replace("%d", str(n)) for n in range(49_900 // per))
    payload = f'{{"id": {id}, "choices": [{{"delta": {{"content": "x", "{member}": [{items}]}}}}]}}'.encode()
    data = in_lines(payload)
    with at_most(20):
        error = consumed([data])[1]
    assert error is None or isinstance(error, OpenRouterError)


def test_picture_as_large_as_one_may_be_is_held_twice_and_no_more():
    url = b"data:image/png;base64," + b"x" * 9_900_000
    body = bytearray(b'{"id": 7, "choices": [{"message": {"images": [{"image_url": {"url": "%s"}}]}}]}' % url)
    del url
    events = []
    with at_most(16):  # beside the body, of which a part is copied as it shrinks
        decode_completion(body, events)
    assert len(of_type(ImageReady, events)) == 1


def test_picture_that_never_ends_is_no_picture():
    body = b'{"choices": [{"message": {"images": [' + b'{"url": "data:' * 400_000
    with at_most(20), pytest.raises(UpstreamError):
        decode_completion(body, [])
