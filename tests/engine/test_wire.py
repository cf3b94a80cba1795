"""Chunks add up to events: what hosts send, and what we make of it."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.engine import wire
from openrouter_app.engine.arguments import MAX_TOOL_CALLS
from openrouter_app.engine.errors import BrokenStreamError, OpenRouterError, UpstreamError
from openrouter_app.engine.messages import (
    AnnotationReady,
    ImageReady,
    ReasoningDelta,
    RefusalDelta,
    ReplyFinished,
    ReplyStarted,
    TextDelta,
    ToolCallDelta,
    ToolCallInvalid,
    ToolCallReady,
    ToolCallStarted,
    Usage,
)
from openrouter_app.engine.wire import ReplyDecoder, decode_completion


def chunk(delta=None, *, finish=None, **members):
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "gen-1", "model": "a/b", "provider": "P", "choices": [choice], **members}


def call(text=None, *, index=0, id=None, name=None):
    function = {key: value for key, value in (("name", name), ("arguments", text)) if value is not None}
    delta = {"index": index, "id": id, "type": "function", "function": function}
    return chunk({"tool_calls": [{key: value for key, value in delta.items() if value is not None}]})


def stream(*chunks, done=True):
    events = [f"data: {item if isinstance(item, str) else json.dumps(item)}\n\n" for item in chunks]
    return "".join([*events, "data: [DONE]\n\n" if done else ""]).encode()


def fed(decoder, data):
    events = []
    decoder.feed(data, events)
    return events


def events_of(*chunks, done=True):
    decoder, events = ReplyDecoder(), []
    decoder.feed(stream(*chunks, done=done), events)
    decoder.close(events)
    return events


def events_of_body(body):
    events = []
    decode_completion(body if isinstance(body, bytes) else json.dumps(body).encode(), events)
    return events


def of_type(kind, events):
    return [event for event in events if isinstance(event, kind)]


def test_text_comes_piece_by_piece_and_ends_with_what_served_it():
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "cost": 0.0000125}
    events = events_of(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({"content": ""}, finish="stop"),
        chunk({"content": ""}, finish="stop", usage=usage),
    )
    assert events == [
        ReplyStarted("gen-1", "a/b", "P"),
        TextDelta("Hel"),
        TextDelta("lo"),
        ReplyFinished("stop", "", Usage(3, 2, Decimal("0.0000125")), "gen-1", "a/b", "P"),
    ]


def test_cost_is_exactly_what_was_written():
    raw = '{"choices": [], "usage": {"cost": 0.000012345678901234567}}'
    (finished,) = of_type(ReplyFinished, events_of(chunk({"content": "x"}, finish="stop"), raw))
    assert finished.usage.cost == Decimal("0.000012345678901234567")


@pytest.mark.parametrize("tokens", [10**30, -1, 10**9])
def test_absurd_token_counts_are_not_believed(tokens):
    events = events_of(
        chunk({"content": "x"}, finish="stop", usage={"prompt_tokens": tokens, "completion_tokens": 3})
    )
    assert events[-1].usage == Usage(0, 3, None)


def test_last_usage_wins_and_is_not_added_up():
    events = events_of(
        chunk({"content": "x"}, usage={"prompt_tokens": 1, "completion_tokens": 1}),
        chunk(finish="stop", usage={"prompt_tokens": 5, "completion_tokens": 7}),
    )
    assert events[-1].usage == Usage(5, 7, None)


def test_reasoning_is_shown_once_where_it_comes_twice():
    details = [{"type": "reasoning.text", "text": "hm"}]
    events = events_of(chunk({"reasoning": "hm", "reasoning_details": details}), chunk(finish="stop"))
    assert of_type(ReasoningDelta, events) == [ReasoningDelta("hm")]
    events = events_of(chunk({"reasoning_details": details}), chunk(finish="stop"))
    assert of_type(ReasoningDelta, events) == [ReasoningDelta("hm")]


def test_refusal_is_an_event_of_its_own():
    events = events_of(chunk({"refusal": "No."}), chunk(finish="stop"))
    assert of_type(RefusalDelta, events) == [RefusalDelta("No.")]


def test_tool_call_is_started_written_and_ready():
    events = events_of(
        call("", id="c1", name="joke"), call('{"setup": '), call('"Why?"}'), chunk(finish="tool_calls")
    )
    assert events[1:-1] == [
        ToolCallStarted("c1", "joke"),
        ToolCallDelta("c1", '{"setup": '),
        ToolCallDelta("c1", '"Why?"}'),
        ToolCallReady("c1", "joke", {"setup": "Why?"}),
    ]


def test_parallel_calls_are_kept_apart_by_index():
    events = events_of(
        call("{", id="a", name="f"),
        call("{", index=1, id="b", name="g"),
        call('"x": 1}'),
        call('"y": 2}', index=1),
        chunk(finish="tool_calls"),
    )
    assert of_type(ToolCallReady, events) == [
        ToolCallReady("a", "f", {"x": 1}),
        ToolCallReady("b", "g", {"y": 2}),
    ]


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(
            [call("{}", id="a", name="f"), call("{}", index=0, id="b", name="g")], id="same index, new id"
        ),
        pytest.param(
            [call("{}", index=None, id="a", name="f"), call("{}", index=None, id="b", name="g")],
            id="no index",
        ),
        pytest.param([call("{}", id="", name="f"), call("{}", index=1, id="", name="g")], id="empty ids"),
        pytest.param(
            [call("{}", id="a", name="f"), call("{}", index=1, id="a", name="g")], id="one id for both"
        ),
        pytest.param(
            [call("{}", index=3, id="a", name="f"), call("{}", index=9, id="b", name="g")], id="odd index"
        ),
        pytest.param(
            [call("{}", index=-1, id="a", name="f"), call("{}", index=10**9, id="b", name="g")],
            id="wild index",
        ),
    ],
)
def test_two_calls_stay_two_with_ids_of_their_own(chunks):
    ready = of_type(ToolCallReady, events_of(*chunks, chunk(finish="tool_calls")))
    assert [event.name for event in ready] == ["f", "g"]
    assert len({event.id for event in ready}) == 2


def test_name_may_come_after_arguments():
    events = events_of(call('{"a"', id="c"), call(": 1}", name="f"), chunk(finish="tool_calls"))
    assert events[1:4] == [
        ToolCallStarted("c", "f"),
        ToolCallDelta("c", '{"a": 1}'),
        ToolCallReady("c", "f", {"a": 1}),
    ]


def test_later_empty_id_changes_nothing():
    events = events_of(call("{", id="c", name="f"), call("}", id=""), chunk(finish="tool_calls"))
    assert of_type(ToolCallReady, events) == [ToolCallReady("c", "f", {})]


def test_no_arguments_mean_an_empty_object():
    events = events_of(call("", id="c", name="f"), chunk(finish="tool_calls"))
    assert of_type(ToolCallReady, events) == [ToolCallReady("c", "f", {})]


@pytest.mark.parametrize("text", ['{"a": "cut', "[1]", '"abc"', '{"a": 1e400}', "{]"])
def test_arguments_that_are_no_object_are_invalid_and_kept(text):
    events = events_of(call(text, id="c", name="f"), chunk(finish="tool_calls"))
    (invalid,) = of_type(ToolCallInvalid, events)
    assert invalid.raw == text
    assert not of_type(ToolCallReady, events)


def test_more_calls_than_the_limit_end_the_answer():
    calls = [call("{}", index=i, id=f"c{i}", name="f") for i in range(MAX_TOOL_CALLS + 1)]
    with pytest.raises(UpstreamError, match="more than 128 tools"):
        events_of(*calls)


def test_end_without_finish_or_done_is_no_success():
    decoder = ReplyDecoder()
    assert fed(decoder, stream(chunk({"content": "Hel"}), done=False))[-1] == TextDelta("Hel")
    with pytest.raises(BrokenStreamError) as caught:
        decoder.close([])
    assert (caught.value.generation_id, caught.value.provider) == ("gen-1", "P")


def test_end_without_anything_is_an_error_of_the_provider():
    decoder = ReplyDecoder()
    assert fed(decoder, b": OPENROUTER PROCESSING\n\n") == []
    with pytest.raises(UpstreamError):
        decoder.close([])


def test_done_without_finish_is_an_end():
    assert events_of(chunk({"content": "x"}))[-1].reason == "stop"


def test_what_comes_after_done_is_ignored():
    decoder = ReplyDecoder()
    data = stream(chunk({"content": "x"}, finish="stop")) + stream(chunk({"content": "y"}))
    events = []
    decoder.feed(data, events)
    decoder.feed(stream(chunk({"content": "z"})), events)
    decoder.close(events)
    assert of_type(TextDelta, events) == [TextDelta("x")]
    assert len(of_type(ReplyFinished, events)) == 1


ERROR = {"code": 502, "message": "Provider disconnected", "metadata": {"provider_name": "Acme"}}


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(chunk(finish="error", error=ERROR), id="finish error"),
        pytest.param({"id": "gen-1", "choices": [], "error": ERROR}, id="choices empty"),
        pytest.param({"error": ERROR}, id="bare"),
        pytest.param({"choices": [{"delta": {}, "error": ERROR}]}, id="in the choice"),
        pytest.param(chunk(finish="error"), id="finish error alone"),
    ],
)
def test_error_in_mid_stream_is_raised_after_what_came_before(last):
    decoder = ReplyDecoder()
    events = []
    with pytest.raises(UpstreamError) as caught:
        decoder.feed(stream(chunk({"content": "Hel"}), last), events)
    assert TextDelta("Hel") in events
    assert caught.value.generation_id == "gen-1"


def test_members_of_odd_types_do_not_lose_the_rest():
    odd = {
        "id": 7,
        "choices": [{"delta": {"content": "x", "tool_calls": "no"}, "finish_reason": 3}],
        "usage": "?",
    }
    events = events_of(odd, chunk(finish="stop"))
    assert of_type(TextDelta, events) == [TextDelta("x")]


def test_content_in_parts_and_arguments_as_an_object_are_read():
    parts = [{"type": "text", "text": "Hel"}, {"type": "image"}, {"type": "text", "text": "lo"}]
    assert of_type(TextDelta, events_of(chunk({"content": parts}))) == [TextDelta("Hello")]
    events = events_of(call({"a": 1}, id="c", name="f"), chunk(finish="tool_calls"))
    assert of_type(ToolCallReady, events) == [ToolCallReady("c", "f", {"a": 1})]


def test_two_objects_glued_in_one_event_are_both_read():
    glued = json.dumps(chunk({"content": "a"})) + json.dumps(chunk({"content": "b"}))
    assert of_type(TextDelta, events_of(glued)) == [TextDelta("a"), TextDelta("b")]


def test_lone_surrogate_in_text_becomes_the_replacement_character():
    raw = '{"choices": [{"delta": {"content": "a\\ud800b"}}]}'
    assert of_type(TextDelta, events_of(raw)) == [TextDelta("a\ufffdb")]


@pytest.mark.parametrize("raw", ["{unparsable}", "[1]", "7", '{"a": ' * 100_000])
def test_payload_that_is_no_chunk_is_a_typed_error(raw):
    with pytest.raises(UpstreamError):
        events_of(raw)


def test_whole_body_gives_the_same_events_as_its_stream():
    message = {
        "role": "assistant",
        "content": "Hi",
        "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
    }
    body = {
        "id": "gen-1",
        "model": "a/b",
        "provider": "P",
        "choices": [{"message": message, "finish_reason": None}],
    }
    assert events_of_body(b"  \n\xef\xbb\xbf" + json.dumps(body).encode()) == [
        ReplyStarted("gen-1", "a/b", "P"),
        TextDelta("Hi"),
        ToolCallStarted("c", "f"),
        ToolCallDelta("c", "{}"),
        ToolCallReady("c", "f", {}),
        ReplyFinished("tool_calls", "", None, "gen-1", "a/b", "P"),
    ]


@pytest.mark.parametrize(
    "body", [b"", b"   ", b"<html>", b"{}", b'{"choices": []}', b'{"choices": null, "error": {"code": 502}}']
)
def test_body_without_an_answer_is_a_typed_error(body):
    with pytest.raises(OpenRouterError):
        events_of_body(body)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([10**400, 1e308, 502])
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "choices",
                    "delta",
                    "content",
                    "tool_calls",
                    "function",
                    "name",
                    "arguments",
                    "index",
                    "error",
                    "usage",
                    "finish_reason",
                    "cost",
                    "code",
                    "metadata",
                    "headers",
                    "Retry-After",
                    "prompt_tokens",
                    "prompt_tokens_details",
                    "cached_tokens",
                    "cost_details",
                    "upstream_inference_cost",
                    "is_byok",
                    "created",
                    "message",
                    "reasoning",
                    "reasoning_details",
                    "images",
                    "image_url",
                    "url",
                    "annotations",
                    "text",
                    "type",
                    "data",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=4), st.data())
def test_hostile_chunks_give_events_or_our_errors_the_same_in_any_cut(chunks, data):
    raw = stream(*[json.dumps(item) for item in chunks])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]

    def outcome(parts):
        decoder, events = ReplyDecoder(), []
        try:
            for part in parts:
                decoder.feed(part, events)
            decoder.close(events)
        except OpenRouterError as error:
            return events, str(error)
        return events, None

    assert outcome(pieces) == outcome([raw])
