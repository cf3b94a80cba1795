"""A chat: what its page, its template tag and its element are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

from django.http import HttpRequest
from django.urls import reverse
from django.utils.crypto import salted_hmac
from django.utils.functional import cached_property
from django.utils.safestring import SafeString, mark_safe

from ..conf import get_settings
from ..identity import owner_of_request
from ..models import Chain, ChainVersion, Conversation, Owner
from ..models.prompts import message_variable, takes_history
from .account import Offer, account_config, offer_of
from .conversations import conversation_data, title_shown
from .fields import Field, fields

_ANY = UUID(int=0)
_IN_SCRIPT = {ord("<"): "\\u003C", ord(">"): "\\u003E", ord("&"): "\\u0026"}


@dataclass(frozen=True)
class Chat:
    """A chain's chat, with a conversation or before its first message. Templates get it as ``chat``.

    ``may_send`` is false where the visitor may read what was said, but not run the chain (any more);
    ``problem`` says why what he sent was refused, and ``given`` keeps it; ``lacks_account`` is true where an
    OpenRouter account of his own would help. ``owner`` is a name for whoever looks, under which the script
    keeps his drafts; ``offer`` is how the page offers him one, None where it would be of no use.
    """

    chain: Chain
    conversation: Conversation | None
    data: dict[str, Any] | None
    may_send: bool
    show_list: bool = True
    problem: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    client_id: str = ""
    owner: str = ""
    offer: Offer | None = None
    lacks_account: bool = False

    @property
    def version(self) -> ChainVersion | None:
        """What would run now."""
        return self.chain.published

    @property
    def title(self) -> str:
        """Of the conversation, or of the chain where there is none yet."""
        return self.chain_title if self.conversation is None else title_shown(self.conversation)

    @property
    def chain_title(self) -> str:
        """What people call the chain."""
        return self.chain.title or self.chain.slug

    @property
    def history(self) -> list[dict[str, Any]]:
        """The messages that are shown, as ``conversation-data`` has them."""
        return [] if self.data is None else self.data["messages"]

    @cached_property
    def fields(self) -> list[Field]:
        """What the form asks for; the last of them is what one says, see `message_variable`."""
        examples = {} if self.history else self.chain.prompt.example_input
        asked = [
            Field(each.name, self.given.get(each.name, each.example), each.required)
            for each in fields(self.version, examples)
        ]
        return sorted(asked, key=lambda each: each.name == self.message_variable)

    @property
    def message_variable(self) -> str:
        """The variable that a message fills."""
        return message_variable(self.version.body) if self.version is not None else ""

    @cached_property
    def config(self) -> dict[str, Any]:
        """What the element's script is told."""
        body = self.version.body if self.version is not None else {}
        return {
            "chain": self.chain.slug,
            "title": self.chain_title,
            "fields": [
                {"name": each.name, "label": each.label, "example": each.example, "required": each.required}
                for each in self.fields
            ],
            "message_variable": self.message_variable,
            "socket": get_settings().WEBSOCKET_PATH,
            "model": body.get("model", ""),
            "models": body.get("client_models", []),
            "may_send": self.may_send,
            "owner": self.owner,
            **account_config(self.offer),
            "list": self.show_list,
            "conversation": None if self.conversation is None else str(self.conversation.uuid),
            "data": self.data,
            "urls": urls(self.chain.slug),
        }

    @property
    def config_json(self) -> SafeString:
        """The same as it can stand in a script element of any type."""
        return mark_safe(json.dumps(self.config).translate(_IN_SCRIPT))  # noqa: S308 - nothing in it ends one


def chat_of(
    request: HttpRequest,
    chain: Chain,
    conversation: Conversation | None = None,
    message: UUID | None = None,
    **shown: Any,
) -> Chat | None:
    """The chat of a chain; None where the conversation has no such message.

    ``conversation`` is the visitor's own: whoever calls has found it among his.
    """
    data = None
    if conversation is not None:
        data = conversation_data(conversation, message)
        if data is None:
            return None
    may_send = chain.published is not None and chain.may_be_run_by(getattr(request, "user", None))
    owner = _name_of(owner_of_request(request))
    here = _address_of(chain, conversation) if request.method == "POST" else request.get_full_path()
    known: dict[str, Any] = {"owner": owner, "offer": offer_of(request, chain, here)}
    return Chat(chain, conversation, data, may_send, client_id=uuid4().hex, **known, **shown)


def _address_of(chain: Chain, conversation: Conversation | None) -> str:
    if conversation is None:
        return reverse("openrouter_app:chain", args=[chain.slug])
    return reverse("openrouter_app:conversation", args=[conversation.uuid])


def _name_of(owner: Owner | None) -> str:
    """A name that tells one owner of a browser from the next, and nothing else; "" for nobody."""
    if owner is None or owner.is_system:
        return ""
    of_whom = f"visitor:{owner.visitor}" if owner.user_id is None else f"user:{owner.user_id}"
    return salted_hmac("openrouter_app.pages.chat.owner", of_whom, algorithm="sha256").hexdigest()[:16]


def is_chat(version: ChainVersion | None) -> bool:
    """Whether what is published takes the history, so that a page of it is a chat."""
    return version is not None and takes_history(version.body["messages"])


def chains_with_parts() -> Any:
    """Chains with what a chat reads of them."""
    return Chain.objects.select_related("prompt").prefetch_related("labels")


def urls(slug: str) -> dict[str, str]:
    """Where the element finds what; ``{conversation}`` and ``{run}`` are for it to fill in."""

    def of(name: str, word: str = "") -> str:
        args = {"": [], "{chain}": [slug]}.get(word, [_ANY])
        url = reverse(f"openrouter_app:{name}", args=args)
        return url.replace(str(_ANY), word)

    return {
        "page": of("chain", "{chain}"),
        "conversation": of("conversation", "{conversation}"),
        "data": of("conversation-data", "{conversation}"),
        "list": f"{of('conversation-list')}?chain={quote(slug)}",
        "list_page": f"{of('conversations')}?chain={quote(slug)}",
        "rename": of("conversation-rename", "{conversation}"),
        "delete": of("conversation-delete", "{conversation}"),
        "head": of("conversation-head", "{conversation}"),
        "export_json": of("conversation-export-json", "{conversation}"),
        "export_md": of("conversation-export-md", "{conversation}"),
        "send": of("send", "{chain}"),
        "decide": of("decide", "{run}"),
    }
