"""Orders through every gateway: placed, followed, cancelled, found again."""

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
    """Quantity, cost, fee and its currency are those of the broker's own log."""
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
    """0.05 is 0.05 BTC, about 2,500 USD: neither 0.05 USD nor anything else."""
    report = await trader.until_final(await trader.account.place(trader.order("0.05")))
    assert Decimal(2_400) < report.cost < Decimal(2_600)


async def test_a_partly_filled_order_is_followed_to_its_end(trader: Trader) -> None:
    """Open with a part filled, then done with all of it."""
    trader.fault("partial_fill", fraction="0.25", seconds=0.5)
    order_id = await trader.account.place(trader.order("0.04"))
    first = await trader.account.order(order_id, trader.symbol)
    assert (first.status, first.filled_quantity) == (OrderStatus.OPEN, Decimal("0.01"))
    last = await trader.until_final(order_id)
    assert last.filled_quantity == Decimal("0.04")


async def test_the_rest_of_a_partial_fill_may_be_cancelled(trader: Trader) -> None:
    """Final with less than was ordered."""
    trader.fault("partial_fill", fraction="0.25", canceled=True, seconds=0)
    report = await trader.until_final(await trader.account.place(trader.order("0.04")))
    assert (report.quantity, report.filled_quantity) == (Decimal("0.04"), Decimal("0.01"))


async def test_an_open_order_can_be_cancelled_once(trader: Trader) -> None:
    """Then it is final and empty, and a second cancellation is rejected."""
    trader.fault("late_fill", seconds=60)
    order_id = await trader.account.place(trader.order())
    await trader.account.cancel(order_id, trader.symbol)
    report = await trader.account.order(order_id, trader.symbol)
    assert (report.status, report.filled_quantity) == (OrderStatus.DONE, Decimal(0))
    with pytest.raises(Rejected):
        await trader.account.cancel(order_id, trader.symbol)


async def test_a_look_up_finds_an_open_order(trader: Trader) -> None:
    """By our id."""
    trader.fault("late_fill", seconds=60)
    order = trader.order()
    since = datetime.now(UTC)
    order_id = await trader.account.place(order)
    report = await trader.account.look_up(order.client_order_id, trader.symbol, since)
    assert report is not None
    assert (report.broker_order_id, report.status) == (order_id, OrderStatus.OPEN)
    await trader.account.cancel(order_id, trader.symbol)


async def test_a_look_up_finds_a_filled_and_a_cancelled_order(trader: Trader) -> None:
    """Both are closed; only one was executed."""
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
    """Although the account has other orders and fills at that time."""
    since = datetime.now(UTC)
    await trader.until_final(await trader.account.place(trader.order()))
    assert await trader.account.look_up(trader.order().client_order_id, trader.symbol, since) is None


async def test_an_order_that_shows_late_is_found_late(trader: Trader) -> None:
    """Absent at first: an immediate "not found" proves nothing, and reading it by its id asks to try again."""
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
    assert answers[0] is None
    assert answers[-1] is not None
    assert answers[-1].broker_order_id == order_id


async def test_an_order_whose_fills_are_shown_before_itself_is_not_absent(trader: Trader) -> None:
    """An order was executed that cannot be read yet: it may be the one that is looked for, so "not there" is no answer."""
    trader.fault("late_visibility", seconds=60, fills_shown=True)
    order = trader.order()
    since = datetime.now(UTC)
    await trader.account.place(order)
    with pytest.raises(NotVisibleYet):
        await trader.account.look_up(order.client_order_id, trader.symbol, since)


async def test_the_id_of_an_open_order_is_not_taken_twice(trader: Trader, terms: Terms) -> None:
    """The second leads to a look-up, which finds the first, or to the first itself; the broker has one order."""
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
    """On most brokers it buys again: the reason why an unknown outcome is looked up and never just sent again."""
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
    """Held up on its way beyond its validity: the broker refuses it, and it may be sent afresh."""
    if not terms.request_expires:
        pytest.skip("this broker executes it; the next test is about those")
    trader.fault("latency", seconds=2.6, endpoint=terms.place_endpoint)
    with pytest.raises(Expired):
        await trader.account.place(trader.order(valid_for_seconds=2.3))
    assert trader.logged() == []
    await trader.account.place(trader.order())
    assert len(trader.logged()) == 1


async def test_an_order_that_is_executed_too_late_is_not_executed_twice(trader: Trader, terms: Terms) -> None:
    """Where requests do not expire, its outcome is unknown in time, and its id is refused when it is sent again."""
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
    """A worker that slept through its claim sends nothing."""
    with pytest.raises(Expired):
        await trader.account.place(trader.order(valid_for_seconds=-1))
    assert trader.logged() == []
