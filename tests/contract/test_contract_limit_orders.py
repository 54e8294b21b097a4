"""Tests that limit orders rest, are found, are filled, are cut off or are refused through every gateway."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.brokers.errors import Expired, InsufficientFunds, NotSent, OutcomeUnknown, Rejected
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import LimitOrder, OrderReport, OrderStatus
from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from tests.contract.brokers import Terms
from tests.contract.conftest import FAR_ABOVE, FAR_BELOW, PRICE, Trader, new_trader
from tests.contract.paper import PaperServer
from tests.contract.person import AlpacaPerson, CcxtPerson

IMMEDIATE = TimeInForce.IMMEDIATE_OR_CANCEL
FAR = {Side.BUY: FAR_BELOW, Side.SELL: FAR_ABOVE}


@pytest.fixture
def rich(terms: Terms, paper: PaperServer, connection: BrokerConnection) -> Trader:
    """An account that can buy and sell several levels of the book."""
    return new_trader(terms, paper, connection, {terms.quote: "10000000", "BTC": "100"})


# Kraken shows the quantities of its book with three decimals.
SHOWN_QUANTITY_STEP = Decimal("0.001")


async def _first_level(trader: Trader, side: Side) -> tuple[Decimal, Decimal]:
    """Price and quantity of what an order of this side meets first."""
    book = await trader.connection.market_data.order_book(trader.symbol, levels=1)
    return (book.asks if side is Side.BUY else book.bids)[0]


def _shown(report: OrderReport) -> tuple[Any, ...]:
    return report.status, report.quantity, report.filled_quantity, report.limit_price, report.client_order_id


@pytest.mark.parametrize("side", list(Side))
async def test_a_limit_order_away_from_the_market_rests_until_it_is_canceled(trader: Trader, side: Side) -> None:
    """Read by its id, looked up by ours, listed as open, with its price; then final and empty."""
    order = trader.limit(FAR[side], "0.01", side)
    order_id = await trader.account.place(order)
    waiting = (OrderStatus.OPEN, order.quantity, Decimal(0), order.limit_price, order.client_order_id)
    read, found = await trader.account.order(order_id, trader.symbol), await trader.found(order)
    (listed,) = await trader.account.open_orders()
    for report in (read, found, listed):
        assert _shown(report) == waiting
        assert (report.broker_order_id, report.symbol, report.side) == (order_id, trader.symbol, side)
    held = (await trader.account.balances())["BTC" if side is Side.SELL else trader.symbol.partition("/")[2]]
    assert held.free < held.total
    await trader.account.cancel(order_id, trader.symbol)
    canceled = await trader.account.order(order_id, trader.symbol)
    assert _shown(canceled) == (OrderStatus.DONE, *waiting[1:])
    assert await trader.account.open_orders() == []
    with pytest.raises(Rejected):
        await trader.account.cancel(order_id, trader.symbol)


@pytest.mark.parametrize("time_in_force", [TimeInForce.GOOD_TIL_CANCELED, IMMEDIATE])
@pytest.mark.parametrize("side", list(Side))
async def test_a_limit_order_beyond_the_market_is_filled_at_the_markets_price(
    trader: Trader, terms: Terms, side: Side, time_in_force: TimeInForce
) -> None:
    """Its limit is the worst price and not the price; cost and fee are those of the broker's log."""
    price, _ = await _first_level(trader, side)
    order = trader.limit(FAR[Side.SELL if side is Side.BUY else Side.BUY], "0.01", side, time_in_force=time_in_force)
    report = await trader.until_final(await trader.account.place(order))
    (logged,) = trader.logged()
    assert _shown(report) == (
        OrderStatus.DONE,
        order.quantity,
        order.quantity,
        order.limit_price,
        order.client_order_id,
    )
    assert abs(report.cost - price * order.quantity) <= Decimal("0.00001")
    assert abs(report.fee - Decimal(logged["fee"])) <= Decimal("0.00001")
    assert report.fee_currency == terms.fee_currency(side)


@pytest.mark.parametrize("side", list(Side))
async def test_an_immediate_order_fills_what_it_can_and_is_final(rich: Trader, side: Side) -> None:
    """Up to its limit price; the rest is canceled, and the report says how much was filled."""
    price, quantity = await _first_level(rich, side)
    order = rich.limit(price, str(quantity + 1), side, time_in_force=IMMEDIATE)
    report = await rich.until_final(await rich.account.place(order))
    filled = report.filled_quantity
    assert _shown(report) == (OrderStatus.DONE, quantity + 1, filled, price, order.client_order_id)
    assert abs(filled - quantity) < SHOWN_QUANTITY_STEP
    assert abs(report.cost - price * filled) <= Decimal("0.0001")
    assert _shown(await rich.found(order)) == _shown(report)
    assert await rich.account.open_orders() == []
    fills = await rich.account.fills_since(datetime.now(UTC) - timedelta(hours=1))
    assert sum(fill.quantity for fill in fills) == filled


async def test_an_immediate_order_that_meets_nothing_is_final_and_empty(trader: Trader) -> None:
    """Nothing is held for it afterwards."""
    order = trader.limit(FAR_BELOW, time_in_force=IMMEDIATE)
    report = await trader.until_final(await trader.account.place(order))
    assert _shown(report) == (OrderStatus.DONE, order.quantity, Decimal(0), order.limit_price, order.client_order_id)
    assert (report.cost, report.fee) == (0, 0)
    assert all(balance.free == balance.total for balance in (await trader.account.balances()).values())


async def test_what_a_waiting_order_leaves_rests_at_its_price(rich: Trader, terms: Terms) -> None:
    """A part at once; the rest when the market comes to it, at the limit price; or canceled with its part."""
    price, quantity = await _first_level(rich, Side.BUY)
    orders = [rich.limit(price, str(quantity + 1)) for _ in range(2)]
    order_ids = [await rich.account.place(order) for order in orders]
    for order_id in order_ids:
        part = await rich.account.order(order_id, rich.symbol)
        assert part.status is OrderStatus.OPEN
        assert abs(part.filled_quantity - quantity) < SHOWN_QUANTITY_STEP
    await rich.account.cancel(order_ids[0], rich.symbol)
    canceled = await rich.account.order(order_ids[0], rich.symbol)
    assert (canceled.status, canceled.filled_quantity) == (OrderStatus.DONE, part.filled_quantity)
    rich.paper.pin_price(terms.symbol, str(PRICE - 1_000))
    filled = await rich.until_final(order_ids[1])
    assert (filled.filled_quantity, filled.status) == (quantity + 1, OrderStatus.DONE)
    assert abs(filled.cost - price * (quantity + 1)) <= Decimal("0.0001")


@pytest.mark.parametrize("side", list(Side))
async def test_a_price_off_the_tick_is_rejected_and_its_rounding_is_taken(trader: Trader, side: Side) -> None:
    """The instrument rounds away from the market: a buy pays no more than was meant, a sale gets no less."""
    # Alpaca shows its ticks to key holders only: read its list again, with the key of the account.
    await trader.connection.reload()
    instrument = trader.connection.instruments()[trader.symbol]
    meant = Decimal(FAR[side]) + instrument.price_tick / 4
    rounded = instrument.limit_price(meant, side)
    assert 0 <= (meant - rounded if side is Side.BUY else rounded - meant) < instrument.price_tick
    with pytest.raises((Rejected, NotSent)):  # Alpaca's adapter sends no price off the tick
        await trader.account.place(trader.limit(meant, "0.01", side))
    order_id = await trader.account.place(trader.limit(rounded, "0.01", side))
    assert (await trader.account.order(order_id, trader.symbol)).limit_price == rounded
    assert len(trader.logged()) == 1
    await trader.account.cancel(order_id, trader.symbol)


@pytest.mark.parametrize("time_in_force", [TimeInForce.GOOD_TIL_CANCELED, IMMEDIATE])
@pytest.mark.parametrize(
    ("kind", "parameters"), [("reply_lost", {}), ("http_error", {"status": 504, "executed": True})]
)
async def test_a_limit_order_whose_reply_was_lost_is_found(
    trader: Trader, terms: Terms, time_in_force: TimeInForce, kind: str, parameters: dict[str, Any]
) -> None:
    """By its client order id, whether it rests or is over; and there is one of it."""
    trader.fault(kind, endpoint=terms.place_endpoint, **parameters)
    order = trader.limit(FAR_BELOW, time_in_force=time_in_force)
    with pytest.raises(OutcomeUnknown):
        await trader.account.place(order)
    report = await trader.found(order)
    over = OrderStatus.DONE if time_in_force is IMMEDIATE else OrderStatus.OPEN
    assert _shown(report) == (over, order.quantity, Decimal(0), order.limit_price, order.client_order_id)
    assert len(trader.logged()) == 1


async def test_a_repeated_order_that_is_open_is_looked_up(trader: Trader, terms: Terms) -> None:
    """The broker's text means that an earlier request arrived. It is no rejection, and the look-up finds the order."""
    order = trader.limit(FAR_BELOW)
    order_id = await trader.account.place(order)
    if terms.repeated_id_returns_first:
        assert await trader.account.place(order) == order_id
    else:
        with pytest.raises(OutcomeUnknown) as raised:
            await trader.account.place(order)
        assert type(raised.value) is OutcomeUnknown
    assert (await trader.found(order)).broker_order_id == order_id
    assert len(trader.logged()) == 1


async def test_a_limit_order_that_the_broker_refuses_is_not_there(trader: Trader) -> None:
    """Too little money, a pair that is not listed, a validity that is over: nothing rests."""
    refused: list[tuple[LimitOrder, type[Exception]]] = [
        (trader.limit(FAR_BELOW, "0.9"), InsufficientFunds),
        (trader.limit(FAR_ABOVE, "0.9", Side.SELL), InsufficientFunds),
        (trader.limit(FAR_BELOW, symbol="NOT/LISTED"), Rejected),
        (trader.limit(FAR_BELOW, valid_for_seconds=-1), Expired),
        (trader.limit(FAR_BELOW, time_in_force=TimeInForce.DAY), Rejected),
    ]
    for order, expected in refused:
        with pytest.raises(expected):
            await trader.account.place(order)
    assert trader.logged() == []


async def test_a_persons_immediate_order_is_shown_as_one(
    shared_trader: Trader, person: CcxtPerson | AlpacaPerson, terms: Terms
) -> None:
    """The paper broker takes and shows it as the broker's own library expects: filled, and open no more."""
    filled, time_in_force = await person.immediate_order(terms.symbol, Side.BUY, "0.01", FAR_ABOVE)
    assert filled == Decimal("0.01")
    assert time_in_force == ("IOC" if terms.shows_time_in_force else None)
    empty, _ = await person.immediate_order(terms.symbol, Side.BUY, "0.01", FAR_BELOW)
    assert empty == 0
    assert await shared_trader.account.open_orders() == []


def test_the_instrument_names_how_long_an_order_may_wait(connection: BrokerConnection, terms: Terms) -> None:
    """Coins trade day and night at every broker, so no order is for the day."""
    times_in_force = connection.instruments()[terms.symbol].times_in_force(Decimal("0.01"))
    assert times_in_force == {TimeInForce.GOOD_TIL_CANCELED, IMMEDIATE}
