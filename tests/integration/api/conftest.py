"""Provides an empty system for each test: settings, connections and an action context on real servers."""

from collections.abc import Iterator

import pytest
from cryptography.fernet import Fernet

from shared.actions.context import ActionContext
from shared.config import Settings, load_settings
from shared.config.operator import Keys, action_context, open_connections
from shared.domain.identity import Broker
from shared.queries.connections import Connections
from tests.contract.paper import PaperServer
from tests.support.api import ENVIRONMENT_TOKEN, RunningApi, running_api
from tests.support.running.capital_bench import read_kraken_master


@pytest.fixture
def variables(fresh_redis_url: str, fresh_database_url: str) -> dict[str, str]:
    """The environment of an API of a system with Kraken, on an empty Redis and an empty database."""
    return {
        "NIJA_ENV_FILE": "",
        "NIJA_CONFIG_FILE": "",
        "NIJA_BROKERS": "kraken",
        "NIJA_SECRET_KEY": Fernet.generate_key().decode(),
        "NIJA_API_TOKEN": ENVIRONMENT_TOKEN,
        "REDIS_URL": fresh_redis_url,
        "DATABASE_URL": fresh_database_url,
    }


@pytest.fixture
def settings(variables: dict[str, str]) -> Settings:
    """The settings of this environment."""
    return load_settings(variables)


@pytest.fixture(scope="session")
def kraken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperServer]:
    """A paper Kraken without rate limits."""
    server = PaperServer(Broker.KRAKEN, tmp_path_factory.mktemp("capital"), "--no-rate-limits")
    yield server
    server.stop()


@pytest.fixture
def master(kraken: PaperServer, variables: dict[str, str]) -> None:
    """A master account that was read a moment ago: 4,000 dollars, and 0.02 BTC at 50,000."""
    read_kraken_master(kraken, variables["REDIS_URL"], variables["DATABASE_URL"])


@pytest.fixture
def connections(settings: Settings) -> Iterator[Connections]:
    """The connections of its queries."""
    with open_connections(settings, redis=True, keys=Keys.IF_SET, pool_size=10) as connections:
        yield connections


@pytest.fixture
def context(settings: Settings, connections: Connections) -> ActionContext:
    """The context of its actions."""
    return action_context(settings, connections.engine, secret_box=connections.secret_box)


@pytest.fixture
def api(settings: Settings, connections: Connections) -> Iterator[RunningApi]:
    """The API of the system, on a loopback port."""
    with running_api(settings, connections) as running:
        yield running
