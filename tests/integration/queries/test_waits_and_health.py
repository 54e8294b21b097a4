"""Orders that wait are shown with their reason, and unknown outcomes are counted by the broker's words."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis
from sqlalchemy import Engine

from shared.domain.events import OrderState
from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from shared.messaging.order_waits import OrderWait
from shared.persistence.ledger.ledger import Ledger
from shared.queries.connections import Connections
from shared.queries.health import read_unknown_texts
from shared.queries.ledger import read_orders
from tests.support.ledger_examples import a_batch, a_decision, a_filled_event

KRAKEN = Broker.KRAKEN
STRANGE = "UnclearAnswer: kraken EOrder:Something new"


@pytest.fixture
def with_redis(connections: Connections, fresh_redis_url: str) -> Iterator[Connections]:
    """Connections with the Redis of Kraken."""
    with Redis.from_url(fresh_redis_url, decode_responses=True) as redis:
        yield replace(connections, redis={KRAKEN: redis})


def test_an_order_that_waits_is_shown_with_the_reason(with_redis: Connections, engine: Engine) -> None:
    """The reason belongs to one order. It is not shown for an order that is final, or when Redis does not answer."""
    decision = a_decision(sequence=2)
    Ledger(engine).write([a_batch(decision, sequence=2)])
    (queued,) = read_orders(with_redis, KRAKEN, state="queued")
    (final,) = read_orders(with_redis, KRAKEN, state="filled")
    since = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
    for follower, order in (("alice", queued), ("bob", final)):
        wait = OrderWait(copy_order_id=order.copy_order_id, since=since, why="EAPI:Invalid nonce (a hint)")
        with_redis.redis_of(KRAKEN).hset(BrokerKeys(KRAKEN).order_waits, follower, wait.model_dump_json())
    (shown,) = read_orders(with_redis, KRAKEN, state="queued")
    assert (shown.reason, shown.message) == ("waits", "since 12:30:15 UTC: EAPI:Invalid nonce (a hint)")
    assert read_orders(with_redis, KRAKEN, state="filled") == [final]
    assert read_orders(replace(with_redis, redis={}), KRAKEN, state="queued") == [queued]


def test_unknown_outcomes_are_counted_by_broker_and_words(connections: Connections, engine: Engine) -> None:
    """Each send counts. Final events and old ones do not."""
    now = datetime.now(UTC)
    unknown = {"state": OrderState.UNKNOWN, "outcome": None, "message": STRANGE}
    events = [
        a_filled_event("bob", 3, **unknown, attempt=attempt, occurred_at=now - timedelta(hours=attempt))
        for attempt in (1, 2)
    ]
    events.append(a_filled_event("bob", 4, **{**unknown, "message": "timeout"}, occurred_at=now))
    events.append(a_filled_event("bob", 5, **unknown, occurred_at=now - timedelta(days=8)))
    Ledger(engine).write(events)
    first, second = read_unknown_texts(connections)
    assert (first.broker, first.words, first.sends, first.orders) == (KRAKEN, STRANGE, 2, 1)
    assert first.last_at == events[0].occurred_at
    assert (second.words, second.sends) == ("timeout", 1)
    assert read_unknown_texts(connections, Broker.OKX) == []
