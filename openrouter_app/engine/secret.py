"""A key that is handed on without being shown."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """A text that no ``repr``, f-string, log line or traceback with locals shows; ``reveal()`` gives it.

    Reveal it in the expression that uses it: a local variable of a frame is shown by some error reports.
    """

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """The text itself."""
        return self.__text

    def __bool__(self) -> bool:
        return bool(self.__text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.__text == other.__text

    def __hash__(self) -> int:
        return hash(self.__text)

    def __repr__(self) -> str:
        return "<hidden>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not pickled or copied.")
