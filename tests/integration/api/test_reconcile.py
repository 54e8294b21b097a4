"""A reconciliation over the API asks the workers, reports what they read, and is withdrawn when the process ends."""

import threading
import time

import pytest
import requests
from pydantic import SecretStr
from redis import Redis

from services.api.routes.reconcile import BrokerReconciliation
from shared.actions.context import ActionContext
from shared.actions.reconcile import FollowersOrder, ReconciledBroker
from shared.domain.accounts.credentials import Credentials
from shared.domain.fill import Side
from shared.domain.identity import Broker, FollowerId
from shared.domain.reconciliation.drift import Cause, Drift
from shared.domain.reconciliation.readings import OpenOrder
from shared.domain.reconciliation.stray_orders import Ownership
from shared.domain.symbol import Symbol
from shared.messaging.keys import BrokerKeys
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.ledger.ledger import Ledger
from shared.queries.connections import Connections
from tests.support.api import RunningApi
from tests.support.ledger_examples import a_filled_event

KEYS = BrokerKeys(Broker.KRAKEN)


@pytest.fixture(autouse=True)
def _alice(context: ActionContext, connections: Connections) -> None:
    """A follower that holds copied coins, so that its account is to be read."""
    key = Credentials(api_key=SecretStr("the-key-of-alice"), api_secret=SecretStr("c2VjcmV0"))
    context.store.add(Broker.KRAKEN, FollowerId("alice"), key, actor="test")
    Ledger(connections.engine).write([a_filled_event("alice")])


def asked(redis: Redis) -> int:
    """How many accounts a worker is asked to read."""
    return int(redis.hlen(KEYS.reconciliation_requests))  # type: ignore[arg-type]


def test_an_account_that_no_worker_reads_is_reported(api: RunningApi) -> None:
    """The answer comes after the time that the client allows, and names the follower."""
    found = api.post("/api/reconcile", json={"broker": "kraken", "timeout_seconds": 1}).json()
    [kraken] = found["brokers"]
    assert (found["sound"], kraken["asked"], kraken["read"], list(kraken["unread"])) == (False, 1, 0, ["alice"])


def test_a_reconciliation_is_withdrawn_when_the_process_is_to_end(api: RunningApi, connections: Connections) -> None:
    """The client gets a 503 at once, and no worker reads for a process that is gone."""
    redis = connections.redis_of(Broker.KRAKEN)
    answers: list[requests.Response] = []
    client = threading.Thread(target=lambda: answers.append(api.post("/api/reconcile", json={"timeout_seconds": 60})))
    client.start()
    deadline = time.monotonic() + 20
    while not asked(redis):
        assert time.monotonic() < deadline, "no worker is asked"
        time.sleep(0.05)
    began_at = time.monotonic()
    api.system.stopping.set()
    client.join(20)
    assert time.monotonic() - began_at < 10
    assert (answers[0].status_code, answers[0].json()["type"]) == (503, "urn:nija:problem:away")
    assert asked(redis) == 0


def test_everything_that_was_found_is_in_the_answer() -> None:
    """Differences, repairs, open orders with their owners, and the error of a broker."""
    symbol = Symbol("BTC", "USD")
    drift = Drift(
        follower_id=FollowerId("alice"),
        asset="BTC",
        cause=Cause.MANUAL_SALE,
        target="0.001",
        real="0",
        drift="-0.001",
        sequence=1,
    )
    order = OpenOrder(broker_order_id="O1", symbol=symbol, side=Side.SELL, quantity="0.5")
    result = ReconciledBroker(
        asked=2,
        readings={},
        drifts=(drift,),
        repaired=(drift,),
        resolved=1,
        open_orders=(FollowersOrder("alice", order, Ownership.STRAY),),
        unlisted=("bob",),
        unread={"carol": "no worker has read it"},
        error=DatabaseUnavailable("PostgreSQL at 10.0.0.1 does not answer"),
    )
    shown = BrokerReconciliation.of(Broker.KRAKEN, result).model_dump(mode="json")
    assert (shown["sound"], shown["asked"], shown["read"], shown["resolved"]) == (False, 2, 0, 1)
    assert [each["drift"] for each in (*shown["drifts"], *shown["repaired"])] == ["-0.001", "-0.001"]
    assert [(each["follower_id"], each["order"]["quantity"], each["ownership"]) for each in shown["open_orders"]] == [
        ("alice", "0.5", Ownership.STRAY.value)
    ]
    assert (shown["unlisted"], shown["unread"]) == (["bob"], {"carol": "no worker has read it"})
    assert shown["error"] == "PostgreSQL does not answer; ask again"
    away = BrokerReconciliation.of(Broker.KRAKEN, ReconciledBroker.failed(OSError("redis at 10.0.0.1")))
    assert away.error == "a server does not answer"
