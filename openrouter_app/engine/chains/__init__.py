"""Chains: steps, ``|``, the prompt, the model, the parsers, and the steps around them."""

from .functions import Branch, FunctionStep, Router
from .maps import ItemFromMap, MapFromInput, ParallelMap, Passthrough
from .model import ChatOpenRouter
from .parsers import StringOutputParser, ToolsOutputParser
from .prompt import ChatPromptTemplate
from .steps import Chain, Step

__all__ = [
    "Branch",
    "Chain",
    "ChatOpenRouter",
    "ChatPromptTemplate",
    "FunctionStep",
    "ItemFromMap",
    "MapFromInput",
    "ParallelMap",
    "Passthrough",
    "Router",
    "Step",
    "StringOutputParser",
    "ToolsOutputParser",
]
