"""Who a run belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser


class Owner(msgspec.Struct, frozen=True):
    """A user, an anonymous visitor, or the system itself (neither).

    ``ephemeral`` marks a visitor without a session: what he owns ends with his socket.
    """

    user_id: int | None = None
    visitor: UUID | None = None
    ephemeral: bool = False

    def __post_init__(self) -> None:
        if self.user_id is not None and self.visitor is not None:
            raise ValueError("An owner is a user or a visitor, not both.")
        if self.ephemeral and self.visitor is None:
            raise ValueError("Only a visitor is ephemeral.")

    @classmethod
    def of_user(cls, user: AbstractBaseUser) -> Owner:
        """A user who is logged in. Raises ValueError for an anonymous one."""
        if user.pk is None:
            raise ValueError("An anonymous user owns nothing: use Owner.of_visitor().")
        return cls(user_id=user.pk)

    @classmethod
    def of_visitor(cls, visitor: UUID, *, ephemeral: bool = False) -> Owner:
        """The person behind a random id: kept in the session, or made for one socket (``ephemeral``)."""
        return cls(visitor=visitor, ephemeral=ephemeral)

    @classmethod
    def system(cls) -> Owner:
        """A command or a task: its runs belong to nobody, and it sees none by owning them."""
        return cls()

    @property
    def is_system(self) -> bool:
        """Whether this is neither a user nor a visitor."""
        return self.user_id is None and self.visitor is None
