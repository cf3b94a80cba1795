"""Notes as rows that are taken back with their transaction, or as lines of a file, which nothing takes back.

With ``wait`` a handler stands still behind what it wrote, until the test lets it go on.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from uuid import uuid4

from django.contrib.auth.models import Group

from openrouter_app.tool_handlers import ToolContext, handler


def _folder() -> Path:
    return Path(os.environ["LEDGER"])


@handler
def write_row(context: ToolContext, note: str, wait: bool = False) -> dict[str, str]:
    """Write a note as a row; another one each time."""
    Group.objects.create(name=f"{note} {uuid4()}")
    if wait:
        (_folder() / f"entered {note}").touch()
        while not (_folder() / f"go {note}").exists():
            time.sleep(0.01)
    return {"written": note}


@handler
async def write_line(context: ToolContext, note: str, wait: bool = False) -> str:
    """Write a note as a line, under the call's key."""
    with (_folder() / "lines").open("a") as lines:
        lines.write(f"{context.key} {note}\n")
    if wait:
        (_folder() / f"entered {note}").touch()
        while not (_folder() / f"go {note}").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
    return note
