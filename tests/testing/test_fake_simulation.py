"""What the demo shows without a key: believable where it can be, honest everywhere."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openrouter_app.testing import FakeOpenRouter, Reasoning, ToolCallScript, simulated_reply

TRANSLATE = "You are a helpful assistant that translates English to French."
COUNT = "You are a helpful assistant that replies only with numbers in order without any spaces or commas"
JOKE_TOOL = {
    "type": "function",
    "function": {
        "name": "joke",
        "description": "A joke",
        "parameters": {
            "type": "object",
            "properties": {
                "setup": {"type": "string", "description": "The setup for the joke"},
                "punchline": {"type": "string", "description": "The punchline to the joke"},
            },
            "required": ["location", "punchline"],
        },
    },
}
FORCED = {"type": "function", "function": {"name": "joke"}}


def request(system="", human="", **more):
    messages = [{"role": "user", "content": human}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    return {"model": "example/model", "messages": messages} | more


def said(system="", human="", **more):
    pieces = simulated_reply(request(system, human, **more)).pieces
    return "".join(piece for piece in pieces if isinstance(piece, str))


def called(human, system="", **more):
    members = {"tools": [JOKE_TOOL], "tool_choice": FORCED} | more
    reply = simulated_reply(request(system, human, **members))
    (call,) = [piece for piece in reply.pieces if isinstance(piece, ToolCallScript)]
    return call


def joke(human, **more):
    return json.loads("".join(called(human, **more).fragments))


@pytest.mark.parametrize(
    ("language", "answer"),
    [
        ("French", "J'adore la programmation."),
        ("German", "Ich liebe das Programmieren."),
        ("Spanish", "Me encanta programar."),
        ("Italian", "Adoro programmare."),
    ],
)
def test_translate_knows_the_phrase_of_the_tour(language, answer):
    assert said(TRANSLATE.replace("French", language), "I love programming.") == answer


def test_translate_is_not_put_off_by_case_punctuation_or_several_sentences():
    assert said(TRANSLATE, "  hello   ") == "Bonjour !"
    assert said(TRANSLATE, "Hello! How are you?") == "Bonjour ! Comment allez-vous ?"


def test_translate_knows_the_way_back():
    assert (
        said(TRANSLATE.replace("English to French", "German to English"), "Guten Morgen") == "Good morning."
    )


def test_translate_says_what_it_does_not_know_and_echoes_the_text():
    text = "Seven turtles went to sea."
    for system in (TRANSLATE, TRANSLATE.replace("French", "Klingon")):
        answer = said(system, text)
        assert "no model was asked" in answer
        assert text in answer
    assert '"Klingon"' in said(TRANSLATE.replace("French", "Klingon"), "I love programming.")


@pytest.mark.parametrize(
    ("edit", "answer"),
    [
        (" Answer in capital letters.", "J'ADORE LA PROGRAMMATION."),
        (' Start every answer with "Voici:"', "Voici: J'adore la programmation."),
        (" Begin with Tiens, then go on", "Tiens, then go on J'adore la programmation."),
        (" End with a smile.", "J'adore la programmation. a smile"),
        (" Use only lower case.", "j'adore la programmation."),
    ],
)
def test_translate_follows_instructions_about_form(edit, answer):
    assert said(TRANSLATE + edit, "I love programming.") == answer


def test_an_edit_that_cannot_be_followed_is_quoted():
    answer = said(TRANSLATE.replace("helpful assistant", "grumpy pirate"), "I love programming.")
    assert answer.startswith("J'adore la programmation.")
    assert "grumpy pirate" in answer
    assert "imulation" in answer
    assert "silly" in said(COUNT.replace("helpful", "silly"), "List the numbers from 1 to 9")
    assert "sad" in joke("tell me a long sad joke about bears")["punchline"]


def test_count_streams_the_numbers_in_several_chunks():
    reply = simulated_reply(request(COUNT, "List the numbers from 1 to 9"))
    assert "".join(reply.pieces) == "123456789"
    assert len(reply.pieces) > 2


@pytest.mark.parametrize(
    ("system", "answer"),
    [
        (COUNT + ".", "12345"),
        (COUNT.replace("without any spaces or commas", "separated by commas"), "1,2,3,4,5"),
        (COUNT.replace("without any spaces or commas", "separated by commas and spaces"), "1, 2, 3, 4, 5"),
        (COUNT.replace("without any spaces or commas", "with spaces between them"), "1 2 3 4 5"),
        (COUNT.replace("without any spaces or commas", "one per line"), "1\n2\n3\n4\n5"),
        (COUNT.replace(" or commas", ""), "1,2,3,4,5"),
        (COUNT.replace(" without any spaces or commas", ""), "1, 2, 3, 4, 5"),
        (COUNT.replace("in order", "backwards"), "54321"),
        (COUNT.replace("in order", "in descending order") + ", one per line", "5\n4\n3\n2\n1"),
    ],
)
def test_count_follows_the_prompt(system, answer):
    assert said(system, "List the numbers from 1 to 5") == answer


def test_count_takes_any_range():
    assert said(COUNT, "List the numbers from 5 to 9") == "56789"
    assert said(COUNT, "List the numbers from 3 to 1") == "321"
    assert said(COUNT, "List the numbers from -1 to 1") == "-101"


def test_count_is_capped_and_says_so():
    assert said(COUNT, "List the numbers from 1 to 500").endswith("499500")
    assert "at most 500" in said(COUNT, "List the numbers from 1 to 501")
    assert "at most 500" in said(COUNT, "List the numbers from 1 to 999999999")
    assert "999999999" in said(COUNT, "List the numbers from 999999998 to 999999999")


def test_count_answers_honestly_where_there_is_no_number():
    answer = said(COUNT, "List the numbers from 1 to nine")
    assert "no model was asked" in answer
    assert "1 to nine" in answer


def test_joke_calls_the_tool_with_setup_before_punchline():
    call = called("tell me a long joke about bears")
    arguments = json.loads("".join(call.fragments))
    assert call.name == "joke"
    assert list(arguments) == ["setup", "punchline"]
    assert "bear" in arguments["setup"]


def test_joke_is_long_enough_to_be_seen_growing():
    for topic in ("bears", "cats"):
        fragments = called(f"tell me a long joke about {topic}").fragments
        assert 100 <= len(fragments) <= 150  # 4 to 6 seconds at the pace of the demo
        assert max(map(len, fragments)) <= 20
        assert any(fragment.endswith("\\") for fragment in fragments)


def test_joke_follows_topic_length_and_form():
    long, other = joke("tell me a long joke about bears"), joke("tell me a long joke about cats")
    short = joke("tell me a short joke about bears")
    assert "cats" in other["setup"]
    assert len(short["setup"]) < 60 < len(long["setup"])
    assert joke("tell me a long joke about cats in capital letters")["setup"] == other["setup"].upper()


@given(topic=st.text(max_size=300))
def test_joke_is_json_whatever_it_is_about(topic):
    arguments = joke(f"tell me a long joke about {topic}")
    assert isinstance(arguments["setup"], str)
    assert isinstance(arguments["punchline"], str)


def test_joke_fills_what_else_the_tool_asks_for():
    tool = json.loads(json.dumps(JOKE_TOOL))
    tool["function"]["parameters"]["properties"]["rating"] = {"type": "integer", "minimum": 3}
    arguments = joke("tell me a long joke about bears", tools=[tool])
    assert list(arguments) == ["setup", "punchline", "rating"]
    assert arguments["rating"] == 4


def test_joke_without_a_tool_is_told():
    assert "bears" in said(human="tell me a long joke about polar bears")


def test_other_forced_tools_get_arguments_that_fit():
    tool = {
        "type": "function",
        "function": {"name": "book", "parameters": {"properties": {"nights": {"type": "integer"}}}},
    }
    for choice in ("required", {"type": "function", "function": {"name": "book"}}):
        call = called("anything", tools=[tool], tool_choice=choice)
        assert (call.name, json.loads("".join(call.fragments))) == ("book", {"nights": 1})


def test_a_tool_that_is_not_forced_is_called_where_its_name_is_mentioned():
    tools = [{"type": "function", "function": {"name": "get_weather"}}]
    assert called("How is the weather?", tools=tools, tool_choice="auto").name == "get_weather"
    assert "simulated reply" in said(human="How are you?", tools=tools)
    assert "simulated reply" in said(human="How is the weather?", tools=tools, tool_choice="none")


def test_a_tools_answer_ends_the_loop_even_where_the_tool_is_forced():
    body = request(human="weather?", tools=[JOKE_TOOL], tool_choice="required")
    body["messages"] += [{"role": "assistant", "tool_calls": []}, {"role": "tool", "content": "22 degrees"}]
    text = "".join(simulated_reply(body).pieces)
    assert '"22 degrees"' in text


def test_anything_else_is_answered_honestly():
    answer = said("Be brief. Be kind.", "What is " + "x" * 500)
    assert "no model was asked" in answer
    assert "x" * 200 in answer
    assert "x" * 300 not in answer
    assert '"Be brief."' in answer
    assert "OPENROUTER_API_KEY" in answer


def test_a_changed_prompt_changes_the_honest_answer():
    assert said("Be brief.", "Hi") != said("Be long.", "Hi")


def test_messages_made_of_parts_are_read():
    parts = [
        {"type": "text", "text": "numbers from 1 "},
        {"type": "image_url"},
        {"type": "text", "text": "to 3"},
    ]
    assert "123" in said(COUNT, parts)


def test_json_is_answered_where_json_is_asked_for():
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert json.loads(said(human="Hi", response_format=form)) == {"ok": True}
    assert json.loads(said(human="Hi", response_format={"type": "json_object"})).keys() == {"simulation"}


def test_reasoning_is_shown_where_it_is_asked_for():
    def thoughts(**reasoning):
        pieces = simulated_reply(request(human="Hi", reasoning=reasoning)).pieces
        return "".join(piece.text for piece in pieces if isinstance(piece, Reasoning))

    assert "No model is thinking" in thoughts(effort="low")
    assert thoughts(effort="none") == thoughts(enabled=False) == thoughts() == ""


def test_max_tokens_cuts_the_answer_short():
    reply = simulated_reply(request(human="Hi", max_tokens=3))
    assert (len(reply.pieces), reply.finish) == (3, "length")
    members = {"tools": [JOKE_TOOL], "tool_choice": FORCED, "max_completion_tokens": 5}
    reply = simulated_reply(request(human="tell me a long joke about bears", **members))
    assert (len(reply.pieces[0].fragments), reply.finish) == (5, "length")
    assert simulated_reply(request(COUNT, "List the numbers from 1 to 5", max_tokens=100)).finish is None


def test_every_answer_names_the_simulation(fake, ask, events):
    for answer in (ask().json(), events()[0]):
        assert (answer["provider"], answer["model"]) == ("Simulation", "simulated/example/model")
    assert 0 < ask().json()["usage"]["cost"] < 0.01


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
members = ("messages", "tools", "tool_choice", "response_format", "reasoning", "max_tokens", "model")
messages = st.lists(
    st.fixed_dictionaries(
        {},
        optional={"role": st.sampled_from(["system", "user", "tool"]) | json_values, "content": json_values},
    )
)


@settings(max_examples=60)
@given(st.fixed_dictionaries({}, optional={name: json_values for name in members} | {"messages": messages}))
def test_no_request_makes_the_simulation_raise(body):
    from openrouter_app.testing.rendering import render

    for streamed in (True, False):
        assert list(render(simulated_reply(body), body | {"stream": streamed}))


def test_a_hostile_schema_still_gets_arguments(fake, ask):
    deep = {"type": "object"}
    for _ in range(300):
        deep = {"type": "object", "properties": {"down": deep, "list": {"type": "array", "minItems": 9}}}
    wide = {"properties": {f"p{number}": deep for number in range(20)} | {"loop": {"$ref": "#"}}}
    tool = {"type": "function", "function": {"name": "evil", "parameters": wide}}
    response = ask(tools=[tool], tool_choice="required")
    call = response.json()["choices"][0]["message"]["tool_calls"][0]["function"]
    assert isinstance(json.loads(call["arguments"]), dict)
    assert len(call["arguments"]) < 5000


def test_the_simulation_is_what_a_fake_answers_with():
    assert FakeOpenRouter().default is simulated_reply
