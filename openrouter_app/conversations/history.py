"""What a model is told of a conversation: the messages before an answer, as far as the limits go."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..engine.messages import AIMessage, HumanMessage, Message, ToolCall, ToolMessage, text_of
from ..models import Message as Row
from ..models import Run
from ..models import ToolCall as ToolCallRow
from ..models.prompts import message_variable

DEFAULT_MESSAGES = 50
DEFAULT_TOKENS = 32_000
BYTES_A_TOKEN = 4
"""Of UTF-8; what a model's own tokenizer makes of it, nobody here knows."""
TOKENS_A_MESSAGE = 4
"""For its role and its frame."""

History = tuple[tuple[Message, ...], int]
"""What the model is given, and how many earlier messages it is not given."""


def history_before(question: Row, body: Mapping[str, Any]) -> History:
    """The messages before this one of a user's, oldest first. Four queries, however long it is."""
    path = path_to(question)[:-1]
    limits = body.get("history", {})
    kept = path[max(len(path) - limits.get("messages", DEFAULT_MESSAGES), 0) :]
    _load_input(kept)
    spoken = _spoken(kept, message_variable(body))
    left = limits.get("tokens", DEFAULT_TOKENS)
    first = len(spoken)
    while first and (left := left - estimated_tokens(spoken[first - 1])) >= 0:
        first -= 1
    while first < len(kept) and kept[first].role != Row.Role.USER:
        first += 1  # an answer without its question says little
    told = tuple(message for messages in spoken[first:] for message in messages)
    return told, len(path) - len(kept) + first


def path_to(message: Row) -> list[Row]:
    """The messages from the beginning of the conversation to this one, without what they say."""
    rows = Row.objects.filter(conversation_id=message.conversation_id).only("pk", "parent_id", "role")
    known = {row.pk: row for row in rows}
    path = []
    at: int | None = message.pk
    while at is not None and (row := known.pop(at, None)) is not None:
        path.append(row)
        at = row.parent_id
    return path[::-1]


def _load_input(rows: Sequence[Row]) -> None:
    """What these say, in one query."""
    said = [row.pk for row in rows if row.role == Row.Role.USER]
    inputs = dict(Row.objects.filter(pk__in=said).values_list("pk", "input"))
    for row in rows:
        row.input = inputs.get(row.pk)


def estimated_tokens(messages: Iterable[Message]) -> int:
    """About how many tokens these are."""
    return sum(_tokens(message) for message in messages)


def _tokens(message: Message) -> int:
    size = len(text_of(message.content).encode("utf-8", "surrogatepass"))
    if isinstance(message, AIMessage):
        size += sum(len(call.name) + len(json.dumps(call.arguments)) for call in message.tool_calls)
    return TOKENS_A_MESSAGE + -(-size // BYTES_A_TOKEN)


def _spoken(rows: Sequence[Row], variable: str) -> list[list[Message]]:
    """Each row as the model is told it."""
    answers = [row.pk for row in rows if row.role == Row.Role.ASSISTANT]
    runs = {
        message: (pk, parts)
        for pk, message, parts in Run.objects.filter(message__in=answers).values_list(
            "pk", "message_id", "parts"
        )
    }
    results: dict[int, dict[str, Any]] = {}
    done = ToolCallRow.objects.filter(run__message__in=answers, status=ToolCallRow.Status.DONE)
    for run, call, output in done.values_list("run_id", "call", "output"):
        results.setdefault(run, {})[call] = output
    spoken: list[list[Message]] = []
    for row in rows:
        if row.role == Row.Role.USER:
            spoken.append([HumanMessage(text_of_input(row.input, variable))])
            continue
        run, parts = runs.get(row.pk, (0, []))
        spoken.append(messages_of_parts(parts, results.get(run, {})))
    return spoken


def text_of_input(given: Mapping[str, str], variable: str) -> str:
    """What a user said: the value of the message's variable, or all values where it has another name now."""
    return given[variable] if variable in given else "\n\n".join(given.values())


def messages_of_parts(parts: Iterable[Mapping[str, Any]], results: Mapping[str, Any]) -> list[Message]:
    """An answer as a model is told it later: each step's text and its calls that have a result, and those.

    ``results`` are the results by call, also of those whose pages do not show them. Calls without a result
    are left out, and steps of which nothing is left: providers refuse both.
    """
    messages: list[Message] = []
    text: list[str] = []
    calls: list[ToolCall] = []
    answers: list[ToolMessage] = []

    def close() -> None:
        if text or calls:
            messages.append(AIMessage("".join(text), tuple(calls)))
            messages.extend(answers)
        text.clear()
        calls.clear()
        answers.clear()

    for part in parts:
        match part.get("type"):
            case "step":
                close()
            case "text":
                text.append(part["text"])
            case "call" if (told := _result(part, results)) is not None:
                calls.append(ToolCall(part["call"], part["name"], part["arguments"]))
                answers.append(told)
    close()
    return messages


def _result(part: Mapping[str, Any], results: Mapping[str, Any]) -> ToolMessage | None:
    call = part["call"]
    match part["status"]:
        case "done":
            output = part.get("output", results.get(call))
            told = output if isinstance(output, str) else "" if output is None else json.dumps(output)
            return ToolMessage(told, call)
        case "failed":
            return ToolMessage(part.get("error", ""), call, is_error=True)
        case "denied":
            reason = f": {part['reason']}" if part.get("reason") else "."
            return ToolMessage(f"A person refused this call{reason}", call, is_error=True)
    return None
