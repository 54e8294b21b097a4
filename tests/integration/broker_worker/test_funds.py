"""An open is cut to what the free cash of the account pays, and fails or is skipped if that is too little."""

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from redis.asyncio import Redis

from shared.brokers.errors import Throttled
from shared.brokers.port.orders import OrderRequest
from shared.domain.accounts.equity import Balance
from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.events import Outcome
from shared.domain.fill import Side
from shared.domain.identity import BrokerOrderId
from tests.support.examples import an_order
from tests.support.faulty_broker import PRICE, Fate, FaultyAccount
from tests.support.prices import store_accounts
from tests.support.running.worker_bench import KEYS, WorkerBench


async def test_an_open_without_funds_is_tried_once_more_and_smaller(bench: WorkerBench) -> None:
    """The account is read once. The price margin of BTC is 0.5 %, so the second order is that much smaller."""
    bench.account.fates = [Fate.INSUFFICIENT]
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    assert [order.quantity for order in bench.account.placed] == [Decimal("0.001"), Decimal("0.000995")]
    assert (final.outcome, final.filled_quantity) == (Outcome.COPIED, Decimal("0.000995"))


async def test_an_open_that_is_refused_twice_for_its_funds_fails(bench: WorkerBench) -> None:
    """There is no third attempt, and an open that the cash cannot pay at all is not even tried twice."""
    bench.account.fates = [Fate.INSUFFICIENT, Fate.INSUFFICIENT, Fate.INSUFFICIENT]
    await bench.deliver(an_order(sequence=1))
    (final,) = await bench.serve()
    assert (final.outcome, final.reason) == (Outcome.FAILED, FailReason.INSUFFICIENT_FUNDS)
    assert len(bench.account.placed) == 2
    bench.account.free["USD"] = Decimal(0)
    await bench.deliver(an_order(sequence=2))
    assert (await bench.serve())[-1].reason is FailReason.INSUFFICIENT_FUNDS
    assert len(bench.account.placed) == 3


async def has_read(bench: WorkerBench, usd: str) -> None:
    """Let the last reading of alice's account show this much free cash."""
    free = {"USD": Decimal(usd)}
    read = AccountSnapshot(
        equity=Decimal(1000),
        cash=Decimal(usd),
        free=free,
        total=free,
        taken_at=datetime.now(UTC) - timedelta(minutes=1),
    )
    await store_accounts(bench.redis, KEYS, {"alice": read})


async def test_an_open_is_cut_to_what_the_free_cash_pays(bench: WorkerBench) -> None:
    """40 dollars pay for 0.00079395 BTC at 50,000 dollars, with 0.5 % for the price and 0.26 % for the fee."""
    await has_read(bench, "40")
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    assert (final.outcome, final.filled_quantity) == (Outcome.COPIED, Decimal("0.00079395"))
    assert len(bench.account.placed) == 1


async def test_an_open_without_free_cash_is_skipped_and_names_the_currency(bench: WorkerBench) -> None:
    """No order is sent for less than the minimum, and nothing is read."""
    await has_read(bench, "0.5")
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    assert (final.outcome, final.reason) == (Outcome.SKIPPED, SkipReason.NO_QUOTE_CASH)
    assert final.message.startswith("0.5 USD is free")
    assert bench.account.placed == []


class PayingAccount(FaultyAccount):
    """Refuses a purchase that its dollars do not pay, at a price that is 0.1 % above the master's."""

    async def place(self, order: OrderRequest) -> BrokerOrderId:
        cost = order.quantity * PRICE * Decimal("1.001") * Decimal("1.0026")
        if order.side is Side.BUY and cost > self.free["USD"]:
            self.fates.insert(0, Fate.INSUFFICIENT)
        return await super().place(order)


@pytest.mark.parametrize(("cash", "attempts"), [("1000", 1), ("940", 2)])
async def test_followers_of_an_all_in_master_spend_nearly_all_their_cash(
    redis: Redis, cash: str, attempts: int
) -> None:
    """The price is 0.1 % higher than the master's. The follower holds 99.5 % of what its cash pays.

    In the second case, 60 dollars left the account since the last reading. One reading and a smaller order correct that.
    """
    bench = WorkerBench(redis, account=PayingAccount(free={"USD": Decimal(cash)}))
    await has_read(bench, "1000")
    await bench.deliver(an_order(quantity="0.01994813"))
    (final,) = await bench.serve()
    pays = Decimal(cash) / (PRICE * Decimal("1.001") * Decimal("1.0026"))
    assert final.outcome is Outcome.COPIED
    assert Decimal("0.995") * pays <= final.filled_quantity <= pays
    assert len(bench.account.placed) == attempts


async def test_own_fills_move_the_free_cash_before_the_next_reading(bench: WorkerBench) -> None:
    """60 dollars pay for the first purchase of 50. The second is cut to the rest, and a sale pays for the third."""
    await has_read(bench, "60")
    await bench.deliver(an_order(sequence=1), an_order(sequence=2), an_order(sequence=3, fraction="1"))
    await bench.deliver(an_order(sequence=4))
    first, second, sale, third = await bench.serve()
    assert first.filled_quantity == Decimal("0.001")
    assert second.filled_quantity < Decimal("0.0002")
    assert sale.filled_quantity == first.filled_quantity + second.filled_quantity
    assert third.filled_quantity == Decimal("0.001")


async def test_a_balance_that_the_limits_hold_back_after_a_refusal_is_not_asked_for_at_once(bench: WorkerBench) -> None:
    """The next try costs several requests, and the limiter names the wait for one. So the wait grows with the age."""
    balances = bench.account.balances

    async def throttled() -> dict[str, Balance]:
        raise Throttled("within our own limits", 0.3)

    bench.account.balances = throttled  # type: ignore[method-assign]
    bench.account.fates = [Fate.INSUFFICIENT]
    bench.account.free["BTC"] = Decimal("0.009")
    await bench.hold("0.01")
    order = an_order(fraction="1", decided_at=datetime.now(UTC) - timedelta(seconds=20))
    await bench.deliver(order)
    await bench.redis.lset(KEYS.mailbox("alice"), 0, order.model_dump_json())  # decided 20 s ago
    before_ms = time.time() * 1000
    await bench.serve_once()
    due_ms = await bench.redis.zscore(KEYS.ready, "alice")
    assert due_ms is not None
    assert 9_500 <= due_ms - before_ms <= 13_000
    bench.account.balances = balances  # type: ignore[method-assign]
    bench.account.fates = [Fate.INSUFFICIENT]
    assert [(final.outcome, final.filled_quantity) for final in await bench.serve()] == [
        (Outcome.COPIED, Decimal("0.009"))
    ]
