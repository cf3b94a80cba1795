"""What OpenRouter and the hosts behind it really send, number by number.

Each name begins with its number in the list of oddities this project keeps of that API; where a
recording of one exists it is the test's data. The recordings stand beside the checkout, not in it;
without them those tests are skipped. What needs a connection or a clock is tested where the model
is; here stands what the decoder has to do with it.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from openrouter_app.engine.arguments import ProgressiveArguments
from openrouter_app.engine.errors import (
    BadRequestError,
    BrokenStreamError,
    CreditError,
    ForbiddenError,
    OpenRouterError,
    RateLimitError,
    UpstreamError,
)
from openrouter_app.engine.failures import failure_of, failure_of_response
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
from openrouter_app.engine.operations import apply
from openrouter_app.engine.sse import EventStreamDecoder
from openrouter_app.engine.wire import ReplyDecoder, decode_completion

from .test_wire import call, chunk, events_of, events_of_body, fed, of_type, stream

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "recordings"


def recording(name: str) -> bytes:
    """The body of the recording whose name begins like this."""
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings at {RECORDINGS.name}/")
    (path,) = [path for path in RECORDINGS.glob(f"{name}*") if not path.name.endswith(".meta.json")]
    return path.read_bytes()


def about(name: str) -> dict:
    """What was noted of a recording: its status, headers, read sizes."""
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings at {RECORDINGS.name}/")
    (path,) = RECORDINGS.glob(f"{name}*.meta.json")
    return json.loads(path.read_text())


def run(data: bytes, sizes=()):
    """The events of a stream that arrives in reads of these sizes, and the error it ends in or None."""
    decoder, events = ReplyDecoder(), []
    pieces, start = [], 0
    for size in sizes:
        pieces.append(data[start : start + size])
        start += size
    try:
        for piece in [*pieces, data[start:]]:
            decoder.feed(piece, events)
        decoder.close(events)
    except OpenRouterError as error:
        return events, error
    return events, None


def replayed(name: str):
    """The events of a recorded stream that ends well."""
    events, error = run(recording(name))
    assert error is None
    return events


def run_body(body: bytes):
    events = []
    try:
        decode_completion(body, events)
    except OpenRouterError as error:
        return events, error
    return events, None


def refused(name: str):
    """The error of a recorded answer whose status is one."""
    noted = about(name)
    return failure_of_response(noted["status"], noted["response_headers"], recording(name))


def text_of(events):
    return "".join(event.text for event in of_type(TextDelta, events))


def reasoning_of(events):
    return "".join(event.text for event in of_type(ReasoningDelta, events))


def arguments_of(events):
    return [event.arguments for event in of_type(ToolCallReady, events)]


def test_gotcha_01_comments_are_no_data_wherever_they_stand():
    data = recording("pydantic-ai__streaming_reasoning")
    assert data.count(b": OPENROUTER PROCESSING") > 2
    silent = re.sub(rb": OPENROUTER PROCESSING\n\n", b"", data)
    assert run(data) == run(silent)
    assert text_of(replayed("handmade__reemitted-comment-as-data")) == "hi"


def test_gotcha_02_comments_are_neither_events_nor_content():
    decoder = ReplyDecoder()
    assert fed(decoder, b": OPENROUTER PROCESSING\n\n" * 100) == []
    assert not decoder.fold.has_content


def test_gotcha_03_what_comes_before_the_first_token_is_no_content():
    decoder = ReplyDecoder()
    fed(decoder, stream(chunk({"role": "assistant", "content": ""}), chunk({"reasoning": None}), done=False))
    assert not decoder.fold.has_content
    fed(decoder, stream(chunk({"reasoning": "hm"}), done=False))
    assert decoder.fold.has_content


@pytest.mark.parametrize("name", ["finish-error-int-code", "string-code"])
def test_gotcha_04_error_in_mid_stream_is_raised_after_the_text_before_it(name):
    events, error = run(recording(f"handmade__midstream-error-{name}"))
    assert text_of(events).startswith("Hel")
    assert type(error) is UpstreamError
    assert error.retryable
    assert (error.provider, error.generation_id) == ("Example", "gen-0000000000-handmade")
    assert not of_type(ReplyFinished, events)


def test_gotcha_05_error_beside_empty_choices_is_no_empty_chunk():
    events, error = run(recording("handmade__midstream-error-empty-choices-in-tool-args"))
    assert of_type(ToolCallDelta, events) == [ToolCallDelta("call_a", '{"title":"Ab')]
    assert not of_type(ToolCallReady, events)
    assert type(error) is UpstreamError
    assert error.status == 502


def test_gotcha_06_error_alone_ends_the_answer_and_so_does_one_after_the_finish():
    events, error = run(recording("req_llm__meta_llama_llama_3_3_70b_instruct_free-object_streaming"))
    assert events == []
    assert (type(error), error.status, error.provider) == (UpstreamError, 502, "Venice")
    events, error = run(recording("pydantic-ai__stream_error"))
    assert reasoning_of(events).endswith("The user")
    assert (type(error), error.status, error.provider) == (BadRequestError, 400, "Minimax")


@pytest.mark.parametrize("choices", [{}, {"choices": None}, {"choices": []}])
def test_gotcha_07_error_under_status_200_is_an_error(choices):
    error = run_body(recording("req_llm__mistralai_devstral_small_2505-tool_round_trip_2"))[1]
    assert (type(error), error.status, error.provider) == (UpstreamError, 502, "DeepInfra")
    body = json.dumps({"error": {"code": 502, "message": "x"}, **choices}).encode()
    assert run_body(body)[1].status == 502


def test_gotcha_08_answer_without_choices_is_an_error_and_no_crash():
    events, error = run_body(b'{"id": "gen-1", "choices": []}')
    assert events == []
    assert "without content" in error.message


def test_gotcha_09_error_in_a_choice_keeps_the_text_beside_it():
    events, error = run_body(recording("req_llm__nousresearch_hermes_4_405b-token_limit"))
    assert "The Chronicles of Ember and Flame" in text_of(events)
    assert (type(error), error.status, error.provider) == (UpstreamError, 502, "Nebius")
    assert error.generation_id.startswith("gen-")


def test_gotcha_10_code_is_a_number_or_text_and_raw_is_text_or_an_object():
    assert failure_of({"code": "429"}).status == failure_of({"code": 429}).status == 429
    assert failure_of({"code": "server_error"}).status is None
    for raw in ("why", '{"error": "why"}', {"error": "why"}):
        assert "why" in failure_of({"code": 502, "metadata": {"raw": raw}}).detail
    failure = refused("req_llm__google_gemma_3n_e4b_it_free-streaming")
    assert "Developer instruction is not enabled" in failure.detail
    assert failure.provider == "Google AI Studio"


def test_gotcha_11_usage_beside_empty_choices_counts():
    finished = replayed("pydantic-ai__cache-cache_streaming_e2e")[-1]
    assert finished.reason == "stop"
    assert finished.usage == Usage(254, 5, Decimal("0.000837"), upstream_cost=Decimal("0.000837"))


def test_gotcha_12_finish_said_twice_finishes_once():
    events = replayed("pydantic-ai__advisor_tool_stream")
    assert len(of_type(ReplyFinished, events)) == 1
    assert events[-1].usage.cost > 0
    end = chunk({"content": ""}, finish="tool_calls")
    events = events_of(call("{}", id="c", name="f"), end, {**end, "usage": {"prompt_tokens": 1}})
    assert len(of_type(ToolCallReady, events)) == len(of_type(ReplyFinished, events)) == 1


def test_gotcha_13_usage_without_a_finish_does_not_erase_the_finish():
    finished = replayed("mirascope__stream-openai_gpt_4o")[-1]
    assert (finished.reason, finished.native_reason) == ("stop", "stop")
    assert finished.usage.cost == Decimal("0.00005")


def test_gotcha_14_first_of_two_finishes_counts_and_text_after_it_is_text():
    events = replayed("req_llm__google_gemini_2_5_flash_lite-object_streaming")
    assert events[-1].reason == "tool_calls"
    assert text_of(events) == "\n"
    assert arguments_of(events) == [{"name": "John Doe", "age": 10, "occupation": "Software Engineer"}]


def test_gotcha_15_calls_are_calls_whatever_the_finish_says():
    events = replayed("ai-sdk-provider__L2432")
    assert arguments_of(events) == [{"city": "Tokyo"}]
    assert events[-1].reason == "tool_calls"
    events = replayed("ai-sdk-provider__L2520")
    assert arguments_of(events) == [{"city": "Paris"}]
    assert events[-1].reason == "stop"


@pytest.mark.parametrize("native", ["length", "max_output_tokens", "MAX_TOKENS"])
def test_gotcha_16_call_cut_at_the_length_limit_is_invalid_whatever_the_finish_says(native):
    end = chunk(finish="tool_calls")
    end["choices"][0]["native_finish_reason"] = native
    events = events_of(call('{"a": "cut', id="c", name="f"), end)
    assert not of_type(ToolCallReady, events)
    (invalid,) = of_type(ToolCallInvalid, events)
    assert (invalid.raw, "length limit" in invalid.message) == ('{"a": "cut', True)


def test_gotcha_17_end_without_finish_and_done_is_broken_and_done_alone_is_an_end():
    for name, text in (("text", "Half a sen"), ("inside-event", "Half")):
        events, error = run(recording(f"handmade__no-finish-no-done-{name}"))
        assert type(error) is BrokenStreamError
        assert error.generation_id == "gen-0000000000-handmade"
        assert text_of(events) == text
    events = replayed("handmade__done-without-finish")
    assert text_of(events) == "All of it"
    assert events[-1].reason == "stop"


def test_gotcha_18_whole_answer_without_a_finish_is_whole():
    events, error = run_body(recording("req_llm__x_ai_grok_4-usage"))
    assert error is None
    assert text_of(events) == "Hi! How can I help you today? "
    assert events[-1].reason == "stop"


def test_gotcha_19_calls_without_an_index_are_kept_apart_by_id():
    events = replayed("handmade__tool-index-missing-parallel")
    assert arguments_of(events) == [{"a": 1}, {"a": 2}]


def test_gotcha_20_wrong_index_is_put_right_by_the_id():
    assert arguments_of(replayed("handmade__tool-index-all-zero-two-ids")) == [{"a": 1}, {"a": 2}]
    assert arguments_of(replayed("handmade__tool-index-starts-at-one")) == [{"a": 1}]
    events = events_of(call('{"a"', id="c", name="f"), call(": 1}", index=None))
    assert arguments_of(events) == [{"a": 1}]


def test_gotcha_21_empty_id_overwrites_nothing_and_an_id_may_come_late():
    events = replayed("req_llm__qwen_qwen3_max-object_streaming")
    (ready,) = of_type(ToolCallReady, events)
    assert ready.id == "call_d0f63d592562486198088773"
    assert set(ready.arguments) == {"name", "age", "occupation"}
    events = events_of(call('{"a"'), call(": 1}", id="c", name="f"), call(" ", id=""))
    assert of_type(ToolCallReady, events) == [ToolCallReady("c", "f", {"a": 1})]


@pytest.mark.parametrize("name", ["ai-sdk-provider__L5979", "ai-sdk-provider__L6010"])
def test_gotcha_22_doubled_and_empty_ids_become_ids_of_our_own(name):
    events = replayed(name)
    assert arguments_of(events) == [{"city": "Tokyo"}, {"city": "London"}]
    ids = [event.id for event in of_type(ToolCallReady, events)]
    assert len(set(ids)) == 2
    assert all(ids)
    assert [event.id for event in of_type(ToolCallStarted, events)] == ids


def test_gotcha_23_name_may_come_after_arguments():
    events = replayed("handmade__tool-name-after-arguments")
    assert events[1:4] == [
        ToolCallStarted("call_a", "add"),
        ToolCallDelta("call_a", '{"a":1}'),
        ToolCallReady("call_a", "add", {"a": 1}),
    ]


def test_gotcha_24_arguments_may_be_missing_or_null():
    events = replayed("req_llm__meta_llama_llama_4_scout_free-object_streaming")
    assert [set(arguments) for arguments in arguments_of(events)] == [{"name", "age", "occupation"}]
    events, error = run_body(recording("pydantic-ai__tool_optional_parameters"))
    assert error is None
    assert arguments_of(events) == [{}]
    null = {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": None}}]}
    assert arguments_of(events_of(chunk(null), call("{}"))) == [{}]


def test_gotcha_25_whole_arguments_in_one_delta_are_one_step():
    events = replayed("req_llm__google_gemini_2_0_flash_001-object_streaming")
    (started,) = of_type(ToolCallStarted, events)
    (delta,) = of_type(ToolCallDelta, events)
    assert events.index(delta) == events.index(started) + 1
    assert arguments_of(events) == [json.loads(delta.text)]


def test_gotcha_26_empty_arguments_are_an_empty_object():
    events = events_of(call("", id="c", name="f"), chunk(finish="tool_calls"))
    assert arguments_of(events) == [{}]
    assert not of_type(ToolCallDelta, events)


def test_gotcha_27_arguments_sent_whole_each_time_are_taken_once_and_fragments_are_never_dropped():
    events = replayed("handmade__tool-arguments-cumulative")
    assert [event.text for event in of_type(ToolCallDelta, events)] == ['{"a"', ":1", ',"b":2}']
    assert arguments_of(events) == [{"a": 1, "b": 2}]
    events = replayed("handmade__tool-arguments-repeating-small-fragments")
    assert arguments_of(events) == [{"a": "xx", "cmd": "ll -l"}]


def test_gotcha_28_text_cut_inside_an_escape_waits_for_its_other_half():
    events = replayed("handmade__tool-arguments-cut-inside-escapes")
    assert arguments_of(events) == [{"t": 'q"\n\u00e9\U0001f600'}]
    progress, shown = ProgressiveArguments(), {}
    for delta in of_type(ToolCallDelta, events):
        shown = apply(shown, progress.feed(delta.text))
        assert 'q"\n\u00e9\U0001f600'.startswith(shown.get("t", ""))
    assert not progress.broken
    assert shown == arguments_of(events)[0]


def test_gotcha_29_blank_after_complete_arguments_changes_nothing():
    events = replayed("ai-sdk-provider__L4678")
    assert of_type(ToolCallReady, events) == [ToolCallReady("functions.send:0", "send", {"hello": "world"})]


def test_gotcha_30_one_delta_may_bring_reasoning_text_and_calls():
    events = replayed("ai-sdk-provider__L3763")
    assert events[1:3] == [ReasoningDelta("Quick thought"), TextDelta("Hello!")]
    mixed = chunk({"content": "x", **call("{}", id="c", name="f")["choices"][0]["delta"]})
    events = events_of(mixed, chunk({"content": "y"}, finish="tool_calls"))
    assert text_of(events) == "xy"
    assert arguments_of(events) == [{}]


def test_gotcha_31_empty_content_is_no_event_whatever_way_it_is_empty():
    empty = [
        {"role": "assistant", "content": None},
        {"role": "assistant", "content": ""},
        {"role": "assistant"},
    ]
    events = events_of(*map(chunk, empty), chunk({"role": "assistant", "content": "x"}), *map(chunk, empty))
    assert events[1:-1] == [TextDelta("x")]


def test_gotcha_32_reasoning_said_twice_is_shown_once():
    events = replayed("ai-sdk-provider__L1673")
    assert len(of_type(ReasoningDelta, events)) == 3
    assert len(of_type(ReasoningDelta, replayed("ai-sdk-provider__L3376"))) == 3
    assert reasoning_of(replayed("ai-sdk-provider__L3451")) == "Detailed thought continued thought"
    events = replayed("ai-sdk-provider__L3512")
    assert reasoning_of(events) == "Fallback text"
    assert events[-1].reasoning_details == ()


@pytest.mark.parametrize(
    ("name", "text", "signature"),
    [
        ("L3563", "Let me think about this.", "erX9OCAqSEO90HsfvNlBn5J3BQ9cEI/Hg2wHFo5iA8w3L+a"),
        ("L4000", "Reasoning here", "sandwich-sig"),
    ],
)
def test_gotcha_33_signature_that_comes_after_the_text_joins_its_block(name, text, signature):
    events = replayed(f"ai-sdk-provider__{name}")
    assert reasoning_of(events) == text
    (block,) = events[-1].reasoning_details
    assert (block["text"], block["signature"], block["index"]) == (text, signature, 0)


def test_gotcha_34_fragments_become_the_one_block_that_goes_back():
    data = recording("pydantic-ai__streaming_reasoning")
    events = replayed("pydantic-ai__streaming_reasoning")
    (block,) = events[-1].reasoning_details
    assert block == {
        "type": "reasoning.text",
        "text": reasoning_of(events),
        "signature": re.findall(rb'"signature":"([^"]+)"', data)[-1].decode(),
        "format": "anthropic-claude-v1",
        "index": 0,
    }
    blocks = replayed("ai-sdk-provider__L3670")[-1].reasoning_details
    assert [block["type"] for block in blocks] == [
        "reasoning.text",
        "reasoning.encrypted",
        "reasoning.summary",
    ]
    assert blocks[0]["signature"] == "sig123"


def test_gotcha_35_encrypted_thought_beside_a_call_is_kept_and_a_malformed_call_is_an_error():
    events = replayed("ai-sdk-provider__L2369")
    assert len(arguments_of(events)) == 1
    (block,) = events[-1].reasoning_details
    assert (block["type"], bool(block["data"])) == ("reasoning.encrypted", True)
    end = chunk(finish="error")
    end["choices"][0]["native_finish_reason"] = "MALFORMED_FUNCTION_CALL"
    error = run(stream(end))[1]
    assert (type(error), error.detail) == (UpstreamError, "MALFORMED_FUNCTION_CALL")


def test_gotcha_36_encrypted_reasoning_is_kept_whole_and_not_shown():
    events = replayed("ai-sdk-provider__L1833")
    assert not of_type(ReasoningDelta, events)
    assert events[-1].reasoning_details == (
        {"type": "reasoning.encrypted", "data": "opaque_blob_1"},
        {"type": "reasoning.encrypted", "data": "opaque_blob_2"},
    )
    (block,) = replayed("req_llm__x_ai_grok_4-streaming")[-1].reasoning_details
    assert (block["type"], block["format"]) == ("reasoning.encrypted", "xai-responses-v1")


def test_gotcha_37_character_split_between_reads_stays_whole():
    data = recording("handmade__multibyte-split-every-byte")
    events, error = run(data, [1] * len(data))
    assert error is None
    assert text_of(events) == "caf\u00e9 \u4f60\u597d \U0001f469\u200d\U0001f680\u0301"
    assert events == run(data)[0]


def test_gotcha_38_line_split_between_reads_stays_whole():
    name = "req_llm__mistralai_devstral_small_2505-streaming"
    data, sizes = recording(name), about(name)["network_chunk_sizes"]
    assert not data[: sizes[0]].endswith(b"\n")
    assert run(data, sizes) == run(data)
    assert run(data)[1] is None


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_gotcha_39_lines_may_end_in_any_of_the_three_ways(end):
    data = stream(chunk({"content": "One "}), chunk({"content": "two"}, finish="stop"))
    assert run(data.replace(b"\n", end)) == run(data)
    events = replayed("handmade__crlf-endings")
    assert text_of(events)
    assert isinstance(events[-1], ReplyFinished)


def test_gotcha_40_line_separators_of_unicode_end_no_line():
    data = recording("handmade__raw-u2028-u0085-in-content")
    assert "\u2028" in data.decode()
    text = text_of(run(data)[0])
    assert all(character in text for character in "\u2028\u2029\u0085")
    assert text.endswith("!")


def test_gotcha_41_space_after_the_colon_is_optional_and_objects_may_be_glued():
    assert text_of(replayed("handmade__no-space-after-colon")) == "One two"
    glued = json.dumps(chunk({"content": "a"})) + " " + json.dumps(chunk({"content": "b"}))
    assert text_of(events_of(glued)) == "ab"


def test_gotcha_42_blank_line_after_a_comment_is_no_event():
    decoder = EventStreamDecoder()
    assert decoder.feed(b": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n\n\n") == []
    assert decoder.feed(b"data: a\n\n: again\n\n") == [b"a"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("req_llm__deepseek_deepseek_r1_0528_qwen3_8b_free-streaming", RateLimitError),
        ("req_llm__mistralai_mistral_7b_instruct_free-object_streaming", BadRequestError),
        ("req_llm__google_gemma_3n_e4b_it_free-streaming", BadRequestError),
        ("req_llm__x_ai_grok_3_mini-reasoning_basic", ForbiddenError),
        ("handmade__cloudflare-html-502", UpstreamError),
    ],
)
def test_gotcha_43_refusal_of_a_stream_is_plain_json_or_a_web_page(name, kind):
    failure = refused(name)
    assert type(failure) is kind
    assert failure.status == about(name)["status"]
    assert failure.message.endswith(".")


def test_gotcha_44_blanks_before_the_json_are_skipped_and_an_empty_body_is_an_error():
    body = json.dumps({"choices": [{"message": {"content": "x"}}]}).encode()
    assert text_of(events_of_body(b" \r\n\n" + body)) == "x"
    for empty in (b"", b" \n"):
        with pytest.raises(UpstreamError, match="an empty answer"):
            events_of_body(empty)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("req_llm__cognitivecomputations_dolphin3_0_mistral_24b-multi_tool", "can use tools"),
        ("req_llm__mistralai_mistral_7b_instruct_free-object_streaming", "which tool to use"),
        ("req_llm__moonshotai_kimi_k2_free-basic", "privacy settings"),
    ],
)
def test_gotcha_45_404_for_what_the_model_cannot_do_says_so(name, sentence):
    failure = refused(name)
    assert type(failure) is BadRequestError
    assert sentence in failure.message
    assert not failure.retryable


def test_gotcha_46_402_says_how_many_tokens_can_be_paid():
    message = "You requested up to 64000 tokens, but can only afford 1234."
    failure = failure_of_response(402, {}, json.dumps({"error": {"code": 402, "message": message}}).encode())
    assert type(failure) is CreditError
    assert failure.affordable_tokens == 1234


def test_gotcha_47_429_says_how_long_to_wait_where_that_is_known():
    failure = refused("req_llm__deepseek_deepseek_r1_0528_qwen3_8b_free-streaming")
    assert (type(failure), failure.retry_after) == (RateLimitError, 44)
    failure = refused("pydantic-ai__errors_raised-1")
    assert (type(failure), failure.retry_after, failure.provider) == (RateLimitError, None, "Google")
    assert failure.retryable
    assert "temporarily rate-limited upstream" in failure.detail


def test_gotcha_48_answer_that_is_left_knows_its_generation_and_no_usage():
    decoder = ReplyDecoder()
    fed(decoder, stream(chunk({"content": "Hel"}), done=False))
    assert (decoder.fold.id, decoder.fold.usage) == ("gen-1", None)


def test_gotcha_49_picture_alone_is_no_empty_chunk():
    events = replayed("handmade__images-only-delta")
    (image,) = of_type(ImageReady, events)
    assert image.url.startswith("data:image/gif;base64,")
    assert not of_type(TextDelta, events)


def test_gotcha_50_citations_come_alone_and_may_lack_all_but_the_address():
    (found,) = of_type(AnnotationReady, replayed("ai-sdk-provider__L4340"))
    assert found.annotation == {"type": "url_citation", "url_citation": {"url": "https://example.com/page"}}
    events = replayed("pydantic-ai__web_search_annotations_stream")
    sources = [event.annotation["url_citation"] for event in of_type(AnnotationReady, events)]
    assert "https://pydantic.dev/pydantic-ai" in [source["url"] for source in sources]
    (found,) = of_type(AnnotationReady, replayed("ai-sdk-provider__L3147"))
    assert found.annotation["file"]["name"] == "bitcoin.pdf"


def test_gotcha_51_refusal_is_told_apart_from_text():
    deltas = [{"content": None, "refusal": "I cannot"}, {"content": None, "refusal": " do that."}]
    events = events_of(*map(chunk, deltas), chunk(finish="stop"))
    assert [event.text for event in of_type(RefusalDelta, events)] == ["I cannot", " do that."]
    assert not of_type(TextDelta, events)
    assert events[-1].reason == "stop"


def test_gotcha_52_debug_chunk_before_the_answer_is_no_answer():
    events = replayed("handmade__debug-chunk-first")
    assert events[0] == ReplyStarted("gen-0000000000-handmade", "example/model", "Example")
    assert text_of(events) == "hi"


def test_gotcha_53_what_nobody_here_knows_is_passed_over():
    new = chunk({"content": "x", "new_member": {"a": [1]}}, finish="of a new kind", new_member=[{}])
    new["choices"][0]["new_member"] = 7
    events = events_of(new, {"new_event": True})
    assert events[1:-1] == [TextDelta("x")]
    assert events[-1].reason == "of a new kind"


def test_gotcha_54_refused_option_says_so_and_is_not_tried_again():
    failure = refused("req_llm__openai_gpt_4_1-usage")
    assert type(failure) is BadRequestError
    assert not failure.retryable
    assert "Expected a value >= 16" in failure.detail
    assert failure.provider == "OpenAI"


def test_gotcha_55_refusal_of_an_empty_assistant_message_comes_under_status_200():
    events, error = run_body(recording("req_llm__mistralai_devstral_small_2505-tool_round_trip_2"))
    assert events == []
    assert "Assistant message must have content" in error.detail
    assert "content" not in error.message


def test_gotcha_56_end_said_twice_is_one_end():
    events = replayed("handmade__duplicate-done-and-data-after-done")
    assert text_of(events) == "x"
    assert len(of_type(ReplyFinished, events)) == 1
    decoder = ReplyDecoder()
    assert isinstance(fed(decoder, stream(chunk({"content": "x"}, finish="stop")))[-1], ReplyFinished)
    assert fed(decoder, b"data: [DONE]\n\n" + stream(chunk({"content": "y"}))) == []


def test_every_gotcha_has_its_test():
    numbers = {name.split("_")[2] for name in globals() if name.startswith("test_gotcha_")}
    assert sorted(numbers) == [f"{number:02}" for number in range(1, 57)]
