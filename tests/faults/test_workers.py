"""Runs that a worker of Django's tasks executes: a page follows and stops them, and sees a lost worker."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import pytest

from openrouter_app.testing import Gate
from project.children import ROOT, Child
from tests.faults.bed import Bed
from tests.faults.pages import Page
from tests.faults.sites import CLOCKS, Site
from tests.followers import until

WORDS = [f"word{number} " for number in range(40)]
GIVE_WORK = """
import asyncio, sys
import django
django.setup()
from importlib import import_module
from uuid import UUID
from django.conf import settings
from openrouter_app import runs
from openrouter_app.identity import SESSION_KEY
from openrouter_app.models import Owner
from openrouter_app.tasks import start_in_background

session = import_module(settings.SESSION_ENGINE).SessionStore(sys.argv[1])
owner = Owner.of_visitor(UUID(session[SESSION_KEY]))
start = runs.Start(owner, chain="count", input={"max_num": "work"}, client_id="work")
print(asyncio.run(start_in_background(start)))
"""


class Workplace:
    """A bed with workers on its database."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        clocks = {f"OPENROUTER_{name}": str(value) for name, value in CLOCKS.items()}
        self.environment = {
            **bed.environment,
            **clocks,
            "DATABASE_URL": bed.database.url,
            "OPENROUTER_BASE_URL": bed.provider.base_url,
            "DJANGO_SETTINGS_MODULE": "tests.faults.worker_settings",
        }
        if bed.valkey is not None:
            self.environment["CHANNEL_LAYER_URL"] = bed.valkey.url()
        self.workers: list[Child] = []

    async def manage(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, cwd=ROOT, env=self.environment, stdout=asyncio.subprocess.PIPE
        )
        said = (await process.communicate())[0].decode()
        assert process.returncode == 0
        return said

    async def worker(self) -> Child:
        """A worker that looks for work."""
        command = [
            sys.executable,
            "manage.py",
            "db_worker",
            "--interval",
            "0.05",
            "--no-startup-delay",
            "--no-reload",
        ]
        worker = Child(command, environment=self.environment, log=self.bed.folder / "worker.log")
        worker.start()
        self.workers.append(worker)
        return worker

    async def page_with_work(self, site: Site) -> tuple[Page, str]:
        """A page that follows a run which it has given to the workers."""
        page = await self.bed.page(site)
        run = (await self.manage("-c", GIVE_WORK, page.visitor)).strip()
        page.runs["work"] = run
        await page.follow(run)
        return page, run


@pytest.fixture
async def workplace(cluster_bed: Bed) -> Iterator[Workplace]:
    place = Workplace(cluster_bed)
    await place.manage("manage.py", "migrate", "--verbosity", "0")
    yield place
    for worker in place.workers:
        worker.kill()


async def test_page_follows_a_run_that_a_worker_executes(workplace: Workplace):
    bed = workplace.bed
    bed.provider.reply(*WORDS, delay=0.02)
    page, run = await workplace.page_with_work(await bed.site())
    await until(lambda: page.status(run) == "queued")
    await workplace.worker()
    await page.says(run, "word10 ", 10)
    assert (await page.ended(run))["output"] == "".join(WORDS)
    frames = [frame for frame in page.got("run.events") if frame["run"] == run]
    assert len(frames) > 10, "it came as it was written"
    await bed.check(fresh_snapshots=True)


async def test_run_whose_worker_was_killed_is_ended_with_its_text_and_others_go_on(workplace: Workplace):
    bed = workplace.bed
    bed.provider.reply(*WORDS[:5], Gate(), delay=0.01)
    page, run = await workplace.page_with_work(await bed.site())
    worker = await workplace.worker()
    await page.says(run, "word4 ", 10)
    await asyncio.sleep(0.2)
    worker.kill()
    state = await page.ended(run, 8)
    assert (state["status"], state["parts"][-1]["text"]) == ("interrupted", "".join(WORDS[:5]))
    await bed.check(fresh_snapshots=True)
    assert len(bed.provider.asked) == 1


async def test_run_of_a_worker_is_stopped_from_a_page(workplace: Workplace):
    bed = workplace.bed
    bed.provider.reply(*WORDS[:5], Gate(), delay=0.01)
    page, run = await workplace.page_with_work(await bed.site())
    await workplace.worker()
    await page.says(run, "word4 ", 10)
    await page.stop(run)
    assert (await page.ended(run))["status"] == "stopped"
    await until(lambda: bed.provider.asked[0].left_at)
    await bed.check(fresh_snapshots=True)
