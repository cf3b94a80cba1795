"""Chains: steps, ``|``, the prompt, the model, the parsers, and the steps around them."""

from .functions import Branch, FunctionStep, Router
from .maps import ItemFromMap, MapFromInput, ParallelMap, Passthrough
from .model import ChatOpenRouter
from .parsers import JsonOutputParser, StringOutputParser, ToolsOutputParser
from .prompt import ChatPromptTemplate
from .steps import Chain, Step
from .tool_loop import ToolLoop

__all__ = [
    "Branch",
    "Chain",
    "ChatOpenRouter",
    "ChatPromptTemplate",
    "FunctionStep",
    "ItemFromMap",
    "JsonOutputParser",
    "MapFromInput",
    "ParallelMap",
    "Passthrough",
    "Router",
    "Step",
    "StringOutputParser",
    "ToolLoop",
    "ToolsOutputParser",
]
