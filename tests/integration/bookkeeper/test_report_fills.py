"""On a real PostgreSQL, each fill of a master gets one line in the log when all its copies have ended."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine
from structlog.testing import capture_logs
from structlog.typing import EventDict

from services.bookkeeper.report_fills import FillReporter
from shared.domain.accounts.credentials import Credentials
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.events import OrderState, Outcome
from shared.domain.identity import Broker
from shared.persistence.database import open_engine
from shared.persistence.followers.import_file import NewFollower
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.fill_lines import FillLines
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill
from tests.support.examples import NOW, an_account_fill
from tests.support.ledger_examples import a_batch, a_decision, a_filled_event, an_order_event

KRAKEN = Broker.KRAKEN


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    """An empty, migrated database."""
    engine = open_engine(fresh_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> FollowerStore:
    """The followers of that database."""
    return FollowerStore(engine, SecretBox(SecretStr("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")))


def join(store: FollowerStore, *names: str) -> None:
    rows = [
        NewFollower(KRAKEN, name, Credentials(api_key=SecretStr(name), api_secret=SecretStr("c2Vj")), n)
        for n, name in enumerate(names)
    ]
    store.import_rows(rows, actor="test")


def trade(engine: Engine, sequence: int = 1) -> None:
    """The master's fill with that number, executed at NOW and published half a second later."""
    fill = an_account_fill(fill_id=f"T{sequence}", order_id=f"O{sequence}")
    published_at = NOW + timedelta(milliseconds=500)
    [recorded] = MasterFills(engine).record(KRAKEN, "main", [ObservedFill(fill, Decimal(1))], published_at)
    assert recorded.sequence == sequence


def a_reporter(engine: Engine, began_at: datetime = NOW) -> FillReporter:
    reporter = FillReporter(KRAKEN, FillLines(engine, KRAKEN))
    reporter._began_at = began_at
    return reporter


def lines_of(reporter: FillReporter, seconds: Sequence[float]) -> list[EventDict]:
    """The lines of rounds at these moments after NOW."""

    async def rounds() -> None:
        for each in seconds:
            await reporter.round(NOW + timedelta(seconds=each))

    with capture_logs() as lines:
        asyncio.run(rounds())
    return lines


def test_a_fill_gets_one_line_when_its_last_copy_has_ended(engine: Engine, store: FollowerStore) -> None:
    """No line before the last copy has ended, and none after it. The line has counts, reasons and the duration."""
    join(store, "alice", "bob", "carol", "dave")
    trade(engine)
    reporter, ledger = a_reporter(engine), Ledger(engine)
    assert lines_of(reporter, [1]) == []
    ledger.write([a_batch(a_decision("alice"), a_decision("bob", skip_reason=SkipReason.PAUSED, quantity=None))])
    assert lines_of(reporter, [2, 3]) == []
    ledger.write([a_filled_event("alice"), a_batch(a_decision("carol"), a_decision("dave"))])
    # Dave's final event comes first, and its order is behind that of carol.
    ledger.write([a_filled_event("dave", occurred_at=NOW + timedelta(seconds=5))])
    assert lines_of(reporter, [4, 5, 6]) == []
    refused = {"state": OrderState.REJECTED, "outcome": Outcome.FAILED, "reason": FailReason.INSUFFICIENT_FUNDS}
    ledger.write([an_order_event("carol", **refused)])
    assert lines_of(reporter, [7, 8, 9]) == [
        {
            "event": "fill ended",
            "log_level": "info",
            "broker": "kraken",
            "sequence": 1,
            "symbol": "BTC/USD",
            "side": "buy",
            "total": 4,
            "copied": 2,
            "skipped": 1,
            "skipped_by_reason": {"paused": 1},
            "failed": 1,
            "failed_by_reason": {"insufficient_funds": 1},
            "took_seconds": 5.0,
        }
    ]
    assert lines_of(a_reporter(engine), [10]) == []


def test_a_fill_with_a_pending_copy_gets_a_line_after_a_minute_and_another_at_its_end(
    engine: Engine, store: FollowerStore
) -> None:
    """The first line says how many are pending, once. Fills behind it are not held up, and a restart repeats nothing."""
    join(store, "alice", "bob")
    trade(engine, 1)
    ledger = Ledger(engine)
    ledger.write([a_batch(a_decision("alice"), a_decision("bob")), a_filled_event("alice")])
    trade(engine, 2)
    ledger.write(
        [
            a_batch(a_decision("alice", 2), a_decision("bob", 2), sequence=2),
            a_filled_event("alice", 2),
            a_filled_event("bob", 2),
        ]
    )
    reporter = a_reporter(engine)
    first = lines_of(reporter, [1, 30, 59])
    assert [(line["event"], line["sequence"]) for line in first] == [("fill ended", 2)]
    [late] = lines_of(reporter, [62, 70, 80, 90])
    assert (late["event"], late["log_level"], late["sequence"]) == ("fill late", "warning", 1)
    assert (late["total"], late["copied"], late["pending"], late["seconds_since_execution"]) == (2, 1, 1, 62.0)
    restarted = a_reporter(engine)
    assert lines_of(restarted, [200, 300]) == []
    ledger.write([a_filled_event("bob", occurred_at=NOW + timedelta(seconds=301))])
    [ended] = lines_of(restarted, [302, 320, 340])
    assert (ended["event"], ended["copied"], ended["took_seconds"]) == ("fill ended", 2, 301.0)


def test_a_restarted_bookkeeper_waits_for_the_events_before_it_calls_a_fill_late(
    engine: Engine, store: FollowerStore
) -> None:
    """After an hour without a bookkeeper, the copies have long ended, and their events are not in the ledger yet."""
    join(store, "alice")
    trade(engine)
    reporter = a_reporter(engine, began_at=NOW + timedelta(hours=1))
    assert lines_of(reporter, [3601, 3630]) == []
    Ledger(engine).write([a_batch(a_decision("alice")), a_filled_event("alice")])
    [ended] = lines_of(reporter, [3700])
    assert (ended["event"], ended["took_seconds"]) == ("fill ended", 4.0)


def test_a_removed_follower_without_a_decision_is_not_waited_for(engine: Engine, store: FollowerStore) -> None:
    """The fill ends with the copies that there are. A fill without any follower ends at once."""
    trade(engine, 1)
    [alone] = lines_of(a_reporter(engine), [1])
    assert (alone["total"], alone["took_seconds"]) == (0, None)
    join(store, "alice", "bob")
    trade(engine, 2)
    Ledger(engine).write([a_batch(a_decision("alice", 2), sequence=2), a_filled_event("alice", 2)])
    reporter = a_reporter(engine)
    assert lines_of(reporter, [2]) == []
    store.remove(KRAKEN, "bob", actor="test")
    [ended] = lines_of(reporter, [4])
    assert (ended["sequence"], ended["total"], ended["copied"]) == (2, 1, 1)


def test_several_bookkeepers_write_each_line_once(engine: Engine, store: FollowerStore) -> None:
    """Four bookkeepers that see the same twenty fills at the same time write twenty lines."""
    join(store, "alice")
    for sequence in range(1, 21):
        trade(engine, sequence)
        Ledger(engine).write(
            [a_batch(a_decision("alice", sequence), sequence=sequence), a_filled_event("alice", sequence)]
        )

    async def at_once() -> None:
        await asyncio.gather(*(a_reporter(engine).round(NOW + timedelta(seconds=5)) for _ in range(4)))

    with capture_logs() as lines:
        asyncio.run(at_once())
    assert sorted(line["sequence"] for line in lines) == list(range(1, 21))


def test_a_line_is_recorded_only_if_it_was_written(engine: Engine) -> None:
    """A process that dies while it writes the line has recorded nothing, so the next one writes the line."""
    trade(engine)
    lines = FillLines(engine, KRAKEN)
    [fill] = lines.open()

    def die(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lines.write(fill.sequence, NOW, is_late=False, line=die)
    written: list[object] = []
    assert lines.write(fill.sequence, NOW, is_late=False, line=written.append)
    assert not lines.write(fill.sequence, NOW, is_late=False, line=written.append)
    assert len(written) == 1
