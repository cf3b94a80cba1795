"""Payloads that the typed decoder refused, read again: what is odd is left out, the rest counts.

Members stay JSON text (`msgspec.Raw`) until somebody wants them, and each is read as the type it should
have: one odd member costs no other its exactness.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from itertools import islice
from types import UnionType
from typing import Any, get_args, get_origin

import msgspec

from .chunks import UNDECODABLE, Choice, Chunk, Delta, Function, decode, image_url
from .errors import UpstreamError

MAX_GLUED = 100
"""Objects in one payload."""
MAX_ITEMS = 1_000
"""Items of a list that is read one by one."""
MAX_REWRITTEN = 1_000_000
"""Bytes of a payload that is no JSON as it stands: to read it costs many times its size."""


def lenient_chunks(text: bytes) -> Iterator[Chunk]:
    """The chunks of a payload: of one with members of odd types, with escapes of lone surrogates or broken
    UTF-8 in it, or of several objects glued together. Raises `UpstreamError` for what is none of them.
    """
    count = 0
    for whole in _rewritten(text) if len(text) <= MAX_REWRITTEN else (text,):
        members, count = _members(whole), count + 1
        if members is None or count > MAX_GLUED:
            raise _odd("no answer", text)
        try:
            chunk = decode(whole)
        except UNDECODABLE:
            chunk = _read(Chunk, members)
        yield chunk


def excerpt(text: bytes | bytearray) -> str:
    """The beginning of what makes no sense, for the log."""
    return text[:300].decode("utf-8", "replace")


def _odd(what: str, text: bytes) -> UpstreamError:
    return UpstreamError(f"The provider sent something that is {what}. Try again.", detail=excerpt(text))


def _rewritten(text: bytes) -> Iterator[bytes]:
    """Each of the values in a payload, as JSON that the strict decoders take."""
    rest = text.decode("utf-8", "replace")
    start = 0
    while start < len(rest):
        try:
            value, end = _json.raw_decode(rest, start)
            rewritten = _encode(_without_surrogates(value))
        except (ValueError, RecursionError):
            raise _odd("no JSON", text) from None
        del value
        yield rewritten
        start = _blank.match(rest, end).end()  # type: ignore[union-attr]


# Numbers are written again as they came: Decimal keeps every digit, and no int is too large for it.
_json = json.JSONDecoder(
    strict=False, parse_float=Decimal, parse_int=Decimal, parse_constant=lambda name: None
)
_encode = msgspec.json.Encoder(decimal_format="number").encode
_blank = re.compile(r"\s*")
_lone = re.compile("[\ud800-\udfff]")


def _without_surrogates(value: Any) -> Any:
    """The value with a replacement character for each lone surrogate: no UTF-8 can hold one."""
    if isinstance(value, str):
        return value if value.isascii() else _lone.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(item) for name, item in value.items()}
    return value


_members_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items_of = msgspec.json.Decoder(list[msgspec.Raw]).decode
_object_of = msgspec.json.Decoder(dict[str, Any]).decode


def _members(text: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    """The members of an object; None where the text is none."""
    try:
        return _members_of(text)
    except UNDECODABLE:
        return None


def _items(text: msgspec.Raw) -> list[msgspec.Raw]:
    """The items of a list; none where the text is no list. Raises `UpstreamError` for far too many."""
    try:
        items = _items_of(text)
    except UNDECODABLE:
        return []
    if len(items) > MAX_ITEMS:
        raise UpstreamError("The provider sent an event with too much in it.")
    return items


def _objects(text: msgspec.Raw) -> Iterator[dict[str, Any]]:
    """The items of a list that are objects."""
    for item in _items(text):
        try:
            yield _object_of(item)
        except UNDECODABLE:
            continue


def _read(kind: Any, members: dict[str, msgspec.Raw]) -> Any:
    """The members as this struct, without those whose types do not fit."""
    fields = {}
    for name, wanted, decode_member in _fields(kind):
        if name in members:
            try:
                found = decode_member(members[name])
            except UNDECODABLE:
                found = _read_odd(kind, name, wanted, members[name])
            if found is not None:
                fields[name] = found
    if kind is Delta and "content" not in fields and "content" in members:
        parts = list(_objects(members["content"]))
        texts = (part.get("text") for part in parts)
        fields["content"] = "".join(text for text in texts if isinstance(text, str))
        fields["images"] = [*(fields.get("images") or ()), *filter(image_url, parts)]
    return kind(**fields)


def _read_odd(kind: Any, name: str, wanted: Any, text: msgspec.Raw) -> Any:
    """A member that is not of its type, as far as it is."""
    if wanted is str and bytes(memoryview(text)[:1]) == b'"':  # its text would be lost
        raise _odd("no JSON", bytes(text))
    if kind is Function and name == "arguments":  # an object, where its text should be
        return bytes(text).decode("utf-8", "replace") if _members(text) is not None else None
    if _is_struct(wanted):
        members = _members(text)
        return None if members is None else _read(wanted, members)
    if get_origin(wanted) is not list:
        return None
    (item,) = get_args(wanted)
    if not _is_struct(item):
        return list(_objects(text))
    found = filter(None, map(_members, _items(text)))
    return [_read(item, members) for members in islice(found, 1 if item is Choice else None)]


@cache
def _fields(kind: Any) -> tuple[tuple[str, Any, Callable[[msgspec.Raw], Any]], ...]:
    """Of each field: its name, what it is where it is there, and who reads it."""
    return tuple(
        (
            field.name,
            get_args(field.type)[0] if isinstance(field.type, UnionType) else field.type,
            msgspec.json.Decoder(field.type, strict=False).decode,
        )
        for field in msgspec.structs.fields(kind)
    )


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
