"""Messages as OpenRouter takes them, and a request's body as bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from .chat_prompts import PromptValue
from .errors import InputError, UsageError
from .messages import (
    AIMessage,
    AudioPart,
    Content,
    CustomMessage,
    FilePart,
    HumanMessage,
    ImagePart,
    Message,
    Part,
    Reply,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
)


def messages_of(value: Any) -> Sequence[Message]:
    """The messages that a model's input stands for: a prompt's value, messages, a reply or a text.

    Raises `InputError` for anything else.
    """
    if isinstance(value, PromptValue):
        return value.messages
    if isinstance(value, str):
        return (HumanMessage(value),)
    if isinstance(value, Message):
        return (value,)
    if isinstance(value, Reply):
        return (value.message,)
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(item, Message) for item in value):
            return value
        other = next((item for item in value if not isinstance(item, Message)), None)
        what = f"a {type(other).__name__} among them" if value else "none"
        raise InputError(f"A model takes messages, such as [HumanMessage('Hello')]; it got {what}.")
    raise InputError(f"A model takes a prompt's value, messages or a text; it got {type(value).__name__}.")


def wire_message(message: Message) -> dict[str, Any]:
    """One message as a member of the request's ``messages``.

    A call's arguments go as JSON made from the parsed object; reasoning details go back unchanged.
    Raises `UsageError` for a role no model takes.
    """
    match message:
        case SystemMessage(content):
            return {"role": "system", "content": _content(content)}
        case HumanMessage(content):
            return {"role": "user", "content": _content(content)}
        case ToolMessage(content, tool_call_id):
            return {"role": "tool", "tool_call_id": tool_call_id, "content": _content(content)}
        case CustomMessage(custom_role=role):
            raise UsageError(
                f"OpenRouter's models take no message of the role '{role[:80]}'. Use system, human or ai."
            )
    return _assistant(message)


def _assistant(message: AIMessage) -> dict[str, Any]:
    calls = message.tool_calls
    # Some providers refuse an empty text beside calls.
    content = _content(message.content) or (None if calls else "")
    wire: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        wire["tool_calls"] = [_call(call) for call in calls]
    if message.reasoning_details is not None:
        wire["reasoning_details"] = message.reasoning_details
    elif message.reasoning:
        wire["reasoning"] = message.reasoning
    if message.images:
        wire["images"] = [{"type": "image_url", "image_url": {"url": url}} for url in message.images]
    if message.annotations:
        # parsed files, so that they are not parsed and paid for again
        wire["annotations"] = message.annotations
    return wire


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = msgspec.json.encode(call.arguments).decode()
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _content(content: Content) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        raise _no_content(content)
    return [_part(part) for part in content]


def _part(part: Part) -> dict[str, Any]:
    match part:
        case TextPart(text):
            return {"type": "text", "text": text}
        case ImagePart(url, detail):
            image = {"url": url, "detail": detail} if detail else {"url": url}
            return {"type": "image_url", "image_url": image}
        case FilePart(filename, url):
            return {"type": "file", "file": {"filename": filename, "file_data": url}}
        case AudioPart(data, format):
            return {"type": "input_audio", "input_audio": {"data": data, "format": format}}
    raise _no_content(part)


def _no_content(value: object) -> InputError:
    return InputError(f"A message's content is a text or content parts, not {type(value).__name__}.")


def present_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """One layer of options, with ``max_tokens`` under its present name, ``max_completion_tokens``.

    To be called before layers are merged, so that the later one wins whatever it calls it.
    """
    renamed = dict(options)
    if "max_tokens" in renamed:
        renamed.setdefault("max_completion_tokens", renamed.pop("max_tokens"))
        renamed.pop("max_tokens", None)
    return renamed


def encode_body(body: Mapping[str, Any]) -> bytes:
    """The body as JSON. Raises `InputError` for values JSON has no form for."""
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"The request cannot be written as JSON: {error}") from None


def wire_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """`wire_message` for each."""
    return [wire_message(message) for message in messages]
