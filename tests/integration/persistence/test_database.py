"""Tests that a transaction of a process that stands still is ended by the database."""

from collections.abc import Iterator
from decimal import Decimal
from threading import Thread

import pytest
from sqlalchemy import Engine, text

from shared.domain.identity import Broker
from shared.persistence import database
from shared.persistence.database import open_engine, transaction
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill
from shared.persistence.sequence import lock_sequence
from tests.support.examples import NOW, an_account_fill

KRAKEN = Broker.KRAKEN
PATIENCE_SECONDS = 20


@pytest.fixture
def impatient(fresh_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Its transactions may be idle for 0.3 s."""
    monkeypatch.setattr(database, "IDLE_TRANSACTION_SECONDS", 0.3)
    engine = open_engine(fresh_database_url, pool_size=1)
    yield engine
    engine.dispose()


def test_what_a_paused_process_has_locked_is_free_again(impatient: Engine, fresh_database_url: str) -> None:
    """The spare records; the other finds on waking that its transaction is over, and begins again."""
    engine = open_engine(fresh_database_url)
    observed = [ObservedFill(an_account_fill(), Decimal(1))]
    recording = Thread(target=MasterFills(engine).record, args=(KRAKEN, "main", observed, NOW))

    def pause_and_go_on() -> None:
        with transaction(impatient) as connection:
            lock_sequence(connection, KRAKEN)
            recording.start()
            recording.join(PATIENCE_SECONDS)
            connection.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailable):
        pause_and_go_on()
    assert MasterFills(impatient).last_sequence(KRAKEN) == 1
    engine.dispose()


def test_a_statement_may_take_longer_than_that(impatient: Engine) -> None:
    """Reports and restores of long histories do."""
    with transaction(impatient) as connection:
        connection.execute(text("SELECT pg_sleep(1)"))
