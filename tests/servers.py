"""Servers that some tests need: where a program is missing, the test is skipped and says so.

With ``OPENROUTER_TESTS_NEED_SERVERS=1`` it fails instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import pytest

from project.postgres import Missing

Made = TypeVar("Made")


def needed(make: Callable[[], Made]) -> Made:
    """What ``make`` answers, where the server it is about is on this machine."""
    try:
        return make()
    except Missing as missing:
        if os.environ.get("OPENROUTER_TESTS_NEED_SERVERS") == "1":
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))
