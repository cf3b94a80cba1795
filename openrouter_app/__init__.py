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

from .engine.chains import (
    Branch,
    Chain,
    ChatOpenRouter,
    ChatPromptTemplate,
    FunctionStep,
    ItemFromMap,
    JsonOutputParser,
    MapFromInput,
    ParallelMap,
    Passthrough,
    Router,
    Step,
    StringOutputParser,
    ToolLoop,
    ToolsOutputParser,
)
from .engine.chat_prompts import PromptValue
from .engine.client import Timeouts
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
    ToolError,
    ToolSpecError,
    TransportError,
    UpstreamError,
    UsageError,
)
from .engine.loops import LoopState
from .engine.messages import (
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
    Usage,
    dump_messages,
    load_messages,
)
from .engine.prompts import PromptTemplate
from .engine.tools import Tool, ToolChoice, ToolSpec, tool, tool_spec_of

__version__ = "0.1.0"

__all__ = [
    "AIMessage",
    "AudioPart",
    "BadRequestError",
    "Branch",
    "BrokenStreamError",
    "Chain",
    "ChatOpenRouter",
    "ChatPromptTemplate",
    "ConfigurationError",
    "ConnectError",
    "CreditError",
    "CustomMessage",
    "FilePart",
    "ForbiddenError",
    "FunctionStep",
    "HumanMessage",
    "ImagePart",
    "InputError",
    "ItemFromMap",
    "JsonOutputParser",
    "KeyRejectedError",
    "LoopState",
    "MapFromInput",
    "MissingKeyError",
    "OpenRouterError",
    "OutputError",
    "ParallelMap",
    "PartialJSONError",
    "Passthrough",
    "PromptTemplate",
    "PromptValue",
    "ProviderError",
    "RateLimitError",
    "ReadTimeoutError",
    "Reply",
    "Router",
    "Step",
    "StringOutputParser",
    "SystemMessage",
    "TemplateError",
    "TextPart",
    "Timeouts",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolError",
    "ToolLoop",
    "ToolMessage",
    "ToolSpec",
    "ToolSpecError",
    "ToolsOutputParser",
    "TransportError",
    "UpstreamError",
    "Usage",
    "UsageError",
    "dump_messages",
    "load_messages",
    "tool",
    "tool_spec_of",
]
