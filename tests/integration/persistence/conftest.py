"""Provides a migrated database for each test, and the stores that work on it."""

from collections.abc import Iterator

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import Engine

from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.master_fills import MasterFills


@pytest.fixture
def engine(each_database_url: str) -> Iterator[Engine]:
    """An engine on an empty, migrated database. Each test runs straight and through PgBouncer."""
    engine = open_engine(each_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def fills(engine: Engine) -> MasterFills:
    """The master fills of that database."""
    return MasterFills(engine)


@pytest.fixture
def store(engine: Engine) -> FollowerStore:
    """The followers of that database, with a secret key of this test."""
    return FollowerStore(engine, SecretBox(SecretStr(Fernet.generate_key().decode())))
