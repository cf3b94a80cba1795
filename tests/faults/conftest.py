"""The servers of the tests of faults, started once, and a `Bed` for each test on its own database.

``bed``: one web process, SQLite, the in-memory layer. ``cluster_bed``: PostgreSQL and Valkey, for as many
web processes as a test asks for. Where a server's program is missing, the test is skipped and says so;
with ``OPENROUTER_TESTS_NEED_SERVERS=1`` it fails.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from openrouter_app.testing.serving import Mounts, serve
from project import postgres
from project.children import running
from project.postgres import Postgres
from project.valkey import Valkey
from tests.faults.bed import Bed
from tests.faults.databases import Database, PostgresTemplate, SqliteTemplate
from tests.faults.provider import Provider
from tests.faults.sites import base_environment
from tests.servers import needed


@pytest.fixture(scope="session")
def var(tmp_path_factory) -> Path:
    """The folder that all sites share: the secret key, by which a session holds at each of them."""
    return tmp_path_factory.mktemp("var")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One PostgreSQL for the session; nothing in it waits for the disk."""
    folder = Path(tempfile.mkdtemp(prefix="openrouter-faults-"))
    try:
        server = needed(lambda: Postgres(folder / "postgres", durable=False))
        with running(server):
            yield server
    finally:
        postgres.remove(folder / "postgres")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(var, tmp_path_factory) -> SqliteTemplate:
    """A file that was migrated and seeded."""
    return SqliteTemplate(tmp_path_factory.mktemp("sqlite"), base_environment(var))


@pytest.fixture(scope="session")
def postgres_template(var, postgres_server) -> PostgresTemplate:
    """The same in PostgreSQL."""
    return PostgresTemplate(postgres_server, base_environment(var))


@pytest.fixture
def valkey_server(tmp_path) -> Iterator[Valkey]:
    """A Valkey of the test's own, which it may kill."""
    server = needed(lambda: Valkey(tmp_path / "valkey"))
    with running(server):
        yield server


@pytest.fixture(scope="session")
def _mounts() -> Iterator[Mounts]:
    mounts = Mounts()
    with serve(mounts):
        yield mounts


@pytest.fixture
def provider(_mounts) -> Iterator[Provider]:
    """The fake OpenRouter of one test; what is not scripted, the simulation answers."""
    fake = Provider()
    with _mounts.mounted(fake):
        yield fake


@pytest.fixture
def sqlite_database(sqlite_template) -> Iterator[Database]:
    """A file of the test's own, migrated and seeded."""
    database = sqlite_template.clone()
    yield database
    database.drop()


@pytest.fixture
def postgres_database(postgres_server, postgres_template) -> Iterator[Database]:
    """A database of the test's own, migrated and seeded. The server runs after the test, whatever it did."""
    database = postgres_template.clone()
    yield database
    postgres_server.thaw()
    if not postgres_server.is_running:
        postgres_server.start()
    database.drop()


@pytest.fixture
async def bed(provider, sqlite_database, var, tmp_path) -> AsyncIterator[Bed]:
    """One process's bed."""
    environment = base_environment(var)
    async with Bed(provider, sqlite_database, None, folder=tmp_path, environment=environment) as made:
        yield made


@pytest.fixture
async def cluster_bed(provider, postgres_database, valkey_server, var, tmp_path) -> AsyncIterator[Bed]:
    """Several processes' bed."""
    environment = base_environment(var)
    async with Bed(
        provider, postgres_database, valkey_server, folder=tmp_path, environment=environment
    ) as made:
        yield made
