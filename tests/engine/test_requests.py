"""Messages as OpenRouter takes them, and histories as they are kept."""

from __future__ import annotations

import json

import pytest

from openrouter_app.engine.chains import ChatOpenRouter
from openrouter_app.engine.chains.steps import Call, Upstream
from openrouter_app.engine.defaults import Defaults, environment_defaults
from openrouter_app.engine.errors import ConfigurationError, InputError, UsageError
from openrouter_app.engine.messages import (
    AIMessage,
    AudioPart,
    CustomMessage,
    FilePart,
    HumanMessage,
    ImagePart,
    Reply,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    dump_messages,
    load_messages,
)
from openrouter_app.engine.requests import encode_body, messages_of, wire_message

DETAILS = ({"type": "reasoning.encrypted", "data": "xyz", "index": 0},)
HISTORY = [
    SystemMessage("s"),
    HumanMessage((TextPart("t"), ImagePart("u"), ImagePart("v", "high"))),
    HumanMessage((FilePart("f.pdf", "data:x"), AudioPart("UklG", "wav"))),
    AIMessage("a", (ToolCall("c", "f", {"x": 1}),), "thought", "", DETAILS, ("data:i",), ({"type": "file"},)),
    ToolMessage("r", "c", True),
    CustomMessage("x", "critic"),
]


def test_content_parts_go_in_openrouters_form():
    assert wire_message(HISTORY[1]) == {
        "role": "user",
        "content": [
            {"type": "text", "text": "t"},
            {"type": "image_url", "image_url": {"url": "u"}},
            {"type": "image_url", "image_url": {"url": "v", "detail": "high"}},
        ],
    }
    assert wire_message(HISTORY[2])["content"] == [
        {"type": "file", "file": {"filename": "f.pdf", "file_data": "data:x"}},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
    ]


def test_gotchas_34_35_reasoning_details_pictures_and_sources_go_back_unchanged():
    assert wire_message(HISTORY[3]) == {
        "role": "assistant",
        "content": "a",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}],
        "reasoning_details": DETAILS,
        "images": [{"type": "image_url", "image_url": {"url": "data:i"}}],
        "annotations": ({"type": "file"},),
    }
    assert wire_message(AIMessage("a", reasoning_details=())) == {
        "role": "assistant",
        "content": "a",
        "reasoning_details": (),
    }
    assert wire_message(AIMessage("a", reasoning="thought"))["reasoning"] == "thought"


def test_gotcha_55_empty_text_beside_calls_goes_as_null():
    assert wire_message(AIMessage("", (ToolCall("c", "f", {}),)))["content"] is None
    assert wire_message(AIMessage(""))["content"] == ""


def test_message_of_a_custom_role_is_for_no_model():
    with pytest.raises(UsageError, match="'critic'"):
        wire_message(HISTORY[5])


def test_inputs_stand_for_messages():
    reply = Reply(AIMessage("a"), "stop", "", None, "", "", "")
    assert messages_of("hi") == (HumanMessage("hi"),)
    assert messages_of(HISTORY[0]) == (HISTORY[0],)
    assert messages_of(reply) == (AIMessage("a"),)
    assert messages_of(HISTORY) == HISTORY
    for wrong in (3, [], ["x"], None):
        with pytest.raises(InputError):
            messages_of(wrong)


def test_body_that_json_has_no_form_for_is_refused():
    with pytest.raises(InputError):
        encode_body({"x": object()})


def test_history_can_be_stored():
    text = dump_messages(HISTORY)
    assert load_messages(text) == HISTORY
    assert load_messages(text.encode()) == HISTORY
    for wrong in ("", "{}", '[{"role": "king"}]', b"\xff", "[" * 100_000):
        with pytest.raises(InputError):
            load_messages(wrong)


def test_gotcha_46_a_limit_of_tokens_goes_by_its_present_name():
    for options in (
        {"max_tokens": 9},
        {"max_completion_tokens": 9},
        {"max_tokens": 5, "max_completion_tokens": 9},
    ):
        model = ChatOpenRouter(model="a/b", api_key="k", **options)
        body = json.loads(model.request([HumanMessage("x")], Call(False, {})).body)
        assert body == {
            "model": "a/b",
            "messages": [{"role": "user", "content": "x"}],
            "max_completion_tokens": 9,
        }


def test_defaults_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-canary")
    monkeypatch.setenv("OPENROUTER_BASE_URL", "https://site.example/v1")
    found = environment_defaults()
    assert (found.api_key, found.base_url) == ("sk-or-canary", "https://site.example/v1")
    assert "canary" not in repr(found)
    monkeypatch.delenv("OPENROUTER_BASE_URL")
    assert environment_defaults().base_url == Defaults().base_url
    with pytest.raises(ConfigurationError):
        ChatOpenRouter(model="")


@pytest.mark.parametrize("value", [HumanMessage(("a",)), HumanMessage(None), HumanMessage(3)])
def test_content_that_is_neither_text_nor_parts_is_refused(value):
    with pytest.raises(InputError, match="a text or content parts"):
        wire_message(value)


@pytest.mark.parametrize(("value", "said"), [([], "none"), ([HumanMessage("x"), "y"], "a str among them")])
def test_list_that_is_not_of_messages_is_refused_with_a_sentence(value, said):
    with pytest.raises(InputError, match=f"it got {said}"):
        messages_of(value)


@pytest.mark.parametrize("old", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("new", ["max_tokens", "max_completion_tokens"])
def test_later_limit_of_tokens_wins_whatever_it_is_called(old, new):
    model = ChatOpenRouter(model="a/b", api_key="k", **{old: 100})

    def sent(step, **options):
        flow = step.run(Upstream.of("hi"), Call(False, options)).flow
        return json.loads(flow.send(None).request.body)

    assert sent(model, **{new: 5})["max_completion_tokens"] == 5
    assert sent(model.bind(**{new: 5}))["max_completion_tokens"] == 5
    assert sent(model.bind(**{old: 7}), **{new: 5})["max_completion_tokens"] == 5
    assert "max_tokens" not in sent(model, **{new: 5})
