"""`nija positions --owed` reports the exits that followers owe, by the minimums and prices in the Redis of the broker."""

from redis import Redis

from shared.domain.events import OrderState, Outcome
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from shared.messaging.price_list import LISTED_AT_FIELD
from shared.persistence.database import open_engine
from shared.persistence.ledger.ledger import Ledger
from tests.integration.cli.accounts_and_brokers.conftest import Nija
from tests.support.examples import NOW, an_instrument
from tests.support.ledger_examples import a_filled_event

NO_REDIS = "redis://127.0.0.1:1/0"


def test_owed_exits_are_listed(environment: dict[str, str], nija: Nija) -> None:
    """Alice owes 0.25 BTC, and bob nothing. While Redis does not answer, it is not known, so she is still listed."""
    failed = a_filled_event(
        "alice",
        5,
        side=Side.SELL,
        state=OrderState.REJECTED,
        outcome=Outcome.FAILED,
        filled_quantity="0",
        cost="0",
        fee="0",
        position_after="1",
        carried_exit_after="0.25",
        reason="rejected",
    )
    engine = open_engine(environment["DATABASE_URL"], pool_size=1)
    Ledger(engine).write([failed, a_filled_event("bob", 5)])
    engine.dispose()
    keys, listed = BrokerKeys(Broker.KRAKEN), an_instrument()
    with Redis.from_url(environment["REDIS_URL"], decode_responses=True) as redis:
        redis.hset(keys.prices, mapping={LISTED_AT_FIELD: NOW.isoformat(), str(listed.symbol): "50000"})
        redis.hset(keys.instruments, listed.symbol, listed.model_dump_json())
    _, found = nija("positions", "--owed")
    assert [(each["follower_id"], each["owed"]) for each in found] == [("alice", "0.25")]
    _, unknown = nija("positions", "--owed", REDIS_URL=NO_REDIS)
    assert [(each["follower_id"], each["owed"]) for each in unknown] == [("alice", None)]
