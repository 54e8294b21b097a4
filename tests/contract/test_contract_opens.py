"""Tests that a worker buys within the price limit of an open at every broker: all of it, a part of it, or nothing."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from redis.asyncio import Redis

from services.broker_worker.listing import Listing
from services.broker_worker.read_account import AccountReader
from services.broker_worker.serve import Serving
from services.broker_worker.stop_gate import StopGate
from shared.brokers.registry import profile_of
from shared.domain.copying.copy_order import CopyOrder
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.copying.reasons import SkipReason
from shared.domain.events import EVENT, OrderEvent, Outcome
from shared.domain.instrument import AssetClass
from shared.messaging.keys import BrokerKeys
from shared.messaging.mailboxes import Mailboxes
from shared.messaging.price_list import PresentPrices
from shared.messaging.refused_keys import RefusedKeys
from shared.messaging.scripts import ScriptRunner
from shared.messaging.stops import StopReader
from tests.contract.brokers import Terms
from tests.contract.conftest import PRICE, Trader, new_trader
from tests.contract.paper import PaperServer
from tests.support.examples import an_order
from tests.support.prices import LivePrices
from tests.support.running.stops import nothing_stopped

GIVE_UP_AFTER = timedelta(seconds=20)


class Worker:
    """A broker worker for one account. Its Redis is real, and its broker is reached over HTTP."""

    def __init__(self, trader: Trader, redis: Redis, terms: Terms) -> None:
        self.trader = trader
        self.redis = redis
        self.terms = terms
        self.keys = BrokerKeys(terms.broker)
        self.mailboxes = Mailboxes(ScriptRunner(redis), self.keys, 60_000)
        prices = PresentPrices(LivePrices({terms.symbol.base: PRICE}), profile_of(terms.broker).price_routes)
        self.accounts = AccountReader(redis, self.keys, terms.broker, prices, 60)

    def order(self, quantity: Decimal, reference_price: Decimal = PRICE) -> CopyOrder:
        """An open that was planned just now."""
        now = datetime.now(UTC)
        return an_order(
            broker=self.terms.broker,
            symbol=self.terms.symbol,
            quantity=quantity,
            reference_price=reference_price,
            executed_at=now,
            decided_at=now,
        )

    async def copy(self, order: CopyOrder, limits: OpenLimits | None = None) -> OrderEvent:
        """Deliver the order, serve it until it is final, and return its final event."""
        # Alpaca shows its ticks to key holders only: read its list again, with the key of the account.
        await self.trader.connection.reload()
        connection = self.trader.connection
        listing = Listing(connection.instruments, connection.reload)
        serving = Serving(
            self.redis,
            self.keys,
            self.mailboxes,
            connection,
            self.accounts,
            listing,
            RefusedKeys(self.redis, self.keys),
            StopGate(StopReader(self.redis, self.keys)),
            limits=limits or OpenLimits(),
        )
        await nothing_stopped(self.redis, self.keys)
        mail = [order.follower_id, order.model_dump_json()]
        await self.mailboxes.deliver(0, b"", b"1:*", b"", mail, (), 0)
        deadline = datetime.now(UTC) + GIVE_UP_AFTER
        while datetime.now(UTC) < deadline:
            for claimed in (await self.mailboxes.claim(1))[1]:
                await serving.follower(claimed, self.trader.credentials)
            for _, fields in await self.redis.xrange(self.keys.events):
                event = EVENT.validate_json(fields[b"event"])
                if isinstance(event, OrderEvent) and event.outcome is not None:
                    return event
        raise AssertionError(f"no final state in {GIVE_UP_AFTER}")


@pytest.fixture
async def worker(trader: Trader, terms: Terms, fresh_redis_url: str) -> AsyncIterator[Worker]:
    """A worker for an account with 10,000 dollars."""
    async with Redis.from_url(fresh_redis_url) as redis:
        yield Worker(trader, redis, terms)


async def test_an_open_within_its_limit_is_bought_at_the_price_of_the_market(worker: Worker) -> None:
    """The limit is the worst price and not the price. It is on the tick of the broker."""
    order = worker.order(Decimal("0.01"), PRICE + Decimal("0.1"))
    final = await worker.copy(order)
    (logged,) = worker.trader.logged()
    assert (final.outcome, final.filled_quantity) == (Outcome.COPIED, Decimal("0.01"))
    assert PRICE * Decimal("1.0049") < Decimal(logged["limit_price"]) <= order.reference_price * Decimal("1.005")
    assert final.cost < PRICE * Decimal("0.01") * Decimal("1.001")


@pytest.mark.parametrize("reply_is_lost", [False, True])
async def test_an_open_whose_price_rose_by_half_is_not_bought(
    worker: Worker, paper: PaperServer, terms: Terms, reply_is_lost: bool
) -> None:
    """The order ends at once and is read as ended. Without the reply, it is looked up, and is never sent again."""
    paper.pin_price(terms.symbol, str(PRICE * Decimal("1.5")))
    if reply_is_lost:
        worker.trader.fault("reply_lost", endpoint=terms.place_endpoint, count=1)
    final = await worker.copy(worker.order(Decimal("0.01")))
    (logged,) = worker.trader.logged()
    assert (final.outcome, final.reason, final.filled_quantity) == (Outcome.SKIPPED, SkipReason.PRICE_LIMIT, 0)
    assert (Decimal(logged["filled"]), logged["status"]) == (0, "canceled")
    assert all(balance.free == balance.total for balance in (await worker.trader.account.balances()).values())


@pytest.mark.parametrize("reply_is_lost", [False, True])
async def test_an_open_is_copied_as_far_as_coins_are_offered_within_its_limit(
    terms: Terms, paper: PaperServer, worker: Worker, reply_is_lost: bool
) -> None:
    """The limit is the best price that is offered, so the order takes one level of the book."""
    worker.trader = new_trader(terms, paper, worker.trader.connection, {terms.quote: "10000000"})
    if reply_is_lost:
        worker.trader.fault("reply_lost", endpoint=terms.place_endpoint, count=1)
    book = await worker.trader.connection.market_data.order_book(terms.symbol, levels=1)
    price, offered = book.asks[0]
    final = await worker.copy(worker.order(offered + 1, price), OpenLimits(margin_of_liquid=Decimal(0)))
    (logged,) = worker.trader.logged()
    assert (final.outcome, final.filled_quantity) == (Outcome.COPIED, Decimal(logged["filled"]))
    assert offered / 2 < final.filled_quantity < offered + 1
    assert final.cost <= final.filled_quantity * price + Decimal("0.0001")
    assert "at " in final.message
    assert await worker.trader.account.open_orders() == []


async def test_a_follower_of_an_all_in_master_spends_nearly_all_its_cash(
    terms: Terms, paper: PaperServer, worker: Worker
) -> None:
    """The price rose by 0.1 %. The broker holds cash for the limit price and the fee, and accepts the first order."""
    worker.trader = new_trader(terms, paper, worker.trader.connection, {terms.quote: "1000"})
    await worker.accounts.read("alice", worker.trader.account, "hash")
    price = PRICE * Decimal("1.001")
    paper.pin_price(terms.symbol, str(price))
    final = await worker.copy(worker.order(Decimal("0.02")))
    fee = profile_of(terms.broker).cash_fee(AssetClass.COIN)
    assert final.outcome is Outcome.COPIED
    assert final.filled_quantity >= Decimal("0.995") * 1000 / (price * Decimal("1.0001") * (1 + fee))
    assert len(worker.trader.logged()) == 1
