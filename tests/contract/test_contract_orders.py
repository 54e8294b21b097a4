"""Every gateway can place, read, cancel and look up orders."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from shared.brokers.errors import Expired, NotVisibleYet, OutcomeUnknown, Rejected
from shared.brokers.port.orders import OrderStatus
from shared.domain.fill import Side
from tests.contract.brokers import Terms
from tests.contract.conftest import Trader


@pytest.mark.parametrize("side", list(Side))
async def test_a_market_order_is_filled_as_the_broker_logs_it(trader: Trader, terms: Terms, side: Side) -> None:
    """Quantity, cost, fee and fee currency of the report are those in the broker's own log."""
    quantity = trader.connection.instruments()[trader.symbol].rounded(Decimal("0.01234567"))
    order = trader.order(str(quantity), side)
    report = await trader.until_final(await trader.account.place(order))
    (logged,) = trader.logged()
    assert logged["client_order_id"] == order.client_order_id == report.client_order_id
    assert (report.symbol, report.side, report.status) == (trader.symbol, side, OrderStatus.DONE)
    assert report.quantity == report.filled_quantity == quantity == Decimal(logged["filled"])
    assert abs(report.cost - Decimal(logged["cost"])) <= Decimal("0.00001")
    assert abs(report.fee - Decimal(logged["fee"])) <= Decimal("0.00001")
    assert report.fee_currency == logged["fee_currency"] == terms.fee_currency(side)
    assert report.fee > 0


async def test_a_quantity_is_base_currency_and_no_cost(trader: Trader) -> None:
    """An order for 0.05 buys 0.05 BTC, which costs about 2,500 USD. It does not buy for 0.05 USD."""
    report = await trader.until_final(await trader.account.place(trader.order("0.05")))
    assert Decimal(2_400) < report.cost < Decimal(2_600)


async def test_a_partly_filled_order_is_followed_to_its_end(trader: Trader) -> None:
    """The order is open with a filled part first, and later done with the whole quantity."""
    trader.fault("partial_fill", fraction="0.25", seconds=0.5)
    order_id = await trader.account.place(trader.order("0.04"))
    first = await trader.account.order(order_id, trader.symbol)
    assert (first.status, first.filled_quantity) == (OrderStatus.OPEN, Decimal("0.01"))
    last = await trader.until_final(order_id)
    assert last.filled_quantity == Decimal("0.04")


async def test_the_rest_of_a_partial_fill_may_be_cancelled(trader: Trader) -> None:
    """The order is final although less than the ordered quantity was filled."""
    trader.fault("partial_fill", fraction="0.25", canceled=True, seconds=0)
    report = await trader.until_final(await trader.account.place(trader.order("0.04")))
    assert (report.quantity, report.filled_quantity) == (Decimal("0.04"), Decimal("0.01"))


async def test_an_open_order_can_be_cancelled_once(trader: Trader) -> None:
    """After its cancellation an order is final without a filled quantity. A second cancellation is rejected."""
    trader.fault("late_fill", seconds=60)
    order_id = await trader.account.place(trader.order())
    await trader.account.cancel(order_id, trader.symbol)
    report = await trader.account.order(order_id, trader.symbol)
    assert (report.status, report.filled_quantity) == (OrderStatus.DONE, Decimal(0))
    with pytest.raises(Rejected):
        await trader.account.cancel(order_id, trader.symbol)


async def test_a_look_up_finds_an_open_order(trader: Trader) -> None:
    """A look-up by the client order id finds an order that is still open."""
    trader.fault("late_fill", seconds=60)
    order = trader.order()
    since = datetime.now(UTC)
    order_id = await trader.account.place(order)
    report = await trader.account.look_up(order.client_order_id, trader.symbol, since)
    assert report is not None
    assert (report.broker_order_id, report.status) == (order_id, OrderStatus.OPEN)
    await trader.account.cancel(order_id, trader.symbol)


async def test_a_look_up_finds_a_filled_and_a_cancelled_order(trader: Trader) -> None:
    """A look-up finds both closed orders and reports that only one of them was executed."""
    since = datetime.now(UTC)
    filled, cancelled = trader.order(), trader.order()
    filled_id = await trader.account.place(filled)
    trader.fault("late_fill", seconds=60)
    cancelled_id = await trader.account.place(cancelled)
    await trader.account.cancel(cancelled_id, trader.symbol)
    first = await trader.account.look_up(filled.client_order_id, trader.symbol, since)
    second = await trader.account.look_up(cancelled.client_order_id, trader.symbol, since)
    assert first is not None
    assert second is not None
    assert (first.broker_order_id, first.filled_quantity) == (filled_id, Decimal("0.01"))
    assert (second.broker_order_id, second.filled_quantity) == (cancelled_id, Decimal(0))
    assert second.status is OrderStatus.DONE


async def test_a_look_up_of_what_was_never_sent_finds_nothing(trader: Trader) -> None:
    """The look-up finds nothing although the account has other orders and fills from that time."""
    since = datetime.now(UTC)
    await trader.until_final(await trader.account.place(trader.order()))
    assert await trader.account.look_up(trader.order().client_order_id, trader.symbol, since) is None


async def test_an_order_that_shows_late_is_found_late(trader: Trader) -> None:
    """An order may be invisible at first, so an immediate "not found" proves nothing.

    Reading such an order by its id may raise `OutcomeUnknown`.
    """
    trader.fault("late_visibility", seconds=0.4)
    order = trader.order()
    since = datetime.now(UTC)
    order_id = await trader.account.place(order)
    with contextlib.suppress(OutcomeUnknown):
        await trader.account.order(order_id, trader.symbol)
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    answers = []
    while not (answers and answers[-1]) and datetime.now(UTC) < deadline:
        answers.append(await trader.account.look_up(order.client_order_id, trader.symbol, since))
        await asyncio.sleep(0.25)
    assert answers[0] is None
    assert answers[-1] is not None
    assert answers[-1].broker_order_id == order_id


async def test_an_order_whose_fills_are_shown_before_itself_is_not_absent(trader: Trader) -> None:
    """The look-up raises `NotVisibleYet` instead of "not found".

    A fill of an unreadable order exists, and that order may be the one that the look-up searches for.
    """
    trader.fault("late_visibility", seconds=60, fills_shown=True)
    order = trader.order()
    since = datetime.now(UTC)
    await trader.account.place(order)
    with pytest.raises(NotVisibleYet):
        await trader.account.look_up(order.client_order_id, trader.symbol, since)


async def test_the_id_of_an_open_order_is_not_taken_twice(trader: Trader, terms: Terms) -> None:
    """The broker keeps one order.

    The repeated order returns the first one, or it fails and a look-up finds the first one.
    """
    trader.fault("late_fill", seconds=60)
    order = trader.order()
    since = datetime.now(UTC)
    order_id = await trader.account.place(order)
    if terms.repeated_id_returns_first:
        assert await trader.account.place(order) == order_id
    else:
        with pytest.raises(OutcomeUnknown):
            await trader.account.place(order)
    report = await trader.account.look_up(order.client_order_id, trader.symbol, since)
    assert report is not None
    assert report.broker_order_id == order_id
    assert len(trader.logged()) == 1
    await trader.account.cancel(order_id, trader.symbol)


async def test_the_id_of_a_filled_order_protects_nobody(trader: Trader, terms: Terms) -> None:
    """On most brokers a repeated id buys again. This is why an unknown outcome is looked up before anything is sent."""
    order = trader.order()
    order_id = await trader.account.place(order)
    await trader.until_final(order_id)
    if terms.filled_id_buys_again:
        await trader.account.place(order)
        assert len(trader.logged()) == 2
    elif terms.repeated_id_returns_first:
        assert await trader.account.place(order) == order_id
        assert len(trader.logged()) == 1
    else:
        with pytest.raises(OutcomeUnknown):
            await trader.account.place(order)
        assert len(trader.logged()) == 1


async def test_an_order_that_arrives_too_late_is_not_executed(trader: Trader, terms: Terms) -> None:
    """The broker refuses a request that was delayed beyond its validity. The order may then be sent again."""
    if not terms.request_expires:
        pytest.skip("this broker executes it; the next test is about those")
    trader.fault("latency", seconds=2.6, endpoint=terms.place_endpoint)
    with pytest.raises(Expired):
        await trader.account.place(trader.order(valid_for_seconds=2.3))
    assert trader.logged() == []
    await trader.account.place(trader.order())
    assert len(trader.logged()) == 1


async def test_an_order_that_is_executed_too_late_is_not_executed_twice(trader: Trader, terms: Terms) -> None:
    """This test covers brokers whose requests do not expire.

    The outcome is unknown within the timeout. When the order is sent again, the broker refuses its id.
    """
    if terms.request_expires:
        pytest.skip("this broker refuses it; the test before is about those")
    trader.fault("latency", seconds=1.5, endpoint=terms.place_endpoint)
    order = trader.order(valid_for_seconds=1)
    since = datetime.now(UTC)
    with pytest.raises(OutcomeUnknown):
        await trader.account.place(order)
    assert await trader.account.look_up(order.client_order_id, trader.symbol, since) is None
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    while not trader.logged() and datetime.now(UTC) < deadline:
        await asyncio.sleep(0.05)
    with pytest.raises(OutcomeUnknown):
        await trader.account.place(trader.order(client_order_id=order.client_order_id))
    report = await trader.account.look_up(order.client_order_id, trader.symbol, since)
    assert report is not None
    assert report.filled_quantity == order.quantity
    assert len(trader.logged()) == 1


async def test_an_order_whose_validity_is_over_is_not_sent(trader: Trader) -> None:
    """A worker that was suspended beyond the validity of its order sends nothing."""
    with pytest.raises(Expired):
        await trader.account.place(trader.order(valid_for_seconds=-1))
    assert trader.logged() == []
