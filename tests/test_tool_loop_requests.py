"""What a tool loop sends: what the model said before goes back to it as it came."""

from __future__ import annotations

import asyncio
import json

import pytest

from openrouter_app import ChatOpenRouter, HumanMessage, ImagePart, LoopState, TextPart, ToolLoop
from openrouter_app.testing import Delta, ToolCallScript

SAID = {
    "details": {
        "reasoning": "Hm.",
        "reasoning_details": [
            {
                "type": "reasoning.text",
                "text": "Hm.",
                "signature": "S==",
                "index": 0,
                "format": None,
                "id": None,
            },
            {"type": "reasoning.encrypted", "data": "\u00e9/+==", "id": "rs_1", "index": 1, "format": "x"},
        ],
    },
    "none": {"reasoning_details": []},
    "images": {
        "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
        "annotations": [
            {
                "type": "file",
                "file": {"hash": "h", "name": "a.pdf", "content": [{"type": "text", "text": "A"}]},
            },
            {"type": "url_citation", "url_citation": {"url": "https://example.com", "start_index": 0}},
        ],
    },
}


def look() -> tuple[TextPart, ImagePart]:
    """Look outside."""
    return TextPart("Look:"), ImagePart("https://example.com/a.png")


def ask(made, value, face, verb):
    if face == "sync":
        return list(made.stream(value))[-1] if verb == "stream" else made.invoke(value)

    async def asked():
        if verb == "invoke":
            return await made.ainvoke(value)
        return [item async for item in made.astream(value)][-1]

    return asyncio.run(asked())


def script(openrouter, said, verb):
    """An answer with one call; whole where it is not streamed."""
    if verb == "stream":
        openrouter.reply(Delta(said), ToolCallScript("look", "{}", "c1"))
        return
    function = {"name": "look", "arguments": "{}"}
    call = {"id": "c1", "type": "function", "index": 0, "function": function}
    message = {"role": "assistant", "content": None, "tool_calls": [call], **said}
    body = {"id": "gen-1", "model": "a/b", "choices": [{"index": 0, "finish_reason": "tool_calls"}]}
    body["choices"][0]["message"] = message
    openrouter.raw(json.dumps(body), headers={"content-type": "application/json"})


@pytest.mark.parametrize("verb", ["stream", "invoke"])
@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_what_the_model_said_goes_back_as_it_came(said, face, verb, openrouter):
    script(openrouter, said, verb)
    openrouter.reply("It rains.")
    made = ToolLoop(ChatOpenRouter(model="a/b", api_key="k", base_url=openrouter.base_url), [look])
    state = ask(made, "How is the weather?", face, verb)
    assert state.text == "It rains."

    asked, again = openrouter.requests
    sent = again.json["messages"]
    expected = {name: value for name, value in said.items() if name != "reasoning"}  # the details say it
    function = {"name": "look", "arguments": "{}"}
    assert sent[1] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        **expected,
    }
    assert sent[2] == {
        "role": "tool",
        "tool_call_id": "c1",
        "content": [
            {"type": "text", "text": "Look:"},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        ],
    }
    # all else is what it was, to the byte: providers keep what they read by it
    assert again.body.startswith(asked.body[: asked.body.index(b'"messages"')])
    assert json.dumps(sent[:1]) == json.dumps(asked.json["messages"])
    assert again.json["tools"] == asked.json["tools"]

    # and so it is from a stored state, in the next turn
    openrouter.reply("No.")
    stored = LoopState.load(state.dump())
    ask(made, [*stored.messages, HumanMessage("And now?")], face, verb)
    assert json.dumps(openrouter.requests[2].json["messages"][:3]) == json.dumps(sent)
