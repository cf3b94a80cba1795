"""Handlers: the functions that tools act by. Registered by name, offered in the admin.

Put them into a module ``openrouter_tools.py`` of any installed app; it is found by itself::

    from openrouter_app.tool_handlers import ToolContext, handler

    @handler(permission="shop.view_order")
    def find_orders(context: ToolContext, customer: str) -> list[dict]:
        '''The newest orders of a customer.'''
        return list(Order.objects.filter(customer__name=customer).values("number", "status")[:10])

A handler gets the `ToolContext` and the validated arguments by name. A plain function runs in a database
thread, in a transaction of its own that also holds its result; an ``async`` one runs on the loop, and looks
after its own transactions. What it raises as `ToolError` is told to the model, of anything else only that
the tool failed. The module opens nothing and asks the database nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import autodiscover_modules

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser

MODULE = "openrouter_tools"
"""The module of an installed app that is looked for."""

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class ToolContext:
    """On whose behalf a handler acts.

    ``user`` is who asked (an ``AnonymousUser`` for a visitor, and for runs of the system); ``visitor`` is
    the visitor's id. ``key`` is the call's own: the same for every try of it, so that a system outside the
    database can be told that it has seen this before. ``run`` and ``conversation`` are the ids of those.
    """

    user: AbstractBaseUser | AnonymousUser
    key: UUID
    run: UUID
    visitor: UUID | None = None
    conversation: UUID | None = None


@dataclass(frozen=True, slots=True)
class Handler:
    """A function under its name; ``permission`` is what a user needs for its calls to run.

    ``atomic``: it runs in a transaction that also stores its result; both are there, or neither.
    """

    name: str
    function: Callable[..., Any]
    permission: str | None = None
    atomic: bool = True

    @property
    def is_async(self) -> bool:
        """Whether it runs on the loop."""
        return inspect.iscoroutinefunction(self.function)

    @property
    def description(self) -> str:
        """The first line of its docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


_handlers: dict[str, Handler] = {}


@overload
def handler(name: Function, /) -> Function: ...


@overload
def handler(
    name: str | None = None, /, *, permission: str | None = None, atomic: bool = True
) -> Callable[[Function], Function]: ...


def handler(name: Any = None, /, *, permission: str | None = None, atomic: bool = True) -> Any:
    """Register a function as a handler, under its own name or the one given. It stays what it was.

    ``atomic=False`` is for what waits for others, such as another site: it holds no transaction open.
    Raises `ImproperlyConfigured` where another function has that name already.
    """

    def register(function: Function) -> Function:
        called = name if isinstance(name, str) else function.__name__
        if not called.isprintable() or not 0 < len(called) <= 200:
            raise ImproperlyConfigured(f"A handler's name has 1 to 200 printable characters, not {called!r}.")
        known = _handlers.get(called)
        if known is not None and (known.function.__module__, known.function.__qualname__) != (
            function.__module__,
            function.__qualname__,
        ):
            raise ImproperlyConfigured(
                f"Two handlers are called {called!r}: {known.function.__module__} and {function.__module__}. "
                f'Give one another name: @handler("...").'
            )
        _handlers[called] = Handler(called, function, permission, atomic)
        return function

    return register(name) if callable(name) else register


def find(name: str) -> Handler | None:
    """The handler of this name, None where no installed app has one."""
    return _handlers.get(name)


def all_handlers() -> list[Handler]:
    """Every handler, by name."""
    return sorted(_handlers.values(), key=lambda known: known.name)


def discover() -> None:
    """Import ``openrouter_tools`` of every installed app; called once, when the apps are ready."""
    autodiscover_modules(MODULE)
