"""A PostgreSQL that accepts no writes for a while counts as unavailable, and later writes succeed.

Managed servers do this when their disk is nearly full or during a switch-over.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text

from shared.domain.identity import Broker
from shared.persistence.database import open_engine
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.master_fills import MasterFills
from tests.support.ledger_examples import a_filled_event


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    """An engine with one connection, so that a test knows which one it gets."""
    engine = open_engine(fresh_database_url, pool_size=1)
    yield engine
    engine.dispose()


def set_read_only(engine: Engine, value: str) -> None:
    """Set whether sessions that begin from now on are read-only."""
    with engine.connect() as connection:
        name = connection.engine.url.database
        connection.execute(text("SET TRANSACTION READ WRITE"))
        connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {value}'))
        connection.commit()


def test_what_is_not_taken_now_is_taken_later(engine: Engine, fresh_database_url: str) -> None:
    """Writes succeed again even in a process whose connection began read-only and would stay so permanently."""
    operator = open_engine(fresh_database_url)
    ledger, fills = Ledger(engine), MasterFills(engine)
    set_read_only(operator, "on")
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        ledger.write([a_filled_event()])
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        fills.watch(Broker.KRAKEN, "master", datetime.now(UTC))
    set_read_only(operator, "off")
    operator.dispose()
    assert ledger.write([a_filled_event()]).order_events == 1
    fills.watch(Broker.KRAKEN, "master", datetime.now(UTC))
