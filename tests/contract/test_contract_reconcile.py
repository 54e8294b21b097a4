"""Tests what a worker reads and cancels at every broker when it answers `nija reconcile`."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from redis.asyncio import Redis

from services.broker_worker.listing import Listing
from services.broker_worker.read_account import AccountReader
from services.broker_worker.serve import Serving
from services.broker_worker.stop_gate import StopGate
from shared.domain.accounts.reading_schedule import ROUTINE_SECONDS
from shared.domain.fill import Side
from shared.domain.reconciliation.readings import AccountReading
from shared.messaging.keys import BrokerKeys
from shared.messaging.mailboxes import Mailboxes
from shared.messaging.price_list import PriceListWriter, present_prices
from shared.messaging.reconciliation import Cancellation, ReconciliationRequest, ReconciliationRequests
from shared.messaging.refused_keys import RefusedKeys
from shared.messaging.scripts import ScriptRunner
from shared.messaging.stops import StopReader
from tests.contract.brokers import Terms
from tests.contract.conftest import FAR_BELOW, Trader
from tests.contract.person import AlpacaPerson, CcxtPerson


async def test_a_worker_cancels_the_order_that_it_is_asked_to_and_leaves_the_persons(
    terms: Terms,
    shared_trader: Trader,
    person: AlpacaPerson | CcxtPerson,
    fresh_redis_url: str,
) -> None:
    """Both are read with their ids; the broker's own log has one canceled and the other open."""
    persons = await person.limit_order(terms.symbol, Side.BUY, "0.001", FAR_BELOW)
    shared_trader.fault("late_fill", seconds=60)
    order = shared_trader.order("0.01")
    stray = await shared_trader.account.place(order)
    broker_keys = BrokerKeys(terms.broker)
    async with Redis.from_url(fresh_redis_url) as redis:
        mailboxes = Mailboxes(ScriptRunner(redis), broker_keys, 60_000)
        await PriceListWriter(redis, broker_keys).write(
            await shared_trader.connection.price_list(["BTC"]), datetime.now(UTC)
        )
        prices = present_prices(redis, broker_keys)
        accounts = AccountReader(redis, broker_keys, terms.broker, prices, ROUTINE_SECONDS)
        connection = shared_trader.connection
        listing = Listing(connection.instruments, connection.reload)
        refused_keys, gate = RefusedKeys(redis, broker_keys), StopGate(StopReader(redis, broker_keys))
        serving = Serving(redis, broker_keys, mailboxes, connection, accounts, listing, refused_keys, gate)
        reconciliation = ReconciliationRequests(redis, broker_keys)

        async def read(*cancellations: Cancellation) -> AccountReading:
            request = ReconciliationRequest(
                id=uuid4().hex,
                follower_id="alice",
                actor="test",
                expires_at=datetime.now(UTC) + timedelta(minutes=1),
                cancellations=cancellations,
            )
            await reconciliation.ask([request])
            for claimed in (await mailboxes.claim(1))[1]:
                await serving.follower(claimed, shared_trader.credentials)
            return (await reconciliation.answers([request]))["alice"]

        reading = await read()
        assert {each.broker_order_id: each.client_order_id for each in reading.open_orders or ()}.keys() == {
            persons,
            stray,
        }
        assert reading.locked
        asked = [Cancellation(broker_order_id=each, copy_order_id=order.client_order_id) for each in (stray, persons)]
        reading = await read(*asked)
        assert reading.canceled == (stray,)
        assert [each.broker_order_id for each in reading.open_orders or ()] == [persons]
        assert [each.broker_order_id for each in (await read()).open_orders or ()] == [persons]
    assert {each["txid"]: each["status"] for each in shared_trader.logged()} == {persons: "open", stray: "canceled"}
