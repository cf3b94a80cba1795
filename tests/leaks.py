"""Where a secret could get out: every log at its loudest, and every variable of every traceback."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

HERE = str(Path(__file__).parent)
LOUD = (
    "",
    "asyncio",
    "django.db.backends",
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "hpack",
    "aiohttp",
    "openrouter_app",
)


def told(error: BaseException) -> str:
    """All that an error report could hold: the chain of errors, their attributes and notes, and the
    variables of all frames but the tests' own, which know the secret.
    """
    pieces, queue, seen = [], [error], set()
    while queue:
        error = queue.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        pieces += [str(error), shown(error), shown(vars(error)), *traceback.format_exception_only(error)]
        for frame, line in traceback.walk_tb(error.__traceback__):
            code = frame.f_code
            if not code.co_filename.startswith(HERE):
                variables = {name: shown(value) for name, value in frame.f_locals.items()}
                pieces.append(f"{code.co_filename}:{line} {code.co_name} {variables}")
        queue += [error.__cause__, error.__context__, *getattr(error, "exceptions", ())]
    return "\n".join(pieces)


def shown(value: object) -> str:
    """Its repr, also of what was only half made when something failed."""
    try:
        return repr(value)
    except Exception as error:
        return f"<no repr: {error}>"


def fail(*args: Any, **named: Any) -> NoReturn:
    """In place of a function. It stands here because a debug page shows the lines around it."""
    raise RuntimeError("broken on purpose")


class Overheard(logging.Handler):
    """Keeps the text of every record, with its arguments and the variables of its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.texts: list[str] = []
        self.names: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.names.add(record.name)
        self.texts += [self.format(record), repr(record.args), repr(record.__dict__)]
        if record.exc_info and record.exc_info[1] is not None:
            self.texts.append(told(record.exc_info[1]))

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


@contextmanager
def overhearing() -> Iterator[Overheard]:
    """Every logger there is at DEBUG, whatever the site's settings say of it."""
    heard = Overheard()
    known = {name for name, it in logging.root.manager.loggerDict.items() if isinstance(it, logging.Logger)}
    loggers = [logging.getLogger(name) for name in {*known, *LOUD}]
    before = [(it, it.level, it.propagate, it.disabled, it.handlers) for it in loggers]
    disabled = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    for it in loggers:
        # one handler at the root; the others' own would print it all
        it.disabled, it.propagate, it.handlers = False, True, []
        it.setLevel(logging.DEBUG)
    logging.root.handlers = [heard]
    try:
        yield heard
    finally:
        logging.disable(disabled)
        for it, level, propagate, was_disabled, handlers in before:
            it.setLevel(level)
            it.propagate, it.disabled, it.handlers = propagate, was_disabled, handlers
