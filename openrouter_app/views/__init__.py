"""The pages and what their scripts ask for over HTTP. What runs goes over the websocket.

=====================  ==============================================================
`showing`              pages: the chains, a chain, a conversation, the list of them
`data`                 JSON for scripts, and the files of an export
`account`              a user's OpenRouter account: connect, check, replace, disconnect
`changes`              rename, delete, move to another branch
`sending`              a message or a decision from a page without JavaScript
`visitors`             whose conversation it is; the same 404 for all others
=====================  ==============================================================
"""

from .account import account, callback, connect, disconnect, paste, refresh, replace
from .changes import conversation_delete, conversation_head, conversation_rename
from .data import conversation_data, conversation_list, export_json, export_markdown
from .sending import decide, send
from .showing import chain, chat, conversation, conversations, index

__all__ = [
    "account",
    "callback",
    "chain",
    "chat",
    "connect",
    "conversation",
    "conversation_data",
    "conversation_delete",
    "conversation_head",
    "conversation_list",
    "conversation_rename",
    "conversations",
    "decide",
    "disconnect",
    "export_json",
    "export_markdown",
    "index",
    "paste",
    "refresh",
    "replace",
    "send",
]
