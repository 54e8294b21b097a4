"""Masters and subscriptions are listed from the ledger, with what Redis knows of them."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from redis import Redis
from sqlalchemy import Engine, text

from shared.domain.copying.follower import FollowerPolicy
from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from shared.persistence.ledger.master_fills import MasterFills
from shared.queries.connections import Connections
from shared.queries.masters import NOT_WATCHED, read_masters, read_subscriptions
from tests.support.examples import NOW

HOUR = timedelta(hours=1)


@pytest.fixture
def reached(connections: Connections, engine: Engine, fresh_redis_url: str) -> Iterator[Connections]:
    """The ledger's two brokers with watched masters, and the Redis of Kraken, in which the master's process reports."""
    for broker in (Broker.KRAKEN, Broker.OKX):
        MasterFills(engine).watch(broker, "master", NOW)
    with Redis.from_url(fresh_redis_url, decode_responses=True) as redis:
        redis.hset(
            BrokerKeys(Broker.KRAKEN).master,
            mapping={
                "master_account": "master",
                "state": "watching",
                "last_poll_at": NOW.isoformat(),
                "equity": "1234.5",
                "equity_at": NOW.isoformat(),
            },
        )
        yield replace(connections, redis={Broker.KRAKEN: redis})


def test_a_master_has_what_its_process_and_the_ledger_know(reached: Connections) -> None:
    """A master whose Redis does not answer counts as not watched. The ledger still has its fills."""
    kraken, okx = read_masters(reached, (), maximum_age=HOUR)
    assert (kraken.broker, kraken.master, kraken.state) == (Broker.KRAKEN, "master", "watching")
    assert kraken.balance is not None
    assert kraken.balance.total_equity_usd == Decimal("1234.5")
    assert (kraken.last_poll_at, kraken.last_sequence, kraken.followers) == (NOW, 1, {"active": 1})
    assert (okx.broker, okx.state, okx.balance, okx.last_sequence) == (Broker.OKX, NOT_WATCHED, None, 1)
    assert okx.watched_since is not None


def test_a_broker_that_is_enabled_is_listed_before_it_is_watched(reached: Connections) -> None:
    """It has no fill and no follower. With a broker given, only that one is listed."""
    [alpaca] = read_masters(reached, (Broker.KRAKEN,), Broker.ALPACA, maximum_age=HOUR)
    assert (alpaca.state, alpaca.watched_since, alpaca.last_sequence, alpaca.followers) == (NOT_WATCHED, None, None, {})
    assert [each.broker for each in read_masters(reached, (Broker.ALPACA,), maximum_age=HOUR)] == [
        Broker.ALPACA,
        Broker.KRAKEN,
        Broker.OKX,
    ]


def test_a_subscription_names_the_master_and_the_terms(reached: Connections, engine: Engine) -> None:
    """Terms that a newer version wrote are shown as unknown, and hide no other follower."""
    alice, bob = read_subscriptions(reached)
    assert (alice.broker, alice.follower_id, alice.master, alice.terms) == (
        Broker.KRAKEN,
        "alice",
        "master",
        FollowerPolicy(),
    )
    with engine.begin() as connection:
        connection.execute(
            text("""UPDATE followers SET policy = '{"of": "a newer version"}' WHERE follower_id = 'bob'""")
        )
    assert [each.terms for each in read_subscriptions(reached)] == [FollowerPolicy(), None]
    assert read_subscriptions(reached, Broker.KRAKEN) == [alice]
    assert bob.broker is Broker.OKX
