"""A reader that follows the ledger gets each committed row once, also when transactions overlap."""

import threading
import time
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from shared.domain.events import OrderState
from shared.domain.identity import Broker
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.ledger import event_order
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill
from shared.queries.connections import Connections
from shared.queries.events import FeedPosition, NotAPosition, OrderChange, read_events, read_position
from tests.support.examples import NOW, an_account_fill
from tests.support.ledger_examples import a_filled_event, an_order_event

START = FeedPosition()


def record_fill(connections: Connections, broker: Broker, fill_id: str) -> None:
    seen = ObservedFill(an_account_fill(fill_id=fill_id), Decimal(1_000))
    MasterFills(connections.engine).record(broker, "master", [seen], NOW + timedelta(seconds=1))


def test_fills_and_order_events_come_in_order_and_once(connections: Connections) -> None:
    """A fill comes before its orders. The position of each event is where a reader goes on behind it."""
    for broker in (Broker.KRAKEN, Broker.OKX):
        record_fill(connections, broker, f"T-{broker.value}")
    Ledger(connections.engine).write([an_order_event("alice"), a_filled_event("alice")])
    events = read_events(connections, START)
    assert [(each.kind, each.data.broker) for each in events] == [
        ("fill", Broker.KRAKEN),
        ("fill", Broker.OKX),
        ("order", Broker.KRAKEN),
        ("order", Broker.KRAKEN),
    ]
    states = [each.data.state for each in events if isinstance(each.data, OrderChange)]
    assert states == [OrderState.ACCEPTED, OrderState.FILLED]
    for number, event in enumerate(events, 1):
        position = FeedPosition.parse(event.position.text)
        assert [each.data for each in read_events(connections, position)] == [each.data for each in events[number:]]
    assert read_position(connections) == FeedPosition(
        fills={**dict.fromkeys(Broker, 0), Broker.KRAKEN: 1, Broker.OKX: 1},
        events={**dict.fromkeys(Broker, 0), Broker.KRAKEN: 2},
    )


def test_a_row_that_is_committed_late_is_not_missed(connections: Connections) -> None:
    """A writer waits until the one before it has committed, so ids become visible in their order."""
    ledger = Ledger(connections.engine)
    late = threading.Thread(target=ledger.write, args=([a_filled_event("bob")],))
    with connections.engine.begin() as connection:
        driver = connection.connection.driver_connection
        event_order.lock_event_order(driver, ["kraken"])  # type: ignore[arg-type]
        late.start()
        # Events of another broker do not wait.
        ledger.write([a_filled_event("carol", broker=Broker.OKX, copy_order_id="of-carol")])
        time.sleep(0.3)
        assert [each.data.broker for each in read_events(connections, START)] == [Broker.OKX]
    late.join()
    assert {each.data.broker for each in read_events(connections, START)} == {Broker.OKX, Broker.KRAKEN}


def test_a_paused_writer_does_not_hold_up_the_others_for_long(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others report that the ledger is away, and write the same batch again."""
    monkeypatch.setattr(event_order, "LONGEST_WAIT_SECONDS", 0.1)
    with connections.engine.begin() as connection:
        event_order.lock_event_order(connection.connection.driver_connection, ["kraken"])  # type: ignore[arg-type]
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            Ledger(connections.engine).write([a_filled_event("bob")])
    assert Ledger(connections.engine).write([a_filled_event("bob")]).order_events == 1


def test_the_lock_leaves_the_other_limits_of_the_transaction(connections: Connections) -> None:
    """Later statements of the transaction wait as long as before."""
    with connections.engine.begin() as connection:
        before = connection.scalar(text("SHOW lock_timeout"))
        event_order.lock_event_order(connection.connection.driver_connection, ["kraken"])  # type: ignore[arg-type]
        assert connection.scalar(text("SHOW lock_timeout")) == before


@pytest.mark.parametrize(
    "position",
    ["kraken", "kraken:1", "kraken:1:x", "kraken:-1:2", "nobroker:1:2", "kraken:1:2,"],
)
def test_a_text_that_is_no_position_is_refused_and_not_repeated(position: str) -> None:
    """It may be anything that a client has sent."""
    with pytest.raises(NotAPosition) as refused:
        FeedPosition.parse(position)
    assert not position or position not in str(refused.value)


def test_every_position_can_be_read_again(connections: Connections) -> None:
    """The empty ledger has one too: a client that connects before the first fill misses none."""
    for position in (
        read_position(connections),
        FeedPosition(fills={Broker.OKX: 3}),
        FeedPosition(events={Broker.KRAKEN: 7}),
    ):
        assert FeedPosition.parse(position.text).text == position.text
    assert read_position(connections).text == "0"
