"""What the demo's commands say, and how they leave."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn


def say(text: str) -> None:
    """Print, and at once: whoever reads may be a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def give_up(sentence: str) -> NoReturn:
    """Leave with a sentence for the person who started this."""
    sys.exit(sentence)


def leave_on_signals(*more: signal.Signals) -> None:
    """A signal that means the end leaves through every ``finally``, which end what was started."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _leave)
    for number in more:
        signal.signal(number, _leave)


def _leave(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)
