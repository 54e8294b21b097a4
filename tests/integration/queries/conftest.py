"""Provides a ledger with a fill at two brokers and two followers, for queries."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import Engine

from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker, FollowerId
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill
from shared.queries.connections import Connections
from tests.support.examples import NOW, an_account_fill
from tests.support.ledger_examples import a_batch, a_decision, a_filled_event

SECRET = "c2VjcmV0"
KEY_OF_ALICE = "the-api-key-of-alice-1234"


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    """A database with the newest schema."""
    engine = open_engine(fresh_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def connections(engine: Engine) -> Connections:
    """Connections without any Redis. Alice copied fill 1 of Kraken; bob is a follower at OKX, which has a fill 1 too."""
    box = SecretBox(SecretStr(Fernet.generate_key().decode()))
    store = FollowerStore(engine, box)
    alice = Credentials(api_key=SecretStr(KEY_OF_ALICE), api_secret=SecretStr(SECRET))
    bob = Credentials(api_key=SecretStr("short"), api_secret=SecretStr(SECRET), passphrase=SecretStr("word"))
    store.add(Broker.KRAKEN, FollowerId("alice"), alice, actor="test")
    store.add(Broker.OKX, FollowerId("bob"), bob, actor="test")
    for broker in (Broker.KRAKEN, Broker.OKX):
        seen = ObservedFill(an_account_fill(fill_id=f"T-{broker.value}"), Decimal(1_000))
        MasterFills(engine).record(broker, "master", [seen], NOW + timedelta(seconds=1))
    Ledger(engine).write([a_batch(a_decision("alice")), a_filled_event("alice")])
    return Connections(engine, {}, box)
