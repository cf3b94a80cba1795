"""The models that the fake lists, and how it is asked for them.

``GET .../models`` takes ``output_modalities`` (``text`` where nothing is said, as at OpenRouter; ``all``),
``input_modalities``, ``supported_parameters``, ``q``, ``offset`` and ``limit``; without the last two all
come at once. ``GET .../models/{author}/{slug}/endpoints`` tells of one provider. Both need no key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from .recorded import RecordedRequest
from .scripts import JSONObject

if TYPE_CHECKING:
    from .fake import FakeOpenRouter

MOST_AT_ONCE = 1000
_USUAL = ("max_tokens", "temperature", "top_p", "stop", "seed")
_TOOLS = ("tools", "tool_choice", "response_format", "structured_outputs")
_REASONING = ("reasoning", "include_reasoning")


def listed_model(
    id: str,
    name: str,
    context: int,
    prompt: str,
    completion: str,
    *,
    takes: Sequence[str] = ("text",),
    answers: Sequence[str] = ("text",),
    parameters: Sequence[str] = (*_USUAL, *_TOOLS, "reasoning"),
    reasoning: Mapping[str, Any] | None = None,
    max_completion_tokens: int | None = None,
    pricing: Mapping[str, Any] | None = None,
    **members: Any,
) -> JSONObject:
    """An item as OpenRouter lists it; ``members`` stand in it as they are."""
    canonical = members.pop("canonical_slug", id.partition(":")[0])
    return {
        "id": id,
        "canonical_slug": canonical,
        "hugging_face_id": None,
        "name": name,
        "created": 1700000000,
        "description": "Listed by the fake OpenRouter; no such model is asked.",
        "context_length": context,
        "architecture": {
            "modality": f"{'+'.join(takes)}->{'+'.join(answers)}",
            "input_modalities": list(takes),
            "output_modalities": list(answers),
            "tokenizer": "Other",
            "instruct_type": None,
        },
        "pricing": {
            "prompt": prompt,
            "completion": completion,
            "request": "0",
            "image": "0",
            **(pricing or {}),
        },
        "top_provider": {
            "context_length": context,
            "max_completion_tokens": max_completion_tokens,
            "is_moderated": False,
        },
        "per_request_limits": None,
        "supported_parameters": list(parameters),
        "default_parameters": {},
        "supported_voices": None,
        "knowledge_cutoff": None,
        "expiration_date": None,
        "links": {"details": f"/api/v1/models/{canonical}/endpoints"},
        **({"reasoning": dict(reasoning)} if reasoning is not None else {}),
        **members,
    }


DEFAULT_MODELS = (
    listed_model("mistralai/mistral-small", "Mistral: Mistral Small", 32768, "0.0000002", "0.0000006"),
    listed_model("openai/gpt-4o", "OpenAI: GPT-4o", 128000, "0.0000025", "0.00001"),
    listed_model(
        *("openai/gpt-4o-mini", "OpenAI: GPT-4o-mini", 128000, "0.00000015", "0.0000006"),
        takes=("text", "image", "file"),
        max_completion_tokens=16384,
    ),
    listed_model(
        *("anthropic/claude-sonnet-4", "Anthropic: Claude Sonnet 4", 1000000, "0.000003", "0.000015"),
        canonical_slug="anthropic/claude-4-sonnet-20250522",
        takes=("image", "text", "file"),
        parameters=("max_tokens", "temperature", "stop", "top_p", "tools", "tool_choice", *_REASONING),
        reasoning={"mandatory": False, "default_enabled": False, "supports_max_tokens": True},
        max_completion_tokens=64000,
        pricing={
            "input_cache_read": "0.0000003",
            "input_cache_write": "0.00000375",
            "web_search": "0.01",
            "overrides": [
                {"min_prompt_tokens": 200000, "prompt": "0.000006", "completion": "0.0000225"},
            ],
        },
    ),
    listed_model(
        *("example/thinker", "Example: Thinker", 200000, "0.000001", "0.000004"),
        parameters=(*_USUAL, *_TOOLS, *_REASONING),
        reasoning={
            "mandatory": True,
            "default_enabled": True,
            "default_effort": "medium",
            "supported_efforts": ["low", "medium", "high"],
        },
        max_completion_tokens=32000,
        pricing={"internal_reasoning": "0.000005"},
    ),
    listed_model(
        *("example/thinker:free", "Example: Thinker (free)", 64000, "0", "0"),
        parameters=(*_USUAL, *_REASONING),
        reasoning={"mandatory": True},
    ),
    listed_model(
        *("example/poet", "Example: Poet", 8192, "0.00000008", "0.0000002"),
        parameters=_USUAL,
        max_completion_tokens=2048,
    ),
    listed_model(
        *("example/old-poet", "Example: Old Poet", 4096, "0.0000001", "0.0000001"),
        parameters=_USUAL,
        expiration_date=str(date.today() + timedelta(days=14)),
    ),
    listed_model(
        *("example/painter", "Example: Painter", 32768, "0.0000003", "0.0000025"),
        takes=("text", "image"),
        answers=("text", "image"),
        parameters=("max_tokens", "temperature", "seed"),
        pricing={"image": "0.001238"},
    ),
    listed_model(
        *("example/brush", "Example: Brush", 8192, "0.000002", "0.00003"),
        answers=("image",),
        parameters=("seed",),
    ),
    listed_model("openrouter/auto", "Auto Router", 2000000, "-1", "-1"),
)
"""What `FakeOpenRouter` lists unless it is given something else: a few that differ in what they can do."""


def list_models(fake: FakeOpenRouter, request: RecordedRequest) -> tuple[int, object] | None:
    """``GET .../models``."""
    if request.method != "GET" or not request.path.endswith("/models"):
        return None
    query = request.query
    found = [item for item in fake.models if _is_asked_for(item, query)]
    if "offset" not in query and "limit" not in query:
        return 200, {"data": found, "total_count": len(found), "links": {"next": None}}
    try:
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", MOST_AT_ONCE))
    except ValueError:
        offset, limit = -1, 0
    if offset < 0 or not 0 < limit <= MOST_AT_ONCE:
        return 400, {"error": {"message": "offset and limit: numbers, at most 1000 at once", "code": 400}}
    end = offset + limit
    after = f"{request.path}?offset={end}&limit={limit}" if end < len(found) else None
    return 200, {"data": found[offset:end], "total_count": len(found), "links": {"next": after}}


def list_endpoints(fake: FakeOpenRouter, request: RecordedRequest) -> tuple[int, object] | None:
    """``GET .../models/{author}/{slug}/endpoints``."""
    if request.method != "GET" or "/models/" not in request.path or not request.path.endswith("/endpoints"):
        return None
    slug = request.path.partition("/models/")[2].removesuffix("/endpoints")
    for item in fake.models:
        if slug in (item.get("id"), item.get("canonical_slug")):
            return 200, {"data": _with_endpoints(item)}
    return 404, {"error": {"message": "Model not found", "code": 404}}


def _is_asked_for(item: JSONObject, query: Mapping[str, str]) -> bool:
    architecture = item.get("architecture") or {}
    wanted = _listed(query.get("output_modalities", "text"))
    answers = architecture.get("output_modalities", ["text"])
    if wanted and "all" not in wanted and not wanted & set(answers):
        return False
    if not _listed(query.get("input_modalities", "")) <= set(architecture.get("input_modalities", ["text"])):
        return False
    if not _listed(query.get("supported_parameters", "")) <= set(item.get("supported_parameters", [])):
        return False
    return query.get("q", "").lower() in f"{item.get('id')} {item.get('name')}".lower()


def _listed(value: str) -> set[str]:
    return {word for word in value.split(",") if word}


def _with_endpoints(item: JSONObject) -> JSONObject:
    top = item.get("top_provider") or {}
    endpoint = {
        "name": f"Example | {item.get('id')}",
        "model_id": item.get("id"),
        "model_name": item.get("name"),
        "provider_name": "Example",
        "tag": "example",
        "quantization": None,
        "context_length": top.get("context_length"),
        "max_completion_tokens": top.get("max_completion_tokens"),
        "max_prompt_tokens": None,
        "pricing": item.get("pricing"),
        "supported_parameters": item.get("supported_parameters"),
        "status": 0,
        "uptime_last_30m": 100,
        "latency_last_30m": None,
        "throughput_last_30m": None,
        "supports_implicit_caching": False,
    }
    about = {name: item.get(name) for name in ("id", "name", "created", "description", "architecture")}
    return {**about, "endpoints": [endpoint]}
