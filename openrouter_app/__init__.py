"""Chat chains for Django: prompts and tools edited in the admin, streamed into pages.

A chain is ``prompt | model | parser``::

    from openrouter_app import ChatOpenRouter, ChatPromptTemplate, StringOutputParser

    chain = (
        ChatPromptTemplate.from_templates([
            ("system", "You are a helpful assistant that translates {input_language} to {output_language}."),
            ("human", "{text}"),
        ])
        | ChatOpenRouter(model="mistralai/mistral-small")
        | StringOutputParser()
    )
    chain.invoke({"input_language": "English", "output_language": "French", "text": "I love programming."})

``stream``, ``ainvoke`` and ``astream`` take the same input. Chains that staff edit in the admin are
started with ``openrouter_app.runs``; pages follow them over a websocket. Everything here is plain
Python and works without Django; every error stands under `OpenRouterError`.
"""

from .engine.chains import Chain, ChatOpenRouter, ChatPromptTemplate, StringOutputParser, ToolsOutputParser
from .engine.errors import (
    BadRequestError,
    BrokenStreamError,
    ConfigurationError,
    ConnectError,
    CreditError,
    ForbiddenError,
    InputError,
    KeyRejectedError,
    MissingKeyError,
    OpenRouterError,
    OutputError,
    PartialJSONError,
    ProviderError,
    RateLimitError,
    ReadTimeoutError,
    TemplateError,
    ToolSpecError,
    TransportError,
    UpstreamError,
    UsageError,
)
from .engine.messages import AIMessage, HumanMessage, Reply, SystemMessage, ToolCall, ToolMessage, Usage
from .engine.prompts import PromptTemplate
from .engine.tools import ToolChoice, ToolSpec

__version__ = "0.1.0"

__all__ = [
    "AIMessage",
    "BadRequestError",
    "BrokenStreamError",
    "Chain",
    "ChatOpenRouter",
    "ChatPromptTemplate",
    "ConfigurationError",
    "ConnectError",
    "CreditError",
    "ForbiddenError",
    "HumanMessage",
    "InputError",
    "KeyRejectedError",
    "MissingKeyError",
    "OpenRouterError",
    "OutputError",
    "PartialJSONError",
    "PromptTemplate",
    "ProviderError",
    "RateLimitError",
    "ReadTimeoutError",
    "Reply",
    "StringOutputParser",
    "SystemMessage",
    "TemplateError",
    "ToolCall",
    "ToolChoice",
    "ToolMessage",
    "ToolSpec",
    "ToolSpecError",
    "ToolsOutputParser",
    "TransportError",
    "UpstreamError",
    "Usage",
    "UsageError",
]
