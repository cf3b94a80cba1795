"""The pytest plugin: the fixture ``openrouter``, a `FakeOpenRouter` on a free loopback port.

pytest loads this module in every project where the package is installed, so it imports nothing that a
project without the fixture would pay for.
The one rule: silence is no answer. A request that was not scripted gets an error that says so, and a
script that was not used fails the test, unless the test has failed already.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .fake import FakeOpenRouter
    from .scripts import ErrorReply
    from .serving import Mounts

_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[_failed] = not report.passed
    return report


@pytest.fixture(scope="session")
def _openrouter_server() -> Iterator[Mounts]:
    from .serving import Mounts, serve

    mounts = Mounts()
    with serve(mounts):
        yield mounts


@pytest.fixture
def openrouter(_openrouter_server: Mounts, request: pytest.FixtureRequest) -> Iterator[FakeOpenRouter]:
    """A fake OpenRouter to script; point the code under test at ``openrouter.base_url``.

    What is not scripted is refused: ``openrouter.default = simulated_reply`` lets the simulation answer.
    What is scripted must be asked for: ``openrouter.clear()`` at the end drops what was meant to be left.
    """
    from .fake import FakeOpenRouter

    fake = FakeOpenRouter(default=_unscripted)
    with _openrouter_server.mounted(fake):
        yield fake
    if fake.unused and not request.node.stash.get(_failed, True):
        pytest.fail(
            f"{len(fake.unused)} scripted answer(s) were never asked for: the code under test made only "
            f"{len(fake.requests)} request(s). If that is meant, end the test with openrouter.clear().\n"
            f"The next answer would have been {fake.unused[0]!r:.300}",
            pytrace=False,
        )


def _unscripted(request: Any) -> ErrorReply:
    from .scripts import ErrorReply

    return ErrorReply(
        400,
        {
            "code": 400,
            "message": "Nothing is scripted for this request: call openrouter.reply(...) once for each "
            "request, or set openrouter.default = simulated_reply",
        },
    )
