"""A model's reasoning: what of it is shown, and the blocks that go back to the model."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

from .json_size import size_of


def reasoning_text(details: Iterable[dict[str, Any]]) -> str:
    """What can be shown of ``reasoning_details``, for hosts that send no ``reasoning`` beside it."""
    shown = (detail.get("text") or detail.get("summary") for detail in details)
    return "".join(text for text in shown if isinstance(text, str))


class ReasoningBlocks:
    """``reasoning_details`` put together, to be sent back: ``add(detail)``, then ``merged()``.

    A provider that signs its reasoning refuses to go on from loose fragments. Fragments of a text or a
    summary are of one block where their type and index are the same; without an index, where nothing
    says that another block began. Data is encrypted and never cut: other data is another block.
    ``size`` is about how many characters are kept.
    """

    def __init__(self) -> None:
        self.size: float = 0
        self._blocks: list[_Block] = []
        self._last: dict[tuple[str, int | None], _Block] = {}
        self._like: dict[str, Any] | None = None
        self._block = _Block("")

    def add(self, detail: dict[str, Any]) -> None:
        """One more fragment, which is taken apart."""
        kind = detail.get("type")
        if not isinstance(kind, str):
            return
        text = detail.pop(_GROWS[kind], None) if kind in _GROWS else None
        if detail != self._like:  # nearly always it differs in its text alone
            self._like = detail
            self._block = self._find(kind, detail, text)
            self.size += self._block.take(detail, text)
        if isinstance(text, str):
            self._block.text += text.encode()
            self.size += len(text)

    def merged(self) -> tuple[dict[str, Any], ...]:
        """The blocks, in the order in which they began."""
        return tuple(block.members() for block in self._blocks)

    def _find(self, kind: str, detail: dict[str, Any], text: Any) -> _Block:
        index = detail.get("index")
        if not isinstance(index, int):
            index = None
        block = self._last.get((kind, index))
        if block is None or block.is_ended_by(detail, text, index):
            block = _Block(kind)
            self._blocks.append(block)
            self.size += _BLOCK_COST
        self._last[kind, index] = self._last[kind, None] = block
        return block


_GROWS = {"reasoning.text": "text", "reasoning.summary": "summary"}
_BLOCK_COST = 1_000


class _Block:
    """A block while it is being written: its members, and the text among them, which grows."""

    __slots__ = ("_grows", "_members", "text")

    def __init__(self, kind: str) -> None:
        self._members: dict[str, Any] = {}
        self._grows = _GROWS.get(kind, "")
        self.text = bytearray()  # UTF-8: a list of pieces would cost many times what they say

    def is_ended_by(self, detail: dict[str, Any], text: Any, index: int | None) -> bool:
        """Whether this fragment, of the same type and index, begins another block."""
        known, says = self._members.get, detail.get
        id, data, call = says("id"), says("data"), says("tool_call_id")
        if call and known("tool_call_id") and call != known("tool_call_id"):
            return True
        if data and known("data"):
            return bool(data != known("data") and not (id and id == known("id")))
        is_new_id = id and id != known("id")
        signature = says("signature")
        if text and signature and known("signature") and signature != known("signature"):
            return True
        if index is not None:
            return bool(is_new_id and known("id") and text)
        return bool((is_new_id and (text or known("id"))) or (text and known("signature")))

    def take(self, detail: dict[str, Any], text: Any) -> float:
        """The other members of a fragment: of each, the last that says something counts."""
        members = self._members
        added: float = 0
        if text == "":
            members.setdefault(self._grows, "")
        for name, value in detail.items():
            if name not in members or (value not in (None, "") and value != members[name]):
                size = size_of(value)
                if size < inf:
                    members[name] = value
                    added += len(name) + size
        return added

    def members(self) -> dict[str, Any]:
        """The block as it is now."""
        text = self.text.decode()
        return self._members | {self._grows: text} if text else self._members
