"""What a model says, as a stream and as one body."""

from __future__ import annotations

import json

import pytest

from openrouter_app.testing import (
    Comment,
    Delta,
    Event,
    Gate,
    RawBytes,
    Reasoning,
    Reply,
    ToolCallScript,
    sse,
)
from openrouter_app.testing.answers import Pause
from openrouter_app.testing.rendering import render


def deltas(events):
    return [event["choices"][0]["delta"] for event in events if event != "[DONE]" and event["choices"]]


def text(events):
    return "".join(delta.get("content") or "" for delta in deltas(events))


def fragments(events, index=0):
    calls = [call for delta in deltas(events) for call in delta.get("tool_calls", [])]
    return [call["function"]["arguments"] for call in calls if call["index"] == index]


def test_each_argument_is_one_chunk(fake, events):
    fake.reply("Why did the bear", " cross", " the road?")
    got = events()
    assert [delta["content"] for delta in deltas(got)] == [
        "",
        "Why did the bear",
        " cross",
        " the road?",
        "",
        "",
    ]
    assert got[-1] == "[DONE]"


def test_chunks_arrive_one_by_one(fake, stream):
    gates = [Gate(), Gate()]
    fake.reply("one", gates[0], "two", gates[1], "three")
    with stream() as response:
        seen = ""
        chunks = response.iter_text()
        for gate, word in zip([*gates, None], ["one", "two", "three"], strict=True):
            while word not in seen:
                seen += next(chunks)
            if gate is not None:
                later = {"one": "two", "two": "three"}[word]
                assert later not in seen
                gate.open()
        for chunk in chunks:
            seen += chunk
    assert seen.endswith("data: [DONE]\n\n")


def test_chunks_without_a_delay_are_still_network_writes_of_their_own(fake, stream):
    fake.reply(*"abcdef", comments=False)
    with stream() as response:
        writes = list(response.iter_raw())
    assert len(writes) == 1 + 6 + 3
    assert all(write.startswith(b"data: ") and write.endswith(b"\n\n") for write in writes)


def test_a_delay_lies_between_the_chunks(fake, ask):
    fake.reply("a", "b", "c", delay=0.05)
    assert ask(stream=True).elapsed.total_seconds() >= 0.1
    fake.reply("a", "b", "c", delay=0.05)
    assert ask().elapsed.total_seconds() >= 0.1


def test_the_fakes_own_delay_is_taken_where_a_reply_has_none(fake, ask):
    fake.chunk_delay = 0.05
    fake.reply("a", "b", "c")
    assert ask(stream=True).elapsed.total_seconds() >= 0.1
    unhurried = render(Reply(("a", "b", "c"), delay=0), {"stream": True}, chunk_delay=0.05)
    assert not any(isinstance(action, Pause) for action in unhurried)


def test_comment_lines_come_before_and_between_the_events(fake, ask):
    fake.reply("a", Comment("still here"), "b")
    lines = [line for line in ask(stream=True).text.split("\n") if line]
    assert lines[0] == ": OPENROUTER PROCESSING"
    assert lines[2] == ": OPENROUTER PROCESSING"
    assert ": still here" in lines


def test_events_look_like_openrouters(fake, events):
    fake.reply("a")
    got = events()[:-1]
    first = got[0]
    assert first["id"].startswith("gen-")
    assert {event["id"] for event in got} == {first["id"]}
    assert first["object"] == "chat.completion.chunk"
    assert (first["model"], first["provider"]) == ("example/model", "Fake")
    assert first["system_fingerprint"] is None
    assert all(delta["role"] == "assistant" for delta in deltas(got))


def test_the_last_data_event_has_the_usage_and_the_finish_reason_again(fake, events):
    fake.reply("four words to count", usage={"cost": 0.25}, finish="length", native_finish="MAX_TOKENS")
    *_, finish, last, done = events()
    assert done == "[DONE]"
    for event in (finish, last):
        choice = event["choices"][0]
        assert (choice["delta"]["content"], choice["finish_reason"]) == ("", "length")
        assert choice["native_finish_reason"] == "MAX_TOKENS"
    assert "usage" not in finish
    usage = last["usage"]
    assert usage["cost"] == 0.25
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize(
    ("usage_event", "choices"),
    [("same_finish", [("stop")]), ("no_finish", [None]), ("no_choices", [])],
)
def test_the_usage_event_comes_in_the_shapes_seen_over_the_years(fake, events, usage_event, choices):
    fake.reply("a", usage_event=usage_event)
    last = events()[-2]
    assert last["usage"]["cost"] > 0
    assert [choice["finish_reason"] for choice in last["choices"]] == choices


def test_a_stream_may_have_no_usage(fake, events):
    fake.reply("a", usage_event="none")
    assert not any("usage" in event for event in events()[:-1])


def test_reasoning_comes_before_the_text(fake, events):
    fake.reply("42", reasoning=["Let me", " think"])
    got = deltas(events())
    assert [delta.get("reasoning") for delta in got[1:3]] == ["Let me", " think"]
    assert got[1]["reasoning_details"][0]["text"] == "Let me"
    assert got[3]["content"] == "42"


def test_reasoning_details_may_be_given(fake, events):
    fake.reply(Reasoning("", details=[{"type": "reasoning.encrypted", "data": "abc"}]), "42")
    assert deltas(events())[1]["reasoning_details"] == [{"type": "reasoning.encrypted", "data": "abc"}]


def test_a_tool_call_streams_its_arguments_in_fragments(fake, events):
    fake.call("weather", ['{"city', '": "Ro', 'me"}'], id="call_7")
    got = events()
    announced = deltas(got)[1]["tool_calls"][0]
    assert announced == {
        "index": 0,
        "id": "call_7",
        "type": "function",
        "function": {"name": "weather", "arguments": ""},
    }
    assert fragments(got) == ["", '{"city', '": "Ro', 'me"}']
    assert got[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_arguments_given_as_a_mapping_are_cut_also_inside_escapes(fake, events):
    arguments = {"setup": 'He said "no"\nand left', "emoji": "\U0001f600"}
    fake.call("joke", arguments)
    got = fragments(events())
    assert json.loads("".join(got)) == arguments
    assert any(fragment.endswith("\\") for fragment in got)


def test_parallel_calls_follow_each_other_or_take_turns(fake, events):
    calls = ToolCallScript("a", ["1", "2", "3"]), ToolCallScript("b", ["4", "5"])
    fake.reply("Let me look.", *calls)
    fake.reply(*calls, interleave=True)
    order = [
        [
            (call["index"], call["function"]["arguments"])
            for delta in deltas(events())
            for call in delta.get("tool_calls", [])
        ]
        for _ in range(2)
    ]
    assert order[0] == [(0, ""), (0, "1"), (0, "2"), (0, "3"), (1, ""), (1, "4"), (1, "5")]
    assert order[1] == [(0, ""), (1, ""), (0, "1"), (1, "4"), (0, "2"), (1, "5"), (0, "3")]


def test_calls_without_an_id_get_fresh_ones(fake, ask):
    fake.reply(ToolCallScript("a"), ToolCallScript("b"))
    fake.reply(ToolCallScript("a"), ToolCallScript("b"))
    ids = [call["id"] for _ in range(2) for call in ask().json()["choices"][0]["message"]["tool_calls"]]
    assert len(set(ids)) == 4


def test_odd_deltas_and_events_go_out_as_given(fake, ask):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    fake.reply(
        Delta({"images": [image]}), Event({"odd": 1}), Event(": OPENROUTER PROCESSING"), RawBytes(b"x")
    )
    body = ask(stream=True).text
    assert '"delta":{"images":[{"type":"image_url"' in body
    assert 'data: {"odd":1}\n\ndata: : OPENROUTER PROCESSING\n\nx' in body


def test_the_same_reply_answers_without_streaming(fake, ask):
    fake.reply(
        "Let me", " look.", ToolCallScript("weather", {"city": "Rome"}), reasoning="Hm.", model="other/model"
    )
    response = ask()
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    message = body["choices"][0]["message"]
    assert body["object"] == "chat.completion"
    assert body["id"] == response.headers["x-generation-id"]
    assert body["model"] == "other/model"
    assert message["content"] == "Let me look."
    assert message["reasoning"] == "Hm."
    assert message["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Rome"}'}
    assert body["choices"][0]["finish_reason"] == "tool_calls"
    assert body["usage"]["cost"] > 0


def test_pieces_that_only_a_stream_can_have_say_so_elsewhere(fake, ask):
    fake.reply("a", Event({}))
    response = ask()
    assert response.status_code == 500
    assert "Event piece needs" in response.json()["error"]["message"]


def test_half_a_surrogate_pair_is_sent_as_an_escape(fake, events):
    fake.reply("\ud83d")
    assert text(events()) == "\ud83d"


def test_raw_writes_are_sent_one_by_one(fake, stream):
    fake.raw(b"data: {", 'data: "\u00e9"\r\n\r\n', headers={"content-type": "text/plain"}, status=203)
    with stream() as response:
        assert response.status_code == 203
        assert response.headers["content-type"] == "text/plain"
        assert list(response.iter_raw()) == [b"data: {", 'data: "\u00e9"\r\n\r\n'.encode()]


def test_events_are_exactly_those_given(fake, ask):
    fake.events({"choices": []}, "not json")
    fake.events({"n": 1}, done=False)
    assert ask(stream=True).text == 'data: {"choices":[]}\n\ndata: not json\n\ndata: [DONE]\n\n'
    assert ask(stream=True).content == sse({"n": 1})


def test_an_empty_reply_is_an_answer_too(fake, events):
    fake.reply()
    got = events()
    assert text(got) == ""
    assert got[-2]["choices"][0]["finish_reason"] == "stop"
