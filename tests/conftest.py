"""Starts real servers for the tests: one Redis and one PostgreSQL per run, with clean data for each test.

redis_url, database_url                  the servers, shared by all tests of the run
fresh_redis_url, fresh_database_url      an empty Redis database and a migrated PostgreSQL database, for one test
each_redis_url                           an empty Redis database; the test runs once on each version of Redis
each_database_url                        a migrated database; the test runs once directly and once through PgBouncer
redis_server, postgres_server            the servers themselves (a test that kills a server starts its own instead)
"""

import importlib.util
import os
from collections.abc import Iterator
from itertools import count, cycle
from pathlib import Path

import hypothesis
import pytest
import redis

from services.local_system.embedded import run_server
from services.local_system.embedded_postgres import PostgresServer
from services.local_system.embedded_redis import RedisServer
from tests.support.servers.pgbouncer import PgBouncer, pgbouncer
from tests.support.servers.redis_versions import VERSIONS, RedisOfVersion, program_of_version

# A failed assertion in a helper next to the tests shows its values, as in a test.
pytest.register_assert_rewrite("tests.integration", "tests.property")

# The width of the output must not depend on the terminal, or on the number of processes that run the tests.
os.environ.pop("COLUMNS", None)
# How long an example takes says something about the machine, not about nija.
hypothesis.settings.register_profile(
    "nija", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("nija")

_LOGICAL_DATABASES = cycle(range(1, 64))
_DATABASE_NUMBERS = count(1)


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private folder for the servers of this run."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def redis_server(server_folder: Path) -> Iterator[RedisServer]:
    """A real redis-server with `appendfsync always`."""
    server = RedisServer(server_folder / "redis")
    with run_server(server, server_folder / "redis.log"):
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    """The URL of database 0 of the shared Redis."""
    return redis_server.url


def _empty_database(server: RedisServer) -> str:
    url = f"{server.url.rsplit('/', 1)[0]}/{next(_LOGICAL_DATABASES)}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def fresh_redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty database of the shared Redis."""
    return _empty_database(redis_server)


@pytest.fixture(scope="session", params=VERSIONS)
def redis_of_version(request: pytest.FixtureRequest, server_folder: Path) -> Iterator[RedisServer]:
    """A Redis of each version that the scripts must run on. `tests.support.servers.redis_versions` finds Redis 7."""
    version = request.param
    server = RedisOfVersion(server_folder / f"redis-{version}", program_of_version(version))
    with run_server(server, server_folder / f"redis-{version}.log"):
        with redis.Redis.from_url(server.url) as client:
            assert client.info("server")["redis_version"].startswith(f"{version}.")
        yield server


@pytest.fixture
def each_redis_url(redis_of_version: RedisServer) -> str:
    """The URL of an empty database; the test runs once for each version of Redis."""
    return _empty_database(redis_of_version)


@pytest.fixture(scope="session")
def postgres_server(server_folder: Path) -> Iterator[PostgresServer]:
    """A real PostgreSQL server."""
    server = PostgresServer(server_folder / "postgres")
    with run_server(server, server_folder / "postgres.log"):
        yield server


def _migrate(url: str) -> None:
    if importlib.util.find_spec("shared.persistence.migrate") is None:
        return
    from shared.persistence.migrate import migrate

    migrate(url)


@pytest.fixture(scope="session")
def _template_database(postgres_server: PostgresServer) -> str:
    """A migrated database that is the template of the other databases; no connection to it stays open."""
    _migrate(postgres_server.create_database("nija_template"))
    return "nija_template"


@pytest.fixture(scope="session")
def database_url(postgres_server: PostgresServer, _template_database: str) -> str:
    """The URL of a migrated database that the whole run shares."""
    return postgres_server.create_database("nija", template=_template_database)


@pytest.fixture
def fresh_database_url(postgres_server: PostgresServer, _template_database: str) -> Iterator[str]:
    """The URL of a migrated, empty database for this test."""
    name = f"test_{next(_DATABASE_NUMBERS)}"
    yield postgres_server.create_database(name, template=_template_database)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def pooler(postgres_server: PostgresServer, server_folder: Path) -> Iterator[PgBouncer]:
    """A PgBouncer in transaction mode in front of the PostgreSQL of the run.

    `tests.support.servers.pgbouncer` finds the program.
    """
    with pgbouncer(server_folder, postgres_server) as each:
        yield each


@pytest.fixture(params=["straight", "pgbouncer"])
def each_database_url(request: pytest.FixtureRequest, fresh_database_url: str) -> str:
    """The URL of a migrated, empty database for this test, which runs once for each way to connect."""
    if request.param == "straight":
        return fresh_database_url
    pooler: PgBouncer = request.getfixturevalue("pooler")
    return pooler.url_of(fresh_database_url.rpartition("/")[2].partition("?")[0])
