"""Chains of steps, without a network: the flows are driven by hand, or need no effects at all."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from openrouter_app import (
    AIMessage,
    ChatOpenRouter,
    ChatPromptTemplate,
    ConfigurationError,
    HumanMessage,
    InputError,
    OutputError,
    StringOutputParser,
    SystemMessage,
    ToolCall,
    ToolChoice,
    ToolMessage,
    ToolsOutputParser,
    ToolSpec,
)
from openrouter_app.engine.chains.steps import Call, Step, Upstream
from openrouter_app.engine.client import Timeouts
from openrouter_app.engine.flows import Finish, Open, Read
from openrouter_app.engine.messages import (
    ReplyFinished,
    TextDelta,
    ToolCallDelta,
    ToolCallInvalid,
    ToolCallReady,
    ToolCallStarted,
)


class Says(Step[Any]):
    """A step that ignores its input and says the same every time."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def flow(self, upstream: Upstream, call: Call):
        yield from upstream.value() and ()
        yield from self.items


FINISHED = ReplyFinished("stop", "", None, "gen-1", "a/b", "P")
PROMPT = ChatPromptTemplate.from_templates([("system", "Be {tone}."), ("human", "{text}")])


class Connection:
    def __init__(self, *pieces: bytes, status: int = 200, content_type: str = "text/event-stream") -> None:
        self.pieces = list(pieces)
        self.status = status
        self.headers = {"content-type": content_type}


def play(step: Step[Any], value: Any, connection: Connection, **options: Any) -> tuple[Any, list[Any]]:
    """Drive a chain over a canned answer: (the request, the items)."""
    flow = step.flow(Upstream.of(value), Call(True, options))
    request, items, answer = None, [], None
    while True:
        try:
            out = flow.send(answer)
        except StopIteration:
            return request, items
        answer = None
        match out:
            case Open():
                request, answer = out.request, connection
            case Read():
                answer = connection.pieces.pop(0) if connection.pieces else b""
            case Finish():
                pass
            case _:
                items.append(out)


def sse(*chunks: Any) -> bytes:
    return (
        b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    )


def text_chunk(text: str) -> dict[str, Any]:
    return {"id": "gen-1", "choices": [{"delta": {"content": text}, "finish_reason": None}]}


def test_pipe_and_bar_give_the_same_flat_chain():
    a, b, c = Says("a"), Says("b"), StringOutputParser()
    for chain in (a | b | c, a.pipe(b).pipe(c), a | (b | c), (a | b) | c):
        assert chain.steps == (a, b, c)


def test_chain_refuses_what_is_no_step():
    with pytest.raises(TypeError):
        Says("a") | "b"


def test_prompt_fills_in_and_keeps_roles():
    value = PROMPT.invoke({"tone": "brief", "text": "Hi {tone}"})
    assert value.messages == (SystemMessage("Be brief."), HumanMessage("Hi {tone}"))
    assert str(value) == "System: Be brief.\nHuman: Hi {tone}"
    assert list(PROMPT.stream({"tone": "brief", "text": "x"})) == [
        PROMPT.invoke({"tone": "brief", "text": "x"})
    ]


def test_prompt_names_what_is_missing():
    with pytest.raises(InputError, match="'text'") as caught:
        PROMPT.invoke({"tone": "brief"})
    assert caught.value.variables == ("text",)


def test_prompt_takes_a_mapping_only():
    with pytest.raises(InputError, match="mapping"):
        PROMPT.invoke("hello")


def test_placeholder_takes_messages_and_nothing_else():
    prompt = ChatPromptTemplate.from_templates([("messages_placeholder", "history"), ("human", "{text}")])
    assert prompt.variables == ("history", "text")
    assert prompt.invoke({"history": [AIMessage("Yes?")], "text": "x"}).messages == (
        AIMessage("Yes?"),
        HumanMessage("x"),
    )
    for wrong in ("Yes?", [("ai", "Yes?")], None):
        with pytest.raises(InputError):
            prompt.invoke({"history": wrong, "text": "x"})


def test_string_parser_streams_pieces_and_joins_them():
    chain = Says(TextDelta("A"), TextDelta("B"), FINISHED) | StringOutputParser()
    assert list(chain.stream("x")) == ["A", "B"]
    assert chain.invoke("x") == "AB"
    assert (Says(FINISHED) | StringOutputParser()).invoke("x") == ""
    assert StringOutputParser().invoke(AIMessage("hi")) == "hi"
    assert StringOutputParser().invoke("hi") == "hi"


async def test_async_faces_give_the_same():
    chain = Says(TextDelta("A"), TextDelta("B"), FINISHED) | StringOutputParser()
    assert [item async for item in chain.astream("x")] == ["A", "B"]
    assert await chain.ainvoke("x") == "AB"


def tool_events(*texts: str, id: str = "c", name: str = "joke"):
    return [ToolCallStarted(id, name), *(ToolCallDelta(id, text) for text in texts)]


def shown(chain: Step[Any]) -> list[list[dict[str, Any]]]:
    return [[call.arguments for call in calls] for calls in chain.stream("x")]


def test_tools_parser_shows_arguments_growing():
    whole = {"setup": "Why don't bears", "punchline": "Paws."}
    events = tool_events("", '{"', 'setup": "', "Why don't", ' bears"', ', "punch', 'line": "', 'Paws."', "}")
    chain = Says(*events, ToolCallReady("c", "joke", whole), FINISHED) | ToolsOutputParser()
    assert shown(chain) == [
        [{}],
        [{"setup": ""}],
        [{"setup": "Why don't"}],
        [{"setup": "Why don't bears"}],
        [{"setup": "Why don't bears", "punchline": ""}],
        [{"setup": "Why don't bears", "punchline": "Paws."}],
    ]
    assert chain.invoke("x") == [ToolCall("c", "joke", whole)]


def test_tools_parser_keeps_parallel_calls_in_order_of_appearance():
    events = [
        *tool_events('{"a":', id="1", name="f"),
        *tool_events('{"b": 2}', id="2", name="g"),
        ToolCallDelta("1", " 1}"),
        ToolCallReady("1", "f", {"a": 1}),
        ToolCallReady("2", "g", {"b": 2}),
    ]
    chain = Says(*events, FINISHED) | ToolsOutputParser()
    assert shown(chain) == [[{}], [{}, {}], [{}, {"b": 2}], [{"a": 1}, {"b": 2}]]


def test_tools_parser_without_a_call_gives_one_empty_list():
    assert list((Says(TextDelta("hi"), FINISHED) | ToolsOutputParser()).stream("x")) == [[]]


def test_tools_parser_items_share_nothing():
    events = tool_events('{"list": [1', ", 2]}")
    items = list((Says(*events, FINISHED) | ToolsOutputParser()).stream("x"))
    items[-1][0].arguments["list"].append("mine")
    assert items[-2][0].arguments == {"list": []}


def test_tools_parser_raises_for_invalid_arguments_with_what_came():
    events = tool_events('{"setup": "Why', "]")
    chain = (
        Says(*events, ToolCallInvalid("c", "joke", '{"setup": "Why]', "cut"), FINISHED) | ToolsOutputParser()
    )
    seen = []
    with pytest.raises(OutputError) as caught:
        for calls in chain.stream("x"):
            seen.append(calls[0].arguments)
    assert seen[-1] == {"setup": "Why]"}
    assert caught.value.raw == '{"setup": "Why]'


async def test_one_chain_serves_many_runs_at_once():
    chain = Says(*tool_events('{"a": "x'), *(ToolCallDelta("c", "y"),) * 50, FINISHED) | ToolsOutputParser()
    results = await asyncio.gather(*(chain.ainvoke("x") for _ in range(10)))
    assert all(result == [ToolCall("c", "joke", {"a": "x" + "y" * 50})] for result in results)


def test_model_sends_what_the_chain_says():
    joke = ToolSpec(name="joke", description="A joke")
    model = ChatOpenRouter(
        model="a/b",
        api_key="k",
        base_url="http://127.0.0.1:1/v1/",
        app_url="https://site.example",
        app_title="Site",
        headers={"X-Extra": "1"},
        tools=[joke],
        tool_choice=ToolChoice.forced("joke"),
        temperature=0.5,
        max_tokens=10,
    )
    request, items = play(
        PROMPT | model, {"tone": "x", "text": "y"}, Connection(sse(text_chunk("Hi"))), max_tokens=20
    )
    assert request.url == "http://127.0.0.1:1/v1/chat/completions"
    assert request.headers["Authorization"] == "Bearer k"
    assert request.headers["HTTP-Referer"] == "https://site.example"
    assert request.headers["X-OpenRouter-Title"] == request.headers["X-Title"] == "Site"
    assert request.headers["X-Extra"] == "1"
    assert json.loads(request.body) == {
        "model": "a/b",
        "messages": [{"role": "system", "content": "Be x."}, {"role": "user", "content": "y"}],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "joke",
                    "description": "A joke",
                    "parameters": {"type": "object", "properties": {}},
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "joke"}},
        "temperature": 0.5,
        "max_completion_tokens": 20,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert TextDelta("Hi") in items


def test_model_sends_history_with_its_tool_calls():
    history = [HumanMessage("q"), AIMessage("", (ToolCall("c", "f", {"a": 1}),)), ToolMessage("22", "c")]
    request, _ = play(ChatOpenRouter(model="a/b", api_key="k"), history, Connection(sse(text_chunk("x"))))
    assert json.loads(request.body)["messages"] == [
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "22"},
    ]


def test_options_of_a_call_win_but_cannot_replace_messages():
    model = ChatOpenRouter(model="a/b", api_key="k", temperature=1)
    request, _ = play(
        model,
        "hi",
        Connection(sse(text_chunk("x"))),
        messages=[],
        tools=[ToolSpec(name="f")],
        tool_choice=ToolChoice.required(),
        stream=False,
        model="c/d",
        temperature=0,
        timeouts=Timeouts(total=3),
    )
    body = json.loads(request.body)
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f"]
    assert body["tool_choice"] == "required"
    assert body["stream"] is True
    assert body["model"] == "c/d"
    assert body["temperature"] == 0
    assert "timeouts" not in body
    assert request.timeouts.total == 3


@pytest.mark.parametrize(
    "options",
    [
        {"tools": ["x"]},
        {"timeouts": 3},
        {"tool_choice": "auto"},
        {"retries": "2"},
        {"retries": -1},
        {"api_key": "another"},
        {"headers": {}},
    ],
)
def test_options_of_a_wrong_kind_are_refused(options):
    model = ChatOpenRouter(model="a/b", api_key="k", tools=[ToolSpec(name="f")])
    with pytest.raises(ConfigurationError):
        play(model, "hi", Connection(), **options)


def test_model_refuses_to_be_made_with_messages():
    with pytest.raises(ConfigurationError):
        ChatOpenRouter(model="a/b", messages=[])


def test_gotcha_43_stream_answered_by_one_json_body_is_read_all_the_same():
    body = json.dumps({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}).encode()
    connection = Connection(body[:10], body[10:], content_type="application/json")
    _, items = play(ChatOpenRouter(model="a/b", api_key="k") | StringOutputParser(), "x", connection)
    assert items == ["Hi"]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/v1",
        "ftp://x/",
        "example.com",
        "https://u:p@example.com/",
        "https://x.com/?q",
        "http://127.0.0.1.evil.com/",
    ],
)
def test_base_url_that_would_leak_the_key_is_refused(url):
    with pytest.raises(ConfigurationError):
        play(ChatOpenRouter(model="a/b", api_key="k", base_url=url), "x", Connection())


def test_insecure_base_url_can_be_allowed_by_name():
    model = ChatOpenRouter(model="a/b", api_key="k", base_url="http://lan/v1", allow_insecure_base_url=True)
    request, _ = play(model, "x", Connection(sse(text_chunk("y"))))
    assert request.url == "http://lan/v1/chat/completions"


def test_key_is_in_no_repr():
    model = ChatOpenRouter(model="a/b", api_key="sk-or-canary", base_url="http://127.0.0.1/v1")
    request, _ = play(model, "x", Connection(sse(text_chunk("y"))))
    assert "canary" not in repr(model) + repr(request) + repr(model | StringOutputParser())


@pytest.mark.parametrize("value", [3, None, [], ["x"], {"a": 1}])
def test_model_refuses_input_that_is_no_message(value):
    with pytest.raises(InputError):
        play(ChatOpenRouter(model="a/b", api_key="k"), value, Connection())


def test_leaving_a_stream_early_closes_the_flow():
    closed = []

    class Watched(Says):
        def flow(self, upstream, call):
            try:
                yield from super().flow(upstream, call)
            finally:
                closed.append(True)

    for _ in (Watched(TextDelta("A"), TextDelta("B")) | StringOutputParser()).stream("x"):
        break
    assert closed == [True]
