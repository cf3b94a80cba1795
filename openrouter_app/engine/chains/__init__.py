"""Chains: steps, ``|``, the prompt, the model, the parsers."""

from .model import ChatOpenRouter
from .parsers import StringOutputParser, ToolsOutputParser
from .prompt import ChatPromptTemplate
from .steps import Chain, Step

__all__ = ["Chain", "ChatOpenRouter", "ChatPromptTemplate", "Step", "StringOutputParser", "ToolsOutputParser"]
