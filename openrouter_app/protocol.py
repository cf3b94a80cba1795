"""The websocket protocol, version 1: what browser and server say to each other.

`docs/protocol.md` is the description for users; the frames here are its types. Everything from the
browser is hostile: `decode` takes a frame or raises `BadFrame` with a code and a sentence, whatever
the text holds. A frame never leads to a lookup of code by its name: `type` picks one of the structs
below or is refused.
"""

from __future__ import annotations

import re
from typing import Annotated, Any
from uuid import UUID

import msgspec
from django.utils.translation import gettext as _

PROTOCOL = 1

Short = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
ClientId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class _ClientFrame(msgspec.Struct, frozen=True, tag_field="type", forbid_unknown_fields=True):
    """A frame from the browser: unknown types and fields are refused."""


class RunStart(_ClientFrame, frozen=True, tag="run.start"):
    """Start a run and follow it. ``id`` is the client's own: sent again, it gives the same run."""

    id: ClientId
    chain: Short
    input: dict[str, str] = {}
    conversation: str | None = None
    parent: str | msgspec.UnsetType | None = msgspec.UNSET
    version: Short | int | None = None
    options: dict[str, Any] = {}


class RunFollow(_ClientFrame, frozen=True, tag="run.follow"):
    """Watch a run, or a conversation's unfinished one."""

    run: str | None = None
    conversation: str | None = None


class RunUnfollow(_ClientFrame, frozen=True, tag="run.unfollow"):
    """Watch it no longer; it goes on."""

    run: str | None = None
    conversation: str | None = None


class RunStop(_ClientFrame, frozen=True, tag="run.stop"):
    """Stop a run; what came so far is kept."""

    run: str


class ToolDecide(_ClientFrame, frozen=True, tag="tool.decide"):
    """Approve or deny a call that waits for it."""

    run: str
    call: str
    approve: bool
    reason: str | None = None


class Ping(_ClientFrame, frozen=True, tag="ping"):
    """Is the server there?"""


ClientFrame = RunStart | RunFollow | RunUnfollow | RunStop | ToolDecide | Ping


class _ServerFrame(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type"):
    """A frame to the browser."""


class Hello(_ServerFrame, frozen=True, tag="hello"):
    """The first frame: ``heartbeat`` in seconds, ``max_frame`` in bytes."""

    protocol: int
    heartbeat: float
    max_frame: int
    features: list[str]


class RunAccepted(_ServerFrame, frozen=True, tag="run.accepted"):
    """The start ``id`` is the run ``run``."""

    id: str
    run: UUID
    conversation: UUID | None


class RunSnapshot(_ServerFrame, frozen=True, tag="run.snapshot"):
    """The whole state of a run at ``seq``."""

    run: UUID
    seq: int
    state: dict[str, Any]


class RunEvents(_ServerFrame, frozen=True, tag="run.events"):
    """What takes the state from ``after`` to ``seq``."""

    run: UUID
    after: int
    seq: int
    events: list[dict[str, Any]]


class Error(_ServerFrame, frozen=True, tag="error"):
    """Something was refused; ``message`` is for people."""

    code: str
    message: str
    id: str | None = None
    run: str | None = None
    call: str | None = None
    conversation: str | None = None
    details: dict[str, Any] | None = None


class Conversation(_ServerFrame, frozen=True, omit_defaults=False, tag="conversation"):
    """Where a conversation stands: its newest message, and the run that is not finished, or null."""

    conversation: UUID
    head: UUID | None
    run: UUID | None


class Pong(_ServerFrame, frozen=True, tag="pong"):
    """The server is there."""


ServerFrame = Hello | RunAccepted | RunSnapshot | RunEvents | Conversation | Error | Pong


class BadFrame(Exception):
    """A frame that is refused: ``code`` is ``bad_frame`` or ``too_large``, ``message`` a sentence."""

    def __init__(self, code: str, message: str, *, id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.id = id


_decoder: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame)
_encoder = msgspec.json.Encoder(decimal_format="string")
_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")


class _Addressed(msgspec.Struct):
    id: ClientId | None = None


def decode(text: str | None, *, max_frame: int) -> ClientFrame:
    """The frame that a text says. Raises `BadFrame` for anything else, a binary frame (None) included."""
    if text is None:
        raise BadFrame(
            "bad_frame", _("Send text frames with one JSON object each; binary frames are not read.")
        )
    if len(text) > max_frame or len(data := text.encode("utf-8", "surrogatepass")) > max_frame:
        raise BadFrame("too_large", _("The frame is too large: at most %d bytes are read.") % max_frame)
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError as error:
        raise BadFrame("bad_frame", _sentence(str(error)), id=_id(data)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadFrame("bad_frame", _("The frame is no JSON.")) from None
    except RecursionError:
        raise BadFrame("bad_frame", _("The frame is nested too deep.")) from None


def encode(frame: ServerFrame) -> str:
    """The frame as JSON, ``type`` first."""
    return _encoder.encode(frame).decode()


def _id(data: bytes) -> str | None:
    """The id of a refused frame, so that the page can tell which of its starts it was."""
    try:
        return msgspec.json.decode(data, type=_Addressed).id
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def _sentence(reason: str) -> str:
    """The decoder's reason as a sentence that names the field."""
    place = _PLACE.search(reason)
    what = _PLACE.sub("", reason)
    if place and place.group(1):
        return _("The field “%(field)s” is wrong: %(reason)s.") % {
            "field": place.group(1)[:100],
            "reason": what[:200],
        }
    return _("The frame is not understood: %s.") % what[:200]


def uuid_of(text: str | None) -> UUID | None:
    """The id a field holds, None where it is no id at all: to a client the same as one not found."""
    try:
        return UUID(text) if text and len(text) == 36 else None
    except ValueError:
        return None
